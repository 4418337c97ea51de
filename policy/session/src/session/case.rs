//! A request with its client, and the configuration that decides on it.

use crate::command;
use crate::config::{Config, RESERVED};
use crate::hook_values::Values;
use crate::record::{Parties, Record};
use crate::session::event::{Action, Task, Wait};
use crate::session::next::Next;
use crate::session::request::ClientRequest;
use crate::settings::{Commands, MissingNames};
use crate::waits::WaitKey;
use sockd_common::message::UserId;
use sockd_common::message::ident::IdentUser;
use sockd_policy::{FactState, Facts, HostName, Login};
use std::net::SocketAddr;

/// A request with its client, and the configuration that decides on it.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) request: &'a mut ClientRequest,
    pub(super) client: SocketAddr,
    pub(super) config: &'a Config,
}

impl Case<'_> {
    /// Whether the client's port is one that only root can open, and the settings honour that (Rrcmd). Root at the
    /// client's host, or somebody trusted by root, has opened it.
    pub(super) fn is_reserved(&self) -> bool {
        self.config.settings.privileged_ports && RESERVED.contains(&self.client.port())
    }

    /// Begins a task that the session waits for.
    pub(super) fn begin(&mut self, wait: Wait, task: Task) -> Action {
        Action::Begin(self.request.wait(wait), task)
    }

    /// Begins another task under a key that was used before.
    pub(super) fn go_on(&mut self, key: WaitKey, wait: Wait, task: Task) -> Action {
        self.request.wait_on(key, wait);
        Action::Begin(key, task)
    }

    /// Waits on: the result under this key is not the expected one.
    pub(super) fn wait_further(&mut self, key: WaitKey, wait: Wait) -> Next {
        self.request.wait_on(key, wait);
        Next::nothing()
    }

    /// The facts known so far.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            source_names: self.names(&self.request.source_names),
            destination_names: self.names(&self.request.destination_names),
            identity: self.request.identity.as_ref(),
            login: self.request.login.as_ref().map(|user| Login { user: &user.name, groups: &user.groups }),
        }
    }

    /// The names; unavailable names count as none if the settings say so.
    fn names<'a>(&self, names: &'a FactState<Box<[HostName]>>) -> FactState<&'a [HostName]> {
        match (names, self.config.settings.missing_names) {
            (FactState::Unavailable, MissingNames::NoMatch) => FactState::Known(&[]),
            (names, _) => names.as_deref(),
        }
    }

    /// The request as it is recorded.
    pub(super) fn parties(&self) -> Parties {
        Parties {
            command: self.request.command,
            version: self.request.version,
            client: self.client,
            client_name: self.request.client_name().cloned(),
            claimed_user: self.request.claimed_user().clone(),
            verified_user: self.request.verified_user().cloned(),
            by_password: self.request.login.is_some(),
            destination: self.request.tried(),
            destination_name: self.request.told_name().cloned(),
            port: self.request.port,
            service: self.config.services.name_of(self.request.port).cloned(),
            peer_port: self.request.peer_port,
            upstream: self.request.upstream(),
            rule: Some(self.request.rule).filter(|rule| *rule != 0),
        }
    }

    /// The actions that happen once for a permitted request, however many addresses its name has.
    pub(super) fn permitted_once(&mut self, unverified: bool, hooks: Vec<String>) -> Vec<Action> {
        if std::mem::replace(&mut self.request.hooks_run, true) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        let mut all = Vec::new();
        if unverified {
            actions.push(Record::Unverified(self.parties()).into());
            all.extend(self.config.rules.no_identd().map(|template| template.text().to_owned()));
        }
        all.extend(hooks);
        actions.extend(all.into_iter().filter_map(|hook| self.run(hook)));
        actions
    }

    /// Runs a command of the rules, if commands are enabled.
    pub(super) fn run(&self, hook: String) -> Option<Action> {
        if self.config.settings.commands == Commands::Off {
            return None;
        }
        let text = |name: &HostName| name.as_str().to_owned();
        let values = Values {
            source_name: self.request.client_name().map(text),
            source: self.client.ip(),
            command: command::in_messages(self.request.command),
            service: self.config.services.name_of(self.request.port).map(|name| name.as_ref().into()),
            port: self.request.port,
            ident_user: self.request.verified_user().and_then(|user| IdentUser::new(user.as_bytes())),
            user: UserId::new(self.request.claimed_user().as_bytes())?,
            destination_name: self.request.destination_name().map(text),
            destination: self.request.target(),
        };
        Some(Action::Run(hook, Box::new(values)))
    }
}
