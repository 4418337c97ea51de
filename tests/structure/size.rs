//! How much code there is in the rooms that have to be trusted.
//!
//! Counted are lines that are neither blank nor only a comment, without test modules.

use crate::sources::Source;

/// How large a room may be.
struct Budget {
    room: &'static str,
    folders: &'static [&'static str],
    /// What it may have today; it only sinks.
    ceiling: usize,
    /// What it may have in the end, where that is set.
    goal: Option<usize>,
}

/// A folder that is not there yet has no lines.
const BUDGETS: [Budget; 4] = [
    Budget {
        room: "the process that serves as the monitor",
        folders: &["privileged/src/monitor"],
        // 150 more since it keeps, counts and closes the connections of relays itself, and tells the ends that workers
        // cause from those that come from outside.
        // 20 more since workers make room for others, and say whose requests they have.
        // 30 more for keepalive, the choice of the log's format, clients without a byte, and logs that are streams or full.
        // 20 more since a question whose worker has not come is told from one that was met with silence.
        // Some 60 more since a verified client goes on in the worker of its user once the one before it is reaped.
        // Some 130 more for passwords: the auth worker, its table, and who waits for a verdict.
        // Some 680 more for UDP: the sockets of associations and flows with their filters, and which worker has them.
        // Some 1020 more for who looks, gives orders, takes over or balances: the sockets for it, PROXY headers, limits of
        // lines, and a log that leaves in one call a turn.
        // Some 170 more since takeovers wait for nobody who falls silent, and counters go on over them.
        // 1200 fewer since sockets, the log and what decides have rooms of their own.
        ceiling: 3618,
        goal: Some(2500),
    },
    Budget {
        room: "all of root's programs",
        folders: &["privileged/src", "privileged/ver/src"],
        // Some 300 lines more since `-ver`, a program of its own, reports every kind of process, as text and as JSON.
        // Some 140 more for a start where there is less: other ids, no namespace, no root of one's own.
        // Some 50 more since the loader says which files of the system it cannot read.
        // 20 more for such a question, as above.
        // Some 70 more for the workers of users, as above.
        // Some 810 more in the monitor for passwords and UDP, as above.
        // Some 240 more for what the loader reads: users, and the folders of included files; and for an AppArmor profile.
        // Some 1020 more in the monitor, as above.
        // Some 760 more for takeovers and their control process, and for the sockets that are bound before root is given up.
        // Some 170 more in the monitor, as above, and 120 since who takes over gives up in time and says why.
        // 240 fewer since what rooms had in common is there once, and more is decided outside.
        ceiling: 9470,
        goal: Some(4500),
    },
    Budget {
        room: "everything that is trusted",
        folders: &[
            "privileged/src",
            "privileged/ver/src",
            "policy/session/src",
            "common/src",
            "common/ledger/src",
            "common/lockdown/src",
        ],
        // Some 130 lines more since a session waits for several things at once, each with a key: two dials, many peers.
        // Some 190 more since a full house decides who makes room, and limits know hosts, networks and sites.
        // Some 30 more since SOCKS5 is spoken.
        // Some 300 more since `-ver` reports every kind of process, as above.
        // Some 80 more since the addresses of a name are tried a moment apart.
        // Some 60 more since what this host lacks is told from an identd that names nobody.
        // Some 120 more for their order (RFC 6724).
        // Some 250 more for the full log lines, keepalive and a start where there is less.
        // Some 90 more since the loader says which files of the system it cannot read, and guards know a site's prefixes.
        // 40 more for such a question, as above.
        // 20 more since the address of a next server is looked at again before it is dialled.
        // Some 200 more for the workers of users: which one a client begins with, and which one goes on.
        // Some 1050 more in root's programs, as above.
        // Some 1370 more for passwords and UDP: checks in turn, buckets of failures, associations and flows as machines of
        // their own, and what is said about both; late clients that end without a reset.
        // Some 20 more since the log says where a client lacks a password.
        // Some 1780 more in root's programs, as above.
        // Some 2530 more for the layouts of ledger and counters and what moves them, the log for programs, takeovers and
        // PROXY headers as bytes and as rules of what may be said, connections by line and shared rates.
        // Some 280 more in root's programs, as above, and 150 for limits as a type, and for what each may count.
        // 430 fewer since only those have a thing who use it, and bytes are read as serde has them.
        // 15 more since a wait that is interrupted keeps its limit.
        ceiling: 19_385,
        goal: Some(8500),
    },
    Budget {
        room: "everything that is trusted, and the rules",
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
        // Some 60 lines more since deny lines match the IPv4 addresses inside IPv6 ones: a search of its own.
        // Some 190 more for hosts, networks and sites, as above.
        // Some 300 more for `-ver`, as above.
        // Some 80 more since the addresses of a name are tried a moment apart.
        // Some 60 more for what this host lacks, as above.
        // Some 360 more since lines speak of commands, versions, lists of ports and sets of hosts.
        // Some 120 more for the order of the addresses, as above.
        // Some 250 more for the full log lines, as above.
        // Some 150 more for those files and prefixes, as above.
        // 20 more for such a question, as above.
        // 20 more for the addresses of next servers, as above.
        // Some 200 more for the workers of users: which one a client begins with, and which one goes on.
        // Some 2420 more for passwords, UDP and what root reads, as above.
        // Some 490 more since lines speak of users' methods and groups, of UDP, and of other files.
        // Some 20 more for that reason, as above.
        // Some 4310 more in what is trusted, as above.
        // Some 170 more since lines speak of rates and connections, and balancers that are clients are warned of.
        // Some 420 more in what is trusted, as above.
        // 430 fewer, as above.
        // 15 more, as above.
        ceiling: 24_410,
        goal: None,
    },
];

#[test]
fn every_room_keeps_to_its_budget() {
    for Budget { room, folders, ceiling, goal } in BUDGETS {
        let lines: usize =
            folders.iter().flat_map(|folder| Source::below(folder)).map(|s| s.code_lines()).sum();
        println!("{room}: {lines} lines, at most {ceiling}");
        assert!(lines <= ceiling, "{room} has {lines} lines, at most {ceiling}: {folders:?}");
        let reached = goal.is_none_or(|goal| ceiling <= goal || lines > goal);
        assert!(reached, "{room} has {lines} lines: its ceiling may sink to its goal");
    }
}
