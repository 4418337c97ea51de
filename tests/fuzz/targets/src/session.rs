//! The monitor's session, driven by any sequence of events over a system that is played here.
//!
//! The worker, the resolver, identd, the network and the clock say whatever the input makes them say. What the monitor
//! does of itself is played honestly: it answers an action at most once, and tells of an address what its routing table says.

use arbitrary::{Result, Unstructured};
use nix::errno::Errno;
use sockd::session::{Action, Candidate, Event, Fact, Phase, Session, World};
use sockd::settings::{LocalDestinations, Settings};
use sockd_common::bounded::Few;
use sockd_common::message::{self, Answer, End, Name, Query};
use sockd_policy::guard::{AddressKind, always_refused, refused_unless_named};
use sockd_policy::{
    Command, DenyReason, Destination, Facts, HostName, IdentMode, Identity, Request, Route, Services, UserId,
    Verdict, canonical, parse_conf, parse_destination, parse_routes,
};
use std::net::{IpAddr, SocketAddr};

const RULES: [&str; 6] = [
    "permit 0.0.0.0 0.0.0.0\n",
    "deny 0.0.0.0 0.0.0.0 203.0.113.2 255.255.255.255\npermit ?=i *=joe,root 192.0.2.0/24 203.0.113.0/24 : echo %u %U\n\
     permit ?=I 0.0.0.0 0.0.0.0 0.0.0.0 0.0.0.0 lt 1024 : logger %A\n#NO_IDENTD: mail %a\n#BAD_ID: mail %U %u\n",
    "permit .example 0.0.0.0 .example 0.0.0.0\ndeny ALL 0.0.0.0 b.example 0.0.0.0 : echo %Z\npermit ALL 0.0.0.0 2001:db8::/32\n",
    "permit 0.0.0.0 0.0.0.0 127.0.0.0 255.0.0.0\npermit 0.0.0.0 0.0.0.0 198.51.100.1 255.255.255.255 eq 23\n",
    "permit ?=I ALL 0.0.0.0 a.example 0.0.0.0\npermit ALL 0.0.0.0 203.0.113.1 255.255.255.255 neq 80\n",
    "",
];
const SETTINGS: [&str; 5] = [
    "()",
    "(local_destinations: by_rules, bind_any: true)",
    "(reverse_names: true, privileged_ports: true)",
    "(commands: argv, bind_any: true, privileged_ports: true)",
    "(commands: off)",
];
const ROUTES: [Option<&str>; 3] = [
    None,
    Some("198.51.100.1 203.0.113.0 255.255.255.0\n2001:db8::9 ALL 0.0.0.0\n"),
    Some("198.51.100.2 .example 0.0.0.0\n198.51.100.1 ALL 0.0.0.0\n"),
];
const IDENT: [IdentMode; 3] = [IdentMode::Off, IdentMode::Lenient, IdentMode::Strict];
const CLIENTS: [&str; 4] =
    ["192.0.2.7:4000", "192.0.2.7:1023", "[2001:db8::7]:600", "[::ffff:192.0.2.7]:5000"];
const ADDRESSES: [&str; 14] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.255",
    "127.0.0.1",
    "198.51.100.1",
    "0.0.0.0",
    "169.254.169.254",
    "224.0.0.1",
    "2001:db8::1",
    "::1",
    "::",
    "::ffff:203.0.113.1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
];
const NAMES: [&str; 6] = ["a.example", "b.example", "WWW.Example.", "203.0.113.1", "127.1", ""];
const PORTS: [u16; 6] = [0, 21, 23, 80, 1080, 65535];
const USERS: [&[u8]; 4] = [b"joe", b"root", b"", b"s m)\n\xff"];

thread_local! {
    /// Every combination of the texts above.
    static WORLDS: Vec<World> = worlds();
}

fn worlds() -> Vec<World> {
    let mut worlds = Vec::new();
    for (rules, settings) in RULES.iter().flat_map(|rules| SETTINGS.map(|settings| (rules, settings))) {
        for (routes, ident_default) in ROUTES.iter().flat_map(|routes| IDENT.map(|ident| (routes, ident))) {
            let services = Services::parse(b"telnet 23/tcp\nftp 21/tcp\n");
            worlds.push(World {
                rules: parse_conf(rules.as_bytes(), &services, &mut |_| Ok(Vec::new())).expect("rules"),
                routes: routes.map(|text| parse_routes(text.as_bytes()).expect("routes")),
                upstreams: None,
                services,
                settings: Settings::parse(settings).expect("settings"),
                ident_default,
            });
        }
    }
    worlds
}

