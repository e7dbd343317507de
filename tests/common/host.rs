//! A machine that works on a database, through the library, and the documents that tests put there.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use litter::couch::credentials;
use litter::couch::design::init;
use litter::couch::places::Places;
use litter::couch::url::Database;
use litter::couch::visit::{Visit, Visited, visit};
use litter::index::sqlite::{Access, Sqlite};
use litter::index::{Index, Origin};
use litter::record::Document;
use litter::report::Collected;
use serde_json::{Value, json};

/// A machine that works on a database.
pub struct Host {
    _dir: tempfile::TempDir,
    pub places: Places,
    pub url: Database,
    pub said: Collected,
}

impl Host {
    pub fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut places = Places::below(dir.path());
        // the machine that tests is slow
        places.wait = Duration::from_secs(10);
        let url = Database::parse(url).unwrap();
        credentials::keep(&places, &url).unwrap();
        Self { _dir: dir, places, url: url.without_password(), said: Collected::default() }
    }

    /// One of a new database with a space.
    pub fn first(url: &str) -> Self {
        let mut host = Self::new(url);
        init(&host.places, &host.url).unwrap();
        host.sync();
        host.put(&[space(), box_document("a", 1, "/a")]);
        host.sync();
        host
    }

    pub fn visit(&mut self, wish: &Visit) -> anyhow::Result<Visited> {
        visit(&self.places, &self.url, wish, &mut self.said)
    }

    pub fn insist(&mut self) -> anyhow::Result<Visited> {
        self.visit(&Visit { insist: true, ..Visit::default() })
    }

    #[track_caller]
    pub fn sync(&mut self) -> Visited {
        let visited = self.insist().unwrap();
        assert_eq!((visited.pending, &self.said.failures), (0, &Vec::new()));
        visited
    }

    pub fn index(&self) -> Sqlite {
        Sqlite::open(&self.places.replica(&self.url), Access::Write).unwrap()
    }

    /// As a command of this machine does.
    pub fn put(&self, documents: &[Value]) {
        let documents: Vec<Document> = documents.iter().map(|d| Document::from_json(&d.to_string()).unwrap()).collect();
        self.index().put(&documents, Origin::Here).unwrap();
    }

    /// Everything in the replica, as it is in a database.
    pub fn all(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let keep = &mut |document: Document| {
            all.insert(document.id(), serde_json::from_str(&document.canonical()).unwrap());
            Ok(())
        };
        self.index().changes(None, keep).unwrap();
        all
    }
}

pub fn stamp(ms: u64) -> String {
    format!("{ms:012x}-0000-0000000a")
}

pub fn space() -> Value {
    json!({"_id": "space", "type": "space", "uuid": "6f1c3f9e-0000-4000-8000-0123456789ab", "name": "x", "format": 1, "mincopies": 1, "stamp": stamp(1)})
}

pub fn box_document(name: &str, ms: u64, url: &str) -> Value {
    json!({"_id": name, "type": "box", "uuid": name, "policy": "complete", "urls": [url], "stamp": stamp(ms),
           "stamps": {"policy": stamp(1), "urls": stamp(ms), "uuid": stamp(1)}})
}

pub fn entry(path: &str, ms: u64) -> Value {
    json!({"_id": format!("a:{path}"), "type": "entry", "box": "a", "path": path, "ftype": "file", "present": true, "commit": 1,
           "size": 1, "mtime": 1, "mtime_nsec": 0, "mode": "0644", "sha1": format!("{ms:040x}"), "version": {"0000000a": ms}, "stamp": stamp(ms)})
}
