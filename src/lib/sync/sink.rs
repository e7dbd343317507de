//! Where documents go: an index, or a throw-away copy of it in a dry run; and what became of them.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Result, bail, ensure};

use crate::index::refused::Refused;
use crate::index::sqlite::{Access, Sqlite};
use crate::index::{Index, Origin, Outcome};
use crate::path::escape;
use crate::record::Document;

/// Documents that go into one transaction at most. Each transaction waits for the disk: batches of 500
/// made a first commit wait four hundred times. This many take less than 16 MB.
pub const BATCH: usize = 8192;

/// What became of the documents so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In the index now.
    pub written: u64,
    /// There already.
    pub unchanged: u64,
    /// Older than what is there.
    pub older: u64,
    /// Refused, and not known to be.
    pub failures: u64,
    /// The first and the last sequence number that they got.
    pub issued: Option<(u64, u64)>,
}

impl Tally {
    /// Adds a batch during which the index's sequence number went from `before` to `after`.
    pub(crate) fn add(&mut self, outcomes: &[Outcome], (before, after): (u64, u64)) {
        for outcome in outcomes {
            *match outcome {
                Outcome::Written => &mut self.written,
                Outcome::Unchanged => &mut self.unchanged,
                Outcome::Older => &mut self.older,
            } += 1;
        }
        if after > before {
            self.issued = Some((self.issued.map_or(before + 1, |(first, _)| first), after));
        }
    }

    /// All documents that were well-formed.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.written + self.unchanged + self.older
    }

    /// The last sequence number, when these documents and no others came right after `seq`.
    #[must_use]
    pub fn right_after(&self, seq: u64) -> Option<u64> {
        right_after(self.issued, self.written, seq)
    }
}

/// See [`Tally::right_after`].
pub(super) fn right_after(issued: Option<(u64, u64)>, written: u64, seq: u64) -> Option<u64> {
    let (first, last) = issued?;
    (first.checked_sub(1) == Some(seq) && last.checked_sub(seq) == Some(written)).then_some(last)
}

/// Puts documents into an index.
#[derive(Debug)]
pub struct Sink<'a> {
    index: &'a mut Sqlite,
    /// A folder for the copy that a dry run writes to.
    scratch: Option<PathBuf>,
    copy: Option<Sqlite>,
    origin: Origin,
    /// The space that the index is of.
    uuid: Option<String>,
    space_first: bool,
    space_met: bool,
    /// What was refused, now or earlier.
    refused: Refused,
    /// What became of the documents so far.
    pub tally: Tally,
}

impl<'a> Sink<'a> {
    /// `space_first`: documents are taken only after that of this index's space. With `scratch` the
    /// index stays as it is, and a copy of it in that folder is written.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn new(index: &'a mut Sqlite, origin: Origin, space_first: bool, scratch: Option<PathBuf>) -> Result<Self> {
        let (uuid, refused) = (uuid(index)?, index.refused()?);
        let tally = Tally::default();
        Ok(Self { index, scratch, copy: None, origin, uuid, space_first, space_met: false, refused, tally })
    }

    /// From here on the documents are another index's.
    pub fn from_elsewhere(&mut self) {
        self.origin = Origin::Elsewhere;
    }

    /// Refuses a document of another space, so that nothing of it is written.
    ///
    /// # Errors
    /// It is one, or cannot be told from one.
    pub fn admit(&mut self, document: &Document) -> Result<()> {
        if !self.space_first {
            return Ok(());
        }
        match (document, &self.uuid) {
            (Document::Space(fields), mine) => {
                same_space(mine.as_deref(), fields.text("uuid"))?;
                self.space_met = true;
            }
            (_, Some(mine)) if !self.space_met => {
                bail!("documents that do not say of which space they are; here is the space {mine}")
            }
            _ => {}
        }
        Ok(())
    }

    /// Refuses the word of another index that this one must not have: it would be read again with every
    /// command.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, document: &Document) -> Result<()> {
        if self.origin == Origin::Here {
            return Ok(());
        }
        let checked = document.check_foreign(SystemTime::now());
        checked.map_err(|error| error.context(escape(document.id().as_bytes())))
    }

    /// Counts what is not put: `what` is a text that is the same whenever it comes. Returns whether that
    /// is to be told: of another index's changes, it is told once.
    pub fn refuse(&mut self, what: &str, document: Option<&Document>) -> bool {
        let new = self.refused.add(what, document, SystemTime::now()) || !self.space_first;
        self.tally.failures += u64::from(new);
        new
    }

    /// Remembers what was refused, once everything was read.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn keep_refused(&mut self) -> Result<()> {
        if self.is_dry() || self.refused == self.index.refused()? {
            return Ok(());
        }
        self.index.set_refused(&self.refused)
    }

    /// Puts `documents` in one transaction.
    ///
    /// # Errors
    /// The index cannot be written; then none of them is in it.
    pub fn put(&mut self, documents: &[Document]) -> Result<Vec<Outcome>> {
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        if let (Some(folder), None) = (&self.scratch, &self.copy) {
            let path = folder.join(format!("{:08x}", self.index.id()));
            // an earlier source may have brought something
            if !path.exists() {
                self.index.copy_to(&path)?;
            }
            self.copy = Some(Sqlite::open(&path, Access::Write)?);
        }
        let index = self.copy.as_mut().unwrap_or(self.index);
        let outcomes = index.put(documents, self.origin)?;
        self.tally.add(&outcomes, index.last_put());
        Ok(outcomes)
    }

    /// Whether the index stays as it is.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.scratch.is_some()
    }

    /// The index itself.
    pub fn index(&mut self) -> &mut Sqlite {
        self.index
    }
}

/// The uuid of an index's space.
///
/// # Errors
/// The index cannot be read.
pub fn uuid(index: &Sqlite) -> Result<Option<String>> {
    Ok(index.space()?.and_then(|fields| fields.text("uuid").map(str::to_owned)))
}

/// An index without a space takes any; two spaces never merge.
pub(super) fn same_space(here: Option<&str>, there: Option<&str>) -> Result<()> {
    if let (Some(here), Some(there)) = (here, there) {
        ensure!(here == there, "another space: uuid {here} here, {there} there");
    }
    Ok(())
}
