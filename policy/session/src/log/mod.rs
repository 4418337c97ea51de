//! The lines of the log.

mod about;
mod causes;
pub mod classic;
pub mod errno;
mod escape;
mod fields;
pub mod full;
pub mod journal;
pub mod json;

pub use about::{About, Times};
pub use escape::escape;

use crate::record::{Failure, Record};
use crate::settings::LogFormat;

/// The priority of a line; the classic server had these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Events of connections.
    Notice,
    /// Faults that the administrator has to mend.
    Err,
}

impl Level {
    /// Its name in syslog(3).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Err => "err",
        }
    }

    /// Its number in syslog(3).
    pub fn number(self) -> &'static str {
        match self {
            Self::Notice => "5",
            Self::Err => "3",
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// How the lines about sessions are written.
    pub format: LogFormat,
    /// Whether the log is the journal, which takes fields beside the text.
    pub has_fields: bool,
}

impl Style {
    /// Whether a line is an object of JSON. The journal has fields of its own for its members.
    pub fn is_json(self) -> bool {
        !self.has_fields && matches!(self.format, LogFormat::Json | LogFormat::Session)
    }

    /// A line that is not about a session.
    pub fn message(self, level: Level, text: &str) -> Line {
        let text = if self.is_json() { json::message(text) } else { text.into() };
        Line { level, text, fields: Vec::new() }
    }

    /// The lines of a record, in their order.
    pub fn lines(self, about: About, record: &Record) -> Vec<Line> {
        let whole = |text| vec![Line { level: level(record), text, fields: self.fields(about, record) }];
        match self.format {
            LogFormat::Classic => self.classic(about, record),
            LogFormat::Session if !record.is_last() => Vec::new(),
            LogFormat::Json | LogFormat::Session if self.is_json() => whole(json::record(about, record)),
            LogFormat::Full | LogFormat::Json | LogFormat::Session => whole(full::line(about, record)),
        }
    }

    /// The first line has the level and the fields, so that nothing is counted twice.
    fn classic(self, about: About, record: &Record) -> Vec<Line> {
        let further = if self.has_fields { journal::session(about) } else { Vec::new() };
        let mut head = (level(record), self.fields(about, record));
        let lines = classic::lines(record).into_iter().map(|text| {
            let (level, fields) = std::mem::replace(&mut head, (Level::Notice, further.clone()));
            Line { level, text, fields }
        });
        lines.collect()
    }

    fn fields(self, about: About, record: &Record) -> Vec<u8> {
        if self.has_fields { journal::record(about, record) } else { Vec::new() }
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its priority.
    pub level: Level,
    /// Its text; an object of JSON lacks its beginning.
    pub text: String,
    /// Its fields in the journal.
    pub fields: Vec<u8>,
}

fn level(record: &Record) -> Level {
    match record {
        Record::Refused { why: Failure::NoInterface(_), .. } => Level::Err,
        _ => Level::Notice,
    }
}
