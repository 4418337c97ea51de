//! How much code there is in the rooms that have to be trusted, and what it is for.
//!
//! Counted are lines that are neither blank nor only a comment, without test modules. A ceiling only sinks, or rises with
//! its reason beside it.

use crate::sources::Source;

/// How large a room may be.
struct Room {
    name: &'static str,
    folders: &'static [&'static str],
    /// What it may have today.
    ceiling: usize,
    /// What it was meant to have, where that is set.
    goal: Option<usize>,
}

/// The goals hold for the classic server: it keeps to that of the monitor, and `FEATURES` has what came to it.
const ROOMS: [Room; 4] = [
    Room {
        name: "the process that serves as the monitor",
        folders: &["privileged/src/monitor"],
        // Of these 23 are imports and results of files that call each other downwards alone.
        ceiling: 3497,
        goal: Some(2500),
    },
    Room {
        name: "all of root's programs",
        folders: &["privileged/src", "privileged/ver/src"],
        // Beside the features below: starts where there is less (no root, no namespaces, no user of that name, a container),
        // sockets from a service manager or an inetd, a trial, and errors that say what was expected where.
        ceiling: 9245,
        goal: Some(4500),
    },
    Room {
        name: "everything that is trusted",
        folders: &[
            "privileged/src",
            "privileged/ver/src",
            "policy/session/src",
            "common/src",
            "common/ledger/src",
            "common/lockdown/src",
        ],
        // Beside those: SOCKS5 and its replies, the addresses of a name tried side by side and in order, limits for hosts,
        // networks and sites, the choice of a worker with its queue, and settings as a table.
        ceiling: 19_106,
        goal: Some(8500),
    },
    Room {
        name: "everything that is trusted, and the rules",
        folders: &[
            "privileged/src",
            "privileged/ver/src",
            "policy/session/src",
            "policy/table/src",
            "policy/src",
            "common/src",
            "common/ledger/src",
            "common/lockdown/src",
        ],
        ceiling: 24_129,
        goal: None,
    },
];

/// What a feature adds to the monitor and to all that is trusted, in files of its own.
struct Feature {
    name: &'static str,
    /// Files and folders, by the beginnings of their paths.
    paths: &'static [&'static str],
    /// What it may have in the monitor, and in everything that is trusted.
    ceilings: [usize; 2],
}

const FEATURES: [Feature; 8] = [
    Feature {
        name: "UDP: associations, their flows and sockets",
        paths: &[
            "common/src/message/datagram.rs",
            "policy/session/src/session/associate.rs",
            "policy/session/src/session/association",
            "privileged/src/monitor/associations.rs",
            "privileged/src/monitor/serving/associating.rs",
            "privileged/src/monitor/sessions/association.rs",
            "privileged/src/net/datagram.rs",
        ],
        ceilings: [343, 1003],
    },
    Feature {
        name: "users: passwords, their checks, and who goes to whose worker",
        paths: &[
            "common/src/message/auth.rs",
            "common/src/secret.rs",
            "common/src/users.rs",
            "policy/session/src/checks.rs",
            "policy/session/src/limits/fair_share.rs",
            "policy/session/src/limits/logins.rs",
            "policy/session/src/session/login.rs",
            "policy/session/src/session/settling.rs",
            "privileged/src/loader/users.rs",
            "privileged/src/monitor/auth.rs",
        ],
        ceilings: [100, 618],
    },
    Feature {
        name: "lines that limit rates and connections",
        paths: &["policy/session/src/limits/lines.rs", "privileged/src/monitor/sessions/relay.rs"],
        ceilings: [65, 191],
    },
    Feature {
        name: "administration: ledger, counters, orders, and the log for programs",
        paths: &[
            "common/ledger/src",
            "common/src/counters",
            "common/src/ledger.rs",
            "common/src/status.rs",
            "policy/session/src/about.rs",
            "policy/session/src/counting",
            "policy/session/src/log/about.rs",
            "policy/session/src/log/fields.rs",
            "policy/session/src/log/full.rs",
            "policy/session/src/log/journal.rs",
            "policy/session/src/log/json.rs",
            "policy/session/src/session/counting.rs",
            "policy/session/src/session/listing.rs",
            "privileged/src/monitor/control.rs",
            "privileged/src/monitor/door.rs",
            "privileged/src/monitor/serving/orders.rs",
            "privileged/src/monitor/sessions/lookup.rs",
            "privileged/src/monitor/status.rs",
            "privileged/src/start/counters.rs",
            "privileged/src/start/doors.rs",
        ],
        ceilings: [277, 2097],
    },
    Feature {
        name: "takeovers",
        paths: &[
            "common/src/message/takeover.rs",
            "policy/session/src/stop.rs",
            "policy/session/src/takeover.rs",
            "privileged/src/monitor/takeover.rs",
            "privileged/src/start/reload.rs",
            "privileged/src/start/starter.rs",
            "privileged/src/start/taken.rs",
            "privileged/src/takeover",
        ],
        ceilings: [140, 925],
    },
    Feature {
        name: "balancers: PROXY headers",
        paths: &[
            "common/src/head.rs",
            "policy/session/src/proxy_header.rs",
            "policy/session/src/session/origin.rs",
            "policy/session/src/settings/proxy_from.rs",
            "privileged/src/monitor/proxy_header.rs",
        ],
        ceilings: [85, 357],
    },
    Feature { name: "what sockd -ver runs", paths: &["privileged/ver/src"], ceilings: [0, 540] },
    Feature {
        name: "the commands of rules, in a process of their own",
        paths: &["policy/session/src/hook_values.rs", "privileged/src/hook"],
        ceilings: [0, 567],
    },
];

/// The lines of a room that belong to files whose paths begin so.
fn lines(room: &Room, paths: &[&str]) -> usize {
    let is_of_it = |path: &str| paths.iter().any(|beginning| path.starts_with(beginning));
    let lines_below = |folder: &&str| {
        let sources = Source::below(folder).into_iter();
        let of_it = sources.filter(|source| is_of_it(&format!("{folder}/{}", source.path)));
        of_it.map(|source| source.code_lines()).sum::<usize>()
    };
    room.folders.iter().map(lines_below).sum()
}

#[test]
fn every_room_keeps_to_its_budget() {
    for room in &ROOMS {
        let (name, lines) = (room.name, lines(room, &[""]));
        println!("{name}: {lines} lines, at most {}", room.ceiling);
        assert!(lines <= room.ceiling, "{name} has {lines} lines, at most {}", room.ceiling);
        let reached = room.goal.is_none_or(|goal| room.ceiling <= goal || lines > goal);
        assert!(reached, "{name} has {lines} lines: its ceiling may sink to its goal");
    }
}

#[test]
fn every_feature_keeps_to_its_budget_and_leaves_the_classic_server_its_own() {
    let [monitor, _, trusted, _] = &ROOMS;
    let mut classic = lines(monitor, &[""]);
    for Feature { name, paths, ceilings } in &FEATURES {
        let found = [monitor, trusted].map(|room| lines(room, paths));
        println!("{name}: {found:?} lines, at most {ceilings:?}");
        assert!(
            found[0] <= ceilings[0] && found[1] <= ceilings[1],
            "{name}: {found:?}, at most {ceilings:?}"
        );
        for path in *paths {
            assert_ne!(lines(trusted, &[path]), 0, "{name}: there is no {path}");
        }
        classic -= found[0];
    }
    println!("the monitor of the classic server: {classic} lines");
    assert!(classic <= monitor.goal.unwrap_or(0), "the monitor has {classic} lines without its features");
}
