//! How many copies of a content there are, and questions about that number.

use std::cmp::Ordering;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

use crate::index::groups::Row;
use crate::index::sqlite::{BoxId, Sqlite};
use crate::record::Ftype;

/// A condition on a number of copies, such as `<2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiesFilter {
    /// Orders of the number of copies, compared with `than`, that are wanted.
    wanted: &'static [Ordering],
    than: usize,
}

impl FromStr for CopiesFilter {
    type Err = Error;

    /// Reads an operator (`<`, `<=`, `=`, `==`, `>`, `>=`; none is `=`) and a number.
    fn from_str(text: &str) -> Result<Self> {
        let at = text.find(|c: char| !"<=>".contains(c)).unwrap_or(text.len());
        let (operator, number) = text.split_at(at);
        let wanted: &[Ordering] = match operator {
            "<" => &[Ordering::Less],
            "<=" => &[Ordering::Less, Ordering::Equal],
            "" | "=" | "==" => &[Ordering::Equal],
            ">=" => &[Ordering::Equal, Ordering::Greater],
            ">" => &[Ordering::Greater],
            _ => bail!("not a condition on copies: {text:?} (such as '<2': one of < <= = >= > and a number)"),
        };
        match number.trim().parse() {
            Ok(than) => Ok(Self { wanted, than }),
            Err(_) => bail!("not a number of copies: {number:?}"),
        }
    }
}

impl CopiesFilter {
    /// Whether this number of copies is asked for.
    #[must_use]
    pub fn matches(&self, copies: usize) -> bool {
        self.wanted.contains(&copies.cmp(&self.than))
    }

    /// Whether a content of which `copies` are known could match when more are found.
    #[must_use]
    pub fn possible(&self, copies: usize) -> bool {
        self.matches(copies) || self.wanted.contains(&Ordering::Greater) || copies < self.least_beyond()
    }

    /// The least number that is too many; none is where more are welcome.
    fn least_beyond(&self) -> usize {
        self.than + usize::from(self.wanted.contains(&Ordering::Equal))
    }

    /// From this number of copies on nothing matches; `None` where more are welcome.
    #[must_use]
    pub fn too_many(&self) -> Option<usize> {
        (!self.wanted.contains(&Ordering::Greater)).then(|| self.least_beyond())
    }
}

/// Which of the boxes `counting` hold, at the path of `rows`, the content of `row`.
pub(super) fn at_path(rows: &[Row], row: &Row, counting: &[BoxId]) -> Vec<BoxId> {
    let copy = |r: &&Row| r.present && !r.purged && r.content() == row.content() && counting.contains(&r.box_id);
    rows.iter().filter(copy).map(|r| r.box_id).collect()
}

/// Adds to `holders` the boxes of `counting` that hold the content of `row` at any other path. Folders
/// and empty files are alike everywhere, so theirs say nothing.
pub(super) fn add_elsewhere(index: &Sqlite, row: &Row, counting: &[BoxId], holders: &mut Vec<BoxId>) -> Result<()> {
    let (Some(sha1), true) = (row.sha1, tells(row) && holders.len() < counting.len()) else { return Ok(()) };
    for id in index.boxes_with(row.ftype, sha1)? {
        if counting.contains(&id) && !holders.contains(&id) {
            holders.push(id);
        }
    }
    Ok(())
}

/// Whether the same content at another path is a copy of this one.
pub(super) fn tells(row: &Row) -> bool {
    row.ftype != Ftype::Dir && row.size > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let rows: &[(&str, &[usize], &[usize])] = &[
            ("<2", &[0, 1], &[0, 1]),
            ("<=2", &[0, 1, 2], &[0, 1, 2]),
            ("=2", &[2], &[0, 1, 2]),
            ("== 2", &[2], &[0, 1, 2]),
            ("2", &[2], &[0, 1, 2]),
            (">=2", &[2, 3, 4], &[0, 1, 2, 3, 4]),
            (">2", &[3, 4], &[0, 1, 2, 3, 4]),
            ("<0", &[], &[]),
        ];
        for (text, matching, possible) in rows {
            let filter: CopiesFilter = text.parse().unwrap();
            let those = |test: &dyn Fn(usize) -> bool| (0..5).filter(|n| test(*n)).collect::<Vec<_>>();
            assert_eq!(those(&|n| filter.matches(n)), *matching, "{text}");
            assert_eq!(those(&|n| filter.possible(n)), *possible, "{text}");
            let too_many = filter.too_many().unwrap_or(usize::MAX);
            assert_eq!(those(&|n| n < too_many), *possible, "{text}");
        }
        for text in ["", "<", "<x", "<-1", "=<2", "<>2", "<2 3", "<99999999999999999999999"] {
            assert!(text.parse::<CopiesFilter>().is_err(), "{text}");
        }
    }
}
