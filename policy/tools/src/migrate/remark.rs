//! Remarks about a translation for the administrator.

/// The remarks, before they are sorted.
#[derive(Debug, Default)]
pub(super) struct Remarks(Vec<Remark>);

/// Something about a line of `danted.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) line: usize,
    /// Whether the files of sockd do not say what the line says.
    pub(super) is_loss: bool,
    pub(super) text: String,
}

impl Remarks {
    /// The line says something that has no counterpart.
    pub(super) fn loss(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, true, text.into());
    }

    /// The line loses nothing, but has something that the administrator should know.
    pub(super) fn note(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, false, text.into());
    }

    // A rule can become several lines, and one remark is enough.
    fn add(&mut self, line: usize, is_loss: bool, text: String) {
        let remark = Remark { line, is_loss, text };
        if !self.0.contains(&remark) {
            self.0.push(remark);
        }
    }

    /// All of them, by lines.
    pub(super) fn sorted(mut self) -> Vec<Remark> {
        self.0.sort_by_key(|remark| remark.line);
        self.0
    }
}
