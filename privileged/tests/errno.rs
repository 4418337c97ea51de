//! The log's texts for numbers of errno(3) stay the same.

use nix::errno::Errno;
use sockd_session::log::errno::TEXTS;

#[test]
fn every_number_has_the_words_of_this_system() {
    for (errno, words) in TEXTS {
        assert_eq!(Errno::from_raw(errno.0.into()).desc(), *words, "{errno:?}");
    }
}
