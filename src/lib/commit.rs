//! Committing: turning what changed on disk into documents, and suspicions into letters.
//!
//! What could be half of a rename waits in a spool until the stream's trailer has shown everything that
//! is gone; the rest is passed on at once, so that an interrupted commit of a terabyte has recorded
//! what it has hashed.

mod documents;
mod out;
mod renames;
mod whole;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Map;

pub use self::documents::Author;
use self::documents::Documents;
use self::out::{Lines, Out};
use self::renames::Renames;
pub use self::whole::{Place, commit};
use crate::exit::Exit;
use crate::fsinfo::FsTraits;
use crate::hash::item::{self, Item, Records};
use crate::index::sqlite::Sqlite;
use crate::path::SpacePath;
use crate::record::{Change, FileRecord, Ftype, Sha1};
use crate::report::Report;
use crate::stream::{ErrorRecord, Line, Reader, Writer};

/// A commit that discards more than this many files, and more than half of the box, must be confirmed.
pub const FEW: u64 = 20;
/// Last copies that the question names.
const NAMED: usize = 10;

/// What to commit, and how.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The box.
    pub box_name: String,
    /// Paths that a person named: at or below them an older mtime is an edit, and purged content that
    /// is back is taken up again.
    pub named: Vec<SpacePath>,
    /// Go on although most of the box is gone.
    pub gone_ok: bool,
    /// What the box's file system can express.
    pub fs: FsTraits,
}

impl Commit {
    fn is_named(&self, path: &SpacePath) -> bool {
        self.named.iter().any(|n| path.is_within(n))
    }
}

