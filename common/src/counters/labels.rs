//! The labels of counters: fixed lists, so that no client can add a label.

use crate::message::Role;

/// A label, which tells the words of a counter apart.
pub trait Label: Copy {
    /// The number of labels.
    const COUNT: usize;

    /// Its place among the labels.
    fn index(self) -> usize;

    /// The text of the label in this place: `name="value"`.
    fn text(index: usize) -> String;
}

/// Two lists together: each of the first with each of the second.
impl<A: Label, B: Label> Label for (A, B) {
    const COUNT: usize = A::COUNT.saturating_mul(B::COUNT);

    fn index(self) -> usize {
        self.0.index().saturating_mul(B::COUNT).saturating_add(self.1.index())
    }

    fn text(index: usize) -> String {
        let [first, second] = [index.checked_div(B::COUNT), index.checked_rem(B::COUNT)];
        format!("{},{}", A::text(first.unwrap_or_default()), B::text(second.unwrap_or_default()))
    }
}

/// A list of labels, and how each is written.
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $label:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$what])* $label,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$label,)+];
            const TEXTS: &'static [&'static str] = &[$($text,)+];
        }

        impl Label for $name {
            const COUNT: usize = Self::TEXTS.len();

            fn index(self) -> usize {
                self as usize
            }

            fn text(index: usize) -> String {
                Self::TEXTS.get(index).copied().unwrap_or_default().into()
            }
        }
    };
}

labels! {
    /// The phase of a session.
    SessionState {
        /// The request is read, or a password checked.
        Handshake = r#"state="handshake""#,
        /// It is being decided, or connected to its destination.
        Connecting = r#"state="connecting""#,
        /// The peer of a BIND is waited for.
        Waiting = r#"state="waiting""#,
        /// Bytes or datagrams are relayed.
        Relaying = r#"state="relaying""#,
        /// It is over, and is being closed.
        Closing = r#"state="closing""#,
    }
}

labels! {
    /// The command and version of a request.
    Asked {
        /// Neither is known.
        Nothing = r#"version="none",command="none""#,
        /// SOCKS5, before the command is known.
        Login5 = r#"version="5",command="none""#,
        /// CONNECT of SOCKS4.
        Connect4 = r#"version="4",command="connect""#,
        /// BIND of SOCKS4.
        Bind4 = r#"version="4",command="bind""#,
        /// CONNECT of SOCKS5.
        Connect5 = r#"version="5",command="connect""#,
        /// BIND of SOCKS5.
        Bind5 = r#"version="5",command="bind""#,
        /// UDP ASSOCIATE.
        Udp5 = r#"version="5",command="udp""#,
    }
}

labels! {
    /// The outcome of a request.
    Outcome {
        /// It was granted.
        Granted = r#"result="granted""#,
        /// The rules refuse it.
        Denied = r#"result="denied""#,
        /// It is refused whatever the rules say.
        Guarded = r#"result="guarded""#,
        /// Host or network cannot be reached, or a call failed.
        Unreachable = r#"result="unreachable""#,
        /// The destination or a next server refuses.
        Refused = r#"result="refused""#,
        /// No answer has come in time.
        Timeout = r#"result="timeout""#,
        /// The name has no address.
        Unresolved = r#"result="unresolved""#,
        /// A limit is reached.
        Limited = r#"result="limited""#,
        /// It cannot be read.
        Malformed = r#"result="malformed""#,
        /// The client has not shown who it is.
        AuthFailed = r#"result="auth_failed""#,
        /// The client, its worker or the daemon has gone before the answer.
        Abandoned = r#"result="abandoned""#,
    }
}

labels! {
    /// The direction of relayed bytes.
    Direction {
        /// From clients.
        Up = r#"direction="up""#,
        /// To clients.
        Down = r#"direction="down""#,
    }
}

/// The purpose of a worker. The probe comes last: it is not a worker of the daemon, and is not counted.
impl Label for Role {
    const COUNT: usize = Self::Probe as usize;

    fn index(self) -> usize {
        self as usize
    }

    fn text(index: usize) -> String {
        format!("role=\"{}\"", Self::ALL.get(index).map_or("", |role| role.as_str()))
    }
}

