//! Rule files and requests as administrators and clients make them, from a fixed seed.

#![allow(
    dead_code,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sockd_policy::{
    Command, FactState, Facts, IdentMode, Request, RuleSet, Services, UserId, Verdict, Version, parse_conf,
};

/// The shapes of rule files that are measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Destinations that nobody may reach, as published lists have them: mostly single addresses and small networks.
    BlockList,
    /// Prefixes of every length on both sides, both families, ports and users.
    Mixed,
    /// The same with commands, versions of the protocol and lists of ports in half of the lines.
    Words,
    /// Domains that nobody may reach.
    Domains,
    /// Non-contiguous masks, each of them another one: they can only be scanned.
    NoncontiguousMasks,
}

/// xorshift64*: the same corpus on every machine.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.roll() >> 11) % end
    }

    fn v4(&mut self) -> Ipv4Addr {
        Ipv4Addr::from((self.roll() >> 32) as u32)
    }

    fn v6(&mut self) -> Ipv6Addr {
        let high = 0x2000_0000_0000_0000 | self.roll() >> 3;
        Ipv6Addr::from(u128::from(high) << 64 | u128::from(self.roll()))
    }
}

/// The text of a file of `count` rules, the last of which permits whatever is left.
pub(crate) fn conf(shape: Shape, count: usize) -> String {
    let mut dice = Dice::new();
    let mut text = String::new();
    for _ in 1..count {
        let line = match shape {
            Shape::BlockList => {
                let length = [32, 32, 32, 32, 32, 24, 24, 24, 22, 20, 18, 16][dice.below(12) as usize];
                format!("deny 0.0.0.0 0.0.0.0 {}/{length}", dice.v4())
            }
            Shape::Mixed => mixed(&mut dice),
            Shape::Words => words(&mut dice),
            Shape::Domains => {
                format!("deny ALL 0.0.0.0 .d{:x}.example{} 0.0.0.0", dice.below(1 << 40), dice.below(50))
            }
            Shape::NoncontiguousMasks => format!("deny 0.0.0.0 0.0.0.0 {} {}", dice.v4(), dice.v4()),
        };
        writeln!(text, "{line}").unwrap();
    }
    text + "permit ALL 0.0.0.0\n"
}

fn mixed(dice: &mut Dice) -> String {
    let action = ["deny", "permit"][dice.below(2) as usize];
    let users = ["", "", "", "", "", "*=ann,bob ", "*=carl "][dice.below(7) as usize];
    let port = ["", "", "", "eq 80", "neq 25", "ge 1024"][dice.below(6) as usize];
    if dice.below(5) == 0 {
        let (from, to) = (dice.below(97) + 32, dice.below(97) + 32);
        return format!("{action} {users}{}/{from} {}/{to} {port}", dice.v6(), dice.v6());
    }
    let (from, to) = (dice.below(25) + 8, dice.below(25) + 8);
    match dice.below(3) {
        0 => format!("{action} {users}0.0.0.0/0 {}/{to} {port}", dice.v4()),
        1 => format!("{action} {users}{}/{from} {port}", dice.v4()),
        _ => format!("{action} {users}{}/{from} {}/{to} {port}", dice.v4(), dice.v4()),
    }
}

fn words(dice: &mut Dice) -> String {
    let fields = ["", "", "", "+=connect ", "+=bind,udp ", "~=5 ", "~=4 +=connect "][dice.below(7) as usize];
    let ports = ["", "eq 443", "in 80,443,8000-8999", "in 1-1023,8443"][dice.below(4) as usize];
    let (from, to) = (dice.below(25) + 8, dice.below(25) + 8);
    let action = ["deny", "permit"][dice.below(2) as usize];
    match dice.below(3) {
        0 => format!("{action} {fields}0.0.0.0/0 {}/{to} {ports}", dice.v4()),
        1 => format!("{action} {fields}{}/{from} {ports}", dice.v4()),
        _ => format!("{action} {fields}{}/{from} {}/{to} {ports}", dice.v4(), dice.v4()),
    }
}

pub(crate) fn rules(text: &str) -> RuleSet {
    parse_conf(text.as_bytes(), &Services::default(), &mut |path| Err(path.into())).unwrap()
}

/// Requests of clients anywhere; one in five with IPv6.
pub(crate) fn requests(user: &UserId, count: usize) -> Vec<Request<'_>> {
    let mut dice = Dice::new();
    dice.0 ^= 0xffff;
    let mut address = || -> (IpAddr, IpAddr) {
        if dice.below(5) == 0 {
            (dice.v6().into(), dice.v6().into())
        } else {
            (dice.v4().into(), dice.v4().into())
        }
    };
    let request = |(source, destination)| Request {
        source,
        destination: Some(destination),
        port: 443,
        command: Command::Connect,
        version: Version::Socks4,
        user,
        ident_default: IdentMode::Off,
        nat64: &[],
    };
    (0..count).map(|_| request(address())).collect()
}

/// The line that decides, as a number that the optimiser cannot drop.
pub(crate) fn line(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Permit(permit) => permit.rule.line(),
        Verdict::Deny(deny) => deny.rule.map_or(0, |rule| rule.line()),
        Verdict::Need(_) => 0,
    }
}

pub(crate) fn no_names() -> Facts<'static> {
    let names = FactState::Known(&[][..]);
    Facts { source_names: names, destination_names: names, ..Facts::default() }
}
