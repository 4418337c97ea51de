//! The text of sockd.ron(5).
//!
//! The RON parser reports a mistake in terms of the notation. This file reports it in the words of the manual: the
//! line, the setting, what it takes and what was found.

use ron::error::{Error, Position, SpannedError};
use ron::extensions::Extensions;
use sockd_session::settings::{Settings, line_of, takes};

/// Reads a settings file. The error begins with the line number, if it is about one line.
pub fn parse(text: &[u8]) -> Result<Settings, String> {
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        let lines = before.split(|byte| *byte == b'\n').count();
        format!("line {lines}: expected text in UTF-8")
    })?;
    // `user: "x"` means what `user: Some("x")` does.
    let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
    // Some editors write a byte order mark at the start of a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let settings: Settings = options.from_str(text).map_err(|error| explain(text, error))?;
    settings.checked().map_err(|error| format!("{}{error}", line_of(text, &error)))
}

/// Explains a mistake in the words of the manual.
fn explain(text: &str, error: SpannedError) -> String {
    let (before, behind) = split(text, error.span.start);
    let before = without_comments(before);
    let setting = before.rsplit_once(':').map_or("", |(names, _)| last_word(names));
    let is_name = before.ends_with(',') || before == "(";
    let found = shown(behind);
    let fault = match error.code {
        // The setting's own check has rejected the value.
        Error::Message(fault) if fault.contains(": expected ") => fault,
        Error::NoSuchStructField { .. } => no_setting(&found),
        Error::SuggestRawIdentifier(_) | Error::ExpectedIdentifier if is_name => no_setting(&found),
        Error::DuplicateStructField { field, .. } => format!("{field}: expected once, found again"),
        Error::ExpectedMapColon => {
            format!("{}: expected a colon and a value, found {found}", last_word(&before))
        }
        Error::ExpectedComma => {
            let found = shown(split(text, error.span.end).1);
            format!("{setting}: expected a comma behind its value, found {found}")
        }
        Error::TrailingCharacters => format!("expected nothing behind the last parenthesis, found {found}"),
        _ if setting.is_empty() => format!("expected settings as (name: value, name: value), found {found}"),
        _ => format!("{setting}: expected {}, found {}", takes(setting), value(&before, behind)),
    };
    format!("line {}: {fault}", error.span.start.line)
}

fn no_setting(found: &str) -> String {
    format!("expected the name of a setting, found {found}; sockd.ron(5) has them all")
}

fn split(text: &str, at: Position) -> (&str, &str) {
    let before: usize = text.split_inclusive('\n').take(at.line.saturating_sub(1)).map(str::len).sum();
    let line = text.get(before..).unwrap_or_default();
    let column: usize = line.chars().take(at.col.saturating_sub(1)).map(char::len_utf8).sum();
    text.split_at_checked(before.saturating_add(column)).unwrap_or((text, ""))
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_once("//").map_or(line, |(before, _)| before));
    lines.collect::<Vec<_>>().join("\n").trim().into()
}

fn last_word(text: &str) -> &str {
    let words = text.trim_end().rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.take(1).next().unwrap_or_default()
}

/// The first word of this text, shortened to fit a line.
fn shown(behind: &str) -> String {
    let end = |letter: char| letter.is_whitespace() || ",:)".contains(letter);
    let text = behind.trim_start();
    let word = text.split(end).next().filter(|word| !word.is_empty());
    match word.or_else(|| text.get(..1)) {
        Some(word) => quoted(word),
        None => "the end of the file".into(),
    }
}

