//! Reading an index in path order: at each path, what every box has there.
//!
//! Rows rest by folder and name, so path order is a depth-first walk over the folders. Reads are short
//! pages, not one long snapshot: a reader that holds its snapshot lets the log of a concurrent commit
//! grow by hundreds of megabytes. A page that is overtaken by a writer costs nothing worse than a plan
//! that its executor finds out of date.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::LazyLock;

use anyhow::Result;
use rusqlite::{OptionalExtension, Row as SqlRow, params};

use super::columns::{MARK_COLUMNS, ftype_number, mark_of};
use super::page::{Page, ROW_COLUMNS, row_of};
pub use super::row::{Group, Looks, Row, Vouch};
use super::sqlite::{BoxId, Boxes, Sqlite};
use crate::path::{SEPARATOR, SpacePath, key_is_within};
use crate::record::{Attrs, Fields, Ftype, Mark};
use crate::wants::Wants;

/// Rows read at once.
const PAGE: usize = 1024;

/// Reads groups in path order.
#[derive(Debug)]
pub struct Groups<'a> {
    index: &'a Sqlite,
    under: SpacePath,
    /// Folders that are open, outermost first.
    stack: Vec<Frame>,
    /// Folders to come, in path order.
    folders: VecDeque<(i64, Vec<u8>)>,
    last_folder: Option<Vec<u8>>,
    no_more_folders: bool,
    /// The memory of a page that is done with: to ask for it anew in each folder took a tenth of a reading.
    spare: Page,
    /// Finds the names in a folder that are worth reading, see [`Groups::only_scarce`].
    scarce: Option<String>,
    /// Finds the rows of a folder.
    rows: String,
}

/// One open folder.
#[derive(Debug)]
struct Frame {
    id: i64,
    path: SpacePath,
    page: Page,
    /// How many paths of the page come before the next folder, whose number is the first of the pair.
    clear: (i64, usize),
    after: Vec<u8>,
    complete: bool,
}

