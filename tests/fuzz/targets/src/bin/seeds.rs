//! Writes `tests/fuzz/corpus/*/seed-*`. They are bytes of real clients and servers, files as they are installed, and
//! messages and frozen files as this version writes them.

use sockd_common::bounded::BoundedVec;
use sockd_common::message::datagram::{
    AssociationEnd, FlowId, FlowLimits, FromDatagram, Relayed, ToDatagram,
};
use sockd_common::message::ident::{FromIdent, IdentUser, ToIdent};
use sockd_common::message::probe::{Act, FromProbe, ToProbe};
use sockd_common::message::request::{Command, Destination, RefusalReason, Request};
use sockd_common::message::resolver::{Answer, FromResolver, Query, RecordType, ToResolver, Transport};
use sockd_common::message::session::{
    CloseReason, FromSession, Handshake, Methods, Protocols, RelayMode, ToSession,
};
use sockd_common::message::takeover::{About, FromServing, SocketKind, SocketName, ToServing, Totals};
use sockd_common::message::upstream::{FromUpstream, NextReply, ToUpstream};
use sockd_common::message::{Errno, Id, LockdownReport, Message, Name, UserId};
use sockd_common::wire::{MAX_PACKET, encode};
use sockd_fuzz_targets::TARGETS;
use sockd_fuzz_targets::frozen::HEADER;
use sockd_policy::frozen::{Provenance, freeze_routes, freeze_rules, freeze_upstreams, hash};
use sockd_policy::{Services, parse_conf, parse_routes, parse_upstreams};
use std::fs;
use std::path::Path;

/// As curl, ncat, proxychains4 and socksify of Debian 12 send them; the last by a client for BIND, and from the protocol's text.
const REQUESTS: [&[u8]; 8] = [
    b"\x04\x01\x00P\xcb\x00q\x01joe\x00",
    b"\x04\x01\x00P\x00\x00\x00\x01joe\x00www.example.com\x00GET / HTTP/1.1\r\nHost: www.example.com\r\n",
    b"\x04\x01\x01\xbb\xcb\x00q\x01\x00\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x04\x01\x00\x17\x00\x00\x00\x01\x00www.example.com\x00",
    b"\x04\x01\x00P\x00\x00\x00\x01joe\x00203.0.113.1\x00",
    b"\x04\x02\x00\x15\xcb\x00q\x01joe\x00",
    b"\x04\x03\x00P\xcb\x00q\x01\x00",
    b"\x05\x01\x00",
];

/// As curl, nc, PuTTY and Java send them, and from the protocol's text.
const HANDSHAKES: [&[u8]; 14] = [
    REQUESTS[1],
    b"\x05\x02\x00\x01",
    b"\x05\x01\x00\x05\x01\x00\x01\xcb\x00q\x01\x00P",
    b"\x05\x02\x00\x01\x05\x01\x00\x03\x0fwww.example.com\x00PGET / HTTP/1.1\r\nHost: www.example.com\r\n",
    b"\x05\x03\x00\x03\x02\x05\x01\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x01\xbb",
    b"\x05\x02\x00\x02\x05\x02\x00\x01\xcb\x00q\x01\x00\x15",
    b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00",
    b"\x05\x01\x00\x05\xf0\x00\x03\x0fwww.example.com\x00\x00",
    b"\x05\x01\x00\x05\x01\x00\x03\x00\x00P",
    b"\x05\x01\x00\x01\x7f\x00\x00\x01\x1f\x90",
    b"\x05\x01\x02",
    b"\x05\x00",
    b"\x01\x05hnjoe\x08sesame\0x\x05\x01\x00\x01\xcb\x00q\x01\x00P",
    b"\x01\x03joe\x00",
];

/// From the text of the protocol: to a tracker, by name, to a nameserver, over IPv6; the others to no host, or no datagrams.
const DATAGRAMS: [&[u8]; 9] = [
    b"\x00\x00\x00\x01\xcb\x00q\x01\x27\x0f\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00",
    b"\x00\x00\x00\x03\x0fwww.example.com\x00\x35one",
    b"\x00\x00\x00\x01\xc0\x00\x02\x35\x00\x35\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01",
    b"\x00\x00\x00\x04\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x01\xbb",
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07\x00\x07mapped",
    b"\x01\x00\x81\x01\x7f\x00\x00\x01\x27\x0ffragment",
    b"\x00\x00\x00\x03\x00\x00\x35no name",
    b"\x00\x00\x00\x03\x05[::1]\x00\x35brackets",
    b"\x00\x00\x00\x03\xffcut short",
];

