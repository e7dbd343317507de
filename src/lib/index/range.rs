//! Whole documents by what they are about, where changes.rs has them by when they were written.

use anyhow::Result;

use super::boxes::Boxes;
use super::columns::{ENTRY_COLUMNS, MARK_COLUMNS, entry_of, mark_of};
use super::groups::Groups;
use super::sqlite::Sqlite;
use super::{Select, Visit};
use crate::record::{Document, Entry, Sha1};

/// Paths that are read under one lock: taking it for each entry took a third of the time. While it is held the log of a
/// commit beside it grows.
const PATHS: usize = 1024;

/// See [`super::Index::range`].
pub(super) fn range(index: &Sqlite, select: &Select, visit: Visit<'_>) -> Result<()> {
    let wanted = |name: &str| select.boxes.is_empty() || select.boxes.iter().any(|b| b == name);
    documents(index, true, &mut |document| match &document {
        Document::Box(name, _) if !wanted(name) => Ok(()),
        _ => visit(document),
    })?;
    let mut groups = index.groups(&select.under);
    let boxes = index.boxes()?;
    while let Some(page) = entries(index, &mut groups, &boxes, &wanted)? {
        page.into_iter().try_for_each(|entry| visit(Document::Entry(Entry { local: None, ..entry })))?;
    }
    marks(index, select, &mut |document| match &document {
        Document::Mark(mark) if !wanted(&mark.box_name) => Ok(()),
        _ => visit(document),
    })?;
    documents(index, false, visit)
}

/// The entries at the next paths of `groups`, read under one lock; none where there are no more.
fn entries(index: &Sqlite, groups: &mut Groups<'_>, boxes: &Boxes, wanted: &dyn Fn(&str) -> bool) -> Result<Option<Vec<Entry>>> {
    let _lock = index.connection.unchecked_transaction()?;
    let mut entries = Vec::new();
    for at in 0..PATHS {
        let Some(group) = groups.next()? else { return Ok((at > 0).then_some(entries)) };
        let mut names: Vec<&str> = group.rows.iter().filter_map(|row| boxes.by_id(row.box_id)).map(|b| b.name.as_str()).collect();
        names.sort_unstable();
        for name in names.into_iter().filter(|name| wanted(name)) {
            entries.extend(index.entry(name, &group.path)?);
        }
    }
    Ok(Some(entries))
}

/// The documents kept as JSON: space and boxes (`ours`), or those of unknown types.
fn documents(index: &Sqlite, ours: bool, visit: Visit<'_>) -> Result<()> {
    let mut statement = index.connection.prepare_cached("SELECT json FROM documents ORDER BY id <> 'space', id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let document = Document::from_json(row.get_ref(0)?.as_str()?)?;
        if ours != matches!(document, Document::Other(_)) {
            visit(document)?;
        }
    }
    Ok(())
}

fn marks(index: &Sqlite, select: &Select, visit: Visit<'_>) -> Result<()> {
    let sql = format!("SELECT {MARK_COLUMNS} FROM marks m JOIN boxes b ON b.id = m.box ORDER BY m.key, b.name");
    let mut statement = index.connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mark = mark_of(row)?;
        if mark.path.is_within(&select.under) {
            visit(Document::Mark(mark))?;
        }
    }
    Ok(())
}

/// Reads all entries with the content `sha1`, absent ones too.
///
/// # Errors
/// The index cannot be read, or `visit` failed.
pub fn by_sha1(index: &Sqlite, sha1: Sha1, visit: Visit<'_>) -> Result<()> {
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM entries e JOIN folders f ON f.id = e.folder JOIN boxes b ON b.id = e.box
         WHERE e.sha1 = ?1 ORDER BY f.key, e.name, b.name"
    );
    let mut statement = index.connection.prepare(&sql)?;
    let mut rows = statement.query([sha1.0])?;
    while let Some(row) = rows.next()? {
        visit(Document::Entry(Entry { local: None, ..entry_of(row)? }))?;
    }
    Ok(())
}
