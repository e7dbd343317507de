//! What the stages that hash and record hand on to each other: lines of a stream, or, in one process, what is read of them.

use std::io::BufRead;

use anyhow::{Context, Result};

use crate::record::FileRecord;
use crate::stream::{ErrorRecord, Line, Reader};

/// One record on its way.
#[derive(Debug)]
pub enum Item {
    /// Of a file, folder or symlink.
    File(Box<FileRecord>),
    /// One that passes as it is; of a file too, where no hash of it is called for.
    Raw {
        /// Whether it is of the type `scan`.
        scan: bool,
        /// The line without its newline.
        json: String,
    },
    /// What could not be read by a stage before.
    Error(ErrorRecord),
    /// What could not be read now: nobody was told yet.
    Failed(ErrorRecord),
}

/// Where records come from.
pub trait Records {
    /// The next one; `None` when these were all.
    ///
    /// # Errors
    /// They are cut short or damaged: nothing may be concluded from them.
    fn next(&mut self) -> Result<Option<Item>>;
}

impl<R: BufRead> Records for Reader<R> {
    fn next(&mut self) -> Result<Option<Item>> {
        let number = self.line_number() + 1;
        Ok(match self.next_line()? {
            None => None,
            Some(Line::Error(error)) => Some(Item::Error(error)),
            Some(Line::Record { kind, json }) if kind == "scan" => {
                Some(Item::File(Box::new(file(json).with_context(|| format!("line {number}"))?)))
            }
            Some(Line::Record { json, .. }) => Some(Item::Raw { scan: false, json: json.to_owned() }),
        })
    }
}

/// A record of a scan.
///
/// # Errors
/// It is malformed, or of nothing that a scan can have seen.
pub fn file(json: &str) -> Result<FileRecord> {
    let record: FileRecord = serde_json::from_str(json).context("not a scan record")?;
    record.check().with_context(|| format!("{}", record.path))?;
    Ok(record)
}
