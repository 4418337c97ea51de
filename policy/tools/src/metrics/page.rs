//! The text format, line by line.

use sockd_common::counters::{BOUNDS_MS, Histogram};
use std::fmt::{Display, Write};

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Writes the lines about a metric that stand before its samples.
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
        if !unit.is_empty() {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {help}"));
    }

    /// One value that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", "", help);
        self.line(format_args!("{name} {value}"));
    }

    /// One value in the unit that its name ends with.
    pub(super) fn unit(&mut self, name: &str, help: &str, value: u64) {
        let unit = name.rsplit('_').next().unwrap_or_default();
        self.family(name, "gauge", unit, help);
        self.line(format_args!("{name} {value}"));
    }

    /// The same for each label.
    pub(super) fn gauges(&mut self, name: &str, help: &str, values: impl Iterator<Item = (String, u64)>) {
        self.family(name, "gauge", "", help);
        values.for_each(|(labels, value)| self.line(format_args!("{name}{{{labels}}} {value}")));
    }

    /// One value that only goes up.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", "", help);
        self.line(format_args!("{name}_total {value}"));
    }

    /// The same in a unit.
    pub(super) fn counter_of(&mut self, name: &str, unit: &str, help: &str, value: impl Display) {
        self.family(name, "counter", unit, help);
        self.line(format_args!("{name}_total {value}"));
    }

    /// The same for each label.
    pub(super) fn counters(&mut self, name: &str, help: &str, values: impl Iterator<Item = (String, u64)>) {
        self.counters_of(name, "", help, values);
    }

    /// The same in a unit.
    pub(super) fn counters_of(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        values: impl Iterator<Item = (String, u64)>,
    ) {
        self.family(name, "counter", unit, help);
        values.for_each(|(labels, value)| self.line(format_args!("{name}_total{{{labels}}} {value}")));
    }

    /// A constant whose labels describe a program.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &str) {
        self.family(name, "info", "", help);
        self.line(format_args!("{name}_info{{{labels}}} 1"));
    }

    /// Counts of durations in seconds, by buckets.
    pub(super) fn histogram(&mut self, name: &str, help: &str, times: &Histogram) {
        self.family(name, "histogram", "seconds", help);
        // Read once: count and last bucket have to be the same.
        let mut count = 0_u64;
        let bounds = BOUNDS_MS.iter().map(|bound| format!("{:?}", f64::from(*bound) / 1000.0));
        for (bound, number) in bounds.chain(["+Inf".into()]).zip(times.buckets()) {
            count = count.saturating_add(number);
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        self.line(format_args!("{name}_count {count}"));
        let (seconds, rest) = (times.microseconds() / 1_000_000, times.microseconds() % 1_000_000);
        self.line(format_args!("{name}_sum {seconds}.{rest:06}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }

    /// The whole page.
    pub(super) fn end(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}
