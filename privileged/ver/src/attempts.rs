//! A worker behind a session worker's locks tries the calls that they forbid: it must be killed for each.

use crate::report::{Layer, layer};
use crate::workers::{ended_early, ending, spawn, wait};
use sockd::process::child;
use sockd::process::error::StartError;
use sockd::spawner::Spawner;
use sockd::spawner::protocol::Ending;
use sockd_common::channel::{MonitorEnd, Received};
use sockd_common::message::Role;
use sockd_common::message::probe::{Act, FromProbe, ToProbe};

type Probe = MonitorEnd<ToProbe, FromProbe>;

/// Tries all of them, each in a worker of its own.
pub(crate) fn attempts(spawner: &Spawner) -> Result<Vec<Layer>, StartError> {
    Act::ALL.into_iter().map(|act| attempt(spawner, &probe(spawner)?, act)).collect()
}

/// Starts a probe worker in the same way as every worker.
fn probe(spawner: &Spawner) -> Result<Probe, StartError> {
    let (ours, theirs) = child::channel().map_err(StartError::at("socketpair"))?;
    let probe = Probe::new(ours);
    probe.send(&ToProbe::Setup, None).map_err(StartError::at("probe"))?;
    spawn(spawner, Role::Probe, theirs)?;
    wait(&probe)?;
    match probe.receive() {
        Ok(Received::Message(FromProbe::Ready(_), _)) => Ok(probe),
        _ => Err(ended_early(spawner)),
    }
}

fn attempt(spawner: &Spawner, probe: &Probe, act: Act) -> Result<Layer, StartError> {
    probe.send(&ToProbe::Try(act), None).map_err(StartError::at("probe"))?;
    wait(probe)?;
    let name = match act {
        Act::OpenFile => "Tried to open a file",
        Act::MakeSocket => "Tried to make a socket",
        Act::StartProgram => "Tried to start a program",
        Act::Signal => "Tried to signal a process",
        Act::MapExecutable => "Tried to map executable memory",
    };
    if let Ok(Received::Message(FromProbe::Survived { errno }, _)) = probe.receive() {
        let answer = nix::errno::Errno::from_raw(errno.0.into());
        return Ok(layer(name, false, format!("survived, with {answer}")));
    }
    let how = ending(spawner)?;
    Ok(layer(name, how == Ending::Signal(libc::SIGSYS), format!("ended by {how}")))
}
