//! Counts over all sessions: by phase, by worker, by line of the rules.

use super::live::{Live, Tree, age};
use super::show::{Object, amount, span};
use crate::files::Policy;
use crate::ledger::record::PHASES;
use sockd_common::ledger::{Field, Hits};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The numbers of each daemon, with its sessions by phase.
pub(super) fn stats(trees: &[Tree], sessions: &[Live], json: bool) -> String {
    let mut text = String::new();
    for (number, tree) in trees.iter().enumerate() {
        let own: Vec<&Live> = sessions.iter().filter(|live| live.tree == number).collect();
        let numbers = numbers(tree, &own);
        if json {
            let mut object = Object::default();
            numbers.into_iter().for_each(|(name, number)| object.number(name, number));
            let _ = writeln!(text, "{}", object.end());
        } else {
            numbers.into_iter().for_each(|(name, number)| {
                let _ = writeln!(text, "{name:<12}{}", in_words(name, number));
            });
        }
    }
    text
}

fn numbers(tree: &Tree, own: &[&Live]) -> Vec<(&'static str, u64)> {
    let head = |field| tree.ledger.head(field);
    let mut numbers = vec![
        ("process", head(Field::Process)),
        ("sessions", head(Field::Live)),
        ("capacity", head(Field::Capacity)),
        ("killed", head(Field::Killed)),
        ("draining", head(Field::Draining)),
        ("started", head(Field::Started)),
        ("rules_since", head(Field::RulesSince)),
    ];
    for (phase, word) in PHASES {
        let has_it = |live: &&&Live| live.entry().is_some_and(|entry| entry.phase == phase);
        numbers.push((word, own.iter().filter(has_it).count() as u64));
    }
    let traffic = || own.iter().filter_map(|live| live.traffic);
    numbers.push(("bytes_up", traffic().map(|traffic| traffic.up).sum()));
    numbers.push(("bytes_down", traffic().map(|traffic| traffic.down).sum()));
    numbers
}

fn in_words(name: &str, number: u64) -> String {
    match name {
        "started" | "rules_since" => format!("{} ago", span(age(number))),
        "bytes_up" | "bytes_down" => amount(number),
        "draining" => if number == 0 { "no" } else { "yes" }.into(),
        _ => number.to_string(),
    }
}

/// The workers that have sessions, each with its client hosts.
pub(super) fn workers(sessions: &[Live]) -> String {
    let mut workers: BTreeMap<(usize, u32), (usize, Vec<IpAddr>)> = BTreeMap::new();
    for live in sessions {
        let Some(entry) = live.entry() else { continue };
        let (number, hosts) = workers.entry((live.tree, entry.worker)).or_default();
        *number = number.saturating_add(1);
        if !hosts.contains(&entry.client.ip()) {
            hosts.push(entry.client.ip());
        }
    }
    let mut text = String::from("WORKER SESSIONS CLIENTS\n");
    for ((_, worker), (number, hosts)) in workers {
        let hosts: Vec<String> = hosts.iter().map(IpAddr::to_string).collect();
        let _ = writeln!(text, "{worker:>6} {number:>8} {}", hosts.join(" "));
    }
    text
}

/// The lines of the rules with their hits. The lines of the file come in its order, even without hits.
pub(super) fn rules(trees: &[Tree], conf: &Path, services: &Path) -> String {
    let mut hits: BTreeMap<u32, Hits> = BTreeMap::new();
    // A daemon that drains may have other lines.
    for (line, found) in trees.iter().filter(|tree| tree.serves()).flat_map(|tree| tree.ledger.hits()) {
        let of_line = hits.entry(line).or_default();
        of_line.number = of_line.number.saturating_add(found.number);
        of_line.last = of_line.last.max(found.last);
    }
    let (written, source) = written(trees, conf, services);
    for line in written.keys() {
        hits.entry(*line).or_default();
    }
    let mut text = format!("LINE       HITS LAST RULE ({source})\n");
    for (line, Hits { number, last }) in hits {
        let last = if number == 0 { "-".into() } else { span(age(last)) };
        let rule = written.get(&line).map_or("", String::as_str);
        let row = format!("{line:>4} {number:>10} {last:>4} {rule}");
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

/// The rules that a daemon would read now, by the numbers of their lines, and where they are.
fn written(trees: &[Tree], conf: &Path, services: &Path) -> (BTreeMap<u32, String>, String) {
    let (file, read) = Policy::in_force(conf, services);
    let rules = match &read {
        Ok(Policy::Rules(rules)) => rules,
        Ok(_) => return Default::default(),
        Err(fault) => {
            let why = fault.messages(&file).into_iter().next().unwrap_or_default();
            return (BTreeMap::new(), format!("not at hand: {why}"));
        }
    };
    let lines = rules.rules().map(|rule| (rule.line(), rule.to_string())).collect();
    let is_newer = |file: &Path| {
        let than = |tree: &Tree| changed(file) > Some(tree.ledger.head(Field::RulesSince));
        trees.iter().any(|tree| tree.serves() && than(tree))
    };
    let included = rules.included().iter().map(|included| Path::new(included.file()));
    let newer = if included.chain([&*file]).any(is_newer) { ", newer than the rules in force" } else { "" };
    (lines, format!("{}{newer}", file.display()))
}

/// The time of the last change of the file, or of its replacement by another one, in milliseconds since 1970.
fn changed(file: &Path) -> Option<u64> {
    let facts = std::fs::metadata(file).ok()?;
    let millis = facts.ctime().saturating_mul(1000).saturating_add(facts.ctime_nsec() / 1_000_000);
    u64::try_from(millis).ok()
}
