//! Who has not heard all: a command that syncs before its work and again after it has nothing to tell those for whom
//! it wrote nothing meanwhile, and over ssh to ask them would be the most of what it takes.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;

use crate::couch::places::Places;
use crate::index::changes::Checkpoint;
use crate::index::sqlite::{Access, Sqlite};
use crate::ltrbox::file_of;
use crate::sources::SourceRecord;
use crate::space::Space;
use crate::stream::{Line, Reader};

/// What is of use here of a [`super::Replication`].
#[derive(Deserialize)]
struct Said {
    source: String,
    target: String,
    ok: bool,
    source_last_seq: String,
    #[serde(default)]
    dryrun: bool,
}

/// Those of `sources` that the index `here` has news for, by what an earlier [`super::sync_sources`] said.
///
/// # Errors
/// The index cannot be read, or what was said is cut short or damaged.
pub fn behind(here: &Space, sources: Vec<SourceRecord>, said: impl BufRead, places: &Places) -> Result<Vec<SourceRecord>> {
    let index = Sqlite::open(&file_of(here, places), Access::Read)?;
    let (here, seq) = (Space::File(index.path().to_path_buf()).to_string(), index.seq()?);
    let mut told = BTreeSet::new();
    let mut reader = Reader::new(said);
    while let Some(line) = reader.next_line()? {
        let Line::Record { kind, json } = line else { continue };
        if kind != "sync" {
            continue;
        }
        let said: Said = serde_json::from_str(json)?;
        let whole = said.ok && !said.dryrun && said.source == here;
        if whole
            && said.source_last_seq.parse::<Checkpoint>().is_ok_and(|upto| upto.seq == seq)
            && index.honours(&said.source_last_seq)?
        {
            told.insert(said.target);
        }
    }
    let is_told = |space: &str| Space::parse(space, Path::new("/")).is_ok_and(|space| told.contains(&space.to_string()));
    Ok(sources.into_iter().filter(|source| !source.space.as_deref().is_some_and(is_told)).collect())
}
