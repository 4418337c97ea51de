//! Percentiles of single decisions, time to load, memory per rule: `cargo bench -p sockd-policy --bench figures`.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod corpus;

use std::hint::black_box;
use std::time::{Duration, Instant};

use corpus::{Shape, conf, line, no_names, requests, rules};
use sockd_policy::UserId;
use sockd_policy::frozen::{Provenance, freeze_rules, thaw_rules};

fn main() {
    println!(
        "{:>10} {:>10} {:>9} {:>9} {:>9} {:>10} {:>9} {:>11} {:>13} {:>7} {:>11}",
        "shape",
        "rules",
        "p50 ns",
        "p99 ns",
        "scan p50",
        "parse ms",
        "thaw ms",
        "parse/thaw",
        "read+thaw ms",
        "B/rule",
        "file B/rule"
    );
    for shape in [Shape::BlockList, Shape::Mixed, Shape::Domains] {
        for count in [1_000, 10_000, 100_000, 1_000_000] {
            figures(shape, count);
        }
    }
}

fn figures(shape: Shape, count: usize) {
    let text = conf(shape, count);
    let start = Instant::now();
    let parsed = rules(&text);
    let parse = start.elapsed();
    let file = freeze_rules(&parsed, &Provenance::default());
    drop((parsed, text));
    let mut rules = None;
    let (mut thaw, mut memory) = (Duration::MAX, 0);
    for _ in 0..5 {
        drop(rules.take());
        let (before, start) = (resident(), Instant::now());
        rules = thaw_rules(&file).ok().map(|(rules, _)| rules);
        thaw = thaw.min(start.elapsed());
        memory = memory.max(resident().saturating_sub(before) / count);
    }
    let rules = rules.unwrap();
    let user = UserId::parse(b"ann").unwrap();
    let mut index: Vec<u128> = requests(&user, 20_000)
        .iter()
        .map(|request| timed(|| line(rules.decide(request, &no_names()))))
        .collect();
    let in_turn = rules.scan();
    let mut scan: Vec<u128> =
        requests(&user, 50).iter().map(|request| timed(|| line(in_turn(request, &no_names())))).collect();
    index.sort_unstable();
    scan.sort_unstable();
    let from_disk = read_and_thaw(&file);
    println!(
        "{:>10} {count:>10} {:>9} {:>9} {:>9} {:>10.1} {:>9.1} {:>11.1} {:>13.1} {memory:>7} {:>11}",
        format!("{shape:?}"),
        index[index.len() / 2],
        index[index.len() * 99 / 100],
        scan[scan.len() / 2],
        parse.as_secs_f64() * 1e3,
        thaw.as_secs_f64() * 1e3,
        parse.as_secs_f64() / thaw.as_secs_f64(),
        from_disk.as_secs_f64() * 1e3,
        file.len() / count,
    );
}

/// The best time in which a file becomes rules; it has just been written, so that no disk is waited for.
fn read_and_thaw(file: &[u8]) -> Duration {
    let path = std::env::temp_dir().join(format!("sockd-figures-{}", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let times = (0..5).map(|_| {
        let start = Instant::now();
        let rules = thaw_rules(&std::fs::read(&path).unwrap());
        let time = start.elapsed();
        assert!(rules.is_ok());
        time
    });
    let best = times.min().unwrap();
    std::fs::remove_file(&path).unwrap();
    best
}

fn timed(decide: impl FnOnce() -> u32) -> u128 {
    let start = Instant::now();
    black_box(decide());
    start.elapsed().as_nanos()
}

/// Bytes of memory in use, from proc(5).
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
