//! Checks the references between the arrays of a frozen file.

use crate::columns::{LONGEST_LINE, Op, Ports, RuleBody, Span};
use crate::table::Table;
use crate::users::FILE;

/// The fault of a rule with a field that this version does not know.
pub(super) const UNKNOWN: &str = "a rule that says nothing known";

/// Finds a fault that no compiled text of any kind has.
pub(super) fn check(table: &Table) -> Result<(), &'static str> {
    let checks = [
        (are_templates(table), "a command that is none"),
        (are_user_files(table), "a user file that is none"),
        (are_user_lists(table), "a user list that is none"),
        (are_port_lists(table), "a list of ports that is none"),
        (are_bodies(table), UNKNOWN),
        (are_lines(table), "lines out of order"),
        // A mask of zeros stands for every host of both families, and has a number of its own.
        (!table.destination.has_zero_mask(), "a rule of another kind of file"),
    ];
    checks.iter().find(|(sound, _)| !sound).map_or(Ok(()), |(_, fault)| Err(*fault))
}

fn is_string(table: &Table, id: u32) -> bool {
    (id as usize) < table.strings.ends.len()
}

fn are_templates(table: &Table) -> bool {
    let template = |number: u32| number as usize <= table.templates.len();
    table.templates.iter().all(|text| is_string(table, *text))
        && table.specials.iter().all(|(number, _)| template(*number))
        && table.bodies.iter().all(|body| template(body.template))
}

fn are_user_files(table: &Table) -> bool {
    let users = &table.users;
    let bytes = |text: &u32| table.strings.bytes(*text);
    let in_order = |users: &[u32]| users.is_sorted_by(|a, b| bytes(a) < bytes(b));
    users.file_users.iter().all(|text| is_string(table, *text) && is_user(bytes(text)))
        && follow_each_other(users.files.iter().map(|file| file.users), users.file_users.len())
        && users.files.iter().all(|file| {
            is_string(table, file.path)
                && is_item(bytes(&file.path), true)
                && in_order(file.users.of(&users.file_users))
        })
}

fn are_user_lists(table: &Table) -> bool {
    let users = &table.users;
    let item = |item: &u32| match item & FILE {
        0 => is_string(table, *item) && is_item(table.strings.bytes(*item), false),
        _ => ((item ^ FILE) as usize) < users.files.len(),
    };
    users.items.iter().all(item)
        && users.lists.iter().all(|list| list.start < list.end)
        && follow_each_other(users.lists.iter().copied(), users.items.len())
}

/// Whether spans divide an array among them. If they overlapped, the check of a short file could take long.
fn follow_each_other(mut spans: impl Iterator<Item = Span>, length: usize) -> bool {
    let end = spans.try_fold(0, |end, span| (span.start == end && span.end >= end).then_some(span.end));
    end.is_some_and(|end| end as usize == length)
}

/// Whether each list has ranges that are in order and apart.
fn are_port_lists(table: &Table) -> bool {
    let apart = |(_, last): &(u16, u16), (first, _): &(u16, u16)| last.saturating_add(1) < *first;
    let sound = |list: &Span| {
        let ranges = list.of(&table.port_ranges);
        ranges.is_sorted_by(apart) && ranges.iter().all(|(first, last)| first <= last)
    };
    table.port_lists.iter().all(|list| list.start < list.end)
        && follow_each_other(table.port_lists.iter().copied(), table.port_ranges.len())
        && table.port_lists.iter().all(sound)
}

fn are_bodies(table: &Table) -> bool {
    let ports = |ports: Ports| match ports.op {
        Op::Any => ports.port == 0,
        Op::In => usize::from(ports.port) < table.port_lists.len(),
        _ => true,
    };
    let sound = |body: &RuleBody| {
        ports(body.ports)
            && body.protocol.is_known()
            && body.limits.is_known()
            && table.users.is_without_files(body.groups)
    };
    let list = |list: u32| list as usize <= table.users.lists.len();
    table.bodies.iter().all(|body| list(body.users) && list(body.groups) && sound(body))
}

/// Whether each jump of the lines belongs to a rule, and leads forward, or back from an included file; or stays in a
/// line of several rules, which differ in their patterns alone.
fn are_lines(table: &Table) -> bool {
    let body = |rule: u32| table.rule(rule).map(|rule| rule.body);
    let stays = |rule: u32| rule.checked_sub(1).is_some_and(|before| body(before) == body(rule));
    let forward = |(rule, line): &(u32, u32), (next, jump): &(u32, u32)| {
        // This is the line of the rule before the next one.
        let before = line.saturating_add(next.saturating_sub(*rule)).saturating_sub(1);
        let leads_back = (1..before).contains(jump);
        rule < next && (jump.checked_sub(before) > Some(1) || leads_back || (*jump == before && stays(*next)))
    };
    let begins = table.lines.first().map_or(table.is_empty(), |(rule, line)| *rule == 0 && *line > 0);
    begins
        && table.lines.is_sorted_by(forward)
        && table.lines.last().is_none_or(|(rule, _)| (*rule as usize) < table.len())
}

fn is_user(text: &[u8]) -> bool {
    matches!(text.len(), 1..=255) && !text.contains(&0)
}

/// Whether one item of a user list could be this string: a file if it begins with a slash, else a user id.
fn is_item(text: &[u8], file: bool) -> bool {
    let of_word = |byte: &u8| !byte.is_ascii_whitespace() && !b",#:\0".contains(byte);
    let fits = if file { text.len() <= LONGEST_LINE } else { is_user(text) };
    fits && text.starts_with(b"/") == file && text.iter().all(of_word) && core::str::from_utf8(text).is_ok()
}
