//! The exit statuses that every command shares, so that a script can tell "in part" from "not at all".

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// Done in part; each failure was named.
    Part = 1,
    /// The command line was wrong.
    Usage = 2,
    /// Nothing was done: no box here, index unreachable, locked, wrong space, unusable input.
    Nothing = 3,
}

impl Exit {
    /// [`Exit::Done`] without failures, [`Exit::Part`] with some.
    #[must_use]
    pub fn of_failures(failures: u64) -> Self {
        if failures == 0 { Exit::Done } else { Exit::Part }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
