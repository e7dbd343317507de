//! Putting staged content in its place: by a rename that replaces nothing, or by one that exchanges
//! two names. What comes out of an exchange is looked at before it is given up (design section 10.1).

use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};

use super::batch::{Content, Slot};
use super::examine::{Seen, is_known};
use super::names::numbered_name;
use super::recover::hash_slot;
use super::shelf::set_attributes;
use super::{Fact, Run};
use crate::boxfs::{Kind, Stat, shown};
use crate::hash::{Hashed, hash_path};
use crate::path::{SpacePath, escape};
use crate::record::{Action, Attrs, Ftype, Mode, Verb, Was};
use crate::version::Version;

/// How often a destination that keeps changing is looked at again.
const TRIES: u32 = 3;

impl Run<'_> {
    /// Puts the content of a step in its place, and returns what is to be recorded.
    pub(super) fn install(&mut self, slot: Slot) -> Result<Vec<Fact>> {
        let Slot { mut action, seen, content, before: mut facts } = slot;
        if action.ftype == Ftype::Dir {
            return self.move_folder(&action);
        }
        let mut staged = match &content {
            Content::Staged(path) => Some(path.clone()),
            _ => None,
        };
        let (planned, own_mode) = (action.mode, self.own_mode(&action));
        if let Some(mode) = own_mode {
            self.report.notice(&format!("{}: mode {:04o} was not committed: it stays", action.path, mode.0));
            Arc::make_mut(&mut action).mode = mode;
        }
        // at no instant may others read what the user has closed to them
        let closed = match (own_mode, &staged) {
            (Some(mode), Some(path)) => self.root.chmod(path, mode),
            _ => Ok(()),
        };
        let result = closed.map_err(Into::into).and_then(|()| self.install_file(&action, seen, &content, &mut staged));
        if let Some(path) = &staged {
            self.staging.release(path);
            self.not_installed(&action, path, result.is_err())?;
        }
        let mut told = result?;
        if own_mode.is_some() {
            // so it still differs, and the next commit finds it
            told.iter_mut().filter(|fact| fact.present && fact.path == action.path).for_each(|fact| fact.attrs.mode = planned);
        }
        facts.retain(|fact| told.iter().all(|other| other.path != fact.path));
        facts.append(&mut told);
        Ok(facts)
    }

    /// The mode that a file has because somebody changed it here since the last commit: an edit of this box that newer
    /// content from elsewhere does not undo.
    fn own_mode(&self, action: &Action) -> Option<Mode> {
        let (places, had) = match action.action {
            Verb::Replace | Verb::Touch => ([Some(&action.path), None], action.have.clone()),
            Verb::Move => {
                let had = action.extra.get("source_have").and_then(|had| serde_json::from_value(had.clone()).ok());
                // an interrupted run may have moved it
                ([action.source.as_ref(), Some(&action.path)], had)
            }
            _ => return None,
        };
        let had: Was = had.filter(|had: &Was| (had.ftype, action.ftype) == (Ftype::File, Ftype::File))?;
        let (place, there) = places.into_iter().flatten().find_map(|path| Some((path, self.root.lstat(path).ok()?)))?;
        let modes = there.kind == Kind::File && self.root.traits().is_none_or(|traits| traits.modes);
        if !modes || there.mode == had.mode || there.mode == action.mode {
            return None;
        }
        // of two that change places, the other one may be there by now
        let is_it = action.action != Verb::Move || self.is_source_right(action, place).is_ok_and(|hashed| hashed.is_some());
        is_it.then_some(there.mode)
    }

    /// What is staged and was not put in place stays for the next run after a failure, but what was
    /// moved out goes back, and a symlink is made anew. `failed` is false where the place has it already.
    fn not_installed(&mut self, action: &Action, path: &SpacePath, failed: bool) -> Result<()> {
        if action.ftype == Ftype::Symlink || !failed {
            return Ok(self.root.unlink(path)?);
        }
        if let (Verb::Move, Some(source)) = (action.action, &action.source)
            && self.vacated.remove(source)
        {
            self.root.rename_noreplace(path, source)?;
        }
        Ok(())
    }

    fn install_file(
        &mut self,
        action: &Action,
        mut seen: Seen,
        content: &Content,
        staged: &mut Option<SpacePath>,
    ) -> Result<Vec<Fact>> {
        for attempt in 0..TRIES {
            let was_there = matches!(seen, Seen::Other(_) | Seen::Unread);
            // where nothing was, a rename that replaces nothing is the second look
            if attempt > 0 || !matches!((&seen, content), (Seen::Nothing, Content::Staged(_))) {
                seen = self.examine_again(action, seen)?;
            }
            if matches!(seen, Seen::Wanted(_)) {
                return self.adopted(action);
            }
            if was_there && matches!(seen, Seen::Deleted) && !self.is_source(&action.path) {
                bail!("deleted here while it was replaced: left alone");
            }
            if matches!(content, Content::Move) && staged.is_none() {
                if !matches!(seen, Seen::Other(_) | Seen::EmptyFolder)
                    && let Some(facts) = self.move_directly(action)?
                {
                    return Ok(facts);
                }
                *staged = Some(self.move_out(action)?);
            }
            let from = staged.clone().context("nothing staged")?;
            if let Some(facts) = self.put(action, &seen, &from, staged)? {
                return Ok(facts);
            }
        }
        bail!("changes while it is replaced")
    }

    /// One try at putting `from` in its place. `None`: somebody else was there first.
    pub(super) fn put(
        &mut self,
        action: &Action,
        seen: &Seen,
        from: &SpacePath,
        staged: &mut Option<SpacePath>,
    ) -> Result<Option<Vec<Fact>>> {
        let mut facts;
        match seen {
            Seen::Other(hashed) => {
                let slot = self.staging.slot("x-", action.sha1.context("content has a sha1")?, &action.path)?;
                self.root.rename_noreplace(from, &slot)?;
                if let Err(e) = self.root.rename_exchange(&slot, &action.path) {
                    self.root.rename_noreplace(&slot, from)?;
                    return if e.kind() == ErrorKind::NotFound { Ok(None) } else { Err(e.into()) };
                }
                self.gone_from(staged);
                facts = self.dispose(&slot, action, Some(hashed))?;
            }
            _ => {
                if matches!(seen, Seen::EmptyFolder) {
                    self.root.rmdir(&action.path)?;
                }
                match self.root.rename_noreplace(from, &action.path) {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
                    renamed => renamed?,
                }
                self.gone_from(staged);
                facts = self.kept_before(action)?;
            }
        }
        facts.append(&mut self.arrived(action)?);
        Ok(Some(facts))
    }

    fn gone_from(&mut self, staged: &mut Option<SpacePath>) {
        if let Some(path) = staged.take() {
            self.staging.gone(&path);
        }
    }

    /// The wanted content is there already: an interrupted run put it there, or the user did.
    fn adopted(&mut self, action: &Action) -> Result<Vec<Fact>> {
        self.finish_link(action)?;
        let mut facts = self.kept_before(action)?;
        facts.append(&mut self.arrived(action)?);
        Ok(facts)
    }

    /// Where a rename is a link and then an unlink, the second half may be due yet.
    fn finish_link(&self, action: &Action) -> Result<()> {
        let put = self.root.lstat(&action.path)?;
        let source = action.source.clone().filter(|_| action.action == Verb::Move);
        let staged = action.sha1.map(|sha1| self.staging.at(&sha1.to_string())).transpose()?;
        for old in [source, staged].into_iter().flatten() {
            if put.nlink > 1 && self.root.look(&old)?.is_some_and(|s| (s.dev, s.ino) == (put.dev, put.ino)) {
                self.root.unlink(&old)?;
            }
        }
        Ok(())
    }

    /// What is to be recorded when a step's content is in its place.
    fn arrived(&mut self, action: &Action) -> Result<Vec<Fact>> {
        let (stat, refused) = set_attributes(self.root, &action.path, action)?;
        let mut facts = self.settle_displaced(action)?;
        if let (Verb::Move, Some(source)) = (action.action, &action.source)
            && self.needs.get(source).is_none_or(|need| !need.refilled)
            && self.root.look(source)?.is_none()
        {
            facts.push(left_behind(action, source));
        }
        facts.push(self.as_it_is(action, stat, refused));
        self.used(action);
        Ok(facts)
    }

    /// What is to be recorded of a step's path: with the mode that it has, where that is not the one it
    /// should have, or the difference would look like an edit of this box.
    pub(super) fn as_it_is(&mut self, action: &Action, stat: Stat, refused: bool) -> Fact {
        let mut fact = Fact::of(action, Some(stat));
        if action.edit {
            let commit = self.commit + 1;
            (fact.version, fact.commit) = (fact.version.successor(self.actor, commit), Some(commit));
        }
        let modes = action.ftype != Ftype::Symlink && self.root.traits().is_none_or(|traits| traits.modes);
        if modes && stat.mode != action.mode {
            fact.attrs.mode = stat.mode;
            if refused {
                let (is, wanted) = (stat.mode.0, action.mode.0);
                self.fail(&action.path, &anyhow!("may not be given the mode {wanted:04o}: it has {is:04o}"));
            }
        }
        fact
    }

    /// Decides what becomes of what an interrupted run displaced for this step, and did not look at.
    pub(super) fn settle_displaced(&mut self, action: &Action) -> Result<Vec<Fact>> {
        let mut facts = Vec::new();
        for slot in self.displaced.remove(&action.path).unwrap_or_default() {
            facts.append(&mut self.dispose(&slot, action, None)?);
        }
        Ok(facts)
    }

    /// Counts down who needs the source of a copy or move.
    fn used(&mut self, action: &Action) {
        if let Some(sha1) = action.sha1
            && self.needed.contains(&sha1)
        {
            self.have_at.insert(sha1, action.path.clone());
        }
        self.needs_no_more(action);
    }

    /// A step has what it needs of its source: in its place, or staged, where the next run would find it.
    pub(super) fn needs_no_more(&mut self, action: &Action) {
        if let Some(need) = action.source.as_ref().and_then(|source| self.needs.get_mut(source))
            && self.served.insert(action.path.clone())
        {
            need.uses = need.uses.saturating_sub(1);
        }
    }

    /// Decides what becomes of content that came out of a place: known content goes, unless a later
    /// step needs it; anything else is kept under a name of its own.
    fn dispose(&mut self, slot: &SpacePath, action: &Action, seen: Option<&Hashed>) -> Result<Vec<Fact>> {
        let stat = self.root.lstat(slot)?;
        if !matches!(stat.kind, Kind::File | Kind::Symlink) {
            // it came there in the last instant; back with it
            self.root.rename_exchange(slot, &action.path)?;
            bail!("something else is in the way");
        }
        let out = match seen {
            Some(hashed) if !hashed.racy && stat.same_but_ctime(&hashed.stat) => Hashed { stat, ..hashed.clone() },
            _ => hash_slot(self.root, slot)?,
        };
        let known = is_known(&out, action.have.as_ref());
        if let (Verb::Conflict, Some(keep)) = (action.action, action.keep.as_ref().filter(|_| known)) {
            return Ok(vec![self.keep(slot, keep, &action.path, &out)?]);
        }
        if known {
            self.drop_displaced(slot, &action.path, &out)?;
            return Ok(Vec::new());
        }
        let name = numbered_name(&action.path, out.stat.mtime, out.sha1, 0);
        self.report.notice(&format!("{}: was not committed: kept as {name}", action.path));
        Ok(vec![self.keep(slot, &name, &action.path, &out)?])
    }

    /// Gives up displaced content that the index describes, or keeps it for the step that needs it.
    pub(super) fn drop_displaced(&mut self, slot: &SpacePath, from: &SpacePath, out: &Hashed) -> Result<()> {
        let needed = self.needs.get(from).is_some_and(|need| need.uses > 0 && need.sha1 == Some(out.sha1));
        if needed && out.stat.kind == Kind::File {
            let kept = self.staging.at(&format!("d-{}", out.sha1))?;
            self.staging.note(&kept, from)?;
            self.staging.expect(&kept);
            self.set_aside.push(kept.clone());
            match self.root.rename_noreplace(slot, &kept) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                done => return Ok(done?),
            }
        }
        Ok(self.root.unlink(slot)?)
    }

    /// Moves content to `name`, or to a numbered name where that is taken by other content.
    pub(super) fn keep(&mut self, slot: &SpacePath, name: &SpacePath, path: &SpacePath, out: &Hashed) -> Result<Fact> {
        let mut name = name.clone();
        for number in 1..100 {
            match self.root.rename_noreplace(slot, &name) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                renamed => {
                    renamed?;
                    return self.kept(&name, out);
                }
            }
            if let Ok(there) = hash_path(self.root, &name)
                && (there.stat.kind, there.sha1) == (out.stat.kind, out.sha1)
            {
                self.root.unlink(slot)?;
                return self.kept(&name, &there);
            }
            name = numbered_name(path, out.stat.mtime, out.sha1, number);
        }
        bail!("no free name to keep it under: it is {}", shown(slot))
    }

    /// The entry of what was kept: an edit of this box.
    fn kept(&self, name: &SpacePath, hashed: &Hashed) -> Result<Fact> {
        let stat = self.root.lstat(name)?;
        let symlink = stat.kind == Kind::Symlink;
        let target = if symlink { Some(escape(&self.root.readlink(name)?)) } else { None };
        let attrs = Attrs {
            ftype: if symlink { Ftype::Symlink } else { Ftype::File },
            size: stat.size,
            mtime: stat.mtime,
            mtime_nsec: stat.mtime_nsec,
            mode: stat.mode,
            sha1: Some(hashed.sha1),
            mime: hashed.mime.clone(),
            target,
        };
        let commit = self.commit + 1;
        Ok(Fact {
            path: name.clone(),
            attrs,
            present: true,
            purged: false,
            moved: None,
            commit: Some(commit),
            version: Version::of(self.actor, commit),
            stat: Some(stat),
        })
    }

    /// The own edit of a conflict that an interrupted run had kept, and not told of.
    pub(super) fn kept_before(&self, action: &Action) -> Result<Vec<Fact>> {
        let Some(keep) = action.keep.as_ref().filter(|_| action.action == Verb::Conflict) else { return Ok(Vec::new()) };
        let there = self.root.look(keep)?.is_some_and(|s| matches!(s.kind, Kind::File | Kind::Symlink));
        let hashed = if there { Some(hash_path(self.root, keep)?) } else { None };
        match hashed.filter(|h| is_known(h, action.have.as_ref())) {
            Some(hashed) => Ok(vec![self.kept(keep, &hashed)?]),
            None => Ok(Vec::new()),
        }
    }

    /// Moves a file to a place where nothing is. `None`: its source is not what the index says.
    fn move_directly(&mut self, action: &Action) -> Result<Option<Vec<Fact>>> {
        let source = action.source.clone().context("a move has a source")?;
        let Some(hashed) = self.is_source_right(action, &source)? else { return Ok(None) };
        if self.needs.get(&source).is_some_and(|need| need.uses > 1) {
            // others copy from it, and find it at its new place
            self.have_at.insert(hashed.sha1, action.path.clone());
        }
        self.rename_verified(&source, &action.path, &hashed)?;
        self.vacated.insert(source);
        self.arrived(action).map(Some)
    }

    /// Moves the source of a move into the staging folder, for its place is taken.
    fn move_out(&mut self, action: &Action) -> Result<SpacePath> {
        if action.ftype == Ftype::Symlink {
            return self.staging.symlink(action);
        }
        let source = action.source.clone().context("a move has a source")?;
        if let Some(hashed) = self.is_source_right(action, &source)? {
            let out = self.staging.at(&format!("d-{}", hashed.sha1))?;
            if self.root.look(&out)?.is_some() {
                self.root.unlink(&out)?;
            }
            self.staging.note(&out, &source)?;
            self.staging.expect(&out);
            self.rename_verified(&source, &out, &hashed)?;
            self.vacated.insert(source);
            self.set_aside.push(out.clone());
            return self.staging.ready(out, action);
        }
        match self.obtain_again(action)? {
            Content::Staged(path) => {
                self.root.sync()?;
                Ok(path)
            }
            _ => bail!("{source} is not what the index says"),
        }
    }

    /// A move whose source was displaced: what was staged of it, or put elsewhere.
    fn obtain_again(&mut self, action: &Action) -> Result<Content> {
        let copy = Action { action: Verb::Copy, ..action.clone() };
        self.obtain(&copy)
    }

    fn rename_verified(&self, from: &SpacePath, to: &SpacePath, hashed: &Hashed) -> Result<()> {
        self.root.rename_noreplace(from, to)?;
        let same = self.root.lstat(to)?.same_but_ctime(&hashed.stat);
        if !same || (hashed.racy && hash_path(self.root, to)?.sha1 != hashed.sha1) {
            self.root.rename_noreplace(to, from)?;
            bail!("{from} changed while it was moved");
        }
        Ok(())
    }

    /// Moves a folder with all that is in it to a place where nothing is.
    fn move_folder(&mut self, action: &Action) -> Result<Vec<Fact>> {
        let source = action.source.clone().context("a move has a source")?;
        match (self.root.look(&source)?.map(|s| s.kind), self.root.look(&action.path)?.map(|s| s.kind)) {
            (Some(Kind::Dir), None) => {
                self.root.rename_noreplace(&source, &action.path)?;
                self.vacated.insert(source.clone());
            }
            (None, Some(Kind::Dir)) => {}
            (Some(_), Some(_)) => bail!("something is in the way of {source}"),
            _ => bail!("{source} is not there"),
        }
        let stat = self.root.lstat(&action.path)?;
        self.used(action);
        Ok(vec![left_behind(action, &source), Fact::of(action, Some(stat))])
    }
}

/// The old path of a move, purged: that is how other boxes learn of the rename.
fn left_behind(action: &Action, source: &SpacePath) -> Fact {
    let version = action.extra.get("source_version").and_then(|v| serde_json::from_value(v.clone()).ok());
    Fact {
        path: source.clone(),
        purged: true,
        moved: Some(action.path.clone()),
        version: version.unwrap_or_else(|| action.version.clone()),
        ..Fact::of(action, None)
    }
}
