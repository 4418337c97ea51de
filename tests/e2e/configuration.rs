//! Frozen files, large files, and workers with ids of their own.

use nix::sys::signal::Signal;
use sockd_tests::far::{Far, Server};
use sockd_tests::lab::Lab;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::sockd::{PERMIT_ALL, Start, program};
use sockd_tests::socks::{Request, assert_rejected, granted};
use sockd_tests::syslog::{Mark, Syslog};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

/// Freezes the rules of the gateway as an administrator would.
fn freeze(lab: &Lab) {
    let output = lab.site.gateway.output(&mut Command::new(program("make_sockdfc")));
    assert!(output.status.success(), "{output:?}");
}

fn reload(lab: &mut Lab, outcome: &str) {
    lab.turn_the_page();
    lab.sockd.signal(Signal::SIGHUP);
    lab.wait_for_line(outcome);
}

/// As a Kubernetes ConfigMap is mounted: the file is a link through a link that is switched to another folder.
#[test]
fn a_configuration_behind_links_is_read_at_the_start_and_again_when_they_are_switched() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    for (folder, rules) in [("..1", PERMIT_ALL), ("..2", "deny 0.0.0.0 0.0.0.0\n")] {
        site.gateway.sh(&format!("mkdir -p /etc/sockd.d/{folder}"));
        site.gateway.write(&format!("/etc/sockd.d/{folder}/sockd.conf"), rules);
    }
    site.gateway.sh("ln -s ..1 /etc/sockd.d/..data");
    site.gateway.sh("ln -s ..data/sockd.conf /etc/sockd.d/sockd.conf");
    site.gateway.sh("ln -sf sockd.d/sockd.conf /etc/sockd.conf");
    let log = Syslog::start(&site.gateway);
    let sockd = Start::bare(&site.gateway).start();
    drop(granted(&site.client, &Request::connect((SERVER, 7))));
    site.gateway.sh("ln -sfn ..2 /etc/sockd.d/..data");
    sockd.signal(Signal::SIGHUP);
    log.wait_for(Mark::BEGINNING, "reloaded: ");
    assert_rejected(&site.client, &Request::connect((SERVER, 7)));
}

#[test]
fn fz_01_a_frozen_file_goes_before_its_text_and_a_changed_text_is_remarked_on() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    freeze(&lab);
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    reload(&mut lab, "reloaded: ");
    let remark = lab.wait_for_line("the frozen file is used");
    assert_eq!(
        remark,
        "daemon.err /etc/sockd.conf is not what /etc/sockd.fc was made from; the frozen file is used"
    );
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn included_files_are_read_in_the_order_of_names_at_the_start_at_a_reload_and_into_a_frozen_file() {
    let site = Site::new();
    let _echo = Server::echo(&site.server, (SERVER, 7));
    site.gateway.sh("mkdir -p /etc/sockd.conf.d");
    let mut lab = Lab::at(site, &format!("include /etc/sockd.conf.d/*.conf\n{PERMIT_ALL}"), |start| start);
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));

    let write = |lab: &Lab, name: &str, rules: &str| {
        lab.site.gateway.write(&format!("/etc/sockd.conf.d/{name}"), rules);
    };
    write(&lab, "10-deny.conf", "deny 0.0.0.0 0.0.0.0 198.51.100.10/32\n");
    write(&lab, "20-permit.conf", "permit 0.0.0.0 0.0.0.0 198.51.100.10/32\n");
    reload(&mut lab, "reloaded: 3 rules");
    assert_rejected(&lab.site.client, &Request::connect((SERVER, 7)));
    lab.site.gateway.sh("mv /etc/sockd.conf.d/10-deny.conf /etc/sockd.conf.d/30-deny.conf");
    reload(&mut lab, "reloaded: 3 rules");
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));

    write(&lab, "05-bad.conf", "\nallow\n");
    reload(&mut lab, "stay in force");
    lab.wait_for_line("/etc/sockd.conf.d/05-bad.conf: line 2: expected permit or deny, found \"allow\"");
    write(&lab, "05-bad.conf", "deny 203.0.113.0/24\n");
    lab.site.gateway.sh("chmod 664 /etc/sockd.conf.d/05-bad.conf");
    reload(&mut lab, "stay in force");
    lab.wait_for_line("expected no write permission for group and others, found mode 0664");
    lab.site.gateway.sh("chmod 644 /etc/sockd.conf.d/05-bad.conf");
    lab.site.gateway.sh("chmod 775 /etc/sockd.conf.d");
    reload(&mut lab, "stay in force");
    lab.wait_for_line("/etc/sockd.conf.d: expected no write permission for group and others");
    lab.site.gateway.sh("chmod 755 /etc/sockd.conf.d");
    reload(&mut lab, "reloaded: 4 rules");

    freeze(&lab);
    reload(&mut lab, "reloaded: 4 rules");
    assert!(!lab.logged().iter().any(|line| line.contains("the frozen file is used")), "{:?}", lab.logged());
    write(&lab, "40-new.conf", "deny 0.0.0.0 0.0.0.0\n");
    reload(&mut lab, "reloaded: 4 rules");
    lab.wait_for_line(
        "/etc/sockd.conf.d/*.conf is not what /etc/sockd.fc was made from; the frozen file is used",
    );
}

