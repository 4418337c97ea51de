use super::*;
use crate::builder::Builder;
use crate::columns::{Entry, Op, Ports, RuleBody};
use crate::name::HostName;
use crate::pattern::Pattern;
use crate::prefixes::{Masked, PrefixSet};
use crate::query::InDoubt;
use crate::users::FILE;
use std::vec;

/// A kind of file whose lines may say anything.
const ANY: Kind = Kind { number: 9, in_doubt: |_, _| InDoubt::NoMatch, asks: |_| 0, check: |_| Ok(()) };

/// `permit *=ann,/a,/b 10.0.0.0/8 : true`, `deny *=/a .x.y 0.0.0.0 eq 9` and one special line.
fn table() -> Table {
    let mut builder = Builder::default();
    let ann = builder.user(b"ann");
    let (a, b) = (builder.file("/a", vec![b"carl", b"dora"]), builder.file("/b", vec![b"eve"]));
    let (first, second) = (builder.list("ann,/a,/b", &[ann, a, b]), builder.list("/a", &[a]));
    let template = builder.template("true");
    let network = crate::address::Network::prefix("10.0.0.0".parse().unwrap(), 8).unwrap();
    let body = RuleBody { users: first, template, ..RuleBody::of(1) };
    builder.rule(1, &Pattern::Network(network), &Pattern::Any, body);
    let zone = Pattern::Zone(HostName::parse(b"x.y").unwrap());
    let ports = Ports { op: Op::Eq, port: 9 };
    builder.rule(2, &zone, &Pattern::Any, RuleBody { users: second, ports, ..RuleBody::of(0) });
    assert!(builder.special(1, template, 3));
    builder.finish(&ANY)
}

/// Freezes a table that was altered, and loads it again.
fn altered(alter: impl FnOnce(&mut Table)) -> Result<(), FrozenError> {
    let mut table = table();
    alter(&mut table);
    thaw(&freeze(&table, &ANY, &Provenance::default()), &ANY).map(|_| ())
}

/// Adds a text in front of the only name.
fn text(table: &mut Table, text: &[u8]) -> u32 {
    let name = table.strings.bytes(table.source.names[0].text).to_vec();
    table.strings.ends.pop();
    table.strings.bytes.truncate(table.strings.end() as usize);
    let added = table.strings.add(text);
    table.source.names[0].text = table.strings.add(&name);
    added
}

fn content(fault: &'static str) -> Result<(), FrozenError> {
    Err(FrozenError::Content(fault))
}

#[test]
fn numbers_beyond_their_array_are_refused() {
    assert_eq!(altered(|_| {}), Ok(()));
    let lists = content("lists that are not those of rules");
    let entry = |alter: fn(&mut Entry)| altered(|table| alter(&mut table.index.by_source.entries[0]));
    assert_eq!(entry(|entry| entry.body = 9), lists);
    assert_eq!(entry(|entry| entry.other = 9), lists);
    assert_eq!(entry(|entry| entry.rule = 9), lists);
    assert_eq!(entry(|entry| entry.rule ^= 1), lists);
    assert_eq!(altered(|table| table.bodies[0].users = 3), content("a rule that says nothing known"));
    assert_eq!(altered(|table| table.bodies[0].template = 9), content("a command that is none"));
    assert_eq!(altered(|table| table.specials[0].0 = 9), content("a command that is none"));
    assert_eq!(altered(|table| table.templates[0] = 99), content("a command that is none"));
    assert_eq!(altered(|table| table.users.items[0] = FILE | 2), content("a user list that is none"));
    assert_eq!(altered(|table| table.users.file_users[0] = 99), content("a user file that is none"));
}

#[test]
fn spans_that_overlap_and_texts_without_end_are_refused() {
    assert_eq!(altered(|table| table.users.files[1].users.start = 0), content("a user file that is none"));
    assert_eq!(altered(|table| table.users.lists[1].start = 0), content("a user list that is none"));
    let long = |table: &mut Table| text(table, &[b'a'; 5000]);
    assert_eq!(altered(|table| _ = long(table)), content("a text that is too long"));
}

#[test]
fn texts_that_a_listing_would_not_give_back_are_refused() {
    for id in [&b"a b"[..], b"a,b", b"a\nb", b"a#", b"a:", b"", b"/a", b"\xff", &[b'a'; 256]] {
        assert_eq!(
            altered(|table| table.users.items[0] = text(table, id)),
            content("a user list that is none"),
            "{id:?}"
        );
    }
    for place in [1, 3] {
        let refused = altered(|table| {
            let end = table.strings.bytes.len();
            table.strings.bytes[end - place] = b'.';
        });
        assert_eq!(refused, content("names that are no names or out of order"), "{place}");
    }
    assert_eq!(
        altered(|table| table.users.files[0].path = text(table, b"a")),
        content("a user file that is none")
    );
}

#[test]
fn orders_that_the_search_relies_on_are_checked() {
    assert_eq!(altered(|table| table.users.file_users.reverse()), content("a user file that is none"));
    assert_eq!(altered(|table| table.lines = vec![]), content("lines out of order"));
    assert_eq!(altered(|table| table.lines = vec![(0, 1), (1, 1)]), content("lines out of order"));
    assert_eq!(altered(|table| table.lines = vec![(0, 1), (9, 11)]), content("lines out of order"));
    let networks = content("networks that are no networks or out of order");
    let v4 = |alter: fn(&mut PrefixSet<u32>)| altered(|table| alter(&mut table.source.v4));
    assert_eq!(v4(|set| set.prefixes.push(set.prefixes[0])), networks);
    assert_eq!(v4(|set| set.prefixes[0].address |= 1), networks);
    assert_eq!(v4(|set| set.noncontiguous.push(Masked { mask: !0, address: 0 })), networks);
}

#[test]
fn patterns_that_no_rule_has_are_refused() {
    let unused = altered(|table| {
        let noncontiguous = vec![Masked { mask: 0x00ff_0000, address: 0 }];
        table.source.v4 = PrefixSet::new([(0x0a00_0000, 8)].into_iter(), noncontiguous).unwrap();
    });
    assert_eq!(unused, content("patterns that no rule has"));
}
