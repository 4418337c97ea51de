//! The number of allocations for one connection in the monitor's decisions and in its log lines.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
#![allow(clippy::disallowed_macros, reason = "a test may print")]

mod counting;
mod permitted;

use counting::allocations;
use permitted::{config, permitted};
use sockd_session::log::classic;
use sockd_session::session::Action;

/// tests/bench/README.md says what each allocation is for.
#[test]
fn a_connection_asks_for_memory_no_more_often_than_this() {
    let config = config(1);
    let (mut session, events) = permitted();
    let (mut decided, mut written) = (0, 0);
    for event in events {
        let what = format!("{event:?}");
        let (number, actions) = allocations(|| session.on(event, &config));
        let (lines, _) = allocations(|| {
            for action in &actions {
                if let Action::Record(record) = action {
                    drop(classic::lines(record));
                }
            }
        });
        println!("{number} to decide, {lines} for lines: {what}");
        (decided, written) = (decided + number, written + lines);
    }
    assert!(decided <= 12 && written <= 5, "{decided} to decide, {written} for lines");
}
