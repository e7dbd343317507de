//! The plan as a whole, read to its end before anything is touched: a plan cut short must not be
//! carried out in part, and some dangers show only in the sum.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};

use super::Bounds;
use crate::boxfs::{BoxRoot, STAGING, is_own};
use crate::path::SpacePath;
use crate::record::{Action, ActionTag, Ftype, Sha1, Verb};
use crate::stream::{ErrorRecord, Line, Reader};

/// A pull that would remove more files than this, and more than half, asks first (design section 10.3).
const MANY: u64 = 20;
/// Bytes of it that are read at a time.
const READ: usize = 64 << 10;

/// A file of this box that later steps take content from.
pub(super) struct Need {
    /// Its content.
    pub(super) sha1: Option<Sha1>,
    /// Steps that still need it.
    pub(super) uses: u32,
    /// Whether a step puts something else there.
    pub(super) refilled: bool,
}

/// All actions, spooled.
pub(super) struct Plan {
    spool: File,
    /// What was last read of it, and where that begins.
    read: RefCell<(u64, Vec<u8>)>,
    /// Where each action of each pass begins; 8 bytes a step.
    pub(super) forward: Vec<u64>,
    pub(super) removes: Vec<u64>,
    /// Records of other types, to be passed on.
    pub(super) foreign: Vec<u64>,
    pub(super) needs: HashMap<SpacePath, Need>,
    /// Contents that more than one step brings.
    pub(super) twice: HashSet<Sha1>,
    /// The beginnings of the hashes that were seen: 8 bytes a step.
    seen: HashSet<u64>,
    /// Bytes to come, and the files that they are in.
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// What the planner could not read; passed on.
    pub(super) errors: Vec<ErrorRecord>,
    /// Actions that are not carried out, whatever the others are.
    pub(super) bad: Vec<ErrorRecord>,
    files_removed: u64,
    last_copies: u64,
}

impl Plan {
    /// Reads and checks all actions for the box `box_name`; `see` gets those that bring something.
    pub(super) fn load<R: BufRead>(
        root: &BoxRoot,
        box_name: &str,
        input: R,
        spool: File,
        see: &mut dyn FnMut(&Action),
    ) -> Result<Self> {
        let mut plan = Self {
            spool,
            read: RefCell::default(),
            forward: Vec::new(),
            removes: Vec::new(),
            foreign: Vec::new(),
            needs: HashMap::new(),
            twice: HashSet::new(),
            seen: HashSet::new(),
            bytes: 0,
            files: 0,
            errors: Vec::new(),
            bad: Vec::new(),
            files_removed: 0,
            last_copies: 0,
        };
        let mut input = Reader::new(input);
        let mut there = There::new(root)?;
        let mut offset = 0;
        let mut writer = BufWriter::new(plan.spool.try_clone()?);
        while let Some(line) = input.next_line()? {
            match line {
                Line::Record { kind, json } if kind == "action" => {
                    let action = match read(json, box_name)? {
                        Ok(action) => action,
                        Err(bad) => {
                            plan.bad.push(bad);
                            continue;
                        }
                    };
                    writer.write_all(json.as_bytes())?;
                    writer.write_all(b"\n")?;
                    if matches!(action.action, Verb::Fetch | Verb::Replace | Verb::Conflict) {
                        see(&action);
                    }
                    plan.count(&mut there, &action, offset);
                    offset += json.len() as u64 + 1;
                }
                Line::Error(error) => plan.errors.push(error),
                Line::Record { json, .. } => {
                    writer.write_all(json.as_bytes())?;
                    writer.write_all(b"\n")?;
                    plan.foreign.push(offset);
                    offset += json.len() as u64 + 1;
                }
            }
        }
        writer.flush()?;
        plan.seen = HashSet::new();
        if !plan.needs.is_empty() {
            for at in 0..plan.forward.len() {
                let path = plan.action(plan.forward[at])?.path;
                if let Some(need) = plan.needs.get_mut(&path) {
                    need.refilled = true;
                }
            }
        }
        Ok(plan)
    }

    fn count(&mut self, there: &mut There<'_>, action: &Action, offset: u64) {
        if action.action == Verb::Remove {
            self.removes.push(offset);
            if action.ftype != Ftype::Dir {
                self.files_removed += 1;
                self.last_copies += u64::from(action.from.is_empty());
            }
            return;
        }
        self.forward.push(offset);
        if let (Some(source), true) = (&action.source, matches!(action.action, Verb::Copy | Verb::Move | Verb::Replace)) {
            let need = Need { sha1: action.sha1, uses: 0, refilled: false };
            self.needs.entry(source.clone()).or_insert(need).uses += 1;
        }
        if matches!(action.action, Verb::Fetch | Verb::Copy | Verb::Replace | Verb::Conflict) && action.ftype == Ftype::File {
            self.bytes = self.bytes.saturating_add(there.still_comes(action));
            self.files += 1;
            if let Some(sha1) = action.sha1
                && !self.seen.insert(u64::from_be_bytes(std::array::from_fn(|at| sha1.0[at])))
            {
                self.twice.insert(sha1);
            }
        }
    }