/// As oidentd of Debian 12 and the servers and examples of RFC 1413 write them.
const IDENT_REPLIES: [&[u8]; 9] = [
    b"40000,1080:USERID:UNIX:root\r\n",
    b"40000,1080:ERROR:NO-USER\r\n",
    b"40000,1080:ERROR:HIDDEN-USER\r\n",
    b"0,99999:ERROR:INVALID-PORT\r\n",
    b"40000 , 1080 : USERID : UNIX : joe\r\n",
    b"40000 , 1080 : USERID : UNIX , US-ASCII : joe\n",
    b"40000, 1080 : USERID : OTHER :0x1234\r\n",
    b"40000,1080:USERID:WIN32:joe smith:x\r\n",
    b"   40000\t,1080:userid:unix, OCTET:\xff\xfe",
];

/// As dnsmasq of Debian 12 answers; the first number is the question (see `dns::asked`).
const DNS_ANSWERS: &[(u8, &[u8])] = &[
    (0, b"\x00\x00\x85\x80\x00\x01\x00\x01\x00\x00\x00\x01\x03www\x07example\x03com\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x07\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (1, b"\x00\x00\x85\x80\x00\x01\x00\x01\x00\x00\x00\x01\x03www\x07example\x03com\x00\x00\x1c\x00\x01\xc0\x0c\x00\x1c\x00\x01\x00\x00\x0e\x10\x00\x10 \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (2, b"\x00\x00\x85\x80\x00\x01\x00\x01\x00\x00\x00\x01\x017\x012\x010\x03192\x07in-addr\x04arpa\x00\x00\x0c\x00\x01\xc0\x0c\x00\x0c\x00\x01\x00\x00\x0e\x10\x00\x11\x03www\x07example\x03com\x00\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (0, b"\x00\x00\x81\x83\x00\x01\x00\x00\x00\x00\x00\x01\x02nx\x07example\x03com\x00\x00\x01\x00\x01\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (128, b"\x00\x00\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02\x07"),
    (129, b"\x00\x00\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x1c\x00\x01\xc0\x0c\x00\x1c\x00\x01\x00\x00\x0e\x10\x00\x10 \x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"),
    (130, b"\x00\x00\x85\x80\x00\x01\x00\x01\x00\x00\x00\x00\x017\x012\x010\x03192\x07in-addr\x04arpa\x00\x00\x0c\x00\x01\xc0\x0c\x00\x0c\x00\x01\x00\x00\x0e\x10\x00\x11\x03www\x07example\x03com\x00"),
    (128, b"\x00\x00\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00\x02nx\x07example\x03com\x00\x00\x01\x00\x01"),
    (0, b"\x00\x00\x81\x80\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x07example\x03com\x00\x00\x10\x00\x01\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (0, b"\x00\x00\x85\x80\x00\x01\x00\x02\x00\x00\x00\x01\x03www\x07example\x03com\x00\x00\x01\x00\x01\xc0\x0c\x00\x05\x00\x01\x00\x00\x00<\x00\x11\x03web\x07example\x03net\x00\xc0-\x00\x01\x00\x01\x00\x00\x01,\x00\x04\xc0\x00\x02\x09\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (1, b"\x00\x00\x85\x80\x00\x01\x00\x01\x00\x00\x00\x01\x03www\x07example\x03com\x00\x00\x1c\x00\x01\xc0\x0c\x00\x05\x00\x01\x00\x00\x00<\x00\x11\x03web\x07example\x03net\x00\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (0, b"\x00\x00\x85\x03\x00\x01\x00\x00\x00\x01\x00\x01\x03www\x07example\x03com\x00\x00\x01\x00\x01\x07example\x03com\x00\x00\x06\x00\x01\x00\x00\x02X\x00?\x02ns\x07example\x03com\x00\x0ahostmaster\x02ns\x07example\x03com\x00k\x03\x22^\x00\x00\x04\xb0\x00\x00\x00\xb4\x00\x12u\x00\x00\x00\x02X\x00\x00)\x04\xd0\x00\x00\x00\x00\x00\x00"),
    (2, b"\x00\x00\x81\x05\x00\x01\x00\x00\x00\x00\x00\x00\x017\x012\x010\x03192\x07in-addr\x04arpa\x00\x00\x0c\x00\x01"),
];

/// Even: version 2. Odd: version 1. As HAProxy writes them, with a checksum and an id, and some that are refused.
const PROXY_HEADERS: [&[u8]; 12] = [
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\xa2\xee\x04\x9e\x05\x01\0",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x16\x7f\0\0\x01\x7f\0\0\x01\xa2\xee\x04\x9e\x03\0\x04\xc9\xdd\x7f\x05\x05\0\0",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xa2\xee\x04\x9e",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x07\x07\x07 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xa2\xee\x04\x9e",
    b"\0\r\n\r\n\0\r\nQUIT\n\x20\0\0\0\x05\x01\0",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\0\0\0",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x31\x02\x08",
    b"\0\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    b"\x01PROXY TCP4 127.0.0.1 127.0.0.1 49548 1181\r\n\x05\x01\0",
    b"\x01PROXY TCP6 2001:db8::7 2001:db8::1 49548 1181\r\n",
    b"\x01PROXY UNKNOWN\r\n",
    b"\x01PROXY TCP4 127.0.0.1  127.0.0.1 +1 01\r\n",
];

/// Even: SOCKS4. Odd: SOCKS5. From 2 on a BIND. Grants, refusals, bytes that are neither, and bytes behind them.
const UPSTREAM_ANSWERS: [&[u8]; 15] = [
    b"\0\0\x5a\0\x15\x0a\0\0\x01welcome",
    b"\0\0\x5b\0\0\0\0\0\0",
    b"\0\x04\x5d\0\0\0\0\0\0",
    b"\0\x04\x5a\0\0\0\0\0\0",
    b"\0\0\0\0\0\0\0\0\0",
    b"\x02\0\x5a\0\x15\x0a\0\0\x01\0\x5a\0\x15\xc6\x33\x64\x0a\0",
    b"\x01\x05\0\x05\0\0\x01\xcb\0\x71\x01\x0b\xb8welcome",
    b"\x01\x05\0\x05\0\0\x04 \x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\x50",
    b"\x01\x05\xff",
    b"\x01\x05\0\x05\x02\0\x01\0\0\0\0\0\0",
    b"\x01\x05\0\x05\xff\0\x01",
    b"\x01\x05\0\x05\0\0\x03\x08web.test\0\x50",
    b"\x01HTTP/1.1 400 Bad Request\r\n",
    b"\x03\x05\0\x05\0\0\x01\xcb\0\x71\x01\x0b\xb8\x05\0\0\x01\xc6\x33\x64\x0a\0\x15\x05",
    b"\x03\x05\0\x05\0\0\x01\xcb\0\x71\x01\x0b\xb8\x05\x06\0\x01",
];

const UPSTREAMS: &str = "# direct inside, by two servers outside\ndirect 10.0.0.0 255.0.0.0\n\
    sockd @=gate.example:1081,192.0.2.1 *=joe,ann .example.com 0.0.0.0 eq www : logger %u\n\
    deny ALL 0.0.0.0 eq smtp\nsockd@[2001:db8::1]:1080 2001:db8::/32\nsockd ALL 0.0.0.0\nnameserver 192.0.2.53\n";

const CONF: &str = "permit ?=I *=ann,/users 10.0.0.0/8 20.0.9.0 255.0.255.0 neq 23 : echo '%u'\n\
    deny .xyz.com 0.0.0.0 2001:db8::/32\n#NO_IDENTD: mail -s x%a\n#BAD_ID: mail %U %u\n\n# a comment\n\
    deny ALL 0.0.0.0 xyz.com 0.0.0.0 lt 1024\npermit ?=i 10.9.9.9 255.0.0.255 ge ftp : (finger @%A | mail root) &\n\
    set lan = 10.0.0.0/8, fd00::/8,192.0.2.7 .b.org\npermit +=connect ~=4,5 <lan> <lan> in 80,443,8000-8999\n\
    deny ~=5 +=bind,udp *=ann <lan>\npermit <=10M/500K n=20 ~=5 10.0.0.0/8\n\
    permit n=1 <=4G,shared *=ann <lan>\npermit ALL 0.0.0.0\n";

const INCLUDES: &str =
    "deny 10.0.0.0/16\ninclude /rules/*.conf\npermit 10.3.0.0/16\ninclude /included\ndeny ALL 0.0.0.0\n";

/// Names that end alike, on both sides.
const NAMES: &str = "deny ALL 0.0.0.0 .com 0.0.0.0\ndeny ALL 0.0.0.0 com 0.0.0.0\ndeny a.xyz.com 0.0.0.0 b.a.xyz.com 0.0.0.0\n\
    deny .a.xyz.com 0.0.0.0 .a.xyz.com 0.0.0.0 eq 80\npermit b-a.xyz.com 0.0.0.0 badxyz.com 0.0.0.0\n\
    deny badxyz.com 0.0.0.0 org 0.0.0.0\npermit ALL 0.0.0.0 _a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.org 0.0.0.0\n";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let installed = |name: &str| fs::read(root.join("packaging").join(name)).expect("an installed file");
    for (target, _) in TARGETS {
        let folder = root.join("tests/fuzz/corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder for the corpus");
        for (number, seed) in seeds(target, &installed).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:02}")), seed).expect("a seed");
        }
    }
}

