//! Decisions: the index against the plain scan, and the same answer whatever the spelling of an address.

use arbitrary::{Result, Unstructured};
use sockd_policy::embedded;
use sockd_policy::guard::{AddressKind, always_refused};
use sockd_policy::{
    Command, FactState, Facts, HostName, IdentMode, Identity, Login, Request, Route, Routes, RuleSet,
    Services, Upstream, Upstreams, UserId, Verdict, Version, canonical, parse_conf, parse_routes,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const USERS: [&[u8]; 5] = [b"", b"ann", b"bob", b"carl", b"\xff\xfe"];
const NAMES: [&str; 7] = ["com", "xyz.com", "a.xyz.com", "b.a.xyz.com", "badxyz.com", "a-b.com", "org"];
const HOSTS: [&str; 10] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.128.1",
    "127.0.0.1",
    "138.0.0.1",
    "0.0.0.0",
    "2001:db8::1",
    "2001:db8:1::1",
    "::1",
    "64:ff9b::7f00:1",
];

/// A question to the rules, with all that is known.
#[derive(Debug)]
struct Question {
    source: IpAddr,
    /// `None` for a name that is resolved elsewhere.
    destination: Option<IpAddr>,
    port: u16,
    command: Command,
    version: Version,
    user: UserId,
    source_names: FactState<Vec<HostName>>,
    destination_names: FactState<Vec<HostName>>,
    identity: FactState<Identity>,
    /// A user with a password.
    login: Option<UserId>,
}

/// The answer, without the number of the line.
type Outcome = (String, Option<u32>);

impl Question {
    fn ask(&self, rules: &RuleSet, scan: bool) -> Outcome {
        let request = Request {
            source: self.source,
            destination: self.destination,
            port: self.port,
            command: self.command,
            version: self.version,
            user: &self.user,
            ident_default: IdentMode::Lenient,
            nat64: &[],
        };
        let facts = Facts {
            source_names: self.source_names.as_deref(),
            destination_names: self.destination_names.as_deref(),
            identity: self.identity.as_ref(),
            login: self.login.as_ref().map(|user| Login { user, groups: b"staff,wheel" }),
        };
        match if scan { rules.scan()(&request, &facts) } else { rules.decide(&request, &facts) } {
            Verdict::Permit(permit) => (format!("permit {}", permit.unverified), Some(permit.rule.index())),
            Verdict::Deny(deny) => (format!("{:?}", deny.why), deny.rule.map(|rule| rule.index())),
            Verdict::Need(need) => (format!("{need:?}"), None),
        }
    }
}

fn user(name: &[u8]) -> UserId {
    UserId::parse(name).expect("a user id")
}

