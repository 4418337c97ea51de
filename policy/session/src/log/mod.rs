//! What the log says.

pub mod classic;
pub mod errno;
mod escape;
pub mod full;

pub use escape::escape;

/// How much a line matters; the classic server knew these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What happened to connections.
    Notice,
    /// What the administrator has to mend.
    Err,
}
