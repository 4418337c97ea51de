//! Reads everything that decides over access, all or nothing.

use crate::config::options::Options;
use crate::config::settings_file;
use crate::config::trusted_file::{FileError, list_trusted, read_secret, read_trusted};
use crate::process::error::StartError;
use rustix::process::{Resource, getrlimit};
use sockd_policy::frozen::{FrozenError, Provenance, hash, thaw_routes, thaw_rules, thaw_upstreams};
use sockd_policy::{
    Files, Include, LineError, Routes, RuleSet, Services, Upstreams, lint, lint_routes, lint_text,
    parse_conf, parse_conf_with, parse_routes, parse_upstreams,
};
use sockd_session::about;
use sockd_session::config::Config;
use sockd_session::settings::{Settings, line_of};
use sockd_users::Users;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

/// socks.conf(5).
const UPSTREAM: &str = "/etc/socks.conf";

/// sockd.passwd(5).
const PASSWD: &str = "/etc/sockd.passwd";

/// services(5), the source of names for ports.
pub const SERVICES: &str = "/etc/services";

/// The rules of `--trial`: clients on this host, to anywhere, this host included.
const TRIAL_RULES: &str = "\
permit 127.0.0.0/8 127.0.0.0/8
permit ::1/128 ::1/128
permit 127.0.0.0/8
permit ::1/128
";

/// The configuration that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Everything that decides over sessions.
    pub config: Config,
    /// The text of services(5).
    pub services: String,
    /// Remarks for the administrator, although nothing is wrong.
    pub remarks: Vec<String>,
}

/// Reads settings, rules, routes and upstream lines. Every error is one line that names its file.
pub fn load(options: &Options) -> Result<Loaded, Vec<String>> {
    // Names are a convenience: without the file, ports are written as numbers.
    let services = std::fs::read(SERVICES).unwrap_or_default();
    let services = String::from_utf8_lossy(&services).into_owned();
    let table = Services::parse(services.as_bytes());
    let mut remarks = Vec::new();
    let settings = settings(options);
    let rules = rules(options, &table, &mut remarks);
    let routes = routes(options, &mut remarks);
    let known = settings.as_ref().ok();
    let upstreams = known.map_or(Ok(None), |settings| upstreams(options, settings, &table, &mut remarks));
    match (settings, rules, routes, upstreams) {
        (Ok(settings), Ok(rules), Ok(routes), Ok(upstreams)) => {
            let ident_default = options.ident_default();
            let config = Config { rules, routes, upstreams, services: table, settings, ident_default };
            Ok(Loaded { config, services, remarks })
        }
        (settings, rules, routes, upstreams) => {
            let errors = [settings.err(), rules.err(), routes.err(), upstreams.err()];
            Err(errors.into_iter().flatten().flatten().collect())
        }
    }
}

/// Reads the settings alone: the spawner needs them before anything else.
pub fn settings(options: &Options) -> Result<Settings, Vec<String>> {
    let path = &options.settings;
    let Some(text) = read_optional(path, "/etc/sockd.ron", options)? else {
        return Ok(Settings::default());
    };
    settings_file::parse(&text).map_err(|error| vec![format!("{}: {error}", path.display())])
}

/// Puts the file, and the line at fault if it is known, before each line of the error.
pub fn placed(mut error: StartError, file: &Path) -> StartError {
    if error.is_configuration() {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let place = |line: &str| format!("{}: {}{line}", file.display(), line_of(&text, line));
        error.lines.iter_mut().for_each(|line| *line = place(line));
    }
    error
}