impl Sqlite {
    /// All groups at or below `under`, in path order.
    #[must_use]
    pub fn groups(&self, under: &SpacePath) -> Groups<'_> {
        Groups {
            index: self,
            under: under.clone(),
            stack: Vec::new(),
            folders: VecDeque::new(),
            last_folder: None,
            no_more_folders: false,
            spare: Page::default(),
            scarce: None,
            rows: rows_of(ROW_COLUMNS, ""),
        }
    }

    /// The groups directly in `folder`, in path order.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn groups_in(&self, folder: &SpacePath) -> Result<Groups<'_>> {
        let mut groups = self.groups(folder);
        groups.no_more_folders = true;
        let sql = "SELECT id FROM folders WHERE key = ?1";
        let id = self.connection.prepare_cached(sql)?.query_row([folder.key()], |r| r.get(0)).optional()?;
        if let Some(id) = id {
            groups.stack.push(Frame::new(id, folder.clone()));
        }
        Ok(groups)
    }

    /// What every box has at `path`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn group(&self, path: &SpacePath) -> Result<Group> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "SELECT {ROW_COLUMNS} FROM entries WHERE folder = (SELECT id FROM folders WHERE key = ?1) AND name = ?2 ORDER BY box"
            )
        });
        let mut rows = Vec::new();
        if let Some(parent) = path.parent() {
            let mut statement = self.connection.prepare_cached(&SQL)?;
            let mut found = statement.query(params![parent.key(), path.name()])?;
            while let Some(row) = found.next()? {
                rows.push(row_of(row)?);
            }
        }
        Ok(Group { path: path.clone(), rows })
    }

    /// What `row`, at `path`, says of a file, with the media type and the target that rows leave out; none where the box
    /// has nothing there any more.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn attrs(&self, path: &SpacePath, row: &Row) -> Result<Option<Attrs>> {
        let Some(parent) = path.parent() else { return Ok(None) };
        let sql =
            "SELECT mime, target FROM entries WHERE folder = (SELECT id FROM folders WHERE key = ?1) AND name = ?2 AND box = ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row(params![parent.key(), path.name(), row.box_id.0], |sql_row| {
            let Row { ftype, size, mtime: (mtime, mtime_nsec), mode, sha1, .. } = *row;
            Ok(Attrs { ftype, size, mtime, mtime_nsec, mode, sha1, mime: sql_row.get(0)?, target: sql_row.get(1)? })
        });
        Ok(found.optional()?)
    }

    /// The intentions for the box `name`, asked in path order.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn wants(&self, boxes: &Boxes, name: &str) -> Result<Wants<'_>> {
        let info = boxes.by_name(name);
        let policy = info.and_then(|b| b.fields.as_ref()).map(Fields::policy).unwrap_or_default();
        let box_id = info.map_or(-1, |b| b.id.0);
        let mut page: VecDeque<Mark> = VecDeque::new();
        let mut after: Option<Vec<u8>> = None;
        let marks = move || {
            if page.is_empty() {
                page = self.marks_after(box_id, after.as_deref())?;
                after = page.back().map(|m| m.path.key().to_vec()).or(after.take());
            }
            Ok(page.pop_front())
        };
        Ok(Wants::new(policy, Box::new(marks)))
    }

    fn marks_after(&self, box_id: i64, after: Option<&[u8]>) -> Result<VecDeque<Mark>> {
        let sql = format!(
            "SELECT {MARK_COLUMNS} FROM marks m JOIN boxes b ON b.id = m.box
             WHERE m.box = ?1 AND (?2 IS NULL OR m.key > ?2) ORDER BY m.key LIMIT ?3"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![box_id, after, i64::try_from(PAGE)?])?;
        let mut page = VecDeque::new();
        while let Some(row) = rows.next()? {
            page.push_back(mark_of(row)?);
        }
        Ok(page)
    }
}

