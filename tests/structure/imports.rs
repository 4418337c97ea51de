//! policy/table <- policy <- policy/session <- privileged -> common <- worker, with policy/users and common/ledger below
//! privileged and common/password below worker, as `cargo metadata` has it.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each package of the workspace needs to be built and run, tests aside.
struct Packages {
    needs: BTreeMap<String, BTreeSet<String>>,
    /// Those that run in the compiler and are linked into nothing.
    macros: BTreeSet<String>,
}

impl Packages {
    fn read() -> Self {
        Self::read_with(&[])
    }

    /// Without packages that only other systems need.
    fn of_linux() -> Self {
        Self::read_with(&["--filter-platform", "x86_64-unknown-linux-gnu"])
    }

    fn read_with(arguments: &[&str]) -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest])
            .args(arguments)
            .output()
            .expect("cargo metadata");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let name_of: BTreeMap<_, _> = list(&metadata["packages"])
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let needs = |node: &Value| {
            let needed = list(&node["deps"]).filter(|dependency| {
                // Kind null is an ordinary dependency; "dev" is for tests, "build" runs elsewhere.
                list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null())
            });
            let needed: BTreeSet<_> =
                needed.map(|dependency| name_of[&text(&dependency["pkg"])].clone()).collect();
            (name_of[&text(&node["id"])].clone(), needed)
        };
        let is_macro = |package: &&Value| {
            list(&package["targets"]).any(|target| list(&target["kind"]).any(|kind| kind == "proc-macro"))
        };
        let macros = list(&metadata["packages"]).filter(is_macro).map(|package| text(&package["name"]));
        Self { needs: list(&metadata["resolve"]["nodes"]).map(needs).collect(), macros: macros.collect() }
    }

    /// The package and all that it needs, directly or not.
    fn closure(&self, package: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(package) = open.pop() {
            let needs = self.needs.get(&package).unwrap_or_else(|| panic!("no package {package}"));
            if seen.insert(package) {
                open.extend(needs.iter().cloned());
            }
        }
        seen
    }

    /// The packages of the closure that are ours, without the package itself.
    fn ours(&self, package: &str) -> BTreeSet<String> {
        let mut ours = self.closure(package);
        ours.retain(|name| name != package && is_ours(name));
        ours
    }

    /// The crates of others that stand in the package's own manifest.
    fn asked_for(&self, package: &str) -> BTreeSet<String> {
        let needs = self.needs.get(package).unwrap_or_else(|| panic!("no package {package}"));
        needs.iter().filter(|name| !is_ours(name)).cloned().collect()
    }

    /// The crates of others that become part of the package's programs.
    fn linked(&self, package: &str) -> BTreeSet<String> {
        let mut needs = self.needs.clone();
        needs.iter_mut().filter(|(name, _)| self.macros.contains(*name)).for_each(|(_, needs)| needs.clear());
        let linked = Self { needs, macros: BTreeSet::new() }.closure(package);
        linked.into_iter().filter(|name| !is_ours(name) && !self.macros.contains(name)).collect()
    }
}

