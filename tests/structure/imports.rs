//! policy/table <- policy <- policy/session <- privileged -> common <- worker, with policy/users and common/ledger below
//! privileged and common/password below worker, as `cargo metadata` has it.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each package of the workspace needs to be built and run, tests aside.
struct Packages(BTreeMap<String, BTreeSet<String>>);

impl Packages {
    fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked", "--manifest-path", manifest])
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
        Self(list(&metadata["resolve"]["nodes"]).map(needs).collect())
    }

    /// The package and all that it needs, and what those need.
    fn closure(&self, package: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(package) = open.pop() {
            let needs = self.0.get(&package).unwrap_or_else(|| panic!("no package {package}"));
            if seen.insert(package) {
                open.extend(needs.iter().cloned());
            }
        }
        seen
    }

    /// Those of the closure that are ours, without the package itself.
    fn ours(&self, package: &str) -> BTreeSet<String> {
        let mut ours = self.closure(package);
        ours.retain(|name| name != package && (name == "sockd" || name.starts_with("sockd-")));
        ours
    }
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