fn names(list: &[&str]) -> Vec<HostName> {
    list.iter().map(|name| HostName::parse(name.as_bytes()).expect("a name")).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The answers of the rules to some questions, by the index; the scan must agree.
pub(crate) fn answers(rules: &RuleSet) -> Vec<Outcome> {
    let known = |list: &[&str]| FactState::Known(names(list));
    let mut answers = Vec::new();
    for (place, host) in HOSTS.iter().enumerate() {
        for (source_names, destination_names) in [
            (FactState::NotAsked, FactState::NotAsked),
            (FactState::Unavailable, known(&[])),
            (known(&[]), FactState::Unavailable),
            (known(&[]), known(&[])),
            (known(&["a.xyz.com"]), known(&["org", "xyz.com"])),
        ] {
            let question = Question {
                source: address(host),
                destination: (place % 5 < 4).then(|| address(HOSTS[(place * 3 + 1) % HOSTS.len()])),
                port: [23, 80, 0, 65535][place % 4],
                command: [Command::Connect, Command::Bind, Command::Udp][place % 3],
                version: [Version::Socks4, Version::Socks5][place % 3 % 2],
                user: user(USERS[place % USERS.len()]),
                source_names,
                destination_names,
                identity: match place % 4 {
                    0 => FactState::NotAsked,
                    1 => FactState::Known(Identity::Unknown),
                    2 => FactState::Known(Identity::Known(user(b"ann"))),
                    _ => FactState::Unavailable,
                },
                login: (place % 3 == 0).then(|| user(USERS[place % USERS.len()])),
            };
            let answer = question.ask(rules, false);
            assert_eq!(answer, question.ask(rules, true), "{question:?}");
            answers.push(answer);
        }
    }
    answers
}

/// The names of a host in every state.
fn host_names() -> [FactState<Vec<HostName>>; 4] {
    let known = |list: &[&str]| FactState::Known(names(list));
    [FactState::NotAsked, FactState::Unavailable, known(&[]), known(&["org", "a.xyz.com"])]
}

/// The addresses from which the routes lead to some hosts.
pub(crate) fn routed(routes: &Routes) -> Vec<Option<IpAddr>> {
    let mut found = Vec::new();
    for host in HOSTS.map(address) {
        for names in host_names() {
            let route = routes.source_for(host, names.as_deref());
            assert_eq!(routes.source_for(mapped(host), names.as_deref()), route);
            found.push(match route {
                Route::From { source, .. } => Some(source),
                Route::NoMatch | Route::NeedNames | Route::NamesUnavailable { .. } => None,
            });
        }
    }
    found
}

/// The ways to some hosts.
pub(crate) fn ways(lines: &Upstreams) -> Vec<String> {
    let mut found = Vec::new();
    for (place, host) in HOSTS.map(address).into_iter().enumerate() {
        for names in host_names() {
            let elsewhere = if place % 4 == 3 { None } else { Some(host) };
            let user = user(USERS[place % USERS.len()]);
            let port = [23, 80][place % 2];
            let upstream = lines.way_for(elsewhere, names.as_deref(), port, &user, &[]);
            assert_eq!(lines.way_for(elsewhere.map(mapped), names.as_deref(), port, &user, &[]), upstream);
            found.push(match upstream {
                Upstream::By { way, command, .. } => {
                    format!("{way:?} {:?}", command.map(|command| command.text().to_owned()))
                }
                Upstream::NeedNames | Upstream::NamesUnavailable { .. } => "names".into(),
            });
        }
    }
    found
}

/// The same host as an IPv4-mapped IPv6 address.
fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
        other => other,
    }
}

/// Rules and questions that the input chooses: the index decides as the scan does, a mapped address as the plain one.
pub fn decisions(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let _ = decide(&mut choices);
}

fn decide(choices: &mut Unstructured<'_>) -> Result<()> {
    let (mut conf, mut routes) = (String::new(), String::new());
    for _ in 0..choices.int_in_range(0..=24)? {
        conf += &rule(choices)?;
        conf += "\n";
        if choices.ratio(1, 4)? {
            routes +=
                &format!("{} {}\n", choices.choose(&["10.9.9.9", "192.0.2.1"])?, pattern(choices, true)?);
        }
    }
    let rules = parse_conf(conf.as_bytes(), &Services::default(), &mut |_| Ok(b"carl \xff\xfe".to_vec()));
    let rules = rules.unwrap_or_else(|errors| panic!("{errors:?} in {conf}"));
    let routes = parse_routes(routes.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?} in {routes}"));
    routed(&routes);
    while !choices.is_empty() {
        let question = question(choices)?;
        let answer = question.ask(&rules, true);
        assert_eq!(question.ask(&rules, false), answer, "{question:?} to {conf}");
        let (source, destination) = (mapped(question.source), question.destination.map(mapped));
        let spelled = Question { source, destination, ..question };
        assert_eq!(spelled.ask(&rules, false), answer, "{spelled:?} to {conf}");
        if let Some(destination) = destination {
            is_judged_alike(destination, spelled.port);
        }
    }
    Ok(())
}

/// The guard sees through every spelling of an IPv4 address.
fn is_judged_alike(address: IpAddr, port: u16) {
    let plain = canonical(address);
    assert_eq!(canonical(plain), plain);
    let refusal = |address| always_refused(address, port, AddressKind::Unicast, false, &[]);
    assert_eq!(refusal(address), refusal(plain));
    if let Some(inner) = embedded(plain, &[])
        && refusal(IpAddr::V4(inner)).is_some()
    {
        assert!(refusal(plain).is_some(), "{plain} leads to {inner}");
    }
}

