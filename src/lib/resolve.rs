//! What a path should be, over all boxes, and what that means for one of them: pure functions over the
//! rows of a path, from which both the letters of `ltr status` and the actions of a plan follow.

use std::cmp::Ordering;

use crate::index::groups::Row;
use crate::index::sqlite::BoxId;
use crate::record::Ftype;
use crate::version::{Relation, Version};
use crate::wants::Intent;

/// Raised whenever [`decide`], or what it is asked with, changes: what an index remembers of its answers holds no longer.
pub const RULES: u32 = 2;

/// The maximal versions at a path, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads<'a> {
    rows: Vec<&'a Row>,
}

impl<'a> Heads<'a> {
    /// The heads among `rows`: present copies of boxes that count, and purges, with maximal versions.
    /// An absent entry is none: a version that nobody holds is lost, not awaited.
    pub fn of(rows: &'a [Row], counts: impl Fn(BoxId) -> bool) -> Self {
        let candidates: Vec<&Row> = rows.iter().filter(|r| r.purged || (r.present && counts(r.box_id))).collect();
        let beaten = |row: &Row| candidates.iter().any(|other| row.version.relation(&other.version) == Relation::Older);
        let mut heads: Vec<&Row> = candidates.iter().copied().filter(|row| !beaten(row)).collect();
        heads.sort_by(|a, b| rank(b, a));
        Self { rows: heads }
    }

    /// The version that everyone should have; a purge where there is nothing better.
    #[must_use]
    pub fn winner(&self) -> Option<&'a Row> {
        self.rows.first().copied()
    }

    /// Whether heads differ in content, so that one of them is kept under a conflict name.
    #[must_use]
    pub fn conflict(&self) -> bool {
        let mut edits = self.rows.iter().filter(|r| !r.purged);
        edits.next().is_some_and(|first| edits.any(|r| r.content() != first.content()))
    }

    /// Whether the content of the copy that `row` tells of is that of one of them. The copy itself may be older:
    /// whoever recorded the content since may have lost it again.
    #[must_use]
    pub fn have_content_of(&self, row: &Row) -> bool {
        self.rows.iter().any(|head| !head.purged && head.content() == row.content())
    }

    /// A purge that knew of the version `version`.
    fn purge_of(&self, version: &Version) -> Option<&'a Row> {
        self.rows.iter().copied().find(|r| r.purged && r.version.includes(version))
    }
}

/// Which of two heads wins, the same everywhere: a folder over a file, an edit over a purge, the newest
/// mtime as its creator recorded it, then the greater hash. What follows only makes the order total.
fn rank(a: &Row, b: &Row) -> Ordering {
    let class = |r: &Row| match (r.purged, r.ftype) {
        (true, _) => 0,
        (false, Ftype::File | Ftype::Symlink) => 1,
        (false, Ftype::Dir) => 2,
    };
    (class(a), a.mtime, a.sha1, a.ftype, a.mode)
        .cmp(&(class(b), b.mtime, b.sha1, b.ftype, b.mode))
        .then_with(|| a.version.to_bytes().cmp(&b.version.to_bytes()))
        .then_with(|| b.box_id.cmp(&a.box_id))
}

/// What kind of file `me` would have at a path: what it has, else what it could get. A policy may want
/// folders and no files, and an old entry does not tell which of them there is now.
#[must_use]
pub fn kind(rows: &[Row], me: BoxId, counts: impl Fn(BoxId) -> bool) -> Ftype {
    if let Some(own) = rows.iter().find(|r| r.box_id == me && r.present) {
        return own.ftype;
    }
    let Some(first) = rows.first() else { return Ftype::File };
    if rows.iter().all(|r| r.ftype == first.ftype) {
        return first.ftype;
    }
    Heads::of(rows, counts).winner().unwrap_or(first).ftype
}

