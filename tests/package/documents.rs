//! Manual pages, completions, example files and programs say the same.

use sockd_tests::sockd::program;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs that are installed for people.
const PROGRAMS: [&str; 12] = [
    "sockd",
    "sockd-probe",
    "make_sockdfc",
    "make_sockdfr",
    "make_socksfc",
    "dump_sockdfc",
    "dump_sockdfr",
    "dump_socksfc",
    "test_sockd_conf",
    "sockd-migrate",
    "sockd-passwd",
    "sockdctl",
];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn read(name: &str) -> String {
    let path = packaging().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The options that a program's own help lists: `-i`, `--conf`.
fn options_of(name: &str) -> BTreeSet<String> {
    let help = Command::new(program(name)).arg("--help").output().expect("the help");
    assert!(help.status.success(), "{name}: {help:?}");
    let help = String::from_utf8(help.stdout).expect("text");
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split_whitespace().take_while(|word| word.starts_with('-')));
    let words = words.filter(|word| *word != "-");
    words.map(|word| word.trim_end_matches(',').to_owned()).collect()
}

/// The options that a page's list explains: `.It Fl -conf Ar FILE`, `.It Fl h , Fl -help`.
fn options_in_page(name: &str) -> BTreeSet<String> {
    let page = read(&format!("man/{name}.8"));
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    items.flat_map(|item| item.split("Fl ").map(first_word)).collect()
}

/// The options that a page's synopsis shows.
fn options_in_synopsis(name: &str) -> BTreeSet<String> {
    let page = read(&format!("man/{name}.8"));
    let synopsis = page.split(".Sh SYNOPSIS").nth(1).and_then(|rest| rest.split(".Sh ").next());
    let synopsis = synopsis.expect("a synopsis");
    synopsis.lines().flat_map(|line| line.split("Fl ").skip(1).map(first_word)).collect()
}

fn first_word(text: &str) -> String {
    format!("-{}", text.split_whitespace().next().unwrap_or_default())
}

fn without(mut options: BTreeSet<String>, unwanted: &[&str]) -> BTreeSet<String> {
    options.retain(|option| !unwanted.contains(&option.as_str()));
    options
}

#[test]
fn a_page_explains_exactly_the_options_that_its_program_has() {
    for name in PROGRAMS {
        // The classic spelling is not an option of the parser.
        assert_eq!(without(options_in_page(name), &["-ver"]), options_of(name), "{name}(8)");
    }
}

#[test]
fn a_synopsis_shows_every_option_but_help_and_version() {
    for name in PROGRAMS {
        let shown = without(options_in_synopsis(name), &["-ver", "--upstream"]);
        let long_names_of_others = ["-h", "--help", "-V", "--version", "--ver", "--upstream"];
        assert_eq!(shown, without(options_of(name), &long_names_of_others), "{name}(8)");
    }
}

#[test]
fn completions_know_every_option() {
    let bash = read("completions/sockd.bash");
    for name in PROGRAMS {
        for option in options_of(name) {
            let known = bash.split(|letter: char| letter.is_whitespace() || letter == '\'');
            assert!(known.into_iter().any(|word| word == option), "{name} {option} is not in sockd.bash");
        }
    }
    let (zsh, fish) = (read("completions/_sockd"), read("completions/sockd.fish"));
    let (first, _) = zsh.split_once('\n').expect("a first line");
    // The probe is a package of its own, for bash alone.
    for name in PROGRAMS.into_iter().filter(|name| *name != "sockd-probe") {
        assert!(bash.split_whitespace().any(|word| word == name), "{name} is not in sockd.bash");
        assert!(first.split(' ').any(|word| word == name), "{name} is not in the first line of _sockd");
        let fish: Vec<_> =
            fish.lines().filter(|line| line.starts_with(&format!("complete -c {name} "))).collect();
        for option in options_of(name) {
            assert!(zsh.contains(&option), "{name} {option} is not in _sockd");
            let word = option.trim_start_matches('-');
            let known = [format!(" -s {word} "), format!(" -l {word} ")];
            let known = fish.iter().any(|line| known.iter().any(|known| line.contains(known)));
            assert!(known, "{name} {option} is not in sockd.fish");
        }
    }
}

