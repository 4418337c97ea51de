//! The targets of the fuzzer: every reader of foreign bytes, with the properties that hold for any input.
//!
//! Each target is a function of bytes that panics if a property does not hold. The fuzzer calls it with bytes of its
//! own making (`tests/fuzz/Cargo.toml` says how), a test of this package with the files of `tests/fuzz/corpus`.

pub mod balancers;
pub mod datagrams;
pub mod decisions;
pub mod dns;
pub mod files;
pub mod frozen;
pub mod identd;
pub mod messages;
pub mod relay;
pub mod requests;
pub mod session;
pub mod strings;
pub mod takeover;
pub mod upstream;

/// A function of any bytes.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 26] = [
    ("request", requests::request),
    ("handshake", requests::handshake),
    ("ident_reply", identd::ident_reply),
    ("dns_answer", dns::dns_answer),
    ("hosts", dns::hosts),
    ("resolv_conf", dns::resolv_conf),
    ("from_worker", messages::from_worker),
    ("to_worker", messages::to_worker),
    ("session", session::session),
    ("conf", files::conf),
    ("user_list", files::user_list),
    ("route", files::route),
    ("upstreams", files::upstreams),
    ("settings", files::settings),
    ("frozen_rules", frozen::frozen_rules),
    ("frozen_routes", frozen::frozen_routes),
    ("frozen_upstreams", frozen::frozen_upstreams),
    ("escape", strings::escaped),
    ("command", strings::command),
    ("decisions", decisions::decisions),
    ("relay", relay::relay),
    ("datagram", datagrams::datagram),
    ("flows", datagrams::flows),
    ("proxy_header", balancers::proxy_header),
    ("takeover", takeover::takeover),
    ("upstream", upstream::upstream),
];

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(data);
}
