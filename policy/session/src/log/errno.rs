//! The words for errors of system calls: numbers of errno(3), as Linux numbers them on most processors.

use sockd_common::message::Errno;
use std::borrow::Cow;

/// The errors of calls on sockets.
pub const TEXTS: &[(Errno, &str)] = &[
    (Errno(1), "Operation not permitted"),
    (Errno(2), "No such file or directory"),
    (Errno(9), "Bad file number"),
    (Errno(11), "Try again"),
    (Errno(12), "Out of memory"),
    (Errno(13), "Permission denied"),
    (Errno(19), "No such device"),
    (Errno(22), "Invalid argument"),
    (Errno(23), "File table overflow"),
    (Errno(24), "Too many open files"),
    (Errno(28), "No space left on device"),
    (Errno(32), "Broken pipe"),
    (Errno(64), "Machine is not on the network"),
    (Errno(71), "Protocol error"),
    (Errno(88), "Socket operation on non-socket"),
    (Errno(89), "Destination address required"),
    (Errno(90), "Message too long"),
    (Errno(91), "Protocol wrong type for socket"),
    (Errno(92), "Protocol not available"),
    (Errno(93), "Protocol not supported"),
    (Errno(94), "Socket type not supported"),
    (Errno(95), "Operation not supported on transport endpoint"),
    (Errno(96), "Protocol family not supported"),
    (Errno(97), "Address family not supported by protocol"),
    (Errno(98), "Address already in use"),
    (Errno(99), "Cannot assign requested address"),
    (Errno(100), "Network is down"),
    (Errno(101), "Network is unreachable"),
    (Errno(102), "Network dropped connection because of reset"),
    (Errno(103), "Software caused connection abort"),
    (Errno(104), "Connection reset by peer"),
    (Errno(105), "No buffer space available"),
    (Errno(106), "Transport endpoint is already connected"),
    (Errno(107), "Transport endpoint is not connected"),
    (Errno(108), "Cannot send after transport endpoint shutdown"),
    (Errno(109), "Too many references: cannot splice"),
    (Errno(110), "Connection timed out"),
    (Errno(111), "Connection refused"),
    (Errno(112), "Host is down"),
    (Errno(113), "No route to host"),
];

/// The words for a number, or the number if there are none.
pub fn text(errno: Errno) -> Cow<'static, str> {
    match TEXTS.binary_search_by_key(&errno.0, |(known, _)| known.0) {
        Ok(place) => TEXTS.get(place).map_or("", |(_, text)| text).into(),
        Err(_) => format!("Unknown error {}", errno.0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_table_is_found_and_any_other_is_told_as_a_number() {
        for (errno, words) in TEXTS {
            assert_eq!(text(*errno), *words);
        }
        assert_eq!(text(Errno(65_535)), "Unknown error 65535");
    }
}
