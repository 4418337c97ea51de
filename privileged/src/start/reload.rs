//! `sockd --reload`: brings the running daemon up to date with the files and the program on disk.

use crate::config::options::Options;
use crate::config::read;
use crate::process::error::StartError;
use crate::start::{account, program};
use crate::takeover::link::Link;
use crate::takeover::place;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::Errno;

/// Reads all files, and has the daemon read them if it runs this program. True if it runs another one, so that this one
/// has to take over.
pub fn reload(options: &Options) -> Result<bool, StartError> {
    check(options).inspect_err(|_| tell(options))?;
    let Some(path) = place::path(options) else {
        return by_signal("there is no folder for the takeover socket").map(|()| false);
    };
    let socket = match place::reach(&path) {
        Ok(socket) => socket,
        // A daemon that has stopped has a full backlog.
        Err(error @ Errno::AGAIN) => return Err(place::nobody(&path, error).into()),
        Err(error) => return by_signal(&place::nobody(&path, error)).map(|()| false),
    };
    let link = Link::open(socket)?;
    let build = program::build()?;
    if options.force || link.about.build != build {
        return Ok(true);
    }
    match link.reload()? {
        true => Ok(false),
        false => Err(StartError::configuration(vec!["the reload has failed: see the log".into()])),
    }
}

fn check(options: &Options) -> Result<(), StartError> {
    let loaded = read::load(options)?;
    read::users(options)?;
    account::check(&loaded.config.settings).map_err(|error| read::placed(error, &options.settings))
}

/// Makes the daemon, if one runs, log and count that the files have errors.
fn tell(options: &Options) {
    let socket = place::path(options).and_then(|path| place::reach(&path).ok());
    let link = socket.and_then(|socket| Link::open(socket).ok());
    let _ = link.map(|link| link.has_failed());
}

/// Reloads by the service manager's signal: a daemon without a takeover socket knows no other way.
fn by_signal(why: &str) -> Result<(), StartError> {
    let pid = std::env::var("MAINPID").ok().and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 1);
    let pid = pid.ok_or_else(|| StartError::system(why))?;
    kill(Pid::from_raw(pid), Signal::SIGHUP).map_err(StartError::at("SIGHUP"))?;
    eprintln!("sockd: {why}; process {pid} reads its files again, with the program that it has");
    Ok(())
}
