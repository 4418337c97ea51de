//! The shape of the house: its imports, its crates of others, the amount of code that root runs, the length of its
//! files and functions, and the promises of its documents.

mod circles;
mod clock;
mod dependencies;
mod documents;
mod ids;
mod impls;
mod imports;
mod modules;
mod readme;
mod security;
mod shape;
mod size;
mod sources;
