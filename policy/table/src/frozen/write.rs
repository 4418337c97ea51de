//! Writes the content of a frozen file.

use alloc::vec::Vec;

use crate::columns::{Op, count};
use crate::limits::Limits;
use crate::lists::Lists;
use crate::prefixes::{AddressBits, PrefixSet};
use crate::table::Table;

use super::RESERVED;
use super::encode::{array, column, text, words};
use super::names;
use super::provenance::Provenance;

/// Writes the provenance of a file.
pub(super) fn provenance(out: &mut Vec<u8>, from: &Provenance) {
    text(out, &from.name);
    out.extend(from.modified.to_le_bytes());
    out.extend(from.text);
    array(out, &from.user_files, |out, (path, hash)| {
        text(out, path);
        out.extend(hash);
    });
}

/// Writes the arrays of a table.
pub(super) fn table(out: &mut Vec<u8>, table: &Table) {
    // The strings of names are the last ones.
    let names = count(&table.source.names).saturating_add(count(&table.destination.names));
    let others = 0..count(&table.strings.ends).saturating_sub(names);
    let others: Vec<&[u8]> = others.map(|text| table.strings.bytes(text)).collect();
    column(out, &others, |text| count(text));
    others.iter().for_each(|text| out.extend(*text));
    for set in [&table.source, &table.destination] {
        prefix_set(out, &set.v4, |out, bits| out.extend(bits.to_le_bytes()));
        prefix_set(out, &set.v6, |out, bits| out.extend(bits.to_le_bytes()));
        names::write(out, set, &table.strings);
    }
    array(out, &table.templates, |out, text| words(out, &[*text]));
    array(out, &table.users.items, |out, item| words(out, &[*item]));
    array(out, &table.users.lists, |out, span| words(out, &[span.start, span.end]));
    array(out, &table.users.file_users, |out, text| words(out, &[*text]));
    array(out, &table.users.files, |out, file| words(out, &[file.path, file.users.start, file.users.end]));
    array(out, &table.port_ranges, |out, (first, last)| {
        words(out, &[u32::from(*first) << 16 | u32::from(*last)]);
    });
    array(out, &table.port_lists, |out, span| words(out, &[span.start, span.end]));
    array(out, &table.bodies, |out, body| {
        let op = Op::ALL.iter().position(|(op, _)| *op == body.ports.op).unwrap_or_default();
        let ports = u32::from(body.ports.port) | (op as u32) << 16;
        let protocol = u32::from(body.protocol.commands) | u32::from(body.protocol.versions) << 8;
        words(out, &[body.choice, body.users, body.template, ports, protocol]);
        words(out, &[body.protocol.methods.into(), body.groups]);
        let Limits { down, up, connections, shared } = body.limits;
        words(out, &[down, up, connections, shared.into()]);
        words(out, &[0; RESERVED]);
    });
    for (template, line) in table.specials {
        words(out, &[template, line]);
    }
    array(out, &table.lines, |out, (rule, line)| words(out, &[*rule, *line]));
    lists(out, &table.index.by_source);
    lists(out, &table.index.by_destination);
}

fn prefix_set<B: AddressBits>(out: &mut Vec<u8>, set: &PrefixSet<B>, bits: impl Fn(&mut Vec<u8>, B)) {
    array(out, &set.prefixes, |out, prefix| bits(out, prefix.address));
    column(out, &set.prefixes, |prefix| prefix.length.into());
    words(out, &[count(&set.noncontiguous).saturating_mul(2)]);
    for network in &set.noncontiguous {
        bits(out, network.mask);
        bits(out, network.address);
    }
}

fn lists(out: &mut Vec<u8>, lists: &Lists) {
    let (mut steps, mut last) = (Vec::new(), 0);
    for (pattern, _) in (0u32..).zip(&lists.starts) {
        for _ in lists.of(pattern) {
            steps.push(pattern.saturating_sub(last));
            last = pattern;
        }
    }
    column(out, &steps, |step| *step);
    column(out, &lists.entries, |entry| entry.rule);
    column(out, &lists.entries, |entry| entry.other);
    column(out, &lists.entries, |entry| entry.body);
}
