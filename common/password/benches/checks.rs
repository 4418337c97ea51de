//! Measures the cost of a check for each kind of hash: `cargo bench -p sockd-password`.

use divan::{Bencher, black_box};
use sockd_password::{How, SALT, check, make};

fn main() {
    divan::main();
}

const KINDS: [How; 6] = [
    How::Yescrypt(5),
    How::Sha512crypt(5_000),
    How::Bcrypt(5),
    How::Bcrypt(10),
    How::Argon2id(19 << 10, 2),
    How::Argon2id(64 << 10, 3),
];

#[divan::bench(args = KINDS, sample_count = 10)]
fn wrong_password(bencher: Bencher, kind: How) {
    let hash = make(kind, b"sesame", [7; SALT]).unwrap_or_default();
    bencher.bench_local(|| check(black_box(b"open sesame"), &hash));
}
