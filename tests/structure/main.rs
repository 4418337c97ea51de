//! The shape of the house: who may import whom, how much code root runs, what its documents promise.

mod clock;
mod imports;
mod security;
mod size;
