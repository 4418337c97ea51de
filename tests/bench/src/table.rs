//! The table: medians and spreads of all proxies, and whether sockd reaches its goals.

use crate::measures::{Figure, Goal};
use crate::numbers::{digits, median, spread};
use crate::proxies::Standing;
use std::fmt::Write;

/// A column: its name, its standing, and the samples of each line.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) standing: Standing,
    pub(crate) samples: Vec<Vec<f64>>,
}

/// Medians with their spreads in per cent, as Markdown. Goals refer to the ceiling without separation; if the one with
/// separation was measured as well, the last column says how far sockd is from that.
pub(crate) fn markdown(figures: &[Figure], columns: &[Column]) -> String {
    let apart = columns.iter().any(|column| column.name == APART);
    let mut text = String::from("| measure | unit |");
    for column in columns {
        let _ = write!(text, " {} |", column.name);
    }
    text.push_str(" asked of sockd | reached |");
    text.push_str(if apart { " of ideal-apart |\n|---|---|" } else { "\n|---|---|" });
    text.push_str(&"---:|".repeat(columns.len()));
    text.push_str(if apart { "---|---|---:|\n" } else { "---|---|\n" });
    for (line, figure) in figures.iter().enumerate() {
        if columns.iter().all(|column| column.samples[line].is_empty()) {
            continue;
        }
        let _ = write!(text, "| {} | {} |", figure.title, figure.unit);
        for column in columns {
            let _ = write!(text, " {} |", cell(&column.samples[line]));
        }
        let (asked, reached) = verdict(figure.goal, line, columns);
        let _ = write!(text, " {asked} | {reached} |");
        if apart {
            let share = share(line, columns, APART).map(|share| format!("{share:.2}"));
            let _ = write!(text, " {} |", share.unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

const APART: &str = "ideal-apart";

/// The samples of one proxy, one for each round.
fn of<'a>(line: usize, columns: &'a [Column], name: &str) -> Option<&'a [f64]> {
    columns.iter().find(|column| column.name == name).map(|column| column.samples[line].as_slice())
}

/// The ratio of sockd to another proxy, as the median over the rounds: a disturbance of a round affects both.
fn share(line: usize, columns: &[Column], other: &str) -> Option<f64> {
    let (ours, others) = (of(line, columns, "sockd")?, of(line, columns, other)?);
    if ours.len() != others.len() {
        return None;
    }
    let shares: Vec<f64> = ours.iter().zip(others).map(|(ours, other)| ours / other).collect();
    median(&shares).filter(|share| share.is_finite())
}

/// Rounds that differ by more than this share of their median have no meaningful median: the least and the most are
/// shown.
const WIDE: f64 = 1.0;

fn cell(samples: &[f64]) -> String {
    let least = samples.iter().copied().min_by(f64::total_cmp);
    let most = samples.iter().copied().max_by(f64::total_cmp);
    match (median(samples), spread(samples)) {
        (Some(_), Some(spread)) if spread > WIDE => {
            [least, most].map(|value| digits(value.unwrap_or(f64::NAN))).join(" to ")
        }
        (Some(median), Some(spread)) if samples.len() > 1 => {
            format!("{} ±{:.0} %", digits(median), spread * 50.0)
        }
        (Some(median), _) => digits(median),
        _ => "-".into(),
    }
}

/// The goal, and what sockd reaches, in words.
fn verdict(goal: Goal, line: usize, columns: &[Column]) -> (String, String) {
    let ours = of(line, columns, "sockd").and_then(median);
    let share = share(line, columns, "ideal-adaptive");
    let peers = columns.iter().filter(|column| column.standing == Standing::Peer);
    let peers = peers.filter_map(|peer| median(&peer.samples[line])).max_by(f64::total_cmp);
    let yes = |reached: bool| if reached { "yes" } else { "**no**" };
    match goal {
        Goal::Nothing => {
            (String::new(), share.map(|share| format!("{share:.2} of ideal")).unwrap_or_default())
        }
        Goal::Above(least) => {
            let asked = match least {
                1.0 => "above ideal and peers".into(),
                least => format!("{least:.2} of ideal, above peers"),
            };
            let reached = share.map(|share| {
                let above_peers = ours >= peers;
                let peers = if above_peers { "" } else { ", a peer is above" };
                format!("{}: {share:.2}{peers}", yes(share >= least && above_peers))
            });
            (asked, reached.unwrap_or_default())
        }
        Goal::Within(most) => {
            let reached = share.map(|share| format!("{}: {share:.2}", yes(share <= most)));
            (format!("at most {most:.2} of ideal"), reached.unwrap_or_default())
        }
        Goal::AtLeast(least) => {
            let reached = ours.map(|ours| format!("{}: {}", yes(ours >= least), digits(ours)));
            (format!("at least {}", digits(least)), reached.unwrap_or_default())
        }
        Goal::AtMost(most) => {
            let reached = ours.map(|ours| format!("{}: {}", yes(ours <= most), digits(ours)));
            (format!("at most {}", digits(most)), reached.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(goal: Goal, ideal: f64, peer: f64, ours: f64) -> String {
        let column = |name: &str, standing, sample| Column {
            name: name.into(),
            standing,
            samples: vec![vec![sample]],
        };
        let columns = [
            column("ideal-adaptive", Standing::Ceiling, ideal),
            column("danted", Standing::Peer, peer),
            column("sockd", Standing::Ours, ours),
        ];
        verdict(goal, 0, &columns).1
    }

    #[test]
    fn a_share_of_the_ceiling_is_not_enough_below_a_peer() {
        assert_eq!(reached(Goal::Above(0.95), 20.0, 12.0, 19.0), "yes: 0.95");
        assert_eq!(reached(Goal::Above(0.95), 20.0, 12.0, 18.0), "**no**: 0.90");
        assert_eq!(reached(Goal::Above(0.95), 20.0, 19.5, 19.2), "**no**: 0.96, a peer is above");
    }

    #[test]
    fn less_is_better_where_a_share_must_not_be_exceeded() {
        assert_eq!(reached(Goal::Within(1.1), 100.0, 90.0, 110.0), "yes: 1.10");
        assert_eq!(reached(Goal::Within(1.1), 100.0, 300.0, 111.0), "**no**: 1.11");
        assert_eq!(reached(Goal::AtMost(25.0), f64::NAN, 0.0, 24.0), "yes: 24.0");
    }

    #[test]
    fn more_is_better_where_a_figure_must_be_reached() {
        assert_eq!(reached(Goal::AtLeast(0.8), f64::NAN, 0.0, 0.8), "yes: 0.80");
        assert_eq!(reached(Goal::AtLeast(0.8), f64::NAN, 0.0, 0.79), "**no**: 0.79");
    }

    #[test]
    fn a_round_that_was_slow_for_all_changes_no_share() {
        let column = |name: &str, standing, samples| Column { name: name.into(), standing, samples };
        let columns = [
            column("ideal-adaptive", Standing::Ceiling, vec![vec![1.0, 4.0, 2.0]]),
            column("sockd", Standing::Ours, vec![vec![1.1, 4.4, 9.0]]),
        ];
        assert_eq!(verdict(Goal::Within(1.15), 0, &columns).1, "yes: 1.10");
    }

    #[test]
    fn beside_the_ceiling_with_separation_stands_how_far_it_is() {
        let column = |name: &str, sample| Column {
            name: name.into(),
            standing: Standing::Ceiling,
            samples: vec![sample],
        };
        let figures = [Figure { title: "a".into(), unit: "b", goal: Goal::Nothing }];
        let table = markdown(&figures, &[column("ideal-apart", vec![8.0]), column("sockd", vec![6.0])]);
        assert_eq!(table.lines().nth(2), Some("| a | b | 8.00 | 6.00 |  |  | 0.75 |"));
        let table = markdown(&figures, &[column("ideal-apart", vec![0.0]), column("sockd", vec![6.0])]);
        assert_eq!(table.lines().nth(2), Some("| a | b | 0.00 | 6.00 |  |  |  |"));
    }

    #[test]
    fn a_line_has_the_median_and_half_of_the_spread() {
        let figures = [Figure { title: "a".into(), unit: "b", goal: Goal::Nothing }];
        let column =
            Column { name: "x".into(), standing: Standing::Peer, samples: vec![vec![9.0, 10.0, 11.0]] };
        let nothing = Column { name: "y".into(), standing: Standing::Peer, samples: vec![Vec::new()] };
        let table = markdown(&figures, &[column, nothing]);
        assert_eq!(table.lines().nth(2), Some("| a | b | 10.0 ±10 % | - |  |  |"));
    }

    #[test]
    fn rounds_that_have_nothing_in_common_have_no_median() {
        assert_eq!(cell(&[0.0, 3.98]), "0.00 to 3.98");
        assert_eq!(cell(&[1.0, 2.0, 9.0]), "1.00 to 9.00");
        assert_eq!(cell(&[1.0, 1.5]), "1.25 ±20 %");
        assert_eq!(cell(&[0.0, 0.0]), "0.00 ±0 %");
    }
}
