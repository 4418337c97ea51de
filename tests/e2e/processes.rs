//! The kernel's view of the processes of a running sockd, while a client is served.

use nix::sys::signal::Signal;
use sockd_tests::far::Far;
use sockd_tests::host::USERS;
use sockd_tests::lab::Lab;
use sockd_tests::line::Line;
use sockd_tests::procfs::Process;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::sockd::PERMIT_ALL;
use sockd_tests::socks::{Request, granted};
use sockd_tests::wait::{until, until_true};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A lab with one relay open.
fn serving() -> (Lab, Line, Line) {
    let lab = Lab::at(Site::new(), PERMIT_ALL, |start| start.words("--pid-file /run/sockd.pid"));
    let far = Far::listen(&lab.site.server, SERVER);
    let near = granted(&lab.site.client, &Request::connect(far.v4()));
    let there = far.accept();
    (lab, near, there)
}

fn field(status: &BTreeMap<String, String>, name: &str) -> String {
    status.get(name).unwrap_or_else(|| panic!("no {name} in {status:?}")).trim().to_owned()
}

/// The sandboxed processes: all but the monitor.
fn confined(lab: &Lab) -> Vec<Process> {
    let mut processes = lab.sockd.workers("session");
    processes.extend(lab.sockd.workers("resolver"));
    assert!(processes.len() >= 2, "{processes:?}");
    processes
}

#[test]
fn workers_and_spawner_run_as_an_ordinary_user_without_groups() {
    let (lab, _near, _far) = serving();
    let user = vec![USERS[0].1.to_string(); 4].join("\t");
    for process in [confined(&lab), vec![lab.sockd.spawner()]].concat() {
        let status = process.status();
        assert_eq!(field(&status, "Uid"), user, "{}", process.command_line());
        assert_eq!(field(&status, "Gid"), user, "{}", process.command_line());
        assert_eq!(field(&status, "Groups"), "", "{}", process.command_line());
    }
}

#[test]
fn no_process_that_acts_on_what_comes_from_the_network_is_root() {
    let (lab, _near, _far) = serving();
    let uids = |process: &Process| field(&process.status(), "Uid");
    let monitor = vec![USERS[2].1.to_string(); 4].join("\t");
    let status = lab.sockd.monitor().status();
    assert_eq!((field(&status, "Uid"), field(&status, "Gid")), (monitor.clone(), monitor));
    assert_eq!(field(&status, "Groups"), "");
    // The loader has no socket but its channels and no capability; all other processes have another user.
    let loader = lab.sockd.loader();
    let is_root = |process: &Process| uids(process).split('\t').any(|uid| uid == "0");
    let roots: Vec<Process> = lab.sockd.family().into_iter().filter(is_root).collect();
    assert_eq!(roots, [loader]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&loader.status(), set), "0".repeat(16), "{set}");
    }
}

#[test]
fn a77_what_the_monitor_is_can_neither_read_the_secrets_of_root_nor_reach_its_sockets() {
    let (lab, _near, _far) = serving();
    let host = &lab.site.gateway;
    let _service = host.run(|| {
        let service = std::os::unix::net::UnixListener::bind("/run/root-only").expect("a socket");
        fs::set_permissions("/run/root-only", fs::Permissions::from_mode(0o600)).expect("its mode");
        service
    });
    let status = lab.sockd.monitor().status();
    let id = |name: &str| field(&status, name).split('\t').next().unwrap_or_default().to_owned();
    let (uid, gid) = (id("Uid"), id("Gid"));
    let capabilities = u64::from_str_radix(&field(&status, "CapEff"), 16).expect("a number");
    assert_eq!(capabilities & !(1 << 10), 0, "{capabilities:x}");
    // With all rights of its process, and without the filter that would kill it first.
    for (deed, succeeds) in [
        ("test -r /etc/hostname", true),
        ("cat /etc/shadow", false),
        (
            "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); exit !connect(S, sockaddr_un(q(/run/root-only)))'",
            false,
        ),
        ("kill -0 1", false),
        ("touch /etc/sockd.conf", false),
    ] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups"]);
        command.args(["--ambient-caps", "-all,+net_bind_service", "--inh-caps", "-all,+net_bind_service"]);
        command.args(["--bounding-set", "-all,+net_bind_service", "--no-new-privs", "sh", "-c", deed]);
        let output = host.output(&mut command);
        assert_eq!(output.status.success(), succeeds, "{deed}: {output:?}");
    }
}

