//! Random rules and questions from so few addresses, names and users that they meet each other often.

#![allow(dead_code, clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use sockd_policy::{
    Command, FactState, Facts, HostName, IdentMode, Identity, Login, Need, Request, RuleSet, Services,
    UserId, Verdict, Version, parse_conf,
};

pub(crate) const ADDRESSES: [&str; 10] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.128.1",
    "10.200.0.1",
    "138.0.0.1",
    "0.0.0.0",
    "2001:db8::1",
    "2001:db8:1::1",
    "64:ff9b::10.0.0.2",
    "2002:a00:8001::1",
];
pub(crate) const NAMES: [&str; 7] =
    ["com", "xyz.com", "a.xyz.com", "b.a.xyz.com", "badxyz.com", "a-b.com", "org"];
const USERS: [&str; 4] = ["", "ann", "bob", "carl"];

fn pattern() -> impl Strategy<Value = String> {
    let address = select(&ADDRESSES[..]);
    let v4 = select(&ADDRESSES[..6]);
    prop_oneof![
        6 => (address, 0u32..=32).prop_map(|(address, length)| {
            let length = if address.contains(':') { length * 4 } else { length };
            format!("{address}/{length}")
        }),
        2 => (v4, select(vec!["255.0.0.255", "0.255.0.0", "128.0.0.1", "0.0.0.1", "0.0.128.0"]))
            .prop_map(|(address, mask)| format!("{address} {mask}")),
        1 => select(vec!["2001:db8::1 ::ffff", "::1 ::1", "2001:: ffff:0:1::"]).prop_map(str::to_owned),
        2 => Just("ALL 0.0.0.0".to_owned()),
        3 => (select(&NAMES[..]), any::<bool>())
            .prop_map(|(name, zone)| format!("{}{name} 0.0.0.0", if zone { "." } else { "" })),
    ]
}

pub(crate) fn rule() -> impl Strategy<Value = String> {
    let action = select(vec!["permit", "deny", "permit ?=i", "permit ?=I", "deny ?=n"]);
    let users = select(vec!["", "", "", " *=ann", " *=ann,bob", " *=/users"]);
    let fields = select(vec![
        "",
        "",
        "",
        " +=connect",
        " +=bind,udp",
        " +=udp",
        " ~=5",
        " ~=4 +=connect,bind",
        " ~=4,5",
    ]);
    let methods =
        select(vec!["", "", "", " @=none", " @=password", " @=none,password", " g=staff,x", " g=y"]);
    let ports = ["", "", "", " eq 80", " neq 80", " lt 80", " ge 80", " gt 65535", " in 79,81", " in 0-80"];
    let limits = select(vec!["", "", "", " <=1M", " <=10M/2M,shared", " n=5", " <=1M n=7"]);
    (action, (fields, methods, limits), users, pattern(), prop::option::of(pattern()), select(ports.to_vec()))
        .prop_map(|(action, (fields, methods, limits), users, source, to, ports)| {
            let is_limited = action.starts_with("permit") && !fields.contains("udp");
            let limits = if is_limited { limits } else { "" };
            format!("{action}{fields}{users}{methods}{limits} {source} {}{ports}", to.unwrap_or_default())
        })
}

/// One of some dozen thousand addresses, by a number. They lie close together here and far apart there.
pub(crate) fn crowded(v4: bool, number: u64) -> IpAddr {
    let [far, near, close] = [number & 3, number >> 2 & 7, number >> 5 & 511].map(|part| part as u32);
    match v4 {
        true => IpAddr::from((far << 30 | near << 16 | close << 4).to_be_bytes()),
        false => {
            let [far, near, close] = [far, near, close].map(u128::from);
            IpAddr::from((far << 125 | near << 112 | close << 64).to_be_bytes())
        }
    }
}

/// Rules of one family, with enough prefixes for a stride table; few of them match a request.
pub(crate) fn crowd(v4: bool, seed: u64) -> String {
    let mut seed = seed | 1;
    let mut dice = move |end: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    let mut text = String::new();
    for _ in 0..2500 {
        let mut side = |all: u64| match dice(all) {
            0 => "ALL 0.0.0.0".to_owned(),
            of => {
                let length = if of == 1 { dice(20) } else { 20 + dice(11) };
                let length = if v4 { length } else { length * 2 + length / 20 * 12 };
                format!("{}/{length}", crowded(v4, dice(1 << 14)))
            }
        };
        let rule = format!("deny {} {}", side(30), side(4));
        let ports = ["", " eq 80", " eq 80", " neq 80", " lt 80"][dice(5) as usize];
        text += &format!("{rule}{ports}\n");
    }
    text
}