fn seeds(target: &str, installed: &dyn Fn(&str) -> Vec<u8>) -> Vec<Vec<u8>> {
    let owned = |seeds: &[&[u8]]| -> Vec<Vec<u8>> { seeds.iter().map(|seed| seed.to_vec()).collect() };
    match target {
        "request" => owned(&REQUESTS),
        "handshake" => owned(&HANDSHAKES),
        "datagram" => owned(&DATAGRAMS),
        "ident_reply" => owned(&IDENT_REPLIES),
        "dns_answer" => DNS_ANSWERS.iter().map(|(question, answer)| [&[*question], *answer].concat()).collect(),
        "hosts" => owned(&[
            b"127.0.0.1\tlocalhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n",
            b"192.0.2.1 www.example.com www # web\r\n192.0.2.2 WWW.Example.com.\n2001:db8::1 www\n::ffff:192.0.2.1 www\n",
            "\u{feff}192.0.2.1 www\n192.0.2.2 www\n".as_bytes(),
        ]),
        "resolv_conf" => owned(&[
            b"# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.example b.example.\n\
              options ndots:2 timeout:1 attempts:3 rotate\n",
            b"domain example.com\nnameserver fe80::1%eth0\noptions edns0 trust-ad ndots:99\n",
        ]),
        "proxy_header" => owned(&PROXY_HEADERS),
        "takeover" => takeover(),
        "upstream" => owned(&UPSTREAM_ANSWERS),
        "from_worker" => from_worker(),
        "to_worker" => to_worker(),
        "conf" => {
            vec![CONF.into(), uncommented(&installed("sockd.conf")), installed("sockd.conf"), INCLUDES.into()]
        }
        "user_list" => owned(&[b"ann,/users,bob\0ann bob # carl\ndan,eve\r\n", b"/users,/more\0\xff\xfe", b",\0", b"\0"]),
        "route" => {
            vec![installed("sockd.route.example"), b"10.9.9.1 .xyz.com 0.0.0.0\n2001:db8::1 ALL 0.0.0.0\n".into()]
        }
        "upstreams" => vec![UPSTREAMS.into()],
        "settings" => vec![
            installed("sockd.ron"),
            b"(isolation: shared(4), user: \"x\", worker_ids: (100000, 500), bind_ports: (2000, 3000), commands: off)".into(),
        ],
        "frozen_rules" | "frozen_routes" | "frozen_upstreams" => frozen(target, installed),
        "escape" => owned(&[b"joe", b"joe)@x to y (\\z\r\n\0\x1b[0m\xff"]),
        "command" => vec![
            command(b"joe", b"joe", b"www.example.com", b"(/usr/bin/finger @%A 2>&1 | mail -s \"%U %u %Z %S\" root) & # 100%%"),
            command(b"$(id)", b"-rf", b"a;b", b"echo '%u' \"%U\" %A:%a %c %p %S:%s %Z/%z > /dev/null"),
        ],
        // Choices, of which any will do.
        // More datagrams to one destination than may wait.
        "flows" => (1..=24u64).map(noise).chain([vec![0; 200]]).collect(),
        _ => (1..=8u64).map(noise).collect(),
    }
}

