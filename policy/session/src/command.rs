//! What a client asks for: as it is told in messages, and as the rules see it.

use sockd_common::message::request::Command as Told;
use sockd_policy::Command;

/// As the rules see it.
pub(crate) fn for_rules(command: Told) -> Command {
    match command {
        Told::Connect => Command::Connect,
        Told::Bind => Command::Bind,
        Told::Associate => Command::Udp,
    }
}

/// As it is told in messages.
pub(crate) fn in_messages(command: Command) -> Told {
    match command {
        Command::Connect => Told::Connect,
        Command::Bind => Told::Bind,
        Command::Udp => Told::Associate,
    }
}