#[test]
fn fz_03_a_damaged_frozen_file_keeps_the_old_rules() {
    let mut lab = Lab::new(PERMIT_ALL);
    let _echo = Server::echo(&lab.site.server, (SERVER, 7));
    freeze(&lab);
    lab.site.gateway.sh("truncate -s -1 /etc/sockd.fc");
    lab.sockd.write_conf("deny 0.0.0.0 0.0.0.0\n");
    reload(&mut lab, "stay in force");
    assert!(lab.wait_for_line("/etc/sockd.fc: ").starts_with("daemon.err "));
    drop(granted(&lab.site.client, &Request::connect((SERVER, 7))));
}

#[test]
fn a_client_is_served_while_a_large_file_is_being_read() {
    let mut lab = Lab::new(PERMIT_ALL);
    let far = Far::listen(&lab.site.server, SERVER);
    let mut conf = String::new();
    for number in 0..400_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(conf, "deny 0.0.0.0 0.0.0.0 11.{a}.{b}.{c} 255.255.255.255").expect("memory");
    }
    conf.push_str("deny 0.0.0.0 0.0.0.0\n");
    lab.sockd.write_conf(&conf);
    lab.turn_the_page();
    lab.sockd.signal(Signal::SIGHUP);
    drop(granted(&lab.site.client, &Request::connect(far.v4())));
    lab.wait_for_line("reloaded: 400001 rules");
    let lines = lab.logged();
    let place = |text: &str| lines.iter().position(|line| line.contains(text)).expect("a line");
    assert!(place("connected -- ") < place("reloaded: "), "{lines:#?}");
    assert_rejected(&lab.site.client, &Request::connect(far.v4()));
}

#[test]
fn with_worker_ids_every_worker_has_an_id_of_its_own() {
    let lab = Lab::with_settings(PERMIT_ALL, "(worker_ids: (300000, 50))");
    let far = Far::listen(&lab.site.server, SERVER);
    let _near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut workers = lab.sockd.workers("session");
    workers.extend(lab.sockd.workers("resolver"));
    let ids: BTreeSet<String> =
        workers.iter().map(|worker| worker.status()["Uid"].trim().to_owned()).collect();
    assert!(workers.len() >= 2, "{workers:?}");
    assert_eq!(ids.len(), workers.len(), "{ids:?}");
    for id in &ids {
        let words: Vec<u32> = id.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        assert!(words.iter().all(|word| (300_000..300_050).contains(word) && *word == words[0]), "{id}");
    }
}
