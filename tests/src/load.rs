//! Many short connections at once.

use crate::host::Host;
use crate::socks::{GRANTED, PROXY, Request};
use crate::wait::LONG;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::thread::scope;

/// Makes `number` connections from `host` to an echo, `at_once` of them at once: a byte there and the same back.
pub fn relays(host: &Host, to: SocketAddrV4, number: u32, at_once: u32) {
    host.run(|| {
        scope(|scope| {
            for place in 0..at_once {
                let own = number / at_once + u32::from(place < number % at_once);
                scope.spawn(move || (0..own).for_each(|_| relay(to)));
            }
        });
    });
}

fn relay(to: SocketAddrV4) {
    let mut stream = TcpStream::connect(PROXY).expect("the proxy");
    stream.set_read_timeout(Some(LONG)).expect("limit");
    stream.write_all(&Request::connect(to).bytes()).expect("request");
    let mut reply = [0; 8];
    stream.read_exact(&mut reply).expect("reply");
    assert_eq!(reply[1], GRANTED);
    stream.write_all(b"x").expect("byte");
    stream.read_exact(&mut reply[..1]).expect("answer");
}
