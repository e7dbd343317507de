//! Whoever keeps a space's documents and is no box's own index: a peer. Indexes of boxes are files of
//! SQLite; a database on a server is another kind, and comes in by this door: [`Index`] is all of it.
//!
//! [`Map`] is the plainest one. It knows the merge rule from design section 4 and nothing else, so it is
//! also what the real ones are held against.

use std::collections::BTreeMap;

use anyhow::Result;
use litter::index::{Index, Origin, Outcome, Select, Visit};
use litter::record::{Document, Fields};

#[derive(Debug, Default)]
pub struct Map {
    pub id: u32,
    documents: BTreeMap<String, (u64, Document)>,
    seq: u64,
}

impl Map {
    pub fn new(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    pub fn canonical(&self) -> Vec<String> {
        let mut all: Vec<String> = self.documents.values().map(|d| d.1.canonical()).collect();
        all.sort();
        all
    }

    /// By fields, each with its own stamp, or as a whole.
    fn merged(old: Option<&Document>, new: &Document) -> Option<Document> {
        let fields = |old: &Fields, new: &Fields| {
            let mut all = old.clone();
            all.merge(new).then_some(all)
        };
        match (old, new) {
            (None, new) => Some(new.clone()),
            (Some(Document::Space(old)), Document::Space(new)) => fields(old, new).map(Document::Space),
            (Some(Document::Box(name, old)), Document::Box(_, new)) => fields(old, new).map(|f| Document::Box(name.clone(), f)),
            (Some(old), new) => ((new.stamp(), new.canonical()) > (old.stamp(), old.canonical())).then(|| new.clone()),
        }
    }
}

impl Index for Map {
    fn get(&self, id: &str) -> Result<Option<Document>> {
        Ok(self.documents.get(id).map(|d| d.1.clone()))
    }

    fn put(&mut self, documents: &[Document], _: Origin) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for new in documents {
            let merged = Self::merged(self.documents.get(&new.id()).map(|d| &d.1), new);
            outcomes.push(if merged.is_some() { Outcome::Written } else { Outcome::Older });
            if let Some(merged) = merged {
                self.seq += 1;
                self.documents.insert(new.id(), (self.seq, merged));
            }
        }
        Ok(outcomes)
    }

    fn changes(&self, checkpoint: Option<&str>, visit: Visit<'_>) -> Result<String> {
        let since: u64 = checkpoint.map_or(Ok(0), str::parse)?;
        let mut new: Vec<_> = self.documents.values().filter(|d| d.0 > since).collect();
        new.sort_by_key(|d| d.0);
        for (_, document) in new {
            visit(document.clone())?;
        }
        Ok(self.seq.to_string())
    }

    fn range(&self, _: &Select, visit: Visit<'_>) -> Result<()> {
        self.documents.values().try_for_each(|d| visit(d.1.clone()))
    }
}

/// All documents of an index, in one order for all kinds.
pub fn documents(index: &dyn Index) -> Vec<Document> {
    let mut all = Vec::new();
    let mut visit = |document| {
        all.push(document);
        Ok(())
    };
    index.changes(None, &mut visit).unwrap();
    all.sort_by_key(Document::id);
    all
}

/// Reads what changed in `from` since `since` into `to`, of which only the first `cut` documents arrive
/// where it is cut short. Returns where to read on.
pub fn read(from: &dyn Index, to: &mut dyn Index, since: Option<&str>, cut: Option<u32>) -> Option<String> {
    let mut new = Vec::new();
    let mut visit = |document| {
        new.push(document);
        Ok(())
    };
    let checkpoint = from.changes(since, &mut visit).unwrap();
    let arrived = cut.map_or(new.len(), |cut| cut as usize % (new.len() + 1));
    for batch in new[..arrived].chunks(7) {
        to.put(batch, Origin::Elsewhere).unwrap();
    }
    cut.is_none().then_some(checkpoint)
}