/// The lines that are rules behind their comment sign.
fn uncommented(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let rules = text.lines().filter_map(|line| line.strip_prefix('#'));
    let rules = rules.filter(|line| line.starts_with("permit ") || line.starts_with("deny "));
    rules.map(|line| format!("{line}\n")).collect::<String>().into()
}

fn packet(kind: u8, message: &impl Message) -> Vec<u8> {
    let mut buffer = [0; MAX_PACKET];
    [&[kind], encode(message, &mut buffer).expect("a message that fits")].concat()
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("a short name")
}

/// Two peers at once: one reloads and is busy with that, the other takes over, and ends trees that drain.
fn takeover() -> Vec<Vec<u8>> {
    use ToServing::{End, Go, Hello, Recheck, Reload, Serves, Take};
    let says = |place: u8, message: ToServing| {
        let bytes = packet(place, &message);
        [&[place, u8::try_from(bytes.len() - 1).expect("a short message")], &bytes[1..]].concat()
    };
    let (comes, reloaded) = (vec![0, 0], vec![0, 1, b'r']);
    let hello = Hello { version: 1 };
    let greeted = [comes.clone(), comes, says(0, hello), says(1, hello)].concat();
    let reload = [says(0, Reload), says(0, Reload), reloaded.clone(), says(1, Reload), reloaded].concat();
    let take =
        [says(1, Take { place: 0 }), says(0, Take { place: 0 }), says(1, Take { place: 300 })].concat();
    let ends = [says(1, Serves { pid: 300 }), says(1, End), says(1, hello)].concat();
    let after = [says(1, Go), says(0, Reload), says(1, Recheck), ends].concat();
    let left = packet(0, &FromServing::Left(Totals { sessions: 300, ..Totals::default() })).split_off(1);
    let name = SocketName::new(b"socks").expect("a short name");
    let socket = packet(0, &FromServing::Socket { kind: SocketKind::Older { pid: 7 }, name }).split_off(1);
    let about = packet(0, &FromServing::About(About { version: 1, ..About::default() })).split_off(1);
    vec![[greeted.clone(), reload].concat(), [greeted, take, after].concat(), left, socket, about]
}