/// Any session among any events keeps to the rules, to its descriptors and to one record for each thing that happens.
pub fn session(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    WORLDS.with(|worlds| {
        let _ = play(&mut choices, worlds);
    });
}

fn play(choices: &mut Unstructured<'_>, worlds: &[World]) -> Result<()> {
    let mut world = choices.choose(worlds)?;
    let client: SocketAddr = choices.choose(&CLIENTS)?.parse().expect("an address");
    let client = SocketAddr::new(canonical(client.ip()), client.port());
    let mut session = Session::new(client);
    let mut system = System::new(client);
    while !choices.is_empty() && !system.over {
        let event = system.event(session.phase(), choices)?;
        if matches!(event, Event::Recheck) && choices.arbitrary()? {
            world = choices.choose(worlds)?;
        }
        let happened = system.before(session.phase(), &event);
        let actions = session.on(event, world);
        system.after(&happened, &actions, session.phase(), world);
    }
    Ok(())
}

/// What the monitor has for one session, and what has been found out for it.
#[derive(Debug)]
struct System {
    client: SocketAddr,
    over: bool,
    request: Option<message::Request>,
    source_names: Option<Vec<HostName>>,
    destination_names: Option<Vec<HostName>>,
    identity: Option<Identity>,
    /// Addresses that a [`Action::Weigh`] waits for.
    weighing: Vec<IpAddr>,
    /// All that have been weighed last.
    candidates: Vec<IpAddr>,
    dialling: Option<SocketAddr>,
    /// The address for which a port is to be opened or is open.
    listening: Option<IpAddr>,
    announced: bool,
    deadline: bool,
    hand_offs: u32,
    refusals: u32,
    /// Lines about what came of the request.
    verdicts: u32,
    terminated: bool,
}

/// What an event was, as far as its consequences have to fit it.
#[derive(Debug)]
enum Happened {
    Dialled,
    Listens(SocketAddr),
    Accepted(SocketAddr),
    FromWorker,
    Deadline,
    Recheck,
    Other,
}

impl System {
    fn new(client: SocketAddr) -> Self {
        Self {
            client,
            over: false,
            request: None,
            source_names: None,
            destination_names: None,
            identity: None,
            weighing: Vec::new(),
            candidates: Vec::new(),
            dialling: None,
            listening: None,
            announced: false,
            deadline: true,
            hand_offs: 0,
            refusals: 0,
            verdicts: 0,
            terminated: false,
        }
    }

    /// Mostly what the session waits for, so that inputs lead far.
    fn event(&self, phase: Phase, choices: &mut Unstructured<'_>) -> Result<Event> {
        let expected = match phase {
            Phase::Requesting => 0,
            Phase::Asking(Fact::Kinds) => 3,
            Phase::Asking(Fact::Identity) => 4,
            Phase::Asking(_) => 2,
            Phase::Dialling(_) => 5,
            Phase::Listening if !self.announced => 7,
            Phase::Listening => 9,
            Phase::Reaching | Phase::Negotiating | Phase::Invited => panic!("there is no next server here"),
            Phase::Relaying | Phase::Refusing | Phase::ClosingUnread | Phase::Closing => 1,
        };
        let choice = choices.int_in_range(0..=27u8)?;
        let number = if choice > 13 { expected } else { choice };
        Ok(match number {
            0 => Event::Requested(any_request(choices)?),
            1 => {
                let up = choices.int_in_range(0..=1)?;
                Event::Closed { up, down: choices.int_in_range(0..=1)?, why: any_end(choices)? }
            }
            2 => Event::Resolved(any_answer(choices)?),
            3 => Event::Kinds(self.weighing.iter().map(|address| self.candidate(*address)).collect()),
            4 => Event::Identified(match choices.arbitrary()? {
                true => Identity::Known(
                    UserId::parse(any_user(choices)?).unwrap_or(UserId::parse(b"x").expect("an id")),
                ),
                false => Identity::Unknown,
            }),
            5 if self.dialling.is_some() => Event::Dialled(Ok(())),
            6 if self.dialling.is_some() => Event::Dialled(Err(("connect", Errno::ECONNREFUSED))),
            7 if self.listening.is_some() && !self.announced => {
                Event::Listening(Ok("198.51.100.1:3000".parse().expect("an address")))
            }
            8 if self.listening.is_some() && !self.announced => match choices.arbitrary()? {
                true => Event::Listening(Err(("bind", Errno::EADDRINUSE))),
                false => Event::NoRoom("max_binds reached"),
            },
            9 if self.announced => Event::Accepted(SocketAddr::new(any_address(choices)?, 20)),
            10 if self.deadline => Event::Deadline,
            11 => Event::Recheck,
            12 => Event::WorkerLost,
            _ => Event::Stop,
        })
    }