/// Writes the hashed records of `input` again with their final letters: `ltr-record --status`.
/// `changed`: only what a commit would record.
///
/// # Errors
/// The stream is cut short or damaged, or the index cannot be read.
pub fn settle<R: BufRead, W: Write>(
    commit: &Commit,
    changed: bool,
    index: &Sqlite,
    input: R,
    output: W,
    spool: File,
) -> Result<Exit> {
    let mut writer = Writer::new(output);
    let mut held = Held::new(spool);
    let mut reader = Reader::new(input);
    while let Some(item) = Records::next(&mut reader)? {
        match item {
            Item::File(record) => held.put(&record)?,
            Item::Raw { json, .. } => writer.put_raw(&json)?,
            Item::Error(error) | Item::Failed(error) => writer.put_error(&error)?,
        }
    }
    let (renames, mut records) = held.finish(index, &commit.box_name)?;
    while let Some((at, mut record)) = records.next()? {
        if renames.is_old(at) {
            continue;
        }
        if let Some(old) = renames.old_of(at, &mut records)? {
            record.status = Some("R".to_owned());
            record.renamed = Some(old);
        } else if still_purged(commit, &record) {
            record.status = Some("p".to_owned());
        }
        // of a suspect that is as it was only the local facts are
        let changes = !matches!(record.change, None | Some(Change::Suspect));
        let recorded = changes && !matches!(record.status.as_deref(), Some("C" | "p"));
        if recorded || !changed {
            writer.put(&record)?;
        }
    }
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

/// Writes the documents that record the changes of `input`: `ltr-record`. `gone`, where given, is the
/// stream before it was hashed: it tells from the start which new files may be renamed ones.
///
/// # Errors
/// The stream is cut short or damaged, or the index cannot be read.
pub fn record<R: BufRead, W: Write>(
    commit: &Commit,
    index: &Sqlite,
    author: Author,
    (input, gone): (R, Option<File>),
    output: W,
    spool: File,
    report: &mut dyn Report,
) -> Result<Exit> {
    let mut lines = Lines { writer: Writer::new(output), report };
    let candidates = gone.map(Candidates::read).transpose()?;
    record_into(commit, index, author, (&mut Reader::new(input), candidates), &mut lines, spool)?;
    Ok(Exit::of_failures(lines.writer.end(Map::new())?))
}

/// [`record`], whatever the records come from and the documents go into.
fn record_into(
    commit: &Commit,
    index: &Sqlite,
    author: Author,
    (records, candidates): (&mut dyn Records, Option<Candidates>),
    out: &mut dyn Out,
    spool: File,
) -> Result<()> {
    let mut held = Held::new(spool);
    let mut documents = Documents::new(commit, index, author)?;
    while let Some(item) = records.next()? {
        let record = match item {
            Item::File(record) => record,
            Item::Raw { scan: true, json } => Box::new(item::file(&json)?),
            Item::Raw { json, .. } => {
                out.raw(&json)?;
                continue;
            }
            Item::Error(error) => {
                out.error(error)?;
                continue;
            }
            Item::Failed(error) => {
                out.failure(&error.path.clone(), error)?;
                continue;
            }
        };
        match record.change {
            Some(Change::Gone) => held.put(&record)?,
            Some(Change::New) if candidates.as_ref().is_none_or(|c| c.may_be_renamed(&record)) => held.put(&record)?,
            _ => documents.changed(&record, out)?,
        }
    }
    let (renames, mut records) = held.finish(index, &commit.box_name)?;
    let stop = (!commit.gone_ok).then(|| records.discards(&renames)).transpose()?;
    let stop = match stop {
        Some(discards) => discards.objection(index, &commit.box_name)?,
        None => None,
    };
    while let Some((at, record)) = records.next()? {
        let is_old = renames.is_old(at);
        if record.change == Some(Change::Gone) && !is_old && stop.is_some() {
            continue;
        }
        if is_old {
            let new = renames.new_of(at, &mut records)?;
            documents.renamed_away(&record, new, out)?;
        } else if let Some(old) = renames.old_of(at, &mut records)? {
            documents.renamed_here(&record, &old, out)?;
        } else if record.change == Some(Change::Gone) {
            documents.gone(&record, out)?;
        } else {
            documents.changed(&record, out)?;
        }
    }
    if let Some(cause) = stop {
        // of which box, is told; in the stream it is about the whole of it
        out.failure(&commit.box_name, ErrorRecord { path: "/".to_owned(), error: cause })?;
    }
    Ok(())
}

/// Content that a purge covered and that is back on disk: it stays purged unless a person names it.
fn still_purged(commit: &Commit, record: &FileRecord) -> bool {
    let same = record.was.as_ref().is_some_and(|w| w.ftype == record.ftype && w.sha1.is_some() && w.sha1 == record.sha1);
    record.change == Some(Change::New) && same && !commit.is_named(&record.path)
}

/// Of a record, what tells whether it is of something gone: a fifth of the work of reading all of it.
#[derive(Deserialize)]
struct Gone {
    ftype: Ftype,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    change: Option<Change>,
}

/// Whether a record may be of something gone: to parse all of a first commit for what is gone, which is nothing,
/// took a seventh of the time of making its documents.
fn may_be_gone(json: &str) -> bool {
    // what is escaped can be any text
    json.contains("gone") || json.contains("\\u")
}

/// What is gone, known before anything was hashed.
#[derive(Default)]
struct Candidates {
    sizes: HashSet<u64>,
    folders: bool,
}

impl Candidates {
    fn read(mut changes: File) -> Result<Self> {
        changes.rewind()?;
        let mut found = Self::default();
        let mut reader = Reader::new(BufReader::new(changes));
        while let Some(line) = reader.next_line()? {
            if let Line::Record { kind, json } = line
                && kind == "scan"
                && may_be_gone(json)
            {
                let gone: Gone = serde_json::from_str(json).context("not a scan record")?;
                if gone.change == Some(Change::Gone) {
                    found.folders |= gone.ftype == Ftype::Dir;
                    found.sizes.insert(gone.size);
                }
            }
        }
        Ok(found)
    }

    /// In a folder that was renamed even an empty file may be one that moved along.
    fn may_be_renamed(&self, record: &FileRecord) -> bool {
        if record.ftype == Ftype::Dir { self.folders } else { self.sizes.contains(&record.size) }
    }
}

/// Records that wait for the end of the stream.
struct Held {
    spool: BufWriter<File>,
    at: u64,
    /// Content and offset of files that are new, and of files that are gone.
    new: Vec<(u64, u64)>,
    gone: Vec<(u64, u64)>,
    folders_gone: u64,
}

impl Held {
    fn new(spool: File) -> Self {
        Self { spool: BufWriter::new(spool), at: 0, new: Vec::new(), gone: Vec::new(), folders_gone: 0 }
    }

    fn put(&mut self, record: &FileRecord) -> Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.spool.write_all(&line).context("cannot write the temporary file")?;
        let fingerprint = record.sha1.filter(|_| record.size > 0 && record.ftype != Ftype::Dir).map(fingerprint);
        match (record.change, fingerprint) {
            (Some(Change::New), Some(print)) => self.new.push((print, self.at)),
            (Some(Change::Gone), Some(print)) => self.gone.push((print, self.at)),
            _ => {}
        }
        self.folders_gone += u64::from(record.change == Some(Change::Gone) && record.ftype == Ftype::Dir);
        self.at += line.len() as u64;
        Ok(())
    }

    fn finish(self, index: &Sqlite, box_name: &str) -> Result<(Renames, Spooled)> {
        let file = self.spool.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let mut spooled = Spooled { reader: BufReader::new(file), at: 0 };
        spooled.rewind()?;
        let renames = Renames::find(self.new, self.gone, self.folders_gone > 0, &mut spooled, index, box_name)?;
        spooled.rewind()?;
        Ok((renames, spooled))
    }
}