/// Warnings about lines that are hardly meant, for `--check`.
pub fn doubts(options: &Options, config: &Config) -> Vec<String> {
    let warnings = lint(&config.rules, options.ident_default());
    let warnings: Vec<_> = warnings.into_iter().chain(about::balancer_clients(config)).collect();
    let included = config.rules.included().iter().map(|file| PathBuf::from(file.file()));
    let texts = [options.conf.clone()].into_iter().chain(included);
    let of_texts = texts.flat_map(|file| {
        let warnings = lint_text(&read_trusted(&file).unwrap_or_default());
        warnings.into_iter().map(move |warning| warning.in_file(file.display()))
    });
    let of_rules = warnings.iter().map(|warning| warning.in_file(options.conf.display())).chain(of_texts);
    let has = |address| UdpSocket::bind((address, 0)).is_ok();
    let routes = config.routes.iter().flat_map(|routes| lint_routes(routes, has));
    let of_routes = routes.map(|warning| (&options.route, warning.to_string()));
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let of_settings = about::doubts(&config.settings, config.rules.offers_udp(), descriptors).into_iter();
    let of_settings = of_settings.map(|doubt| (&options.settings, doubt));
    let lacking = config.settings.lacks_listener(&options.listen).filter(|_| !options.listen.is_empty());
    let of_settings = of_settings.chain(lacking.map(|lacking| (&options.settings, lacking)));
    let others = of_routes.chain(of_settings).map(|(file, doubt)| format!("{}: {doubt}", file.display()));
    of_rules.chain(others).collect()
}

fn rules(options: &Options, services: &Services, remarks: &mut Vec<String>) -> Result<RuleSet, Vec<String>> {
    let path = &options.conf;
    if options.trial {
        return parse_conf(TRIAL_RULES.as_bytes(), services, &mut |_| Err("no user files in a trial".into()))
            .map_err(|errors| in_file(path, &errors));
    }
    let rules = match frozen(path, "fc", thaw_rules, remarks)? {
        Some(rules) => rules,
        None => text_rules(path, services)?,
    };
    // A server without rules could only refuse, and a file without rules is probably being written at this moment.
    if rules.is_empty() { Err(vec![about::no_rules(path)]) } else { Ok(rules) }
}

fn text_rules(path: &Path, services: &Services) -> Result<RuleSet, Vec<String>> {
    let text = read_trusted(path).map_err(|error| {
        vec![format!("Unable to open config file ({}): {}", path.display(), error.about(path))]
    })?;
    let files = Files { read: &mut user_file, list: &mut included_files };
    parse_conf_with(&text, services, files).map_err(|errors| in_file(path, &errors))
}

/// The files that a pattern of an include line names. An error can name only files whose names are UTF-8.
fn included_files(include: Include<'_>) -> Result<Vec<String>, String> {
    let folder = Path::new(include.folder());
    let files = list_trusted(folder, |name| include.names(name)).map_err(|error| error.to_string())?;
    let text = |file: PathBuf| {
        let text = file.into_os_string().into_string();
        text.map_err(|name| format!("expected names in UTF-8, found {}", name.display()))
    };
    files.into_iter().map(text).collect()
}

fn routes(options: &Options, remarks: &mut Vec<String>) -> Result<Option<Routes>, Vec<String>> {
    let path = &options.route;
    if options.trial {
        return Ok(None);
    }
    if let Some(routes) = frozen(path, "fr", thaw_routes, remarks)? {
        return Ok(Some(routes));
    }
    let Some(text) = read_optional(path, "/etc/sockd.route", options)? else { return Ok(None) };
    parse_routes(&text).map(Some).map_err(|errors| in_file(path, &errors))
}

fn user_file(name: &str) -> Result<Vec<u8>, String> {
    let path = Path::new(name);
    read_trusted(path).map_err(|error| error.about(path))
}

/// The path of the upstream file, socks.conf(5).
pub fn upstream_file(options: &Options, settings: &Settings) -> PathBuf {
    let set = settings.upstream_file.as_ref().map(PathBuf::from);
    options.upstream.clone().or(set).unwrap_or_else(|| UPSTREAM.into())
}

