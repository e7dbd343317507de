//! Where the replica of a database is, and how it comes to be.
//!
//! The link that bears the database's URL leads to a file that bears the space's uuid, so that two URLs of
//! one database have one replica.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::client::{Client, Patience};
use super::link::{look, mark, space_there};
use super::places::Places;
use crate::index::sqlite::Sqlite;
use crate::stamp::random_id;

/// Makes the replica of a database where there is none yet: then the database must answer. It is still
/// empty.
///
/// # Errors
/// There is no such database, or nothing can be written.
pub(super) fn make(places: &Places, client: &Client, patience: Patience) -> Result<PathBuf> {
    let link = places.replica(client.database());
    if link.exists() {
        return Ok(link);
    }
    look(client, patience)?;
    let patience = if patience == Patience::Probe { Patience::Brief } else { patience };
    let mark = mark(client, patience)?;
    let uuid = space_there(client, patience)?.filter(|uuid| is_plain(uuid));
    let folder = places.replicas();
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // before the first box there is no uuid, and then the database's mark has named the file
    let names = uuid.iter().map(String::as_str).chain([mark.as_str()].into_iter().filter(|mark| is_plain(mark)));
    let names: Vec<String> = names.map(|name| format!("{name}.index")).collect();
    let there = names.iter().find(|name| folder.join(name).exists());
    let name = there.or(names.first()).context("a database without a mark")?;
    let file = folder.join(name);
    Sqlite::create(&file)?;
    point(&link, name).with_context(|| link.display().to_string())?;
    Ok(link)
}

/// Makes `link` lead to `name` beside it, in place of what was there.
fn point(link: &Path, name: &str) -> std::io::Result<()> {
    let staged = link.with_extension(format!("{:08x}", random_id()));
    symlink(name, &staged)?;
    std::fs::rename(&staged, link)
}

/// What other machines say becomes part of a file name only where it can do no harm.
fn is_plain(name: &str) -> bool {
    name.len() == 36 && name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}
