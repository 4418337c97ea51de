//! The hook process, as the monitor knows it.

use crate::hook::protocol::{Channel, FromHook, ToHook};
use sockd_common::bounded::BoundedBytes;
use sockd_common::channel::Received;
use sockd_session::client_host::Host;
use sockd_session::hook_values::Values;
use sockd_session::limits::limit::Limit;

/// The hook process; without a channel if no commands are run, or if it has ended.
#[derive(Debug, Default)]
pub struct Hook {
    channel: Option<Channel>,
}

impl Hook {
    /// The hook process at the other end of this channel.
    pub fn new(channel: Channel) -> Self {
        Self { channel: Some(channel) }
    }

    /// The channel, to be watched.
    pub fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// Asks for a command to be run, and does not wait for it. The error is a line for the log.
    pub fn run(&self, template: &str, values: Values) -> Result<(), &'static str> {
        let Some(channel) = &self.channel else {
            return Err("a rule command is not run: there is no command runner until a restart");
        };
        // A file of rules has no longer line.
        let Some(template) = BoundedBytes::new(template.as_bytes()) else { return Ok(()) };
        let sent = channel.send(&ToHook::Run { template, values }, None);
        sent.map_err(|_| "a rule command is not run: the command runner takes no more")
    }

    /// Tells it that other rules are in force; false if there is no such process. A hook process that takes no more
    /// messages keeps the commands that it knows.
    pub fn reload(&self) -> bool {
        self.channel.as_ref().map(|channel| channel.send(&ToHook::Reload, None)).is_some()
    }

    /// Its next news, as a line for the log, with the limit that was reached, if any. The error is also a line: the
    /// hook process has ended.
    pub fn news(&mut self) -> Result<Option<(String, Option<Limit>)>, &'static str> {
        match self.channel.as_ref().map(Channel::receive) {
            None | Some(Ok(Received::Nothing)) => Ok(None),
            Some(Ok(Received::Message(news, _))) => Ok(Some((line(&news), limit(&news)))),
            Some(_) => {
                self.channel = None;
                Err("the command runner has ended; commands are not run until a restart")
            }
        }
    }
}

fn limit(news: &FromHook) -> Option<Limit> {
    match news {
        FromHook::Dropped { of: None } => Some(Limit::COMMANDS),
        FromHook::Dropped { of: Some(_) } => Some(Limit::COMMANDS_PER_HOST),
        _ => None,
    }
}

fn line(news: &FromHook) -> String {
    match news {
        FromHook::Overdue => "a rule command is ended: it did not end in time".into(),
        FromHook::Dropped { of: None } => "a rule command is not run: max_commands reached".into(),
        FromHook::Dropped { of: Some(client) } => {
            format!(
                "a rule command is not run: max_commands_per_host reached by {}",
                Host::of(*client).network()
            )
        }
        FromHook::Unknown => "a rule command is not run: the runner has other rules".into(),
        FromHook::NotForked => "a rule command is not run: fork failed".into(),
        FromHook::NotStarted { why } => format!("a rule command is not run: {why}"),
        FromHook::NotFound => "a rule command cannot be executed (status 127)".into(),
    }
}