#[test]
fn packages_have_every_program() {
    let lists = ["debian/install", "build-programs", "sockd.spec.in"];
    for (list, name) in lists.into_iter().flat_map(|list| PROGRAMS.map(|name| (list, name))) {
        let list = if (list, name) == ("debian/install", "sockd-probe") {
            "debian/sockd-probe.install"
        } else {
            list
        };
        let text = read(list);
        let known = text.split(|letter: char| letter.is_whitespace() || "/\";".contains(letter));
        assert!(known.into_iter().any(|word| word == name), "{name} is not in {list}");
    }
    // Those that sockd starts.
    for (list, name) in
        lists.into_iter().flat_map(|list| ["sockd-worker", "sockd-ver"].map(|name| (list, name)))
    {
        let text = read(list);
        let mut known = text.split(|letter: char| letter.is_whitespace() || "/\";".contains(letter));
        assert!(known.any(|word| word == name), "{name} is not in {list}");
    }
}

/// Files for other programs on the host: where they lie here, and where packages put them.
const FOR_OTHERS: [(&str, &str); 5] = [
    ("fail2ban/filter.conf", "/etc/fail2ban/filter.d/sockd.conf"),
    ("firewall/ufw", "/etc/ufw/applications.d/sockd"),
    ("firewall/firewalld.xml", "/usr/lib/firewalld/services/sockd.xml"),
    ("log/rsyslog.conf", "/etc/rsyslog.d/49-sockd.conf"),
    ("log/logrotate", "/etc/logrotate.d/sockd"),
];

#[test]
fn packages_have_every_file_for_other_programs_at_the_same_place() {
    let (rules, source, spec) = (read("debian/rules"), read("build-source"), read("sockd.spec.in"));
    for (file, place) in FOR_OTHERS {
        let by_debhelper = format!("cp packaging/{file} debian/sockd.logrotate\n");
        let by_rules = format!("install -Dm644 packaging/{file} debian/sockd{place}\n");
        assert!(rules.contains(&by_rules) || source.contains(&by_debhelper), "{place} is not in the .deb");
        assert!(spec.contains(&format!("name 644 {place} {file}\n")), "{place} is not made for the RPM");
        let listed = if place.starts_with("/etc/") { "%config(noreplace) " } else { "" };
        assert!(spec.contains(&format!("\n{listed}{place}\n")), "{place} is not in the RPM");
    }
}

#[test]
fn firewalls_open_the_port_that_is_served() {
    assert!(read("systemd/sockd.socket").contains("\nListenStream=0.0.0.0:1080\n"));
    assert!(read("firewall/ufw").ends_with("\nports=1080/tcp\n"));
    let service = read("firewall/firewalld.xml");
    let ports: Vec<_> = service.lines().filter(|line| line.contains("<port")).collect();
    assert_eq!(ports, [r#"  <port protocol="tcp" port="1080"/>"#]);
}

#[test]
fn the_file_that_rsyslogd_writes_is_rotated_and_purged() {
    let log = read("log/rsyslog.conf");
    let log = log.lines().find_map(|line| line.strip_prefix(":programname, isequal, \"sockd\" "));
    let log = log.expect("a line for sockd");
    assert!(read("log/logrotate").contains(&format!("\n{log}\n{{\n")));
    assert!(read("debian/postrm").contains(&format!("rm -f {log} {log}.*\n")));
}

#[test]
fn the_page_of_the_settings_has_every_setting_with_its_default() {
    let page = read("man/sockd.ron.5");
    let file = read("sockd.ron");
    let settings = file.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','));
    let settings: Vec<_> =
        settings.filter(|line| !line.starts_with("//")).filter_map(|line| line.split_once(": ")).collect();
    assert!(settings.len() > 20, "{settings:?}");
    for (name, value) in &settings {
        let item = format!(".It Ic {name} : No {value}\n");
        assert!(page.contains(&item), "{item:?} is not in sockd.ron(5)");
    }
    let items = page.lines().filter(|line| line.starts_with(".It Ic ")).count();
    assert_eq!(items, settings.len(), "sockd.ron(5) has settings that there are not");
}

