//! Whole documents by what they are about, where changes.rs has them by when they were written.

use anyhow::Result;

use super::columns::{ENTRY_COLUMNS, MARK_COLUMNS, entry_of, mark_of};
use super::sqlite::Sqlite;
use super::{Select, Visit};
use crate::record::{Document, Entry, Sha1};

/// See [`super::Index::range`].
pub(super) fn range(index: &Sqlite, select: &Select, visit: Visit<'_>) -> Result<()> {
    let wanted = |name: &str| select.boxes.is_empty() || select.boxes.iter().any(|b| b == name);
    documents(index, true, &mut |document| match &document {
        Document::Box(name, _) if !wanted(name) => Ok(()),
        _ => visit(document),
    })?;
    let mut groups = index.groups(&select.under);
    let boxes = index.boxes()?;
    while let Some(group) = groups.next()? {
        let mut names: Vec<&str> = group.rows.iter().filter_map(|row| boxes.by_id(row.box_id)).map(|b| b.name.as_str()).collect();
        names.sort_unstable();
        for name in names.into_iter().filter(|name| wanted(name)) {
            if let Some(entry) = index.entry(name, &group.path)? {
                visit(Document::Entry(Entry { local: None, ..entry }))?;
            }
        }
    }
    marks(index, select, &mut |document| match &document {
        Document::Mark(mark) if !wanted(&mark.box_name) => Ok(()),
        _ => visit(document),
    })?;
    documents(index, false, visit)
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
