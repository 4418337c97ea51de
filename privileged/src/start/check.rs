//! `sockd --check`: reads everything and says what would run.

use crate::config::options::Options;
use crate::config::read::{self, Loaded};
use crate::process::error::StartError;
use crate::start::account;
use sockd_session::about;
use sockd_session::config::{counted, default_port};
use std::net::SocketAddr;

/// Reads everything and says what would run.
pub fn check(options: &Options) -> Result<(), StartError> {
    let Loaded { config, remarks, .. } = read::load(options)?;
    let users = read::users(options)?;
    account::check(&config.settings).map_err(|error| read::placed(error, &options.settings))?;
    println!("{}: {}", options.conf.display(), config.summary());
    for file in config.rules.included() {
        let (first, last) = file.numbers();
        println!("includes {}, whose lines are logged as {first} to {last}", file.file());
    }
    if !users.is_empty() {
        let file = read::passwd_file(&config.settings).display();
        println!("{file}: {}", counted(users.iter().len(), "user"));
    }
    let place = |place: &SocketAddr| match about::only_ipv6(*place, &options.listen) {
        true => format!("{place} ({})", about::ONLY_IPV6),
        false => place.to_string(),
    };
    let places: Vec<String> = options.listen.iter().map(place).collect();
    match places.is_empty() {
        true => println!("listens on port {} of every address", default_port(&config.services)),
        false => println!("listens on {}", places.join(", ")),
    }
    println!("{}", about::identd(config.ident_default));
    println!("{}", about::workers(config.settings.isolation));
    for remark in remarks.into_iter().chain(read::doubts(options, &config)) {
        println!("warning: {remark}");
    }
    Ok(())
}