    fn candidate(&self, address: IpAddr) -> Candidate {
        let port = self.request.as_ref().map_or(0, |request| request.port);
        Candidate {
            address,
            kind: kind_of(address),
            own_listener: is_own_listener(address, port),
            unreachable: false,
        }
    }

    /// Takes note of what the session learns.
    fn before(&mut self, phase: Phase, event: &Event) -> Happened {
        let learnt = |answer: &Answer| match answer {
            Answer::Names(names) => {
                names.as_slice().iter().filter_map(|name| HostName::parse(name.as_bytes()).ok()).collect()
            }
            _ => Vec::new(),
        };
        match (phase, event) {
            (Phase::Requesting, Event::Requested(request)) => {
                if let message::Destination::Name(name) = &request.destination
                    && let Ok(Destination::Name(name)) = parse_destination(name.as_bytes())
                {
                    self.destination_names = Some(vec![name]);
                }
                self.request = Some(request.clone());
            }
            (Phase::Asking(Fact::SourceNames), Event::Resolved(answer)) => {
                self.source_names = Some(learnt(answer))
            }
            (Phase::Asking(Fact::SourceNames), Event::Deadline) => self.source_names = Some(Vec::new()),
            (Phase::Asking(Fact::DestinationNames), Event::Resolved(answer)) => {
                self.destination_names = Some(learnt(answer));
            }
            (Phase::Asking(Fact::DestinationNames), Event::Deadline) => {
                self.destination_names = Some(Vec::new())
            }
            (Phase::Asking(Fact::Identity), Event::Identified(identity)) => {
                self.identity = Some(identity.clone())
            }
            (Phase::Asking(Fact::Identity), Event::Deadline) => self.identity = Some(Identity::Unknown),
            (Phase::Asking(Fact::Kinds), Event::Kinds(_)) => {
                self.candidates = std::mem::take(&mut self.weighing)
            }
            _ => {}
        }
        match event {
            Event::Dialled(result) => {
                self.dialling = None;
                if result.is_ok() { Happened::Dialled } else { Happened::Other }
            }
            Event::Listening(Ok(address)) => {
                self.announced = true;
                Happened::Listens(*address)
            }
            Event::Listening(Err(_)) | Event::NoRoom(_) => {
                self.listening = None;
                Happened::Other
            }
            Event::Accepted(peer) => Happened::Accepted(*peer),
            Event::Requested(_) | Event::Closed { .. } => Happened::FromWorker,
            Event::Deadline => {
                self.deadline = false;
                // The monitor holds one socket for a session; the next one takes the place of this.
                self.dialling = None;
                Happened::Deadline
            }
            Event::Recheck => Happened::Recheck,
            _ => Happened::Other,
        }
    }

    /// Carries out the actions, and sees whether they may be.
    fn after(&mut self, happened: &Happened, actions: &[Action], phase: Phase, world: &World) {
        let awaited = self.listening;
        if !matches!(phase, Phase::Dialling(_)) {
            self.dialling = None;
        }
        let mut sockets = 0;
        for action in actions {
            match action {
                Action::Log(_, line) => self.line(line, happened),
                Action::Weigh(addresses, port) => {
                    assert_eq!(Some(*port), self.request.as_ref().map(|request| request.port));
                    self.weighing.clone_from(addresses);
                }
                Action::Resolve(Query::Names(_) | Query::Addresses(_)) | Action::AskIdent => {
                    assert!(matches!(phase, Phase::Asking(_)));
                }
                Action::Dial { to, from, reserved } => {
                    sockets += 1;
                    assert!(matches!(phase, Phase::Dialling(_)) && self.dialling.is_none());
                    assert_eq!(to.port(), self.request.as_ref().expect("a request").port);
                    self.is_permitted(to.ip(), *from, Command::Connect, world);
                    assert_eq!(*reserved, self.is_reserved(world));
                    self.dialling = Some(*to);
                }
                Action::Listen { towards, at, reserved } => {
                    sockets += 1;
                    assert_eq!(phase, Phase::Listening);
                    self.is_permitted(*towards, *at, Command::Bind, world);
                    assert_eq!(*reserved, self.is_reserved(world));
                    (self.listening, self.announced) = (Some(*towards), false);
                }
                Action::Announce(address) => {
                    assert!(matches!(happened, Happened::Listens(opened) if opened == address));
                }
                Action::CloseStranger => assert!(matches!(happened, Happened::Accepted(_))),
                Action::Run(template, _) => {
                    let known = world.rules.templates().any(|known| known.text() == template);
                    assert!(known, "{template} is no command of the rules");
                }
                Action::HandOff { bound } => {
                    self.hand_offs += 1;
                    match happened {
                        Happened::Dialled => assert!(bound.ip().is_unspecified()),
                        Happened::Accepted(peer) => self.is_awaited(*peer, awaited.expect("a port"), world),
                        _ => panic!("a hand-off without a socket"),
                    }
                }
                Action::Refuse(_) => self.refusals += 1,
                Action::End => {}
                Action::Deadline(limit) => self.deadline = limit.is_some(),
                Action::Forget => self.over = true,
                Action::Violation(what) => {
                    assert!(matches!(happened, Happened::FromWorker | Happened::Deadline), "{what}");
                    self.over = true;
                }
                other => panic!("an action that is not played here: {other:?}"),
            }
        }
        if phase != Phase::Listening {
            (self.listening, self.announced) = (None, false);
        }
        self.is_sound(happened, actions, phase, sockets);
    }

