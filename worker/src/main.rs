//! `sockd-worker`: executed by the spawner with the word of one role, in a world without files or network.

use sockd_worker::{Ending, lockdown, roles};

fn main() {
    lockdown::die_quietly_on_panic();
    let entry = std::env::args().nth(1).and_then(|word| roles::named(&word));
    let ending = match (entry, lockdown::take_channel()) {
        (None, _) => Ending::Usage,
        (_, None) => Ending::NoChannel,
        (Some(entry), Some(channel)) => (entry.run)(channel, entry.profile),
    };
    ending.exit()
}
