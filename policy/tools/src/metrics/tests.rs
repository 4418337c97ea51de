use super::*;
use sockd_common::counters::{Asked, Direction, Outcome};
use std::time::Duration;

fn counters() -> Counters {
    let counters = Counters::default();
    counters.begin("4.4.0");
    counters.listen(["0.0.0.0:1080", "[::]:1080"].map(|at| at.parse().unwrap()));
    counters
}

fn has(counters: &Counters, line: &str) {
    let page = page(Some(counters));
    assert!(page.lines().any(|found| found == line), "{line:?} is not in\n{page}");
}

#[test]
fn a_page_ends_with_its_end_and_says_whether_the_daemon_is_there() {
    assert_eq!(
        page(None),
        "# TYPE sockd_up gauge\n# HELP sockd_up Whether the daemon hands out its counters.\nsockd_up 0\n# EOF\n"
    );
    let page = page(Some(&counters()));
    assert!(page.contains("\nsockd_up 1\n") && page.ends_with("\n# EOF\n"));
}

#[test]
fn what_has_been_counted_is_on_the_page() {
    let counters = counters();
    counters.listener(1).connections.add(3);
    counters.requests.add((Asked::Connect5, Outcome::Denied), 2);
    counters.relayed_bytes.add(Direction::Down, u64::MAX);
    counters.handshake.observe(Duration::from_micros(1500));
    counters.handshake.observe(Duration::from_secs(40));
    for line in [
        "sockd_build_info{version=\"4.4.0\"} 1",
        "sockd_connections_total{listener=\"[::]:1080\"} 3",
        "sockd_requests_total{version=\"5\",command=\"connect\",result=\"denied\"} 2",
        "# UNIT sockd_relayed_bytes bytes",
        "sockd_relayed_bytes_total{direction=\"down\"} 18446744073709551615",
        "sockd_handshake_seconds_bucket{le=\"0.001\"} 0",
        "sockd_handshake_seconds_bucket{le=\"0.002\"} 1",
        "sockd_handshake_seconds_bucket{le=\"30.0\"} 1",
        "sockd_handshake_seconds_bucket{le=\"+Inf\"} 2",
        "sockd_handshake_seconds_count 2",
        "sockd_handshake_seconds_sum 40.001500",
    ] {
        has(&counters, line);
    }
}

/// A label of a client's choice would fill the memory of the collector, and would tell whom sockd serves.
#[test]
fn no_label_is_of_a_clients_choice() {
    const KNOWN: [&str; 12] = [
        "version",
        "listener",
        "state",
        "command",
        "result",
        "direction",
        "le",
        "method",
        "limit",
        "role",
        "how",
        "unit",
    ];
    let page = page(Some(&counters()));
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
        for label in labels.iter().flat_map(|(labels, _)| labels.split(',')) {
            let name = label.split('=').next().unwrap();
            assert!(KNOWN.contains(&name), "{line}");
        }
    }
}

/// A page is of the same length however many clients there are: about 300 lines.
#[test]
fn the_number_of_samples_is_fixed() {
    let before = page(Some(&counters())).lines().count();
    let counters = counters();
    for _ in 0..100 {
        counters.requests.add((Asked::Connect4, Outcome::Granted), 1);
    }
    assert_eq!(page(Some(&counters)).lines().count(), before);
    assert!(before < 400, "{before}");
}

#[test]
fn the_manual_page_has_every_metric_and_no_other() {
    let manual = include_str!("../../../../packaging/man/sockd-exporter.8");
    let page = page(Some(&counters()));
    let families: Vec<Vec<&str>> =
        page.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').collect())).collect();
    let suffix = |kind| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let of_process =
        ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes"];
    let mut written: Vec<String> =
        families.iter().map(|family| format!("{}{}", family[0], suffix(family[1]))).collect();
    written.extend(of_process.map(str::to_owned));
    let mut described: Vec<&str> =
        manual.lines().filter_map(|line| line.strip_prefix(".It Li ")?.split(' ').next()).collect();
    written.sort();
    written.dedup();
    described.sort_unstable();
    assert_eq!(described, written);
}
