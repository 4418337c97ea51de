//! A clock that jumps must not move a deadline: every wait is counted by the monotonic clock.

use crate::sources::{Source, installed};

const TIME_OF_DAY: [&str; 3] = ["SystemTime", "CLOCK_REALTIME", "local_time()"];

#[test]
fn f9_only_the_stamps_of_log_lines_know_the_time_of_day() {
    let mut users = Vec::new();
    for package in installed() {
        let folder = format!("{package}/src");
        let knowing = Source::below(&folder).into_iter().filter(|source| knows_the_time_of_day(&source.text));
        users.extend(knowing.map(|source| format!("{folder}/{}", source.path)));
    }
    users.sort();
    // The time zone is read at the start; the stamps are made in log/mod.rs with the call in sys.rs. The times in the ledger
    // are for who reads it: nothing waits for them.
    assert_eq!(
        users,
        [
            "common/ledger/src/ledger.rs",
            "policy/tools/src/ctl/live.rs",
            "privileged/src/log/mod.rs",
            "privileged/src/process/sys.rs",
            "privileged/src/start/clean_start.rs"
        ]
    );
}

/// A clock that goes on while the host is suspended would end sessions that nobody could serve meanwhile.
#[test]
fn no_wait_goes_on_while_the_host_sleeps() {
    for package in installed() {
        for source in Source::below(&format!("{package}/src")) {
            let sleeps = ["BOOTTIME", "_ALARM", "CLOCK_TAI"].iter().find(|word| source.text.contains(**word));
            assert_eq!(sleeps, None, "{package}: {}", source.path);
        }
    }
}

fn knows_the_time_of_day(text: &str) -> bool {
    TIME_OF_DAY.iter().any(|word| text.contains(word))
}
