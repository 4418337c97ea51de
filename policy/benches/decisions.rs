//! The cost of one decision against the number of rules, the plain scan beside it: `cargo bench -p sockd-policy`.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

mod corpus;

use corpus::{Shape, conf, line, no_names, requests, rules};
use divan::Bencher;
use divan::counter::ItemsCount;
use sockd_policy::UserId;

const SIZES: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
const BATCH: usize = 1000;

fn main() {
    divan::main();
}

fn index(bencher: Bencher, shape: Shape, count: usize) {
    let (rules, user) = (rules(&conf(shape, count)), UserId::parse(b"ann").unwrap());
    let requests = requests(&user, BATCH);
    bencher.counter(ItemsCount::new(BATCH)).bench(|| {
        requests.iter().map(|request| line(rules.decide(request, &no_names())) as u64).sum::<u64>()
    });
}

fn scan(bencher: Bencher, shape: Shape, count: usize) {
    let (rules, user) = (rules(&conf(shape, count)), UserId::parse(b"ann").unwrap());
    let (requests, scan) = (requests(&user, BATCH.min(1_000_000 / count)), rules.scan());
    bencher
        .counter(ItemsCount::new(requests.len()))
        .bench(|| requests.iter().map(|request| line(scan(request, &no_names())) as u64).sum::<u64>());
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn block_list_by_index(bencher: Bencher, count: usize) {
    index(bencher, Shape::BlockList, count);
}

#[divan::bench(args = SIZES, sample_count = 5)]
fn block_list_by_scan(bencher: Bencher, count: usize) {
    scan(bencher, Shape::BlockList, count);
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn mixed_by_index(bencher: Bencher, count: usize) {
    index(bencher, Shape::Mixed, count);
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn words_by_index(bencher: Bencher, count: usize) {
    index(bencher, Shape::Words, count);
}

#[divan::bench(args = SIZES, sample_count = 5)]
fn mixed_by_scan(bencher: Bencher, count: usize) {
    scan(bencher, Shape::Mixed, count);
}

#[divan::bench(args = [10, 1_000, 100_000], sample_count = 5)]
fn noncontiguous_masks_by_index(bencher: Bencher, count: usize) {
    index(bencher, Shape::NoncontiguousMasks, count);
}

#[divan::bench(args = [10, 1_000, 100_000], sample_count = 5)]
fn noncontiguous_masks_by_scan(bencher: Bencher, count: usize) {
    scan(bencher, Shape::NoncontiguousMasks, count);
}