    fn is_sound(&self, happened: &Happened, actions: &[Action], phase: Phase, sockets: u32) {
        let last = |action: &Action| matches!(action, Action::Forget | Action::Violation(_));
        let before_last = actions.split_last().map(|(_, before)| before).unwrap_or_default();
        assert!(!before_last.iter().any(last), "something follows the end: {actions:?}");
        assert!(self.over || self.deadline || phase == Phase::Relaying, "{phase:?} has no deadline");
        assert!(sockets <= 1 && self.hand_offs <= 1 && self.refusals <= 1 && self.verdicts <= 1, "{self:?}");
        assert!(self.hand_offs == 0 || self.refusals == 0, "granted and refused");
        assert!(self.refusals == 0 || self.verdicts == 1, "refused without a record");
        let strangers = actions.iter().filter(|action| matches!(action, Action::CloseStranger)).count();
        if let Happened::Accepted(_) = happened {
            let handed = actions.iter().filter(|action| matches!(action, Action::HandOff { .. })).count();
            assert_eq!(strangers + handed, 1, "an accepted socket is closed or handed over");
        }
        if let Happened::Dialled = happened {
            assert!(actions.iter().any(|action| matches!(action, Action::HandOff { .. })));
        }
    }

    /// One line, printable, and of each kind no more than there is to say.
    fn line(&mut self, line: &str, happened: &Happened) {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        let of_strangers = line.contains("Error: connected to wrong host");
        if begins(&["refused -- "]) && matches!(happened, Happened::Recheck) {
            return;
        }
        if begins(&["connected -- ", "refused -- ", "failed -- ", "timed-out -- ", "error -- ", "Error in "])
        {
            self.verdicts += u32::from(!of_strangers);
        }
        if begins(&["terminated -- "]) {
            assert!(self.hand_offs == 1 && !self.terminated, "{line}");
            self.terminated = true;
        }
    }

    /// What the rules, the guards and the routes say of an address, asked anew.
    fn permission(
        &self,
        address: IpAddr,
        command: Command,
        world: &World,
    ) -> std::result::Result<Option<IpAddr>, String> {
        let request = self.request.as_ref().ok_or("no request")?;
        let user = UserId::parse(request.user.as_bytes()).map_err(|_| "no user")?;
        let kind = kind_of(address);
        let anybody = command == Command::Bind
            && address.is_unspecified()
            && world.settings.bind_any
            && !matches!(&request.destination, message::Destination::Name(name)
                if matches!(parse_destination(name.as_bytes()), Ok(Destination::Name(_))));
        let port = if command == Command::Connect { request.port } else { 1 };
        let own = command == Command::Connect && is_own_listener(address, port);
        if let Some(refusal) = always_refused(address, port, kind, own).filter(|_| !anybody) {
            return Err(format!("{refusal}"));
        }
        let question = Request {
            version: 4,
            command,
            source: self.client.ip(),
            source_port: self.client.port(),
            destination: Some(address),
            port: request.port,
            user: &user,
            ident_default: world.ident_default,
        };
        let facts = Facts {
            source_names: self.source_names.as_deref(),
            destination_names: self.destination_names.as_deref(),
            identity: self.identity.as_ref(),
        };
        let rule = match world.rules.decide_by_scan(&question, &facts) {
            Verdict::Permit(permit) => permit.rule,
            Verdict::Deny(deny)
                if deny.why == DenyReason::BadIdentity
                    && user.as_bytes() == b"root"
                    && self.is_reserved(world) =>
            {
                deny.rule.ok_or("no rule")?
            }
            other => return Err(format!("{other:?}")),
        };
        if world.settings.local_destinations == LocalDestinations::Guarded && !anybody {
            refused_unless_named(address, kind, &rule).map_or(Ok(()), |refusal| Err(format!("{refusal}")))?;
        }
        match &world.routes {
            None => Ok(None),
            Some(routes) => match routes.source_for(address, self.destination_names.as_deref()) {
                Route::From { source, .. } => Ok(Some(source)),
                other => Err(format!("{other:?}")),
            },
        }
    }

