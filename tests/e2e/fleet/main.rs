//! Fleets by the recipes that are installed, a file for each.

mod ecmp;
mod haproxy;
mod instances;
mod place;
mod rules;
mod visit;