fn from_worker() -> Vec<Vec<u8>> {
    let id = Id(7);
    let locks = LockdownReport {
        protocol: 2,
        landlock_abi: 7,
        landlock_enforced: true,
        memory_deny_write_execute: true,
    };
    let request = |command, destination| {
        let user = UserId::new(b"joe").expect("a short id");
        FromSession::Request { id, request: Request { version: 4, command, destination, port: 23, user } }
    };
    let replied = |reply| packet(4, &FromUpstream::Answer { id, reply });
    let (flow, moved) = (FlowId(9), Relayed { up: 1472, down: u64::MAX });
    let addresses = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().expect("an address"));
    vec![
        packet(0, &FromSession::Ready(locks)),
        packet(0, &request(Command::Connect, Destination::Address(addresses[0]))),
        packet(0, &request(Command::Bind, Destination::Name(name("www.example.com")))),
        packet(0, &FromSession::Closed { id, why: CloseReason::Finished }),
        packet(0, &FromSession::Closed { id, why: CloseReason::ClientGone(Errno(104)) }),
        packet(
            1,
            &FromResolver::NeedSocket { id, record: RecordType::A, transport: Transport::Tcp, attempt: 3 },
        ),
        packet(1, &FromResolver::Answer { id, answer: Answer::Addresses(BoundedVec::first_of(addresses)) }),
        packet(
            1,
            &FromResolver::Answer {
                id,
                answer: Answer::Names(BoundedVec::first_of([name("a.example"), name("b")])),
            },
        ),
        packet(2, &FromIdent::Answer { id, user: IdentUser::new(b"joe") }),
        packet(3, &FromProbe::Survived { errno: Errno(1) }),
        packet(4, &FromUpstream::Ready(locks)),
        replied(NextReply::Granted("203.0.113.1:3000".parse().expect("an address"))),
        replied(NextReply::Refused(RefusalReason::NoIdentd)),
        replied(NextReply::WrongVersion(5)),
        replied(NextReply::UnknownCode(255)),
        replied(NextReply::Closed(Errno(104))),
        replied(NextReply::Cancelled),
        packet(
            5,
            &FromDatagram::Want {
                id,
                flow,
                destination: Destination::Name(name("www.example.com")),
                port: 53,
            },
        ),
        packet(5, &FromDatagram::Gone { id, flow, moved }),
        packet(5, &FromDatagram::Closed { id, why: AssociationEnd::Idle, moved }),
    ]
}

