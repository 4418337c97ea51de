//! The command that a client asks for: its type in messages, and its type in the rules.

use sockd_common::message::request::Command as Told;
use sockd_policy::Command;

/// The type that the rules use.
pub(crate) fn for_rules(command: Told) -> Command {
    match command {
        Told::Connect => Command::Connect,
        Told::Bind => Command::Bind,
        Told::Associate => Command::Udp,
    }
}

/// The type that messages use.
pub(crate) fn in_messages(command: Command) -> Told {
    match command {
        Command::Connect => Told::Connect,
        Command::Bind => Told::Bind,
        Command::Udp => Told::Associate,
    }
}
