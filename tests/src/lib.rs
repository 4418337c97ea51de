//! The parts that the whole-program tests are made with.
//!
//! A [`site::Site`] is a small firewall laboratory of a test's own: client hosts, the gateway and a server host,
//! each a [`host::Host`] with its own network, `/etc`, `/run` and `/dev/log`. [`sockd::Sockd`] is the daemon as
//! an administrator starts it on the gateway, [`syslog::Syslog`] a real rsyslogd beside it. [`socks`] and
//! [`socks5`] speak SOCKS byte by byte, [`far`] and [`web`] are servers to reach, [`dns`] is a nameserver that can lie, and
//! [`procfs`] reads what the kernel says about processes. [`libraries`] has clients that reach SOCKS5 through a library.
//!
//! Nothing here waits for a length of time and hopes: [`wait::until`] waits for a condition.

pub mod cgroup;
pub mod classic;
pub mod dns;
pub mod far;
pub mod fault;
pub mod ftp;
pub mod host;
pub mod identd;
pub mod lab;
pub mod libraries;
pub mod line;
pub mod load;
pub mod payload;
pub mod procfs;
pub mod program;
pub mod site;
pub mod sockd;
pub mod socks;
pub mod socks5;
pub mod syslog;
pub mod upstream;
pub mod wait;
pub mod web;
