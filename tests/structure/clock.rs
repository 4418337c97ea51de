//! A clock that jumps must not move a deadline: every wait is counted by the monotonic clock.

use std::fs;
use std::path::Path;

#[test]
fn f9_only_the_stamps_of_log_lines_know_the_time_of_day() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut users = Vec::new();
    for folder in [
        "privileged/src/config",
        "privileged/src/hook",
        "privileged/src/loader",
        "privileged/src/monitor",
        "privileged/src/monitor/session",
        "privileged/src/process",
        "privileged/src/spawner",
        "privileged/src/start",
        "worker/src",
        "worker/src/session",
        "worker/src/ident",
        "worker/src/resolver",
        "common/src",
        "policy/src",
    ] {
        for entry in fs::read_dir(root.join(folder)).expect(folder).flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            if ["SystemTime", "CLOCK_REALTIME", "local_time()"].iter().any(|word| text.contains(word)) {
                users.push(format!("{folder}/{}", entry.file_name().display()));
            }
        }
    }
    users.sort();
    // The time zone is read at the start; the stamps are made in syslog.rs with the call in sys.rs.
    let expected = ["monitor/syslog.rs", "process/sys.rs", "start/mod.rs"];
    assert_eq!(users, expected.map(|file| format!("privileged/src/{file}")));
}
