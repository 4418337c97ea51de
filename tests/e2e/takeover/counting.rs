//! Counters go on over a takeover: totals never go down, and levels are the sums over all trees.

use crate::trees::{Trees, sockdctl};
use nix::sys::signal::Signal;
use sockd_common::status::Gift;
use sockd_ledger::fetch::fetch;
use sockd_tests::far::Server;
use sockd_tests::host::Host;
use sockd_tests::line::Line;
use sockd_tests::site::SERVER;
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::until_true;
use std::collections::BTreeMap;
use std::path::Path;

const SETTINGS: &str =
    r#"(status_socket: at("/run/sockd/status"), counters_socket: at("/run/sockd/counters"))"#;

const CONNECTIONS: &str = "sockd_connections_total{listener=\"0.0.0.0:1080\"}";
const GRANTED: &str = "sockd_requests_total{version=\"4\",command=\"connect\",result=\"granted\"}";
const UP: &str = "sockd_relayed_bytes_total{direction=\"up\"}";
const RELAYING: &str = "sockd_sessions{state=\"relaying\"}";

/// A reader that looks again and again.
struct Watcher {
    gateway: Host,
    last: BTreeMap<String, f64>,
}

impl Watcher {
    /// Waits until the page says this. No total may be less than on the page before.
    fn sees(&mut self, expected: [f64; 4]) {
        until_true(&format!("{expected:?}"), || {
            self.look();
            [CONNECTIONS, GRANTED, UP, RELAYING].map(|series| self.last[series]) == expected
        });
    }

    fn look(&mut self) {
        let output = sockdctl(&self.gateway, &["metrics"]);
        let page = String::from_utf8(output.stdout).expect("text");
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| line.rsplit_once(' '));
        let now = samples.map(|(series, value)| (series.to_owned(), value.parse().expect("a number")));
        let now: BTreeMap<String, f64> = now.collect();
        for (series, before) in self.last.iter().filter(|(series, _)| only_goes_up(series)) {
            assert!(now[series] >= *before, "{series}: {before}, then {}", now[series]);
        }
        self.last = now;
    }
}

/// The processor time of a monitor's process is its own.
fn only_goes_up(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end)) && name.starts_with("sockd")
}

fn kinds(gateway: &Host) -> Vec<Gift> {
    let gifts = gateway.run(|| fetch(Path::new("/run/sockd/counters"))).expect("gifts");
    gifts.into_iter().map(|(gift, _)| gift).collect()
}

fn relay(trees: &Trees, bytes: usize) -> Line {
    let mut line = granted(&trees.lab.site.client, &Request::connect((SERVER, 7)));
    line.send(vec![0; bytes]);
    line.read(bytes);
    line
}

#[test]
fn counters_go_on_when_a_tree_takes_over_and_when_one_ends() {
    let mut trees = Trees::new(SETTINGS);
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let gateway = trees.lab.site.gateway.clone();
    let mut watcher = Watcher { gateway: gateway.clone(), last: BTreeMap::new() };
    drop(relay(&trees, 5));
    let mut first = relay(&trees, 10);
    watcher.sees([2.0, 2.0, 5.0, 1.0]);
    trees.install_another();
    let second_tree = trees.reload_well();
    watcher.sees([2.0, 2.0, 5.0, 1.0]);
    let second = relay(&trees, 100);
    watcher.sees([3.0, 3.0, 5.0, 2.0]);
    assert_eq!(kinds(&gateway), [Gift::Counters, Gift::Counters]);
    // The first tree counts the bytes of its relay, and ends.
    first.send([0; 990]);
    first.read(990);
    drop(first);
    assert_eq!(trees.lab.sockd.wait().code(), Some(0));
    watcher.sees([3.0, 3.0, 1005.0, 1.0]);
    until_true("its end is known", || kinds(&gateway) == [Gift::Counters, Gift::EndedCounters]);
    trees.install_another();
    trees.reload_well();
    assert_eq!(kinds(&gateway), [Gift::Counters, Gift::Counters], "the first tree's are part of the third's");
    watcher.sees([3.0, 3.0, 1005.0, 1.0]);
    // The sessions of a tree that dies end with it, uncounted, and disappear.
    second_tree.signal(Signal::SIGKILL);
    watcher.sees([3.0, 3.0, 1005.0, 0.0]);
    drop(second);
}

/// If there are more trees than are handed out, the oldest keep their last numbers.
#[test]
fn counters_of_many_trees_that_drain_go_on() {
    let mut trees = Trees::new(SETTINGS);
    let _echo = Server::echo(&trees.lab.site.server, (SERVER, 7));
    let gateway = trees.lab.site.gateway.clone();
    let mut watcher = Watcher { gateway: gateway.clone(), last: BTreeMap::new() };
    let mut lines = Vec::new();
    for number in 1..=8_u8 {
        lines.push(relay(&trees, 1));
        watcher.sees([number.into(), number.into(), 0.0, number.min(7).into()]);
        trees.install_another();
        trees.reload_well();
    }
    watcher.look();
    assert_eq!(kinds(&gateway).len(), 7);
}
