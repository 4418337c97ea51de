//! The cost of writing and reading the messages of one session: `cargo bench -p sockd-common`.

#![allow(clippy::unwrap_used)]

use divan::{Bencher, black_box};
use sockd_common::message::request::{Command, Destination, Request};
use sockd_common::message::session::{CloseReason, FromSession, Handshake, Methods, ToSession};
use sockd_common::message::{Id, Message, Name, UserId};
use sockd_common::wire::{MAX_PACKET, decode, encode};
use std::net::{Ipv4Addr, SocketAddr};

fn main() {
    divan::main();
}

const ID: Id = Id(40_000);

fn request(destination: Destination) -> FromSession {
    let user = UserId::new(b"joe").unwrap();
    let request = Request { version: 4, command: Command::Connect, destination, port: 443, user };
    FromSession::Request { id: ID, request }
}

fn to_address() -> FromSession {
    request(Destination::Address(Ipv4Addr::new(198, 51, 100, 10).into()))
}

fn to_name() -> FromSession {
    request(Destination::Name(Name::new(b"www.example.com").unwrap()))
}

fn closed() -> FromSession {
    FromSession::Closed { id: ID, why: CloseReason::Finished }
}

fn relay() -> ToSession {
    ToSession::Relay { id: ID, bound: SocketAddr::from(([0, 0, 0, 0], 0)) }
}

fn write<M: Message>(bencher: Bencher, message: &M) {
    let mut buffer = [0; MAX_PACKET];
    bencher.bench_local(|| encode(black_box(message), &mut buffer).map(<[u8]>::len));
}

fn read<M: Message>(bencher: Bencher, message: &M) {
    let mut buffer = [0; MAX_PACKET];
    let packet = encode(message, &mut buffer).unwrap();
    bencher.bench_local(|| decode::<M>(black_box(packet)).unwrap());
}

#[divan::bench]
fn write_request(bencher: Bencher) {
    write(bencher, &to_address());
}

#[divan::bench]
fn read_request(bencher: Bencher) {
    read(bencher, &to_address());
}

#[divan::bench]
fn write_request_of_a_name(bencher: Bencher) {
    write(bencher, &to_name());
}

#[divan::bench]
fn read_request_of_a_name(bencher: Bencher) {
    read(bencher, &to_name());
}

#[divan::bench]
fn write_serve(bencher: Bencher) {
    write(bencher, &ToSession::Serve { id: ID, handshake: Handshake::Fresh(Methods::NONE) });
}

#[divan::bench]
fn write_relay(bencher: Bencher) {
    write(bencher, &relay());
}

#[divan::bench]
fn read_relay(bencher: Bencher) {
    read(bencher, &relay());
}

#[divan::bench]
fn read_closed(bencher: Bencher) {
    read(bencher, &closed());
}