labels! {
    /// The state of a worker.
    WorkerState {
        /// It has not locked itself down yet.
        Starting = r#"state="starting""#,
        /// It has nothing to do.
        Idle = r#"state="idle""#,
        /// It serves.
        Busy = r#"state="busy""#,
        /// It is dismissed, but not known to have ended.
        Ending = r#"state="ending""#,
    }
}

labels! {
    /// Why a worker ended that was not dismissed.
    DeathCause {
        /// It was killed for a violation.
        Violation = r#"how="violation""#,
        /// It was killed because it lacked a lock or was not ready in time.
        Unfit = r#"how="unfit""#,
        /// It has ended itself.
        Exit = r#"how="exit""#,
        /// The kernel has ended it for a forbidden or faulty act.
        Fault = r#"how="fault""#,
        /// An administrator has ended it, or the kernel for lack of memory.
        Outside = r#"how="outside""#,
        /// It could not be started.
        NotStarted = r#"how="not_started""#,
    }
}

labels! {
    /// How a client shows who its user is.
    LoginMethod {
        /// A password.
        Password = r#"method="password""#,
        /// The word of its identd.
        Ident = r#"method="ident""#,
    }
}

labels! {
    /// The result of a login.
    LoginResult {
        /// The user is known.
        Accepted = r#"result="accepted""#,
        /// The password is wrong, or identd names nobody.
        Refused = r#"result="refused""#,
        /// Too many attempts were wrong, so nobody was asked.
        Limited = r#"result="limited""#,
        /// Nobody could be asked.
        Unchecked = r#"result="unchecked""#,
    }
}

labels! {
    /// A limit; all but the last three are settings.
    Limit {
        /// Sessions in all.
        Sessions = r#"limit="max_sessions""#,
        /// Sessions of a host.
        SessionsPerHost = r#"limit="max_sessions_per_host""#,
        /// New connections of a host.
        Rate = r#"limit="connection_rate""#,
        /// New connections in all.
        RateInAll = r#"limit="connection_rate_in_all""#,
        /// Unfinished requests in all.
        Requests = r#"limit="max_requests""#,
        /// Unfinished requests of a host.
        RequestsPerHost = r#"limit="max_requests_per_host""#,
        /// Workers.
        Workers = r#"limit="max_workers""#,
        /// Lookups in all.
        Lookups = r#"limit="max_lookups""#,
        /// Lookups of a host.
        LookupsPerHost = r#"limit="max_lookups_per_host""#,
        /// Questions to identds in all.
        Idents = r#"limit="max_idents""#,
        /// Questions to the identd of a host.
        IdentsPerHost = r#"limit="max_idents_per_host""#,
        /// Ports of BINDs in all.
        Binds = r#"limit="max_binds""#,
        /// Ports of BINDs of a host.
        BindsPerHost = r#"limit="max_binds_per_host""#,
        /// Associations of a host.
        AssociationsPerHost = r#"limit="max_associations_per_host""#,
        /// Flows of an association.
        Flows = r#"limit="max_flows""#,
        /// Flows of a host.
        FlowsPerHost = r#"limit="max_flows_per_host""#,
        /// Flows in all.
        FlowsInAll = r#"limit="max_flows_in_all""#,
        /// Commands of rules in all.
        Commands = r#"limit="max_commands""#,
        /// Commands of rules that a host causes.
        CommandsPerHost = r#"limit="max_commands_per_host""#,
        /// Connections by a line of the rules.
        Line = r#"limit="n""#,
        /// Descriptors of the monitor.
        Descriptors = r#"limit="descriptors""#,
        /// Any other.
        Other = r#"limit="other""#,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_labels_have_a_place_for_each_pair() {
        let mut places: Vec<usize> = Vec::new();
        for asked in Asked::ALL {
            places.extend(Outcome::ALL.iter().map(|outcome| (*asked, *outcome).index()));
        }
        assert_eq!(places, (0..<(Asked, Outcome)>::COUNT).collect::<Vec<_>>());
        let place = (Asked::Bind4, Outcome::Denied).index();
        assert_eq!(<(Asked, Outcome)>::text(place), r#"version="4",command="bind",result="denied""#);
    }
}
