//! The shape of the house: who may import whom, what comes from outside, how much code root runs, how long its files and
//! functions are, what its documents promise.

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
