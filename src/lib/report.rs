//! How the library tells a person something without printing: the caller decides where it goes.

/// Receives what a person should learn while a function works.
pub trait Report {
    /// One item failed; the work goes on. `subject` names it, `cause` says why.
    fn failure(&mut self, subject: &str, cause: &str);
    /// Something worth knowing that is no failure.
    fn notice(&mut self, text: &str);
    /// Work done so far, for a progress line: `done` of `total` (0: unknown) in `unit`.
    fn progress(&mut self, _done: u64, _total: u64, _unit: Unit) {}
    /// What a progress line says besides.
    fn aside(&mut self, _text: &str) {}
}

/// What a progress figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Files.
    Files,
    /// Bytes.
    Bytes,
    /// Documents of an index.
    Documents,
}

/// Keeps everything, for tests and for callers that look afterwards.
#[derive(Debug, Default)]
pub struct Collected {
    /// Failures as `(subject, cause)`.
    pub failures: Vec<(String, String)>,
    /// Notices in order.
    pub notices: Vec<String>,
}

impl Report for Collected {
    fn failure(&mut self, subject: &str, cause: &str) {
        self.failures.push((subject.to_owned(), cause.to_owned()));
    }
    fn notice(&mut self, text: &str) {
        self.notices.push(text.to_owned());
    }
}