impl Groups<'_> {
    /// Passes over what a question about scarce files is not about: paths at which `enough` of the boxes
    /// `counting`, or more, hold files, all with the same content. SQLite tells them apart without
    /// handing out their rows: 0.2 s instead of 0.45 s for 4 boxes of 100k files, most of them in all.
    #[must_use]
    pub fn only_scarce(mut self, enough: usize, counting: &[BoxId]) -> Self {
        let ids: Vec<String> = counting.iter().map(|id| id.0.to_string()).collect();
        self.scarce = Some(format!(
            "SELECT {ROW_COLUMNS} FROM entries WHERE folder = ?1 AND name IN
             (SELECT name FROM entries WHERE folder = ?1 AND name > ?2 AND present AND NOT purged AND ftype <> {} AND box IN ({})
              GROUP BY name HAVING count(*) < {enough} OR min(sha1) <> max(sha1) OR min(ftype) <> max(ftype)
              ORDER BY name LIMIT ?3) ORDER BY name, box",
            ftype_number(Ftype::Dir),
            ids.join(","),
        ));
        self
    }

    /// Leaves out what other boxes than `these` have, and local facts.
    #[must_use]
    pub fn only_of(mut self, these: &[BoxId]) -> Self {
        let ids: Vec<String> = these.iter().map(|id| id.0.to_string()).collect();
        self.rows = rows_of(&without_local(), &format!("AND box IN ({})", ids.join(",")));
        self
    }

    /// Leaves out local facts: that is a seventh of the time.
    #[must_use]
    pub fn without_local(mut self) -> Self {
        self.rows = rows_of(&without_local(), "");
        self
    }

    /// The next group; `None` after the last.
    ///
    /// # Errors
    /// The index cannot be read.
    #[allow(clippy::should_implement_trait, reason = "a fallible stream, as rusqlite's own")]
    pub fn next(&mut self) -> Result<Option<Group>> {
        while self.come()? {
            let Some(frame) = self.stack.last_mut() else { break };
            let group = frame.pop()?;
            if group.as_ref().is_some_and(|g| g.path.is_within(&self.under)) {
                return Ok(group);
            }
        }
        Ok(None)
    }

    /// What `me` has at `path`, when that comes next, and `me` and all other boxes that have something
    /// there hold the same version of the same. [`Groups::pass`] then leaves it behind.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn alike_at(&mut self, path: &SpacePath, me: BoxId) -> Result<Option<&Looks>> {
        if !self.come()? {
            return Ok(None);
        }
        let (folder, name) = path.split();
        let here = self.stack.last().filter(|frame| frame.path.key() == folder);
        Ok(here.and_then(|frame| frame.page.alike(name, me)))
    }

    /// Leaves the path behind that comes next.
    pub fn pass(&mut self) {
        if let Some(frame) = self.stack.last_mut() {
            frame.page.pass();
            frame.clear.1 = frame.clear.1.saturating_sub(1);
        }
    }

    /// Leaves out what comes of the rows of `folder`, but not what is in the folders in it. False, and nothing is left
    /// out, where folders before it come first.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn leave_out(&mut self, folder: &SpacePath) -> Result<bool> {
        if let Some(frame) = self.stack.iter_mut().find(|frame| frame.path == *folder) {
            frame.leave_out();
            return Ok(true);
        }
        self.look_ahead()?;
        let Some((_, coming)) = self.folders.front() else { return Ok(true) };
        let order = coming.as_slice().cmp(folder.key());
        if order == Ordering::Equal {
            self.folders.pop_front();
        }
        Ok(order != Ordering::Less)
    }

    /// Opens and reads folders until the innermost one has the next path; false when there is none.
    fn come(&mut self) -> Result<bool> {
        loop {
            self.look_ahead()?;
            let coming = self.folders.front();
            let Some(frame) = self.stack.last_mut() else {
                if !self.open_folder() {
                    return Ok(false);
                }
                continue;
            };
            if frame.page.len() == 0 && !frame.complete {
                match &self.scarce {
                    Some(sql) => frame.fill_scarce(self.index, sql)?,
                    None => frame.fill(self.index, &self.rows)?,
                }
            }
            // a folder's own entry comes before what is in it
            if frame.page.len() > 0 && frame.is_before(coming) {
                return Ok(true);
            }
            match coming {
                Some((_, folder)) if frame.page.len() > 0 || key_is_within(folder, frame.path.key()) => {
                    self.open_folder();
                }
                _ => {
                    self.spare = self.stack.pop().map(|frame| frame.page).unwrap_or_default();
                }
            }
        }
    }

    /// Makes sure that the next folder that may hold what is asked for is known, if there is one.
    fn look_ahead(&mut self) -> Result<()> {
        if self.folders.is_empty() && !self.no_more_folders {
            self.read_folders()?;
        }
        Ok(())
    }

    fn read_folders(&mut self) -> Result<()> {
        let (from, to) = below(self.under.key());
        let connection = &self.index.connection;
        let found: Vec<(i64, Vec<u8>)> = match self.last_folder.take() {
            None => {
                let parent = self.under.parent().unwrap_or_default();
                let sql = "SELECT id, key FROM folders WHERE key IN (?1, ?2) ORDER BY key";
                let mut statement = connection.prepare_cached(sql)?;
                statement.query_map(params![parent.key(), self.under.key()], pair)?.collect::<rusqlite::Result<_>>()?
            }
            Some(last) => {
                let sql = "SELECT id, key FROM folders WHERE key > ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4";
                let mut statement = connection.prepare_cached(sql)?;
                let page = i64::try_from(PAGE)?;
                let found: Vec<_> = statement.query_map(params![last, from, to, page], pair)?.collect::<rusqlite::Result<_>>()?;
                self.no_more_folders = found.len() < PAGE;
                found
            }
        };
        self.last_folder = Some(found.last().map_or_else(Vec::new, |f| f.1.clone()));
        self.folders.extend(found);
        if self.folders.is_empty() && !self.no_more_folders {
            return self.read_folders();
        }
        Ok(())
    }

    fn open_folder(&mut self) -> bool {
        let Some((id, key)) = self.folders.pop_front() else { return false };
        let Ok(path) = SpacePath::from_key(&key) else { return true };
        // of the folder that holds `under` itself, only that one name is wanted
        let above = self.under.parent().is_some_and(|parent| parent == path);
        let mut frame = Frame { page: std::mem::take(&mut self.spare), ..Frame::new(id, path) };
        if above {
            frame.complete = true;
            if let Ok(group) = self.index.group(&self.under)
                && !group.rows.is_empty()
            {
                frame.page.only(&group);
            }
        }
        self.stack.push(frame);
        true
    }
}

