//! One layer of the sandbox at a time, put on by the product's own functions around an ordinary process.

use crate::acts::{self, Act, SIGIO, Slot};
use crate::outcome::{Outcome, Victim, attempt, connection, end, in_a_child, number, of_child};
use crate::private::{Canary, Folder, canary_at};
use crate::sys;
use sockd::process::namespaces::{Ids, World, fork_into};
use sockd::spawner::world::enter;
use sockd_lockdown::{self as lockdown, Gid, Row, Uid};
use sockd_worker::lockdown::lock_down_without_filter;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

/// The locks between an act and the system.
#[derive(Clone, Copy)]
pub(crate) enum Layer {
    /// None but an unprivileged user id.
    User,
    /// Namespaces of its own, with an empty root.
    Namespaces,
    /// Landlock.
    Landlock,
    /// Everything that a worker has but its system call filter.
    Unfiltered,
    /// The same, turned against another worker in the same world and not against a process of the host.
    BesideAnother,
    /// The filter alone.
    Filter(&'static [Row]),
}

/// Everything that a reading needs besides its layer.
pub(crate) struct Place<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) canary: &'a Canary,
    /// The unprivileged user that acts are tried as.
    pub(crate) user: (u32, u32),
}

/// Tries all acts behind this layer.
pub(crate) fn read(layer: Layer, place: &Place<'_>) -> Result<Vec<Outcome>, String> {
    place.folder.refresh()?;
    acts::all().iter().map(|act| one(layer, act, place)).collect()
}

/// Descriptors that a worker gets, and some that it never should. They are made anew for each act, as some spoil them.
struct Passed {
    client: [OwnedFd; 2],
    channel: (OwnedFd, OwnedFd),
    loose: OwnedFd,
    listener: TcpListener,
    _waiting: TcpStream,
    pipe: (PipeReader, PipeWriter),
}

impl Passed {
    fn new() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let waiting = TcpStream::connect(listener.local_addr()?)?;
        let (client, channel, loose) = (connection()?, sys::packet_pair(), sys::loose_socket()?);
        // Something to read.
        TcpStream::from(client[1].try_clone()?).write_all(b"x")?;
        Ok(Self { client, channel, loose, listener, _waiting: waiting, pipe: pipe()? })
    }

    fn slot(&self, canary: [u8; 16], victim: usize) -> Slot {
        Slot {
            client: number(&self.client[0]),
            channel: number(&self.channel.0),
            other_end: number(&self.channel.1),
            loose: number(&self.loose),
            listener: number(&self.listener),
            pipe: number(&self.pipe.1),
            victim,
            monitor: usize::try_from(std::process::id()).unwrap_or(1),
            canary,
        }
    }
}

fn one(layer: Layer, act: &Act, place: &Place<'_>) -> Result<Outcome, String> {
    let passed = Passed::new().map_err(|error| format!("sockets for an act: {error}"))?;
    let victim = Victim::start(&|| become_user(place.user))?;
    let slot = passed.slot(canary_at(place.canary.port), victim.pid());
    let outcome = match layer {
        Layer::Namespaces | Layer::Unfiltered | Layer::BesideAnother => {
            in_an_empty_world(layer, act, place, slot)?
        }
        _ => in_a_child(&|| {
            become_user(place.user)?;
            match layer {
                Layer::Landlock => {
                    said(lockdown::no_new_privileges())?;
                    let status = said(lockdown::landlock_deny_all())?;
                    if !status.enforced {
                        return Ok(Outcome::Untried);
                    }
                }
                Layer::Filter(profile) => said(lockdown::install_filter(profile))?,
                _ => {}
            }
            Ok(attempt(act, &slot))
        }),
    };
    Ok(seen(act, outcome, &victim))
}

/// The outcome of an act. The fate of the victim shows whether a signal has arrived, as the kernel does not tell.
fn seen(act: &Act, outcome: Outcome, victim: &Victim) -> Outcome {
    match outcome {
        Outcome::Done if act.name == SIGIO && !victim.is_struck() => Outcome::Refused(libc::EPERM),
        outcome => outcome,
    }
}

/// Tries an act in an empty world, as the spawner makes it.
fn in_an_empty_world(layer: Layer, act: &Act, place: &Place<'_>, slot: Slot) -> Result<Outcome, String> {
    let (uid, gid) = place.user;
    let ids = Ids { uid, gid, range: None };
    let (told, to_tell) = sys::packet_pair();
    let world = World::of_workers(ids);
    let (pid, here) = fork_into(&world).map_err(|error| error.to_string())?;
    let Some(pid) = pid else {
        drop(to_tell);
        // Readable once the ids are mapped and the other end is closed.
        sys::wait(&told, -1);
        end(&|| {
            let mut here = here.clone();
            enter(ids, &mut here).map_err(|error| error.to_string())?;
            if !here.missing.iter().all(|what| what.contains("user")) {
                return Ok(Outcome::Untried);
            }
            said(lockdown::keep_only(&[]))?;
            let other = match layer {
                Layer::BesideAnother => Some(Victim::start(&as_others_see_it)?),
                _ => None,
            };
            let victim = other.as_ref().map_or(slot.victim, Victim::pid);
            let slot = Slot { victim, ..slot };
            let outcome = in_a_child(&|| {
                match layer {
                    Layer::Namespaces => as_others_see_it()?,
                    _ => drop(said(lock_down_without_filter())?),
                }
                Ok(attempt(act, &slot))
            });
            Ok(other.map_or(outcome, |other| seen(act, outcome, &other)))
        })
    };
    drop(told);
    let mapped = if here.user_namespace { world.map_ids(pid) } else { Ok(()) };
    drop(to_tell);
    let outcome = of_child(pid);
    mapped.map(|()| outcome).map_err(|error| error.to_string())
}

/// Becomes the unprivileged user. No act is ever tried as root.
fn become_user((uid, gid): (u32, u32)) -> Result<(), String> {
    said(lockdown::become_user(Uid::from_raw(uid), Gid::from_raw(gid)))?;
    as_others_see_it()
}

/// A change of the user id makes a process undumpable; a program that a user starts is not.
fn as_others_see_it() -> Result<(), String> {
    if nix::unistd::geteuid().is_root() {
        return Err("still root".into());
    }
    nix::sys::prctl::set_dumpable(true).map_err(|error| error.to_string())
}

fn said<T>(locked: Result<T, lockdown::LockError>) -> Result<T, String> {
    locked.map_err(|error| error.to_string())
}
