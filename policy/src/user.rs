//! User ids.

use alloc::sync::Arc;
use core::fmt;

/// The user id of a SOCKS4 request or of an identd answer: 0 to 255 bytes without a NUL. Upper and lower case are kept. The
/// client chose it, so it may have any other byte. Requests and what is recorded of them share one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<[u8]>);

/// The bytes are more than 255, or have a NUL among them. The classic server cut long ids, so that two users could collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserIdError;

impl UserId {
    /// Checks the bytes before the NUL of a request.
    pub fn parse(bytes: &[u8]) -> Result<UserId, UserIdError> {
        match bytes {
            // This one takes no memory.
            [] => Ok(UserId(Arc::default())),
            bytes if bytes.len() > 255 || bytes.contains(&0) => Err(UserIdError),
            bytes => Ok(UserId(bytes.into())),
        }
    }

    /// The bytes as sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the client named no user. Such an id matches no list and no identd answer.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId(\"{}\")", self.0.escape_ascii())
    }
}

impl fmt::Display for UserIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected at most 255 bytes without NUL as a user id")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_has_at_most_255_bytes_and_no_nul() {
        assert!(UserId::parse(b"").unwrap().is_empty());
        assert_eq!(UserId::parse(&[0xff; 255]).unwrap().as_bytes().len(), 255);
        assert_eq!(UserId::parse(&[b'a'; 256]), Err(UserIdError));
        assert_eq!(UserId::parse(b"a\0"), Err(UserIdError));
    }
}
