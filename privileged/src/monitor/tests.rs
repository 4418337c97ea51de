//! The state of a monitor in the tests of its parts.

use crate::config::options::LogTo;
use crate::log::Log;
use crate::monitor::base::Base;
use crate::monitor::pool::Workers;
use crate::process::child;
use sockd_common::channel::MonitorEnd;
use sockd_common::message::Role;
use sockd_policy::{IdentMode, Services, parse_conf};
use sockd_session::counting::Counting;
use sockd_session::{Config, Settings};
use std::os::fd::OwnedFd;

/// A base with three places, which workers on their way out have. Returns their numbers as well, and the spawner's end
/// of its channel.
pub(super) fn crowded() -> (Base, [u32; 3], OwnedFd) {
    let (ours, spawner) = child::channel().unwrap();
    let services = Services::default();
    let config = Config {
        rules: parse_conf(b"permit +=udp 0.0.0.0 0.0.0.0\n", &services, &mut |_| Err(String::new())).unwrap(),
        routes: None,
        upstreams: None,
        services,
        settings: Settings { max_workers: 3, ..Settings::default() },
        ident_default: IdentMode::Off,
    };
    let (log, workers) = (Log::new(LogTo::Stderr), Workers::new(MonitorEnd::new(ours), 1024));
    let mut base = Base::new(config, log, workers, false, Counting::unseen()).unwrap();
    let mut end_one = || {
        let worker = base.start_worker(Role::Upstream).unwrap();
        base.workers.retire(worker, None, &mut base.reactor).unwrap()
    };
    let ending = [(); 3].map(|()| end_one());
    (base, ending, spawner)
}