/// What a path means for one box, going by the index alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Nothing is to do.
    Nothing,
    /// Wanted, and not here.
    Fetch {
        /// What to get.
        head: &'a Row,
    },
    /// An older version is here.
    Update {
        /// What replaces it.
        head: &'a Row,
    },
    /// The right content is here with other permission bits.
    Touch {
        /// Whose bits to take.
        head: &'a Row,
    },
    /// An edit is here that lost against a concurrent one.
    Conflict {
        /// The winner.
        head: &'a Row,
    },
    /// A copy is here that was purged.
    Purge {
        /// The purge.
        head: &'a Row,
    },
    /// A copy is here that was marked skip after it came.
    Unwanted {
        /// What other boxes must hold before it goes.
        head: &'a Row,
    },
    /// Marked skip, and not here.
    Skipped,
}

/// Decides for the box `me`. Its own copies count even when it is forgotten: they are facts.
pub fn decide<'a>(rows: &'a [Row], me: BoxId, intent: &Intent, counts: impl Fn(BoxId) -> bool) -> Decision<'a> {
    if intent.skipped().is_none() && everywhere_alike(rows, me) {
        return Decision::Nothing;
    }
    let heads = Heads::of(rows, |id| id == me || counts(id));
    let Some(winner) = heads.winner() else { return Decision::Nothing };
    let own = rows.iter().find(|r| r.box_id == me);
    match own.filter(|r| r.present) {
        Some(own) => decide_present(own, winner, &heads, intent),
        None if winner.purged => Decision::Nothing,
        None if intent.wanted => Decision::Fetch { head: winner },
        None if intent.skipped().is_some() => Decision::Skipped,
        None => Decision::Nothing,
    }
}

/// Whether `me` and every other box of `rows` hold one version of one content: nearly all paths are such,
/// and then nothing has to be sorted out. Takes a third off a plan that finds nothing to do.
fn everywhere_alike(rows: &[Row], me: BoxId) -> bool {
    let Some(first) = rows.first() else { return false };
    let alike = |r: &Row| r.content() == first.content() && r.mode == first.mode && r.version == first.version;
    rows.iter().any(|r| r.box_id == me) && rows.iter().all(|r| r.present && !r.purged && alike(r))
}

fn decide_present<'a>(own: &Row, winner: &'a Row, heads: &Heads<'a>, intent: &Intent) -> Decision<'a> {
    if winner.purged {
        return heads.purge_of(&own.version).map_or(Decision::Nothing, |head| Decision::Purge { head });
    }
    if own.content() == winner.content() && !own.purged {
        if intent.skipped().is_some_and(|seen| own.commit <= seen) && !heads.conflict() {
            return Decision::Unwanted { head: winner };
        }
        let follows = own.mode != winner.mode && own.version != winner.version;
        return if follows { Decision::Touch { head: winner } } else { Decision::Nothing };
    }
    if heads.have_content_of(own) && !own.purged {
        Decision::Conflict { head: winner }
    } else {
        Decision::Update { head: winner }
    }
}

/// The version of an edit that `me` makes at a path where the index has `rows`: the successor of what
/// it held, joined with every version of the same content, because whoever edits a content has seen it.
#[must_use]
pub fn edited(rows: &[Row], me: BoxId, actor: u32, commit: u64) -> Version {
    let Some(own) = rows.iter().find(|r| r.box_id == me) else { return Version::of(actor, commit) };
    let mut seen = own.version.clone();
    for row in rows.iter().filter(|r| r.present && !r.purged && !own.purged && own.present && r.content() == own.content()) {
        seen.join(&row.version);
    }
    seen.successor(actor, commit)
}