/// The value that begins behind the last colon.
fn value(before: &str, behind: &str) -> String {
    let begun = before.rsplit_once(':').map_or("", |(_, value)| value);
    let rest = behind.lines().next().unwrap_or_default();
    let text = without_comments(&format!("{begun}{rest}"));
    let text = text.trim_end_matches(',');
    let is_balanced = text.matches('(').count() == text.matches(')').count();
    quoted(if is_balanced { text } else { text.strip_suffix(')').unwrap_or(text) })
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("\"{}...\"", text.get(..cut).unwrap_or_default().escape_debug()),
        None => format!("\"{}\"", text.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_session::settings::Isolation;

    #[test]
    fn an_empty_settings_file_gives_the_defaults() {
        assert_eq!(parse(b"()").unwrap(), Settings::default());
        assert_eq!(parse("\u{feff}()".as_bytes()).unwrap(), Settings::default());
    }

    #[test]
    fn prefixes_of_a_translator_are_read_once_and_reach_the_monitor_as_they_are() {
        let text = "(nat64_prefixes: [\"2001:db8:64::/96\", \"2001:db8::/32\"])";
        let settings = parse(text.as_bytes()).unwrap();
        let prefixes: Vec<String> = settings.nat64_prefixes.iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["2001:db8:64::/96", "2001:db8::/32"]);
        let bytes = postcard::to_stdvec(&settings).unwrap();
        assert_eq!(postcard::from_bytes::<Settings>(&bytes).unwrap(), settings);
        let fault = parse(b"(\nnat64_prefixes: [\"2001:db8::/33\"])").unwrap_err();
        assert!(fault.starts_with("line 2: nat64_prefixes: expected [] or prefixes of 32, 40"), "{fault}");
        assert!(fault.ends_with("found \"2001:db8::/33\""), "{fault}");
    }

    #[test]
    fn listeners_for_balancers_are_read_once_and_reach_the_monitor_as_they_are() {
        let text = "(proxy_from: [(\"192.0.2.1:1080\", [\"198.51.100.7\", \"10.0.0.0/24\"]), \
                    (\"[2001:db8::1]:1080\", [\"2001:db8:7::/64\"])])";
        let settings = parse(text.as_bytes()).unwrap();
        let bytes = postcard::to_stdvec(&settings).unwrap();
        assert_eq!(postcard::from_bytes::<Settings>(&bytes).unwrap(), settings);
        let believes = |listener: &str, peer: &str| {
            let listener = settings.balancers(listener.parse().unwrap());
            listener.map(|listener| listener.believes(peer.parse().unwrap()))
        };
        for (listener, peer, believed) in [
            ("192.0.2.1:1080", "198.51.100.7", Some(true)),
            ("[::ffff:192.0.2.1]:1080", "::ffff:198.51.100.7", Some(true)),
            ("192.0.2.1:1080", "10.0.0.255", Some(true)),
            ("192.0.2.1:1080", "10.0.1.0", Some(false)),
            ("192.0.2.1:1080", "2001:db8:7::1", Some(false)),
            ("[2001:db8::1]:1080", "2001:db8:7::1", Some(true)),
            ("192.0.2.1:1081", "198.51.100.7", None),
            ("0.0.0.0:1080", "198.51.100.7", None),
        ] {
            assert_eq!(believes(listener, peer), believed, "{listener} {peer}");
        }
        let there = |listeners: &[&str]| {
            let listeners: Vec<_> = listeners.iter().map(|place| place.parse().unwrap()).collect();
            settings.lacks_listener(&listeners)
        };
        assert_eq!(there(&["[2001:db8::1]:1080", "192.0.2.1:1080", "127.0.0.1:1080"]), None);
        let lacking = "proxy_from: expected an address where clients are accepted, found [2001:db8::1]:1080";
        assert_eq!(there(&["192.0.2.1:1080", "[::]:1080"]).as_deref(), Some(lacking));
    }

    #[test]
    fn whom_nobody_should_believe_is_no_balancer() {
        for from in
            ["[]", "[\"0.0.0.0/0\"]", "[\"::/0\"]", "[\"10.0.0.1/24\"]", "[\"10.0.0.0/33\"]", "[\"a\"]"]
        {
            let text = format!("(\nproxy_from: [(\"192.0.2.1:1080\", {from})])");
            let fault = parse(text.as_bytes()).unwrap_err();
            assert!(
                fault.starts_with("line 2: proxy_from: expected [] or listeners with prefixes"),
                "{fault}"
            );
        }
        let twice =
            "(proxy_from: [(\"[::ffff:10.0.0.1]:1\", [\"10.0.0.2\"]), (\"10.0.0.1:1\", [\"10.0.0.3\"])])";
        let told = "line 1: proxy_from: expected each listener once, found 10.0.0.1:1 twice";
        assert_eq!(parse(twice.as_bytes()).unwrap_err(), told);
        let nowhere = parse(b"(proxy_from: [(\"192.0.2.1\", [\"10.0.0.1\"])])").unwrap_err();
        assert!(nowhere.starts_with("line 1: proxy_from: expected "), "{nowhere}");
    }

    #[test]
    fn the_isolations_are_spelled_as_documented() {
        for (text, isolation) in [
            ("(isolation: client)", Isolation::Client),
            ("(isolation: user)", Isolation::User),
            ("(isolation: connection)", Isolation::Connection),
            ("(isolation: shared(4))", Isolation::Shared(4)),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().isolation, isolation);
        }
    }

    #[test]
    fn users_that_are_told_apart_are_not_thrown_together_in_a_crowd() {
        let error = parse(b"(\n  isolation: user,\n  crowded: share,\n)").unwrap_err();
        assert!(error.contains("crowded: expected refuse with isolation: user, found share"), "{error}");
    }

    #[test]
    fn an_unknown_setting_is_an_error_that_names_its_line() {
        let error = parse(b"(\n  max_wrokers: 3,\n)").unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains("max_wrokers"), "{error}");
    }

    #[test]
    fn the_next_servers_have_the_form_of_a_line() {
        let settings = parse(b"(upstream_server: \"gw.example.com,10.0.0.1:1081\")").unwrap();
        assert_eq!(settings.default_servers().len(), 2);
        for text in ["(upstream_server: \"\")", "(upstream_server: \"a b\")", "(upstream_user: \"\\u{0}\")"] {
            assert!(parse(text.as_bytes()).unwrap_err().starts_with("line 1: upstream_"), "{text}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_an_error() {
        assert_eq!(
            parse(b"(request_limit: 0)").unwrap_err(),
            "line 1: request_limit: expected a number from 1, found 0"
        );
        assert!(parse(b"(isolation: shared(0))").is_err());
        assert!(parse(b"(worker_ids: (4294967295, 2))").is_err());
    }

    #[test]
    fn the_file_that_is_installed_holds_every_setting_with_its_default() {
        let installed = include_str!("../../../packaging/sockd.ron");
        assert_eq!(parse(installed.as_bytes()).unwrap(), Settings::default());
        let defaults = format!("{:#?}", Settings::default());
        let names = defaults.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
        for (name, _) in names.filter(|(name, _)| !name.starts_with(' ')) {
            assert!(installed.contains(&format!("\n    {name}: ")), "{name} is not in packaging/sockd.ron");
        }
    }

    #[test]
    fn every_mistake_is_told_by_line_setting_what_it_takes_and_what_stands_there() {
        for (text, said) in [
            (
                "(\n  max_wrokers: 3,\n)",
                "line 2: expected the name of a setting, found \"max_wrokers\"; sockd.ron(5) has them all",
            ),
            (
                "(max-workers: 3)",
                "line 1: expected the name of a setting, found \"max-workers\"; sockd.ron(5) has them all",
            ),
            (
                "(bind_any: true,\n,)",
                "line 2: expected the name of a setting, found \",\"; sockd.ron(5) has them all",
            ),
            (
                "(\n  max_workers: many,\n)",
                "line 2: max_workers: expected a number from 1 to 65535, found \"many\"",
            ),
            (
                "(max_workers: \"3\")",
                "line 1: max_workers: expected a number from 1 to 65535, found \"\\\"3\\\"\"",
            ),
            (
                "(max_workers: 70000)",
                "line 1: max_workers: expected a number from 1 to 65535, found \"70000\"",
            ),
            ("(max_workers: -1)", "line 1: max_workers: expected a number from 1 to 65535, found \"-1\""),
            ("(request_limit: 30s)", "line 1: request_limit: expected a comma behind its value, found \"s\""),
            ("(stop_grace: Off)", "line 1: stop_grace: expected a number of seconds, found \"Off\""),
            (
                "(isolation: cleint)",
                "line 1: isolation: expected client, user, connection or shared(n), found \"cleint\"",
            ),
            (
                "(isolation: shared(x), // c: d\n)",
                "line 1: isolation: expected client, user, connection or shared(n), found \"shared(x)\"",
            ),
            (
                "(isolation: 3)",
                "line 1: isolation: expected client, user, connection or shared(n), found \"3\"",
            ),
            ("(commands: \"off\")", "line 1: commands: expected sh, argv or off, found \"\\\"off\\\"\""),
            ("(bind_any: yes)", "line 1: bind_any: expected true or false, found \"yes\""),
            ("(user: joe)", "line 1: user: expected None or the name of an account in quotes, found \"joe\""),
            (
                "(worker_ids: (3))",
                "line 1: worker_ids: expected None or (first id, number of ids), found \"(3)\"",
            ),
            (
                "(bind_ports: 40000-49999)",
                "line 1: bind_ports: expected None or (first port, last port), found \"40000-49999\"",
            ),
            ("(max_workers: 3, max_workers: 4)", "line 1: max_workers: expected once, found again"),
            ("(max_workers = 3)", "line 1: max_workers: expected a colon and a value, found \"=\""),
            (
                "(\n  // c: d\n  max_workers: 3\n  max_binds: 4\n)",
                "line 4: max_workers: expected a comma behind its value, found \"max_binds\"",
            ),
            (
                "(max_workers: 3",
                "line 1: max_workers: expected a comma behind its value, found the end of the file",
            ),
            ("(max_workers: 3)) x", "line 1: expected nothing behind the last parenthesis, found \")\""),
            (
                "max_workers: 3",
                "line 1: expected settings as (name: value, name: value), found \"max_workers\"",
            ),
            ("", "line 1: expected settings as (name: value, name: value), found the end of the file"),
            ("(request_limit: 0)", "line 1: request_limit: expected a number from 1, found 0"),
            (
                "(keepalive: 60)",
                "line 1: keepalive: expected None or (seconds of silence, seconds between probes, number of probes), \
                 found \"60\"",
            ),
            (
                "(keepalive: (60, 30, 128))",
                "line 1: keepalive: expected two numbers from 1 to 32767 and one from 1 to 127, found (60, 30, 128)",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), said, "{text}");
        }
        assert_eq!(parse(b"(\n\xff)").unwrap_err(), "line 2: expected text in UTF-8");
    }

    #[test]
    fn no_mistake_is_told_in_the_words_of_the_notation() {
        let installed = include_str!("../../../packaging/sockd.ron");
        let words = ["struct", "variant", "Expected", "enum", "identifier", "field", "tuple", "Settings"];
        // Cuts the text off at, or inserts something into, any place.
        for (place, _) in installed.char_indices().step_by(11) {
            let (before, behind) = installed.split_at(place);
            for text in [before.to_owned(), format!("{before}@{behind}"), format!("{before}x 3{behind}")] {
                let Err(said) = parse(text.as_bytes()) else { continue };
                assert!(said.starts_with("line ") && said.contains(": expected "), "{said}");
                let ours = said.split(", found ").next().unwrap();
                assert!(!words.iter().any(|word| ours.contains(word)), "{said}");
            }
        }
    }

    #[test]
    fn what_a_setting_takes_fits_its_default() {
        let installed = include_str!("../../../packaging/sockd.ron");
        let settings = installed.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','));
        let settings =
            settings.filter(|line| !line.starts_with("//")).filter_map(|line| line.split_once(": "));
        for (name, value) in settings {
            let kind = match value {
                "true" | "false" => "true or false",
                "None" => "None or ",
                number if number.parse::<u64>().is_ok() => "a number ",
                numbers if numbers.starts_with('(') => "None or (",
                word => word,
            };
            assert!(takes(name).contains(kind), "{name}: {value}: {}", takes(name));
        }
    }
}
