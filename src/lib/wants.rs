//! Intentions: what a box should hold at a path, by the longest matching mark, else by its policy.
//!
//! Marks are read in path order next to the paths that are asked about, so that neither a million marks
//! nor a million paths are held in memory.

use anyhow::Result;

use crate::path::SpacePath;
use crate::record::{Ftype, Mark, Policy, Want};

/// What should be at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Whether the box should hold it.
    pub wanted: bool,
    /// The mark that says so; none where the policy does.
    pub mark: Option<MarkedBy>,
}

/// The mark behind an [`Intent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedBy {
    /// Where the mark is.
    pub path: SpacePath,
    /// The box's commit counter that the mark's writer knew.
    pub seen: u64,
}

impl Intent {
    /// Marked skip: `Some(seen)`.
    #[must_use]
    pub fn skipped(&self) -> Option<u64> {
        self.mark.as_ref().filter(|_| !self.wanted).map(|m| m.seen)
    }

    /// Whether a mark, not the policy, wants it.
    #[must_use]
    pub fn by_hand(&self) -> bool {
        self.wanted && self.mark.is_some()
    }
}

/// Where marks come from: in path order, `None` after the last.
pub type Marks<'a> = Box<dyn FnMut() -> Result<Option<Mark>> + 'a>;

/// The intentions for one box, asked in path order.
pub struct Wants<'a> {
    policy: Policy,
    marks: Marks<'a>,
    coming: Option<Mark>,
    exhausted: bool,
    /// Marks that hold for the path asked last, the longest at the end.
    holding: Vec<Mark>,
}

impl std::fmt::Debug for Wants<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wants").field("policy", &self.policy).field("holding", &self.holding).finish_non_exhaustive()
    }
}

impl<'a> Wants<'a> {
    /// The intentions of a box with this policy and these marks.
    #[must_use]
    pub fn new(policy: Policy, marks: Marks<'a>) -> Self {
        Self { policy, marks, coming: None, exhausted: false, holding: Vec::new() }
    }

    /// What should be at `path`. Paths must be asked in path order; a path may be asked again.
    ///
    /// # Errors
    /// The marks cannot be read.
    pub fn at(&mut self, path: &SpacePath, ftype: Ftype) -> Result<Intent> {
        self.holding.retain(|m| path.is_within(&m.path) && (!m.alone || m.path == *path));
        while self.peek()?.is_some_and(|m| m.path <= *path) {
            if let Some(mark) = self.coming.take()
                && mark.want != Want::Cleared
                && path.is_within(&mark.path)
                && (!mark.alone || mark.path == *path)
            {
                self.holding.push(mark);
            }
        }
        Ok(match self.holding.last() {
            Some(mark) => {
                Intent { wanted: mark.want == Want::Want, mark: Some(MarkedBy { path: mark.path.clone(), seen: mark.seen }) }
            }
            None => Intent { wanted: self.by_policy(ftype), mark: None },
        })
    }

    /// Whether any mark lies below `path`, which was asked last.
    ///
    /// # Errors
    /// The marks cannot be read.
    pub fn any_below(&mut self, path: &SpacePath) -> Result<bool> {
        Ok(self.peek()?.is_some_and(|m| m.path.is_within(path)))
    }

    fn by_policy(&self, ftype: Ftype) -> bool {
        match self.policy {
            Policy::Complete => true,
            Policy::Ondemand => false,
            Policy::Skeleton => ftype == Ftype::Dir,
        }
    }

    fn peek(&mut self) -> Result<Option<&Mark>> {
        if self.coming.is_none() && !self.exhausted {
            self.coming = (self.marks)()?;
            self.exhausted = self.coming.is_none();
        }
        Ok(self.coming.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Extra;
    use crate::stamp::Stamp;

    fn mark(path: &str, want: Want, alone: bool) -> Mark {
        let path = if path == "/" { SpacePath::root() } else { SpacePath::from_spelled(path).unwrap() };
        Mark { box_name: "b".into(), path, want, seen: 3, alone, stamp: Stamp::default(), extra: Extra::new() }
    }

    fn wants(policy: Policy, mut marks: Vec<Mark>) -> Wants<'static> {
        marks.sort_by(|a, b| a.path.cmp(&b.path));
        let mut marks = marks.into_iter();
        Wants::new(policy, Box::new(move || Ok(marks.next())))
    }

    #[test]
    fn the_longest_mark_wins_and_cleared_inherits() {
        let mut w = wants(
            Policy::Ondemand,
            vec![
                mark("/films", Want::Want, false),
                mark("/films/old", Want::Skip, false),
                mark("/films/old/gem", Want::Want, false),
                mark("/films/new", Want::Cleared, false),
                mark("/films/gone", Want::Skip, true),
            ],
        );
        let mut paths = vec![
            ("/a", false, false),
            ("/films", true, true),
            ("/films/gone", false, false),
            ("/films/gone/back", true, true),
            ("/films/new", true, true),
            ("/films/new/x", true, true),
            ("/films/old", false, false),
            ("/films/old/gem", true, true),
            ("/films/old/gem/x", true, true),
            ("/films/old/x", false, false),
            ("/films/x", true, true),
            ("/filmsx", false, false),
        ];
        paths.sort_by_key(|p| SpacePath::from_spelled(p.0).unwrap());
        for (path, wanted, by_hand) in paths {
            let intent = w.at(&SpacePath::from_spelled(path).unwrap(), Ftype::File).unwrap();
            assert_eq!((intent.wanted, intent.by_hand()), (wanted, by_hand), "{path}");
        }
    }

    #[test]
    fn policies_speak_where_no_mark_does() {
        let path = SpacePath::from_spelled("/a").unwrap();
        for (policy, file, dir) in
            [(Policy::Complete, true, true), (Policy::Ondemand, false, false), (Policy::Skeleton, false, true)]
        {
            let mut w = wants(policy, vec![]);
            assert_eq!(w.at(&path, Ftype::File).unwrap(), Intent { wanted: file, mark: None });
            assert_eq!(w.at(&path, Ftype::Dir).unwrap().wanted, dir);
            let mut w = wants(policy, vec![mark("/", Want::Skip, false)]);
            assert_eq!(w.at(&path, Ftype::Dir).unwrap().skipped(), Some(3));
        }
    }

    #[test]
    fn a_folder_is_whole_without_marks_below() {
        let mut w = wants(Policy::Complete, vec![mark("/b/c", Want::Skip, false)]);
        for (path, below) in [("/a", false), ("/b", true), ("/b/c", false), ("/c", false)] {
            let path = SpacePath::from_spelled(path).unwrap();
            w.at(&path, Ftype::Dir).unwrap();
            assert_eq!(w.any_below(&path).unwrap(), below, "{path}");
        }
    }
}