/// Reads upstream lines. Without the file every destination is reached directly.
pub fn upstreams(
    options: &Options,
    settings: &Settings,
    services: &Services,
    remarks: &mut Vec<String>,
) -> Result<Option<Upstreams>, Vec<String>> {
    let path = &upstream_file(options, settings);
    if options.trial {
        return Ok(None);
    }
    let upstreams = match frozen(path, "fc", thaw_upstreams, remarks)? {
        Some(upstreams) => upstreams,
        None => match read_optional(path, UPSTREAM, options)? {
            Some(text) => {
                parse_upstreams(&text, services, &mut user_file).map_err(|errors| in_file(path, &errors))?
            }
            None => return Ok(None),
        },
    };
    match upstreams.first_without_servers().filter(|_| settings.upstream_server.is_none()) {
        Some(line) => Err(vec![format!(
            "{}: line {line}: expected servers behind @=, or upstream_server in sockd.ron(5), found neither",
            path.display()
        )]),
        None => Ok(Some(upstreams)),
    }
}

/// The path of the users' file, sockd.passwd(5).
pub fn passwd_file(settings: &Settings) -> &Path {
    settings.passwd_file.as_ref().map_or(Path::new(PASSWD), Path::new)
}

/// Reads the users; without the file there are none. This is not part of [`load`], as the process that becomes the
/// monitor never reads a hash.
pub fn users(options: &Options) -> Result<Users, Vec<String>> {
    let settings = settings(options)?;
    let path = passwd_file(&settings);
    if options.trial {
        return Ok(Users::default());
    }
    let text = match read_secret(path) {
        Ok(text) => text,
        Err(error) if error.is_missing() && settings.passwd_file.is_none() => return Ok(Users::default()),
        Err(error) => return Err(vec![describe(path, &error)]),
    };
    let placed = |errors: Vec<sockd_users::LineError>| {
        errors.iter().map(|error| format!("{}: {error}", path.display())).collect()
    };
    Users::parse(&text).map_err(placed)
}

/// Reads the frozen file beside a text file, which takes precedence. If the text, or a user file, has changed since the
/// freezing, the frozen file is used all the same, as the classic manual says, and the administrator is told.
fn frozen<T>(
    text: &Path,
    extension: &str,
    thaw: impl FnOnce(&[u8]) -> Result<(T, Provenance), FrozenError>,
    remarks: &mut Vec<String>,
) -> Result<Option<T>, Vec<String>> {
    let path = text.with_extension(extension);
    let bytes = match read_trusted(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(vec![describe(&path, &error)]),
    };
    let (table, from) = thaw(&bytes).map_err(|error| vec![format!("{}: {error}", path.display())])?;
    let user_files = from.user_files.iter().map(|(name, hash)| (PathBuf::from(name), *hash));
    for (file, made_from) in [(text.to_owned(), from.text)].into_iter().chain(user_files) {
        match current(&file) {
            Some(now) if now != made_from => remarks.push(format!(
                "{} is not what {} was made from; the frozen file is used",
                file.display(),
                path.display()
            )),
            // An administrator may remove the text after freezing.
            _ => {}
        }
    }
    Ok(Some(table))
}

/// The hash of a file, or of the list of files that an include line names; `None` if there is no such file.
fn current(path: &Path) -> Option<[u8; 32]> {
    match (read_trusted(path), path.to_str().and_then(Include::parse)) {
        (Ok(text), _) => Some(hash(&text)),
        (Err(_), Some(include)) if include.is_pattern() => {
            Some(include.listing(&included_files(include).unwrap_or_default()))
        }
        _ => None,
    }
}

/// Reads a file of which only the default one may be missing: an administrator who names a file wants it.
fn read_optional(path: &Path, default: &str, options: &Options) -> Result<Option<Vec<u8>>, Vec<String>> {
    match read_trusted(path) {
        _ if options.trial && path == Path::new(default) => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() && path == Path::new(default) => Ok(None),
        Err(error) => Err(vec![describe(path, &error)]),
    }
}

fn describe(path: &Path, error: &FileError) -> String {
    format!("Unable to open file ({}): {}", path.display(), error.about(path))
}

fn in_file(path: &Path, errors: &[LineError]) -> Vec<String> {
    errors.iter().map(|error| error.in_file(path.display())).collect()
}
