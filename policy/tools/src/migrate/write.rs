//! The texts of the files.

use std::fmt::Write;

use super::join::Line;
use super::settings::Settings;

/// The files, by their names below /etc.
pub(super) fn files(from: &str, lines: &[Line], settings: &Settings) -> Vec<(&'static str, String)> {
    let from = from.escape_debug().to_string();
    let mut files = vec![("sockd.conf", rules(&from, lines)), ("sockd.ron", values(&from, settings))];
    if !settings.routes.is_empty() {
        let routes = settings.routes.join("\n");
        files.push(("sockd.route", format!("# From {from}: external.\n{routes}\n")));
    }
    files.push((
        "default/sockd",
        format!("# From {from}: internal and logoutput.\nSOCKD_OPTIONS=\"{}\"\n", settings.options.join(" ")),
    ));
    files
}

fn rules(from: &str, lines: &[Line]) -> String {
    let mut text = format!("# From {from}. The numbers are those of its lines.\n");
    if lines.iter().any(|line| line.needs_ipv4) {
        // 0.0.0.0/0 would be every host of both families.
        text.push_str("set ipv4 = 0.0.0.0/1, 128.0.0.0/1\n");
    }
    for line in lines {
        let _ = writeln!(text, "{}  # {}", line.text, line.from);
    }
    text.push_str("deny ALL 0.0.0.0\n");
    text
}

fn values(from: &str, settings: &Settings) -> String {
    let mut text = format!("// From {from}. The numbers are those of its lines.\n(\n");
    for (name, value, line) in &settings.values {
        let _ = writeln!(text, "    {name}: {value}, // {line}");
    }
    text.push_str(")\n");
    text
}