    /// Stops a plan that would remove most of the box, or that does not fit.
    pub(super) fn guard(&self, root: &BoxRoot, bounds: &Bounds<'_>) -> Result<()> {
        let (files, last) = (self.files_removed, self.last_copies);
        if !bounds.gone_ok && files > MANY {
            let all = (bounds.total_files)()?;
            ensure!(
                files <= all / 2,
                "would remove {files} of {all} files, {last} of them last copies: nothing done; `--gone-ok` does it"
            );
        }
        let free = root.free()?;
        if self.bytes > 0 && self.bytes > free.saturating_sub(bounds.reserve) {
            let folder = root.path().display();
            bail!("{folder}: needs {} bytes, {free} free (reserve {})", self.bytes, bounds.reserve);
        }
        Ok(())
    }

    /// The action at `offset`.
    pub(super) fn action(&self, offset: u64) -> Result<Action> {
        Ok(serde_json::from_slice(&self.line(offset)?)?)
    }

    /// The record at `offset`, as it came.
    pub(super) fn line(&self, offset: u64) -> Result<Vec<u8>> {
        let (begin, bytes) = &mut *self.read.borrow_mut();
        let line_at = |begin: u64, bytes: &[u8]| {
            let from = bytes.get(usize::try_from(offset.checked_sub(begin)?).ok()?..)?;
            from.iter().position(|&byte| byte == b'\n').map(|end| from[..end].to_vec())
        };
        let mut room = READ;
        loop {
            if let Some(line) = line_at(*begin, bytes) {
                return Ok(line);
            }
            bytes.resize(room, 0);
            let read = self.spool.read_at(bytes, offset)?;
            bytes.truncate(read);
            *begin = offset;
            ensure!(read == room || bytes.contains(&b'\n'), "the plan is cut short");
            room *= 2;
        }
    }
}

/// What is in the box before anything is done.
struct There<'a> {
    root: &'a BoxRoot,
    /// The names in the staging folder.
    staged: HashSet<Vec<u8>>,
    /// A folder that is not there: nor is anything below it.
    missing: Option<SpacePath>,
}

impl<'a> There<'a> {
    fn new(root: &'a BoxRoot) -> Result<Self> {
        let folder = SpacePath::from_relative(STAGING.as_bytes())?;
        // what cannot be read is told by those who need it
        let staged = root.names(&folder).unwrap_or_default().into_iter().collect();
        Ok(Self { root, staged, missing: None })
    }

    /// What an action still brings in: not what an interrupted run installed or staged already.
    fn still_comes(&mut self, action: &Action) -> u64 {
        let moves_in = action.have.as_ref().is_none_or(|have| have.size != action.size);
        if moves_in && self.size(&action.path) == Some(action.size) {
            return 0;
        }
        let staged = action.sha1.map(|sha1| sha1.to_string()).filter(|name| self.staged.contains(name.as_bytes()));
        let staged = staged.and_then(|name| SpacePath::from_relative(format!("{STAGING}/{name}").as_bytes()).ok());
        let staged = staged.and_then(|path| self.size(&path)).unwrap_or(0);
        action.size.saturating_sub(staged)
    }

    fn size(&mut self, path: &SpacePath) -> Option<u64> {
        if self.missing.as_ref().is_some_and(|missing| path.is_within(missing)) {
            return None;
        }
        match self.root.look(path) {
            Ok(Some(stat)) => return Some(stat.size),
            Ok(None) if !self.root.has_folder_of(path).unwrap_or(true) => self.missing = path.parent(),
            _ => {}
        }
        None
    }
}

/// Reads an action. One that is bad, as a hostile entry may make it, is an error of its path alone.
///
/// # Errors
/// It is damaged, or for another box: then nor are the others to be trusted.
fn read(json: &str, box_name: &str) -> Result<Result<Action, ErrorRecord>> {
    let action = serde_json::from_str::<Action>(json);
    let (path, meant) = match &action {
        Ok(action) => (action.path.spelled(), action.box_name.clone()),
        Err(_) => {
            let value: serde_json::Value = serde_json::from_str(json).context("not an action")?;
            let field = |name: &str| value.get(name).and_then(|v| v.as_str()).map(str::to_owned);
            (field("path").unwrap_or_else(|| "(no path)".to_owned()), field("box").unwrap_or_default())
        }
    };
    ensure!(meant == box_name, "{path}: an action for the box {meant}, and this is {box_name}");
    let checked = action.map_err(anyhow::Error::from).and_then(|action| check(&action).map(|()| action));
    Ok(checked.map_err(|e| ErrorRecord { path, error: format!("not carried out: {e:#}") }))
}

/// Refuses what touches what is ltr's own.
fn check(action: &Action) -> Result<()> {
    action.check()?;
    ensure!(action.kind == ActionTag::Action, "already done");
    for path in [Some(&action.path), action.source.as_ref(), action.keep.as_ref()].into_iter().flatten() {
        ensure!(!is_own(path) && !path.is_root(), "{path} is not for actions");
    }
    if action.action == Verb::Mkdir {
        ensure!(action.ftype == Ftype::Dir, "mkdir makes folders");
    }
    if matches!(action.action, Verb::Fetch | Verb::Copy | Verb::Link) {
        ensure!(action.ftype != Ftype::Dir, "a folder has no content");
    }
    ensure!(action.action != Verb::Link || action.ftype == Ftype::Symlink, "link makes symlinks");
    Ok(())
}
