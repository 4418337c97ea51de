//! The cost of the monitor's decisions on one session, without system calls: `cargo bench -p sockd-session`.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

#[path = "../tests/allocations/permitted.rs"]
mod permitted;

use divan::Bencher;
use permitted::{config, permitted};
use sockd_session::log::classic;
use sockd_session::session::Action;

fn main() {
    divan::main();
}

/// Writes the lines of a record, as the monitor does.
fn write(action: &Action) {
    if let Action::Record(record) = action {
        divan::black_box(classic::lines(record));
    }
}

#[divan::bench(args = [1, 1000, 100_000])]
fn a_permitted_connect(bencher: Bencher, lines: u32) {
    let config = config(lines);
    bencher.with_inputs(permitted).bench_local_values(|(mut session, events)| {
        let actions = events.map(|event| session.on(event, &config));
        actions.iter().flatten().for_each(write);
        assert_eq!(actions.last().and_then(|actions| actions.last()), Some(&Action::Remove));
    });
}

#[divan::bench]
fn the_decision_alone(bencher: Bencher) {
    let config = config(1000);
    let asked = || {
        let (mut session, [requested, unicast, ..]) = permitted();
        session.on(requested, &config);
        (session, unicast)
    };
    bencher.with_inputs(asked).bench_local_values(|(mut session, unicast)| session.on(unicast, &config));
}
