//! The monitor's session, driven by any sequence of events over a system that is played here.
//!
//! The workers, the resolver, identd, next servers, the network and the clock say whatever the input makes them say.
//! The monitor's own part is played honestly: it answers an action at most once, passes no reply on that nobody waits
//! for, and tells of an address what its routing table says.

mod flows;
mod system;

use arbitrary::{Result, Unstructured};
use flows::Flows;
use sockd::config::settings_file;
use sockd_policy::{IdentMode, Services, canonical, parse_conf, parse_routes, parse_upstreams};
use sockd_session::config::Config;
use sockd_session::session::{Event, FlowEvent, Session};
use std::net::SocketAddr;
use system::{Happened, Relaying, System};

const RULES: [&str; 9] = [
    "permit 0.0.0.0 0.0.0.0\n",
    "deny 0.0.0.0 0.0.0.0 203.0.113.2 255.255.255.255\npermit ?=i *=joe,root n=2 <=1M 192.0.2.0/24 203.0.113.0/24 : echo %u %U\n\
     permit ?=I 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 lt 1024 : logger %A\n#NO_IDENTD: mail %a\n#BAD_ID: mail %U %u\n",
    "permit .example 0.0.0.0 .example 0.0.0.0\ndeny ALL 0.0.0.0 b.example 0.0.0.0 : echo %Z\npermit ALL 0.0.0.0 2001:db8::/32\n",
    "permit 0.0.0.0 0.0.0.0 127.0.0.0 255.0.0.0\npermit 0.0.0.0 0.0.0.0 198.51.100.1 255.255.255.255 eq 23\n",
    "permit ?=I ALL 0.0.0.0 a.example 0.0.0.0\npermit ALL 0.0.0.0 203.0.113.1 255.255.255.255 neq 80\n",
    "deny @=password *=root ALL 0.0.0.0\npermit @=password g=staff ALL 0.0.0.0 203.0.113.1 255.255.255.255 : echo %U\n\
     permit @=password ~=5 ALL 0.0.0.0 .example 0.0.0.0\npermit @=none,ident 192.0.2.0/24\n",
    "",
    "deny ALL 0.0.0.0 203.0.113.2/32\npermit +=connect,bind,udp ALL 0.0.0.0 : echo %u %A\n",
    "deny ALL 0.0.0.0 b.example 0.0.0.0\npermit ?=I *=joe,root +=udp 192.0.2.0/24 203.0.113.0/24\n\
     permit @=password +=udp ALL 0.0.0.0 .example 0.0.0.0\npermit +=udp .example 0.0.0.0 ALL 0.0.0.0 lt 1024\n",
];
const SETTINGS: [&str; 8] = [
    "()",
    "(local_destinations: by_rules, bind_any: true)",
    "(reverse_names: true, privileged_ports: true, missing_names: no_match)",
    "(commands: argv, bind_any: true, privileged_ports: true)",
    "(commands: off, isolation: user)",
    "(upstream_names: always, upstream_server: \"192.0.2.9,gate.example:1081\", bind_any: true)",
    "(upstream_names: never, upstream_user: \"gate\", local_destinations: by_rules)",
    "(max_flows: 2, udp_log: flows, local_destinations: by_rules, reverse_names: true)",
];
const UPSTREAMS: [Option<&str>; 4] = [
    None,
    Some("sockd ALL 0.0.0.0\n"),
    Some(
        "direct 203.0.113.2 255.255.255.255\ndeny *=root ALL 0.0.0.0 eq 23 : logger %u\n\
         sockd @=192.0.2.8:1081,b.example,[2001:db8::8]:1080,198.51.100.1 203.0.113.0 255.255.255.0 : echo %S\n\
         sockd @=127.0.0.1 .example 0.0.0.0\nsockd @=gate.example:1085,192.0.2.8 2001:db8::/32\n",
    ),
    Some("sockd @=gate.example,b.example:65535 ALL 0.0.0.0 neq 80\ndirect ALL 0.0.0.0\n"),
];
const ROUTES: [Option<&str>; 3] = [
    None,
    Some("198.51.100.1 203.0.113.0 255.255.255.0\n2001:db8::9 ALL 0.0.0.0\n"),
    Some("198.51.100.2 .example 0.0.0.0\n198.51.100.1 ALL 0.0.0.0\n"),
];
const IDENT: [IdentMode; 3] = [IdentMode::Off, IdentMode::Lenient, IdentMode::Strict];
const CLIENTS: [&str; 4] =
    ["192.0.2.7:4000", "192.0.2.7:1023", "[2001:db8::7]:600", "[::ffff:192.0.2.7]:5000"];
