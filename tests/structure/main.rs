//! The shape of the house: imports, foreign crates, the code that root runs, and what the documents promise. It also
//! bounds the length of files and functions.

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