fn any_address(choices: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(match choices.int_in_range(0..=9)? {
        0..=6 => address(choices.choose(&HOSTS)?),
        7 => IpAddr::V4(Ipv4Addr::from(choices.arbitrary::<u32>()?)),
        8 => IpAddr::V6(Ipv6Addr::from(choices.arbitrary::<u128>()?)),
        _ => mapped(IpAddr::V4(Ipv4Addr::from(choices.arbitrary::<u32>()?))),
    })
}

fn question(choices: &mut Unstructured<'_>) -> Result<Question> {
    let names = |choices: &mut Unstructured<'_>| -> Result<FactState<Vec<HostName>>> {
        Ok(match choices.int_in_range(0..=4)? {
            0 => FactState::NotAsked,
            4 => FactState::Unavailable,
            count => {
                let some = (1..count).map(|_| choices.choose(&NAMES).copied()).collect::<Result<Vec<_>>>()?;
                FactState::Known(self::names(&some))
            }
        })
    };
    Ok(Question {
        source: any_address(choices)?,
        destination: if choices.ratio(1, 8)? { None } else { Some(any_address(choices)?) },
        port: *choices.choose(&[0, 22, 79, 80, 81, 65535])?,
        command: *choices.choose(&[Command::Connect, Command::Bind, Command::Udp])?,
        version: *choices.choose(&[Version::Socks4, Version::Socks5])?,
        user: user(choices.choose(&USERS)?),
        source_names: names(choices)?,
        destination_names: names(choices)?,
        identity: match choices.int_in_range(0..=3)? {
            0 => FactState::NotAsked,
            1 => FactState::Known(Identity::Unknown),
            2 => FactState::Unavailable,
            _ => FactState::Known(Identity::Known(user(choices.choose(&USERS)?))),
        },
        login: if choices.ratio(1, 4)? { Some(user(choices.choose(&USERS)?)) } else { None },
    })
}

fn rule(choices: &mut Unstructured<'_>) -> Result<String> {
    let action = choices.choose(&["permit", "deny", "permit ?=i", "permit ?=I", "deny ?=n"])?;
    let users = choices.choose(&["", "", "", " *=ann", " *=ann,bob", " *=/users"])?;
    let fields = choices.choose(&["", "", "", " +=connect", " +=bind,udp", " ~=5", " ~=4 +=connect,bind"])?;
    let methods =
        choices.choose(&["", "", "", " @=none", " @=password", " g=staff,x", " g=y @=none,password"])?;
    let source = pattern(choices, false)?;
    let destination = if choices.arbitrary()? { pattern(choices, false)? } else { String::new() };
    let ports = choices.choose(&[
        "",
        "",
        "",
        " eq 80",
        " neq 80",
        " lt 80",
        " ge 80",
        " gt 65535",
        " in 79,81",
        " le 0",
    ])?;
    Ok(format!("{action}{users}{methods}{fields} {source} {destination}{ports}"))
}

/// A pattern of hosts for a line; only of IPv4 hosts if `v4` asks for that.
fn pattern(choices: &mut Unstructured<'_>, v4: bool) -> Result<String> {
    let address = canonical(any_address(choices)?);
    Ok(match (choices.int_in_range(0..=5)?, address) {
        (0, _) => "ALL 0.0.0.0".into(),
        (1, _) => format!("{} 0.0.0.0", choices.choose(&NAMES)?),
        (2, _) => format!(".{} 0.0.0.0", choices.choose(&NAMES)?),
        (_, IpAddr::V6(_)) if v4 => "10.0.0.0/8".into(),
        (3, IpAddr::V4(address)) => format!("{address} {}", Ipv4Addr::from(choices.arbitrary::<u32>()?)),
        (3, IpAddr::V6(address)) => format!("{address} {}", Ipv6Addr::from(choices.arbitrary::<u128>()?)),
        (_, IpAddr::V4(address)) => format!("{address}/{}", choices.int_in_range(0..=32)?),
        (_, IpAddr::V6(address)) => format!("{address}/{}", choices.int_in_range(0..=128)?),
    })
}