fn to_worker() -> Vec<Vec<u8>> {
    let id = Id(7);
    let address = "198.51.100.1:3000".parse().expect("an address");
    let user = UserId::new(b"joe").expect("a short id");
    let next = |command, destination| {
        let request = Request { version: 4, command, destination, port: 23, user: user.clone() };
        packet(4, &ToUpstream::Ask { id, request })
    };
    let search = BoundedVec::first_of([name("a.example"), name("b.example")]);
    vec![
        packet(0, &ToSession::Setup { relay: RelayMode::Splice, protocols: Protocols::ALL }),
        packet(0, &ToSession::Serve { id, handshake: Handshake::Fresh(Methods::NONE) }),
        packet(0, &ToSession::Listening { id, address }),
        packet(0, &ToSession::Relay { id, bound: "[2001:db8::1]:9".parse().expect("an address") }),
        packet(0, &ToSession::Refuse { id, why: RefusalReason::IdentityMismatch }),
        packet(1, &ToResolver::Setup { servers: 2, timeout: 5, attempts: 2, ndots: 1, by_tcp: true, search }),
        packet(1, &ToResolver::Resolve { id, query: Query::Addresses(name("www.example.com")) }),
        packet(1, &ToResolver::Resolve { id, query: Query::Names(address.ip()) }),
        packet(2, &ToIdent::Ask { id, client_port: 40000, server_port: 1080 }),
        packet(3, &ToProbe::Try(Act::ALL[4])),
        packet(4, &ToUpstream::Setup),
        next(Command::Connect, Destination::Address(address.ip())),
        next(Command::Bind, Destination::Name(name("www.example.com"))),
        packet(4, &ToUpstream::Cancel { id }),
        packet(5, &ToDatagram::Setup(FlowLimits { flows: 512, flow_idle: 120, association_idle: 300 })),
        packet(5, &ToDatagram::Open { id, client: address }),
        packet(
            5,
            &ToDatagram::Flow { id, flow: FlowId(9), peer: "[2001:db8::1]:53".parse().expect("an address") },
        ),
        packet(5, &ToDatagram::EndFlow { id, flow: FlowId(9) }),
    ]
}

/// Even and the content: the target adds beginning, length and checksum. Odd and a whole file: it is taken as it is.
fn frozen(target: &str, installed: &dyn Fn(&str) -> Vec<u8>) -> Vec<Vec<u8>> {
    let services = Services::parse(b"ftp 21/tcp\nsmtp 25/tcp\nwww 80/tcp\nhttps 443/tcp\n");
    let from = Provenance {
        name: "/etc/sockd.conf".into(),
        modified: 1_700_000_000,
        text: hash(b""),
        user_files: vec![("/users".into(), hash(b"carl"))],
    };
    let mut users = |_: &str| Ok(b"carl dan".to_vec());
    let files: Vec<Vec<u8>> = match target {
        "frozen_rules" => {
            let texts = [CONF.into(), NAMES.into(), uncommented(&installed("sockd.conf")), Vec::new()];
            texts
                .map(|text| freeze_rules(&parse_conf(&text, &services, &mut users).expect("rules"), &from))
                .into()
        }
        "frozen_routes" => {
            let texts = [
                installed("sockd.route.example"),
                b"10.9.9.1 .xyz.com 0.0.0.0\n2001:db8::1 ALL 0.0.0.0\n".into(),
            ];
            texts.map(|text| freeze_routes(&parse_routes(&text).expect("routes"), &from)).into()
        }
        _ => {
            let lines = parse_upstreams(UPSTREAMS.as_bytes(), &services, &mut users).expect("lines");
            vec![freeze_upstreams(&lines, &from)]
        }
    };
    let contents = files.iter().map(|file| [&[0], &file[HEADER..]].concat());
    contents.chain(files.first().map(|file| [&[1], &file[..]].concat())).collect()
}

/// User, user of identd, name, service, addresses and numbers, and the template, as the target takes them.
fn command(user: &[u8], ident_user: &[u8], name: &[u8], template: &[u8]) -> Vec<u8> {
    let mut seed = Vec::new();
    for field in [user, ident_user, name, b"telnet"] {
        seed.push(u8::try_from(field.len()).expect("a short field"));
        seed.extend(field);
    }
    seed.extend([&[0, 192, 0, 2, 7, 0, 7, 18, 0, 0, 23, 0][..], &[0, 203, 0, 113, 1]].concat());
    seed.extend(template);
    seed
}

/// Two hundred bytes without any meaning (xorshift64*).
fn noise(mut state: u64) -> Vec<u8> {
    let mut byte = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..200).map(|_| byte()).collect()
}
