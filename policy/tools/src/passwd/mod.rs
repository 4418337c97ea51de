//! `sockd-passwd`: the users of `sockd.passwd`, one change at a time.
//!
//! `sockd_users`, which the daemon asks as well, decides what a line may be. The new text is read back before it takes
//! the place of the old one.

mod failed;
mod file;
mod secret;

use std::process::ExitCode;

use rustix::rand::{GetRandomFlags, getrandom};
use sockd_password::{Check, How, MakeError, SALT, check, make};
use sockd_users::edit::{Change, change};
use sockd_users::line::parse_groups;
use sockd_users::{Fault, GroupName, Hash, User, UserName, Users};
use zeroize::Zeroizing;

use crate::cli::{self, Kind, Passwd, PasswdCommand, exit};
use failed::Failed;
use file::Locked;

const PROGRAM: &str = "sockd-passwd";

/// The password is not the user's, or there is no such user.
const NOT_VERIFIED: u8 = 1;

/// Runs the program.
pub fn main() -> ExitCode {
    let status = cli::parse::<Passwd>(PROGRAM, exit::USAGE).and_then(|options| {
        run(&options).map_err(|Failed { line, status }| {
            eprintln!("{PROGRAM}: {line}");
            status
        })
    });
    ExitCode::from(status.unwrap_or_else(|status| status))
}

fn run(options: &Passwd) -> Result<u8, Failed> {
    refuse_unused(options)?;
    let path = &options.file;
    match &options.command {
        PasswdCommand::Add { user } => add(options, user),
        PasswdCommand::Change { user } => {
            let name = named(user)?;
            present(&file::read(path)?, &name)?;
            let hash = new_hash(options)?;
            edited(options, &name, &Change::Password(&hash))
        }
        PasswdCommand::Remove { user } => edited(options, &named(user)?, &Change::Remove),
        PasswdCommand::Groups { user, names: Some(names) } => {
            let groups = parse_groups(names).map_err(|fault| wrong(&fault))?;
            edited(options, &named(user)?, &Change::Groups(&groups))
        }
        PasswdCommand::Groups { user, names: None } => {
            println!("{}", joined(present(&file::read(path)?, &named(user)?)?));
            Ok(0)
        }
        PasswdCommand::List => {
            file::read(path)?.iter().for_each(|user| println!("{}", line(user)));
            Ok(0)
        }
        PasswdCommand::Verify { user } => verify(options, user),
    }
}

/// Refuses options without an effect: each was meant to do something.
fn refuse_unused(options: &Passwd) -> Result<(), Failed> {
    let Passwd { hash, cost, groups, password_fd, command, .. } = options;
    let is_add = matches!(command, PasswdCommand::Add { .. });
    let makes_hash = is_add || matches!(command, PasswdCommand::Change { .. });
    let asks = makes_hash || matches!(command, PasswdCommand::Verify { .. });
    let given = [
        ("--hash", hash.is_some() && !makes_hash),
        ("--cost", cost.is_some() && !makes_hash),
        ("--groups", groups.is_some() && !is_add),
        ("--password-fd", password_fd.is_some() && !asks),
    ];
    match given.into_iter().find(|(_, is_unused)| *is_unused) {
        Some((option, _)) => Err(Failed::new(exit::USAGE, format!("{option} means nothing to this command"))),
        None => Ok(()),
    }
}

fn add(options: &Passwd, user: &str) -> Result<u8, Failed> {
    let path = &options.file;
    let (name, groups) = (named(user)?, parse_groups(options.groups.as_deref().unwrap_or_default()));
    let groups = groups.map_err(|fault| wrong(&fault))?;
    // Nobody types a password twice for a user who is there already.
    absent(&file::read(path)?, &name)?;
    let hash = new_hash(options)?;
    let locked = Locked::open(path)?;
    absent(locked.users(), &name)?;
    let text = change(locked.text(), &name, &Change::Password(&hash));
    locked.replace(&change(&text, &name, &Change::Groups(&groups)))
}

/// Changes the line of a user who is there.
fn edited(options: &Passwd, name: &UserName, what: &Change<'_>) -> Result<u8, Failed> {
    let locked = Locked::open(&options.file)?;
    present(locked.users(), name)?;
    locked.replace(&change(locked.text(), name, what))
}

fn verify(options: &Passwd, user: &str) -> Result<u8, Failed> {
    let users = file::read(&options.file)?;
    let password = secret::ask(options.password_fd, false)?;
    let hash = users.get(user).and_then(|user| user.hash.as_ref());
    match hash.map(|hash| check(&password, hash.as_str())) {
        Some(Check::Right) => Ok(0),
        _ => {
            eprintln!("{PROGRAM}: not verified");
            Ok(NOT_VERIFIED)
        }
    }
}

fn named(user: &str) -> Result<UserName, Failed> {
    UserName::parse(user).map_err(|fault| wrong(&fault))
}

fn wrong(fault: &Fault) -> Failed {
    Failed::new(exit::USAGE, fault)
}

fn present<'a>(users: &'a Users, name: &UserName) -> Result<&'a User, Failed> {
    users.get(name.as_str()).ok_or_else(|| Failed::new(exit::DATA, format!("there is no user {name}")))
}

fn absent(users: &Users, name: &UserName) -> Result<(), Failed> {
    match users.get(name.as_str()) {
        None => Ok(()),
        Some(_) => Err(Failed::new(exit::DATA, format!("there is a user {name} already"))),
    }
}

/// Asks for a password and hashes it. A hash that the daemon would not take is not made.
fn new_hash(options: &Passwd) -> Result<Hash, Failed> {
    let how = how(options.hash.unwrap_or(Kind::Yescrypt), options.cost);
    let password: Zeroizing<Vec<u8>> = secret::ask(options.password_fd, true)?;
    let mut salt = [0; SALT];
    if getrandom(&mut salt, GetRandomFlags::empty()) != Ok(SALT) {
        return Err(Failed::new(exit::IO, "expected random bytes of the kernel, found none"));
    }
    let hash = make(how, &password, salt).map_err(|error| Failed::new(status(error), error))?;
    Hash::parse(&hash).map_err(|fault| wrong(&fault))
}

fn status(error: MakeError) -> u8 {
    if error == MakeError::Cost { exit::USAGE } else { exit::DATA }
}

/// The kind of hash with its cost. Without one, a check takes some 20 to 60 ms.
fn how(kind: Kind, cost: Option<u32>) -> How {
    match kind {
        Kind::Yescrypt => How::Yescrypt(cost.unwrap_or(5)),
        Kind::Sha512crypt => How::Sha512crypt(cost.unwrap_or(100_000)),
        Kind::Bcrypt => How::Bcrypt(cost.unwrap_or(10)),
        Kind::Argon2id => How::Argon2id(cost.unwrap_or(19).saturating_mul(1 << 10), 2),
    }
}

/// User, kind of hash, groups.
fn line(user: &User) -> String {
    let kind = user.hash.as_ref().map_or("locked", |hash| hash.scheme().as_str());
    format!("{}\t{kind}\t{}", user.name, joined(user)).trim_end().to_owned()
}

fn joined(user: &User) -> String {
    let groups: Vec<&str> = user.groups.iter().map(GroupName::as_str).collect();
    groups.join(",")
}
