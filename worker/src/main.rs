//! `sockd-worker`: executed by the spawner with the word of one role, in a world without files or network.

use sockd_common::message::AS_ROOT;
use sockd_worker::lockdown::{Inherited, die_quietly_on_panic, is_root};
use sockd_worker::{Ending, roles};

fn main() {
    die_quietly_on_panic();
    let ending = match std::env::args().nth(1).and_then(|word| roles::named(&word)) {
        None => Ending::Usage,
        Some(entry) => match Inherited::take(entry.role.pipes()) {
            None => Ending::NoChannel,
            Some(_) if is_root() && std::env::args().nth(2).as_deref() != Some(AS_ROOT) => Ending::System,
            Some(inherited) => (entry.run)(inherited, entry.profile),
        },
    };
    ending.exit()
}
