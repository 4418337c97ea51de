//! Fleets by the recipes that are installed, a file for each.

mod client;
mod ecmp;
mod haproxy;
mod instances;
mod place;
mod rules;
