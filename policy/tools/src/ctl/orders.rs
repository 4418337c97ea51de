//! Orders to a monitor: to end sessions, and to serve no new clients.

use super::live::{Tree, sessions};
use crate::ctl::control::Control;
use sockd_common::ledger::Entry;
use sockd_common::status::{Answer, Order};

/// The most rounds: each ends the sessions that are meant and have come meanwhile.
const ROUNDS: usize = 3;

/// Ends all sessions that are meant, and returns their number.
pub(super) fn kill(trees: &[Tree], is_meant: impl Fn(&Entry<'_>) -> bool) -> Result<usize, String> {
    let mut controls: Vec<Option<Control>> = trees.iter().map(|_| None).collect();
    let mut ended = 0_usize;
    for _ in 0..ROUNDS {
        let (all, _) = sessions(trees);
        let before = ended;
        for live in &all {
            let Some(entry) = live.going_on().filter(&is_meant) else { continue };
            let (Some(tree), Some(control)) = (trees.get(live.tree), controls.get_mut(live.tree)) else {
                continue;
            };
            let connected = match control.take() {
                Some(connected) => connected,
                None => connect(tree)?,
            };
            let order = Order::Kill { place: live.place, number: entry.number };
            if control.insert(connected).order(order).map_err(|error| about(tree, &error))? == Answer::Done {
                ended = ended.saturating_add(1);
            }
        }
        if ended == before {
            break;
        }
    }
    Ok(ended)
}

/// Gives an order that is about no session to every monitor that serves. One that drains has no new clients anyway.
pub(super) fn all(trees: &[Tree], order: Order) -> Result<(), String> {
    let mut serving = trees.iter().filter(|tree| tree.serves()).peekable();
    serving.peek().ok_or("no daemon serves new clients: those that are there drain")?;
    serving.try_for_each(|tree| connect(tree)?.order(order).map(drop).map_err(|error| about(tree, &error)))
}

fn connect(tree: &Tree) -> Result<Control, String> {
    Control::connect(&tree.control).map_err(|error| about(tree, &error))
}

fn about(tree: &Tree, error: &std::io::Error) -> String {
    format!("{}: {error}", tree.control.display())
}
