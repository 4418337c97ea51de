//! The messages of two versions at a takeover, and how the serving one takes them.

use crate::messages::is_message;
use sockd_common::message::takeover::{FromServing, ToServing};
use sockd_common::wire::decode;
use sockd_session::takeover::{Answer, PLACES, Peers};

/// The state of a peer, which decides what it may be told; kept beside [`Peers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Nobody,
    Silent,
    Greeted,
    Takes,
    Serves,
}

/// No message: the files have been read again.
const RELOADED: &[u8] = b"r";

/// Packets as they are read, and what peers say in any order: each packet behind its place and its length.
pub fn takeover(data: &[u8]) {
    is_message::<ToServing>(data);
    is_message::<FromServing>(data);
    let (mut peers, mut known, mut rest) = (Peers::default(), [Known::Nobody; PLACES], data);
    while let [place, length, behind @ ..] = rest {
        let (packet, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        let place = usize::from(*place) % PLACES;
        match decode::<ToServing>(packet) {
            Ok(message) if known[place] != Known::Nobody => {
                known[place] = heard(&known, place, message, peers.hear(place, message));
            }
            Ok(_) => assert_eq!(peers.hear(place, ToServing::Go), Answer::HangUp, "there is nobody"),
            Err(_) if packet.is_empty() => connect(&mut peers, &mut known),
            Err(_) if packet == RELOADED => drop(peers.reloaded()),
            Err(_) => known[place] = Known::Nobody,
        }
        if known[place] == Known::Nobody {
            peers.disconnect(place);
        }
        let serves = known.iter().position(|known| *known == Known::Serves);
        assert_eq!(peers.successor(), serves);
        assert!(known.iter().filter(|known| matches!(known, Known::Takes | Known::Serves)).count() <= 1);
    }
}

fn connect(peers: &mut Peers, known: &mut [Known; PLACES]) {
    let free = known.iter().position(|known| *known == Known::Nobody);
    assert_eq!(peers.connect(), free);
    free.into_iter().for_each(|place| known[place] = Known::Silent);
}

/// The state of a peer after an answer, which has to be one that it may get.
fn heard(known: &[Known; PLACES], place: usize, message: ToServing, answer: Answer) -> Known {
    let (this, others) = (known[place], [Known::Takes, Known::Serves].map(|other| known.contains(&other)));
    let may_hear = match answer {
        Answer::About => this == Known::Silent && matches!(message, ToServing::Hello { .. }),
        Answer::Reload => this == Known::Greeted && message == ToServing::Reload && !others[1],
        Answer::ReloadFailed => this == Known::Greeted && message == ToServing::Unreadable && !others[1],
        Answer::Socket(asked) => {
            message == ToServing::Take { place: asked }
                && (this == Known::Takes || this == Known::Greeted && others == [false; 2])
        }
        Answer::Busy => this == Known::Greeted && others[0],
        Answer::Drain => this == Known::Takes && message == ToServing::Go,
        Answer::Recheck => this == Known::Serves && message == ToServing::Recheck,
        Answer::Serves(pid) => this == Known::Serves && message == ToServing::Serves { pid },
        Answer::End => this == Known::Serves && message == ToServing::End,
        Answer::HangUp => true,
    };
    assert!(may_hear, "{message:?} of {this:?} is answered by {answer:?}");
    match answer {
        Answer::About => Known::Greeted,
        Answer::Socket(_) => Known::Takes,
        Answer::Drain => Known::Serves,
        Answer::HangUp => Known::Nobody,
        _ => this,
    }
}
