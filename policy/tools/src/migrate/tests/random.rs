//! Random rules: what a translation permits, the rules permit as Dante reads them.

use std::net::IpAddr;

use sockd_policy::{
    Command, FactState, Facts, IdentMode, Network, Request, Services, UserId, Verdict, Version, parse_conf,
};

/// xorshift64: the same rules each time.
struct Dice(u64);

impl Dice {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let place = self.0.checked_rem(u64::try_from(from.len()).unwrap()).unwrap();
        from[usize::try_from(place).unwrap()]
    }
}

/// Networks in networks, of both families.
const NETWORKS: [&str; 9] = [
    "0/0",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3/32",
    "192.0.2.0/24",
    "fd00::/8",
    "fd00:1::/32",
];
const ADDRESSES: [&str; 7] =
    ["10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "198.51.100.1", "fd00:1::1", "2001:db8::1"];
const PORTS: [&str; 6] = ["", "port = 80", "port 80-443", "port ge 443", "port != 80", "port lt 443"];
const ASKED_PORTS: [u16; 5] = [79, 80, 443, 444, 8080];
const COMMANDS: [&str; 4] = ["", "command: connect", "command: bind", "command: connect udpassociate"];
const VERSIONS: [&str; 3] = ["", "proxyprotocol: socks_v4", "proxyprotocol: socks_v5"];
/// Keywords that make a rule pass or block less than it says: a translation may refuse for them, never permit.
const LIMITS: [&str; 9] = ["", "", "", "", "", "", "hostid: 1", "libwrap: spawn x", "session.max: 1"];

/// A rule as Dante reads it.
#[derive(Debug, Clone, Copy)]
struct Rule {
    passes: bool,
    from: &'static str,
    to: &'static str,
    ports: &'static str,
    command: &'static str,
    version: &'static str,
    limit: &'static str,
}

impl Rule {
    fn random(dice: &mut Dice, is_client: bool) -> Rule {
        let or_plain = |dice: &mut Dice, from: &[&'static str]| if is_client { "" } else { dice.pick(from) };
        Rule {
            passes: dice.pick(&[true, true, false]),
            from: dice.pick(&NETWORKS),
            to: if is_client { dice.pick(&["0/0", "0.0.0.0/0"]) } else { dice.pick(&NETWORKS) },
            ports: or_plain(dice, &PORTS),
            command: or_plain(dice, &COMMANDS),
            version: or_plain(dice, &VERSIONS),
            limit: dice.pick(&LIMITS),
        }
    }

    fn text(&self, set: &str) -> String {
        let Rule { from, to, ports, command, version, limit, .. } = self;
        let kind = if self.passes { "pass" } else { "block" };
        format!("{set} {kind} {{ from: {from} to: {to} {ports} {command} {version} {limit}\n}}\n")
    }

    /// Whether the rule is for a CONNECT, its limit aside: a rule with a limit may be for nobody.
    fn matches(&self, from: IpAddr, to: Option<(IpAddr, u16)>, version: Version) -> bool {
        let is_for = |network: &str, address: IpAddr| match network.split_once('/').unwrap() {
            ("0", "0") => true,
            (network, length) => {
                Network::prefix(network.parse().unwrap(), length.parse().unwrap()).unwrap().contains(address)
            }
        };
        let version_fits = match self.version {
            "proxyprotocol: socks_v4" => version == Version::Socks4,
            "proxyprotocol: socks_v5" => version == Version::Socks5,
            _ => true,
        };
        let Some((to, port)) = to else {
            // The address of the server is one of the family of the client.
            return is_for(self.from, from) && (self.to == "0/0" || from.is_ipv4());
        };
        let port_fits = match self.ports {
            "port = 80" => port == 80,
            "port 80-443" => (80..=443).contains(&port),
            "port ge 443" => port >= 443,
            "port != 80" => port != 80,
            "port lt 443" => port < 443,
            _ => true,
        };
        is_for(self.from, from)
            && is_for(self.to, to)
            && port_fits
            && version_fits
            && self.command != "command: bind"
    }
}

/// Whether the first rule that matches passes. A rule with a limit is not met if it passes, and met if it blocks.
fn passes(rules: &[Rule], matches: impl Fn(&Rule) -> bool) -> bool {
    let first =
        rules.iter().filter(|rule| matches(rule)).find(|rule| rule.limit != "hostid: 1" || !rule.passes);
    first.is_some_and(|rule| rule.passes && matches!(rule.limit, "" | "hostid: 1"))
}

fn is_permitted(rules: &sockd_policy::RuleSet, from: IpAddr, to: (IpAddr, u16), version: Version) -> bool {
    let user = UserId::parse(b"").unwrap();
    let request = Request {
        source: from,
        destination: Some(to.0),
        port: to.1,
        command: Command::Connect,
        version,
        user: &user,
        ident_default: IdentMode::Off,
        nat64: &[],
    };
    let names = FactState::Known(&[][..]);
    let facts = Facts { source_names: names, destination_names: names, ..Facts::default() };
    matches!(rules.decide(&request, &facts), Verdict::Permit(_))
}

/// If no rule has a limit, both permit the same.
#[test]
fn a_translation_permits_no_more_than_random_rules_and_no_less_without_limits() {
    let (mut permitted, mut asked) = (0_u32, 0_u32);
    for seed in 1..400 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        (0..9).for_each(|_| _ = dice.pick(&[0]));
        let client: Vec<Rule> = (0..3).map(|_| Rule::random(&mut dice, true)).collect();
        let socks: Vec<Rule> = (0..5).map(|_| Rule::random(&mut dice, false)).collect();
        let rules =
            client.iter().map(|rule| rule.text("client")).chain(socks.iter().map(|rule| rule.text("socks")));
        let text: String = "internal: 10.0.0.1\nsocksmethod: none\n".to_owned() + &rules.collect::<String>();
        let conf = super::translate(&text, "x").unwrap().files.remove(0).1;
        let translated = parse_conf(conf.as_bytes(), &Services::default(), &mut |_| Err("".into())).unwrap();
        let is_exact = client.iter().chain(&socks).all(|rule| rule.limit.is_empty());
        for _ in 0..200 {
            let [from, to] = [(); 2].map(|()| dice.pick(&ADDRESSES).parse::<IpAddr>().unwrap());
            let (port, version) = (dice.pick(&ASKED_PORTS), dice.pick(&[Version::Socks4, Version::Socks5]));
            let by_dante = passes(&client, |rule| rule.matches(from, None, version))
                && passes(&socks, |rule| rule.matches(from, Some((to, port)), version));
            let by_sockd = is_permitted(&translated, from, (to, port), version);
            assert!(by_dante || !by_sockd, "{from} to {to} {port}: granted by\n{conf}\nfrom\n{text}");
            assert!(
                by_sockd || !by_dante || !is_exact,
                "{from} to {to} {port}: refused by\n{conf}\nfrom\n{text}"
            );
            (permitted, asked) = (permitted + u32::from(by_sockd), asked + 1);
        }
    }
    assert!(permitted > asked / 50, "{permitted} of {asked} permitted");
}
