//! Waits with a limit that are interrupted.

use rustix::io::{Errno, Result};
use std::time::{Duration, Instant};

/// Makes a call that waits for at most `limit`, and repeats it if it was interrupted. A process that is stopped or
/// frozen and goes on interrupts it whatever the signal (signal(7)). Each call begins its limit anew, so a call that is
/// still interrupted after the limit has waited in vain (EAGAIN).
pub fn within<T>(limit: Duration, mut call: impl FnMut() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match call() {
            Err(Errno::INTR) if begun.elapsed() < limit => {}
            Err(Errno::INTR) => return Err(Errno::AGAIN),
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_wait_goes_on_and_not_for_ever() {
        let mut answers = [Err(Errno::INTR), Err(Errno::INTR), Ok(7), Ok(8)].into_iter();
        assert_eq!(within(Duration::from_secs(3600), || answers.next().unwrap()), Ok(7));
        assert_eq!(
            within(Duration::from_secs(3600), || Err::<(), _>(Errno::CONNRESET)),
            Err(Errno::CONNRESET)
        );
        let limit = Duration::from_millis(20);
        let begun = Instant::now();
        assert_eq!(within(limit, || Err::<(), _>(Errno::INTR)), Err(Errno::AGAIN));
        assert!(begun.elapsed() >= limit);
    }
}