/// The version of a purge by `me`: newer than everything that the index knows of the path.
#[must_use]
pub fn purged(rows: &[Row], actor: u32, commit: u64) -> Version {
    let mut seen = Version::default();
    for row in rows {
        seen.join(&row.version);
    }
    seen.successor(actor, commit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::SpacePath;
    use crate::record::{Mode, Sha1};
    use crate::stamp::Stamp;
    use crate::wants::MarkedBy;

    /// A row from `box content mtime version flags`, e.g. `1 A 5 a2b1 -`; flags: `-`, `a`bsent, `p`urged,
    /// `P`urged with the copy still here, `d`ir, `x` mode 0755.
    fn row(text: &str) -> Row {
        let words: Vec<&str> = text.split(' ').collect();
        let mut version = Version::default();
        for pair in words[3].as_bytes().chunks(2) {
            version.join(&Version::of(u32::from(pair[0]), u64::from(pair[1] - b'0')));
        }
        let flags = words[4];
        let dir = flags.contains('d');
        Row {
            box_id: BoxId(words[0].parse().unwrap()),
            ftype: if dir { Ftype::Dir } else { Ftype::File },
            present: !flags.contains(['a', 'p']),
            purged: flags.contains(['p', 'P']),
            size: 1,
            mtime: (words[2].parse().unwrap(), 0),
            mode: Mode(if flags.contains('x') { 0o755 } else { 0o644 }),
            sha1: (!dir).then(|| Sha1([words[1].as_bytes()[0]; 20])),
            commit: 4,
            version,
            stamp: Stamp::default(),
            vouch: None,
        }
    }

    fn intent(word: &str) -> Intent {
        let mark = Some(MarkedBy { path: SpacePath::root(), seen: 4 });
        match word {
            "policy" => Intent { wanted: true, mark: None },
            "want" => Intent { wanted: true, mark },
            "skip" => Intent { wanted: false, mark },
            "skip-early" => Intent { wanted: false, mark: Some(MarkedBy { path: SpacePath::root(), seen: 3 }) },
            _ => Intent { wanted: false, mark: None },
        }
    }

    /// The decision for box 1 and the box whose row it names.
    fn decided(rows: &[&str], want: &str) -> String {
        let rows: Vec<Row> = rows.iter().map(|r| row(r)).collect();
        // box 9 is forgotten
        match decide(&rows, BoxId(1), &intent(want), |id| id != BoxId(9)) {
            Decision::Nothing => "-".into(),
            Decision::Skipped => "skipped".into(),
            Decision::Fetch { head } => format!("fetch {}", head.box_id.0),
            Decision::Update { head } => format!("update {}", head.box_id.0),
            Decision::Touch { head } => format!("touch {}", head.box_id.0),
            Decision::Conflict { head } => format!("conflict {}", head.box_id.0),
            Decision::Purge { head } => format!("purge {}", head.box_id.0),
            Decision::Unwanted { head } => format!("unwanted {}", head.box_id.0),
        }
    }

    #[test]
    fn decisions() {
        let table: &[(&str, &[&str], &str, &str)] = &[
            ("nothing anywhere", &[], "policy", "-"),
            ("only here", &["1 A 1 a1 -"], "policy", "-"),
            ("wanted by policy", &["2 A 1 a1 -"], "policy", "fetch 2"),
            ("wanted by mark", &["2 A 1 a1 -"], "want", "fetch 2"),
            ("not wanted", &["2 A 1 a1 -"], "none", "-"),
            ("skipped", &["2 A 1 a1 -"], "skip", "skipped"),
            ("discarded here, wanted again", &["1 A 1 a1 a", "2 A 1 a1 -"], "want", "fetch 2"),
            ("nobody holds it: lost, not awaited", &["1 A 1 a1 a", "2 A 1 a1 a"], "policy", "-"),
            ("the newer version is lost, the older is there", &["2 A 1 a1 -", "3 B 2 a2 a"], "policy", "fetch 2"),
            ("only a forgotten box holds it", &["9 A 1 a1 -"], "policy", "-"),
            ("a forgotten box's purge stands", &["1 A 1 a1 -", "9 A 1 a2 p"], "policy", "purge 9"),
            ("newer elsewhere", &["1 A 1 a1 -", "2 B 1 a2 -"], "policy", "update 2"),
            ("newer elsewhere, not wanted: still updated", &["1 A 1 a1 -", "2 B 1 a2 -"], "none", "update 2"),
            ("older elsewhere", &["1 B 1 a2 -", "2 A 1 a1 -"], "policy", "-"),
            ("equal edits on both sides", &["1 A 1 a1 -", "2 A 1 b1 -"], "policy", "-"),
            ("concurrent, theirs is newer in time", &["1 A 1 a1 -", "2 B 2 b1 -"], "policy", "conflict 2"),
            ("concurrent, ours is newer in time", &["1 A 3 a1 -", "2 B 2 b1 -"], "policy", "-"),
            ("concurrent at the same time: the greater hash", &["1 A 2 a1 -", "2 B 2 b1 -"], "policy", "conflict 2"),
            ("equal vectors, other content", &["1 A 1 a1 -", "2 B 2 a1 -"], "policy", "conflict 2"),
            ("three concurrent", &["1 A 1 a1 -", "2 B 2 b1 -", "3 C 3 c1 -"], "policy", "conflict 3"),
            ("our older content was superseded by a loser", &["1 A 1 a1 -", "2 B 2 a1b1 -", "3 C 3 c1 -"], "policy", "update 3"),
            ("our content is that of a loser", &["1 B 2 b1 -", "2 B 2 a1b1 -", "3 C 3 c1 -"], "policy", "conflict 3"),
            ("solved: others follow", &["1 B 2 b1 -", "2 B 2 a1b1 -"], "policy", "-"),
            ("solved: then edited", &["1 B 2 b1 -", "2 C 3 a1b2 -"], "policy", "update 2"),
            ("chmod elsewhere", &["1 A 1 a1 -", "2 A 1 a2 x"], "policy", "touch 2"),
            ("concurrent chmod: modes follow the winner", &["1 A 1 a1 -", "2 A 1 b1 x"], "policy", "touch 2"),
            ("folders are alike", &["1 - 1 a1 d", "2 - 9 b1 d"], "policy", "-"),
            ("a folder wins over a file", &["1 A 9 a1 -", "2 - 1 b1 d"], "policy", "conflict 2"),
            ("a file became a folder", &["1 A 1 a1 -", "2 - 1 a2 d"], "policy", "update 2"),
            ("purged", &["1 A 1 a1 -", "2 A 1 a2 p"], "policy", "purge 2"),
            ("purged here, the copy is still here", &["1 A 1 a2 P"], "policy", "purge 1"),
            ("purged before it came", &["2 A 1 a2 p"], "policy", "-"),
            ("purged there, the other copy waits", &["2 A 1 a2 P"], "policy", "-"),
            ("an edit over a purge", &["1 B 1 a1b1 -", "2 A 1 a2 p"], "policy", "-"),
            ("an edit elsewhere over a purge here", &["1 A 1 a2 P", "2 B 1 a1b1 -"], "policy", "update 2"),
            ("resurrected after a purge", &["1 A 1 a2 p", "2 B 1 a2b1 -"], "policy", "fetch 2"),
            ("marked skip, still here", &["1 A 1 a1 -", "2 A 1 a1 -"], "skip", "unwanted 1"),
            ("put there after the mark", &["1 A 1 a1 -", "2 A 1 a1 -"], "skip-early", "-"),
            ("marked skip, but old: first the new version", &["1 A 1 a1 -", "2 B 1 a2 -"], "skip", "update 2"),
            ("marked skip, but a conflict", &["1 A 1 a1 -", "2 B 2 b1 -"], "skip", "conflict 2"),
            ("policy alone never removes", &["1 A 1 a1 -", "2 A 1 a1 -"], "none", "-"),
        ];
        for (what, rows, want, expected) in table {
            assert_eq!(decided(rows, want), *expected, "{what}");
            let mut reversed: Vec<&str> = rows.to_vec();
            reversed.reverse();
            assert_eq!(decided(&reversed, want), decided(rows, want), "{what}, in another order");
        }
    }

    #[test]
    fn an_edit_supersedes_every_version_of_the_content_that_it_changed() {
        let rows: Vec<Row> = ["1 A 1 a1 -", "2 A 1 b1 -", "3 B 1 c1 -"].iter().map(|r| row(r)).collect();
        let version = edited(&rows, BoxId(1), u32::from(b'a'), 7);
        assert!(version.includes(&rows[1].version) && !version.includes(&rows[2].version));
        assert_eq!(version.count(u32::from(b'a')), 7);
        assert_eq!(edited(&[], BoxId(1), 5, 1), Version::of(5, 1));
        let all = purged(&rows, u32::from(b'a'), 7);
        assert!(rows.iter().all(|r| r.version.relation(&all) == Relation::Older));
    }
}
