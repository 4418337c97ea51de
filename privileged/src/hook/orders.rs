//! The commands that the rules permit. The loader sends them past the monitor, which must not be able to change them.

use crate::process::error::StartError;
use crate::process::{child, descriptors};
use serde::{Deserialize, Serialize};
use sockd_common::channel::{MonitorEnd, Received, WorkerEnd};
use sockd_common::message::Message;
use sockd_session::config::Config;
use sockd_session::settings::Commands;
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// The commands that the rules permit, and how they are run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Whether commands go to a shell.
    pub commands: Commands,
    /// The most commands in all, and the most of one client host.
    pub limits: (u32, u32),
    /// The commands that may be asked for.
    pub templates: HashSet<String>,
}

impl Orders {
    /// The orders of a configuration.
    pub fn of(config: &Config) -> Self {
        let settings = &config.settings;
        Self {
            commands: settings.commands,
            limits: (settings.max_commands, settings.max_commands_per_host),
            templates: config.hooks().map(|template| template.text().to_owned()).collect(),
        }
    }
}

/// Loader to hook process.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToldByLoader {
    /// New orders, in the memory that comes with this message.
    Orders,
}

impl Message for ToldByLoader {
    fn carries_descriptor(&self) -> bool {
        true
    }
}

/// The loader's end. The hook process sends nothing.
pub type Teller = MonitorEnd<ToldByLoader, ToldByLoader>;

/// The hook process's end.
pub type Told = WorkerEnd<ToldByLoader, ToldByLoader>;

/// Both ends.
pub fn channel() -> Result<(Teller, Told), StartError> {
    let (teller, told) = child::channel().map_err(StartError::at("socketpair"))?;
    Ok((Teller::new(teller), Told::new(told)))
}

/// Sends the orders of a configuration. A hook process that is gone, or takes no more, keeps those it has.
pub fn tell(teller: &Teller, config: &Config) -> Result<(), StartError> {
    let orders = postcard::to_stdvec(&Orders::of(config)).map_err(StartError::at("orders"))?;
    let memory = File::from(descriptors::memory("sockd-orders")?);
    memory.write_all_at(&orders, 0).map_err(StartError::at("orders"))?;
    let _ = teller.send(&ToldByLoader::Orders, Some(memory.as_fd()));
    Ok(())
}

/// The last orders since the last call, if any have come.
pub fn last(told: &Told) -> Option<Orders> {
    let mut last = None;
    while let Ok(Received::Message(ToldByLoader::Orders, memory)) = told.receive() {
        last = memory;
    }
    let mut bytes = Vec::new();
    File::from(last?).read_to_end(&mut bytes).ok()?;
    postcard::from_bytes(&bytes).ok()
}
