//! One measure after the other of one proxy after the other, in rounds.

use crate::Wanted;
use crate::measures::{self, Kind, Measure, Scale, Site};
use crate::net::Outcome;
use crate::numbers::{digits, median};
use crate::origin::Origin;
use crate::proxies::{self, Proxy};
use crate::request::Protocol;
use crate::syslog::Syslog;
use crate::table::{Column, markdown};
use crate::take;
use sockd_tests::host::Host;
use std::fs;
use std::time::Duration;

/// Takes the wanted measures and prints the table.
pub(crate) fn run(wanted: &Wanted) -> Outcome<()> {
    let measures = chosen(wanted)?;
    if wanted.list {
        for measure in measures {
            println!("{}", measure.name);
        }
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can make namespaces: start tests/bench/run as root".into());
    }
    // Every thread and program started in there belongs to that machine.
    Host::new().run(|| measure(wanted, &measures))
}

fn chosen(wanted: &Wanted) -> Outcome<Vec<Measure>> {
    let all = measures::all();
    if let Some(unknown) = wanted.measures.iter().find(|word| !all.iter().any(|m| m.name.starts_with(*word)))
    {
        return Err(format!("no measure begins with {unknown:?}; --list has them all").into());
    }
    let is_wanted = |measure: &Measure| {
        (wanted.measures.is_empty() && measure.is_usual(wanted.full))
            || wanted.measures.iter().any(|word| measure.name.starts_with(word))
    };
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// The samples of each figure of one measure, of one proxy.
type Samples = Vec<Vec<f64>>;

fn measure(wanted: &Wanted, measures: &[Measure]) -> Outcome<()> {
    fs::create_dir_all("/run/bench")?;
    // Many connections to few servers: more ports, within this network namespace.
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1100 65000")?;
    let mut proxies = proxies::all(&wanted.sockd)?;
    if let Some(unknown) = wanted.proxies.iter().find(|name| !proxies.iter().any(|p| p.name == **name)) {
        return Err(format!("{unknown} is unknown or not installed").into());
    }
    proxies.retain(|proxy| wanted.proxies.is_empty() || wanted.proxies.contains(&proxy.name));
    let mut site =
        Site { origin: Origin::start()?, syslog: Syslog::start()?, scale: scale(wanted), rate: None };
    let mut taken: Vec<Vec<Samples>> = measures
        .iter()
        .map(|measure| vec![vec![Vec::new(); measure.figures().len()]; proxies.len()])
        .collect();
    let rounds = wanted.rounds.unwrap_or(if wanted.full { 3 } else { 1 });
    for round in 0..rounds {
        for (measure, taken) in measures.iter().zip(&mut taken) {
            if matches!(measure.kind, Kind::Steady(_)) && site.rate.is_none() {
                site.rate = Some(half_of_our_rate(&proxies, &site)?);
            }
            for turn in 0..proxies.len() {
                // Another one begins each round.
                let number = (turn + round) % proxies.len();
                take(measure, &proxies[number], &site, &mut taken[number]);
            }
        }
    }
    print(measures, &proxies, &taken, rounds, &site);
    Ok(())
}

fn scale(wanted: &Wanted) -> Scale {
    let scale = Scale::new(wanted.full);
    let time = wanted.seconds.map_or(scale.time, |seconds| Duration::from_secs_f64(seconds.clamp(0.1, 60.0)));
    Scale { time, ..scale }
}

/// Takes one measure of one proxy. If it fails, the others are measured all the same.
fn take(measure: &Measure, proxy: &Proxy, site: &Site, samples: &mut Samples) {
    let Some(protocol) = measure.protocol(proxy) else { return };
    match take::take(measure, proxy, protocol, site) {
        Ok(figures) => {
            let shown: Vec<_> = figures.iter().map(|figure| figure.map_or("-".into(), digits)).collect();
            eprintln!("{:<18} {:<16} {}", measure.name, proxy.name, shown.join("  "));
            for (samples, figure) in samples.iter_mut().zip(figures) {
                samples.extend(figure);
            }
        }
        Err(why) => eprintln!("{:<18} {:<16} failed: {why}", measure.name, proxy.name),
    }
}

/// The same rate for all: half of what sockd serves, measured now.
fn half_of_our_rate(proxies: &[Proxy], site: &Site) -> Outcome<f64> {
    let ours = proxies.iter().rev().find(|proxy| proxy.speaks(Protocol::Socks4));
    let ours = ours.ok_or("nothing with SOCKS4 is measured")?;
    let measure = Measure { name: "cps-4-64".into(), kind: Kind::Connections(Protocol::Socks4, 64) };
    let figures = take::take(&measure, ours, Protocol::Socks4, site)?;
    let rate = figures.first().copied().flatten().ok_or("no rate")? / 2.0;
    eprintln!("half of the rate of {}: {} connections a second", ours.name, digits(rate));
    Ok(rate)
}

fn print(measures: &[Measure], proxies: &[Proxy], taken: &[Vec<Samples>], rounds: usize, site: &Site) {
    let figures: Vec<_> = measures.iter().flat_map(Measure::figures).collect();
    let column = |(number, proxy): (usize, &Proxy)| Column {
        name: proxy.name.clone(),
        standing: proxy.standing(),
        samples: taken.iter().flat_map(|of_measure| of_measure[number].clone()).collect(),
    };
    let columns: Vec<_> = proxies.iter().enumerate().map(column).collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = crate::origin::processors();
    println!(
        "Linux {}, {processors} processors shared with the load, loopback; medians of {rounds} interleaved round(s) \
         of {:?}, ± half of the spread.\n",
        kernel.trim(),
        site.scale.time
    );
    println!("{}", markdown(&figures, &columns));
    let monitor = figures.iter().position(|figure| figure.title.ends_with("of this the monitor"));
    let ours = columns.iter().find(|column| column.name == "sockd");
    if let Some(micros) = monitor.zip(ours).and_then(|(line, column)| median(&column.samples[line])) {
        println!(
            "The monitor, which is one process, could carry {:.0} connections a second if the workers had processors \
             enough (10^6 / {}).",
            1e6 / micros,
            digits(micros)
        );
    }
}
