//! Limits are counted by the monotonic clock, wherever it begins. In time namespaces of its own, the daemon finds a
//! host that has just been booted, one that has run for decades, and one that has slept.

use nix::time::{ClockId, clock_gettime};
use sockd_tests::classic::Session;
use sockd_tests::far::Far;
use sockd_tests::lab::Lab;
use sockd_tests::line::{Ending, Line};
use sockd_tests::site::{CLIENT, SERVER};
use sockd_tests::sockd::{Clocks, PERMIT_ALL, Start};
use sockd_tests::socks::{PROXY, Request, granted};

/// A late request and an idle relay end at their limits; a relay with traffic and the log are as always.
fn assert_limits_hold(clocks: Clocks) {
    let settings = "(request_limit: 1, idle_limit: 2, resolve_limit: 1, connect_limit: 2)";
    let mut lab = Lab::started(PERMIT_ALL, |start: Start| start.settings(settings).clocks(clocks));
    let far = Far::listen(&lab.site.server, SERVER);
    let mut near = granted(&lab.site.client, &Request::connect(far.v4()));
    let mut there = far.accept();
    near.send("a");
    assert_eq!(there.read(1), b"a");
    assert_eq!((near.ending(), there.ending()), (Ending::Reset, Ending::Reset), "an idle relay");
    lab.assert_logged(&Session::of(CLIENT, SERVER, far.v4().port()).relayed(1, 0));
    let mut late = Line::dial(&lab.site.client, PROXY);
    late.send([4, 1]);
    assert_eq!(late.ending(), Ending::Closed, "a late request");
    lab.wait_for_line("Connection timed out");
}

/// Seconds since the host was booted, without its sleep.
fn uptime() -> i64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the monotonic clock").tv_sec()
}

fn time_namespaces_are_there() -> bool {
    let there = Clocks { monotonic: 1000, boottime: 1000 }.move_this_program();
    if !there {
        println!("NO TIME NAMESPACES: this test has tested nothing");
    }
    there
}

#[test]
fn limits_hold_on_a_host_that_has_just_been_booted() {
    if time_namespaces_are_there() {
        assert_limits_hold(Clocks { monotonic: 1 - uptime(), boottime: 1 - uptime() });
    }
}

#[test]
fn limits_hold_on_a_host_that_has_run_for_decades() {
    if time_namespaces_are_there() {
        assert_limits_hold(Clocks { monotonic: 1_500_000_000, boottime: 1_500_000_000 });
    }
}

/// The clock that counts sleep (CLOCK_BOOTTIME) is ahead: no limit goes by it.
#[test]
fn limits_hold_on_a_host_that_has_slept() {
    if time_namespaces_are_there() {
        assert_limits_hold(Clocks { monotonic: 0, boottime: 86_400_000 });
    }
}
