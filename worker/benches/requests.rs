//! The cost of reading a request: `cargo bench -p sockd-worker`.

#![allow(clippy::indexing_slicing)]

use divan::Bencher;
use sockd_worker::socks::v4::read;

fn main() {
    divan::main();
}

const ADDRESS: &[u8] = b"\x04\x01\x00\x50\xc6\x33\x64\x0ajoe\0";
const NAME: &[u8] = b"\x04\x01\x00\x50\x00\x00\x00\x07joe\0www.example.com\0";

fn bench(bencher: Bencher, bytes: &[u8]) {
    bencher.bench(|| read(divan::black_box(bytes)));
}

#[divan::bench]
fn address(bencher: Bencher) {
    bench(bencher, ADDRESS);
}

#[divan::bench]
fn name(bencher: Bencher) {
    bench(bencher, NAME);
}

#[divan::bench]
fn name_not_whole(bencher: Bencher) {
    bench(bencher, NAME.split_last().map_or(NAME, |(_, part)| part));
}

#[divan::bench]
fn longest_user_refused(bencher: Bencher) {
    bench(bencher, &[&ADDRESS[..8], &[b'u'; 600]].concat());
}

#[divan::bench]
fn foreign(bencher: Bencher) {
    bench(bencher, b"\x05\x01\x00");
}
