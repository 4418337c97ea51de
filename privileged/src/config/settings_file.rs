//! The text of sockd.ron(5).

use ron::extensions::Extensions;
use sockd_session::settings::Settings;

/// Reads the text of a settings file. The error names the line and the column, or begins with the name of the setting.
pub fn parse(text: &str) -> Result<Settings, String> {
    // `user: "x"` means what `user: Some("x")` does.
    let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
    // Some editors write a byte order mark at the start of a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let settings: Settings = options.from_str(text).map_err(|error| {
        format!("line {}, column {}: {}", error.span.start.line, error.span.start.col, error.code)
    })?;
    settings.checked()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sockd_session::settings::Isolation;

    #[test]
    fn an_empty_settings_file_gives_the_defaults() {
        assert_eq!(parse("()").unwrap(), Settings::default());
        assert_eq!(parse("\u{feff}()").unwrap(), Settings::default());
    }

    #[test]
    fn the_three_isolations_are_spelled_as_documented() {
        for (text, isolation) in [
            ("(isolation: client)", Isolation::Client),
            ("(isolation: connection)", Isolation::Connection),
            ("(isolation: shared(4))", Isolation::Shared(4)),
        ] {
            assert_eq!(parse(text).unwrap().isolation, isolation);
        }
    }

    #[test]
    fn an_unknown_setting_is_an_error_that_names_its_line() {
        let error = parse("(\n  max_wrokers: 3,\n)").unwrap_err();
        assert!(error.starts_with("line 2,") && error.contains("max_wrokers"), "{error}");
    }

    #[test]
    fn the_next_servers_have_the_form_of_a_line() {
        let settings = parse("(upstream_server: \"gw.example.com,10.0.0.1:1081\")").unwrap();
        assert_eq!(settings.default_servers().len(), 2);
        for text in ["(upstream_server: \"\")", "(upstream_server: \"a b\")", "(upstream_user: \"\\u{0}\")"] {
            assert!(parse(text).unwrap_err().starts_with("upstream_"), "{text}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_an_error() {
        assert_eq!(
            parse("(request_limit: 0)").unwrap_err(),
            "request_limit: expected a number from 1, found 0"
        );
        assert!(parse("(isolation: shared(0))").is_err());
        assert!(parse("(worker_ids: (4294967295, 2))").is_err());
    }

    #[test]
    fn the_file_that_is_installed_holds_every_setting_with_its_default() {
        let installed = include_str!("../../../packaging/sockd.ron");
        assert_eq!(parse(installed).unwrap(), Settings::default());
        let defaults = format!("{:#?}", Settings::default());
        let names = defaults.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
        for (name, _) in names.filter(|(name, _)| !name.starts_with(' ')) {
            assert!(installed.contains(&format!("\n    {name}: ")), "{name} is not in packaging/sockd.ron");
        }
    }
}