fn is_ours(package: &str) -> bool {
    package == "sockd" || package.starts_with("sockd-")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn the_table_the_users_and_common_import_none_of_ours() {
    let packages = Packages::read();
    for package in ["sockd-table", "sockd-users", "sockd-common", "sockd-lockdown", "sockd-password"] {
        assert_eq!(packages.ours(package), names([]), "{package}");
    }
}

#[test]
fn the_ledger_imports_common_only() {
    assert_eq!(Packages::read().ours("sockd-ledger"), names(["sockd-common"]));
}

#[test]
fn policy_imports_the_table_only() {
    assert_eq!(Packages::read().ours("sockd-policy"), names(["sockd-table"]));
}

#[test]
fn what_decides_imports_policy_and_the_types_of_messages_only() {
    assert_eq!(
        Packages::read().ours("sockd-session"),
        names(["sockd-common", "sockd-policy", "sockd-table"])
    );
}

#[test]
fn the_worker_imports_common_lockdown_and_passwords_only() {
    let ours = ["sockd-common", "sockd-lockdown", "sockd-password"];
    assert_eq!(Packages::read().ours("sockd-worker"), names(ours));
}

#[test]
fn what_root_runs_does_not_import_the_worker() {
    let ours = [
        "sockd-common",
        "sockd-ledger",
        "sockd-lockdown",
        "sockd-policy",
        "sockd-session",
        "sockd-table",
        "sockd-users",
    ];
    assert_eq!(Packages::read().ours("sockd"), names(ours));
}

#[test]
fn what_root_runs_computes_no_hash_of_a_password() {
    let closure = Packages::read().closure("sockd");
    for package in ["sockd-password", "argon2", "bcrypt", "sha-crypt", "yescrypt"] {
        assert!(!closure.contains(package), "{package}");
    }
}

#[test]
fn what_root_serves_with_does_not_import_the_program_of_ver() {
    let packages = Packages::read();
    assert!(packages.ours("sockd-ver").contains("sockd") && !packages.ours("sockd").contains("sockd-ver"));
}

#[test]
fn neither_clap_nor_ron_nor_syslog_enters_a_worker() {
    let closure = Packages::read().closure("sockd-worker");
    for package in ["clap", "clap_builder", "ron", "syslog"] {
        assert!(!closure.contains(package), "{package} in {closure:?}");
    }
}

#[test]
fn no_async_runtime_enters_the_daemon() {
    let packages = Packages::read();
    for package in ["sockd", "sockd-worker"] {
        let closure = packages.closure(package);
        for runtime in ["tokio", "async-std", "smol", "async-executor", "futures-executor", "mio"] {
            assert!(!closure.contains(runtime), "{runtime} in {package}");
        }
    }
}

/// sha2 and what it needs: arithmetic on bytes.
const OF_SHA2: [&str; 10] = [
    "block-buffer",
    "cfg-if",
    "cmov",
    "cpufeatures",
    "crypto-common",
    "ctutils",
    "digest",
    "hybrid-array",
    "sha2",
    "typenum",
];

#[test]
fn rules_are_decided_without_a_crate_that_makes_system_calls() {
    let packages = Packages::of_linux();
    assert_eq!(packages.asked_for("sockd-table"), names(["sha2"]));
    assert_eq!(packages.asked_for("sockd-policy"), names([]));
    for package in ["sockd-table", "sockd-policy"] {
        assert_eq!(packages.linked(package), names(OF_SHA2), "{package}");
    }
}

/// The types of messages come from a package that has the channel too, and so rustix, which this one cannot name.
#[test]
fn sessions_are_decided_without_a_crate_that_makes_system_calls() {
    assert_eq!(Packages::of_linux().asked_for("sockd-session"), names(["serde", "slab"]));
}

/// Every crate here runs as root at the start, and in the monitor later. A further one needs a reason to trust its
/// authors with that.
#[test]
fn what_root_runs_links_no_crate_that_is_not_on_this_list() {
    let of_the_command_line = [
        "anstream",
        "anstyle",
        "anstyle-parse",
        "anstyle-query",
        "clap",
        "clap_builder",
        "clap_lex",
        "colorchoice",
        "is_terminal_polyfill",
        "strsim",
        "terminal_size",
        "utf8parse",
    ];
    let of_the_kernel = [
        "bitflags",
        "caps",
        "enumflags2",
        "errno",
        "landlock",
        "libc",
        "linux-raw-sys",
        "memoffset",
        "nix",
        "rustix",
        "seccompiler",
        "socket2",
    ];
    let of_files_and_messages = [
        "cobs",
        "embedded-io",
        "postcard",
        "ron",
        "serde",
        "serde_core",
        "slab",
        "thiserror",
        "typeid",
        "unicode-ident",
        "zeroize",
    ];
    let of_the_log =
        ["deranged", "hostname", "log", "num-conv", "num_threads", "powerfmt", "syslog", "time", "time-core"];
    let allowed =
        [&of_the_command_line[..], &of_the_kernel, &of_files_and_messages, &of_the_log, &OF_SHA2].concat();
    let allowed: BTreeSet<String> = allowed.into_iter().map(str::to_owned).collect();
    assert_eq!(Packages::of_linux().linked("sockd"), allowed);
}
