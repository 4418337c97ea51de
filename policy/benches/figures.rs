//! Percentiles of decisions, time to load, memory per rule: `cargo bench -p sockd-policy --bench figures`. "thaw" uses
//! memory that has been used before; "first" includes reading the file in a process that has just begun.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

mod corpus;

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use corpus::{Shape, conf, line, no_names, requests, rules};
use sockd_policy::UserId;
use sockd_policy::frozen::{Provenance, freeze_rules, thaw_rules};

fn main() {
    if let Ok(path) = std::env::var(FIRST) {
        return first(&path);
    }
    println!(
        "{:>10} {:>10} {:>9} {:>9} {:>9} {:>10} {:>9} {:>11} {:>9} {:>7} {:>11}",
        "shape",
        "rules",
        "p50 ns",
        "p99 ns",
        "scan p50",
        "parse ms",
        "thaw ms",
        "parse/thaw",
        "first ms",
        "B/rule",
        "file B/rule"
    );
    for shape in [Shape::BlockList, Shape::Mixed, Shape::Words, Shape::Domains] {
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
    let mut thaw = Duration::MAX;
    for _ in 0..5 {
        drop(rules.take());
        let start = Instant::now();
        rules = thaw_rules(&file).ok().map(|(rules, _)| rules);
        thaw = thaw.min(start.elapsed());
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
    let [first, memory] = in_a_new_process(&file);
    println!(
        "{:>10} {count:>10} {:>9} {:>9} {:>9} {:>10.1} {:>9.1} {:>11.1} {first:>9} {memory:>7} {:>11}",
        format!("{shape:?}"),
        index[index.len() / 2],
        index[index.len() * 99 / 100],
        scan[scan.len() / 2],
        parse.as_secs_f64() * 1e3,
        thaw.as_secs_f64() * 1e3,
        parse.as_secs_f64() / thaw.as_secs_f64(),
        file.len() / count,
    );
}

/// Names the file for [`first`].
const FIRST: &str = "SOCKD_FIGURES_FIRST";

/// The output of [`first`], the best of five. The file has just been written, so no disk delays it.
fn in_a_new_process(file: &[u8]) -> [String; 2] {
    let path = std::env::temp_dir().join(format!("sockd-figures-{}", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let run = |_| {
        let output = Command::new(std::env::current_exe().unwrap()).env(FIRST, &path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (time, memory) = text.trim().split_once(' ').unwrap();
        (time.parse::<f64>().unwrap(), memory.to_owned())
    };
    let (time, memory) = (0..5).map(run).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    std::fs::remove_file(&path).unwrap();
    [format!("{time:.1}"), memory]
}

/// Reads and thaws a file in a process that has not used any memory before: prints the time in ms and the bytes per rule.
fn first(path: &str) {
    let start = Instant::now();
    let file = std::fs::read(path).unwrap();
    let before = resident();
    let (rules, _) = thaw_rules(&file).unwrap();
    println!("{} {}", start.elapsed().as_secs_f64() * 1e3, (resident() - before) / rules.len());
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
