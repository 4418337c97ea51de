//! Commands, versions and methods of authentication of the protocol, as a line or a request has them.

use alloc::vec::Vec;

/// The commands, versions and methods that a line is for, or those of a request: a bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol {
    /// Bits of [`Protocol::COMMANDS`]. A line that has none is for every command but [`Protocol::UDP`]; a line that
    /// denies is for that as well.
    pub commands: u8,
    /// Bits of [`Protocol::VERSIONS`]. A line that has none is for every version.
    pub versions: u8,
    /// Bits of [`Protocol::METHODS`]. A line that has none is for every method.
    pub methods: u8,
}

impl Protocol {
    /// No condition.
    pub const ANY: Protocol = Protocol { commands: 0, versions: 0, methods: 0 };

    /// The bit of the command that a line permits only if it names it.
    pub const UDP: u8 = 4;

    /// The commands by the names that a file has for them.
    pub const COMMANDS: [(&'static str, u8); 3] = [("connect", 1), ("bind", 2), ("udp", Protocol::UDP)];

    /// The versions by the names that a file has for them.
    pub const VERSIONS: [(&'static str, u8); 2] = [("4", 1), ("5", 2)];

    /// The methods by which a client shows its identity, by the names that a file has for them.
    pub const METHODS: [(&'static str, u8); 3] =
        [("none", Protocol::NONE), ("password", Protocol::PASSWORD), ("ident", Protocol::IDENT)];

    /// The client does not show it.
    pub const NONE: u8 = 1;

    /// The client shows it by a password.
    pub const PASSWORD: u8 = 2;

    /// The client's identd shows it.
    pub const IDENT: u8 = 4;

    /// Whether a line with these conditions is for such a command. `denies` says whether the line denies.
    pub(crate) fn allows_command(self, asked: Protocol, denies: bool) -> bool {
        let by_absence = self.commands == 0 && (denies || asked.commands & Protocol::UDP == 0);
        by_absence || self.commands & asked.commands != 0
    }

    /// Whether a line with these conditions is for such a version.
    pub(crate) fn allows_version(self, asked: Protocol) -> bool {
        self.versions == 0 || self.versions & asked.versions != 0
    }

    /// Whether a line with these conditions is for a client that has shown its identity by such a method.
    pub(crate) fn allows_method(self, shown: Protocol) -> bool {
        self.methods == 0 || self.methods & shown.methods != 0
    }

    /// Whether a line with these conditions is for everything that one with the `inner` conditions is for.
    pub fn covers(self, inner: Protocol) -> bool {
        let covers = |outer: u8, inner: u8| outer == 0 || (inner != 0 && inner & !outer == 0);
        covers(self.commands, inner.commands)
            && covers(self.versions, inner.versions)
            && covers(self.methods, inner.methods)
    }

    /// Whether every bit has a meaning.
    pub(crate) fn is_known(self) -> bool {
        self.commands & !all(&Protocol::COMMANDS) == 0
            && self.versions & !all(&Protocol::VERSIONS) == 0
            && self.methods & !all(&Protocol::METHODS) == 0
    }
}

fn all(names: &[(&str, u8)]) -> u8 {
    names.iter().fold(0, |all, (_, bit)| all | bit)
}

/// The names of bits, as a list of a file has them.
pub(crate) fn listed(bits: u8, names: &[(&'static str, u8)]) -> alloc::string::String {
    let named = names.iter().filter(|(_, bit)| bits & bit != 0).map(|(name, _)| *name);
    named.collect::<Vec<_>>().join(",")
}
