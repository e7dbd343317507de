//! The index of a space: a last-writer-wins map of documents, however they travel.
//!
//! [`Index`] is what every backend can do with documents; [`sqlite::Sqlite`] is the embedded one, and
//! the replica that reads are made from. What only a local index can answer quickly (rows joined by
//! path, by content, local facts) belongs to [`sqlite::Sqlite`] itself.

mod boxes;
pub mod census;
pub mod changes;
mod columns;
mod contents;
pub mod couch;
pub mod groups;
mod open;
pub mod own;
mod page;
mod put;
pub mod range;
pub mod refused;
mod row;
mod schema;
pub mod seals;
pub mod settled;
pub mod sqlite;
#[cfg(test)]
mod tests;
pub mod visits;

use anyhow::Result;

use crate::path::SpacePath;
use crate::record::Document;

/// What became of a document that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the index now.
    Written,
    /// It was there already.
    Unchanged,
    /// The index has a newer one.
    Older,
}

impl Outcome {
    /// The word for it in records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Written => "written",
            Outcome::Unchanged => "unchanged",
            Outcome::Older => "older",
        }
    }
}

/// Whose word a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine's own commands: local facts that come along are believed.
    Here,
    /// Another index: local facts are ignored, and an own box's documents show that somebody else
    /// counts edits for it, so that its actor is drawn anew.
    Elsewhere,
}

/// Which documents to read.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// Only of these boxes; empty: of all.
    pub boxes: Vec<String>,
    /// Only at or below this path.
    pub under: SpacePath,
}

/// Receives documents one by one.
pub type Visit<'a> = &'a mut dyn FnMut(Document) -> Result<()>;

/// A backend that keeps a space's documents.
pub trait Index {
    /// The document with the key `id`.
    ///
    /// # Errors
    /// The index cannot be read.
    fn get(&self, id: &str) -> Result<Option<Document>>;

    /// Puts documents by the merge rule of design section 4, all in one transaction.
    ///
    /// # Errors
    /// The index cannot be written; then none of them is in it.
    fn put(&mut self, documents: &[Document], origin: Origin) -> Result<Vec<Outcome>>;

    /// Visits what changed since `checkpoint` (everything, when this index does not know it any more),
    /// and returns the checkpoint for next time.
    ///
    /// # Errors
    /// The index cannot be read, or `visit` failed.
    fn changes(&self, checkpoint: Option<&str>, visit: Visit<'_>) -> Result<String>;

    /// Visits documents: the space, boxes, entries in path order, marks in path order, then others.
    ///
    /// # Errors
    /// The index cannot be read, or `visit` failed.
    fn range(&self, select: &Select, visit: Visit<'_>) -> Result<()>;
}
