//! The values from a request for a rule command, and how they get into its command line and environment.

use crate::command;
use serde::{Deserialize, Serialize};
use sockd_common::message::UserId;
use sockd_common::message::ident::IdentUser;
use sockd_common::message::request::Command;
use sockd_policy::hook::{self, clean_host, clean_service, clean_user, expand};
use std::net::IpAddr;

/// The values of one request, as the monitor knows them. They are cleaned only when they are inserted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Verified name of the client.
    pub source_name: Option<String>,
    /// Address of the client.
    pub source: IpAddr,
    /// The command that the client asks for.
    pub command: Command,
    /// Service name of the port.
    pub service: Option<String>,
    /// Destination port.
    pub port: u16,
    /// The user that identd named.
    pub ident_user: Option<IdentUser>,
    /// The claimed user.
    pub user: UserId,
    /// Verified name of the destination.
    pub destination_name: Option<String>,
    /// Address of the destination.
    pub destination: IpAddr,
}

impl Values {
    /// The values in the form that templates are expanded with. `pid` is the monitor's.
    pub fn for_policy(&self, pid: u32) -> hook::Values<'_> {
        hook::Values {
            source_name: self.source_name.as_deref(),
            source: self.source,
            command: command::for_rules(self.command),
            pid,
            service: self.service.as_deref(),
            port: self.port,
            ident_user: self.ident_user.as_ref().map(IdentUser::as_bytes),
            user: self.user.as_bytes(),
            destination_name: self.destination_name.as_deref(),
            destination: self.destination,
        }
    }
}

/// The environment of a command: a path, a locale, and the cleaned values.
pub fn environment(values: &Values, pid: u32) -> Vec<String> {
    let values = values.for_policy(pid);
    let ident_user = values.ident_user.unwrap_or_default();
    vec![
        "PATH=/usr/bin:/bin".into(),
        "LANG=C".into(),
        format!("SOCKD_COMMAND={}", values.command.name()),
        format!("SOCKD_PID={}", values.pid),
        format!("SOCKD_SRC={}", values.source),
        format!("SOCKD_SRC_NAME={}", clean_host(values.source_name, values.source)),
        format!("SOCKD_USER={}", clean_user(values.user)),
        format!("SOCKD_IDENT_USER={}", clean_user(ident_user)),
        format!("SOCKD_DST={}", values.destination),
        format!("SOCKD_DST_NAME={}", clean_host(values.destination_name, values.destination)),
        format!("SOCKD_PORT={}", values.port),
        format!("SOCKD_SERVICE={}", clean_service(values.service, values.port)),
    ]
}

/// The words of a template that is run without a shell. It is split at blanks first, so no value can become two.
pub fn expand_words(template: &str, values: &hook::Values<'_>) -> Vec<String> {
    template.split_ascii_whitespace().map(|word| expand(word, values)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(user: &[u8]) -> Values {
        Values {
            source_name: None,
            source: "192.0.2.1".parse().unwrap(),
            command: Command::Connect,
            service: Some("telnet".into()),
            port: 23,
            ident_user: None,
            user: UserId::new(user).unwrap(),
            destination_name: Some("a.example".into()),
            destination: "203.0.113.1".parse().unwrap(),
        }
    }

    #[test]
    fn a_value_stays_one_word_without_a_shell() {
        let values = values(b"a b;c");
        let words = expand_words("/bin/echo %u %S %%", &values.for_policy(7));
        assert_eq!(words, ["/bin/echo", "a_b_c", "telnet", "%"]);
    }

    #[test]
    fn the_environment_holds_cleaned_values_only() {
        let environment = environment(&values(b"$(reboot)\n"), 7);
        assert!(environment.contains(&"SOCKD_USER=__reboot__".to_owned()), "{environment:?}");
        assert!(environment.contains(&"SOCKD_IDENT_USER=unknown".to_owned()));
        assert!(environment.iter().all(|entry| entry.chars().all(|letter| letter.is_ascii_graphic())));
    }
}