#[test]
fn a_monitor_that_is_killed_takes_every_other_process_along_though_it_is_another_user() {
    for settings in ["()", "(worker_ids: (231072, 100))"] {
        let conf = "permit 0.0.0.0 0.0.0.0\ndeny *=eve 0.0.0.0 0.0.0.0 : sleep 1000\n";
        let mut lab =
            Lab::at(Site::new(), conf, |start| start.settings(settings).words("--pid-file /run/sockd.pid"));
        let far = Far::listen(&lab.site.server, SERVER);
        let _near = granted(&lab.site.client, &Request::connect(far.v4()));
        // Spawner, loader, hook process, a session worker, a spare one, the resolver.
        let whole = || Some(lab.sockd.family()).filter(|family| family.len() >= 6);
        let family = until("all processes are there", whole);
        lab.sockd.signal(Signal::SIGKILL);
        lab.sockd.wait();
        until_true("all others have ended", || family.iter().all(|process| !process.runs()));
        until_true("the process id file is gone", || !lab.site.gateway.exists("/run/sockd.pid"));
    }
}

#[test]
fn without_its_user_the_monitor_serves_as_root_and_says_so() {
    let site = Site::new();
    site.gateway.sh("sed -i /^sockd-monitor/d /etc/passwd");
    let mut lab = Lab::at(site, PERMIT_ALL, |start| start);
    assert_eq!(field(&lab.sockd.monitor().status(), "Uid"), "0\t0\t0\t0");
    let why = "daemon.err there is no user sockd-monitor; the monitor serves as root";
    assert!(lab.log.lines().iter().any(|line| line == why), "{:?}", lab.log.lines());
    let far = Far::listen(&lab.site.server, SERVER);
    drop(granted(&lab.site.client, &Request::connect(far.v4())));
    lab.sockd.signal(Signal::SIGTERM);
    assert!(lab.sockd.wait().success());
}

#[test]
fn workers_have_no_capability_no_new_privileges_and_a_filter() {
    let (lab, _near, _far) = serving();
    for process in confined(&lab) {
        let status = process.status();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&status, set), "0".repeat(16), "{set} of {}", process.command_line());
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1");
        assert_eq!(field(&status, "Seccomp"), "2");
        assert_eq!(field(&status, "CoreDumping"), "0");
        assert_eq!(field(&status, "Threads"), "1");
    }
}