thread_local! {
    /// Every combination of the texts above.
    static WORLDS: Vec<Config> = worlds();
}

fn worlds() -> Vec<Config> {
    let mut worlds = Vec::new();
    for (rules, settings) in RULES.iter().flat_map(|rules| SETTINGS.map(|settings| (rules, settings))) {
        for (routes, ident_default) in ROUTES.iter().flat_map(|routes| IDENT.map(|ident| (routes, ident))) {
            worlds.extend(
                UPSTREAMS.map(|upstreams| config(rules, settings, *routes, ident_default, upstreams)),
            );
        }
    }
    worlds
}

fn config(
    rules: &str,
    settings: &str,
    routes: Option<&str>,
    ident_default: IdentMode,
    upstreams: Option<&str>,
) -> Config {
    let services = Services::parse(b"telnet 23/tcp\nftp 21/tcp\n");
    let users = &mut |_: &str| Ok(Vec::new());
    Config {
        rules: parse_conf(rules.as_bytes(), &services, users).expect("rules"),
        routes: routes.map(|text| parse_routes(text.as_bytes()).expect("routes")),
        upstreams: upstreams.map(|text| parse_upstreams(text.as_bytes(), &services, users).expect("lines")),
        services,
        settings: settings_file::parse(settings.as_bytes()).expect("settings"),
        ident_default,
    }
}

/// Any session among any events keeps to the rules, to its descriptors and to one record for each thing that happens.
pub fn session(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    WORLDS.with(|worlds| {
        let _ = play(&mut choices, worlds);
    });
}

fn play(choices: &mut Unstructured<'_>, worlds: &[Config]) -> Result<()> {
    let mut config = choices.choose(worlds)?;
    let client: SocketAddr = choices.choose(&CLIENTS)?.parse().expect("an address");
    let client = SocketAddr::new(canonical(client.ip()), client.port());
    let may_log_in = choices.arbitrary()?;
    let mut session = Session::new(client, may_log_in);
    let mut system = System { may_log_in, ..System::new(client, config) };
    let mut flows = None;
    while !choices.is_empty() && !system.over {
        let of_flow = system.association == Relaying::Open && choices.ratio(15, 16)?;
        if let Some(flows) = flows.as_mut().filter(|_| of_flow) {
            let flows: &mut Flows<'_> = flows;
            system.worker_ended = !flows.happens(choices, config)?;
            continue;
        }
        let event = system.event(&session, choices)?;
        if matches!(event, Event::Recheck) && choices.arbitrary()? {
            config = choices.choose(worlds)?;
            system.worlds.push(config);
        }
        let happened = system.before(&session, &event);
        if matches!(event, Event::Associated(Ok(_))) {
            let association = session.association().expect("a request");
            flows = Some(Flows::new(association, &system, config));
        }
        let actions = session.on(event, config);
        if let Some(flows) = flows.as_mut().filter(|_| matches!(happened, Happened::Recheck)) {
            system.worker_ended = !flows.on(FlowEvent::Recheck, choices, config)?;
        }
        system.after(&happened, &actions, session.phase(), config);
        system.holds_what_is_waited_for(&session);
    }
    Ok(())
}