pub(crate) fn crowded_question(v4: bool) -> impl Strategy<Value = Question> {
    (0u64..1 << 14, 0u64..1 << 14, any::<bool>(), question()).prop_map(
        move |(source, destination, translated, question)| {
            let destination =
                if translated { nat64(crowded(v4, destination)) } else { crowded(v4, destination) };
            let destination = question.destination.map(|_| destination);
            Question { source: crowded(v4, source), destination, ..question }
        },
    )
}

/// The address by which a translator is asked for an IPv4 address.
fn nat64(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets().map(u16::from);
            IpAddr::from([0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d])
        }
        address => address,
    }
}

/// A fact in any state.
fn state<T: std::fmt::Debug + Clone>(known: impl Strategy<Value = T>) -> impl Strategy<Value = FactState<T>> {
    prop_oneof![
        3 => Just(FactState::NotAsked),
        6 => known.prop_map(FactState::Known),
        2 => Just(FactState::Unavailable),
    ]
}

fn names() -> impl Strategy<Value = FactState<Vec<HostName>>> {
    let name = select(&NAMES[..]).prop_map(|name| HostName::parse(name.as_bytes()).unwrap());
    state(prop::collection::vec(name, 0..3))
}

#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) source: IpAddr,
    pub(crate) destination: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) command: Command,
    pub(crate) version: Version,
    pub(crate) user: UserId,
    pub(crate) source_names: FactState<Vec<HostName>>,
    pub(crate) destination_names: FactState<Vec<HostName>>,
    pub(crate) identity: FactState<Identity>,
    /// A user with a password.
    pub(crate) login: Option<UserId>,
}

impl Question {
    /// The question with other names of one host.
    pub(crate) fn with_names(&self, fact: Need, names: FactState<Vec<HostName>>) -> Question {
        match fact {
            Need::SourceNames => Question { source_names: names, ..self.clone() },
            _ => Question { destination_names: names, ..self.clone() },
        }
    }
}

pub(crate) fn question() -> impl Strategy<Value = Question> {
    let address = || select(&ADDRESSES[..]).prop_map(|address| address.parse().unwrap());
    let user = || select(&USERS[..]).prop_map(|user| UserId::parse(user.as_bytes()).unwrap());
    let identity = state(prop_oneof![Just(Identity::Unknown), user().prop_map(Identity::Known)]);
    (
        address(),
        prop::option::weighted(0.8, address()),
        select(vec![0u16, 79, 80, 81]),
        (
            select(vec![Command::Connect, Command::Bind, Command::Udp]),
            select(vec![Version::Socks4, Version::Socks5]),
        ),
        user(),
        names(),
        names(),
        identity,
        prop::option::weighted(0.3, user()),
    )
        .prop_map(
            |(
                source,
                destination,
                port,
                (command, version),
                user,
                source_names,
                destination_names,
                identity,
                login,
            )| {
                Question {
                    source,
                    destination,
                    port,
                    command,
                    version,
                    user,
                    source_names,
                    destination_names,
                    identity,
                    login,
                }
            },
        )
}

pub(crate) fn verdict<'r>(rules: &'r RuleSet, question: &Question, scan: bool) -> Verdict<'r> {
    let request = Request {
        source: question.source,
        destination: question.destination,
        port: question.port,
        command: question.command,
        version: question.version,
        user: &question.user,
        ident_default: IdentMode::Lenient,
        nat64: &[],
    };
    let facts = Facts {
        source_names: question.source_names.as_deref(),
        destination_names: question.destination_names.as_deref(),
        identity: question.identity.as_ref(),
        login: question.login.as_ref().map(|user| Login { user, groups: b"staff,wheel" }),
    };
    if scan { rules.scan()(&request, &facts) } else { rules.decide(&request, &facts) }
}

pub(crate) fn parse(text: &str) -> RuleSet {
    parse_conf(text.as_bytes(), &Services::default(), &mut |_| Ok(b"carl".to_vec())).unwrap()
}

pub(crate) fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1000)
}

/// For a test of thousands of lines a case. `proptest!` would run each of PROPTEST_CASES, whatever the test asks for.
pub(crate) fn few_cases(source_file: &'static str) -> TestRunner {
    let config = ProptestConfig { cases: cases() / 200 + 1, ..ProptestConfig::default() };
    TestRunner::new(ProptestConfig { source_file: Some(source_file), ..config })
}
