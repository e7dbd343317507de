//! Conflicts that CouchDB's own replication makes: the leaves are merged by the rule of all indexes, one
//! leaf with the result is kept, and the others are deleted.
//!
//! Of several leaves with that content the one with the greatest revision is kept, so that hosts that do
//! this at the same time keep the same one. What is deleted is in the replica, and in the kept leaf.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use super::client::body;
use super::found::of_map;
use super::link::Link;
use super::pull::Conflict;
use super::push::{Written, with_rev};
use crate::index::Index;
use crate::index::couch::Known;
use crate::record::Document;

/// Leaves that are read at once.
const LEAVES: usize = 500;

#[derive(Deserialize)]
struct Got {
    results: Vec<GotDocument>,
}

#[derive(Deserialize)]
struct GotDocument {
    id: String,
    #[serde(default)]
    docs: Vec<GotLeaf>,
}

#[derive(Deserialize)]
struct GotLeaf {
    ok: Option<Box<RawValue>>,
}

/// The leaves of one document.
struct Leaves {
    all: Vec<(String, Document)>,
    /// How many there should be.
    expected: usize,
}

impl Link<'_> {
    /// Merges the leaves of each document, and leaves one.
    pub(super) fn resolve(&mut self, conflicts: Vec<Conflict>) -> Result<()> {
        let mut rest = conflicts.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut some, mut leaves) = (Vec::new(), 0);
            while let Some(conflict) = rest.next_if(|c| leaves == 0 || leaves + c.others.len() <= LEAVES) {
                leaves += conflict.others.len();
                some.push(conflict);
            }
            self.resolve_some(some)?;
        }
        Ok(())
    }

    fn resolve_some(&mut self, conflicts: Vec<Conflict>) -> Result<()> {
        let all = self.leaves(conflicts)?;
        let losers: Vec<Document> = all.values().flat_map(|l| l.all.iter().map(|leaf| leaf.1.clone())).collect();
        // before anything is deleted there, it is here
        self.put(&losers)?;
        let mut deletions = Vec::new();
        let mut writes = Vec::new();
        let mut known = Vec::new();
        for (id, leaves) in &all {
            let Some(merged) = self.index.get(id)? else { continue };
            let mut same: Vec<&str> = leaves.all.iter().filter(|leaf| is(&leaf.1, &merged)).map(|leaf| leaf.0.as_str()).collect();
            same.sort_by_key(|rev| order(rev));
            match same.last() {
                Some(&kept) => {
                    deletions.extend(leaves.all.iter().filter(|leaf| leaf.0 != kept).map(|leaf| deletion(id, &leaf.0)));
                    let (rev, stamp) = (Some(kept.to_owned()), Some(merged.stamp()));
                    known.push(Known { id: id.clone(), rev, stamp, todo: false });
                }
                None => {
                    let winner = leaves.all.iter().max_by_key(|leaf| order(&leaf.0));
                    writes.extend(winner.map(|leaf| (merged, Some(leaf.0.clone()))));
                }
            }
        }
        self.index.set_known(&mut self.couch, &known, None)?;
        for written in self.write(writes)? {
            // else its leaves have changed meanwhile, and so it will be read again
            let Written::Done { id, over, .. } = written else { continue };
            let others = all.get(&id).into_iter().flat_map(|leaves| &leaves.all).filter(|leaf| Some(&leaf.0) != over.as_ref());
            deletions.extend(others.map(|leaf| deletion(&id, &leaf.0)));
        }
        if !deletions.is_empty() {
            let text = body(&json!({ "docs": deletions }))?;
            // one that fails is no leaf any more, and its document will be read again
            self.client.ask(&Method::POST, "_bulk_docs", Some(&text), self.patience)?;
        }
        Ok(())
    }

    /// Reads all leaves. Documents of which one leaf is not ltr's are left out.
    fn leaves(&mut self, conflicts: Vec<Conflict>) -> Result<BTreeMap<String, Leaves>> {
        let mut all = BTreeMap::new();
        let mut wanted = Vec::new();
        for conflict in conflicts {
            wanted.extend(conflict.others.iter().map(|rev| json!({"id": conflict.id, "rev": rev})));
            let expected = conflict.others.len() + 1;
            all.insert(conflict.id, Leaves { all: vec![conflict.winner], expected });
        }
        for wanted in wanted.chunks(LEAVES) {
            let text = body(&json!({ "docs": wanted }))?;
            let answer = self.client.text(&Method::POST, "_bulk_get", Some(&text), self.patience)?;
            let Got { results } = self.client.understood(&answer)?;
            for result in results {
                for leaf in result.docs.into_iter().filter_map(|leaf| leaf.ok) {
                    let map: Map<String, Value> = serde_json::from_str(leaf.get()).unwrap_or_default();
                    let rev = map.get("_rev").and_then(Value::as_str).unwrap_or_default().to_owned();
                    if let Some(document) = self.heard(&result.id, of_map(&result.id, map, crate::chance::now()))?
                        && let Some(leaves) = all.get_mut(&result.id)
                    {
                        leaves.all.push((rev, document));
                    }
                }
            }
        }
        all.retain(|_, leaves| leaves.all.len() == leaves.expected);
        Ok(all)
    }
}

fn is(leaf: &Document, merged: &Document) -> bool {
    leaf.stamp() == merged.stamp() && with_rev(leaf, None).ok() == with_rev(merged, None).ok()
}

fn deletion(id: &str, rev: &str) -> Value {
    json!({"_id": id, "_rev": rev, "_deleted": true})
}

/// CouchDB's order of revisions: the generation, then the text.
fn order(rev: &str) -> (u64, String) {
    let (generation, rest) = rev.split_once('-').unwrap_or(("0", rev));
    (generation.parse().unwrap_or(0), rest.to_owned())
}
