//! The shape of the house: who may import whom, and how much code root runs.

mod imports;
mod size;
