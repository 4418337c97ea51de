//! Each value of each label of each metric has a row that moves it, or a reason why it has none.

use super::{alone, exporter, lab, page, rows};
use std::collections::BTreeSet;

/// Labels that no row moves: the metric, the label, and the reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("sockd_up", "", "it is 1 on every page of a daemon; access.rs sees it at 0"),
    ("sockd_build_info", "", "it is 1; what_is_fixed_is_said looks at its label"),
    ("process_start_time_seconds", "", "it is set once; what_is_fixed_is_said"),
    ("process_cpu_seconds_total", "", "the kernel counts it; what_is_fixed_is_said"),
    ("process_resident_memory_bytes", "", "the same"),
    ("process_virtual_memory_bytes", "", "the same"),
    ("sockd_handshake_seconds_bucket", "le", "arithmetic that counters/word.rs tests for each bound"),
    ("sockd_dial_seconds_bucket", "le", "the same"),
    (
        "sockd_limit_hits_total",
        "limit=\"max_flows",
        "an honest worker keeps it; one_flow_more_than_there_may_be_is_refused has one that does not",
    ),
    ("sockd_dial_seconds_sum", "", "of the same words as that of the handshake"),
];

/// A series as its name and its labels.
fn parts(series: &str) -> (&str, Vec<&str>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    (name, labels.trim_end_matches('}').split("\",").map(|label| label.trim_end_matches('"')).collect())
}

#[test]
fn each_label_of_each_metric_has_a_row_or_a_reason() {
    let of_rows = rows::ROWS.iter().map(|row| row.0);
    let alone = alone::LIMITS.iter().chain(alone::OTHERS).chain(alone::WORKERS).map(|row| row.0);
    let others = alone::HOSTILE.iter().map(|(_, series)| *series).chain(alone::UPSTREAM).chain(alone::SLOW);
    let moved: BTreeSet<(&str, &str)> = of_rows
        .chain(alone)
        .chain(others)
        .flat_map(|series| {
            let (name, labels) = parts(series);
            labels.into_iter().map(move |label| (name, label))
        })
        .collect();
    let lab = lab(sockd_tests::sockd::PERMIT_ALL, "()");
    let _exporter = exporter(&lab.site.gateway);
    let page = page(&lab.site.gateway);
    let mut missing = BTreeSet::new();
    for sample in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = parts(sample.rsplit_once(' ').expect("a value").0);
        let is_left_out = |label: &str| {
            LEFT_OUT.iter().any(|(metric, of, _)| {
                *metric == name && (of.is_empty() || label == *of || label.split('=').next() == Some(of))
            })
        };
        let lacking =
            labels.into_iter().filter(|label| !moved.contains(&(name, label)) && !is_left_out(label));
        missing.extend(lacking.map(|label| format!("{name} {label}")));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
