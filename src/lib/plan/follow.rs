//! Following a rename that another box made: the copy here moves to the new name, also when the new
//! name was renamed again, edited, or deleted there since. A rename removes no content.

use anyhow::Result;
use serde_json::json;

use super::{Group, Heads, Intent, Planner, Row, Verb, was};
use crate::path::SpacePath;
use crate::record::{Ftype, Sha1};
use crate::resolve::{Decision, decide};
use crate::version::Version;

/// Renames of renames that are followed at most: an index may hold a circle of them.
const HOPS: usize = 64;

/// Where a purge leaves this box's copy.
pub(super) enum Followed {
    /// It was purged by name.
    Purged,
    /// It belongs at this path, as this version of what is there.
    To(Group, Version),
    /// It was renamed to where this box has the same content already, or a newer version of it.
    There,
    /// It was renamed, and what became of it cannot be told: the last copy must not go for that.
    Unclear,
}

impl Planner<'_, '_, '_> {
    /// Follows the purge `purge` of `group` for the copy `own`.
    pub(super) fn follow(&self, group: &Group, purge: &Row, own: &Row) -> Result<Followed> {
        let (mut at, mut purge) = (group.path.clone(), purge.clone());
        let mut before = own.version.clone();
        for _ in 0..HOPS {
            let Some(moved) = self.full(&purge, &at)?.moved else { return Ok(Followed::Purged) };
            let target = self.index.group(&moved)?;
            let heads = Heads::of(&target.rows, |id| self.counts(id));
            match heads.winner() {
                Some(next) if next.purged && [own.content(), purge.content()].contains(&next.content()) => {
                    before = purge.version.beyond(&before).map_or_else(|| next.version.clone(), |dot| Version::of(dot.0, dot.1));
                    (at, purge) = (moved, next.clone());
                }
                winner => {
                    let version = belongs(&target, winner, &purge, &before, own);
                    let newer = version.as_ref().and_then(|version| winner.filter(|w| !w.purged && w.version.includes(version)));
                    let newer = newer.map(Row::content);
                    return Ok(self.settle_at(target, newer, version, own));
                }
            }
        }
        Ok(Followed::Unclear)
    }

    /// `version` is what `own` would be at `target`, and `newer` the content of a later version of it.
    fn settle_at(&self, target: Group, newer: Option<(Ftype, Option<Sha1>)>, version: Option<Version>, own: &Row) -> Followed {
        match (target.of(self.me).filter(|r| r.present), version) {
            (Some(there), _) if there.content() == own.content() => Followed::There,
            (Some(there), Some(_)) if Some(there.content()) == newer => Followed::There,
            (Some(_), _) | (None, None) => Followed::Unclear,
            (None, Some(version)) => Followed::To(target, version),
        }
    }

    /// Whether the plan moves something of this box to `group`.
    pub(super) fn moves_here(&self, path: &SpacePath) -> Result<bool> {
        let mut names = vec![path.clone()];
        let mut next = 0;
        while let Some(name) = names.get(next).cloned() {
            next += 1;
            for old in self.index.moved_to(&name)? {
                if names.contains(&old) || names.len() > HOPS {
                    continue;
                }
                if self.goes_to(&old, path)? {
                    return Ok(true);
                }
                names.push(old);
            }
        }
        Ok(false)
    }

    fn goes_to(&self, old: &SpacePath, path: &SpacePath) -> Result<bool> {
        let there = self.index.group(old)?;
        let Some(own) = there.of(self.me).filter(|r| r.present && r.ftype != Ftype::Dir) else { return Ok(false) };
        let intent = Intent { wanted: true, mark: None };
        let Decision::Purge { head } = decide(&there.rows, self.me, &intent, |id| self.counts(id)) else { return Ok(false) };
        Ok(matches!(self.follow(&there, head, own)?, Followed::To(target, _) if target.path == *path))
    }

    /// Plans the move of this box's copy at `group` to `target`.
    pub(super) fn move_to(&mut self, target: &Group, version: Version, group: &Group, purge: &Row, own: &Row) -> Result<()> {
        let boxes = &self.boxes;
        let heads = Heads::of(&target.rows, |id| boxes.counts(id));
        let winner = heads.winner().filter(|w| !w.purged && w.content() == own.content()).cloned();
        self.make_parents_of_move(&target.path)?;
        let mut action = match &winner {
            Some(winner) => self.action(Verb::Move, &target.path, winner)?,
            None => {
                let mut action = self.action(Verb::Move, &group.path, own)?;
                (action.path, action.version) = (target.path.clone(), version);
                action
            }
        };
        action.source = Some(group.path.clone());
        action.from = self.sources(target, own)?;
        action.extra.insert("source_version".to_owned(), json!(purge.version));
        action.extra.insert("source_have".to_owned(), json!(was(own)));
        self.lines.put(action)
    }
}

/// The version that `own` is at the path it was renamed to: that of the same content there, or, where
/// it was edited since, that of the rename itself, if what is there now descends from it. Where it was edited before
/// the rename, it is an older version of what was renamed: the purge knew of it.
fn belongs(target: &Group, winner: Option<&Row>, purge: &Row, before: &Version, own: &Row) -> Option<Version> {
    let same = target.rows.iter().filter(|r| !r.purged && r.content() == own.content()).max_by_key(|r| (r.present, r.stamp));
    if let Some(same) = same {
        return Some(same.version.clone());
    }
    let winner = winner.filter(|w| !w.purged)?;
    let dot = purge.version.beyond(before);
    let descends = dot.is_some_and(|dot| winner.version.count(dot.0) >= dot.1);
    if purge.content() == own.content() {
        return dot.filter(|_| descends).map(|dot| Version::of(dot.0, dot.1));
    }
    let is_older = winner.version.includes(&own.version) && winner.version != own.version;
    // the empty version is older than any
    let version = if is_older { own.version.clone() } else { Version::default() };
    (descends || purge.content() == winner.content()).then_some(version)
}
