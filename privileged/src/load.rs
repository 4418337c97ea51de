//! Reading everything that decides over access, all or nothing.

use crate::files::{FileError, read_trusted};
use crate::options::Options;
use crate::session::World;
use crate::settings::Settings;
use sockd_policy::{LineError, Routes, RuleSet, Services, parse_conf, parse_routes};
use std::path::Path;

/// services(5), the source of names for ports.
pub const SERVICES: &str = "/etc/services";

/// The rules of `--trial`: clients on this host, to anywhere, this host included.
const TRIAL_RULES: &str = "\
permit 127.0.0.0/8 127.0.0.0/8
permit ::1/128 ::1/128
permit 127.0.0.0/8
permit ::1/128
";

/// Reads settings, rules and routes. Every error is one line that names its file.
pub fn load(options: &Options) -> Result<World, Vec<String>> {
    let services = services();
    let settings = settings(options);
    let rules = rules(options, &services);
    let routes = routes(options);
    match (settings, rules, routes) {
        (Ok(settings), Ok(rules), Ok(routes)) => {
            Ok(World { rules, routes, services, settings, ident_default: options.ident_default() })
        }
        (settings, rules, routes) => {
            Err([settings.err(), rules.err(), routes.err()].into_iter().flatten().flatten().collect())
        }
    }
}

/// Reads the settings alone: the spawner needs them before anything else.
pub fn settings(options: &Options) -> Result<Settings, Vec<String>> {
    let path = &options.settings;
    let Some(text) = read_optional(path, "/etc/sockd.ron", options)? else {
        return Ok(Settings::default());
    };
    let text = String::from_utf8(text).map_err(|_| vec![format!("{}: expected UTF-8", path.display())])?;
    Settings::parse(&text).map_err(|error| vec![format!("{}: {error}", path.display())])
}

fn rules(options: &Options, services: &Services) -> Result<RuleSet, Vec<String>> {
    let path = &options.conf;
    let text = match options.trial {
        true => TRIAL_RULES.into(),
        false => read_trusted(path)
            .map_err(|error| vec![format!("Unable to open config file ({}): {error}", path.display())])?,
    };
    let mut user_file = |name: &str| {
        read_trusted(Path::new(name)).map_err(|error| format!("Unable to open userfile ({name}): {error}"))
    };
    parse_conf(&text, services, &mut user_file).map_err(|errors| in_file(path, &errors))
}

fn routes(options: &Options) -> Result<Option<Routes>, Vec<String>> {
    let path = &options.route;
    let Some(text) = read_optional(path, "/etc/sockd.route", options)? else { return Ok(None) };
    parse_routes(&text).map(Some).map_err(|errors| in_file(path, &errors))
}

/// Only the default file may be missing: who names a file wants it.
fn read_optional(path: &Path, default: &str, options: &Options) -> Result<Option<Vec<u8>>, Vec<String>> {
    match read_trusted(path) {
        _ if options.trial && path == Path::new(default) => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() && path == Path::new(default) => Ok(None),
        Err(error) => Err(vec![describe(path, &error)]),
    }
}

fn describe(path: &Path, error: &FileError) -> String {
    format!("Unable to open file ({}): {error}", path.display())
}

fn in_file(path: &Path, errors: &[LineError]) -> Vec<String> {
    errors.iter().map(|error| format!("{}: {error}", path.display())).collect()
}

fn services() -> Services {
    // Names are a convenience: without the file, ports are written as numbers.
    std::fs::read(SERVICES).map(|text| Services::parse(&text)).unwrap_or_default()
}