/// Eight bytes of a hash: enough to find candidates, which are then compared whole.
fn fingerprint(sha1: Sha1) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha1.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Reads held records again, in the order in which they came.
pub(super) struct Spooled {
    reader: BufReader<File>,
    at: u64,
}

impl Spooled {
    fn rewind(&mut self) -> Result<()> {
        self.reader.rewind()?;
        self.at = 0;
        Ok(())
    }

    /// The next record and its offset.
    fn next(&mut self) -> Result<Option<(u64, FileRecord)>> {
        let mut line = Vec::new();
        let at = self.at;
        self.at += self.reader.read_until(b'\n', &mut line)? as u64;
        if line.is_empty() { Ok(None) } else { Ok(Some((at, serde_json::from_slice(&line)?))) }
    }

    /// The record at an offset; reading goes on where it was.
    fn get(&mut self, at: u64) -> Result<FileRecord> {
        let back = self.at;
        self.reader.seek(std::io::SeekFrom::Start(at))?;
        self.at = at;
        let found = self.next()?;
        self.reader.seek(std::io::SeekFrom::Start(back))?;
        self.at = back;
        Ok(found.context("the temporary file is cut short")?.1)
    }

    fn discards(&mut self, renames: &Renames) -> Result<Discards> {
        let mut discards = Discards::default();
        while let Some((at, record)) = self.next()? {
            if record.change == Some(Change::Gone) && record.ftype != Ftype::Dir && !renames.is_old(at) {
                discards.files += 1;
                if record.status.as_deref() == Some("L") {
                    discards.lost += 1;
                    if discards.named.len() < NAMED {
                        discards.named.push(record.path.spelled());
                    }
                }
            }
        }
        self.rewind()?;
        Ok(discards)
    }
}

/// What a commit would discard.
#[derive(Default)]
struct Discards {
    files: u64,
    lost: u64,
    /// The first of the last copies.
    named: Vec<String>,
}

impl Discards {
    /// Why the commit should stop: a disk that is not mounted looks like a box that was emptied.
    fn objection(&self, index: &Sqlite, box_name: &str) -> Result<Option<String>> {
        if self.files <= FEW {
            return Ok(None);
        }
        let held = index.count_files(box_name)?;
        ensure!(held > 0, "the index has no files of {box_name}, so none can be gone");
        let Self { files, lost, named } = self;
        let more = if *lost > named.len() as u64 { ", ..." } else { "" };
        let which = if named.is_empty() { String::new() } else { format!(" ({}{more})", named.join(", ")) };
        let text = format!(
            "{files} of {held} files are gone, {lost} of them last copies{which}: nothing was discarded; \
             is the disk mounted? `--gone-ok` records it"
        );
        Ok((files * 2 > held).then_some(text))
    }
}
