//! `sockd-worker`: executed by the spawner with the word of one role, in a world without files or network.

use sockd_common::message::Role;
use sockd_worker::{Ending, ident, lockdown, probe, resolver, session, upstream};

fn main() {
    lockdown::die_quietly_on_panic();
    let role = std::env::args().nth(1).and_then(|word| Role::from_word(&word));
    let ending = match (role, lockdown::take_channel()) {
        (None, _) => Ending::Usage,
        (_, None) => Ending::NoChannel,
        (Some(Role::Session), Some(channel)) => session::run(channel),
        (Some(Role::Ident), Some(channel)) => ident::run(channel),
        (Some(Role::Resolver), Some(channel)) => resolver::run(channel),
        (Some(Role::Upstream), Some(channel)) => upstream::run(channel),
        (Some(Role::Probe), Some(channel)) => probe::run(channel),
    };
    ending.exit()
}