#[test]
fn the_page_of_the_log_has_every_field_that_there_is() {
    let page = read("man/sockd-log.5");
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    let explained: BTreeSet<&str> = items.flat_map(|item| item.split(" , ")).collect();
    let path = packaging().join("../policy/session/src/log/fields.rs");
    let source = fs::read_to_string(path).expect("the fields");
    let list = source.split("const FIELDS:").nth(1).and_then(|rest| rest.split("];").next()).expect("a list");
    let fields: Vec<&str> =
        list.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next()).collect();
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        assert!(explained.contains(field), "{field} is not in sockd-log(5)");
    }
}

#[test]
fn what_the_pages_refer_to_is_there() {
    let pages: BTreeSet<String> = fs::read_dir(packaging().join("man"))
        .expect("pages")
        .map(|page| page.expect("a page").file_name().to_string_lossy().into_owned())
        .collect();
    let of_others = [
        "htpasswd.1",
        "journalctl.1",
        "needrestart.1",
        "logger.1",
        "clock_gettime.2",
        "services.5",
        "crypt.5",
        "passwd.5",
        "shadow.5",
        "subuid.5",
        "sd_notify.3",
        "sd_listen_fds.3",
        "systemd-journald.8",
        "ipvsadm.8",
        "nft.8",
        "tc-fq.8",
        "systemd.exec.5",
        "tcp.7",
    ];
    for page in &pages {
        for line in read(&format!("man/{page}")).lines().filter(|line| line.contains("Xr ")) {
            for reference in line.split("Xr ").skip(1) {
                let mut words = reference.split_whitespace();
                let name =
                    format!("{}.{}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
                assert!(pages.contains(&name) || of_others.contains(&name.as_str()), "{page}: {line}");
            }
        }
    }
    let readme = fs::read_to_string(packaging().join("../README.md")).expect("the readme");
    for page in &pages {
        let (name, section) = page.rsplit_once('.').expect("a section");
        assert!(readme.contains(&format!("{name}({section})")), "{page} is not in README.md");
    }
}

#[test]
fn no_line_of_a_page_is_wider_than_80_columns() {
    for page in fs::read_dir(packaging().join("man")).expect("pages") {
        let page = page.expect("a page").path();
        let output = Command::new("mandoc").args(["-T", "utf8"]).arg(&page).output();
        let text =
            String::from_utf8(output.expect("mandoc: install the package mandoc").stdout).expect("text");
        assert!(text.lines().count() > 20, "{}", page.display());
        for line in text.lines() {
            // A letter that is printed twice is bold; one over `_` is underlined.
            let steps_back = line.chars().filter(|letter| *letter == '\u{8}').count();
            let width = line.chars().count() - 2 * steps_back;
            assert!(width <= 80, "{}: {width} columns: {line}", page.display());
        }
    }
}

#[test]
fn the_page_of_the_settings_says_that_its_values_are_the_defaults() {
    assert!(read("man/sockd.ron.5").contains("The values shown below are the defaults"));
}

#[test]
fn mandoc_has_nothing_to_complain_about() {
    let pages = fs::read_dir(packaging().join("man")).expect("pages");
    let pages = pages.map(|page| page.expect("a page").path());
    let output = Command::new("mandoc").args(["-T", "lint"]).args(pages).output();
    let output = output.expect("mandoc: install the package mandoc");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // Pages of other packages need not be installed where this runs.
    let real: Vec<_> = said.lines().filter(|line| !line.contains("referenced manual not found")).collect();
    assert!(real.is_empty(), "{}", real.join("\n"));
}

/// The whole number behind a word at the beginning of a line.
fn number(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(word));
    let digits = line.unwrap_or_else(|| panic!("no line begins with {word}")).trim_end_matches(',');
    digits.parse().unwrap_or_else(|error| panic!("{word}{digits}: {error}"))
}

#[test]
fn units_let_the_journal_take_all_that_the_settings_permit() {
    let settings = read("sockd.ron");
    let sessions =
        number(&settings, "connection_burst_in_all: ") + number(&settings, "connection_rate_in_all: ");
    for unit in ["sockd.service", "sockd-rootless.service"] {
        let unit = read(&format!("systemd/{unit}"));
        assert!(unit.contains("\nLogRateLimitIntervalSec=1s\n"));
        // Three lines a session: connected, terminated, bytes.
        assert!(number(&unit, "LogRateLimitBurst=") >= 3 * sessions);
    }
}
