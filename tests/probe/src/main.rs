//! `sockd-probe`: tries what a worker in an attacker's hands could try, act by act, and counts what stops it.
//!
//! Each act is tried by an ordinary process of an unprivileged user first, so that one that is impossible anyway is
//! seen to prove nothing; then behind each layer of the sandbox alone; then in the place of a session worker, an ident
//! worker, a resolver worker and an upstream worker of the installed daemon, which is started where it meets nobody.
//!
//! This program is two: what an administrator starts ([`cli`], [`layers`], [`daemon`]), and what the spawner starts in
//! the worker's place ([`slot`]).

mod acts;
mod cli;
mod daemon;
mod layers;
mod options;
mod outcome;
mod private;
mod readings;
mod slot;
mod sys;

use sockd_common::message::Role;
use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = env::args();
    // The spawner gives a worker's program this name, whatever it is.
    if words.next().as_deref() == Some("sockd-worker") {
        let role = words.next().and_then(|word| Role::ALL.into_iter().find(|role| role.as_str() == word));
        role.and_then(slot::run);
        return ExitCode::FAILURE;
    }
    cli::main()
}
