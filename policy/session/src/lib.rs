//! The decisions of `sockd`'s monitor. They tell what may happen to one client's session and what follows from it,
//! which limits hold, and what the log says.
//!
//! No code here calls the kernel: events and the time go in, actions and records come out, and the monitor carries them
//! out. [`session::Session`] is the story of one client; [`config::Config`] decides on it. The terms that most rooms of
//! the monitor share are defined here as well.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

pub mod about;
pub mod admission;
pub mod checks;
pub mod client_host;
mod command;
pub mod config;
pub mod counting;
pub mod flow;
pub mod hook_values;
pub mod keys;
pub mod limits;
pub mod log;
pub mod lookups;
mod nat64;
pub mod owed;
pub mod pool;
pub mod proxy_header;
pub mod queries;
pub mod record;
pub mod resolv_conf;
pub mod rtnetlink;
pub mod sandbox;
pub mod session;
pub mod settings;
pub mod stop;
pub mod sweep;
pub mod takeover;
pub mod unreachable;
pub mod violation;
pub mod waits;

pub use client_host::Host;
pub use config::Config;
pub use flow::Moved;
pub use keys::{
    CheckKey, ControllerKey, DialKey, HeaderKey, LookupKey, PortKey, QueryKey, SessionKey, Slots, WorkerKey,
};
pub use limits::counts::Resource;
pub use limits::limit::{Limit, Met};
pub use record::{EndCause, FailedCall, Failure, Record};
pub use session::{Action, Arrival, Association, Event, FlowAction, FlowEvent, Origin, Session, Task};
pub use settings::{Isolation, Keepalive, Settings, seconds};
pub use violation::Violation;
pub use waits::{WaitKey, Waiter};
