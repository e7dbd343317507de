//! The walk of a plan over the paths of a space: all of them, or those at which there may be something to do;
//! and the folders above them, which are made when something in them is wanted.

use anyhow::Result;

use super::{Group, Heads, Planner, Row, Verb};
use crate::index::settled::MOST;
use crate::index::sqlite::Sqlite;
use crate::path::SpacePath;
use crate::record::Ftype;

/// Paths that are planned on one look at the index. For all of them on one, the log of whoever writes meanwhile
/// would grow with the plan.
const AT_ONCE: usize = 2048;

impl Planner<'_, '_, '_> {
    /// Plans all that was asked for; where `known` is given, there is nothing to do but at these paths.
    pub(super) fn walk(&mut self, known: Option<&[SpacePath]>) -> Result<()> {
        let mut starts = self.request.under.clone();
        if starts.is_empty() {
            starts.push(SpacePath::root());
        }
        starts.sort();
        for (at, start) in starts.iter().enumerate() {
            if starts[..at].iter().any(|outer| start.is_within(outer)) {
                continue;
            }
            match known {
                Some(paths) => self.only(&paths.iter().filter(|path| path.is_within(start)).collect::<Vec<_>>())?,
                None => self.all_below(start)?,
            }
        }
        Ok(())
    }

    fn all_below(&mut self, start: &SpacePath) -> Result<()> {
        self.parents_of(start)?;
        let index = self.index;
        let mut groups = index.groups(start);
        let mut some = |_: &Sqlite| -> Result<bool> {
            for _ in 0..AT_ONCE {
                let Some(group) = groups.next()? else { return Ok(false) };
                self.at(&group)?;
            }
            Ok(true)
        };
        while index.at_once(&mut some)? {}
        Ok(())
    }

    /// What is at these paths, with those between them passed over.
    fn only(&mut self, paths: &[&SpacePath]) -> Result<()> {
        for some in paths.chunks(AT_ONCE) {
            self.index.at_once(|index| {
                some.iter().try_for_each(|path| {
                    self.parents.clear();
                    self.parents_of(path)?;
                    self.at(&index.group(path)?)
                })
            })?;
        }
        Ok(())
    }

    pub(super) fn note_unsettled(&mut self, path: &SpacePath) {
        match &mut self.unsettled {
            Some(paths) if paths.len() < MOST => paths.push(path.clone()),
            _ => self.unsettled = None,
        }
    }

    /// A folder that is not wanted for itself may yet be needed for what is in it.
    pub(super) fn remember_folder(&mut self, group: &Group, own: Option<&Row>) -> Result<()> {
        if own.is_none()
            && let Some(head) = Heads::of(&group.rows, |id| self.counts(id)).winner()
            && head.ftype == Ftype::Dir
        {
            self.parents.push((group.path.clone(), head.clone()));
        }
        Ok(())
    }

    /// The folders above the place where a partial plan begins.
    fn parents_of(&mut self, start: &SpacePath) -> Result<()> {
        let mut above = Vec::new();
        let mut folder = start.parent();
        while let Some(path) = folder.filter(|p| !p.is_root()) {
            folder = path.parent();
            above.push(path);
        }
        for path in above.into_iter().rev() {
            let group = self.index.group(&path)?;
            self.remember_folder(&group, group.of(self.me).filter(|r| r.present))?;
        }
        Ok(())
    }

    pub(super) fn make_parents(&mut self) -> Result<()> {
        for (path, head) in std::mem::take(&mut self.parents) {
            if self.made.insert(path.clone()) {
                let action = self.action(Verb::Mkdir, &path, &head)?;
                self.lines.put(action)?;
            }
        }
        Ok(())
    }

    /// The folders that a move needs, which may stand later in the plan or not be wanted at all.
    pub(super) fn make_parents_of_move(&mut self, target: &SpacePath) -> Result<()> {
        let parents = std::mem::take(&mut self.parents);
        self.parents_of(target)?;
        self.make_parents()?;
        self.parents = parents;
        Ok(())
    }
}
