//! `sockd-worker`: executed by the spawner with the word of one role, in a world without files or network.

use sockd_worker::lockdown::{Inherited, die_quietly_on_panic};
use sockd_worker::{Ending, roles};

fn main() {
    die_quietly_on_panic();
    let ending = match std::env::args().nth(1).and_then(|word| roles::named(&word)) {
        None => Ending::Usage,
        Some(entry) => match Inherited::take(entry.pipes) {
            None => Ending::NoChannel,
            Some(inherited) => (entry.run)(inherited, entry.profile),
        },
    };
    ending.exit()
}