#[test]
fn the_monitor_keeps_at_most_one_capability_and_has_a_filter() {
    let (lab, _near, _far) = serving();
    let status = lab.sockd.monitor().status();
    // CAP_NET_BIND_SERVICE is number 10.
    let bind_service = 1_u64 << 10;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let bits = u64::from_str_radix(&field(&status, set), 16).expect("a number");
        assert_eq!(bits & !bind_service, 0, "{set}: {bits:x}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
    assert_eq!(field(&status, "Threads"), "1");
}

#[test]
fn workers_live_in_namespaces_of_their_own_with_an_empty_root() {
    let (lab, _near, _far) = serving();
    let monitor = lab.sockd.monitor();
    for process in confined(&lab) {
        for kind in ["net", "pid", "mnt", "ipc", "uts", "user"] {
            let own = process.namespace(kind);
            assert!(
                !own.is_empty() && own != monitor.namespace(kind),
                "{kind} of {}",
                process.command_line()
            );
        }
        let root: Vec<_> = fs::read_dir(format!("/proc/{}/root/", process.0)).expect("its root").collect();
        assert!(root.is_empty(), "{root:?}");
        let links = fs::read_to_string(format!("/proc/{}/net/dev", process.0)).expect("its links");
        assert_eq!(links.lines().count(), 2 + 1, "only lo: {links}");
    }
}

#[test]
fn a_session_worker_holds_its_channel_its_sockets_and_nothing_of_the_file_system() {
    let (lab, near, _far) = serving();
    let worker = lab.sockd.worker_of(near.local());
    let open = worker.descriptors();
    let sockets = open.values().filter(|target| target.starts_with("socket:")).count();
    assert_eq!(sockets, 3, "channel, client, server: {open:?}");
    for target in open.values() {
        let harmless = ["socket:", "pipe:", "anon_inode:[eventpoll]", "/dev/null"];
        assert!(harmless.iter().any(|kind| target.starts_with(kind)), "{open:?}");
    }
}

#[test]
fn a_relays_sockets_are_held_by_the_monitor_and_by_its_own_worker_alone() {
    let (lab, near, _far) = serving();
    let std::net::SocketAddr::V4(client) = near.local() else { panic!("IPv4") };
    let holders = |of: &[_]| sockd_tests::procfs::holders(&lab.site.gateway, client, of);
    assert_eq!(holders(&[lab.sockd.monitor()]).len(), 1, "the monitor closes it, and counts its bytes");
    assert!(holders(&[lab.sockd.spawner()]).is_empty());
    assert_eq!(holders(&lab.sockd.family()).len(), 1, "one worker of all");
}

#[test]
fn nothing_the_starter_left_open_is_inherited() {
    let (lab, _near, _far) = serving();
    for process in lab.sockd.family().into_iter().chain([lab.sockd.monitor()]) {
        for (number, target) in process.descriptors() {
            let of_the_test = target.contains("deps") || target.contains("ns/");
            assert!(!of_the_test, "{number} -> {target} in {}", process.command_line());
        }
    }
}

#[test]
fn the_environment_of_a_worker_is_empty() {
    let (lab, _near, _far) = serving();
    for process in confined(&lab) {
        let environment = fs::read(format!("/proc/{}/environ", process.0)).expect("environ");
        assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
    }
}

#[test]
fn under_memory_pressure_a_worker_is_chosen_before_the_monitor() {
    let (lab, near, _far) = serving();
    let score = |process: Process| -> i32 {
        let text = fs::read_to_string(format!("/proc/{}/oom_score_adj", process.0)).expect("score");
        text.trim().parse().expect("a number")
    };
    assert!(score(lab.sockd.worker_of(near.local())) > score(lab.sockd.monitor()));
}

#[test]
fn workers_push_nobody_aside_and_get_no_share_of_the_processors_beside_the_monitors() {
    let (lab, _near, _far) = serving();
    let monitor = lab.sockd.monitor();
    // sched(7): 0 is SCHED_OTHER, 3 SCHED_BATCH.
    for process in confined(&lab) {
        assert_eq!(process.scheduling_policy().as_deref(), Some("3"), "{}", process.command_line());
        assert_eq!(process.session(), monitor.session(), "{}", process.command_line());
    }
    assert_eq!(monitor.scheduling_policy().as_deref(), Some("0"));
}

#[test]
fn workers_do_not_speculate_where_the_kernel_lets_them_choose() {
    let (lab, _near, _far) = serving();
    let own = Process(std::process::id().cast_signed()).status();
    for (name, free, restricted) in [
        ("Speculation_Store_Bypass", "thread vulnerable", "thread force mitigated"),
        ("SpeculationIndirectBranch", "conditional enabled", "conditional force disabled"),
    ] {
        let own = own.get(name).map_or("", |value| value.trim());
        let expected = if own == free { restricted } else { own };
        for process in confined(&lab) {
            let status = process.status();
            assert_eq!(status.get(name).map_or("", |value| value.trim()), expected, "{name}: {process:?}");
        }
    }
}