    fn is_permitted(&self, address: IpAddr, from: Option<IpAddr>, command: Command, world: &World) {
        assert!(self.candidates.contains(&address), "{address} was not decided on");
        let requested = self.request.as_ref().map(|request| request.command == message::Command::Bind);
        assert_eq!(requested, Some(command == Command::Bind));
        assert_eq!(self.permission(address, command, world), Ok(from), "{address} in {self:?}");
    }

    /// The peer of a BIND is the one that was waited for, or another address of the name that is permitted as well.
    fn is_awaited(&self, peer: SocketAddr, awaited: IpAddr, world: &World) {
        let peer = canonical(peer.ip());
        if peer != awaited && !awaited.is_unspecified() {
            assert!(self.candidates.contains(&peer), "{peer} was not decided on");
            self.permission(peer, Command::Bind, world).unwrap_or_else(|why| panic!("{peer}: {why}"));
        }
    }

    fn is_reserved(&self, world: &World) -> bool {
        world.settings.privileged_ports && (512..=1023).contains(&self.client.port())
    }
}

/// What the routing table of the host that is played says.
fn kind_of(address: IpAddr) -> AddressKind {
    let local = ["198.51.100.1", "0.0.0.0", "::", "64:ff9b::7f00:1"].map(parsed);
    match address {
        _ if address.is_loopback() || local.contains(&address) => AddressKind::Local,
        _ if address.is_multicast() => AddressKind::Multicast,
        _ if address == parsed("203.0.113.255") => AddressKind::Broadcast,
        _ => AddressKind::Unicast,
    }
}

fn is_own_listener(address: IpAddr, port: u16) -> bool {
    port == 1080 && kind_of(address) == AddressKind::Local
}

fn parsed(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn any_address(choices: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok(if choices.ratio(1, 16)? { choices.arbitrary()? } else { parsed(choices.choose(&ADDRESSES)?) })
}

fn any_user<'a>(choices: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    if choices.ratio(1, 8)? {
        let length = choices.int_in_range(0..=choices.len().min(255))?;
        return choices.bytes(length);
    }
    choices.choose(&USERS).copied()
}

fn any_name(choices: &mut Unstructured<'_>) -> Result<Name> {
    let name = if choices.ratio(1, 8)? { any_user(choices)? } else { choices.choose(&NAMES)?.as_bytes() };
    Ok(Name::new(name).expect("at most 255 bytes"))
}

fn any_request(choices: &mut Unstructured<'_>) -> Result<message::Request> {
    Ok(message::Request {
        version: if choices.ratio(1, 16)? { choices.arbitrary()? } else { 4 },
        command: if choices.arbitrary()? { message::Command::Bind } else { message::Command::Connect },
        destination: match choices.arbitrary()? {
            true => message::Destination::Address(any_address(choices)?),
            false => message::Destination::Name(any_name(choices)?),
        },
        port: *choices.choose(&PORTS)?,
        user: message::UserId::new(any_user(choices)?).expect("at most 255 bytes"),
    })
}

fn any_end(choices: &mut Unstructured<'_>) -> Result<End> {
    let errno = message::Errno(*choices.choose(&[0, 32, 104, u16::MAX])?);
    let ends = [
        End::WrongVersion(choices.arbitrary()?),
        End::UndefinedCommand(choices.arbitrary()?),
        End::CutShort,
        End::UserTooLong,
        End::BadName,
        End::ClientGone(errno),
        End::Refused,
        End::Finished,
        End::ClientFailed(errno),
        End::ServerFailed(errno),
        End::Idle,
        End::Ended,
        End::NoResources,
    ];
    choices.choose(&ends).copied()
}

fn any_answer(choices: &mut Unstructured<'_>) -> Result<Answer> {
    let count = choices.int_in_range(0..=3)?;
    Ok(match choices.int_in_range(0..=5)? {
        0..=2 => Answer::Addresses(Few::first_of(
            (0..count).map(|_| any_address(choices)).collect::<Result<Vec<_>>>()?,
        )),
        3 => Answer::Names(Few::first_of((0..count).map(|_| any_name(choices)).collect::<Result<Vec<_>>>()?)),
        4 => Answer::NotFound,
        _ => Answer::Failed,
    })
}