fn rows_of(columns: &str, which: &str) -> String {
    format!("SELECT {columns} FROM entries WHERE folder = ?1 AND name > ?2 {which} ORDER BY name, box LIMIT ?3")
}

/// [`ROW_COLUMNS`] where nobody asks for what only this machine knows.
fn without_local() -> String {
    ROW_COLUMNS.replace("ino, ctime, ctime_nsec, racy", "NULL, NULL, NULL, NULL")
}

fn pair(row: &SqlRow<'_>) -> rusqlite::Result<(i64, Vec<u8>)> {
    Ok((row.get(0)?, row.get(1)?))
}

impl Frame {
    fn new(id: i64, path: SpacePath) -> Self {
        Self { id, path, page: Page::default(), clear: (0, 0), after: Vec::new(), complete: false }
    }

    fn leave_out(&mut self) {
        self.page.clear();
        self.clear = (0, 0);
        self.complete = true;
    }

    /// Whether the first path of the page comes before the folder `coming`.
    fn is_before(&mut self, coming: Option<&(i64, Vec<u8>)>) -> bool {
        let Some((id, folder)) = coming else { return true };
        if self.clear.0 != *id || self.clear.1 == 0 {
            self.clear = (*id, self.page.before(self.path.key(), folder));
        }
        self.clear.1 > 0
    }

    fn pop(&mut self) -> Result<Option<Group>> {
        self.clear.1 = self.clear.1.saturating_sub(1);
        self.page.pop(&self.path)
    }

    /// Reads the next page. A path's rows are never split over two pages.
    fn fill(&mut self, index: &Sqlite, sql: &str) -> Result<()> {
        let count = self.read(index, sql)?;
        self.complete = count < PAGE;
        if !self.complete && self.page.len() > 1 {
            self.page.drop_last();
        }
        self.remember();
        Ok(())
    }

    /// Reads the next page of a query that counts paths, not rows.
    fn fill_scarce(&mut self, index: &Sqlite, sql: &str) -> Result<()> {
        self.read(index, sql)?;
        self.complete = self.page.len() < PAGE;
        self.remember();
        Ok(())
    }

    /// Adds the rows of `sql` to the groups, and returns their number.
    fn read(&mut self, index: &Sqlite, sql: &str) -> Result<usize> {
        let mut statement = index.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![self.id, self.after, i64::try_from(PAGE)?])?;
        self.clear = (0, 0);
        self.page.read(&mut rows)
    }

    fn remember(&mut self) {
        if let Some(last) = self.page.last_name() {
            self.after = last.to_vec();
        }
    }
}

/// The range of folder keys strictly below `key`: from the first value, up to before the second.
#[must_use]
pub fn below(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if key.is_empty() {
        return (vec![1], vec![0xff; crate::path::PATH_MAX + 1]);
    }
    let (mut from, mut to) = (key.to_vec(), key.to_vec());
    from.push(SEPARATOR);
    to.push(SEPARATOR + 1);
    (from, to)
}
