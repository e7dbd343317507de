//! Servers that speak CouchDB's protocol, in memory: real trees of revisions, the winner by the rule that
//! CouchDB documents (not deleted before deleted, then the longer history, then the greater revision), and
//! replication that brings every leaf with its history. What the client in the library asks for is
//! answered, and nothing else; any request can be lost, refused, or answered by half.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use litter::couch::client::Client;
use litter::couch::places::Places;
use litter::couch::url::Database as Url;
use litter::hash::sha1_of;
use serde_json::{Map, Value, json};
use ureq::http::{Request, Response};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Body, SendBody};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is lost before it arrives.
    Lost,
    /// It arrives, and its answer is lost.
    Unanswered,
    /// It arrives, and half of the answer comes back.
    Half,
    /// The server fails.
    Failed,
    /// The server stops: from here on nothing comes.
    Stopping,
    /// Another database is replicated to this one just before it.
    Overtaken,
}

pub const FAULTS: [Fault; 6] = [Fault::Lost, Fault::Unanswered, Fault::Half, Fault::Failed, Fault::Stopping, Fault::Overtaken];

/// A revision: what it replaces, whether it deletes, and the document's fields.
#[derive(Clone, Debug)]
struct Rev {
    parent: Option<String>,
    deleted: bool,
    fields: Map<String, Value>,
}

/// All revisions of one document.
#[derive(Clone, Debug, Default)]
struct Revs {
    all: BTreeMap<String, Rev>,
    /// When it was last changed.
    seq: u64,
}

fn generation(rev: &str) -> u64 {
    rev.split_once('-').unwrap().0.parse().unwrap()
}

impl Revs {
    /// Leaves, the winner first.
    fn leaves(&self) -> Vec<&str> {
        let parents: BTreeSet<&str> = self.all.values().filter_map(|rev| rev.parent.as_deref()).collect();
        let mut leaves: Vec<&str> = self.all.keys().map(String::as_str).filter(|rev| !parents.contains(rev)).collect();
        leaves.sort_by_key(|rev| std::cmp::Reverse((!self.all[*rev].deleted, generation(rev), *rev)));
        leaves
    }

    fn is_deleted(&self) -> bool {
        self.all[self.leaves()[0]].deleted
    }

    /// A new revision over `over`, where that may be replaced.
    fn edit(&mut self, over: Option<&str>, deleted: bool, fields: Map<String, Value>) -> Option<String> {
        let leaves = self.leaves();
        let parent = match over {
            Some(rev) => Some(leaves.iter().find(|leaf| **leaf == rev).filter(|leaf| !self.all[**leaf].deleted)?),
            None if leaves.is_empty() => None,
            // what was deleted can be made again
            None => leaves.first().filter(|leaf| self.all[**leaf].deleted && !deleted).map(Some)?,
        };
        let parent = parent.map(|leaf| (*leaf).to_owned());
        let text = json!([parent, deleted, fields]).to_string();
        let hash = &sha1_of(text.as_bytes()).to_string()[..32];
        let rev = format!("{}-{hash}", parent.as_deref().map_or(0, generation) + 1);
        self.all.insert(rev.clone(), Rev { parent, deleted, fields });
        Some(rev)
    }

    fn document(&self, id: &str, rev: &str, conflicts: bool) -> Value {
        let mut fields = self.all[rev].fields.clone();
        fields.insert("_id".to_owned(), id.into());
        fields.insert("_rev".to_owned(), rev.into());
        if self.all[rev].deleted {
            fields.insert("_deleted".to_owned(), true.into());
        }
        let others: Vec<&str> = self.leaves().into_iter().filter(|leaf| *leaf != rev && !self.all[*leaf].deleted).collect();
        if conflicts && !others.is_empty() {
            fields.insert("_conflicts".to_owned(), others.into());
        }
        fields.into()
    }
}

#[derive(Debug, Default)]
struct Database {
    documents: BTreeMap<String, Revs>,
    /// Those that do not travel.
    local: BTreeMap<String, Value>,
    seq: u64,
    away: bool,
}

/// Answers a request: a status and JSON.
type Answer = (u16, Value);

fn missing() -> Answer {
    (404, json!({"error": "not_found", "reason": "missing"}))
}

impl Database {
    fn changed(&mut self, id: &str) {
        self.seq += 1;
        if let Some(revs) = self.documents.get_mut(id) {
            revs.seq = self.seq;
        }
    }

    /// An update sequence is opaque: a text that begins with a number.
    fn opaque(seq: u64) -> Value {
        format!("{seq}-g1AAAA").into()
    }

    fn answer(&mut self, method: &str, path: &str, query: &BTreeMap<String, String>, body: &Value) -> Answer {
        match (method, path) {
            ("GET", "") => {
                let deleted = self.documents.values().filter(|revs| revs.is_deleted()).count();
                let there = self.documents.len() - deleted;
                let seq = Self::opaque(self.seq);
                (200, json!({"db_name": "x", "update_seq": seq, "doc_count": there, "doc_del_count": deleted}))
            }
            ("GET", "_changes") => self.changes(query),
            ("POST", "_all_docs") => {
                let keys = body["keys"].as_array().unwrap().iter();
                let rows: Vec<Value> = keys.map(|key| self.row(key.as_str().unwrap())).collect();
                (200, json!({"total_rows": self.documents.len(), "offset": 0, "rows": rows}))
            }
            ("POST", "_bulk_docs") => {
                let told: Vec<Value> = body["docs"].as_array().unwrap().iter().map(|document| self.write(document)).collect();
                (201, told.into())
            }
            ("POST", "_bulk_get") => {
                let wanted = body["docs"].as_array().unwrap().iter();
                let results: Vec<Value> = wanted.map(|one| self.leaf(one)).collect();
                (200, json!({"results": results}))
            }
            ("PUT", local) if local.starts_with("_local/") => {
                if self.local.contains_key(local) {
                    return (409, json!({"error": "conflict", "reason": "Document update conflict."}));
                }
                self.local.insert(local.to_owned(), body.clone());
                (201, json!({"ok": true, "id": local, "rev": "0-1"}))
            }
            ("GET", local) if local.starts_with("_local/") => self.local.get(local).map_or_else(missing, |d| (200, d.clone())),
            ("GET", id) if !id.starts_with('_') => match self.documents.get(id).filter(|revs| !revs.is_deleted()) {
                Some(revs) => (200, revs.document(id, revs.leaves()[0], false)),
                None => missing(),
            },
            _ => panic!("the stand-in does not know {method} {path}"),
        }
    }

    fn changes(&self, query: &BTreeMap<String, String>) -> Answer {
        let since = query.get("since").map_or(0, |since| since.split_once('-').unwrap().0.parse().unwrap());
        let limit: usize = query["limit"].parse().unwrap();
        let (all, with) = (query.get("style").is_some(), query.get("include_docs").is_some());
        let mut new: Vec<(&String, &Revs)> = self.documents.iter().filter(|(_, revs)| revs.seq > since).collect();
        new.sort_by_key(|(_, revs)| revs.seq);
        new.truncate(limit);
        let last = new.last().map_or(self.seq.max(since), |(_, revs)| revs.seq);
        let row = |(id, revs): (&String, &Revs)| {
            let leaves = revs.leaves();
            let told = if all { leaves.len() } else { 1 };
            let leaves_told: Vec<Value> = leaves[..told].iter().map(|rev| json!({ "rev": rev })).collect();
            let mut row = json!({"seq": Self::opaque(revs.seq), "id": id, "changes": leaves_told});
            if revs.is_deleted() {
                row["deleted"] = true.into();
            }
            if with {
                row["doc"] = revs.document(id, leaves[0], true);
            }
            row
        };
        let rows: Vec<Value> = new.into_iter().map(row).collect();
        (200, json!({"results": rows, "last_seq": Self::opaque(last), "pending": 0}))
    }

    fn row(&self, id: &str) -> Value {
        let Some(revs) = self.documents.get(id) else { return json!({"key": id, "error": "not_found"}) };
        let rev = revs.leaves()[0];
        if revs.is_deleted() {
            return json!({"id": id, "key": id, "value": {"rev": rev, "deleted": true}, "doc": null});
        }
        json!({"id": id, "key": id, "value": {"rev": rev}, "doc": revs.document(id, rev, true)})
    }

    fn write(&mut self, document: &Value) -> Value {
        let mut fields = document.as_object().unwrap().clone();
        let mut own = |key: &str| fields.remove(key);
        let id = own("_id").unwrap().as_str().unwrap().to_owned();
        let over = own("_rev").map(|rev| rev.as_str().unwrap().to_owned());
        let deleted = own("_deleted") == Some(true.into());
        match self.documents.entry(id.clone()).or_default().edit(over.as_deref(), deleted, fields) {
            Some(rev) => {
                self.changed(&id);
                json!({"ok": true, "id": id, "rev": rev})
            }
            None => {
                self.documents.retain(|_, revs| !revs.all.is_empty());
                json!({"id": id, "error": "conflict", "reason": "Document update conflict."})
            }
        }
    }

    fn leaf(&self, one: &Value) -> Value {
        let (id, rev) = (one["id"].as_str().unwrap(), one["rev"].as_str().unwrap());
        let found = self.documents.get(id).filter(|revs| revs.all.contains_key(rev));
        let doc = match found {
            Some(revs) => json!({"ok": revs.document(id, rev, false)}),
            None => json!({"error": {"id": id, "rev": rev, "error": "not_found", "reason": "missing"}}),
        };
        json!({"id": id, "docs": [doc]})
    }
}

#[derive(Debug, Default)]
struct Servers {
    databases: Vec<Database>,
    /// Of the requests from now on, which, and what becomes of them.
    spoil: Option<(std::ops::Range<u32>, Fault)>,
    requests: u32,
}

impl Servers {
    /// Replicates as CouchDB does it: each leaf with all that it came from; or only some documents, where it
    /// is cut short.
    fn replicate(&mut self, from: usize, to: usize, cut: Option<u32>) {
        if from == to || self.databases[from].away || self.databases[to].away {
            return;
        }
        let source = self.databases[from].documents.clone();
        let target = &mut self.databases[to];
        let some = cut.map_or(source.len(), |cut| cut as usize % (source.len() + 1));
        for (id, revs) in source.into_iter().take(some) {
            let there = target.documents.entry(id.clone()).or_default();
            let before = there.all.len();
            for (rev, new) in revs.all {
                there.all.entry(rev).or_insert(new);
            }
            if there.all.len() > before {
                target.changed(&id);
            }
        }
    }
}

/// The servers of a world, each with one database, and a client for each.
pub struct Couches {
    servers: Arc<Mutex<Servers>>,
    clients: Vec<Client>,
}

/// The wire.
struct Wire(Arc<Mutex<Servers>>);

impl Couches {
    pub fn new(count: usize) -> Self {
        let databases = (0..count).map(|_| Database::default()).collect();
        let servers = Arc::new(Mutex::new(Servers { databases, ..Servers::default() }));
        let nowhere = Places::below(std::path::Path::new("/nonexistent"));
        let client = |number: usize| {
            let url = Url::parse(&format!("http://user:password@server/d{number}")).unwrap();
            Client::simulated(&nowhere, &url, Wire(Arc::clone(&servers))).unwrap()
        };
        Self { clients: (0..count).map(client).collect(), servers }
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn count(&self) -> usize {
        self.clients.len()
    }

    pub fn client(&self, number: usize) -> &Client {
        &self.clients[number]
    }

    /// Spoils these of the next requests.
    pub fn spoil(&self, requests: std::ops::Range<u32>, fault: Fault) {
        let mut servers = self.servers();
        (servers.spoil, servers.requests) = (Some((requests, fault)), 0);
    }

    /// Spoils nothing from now on. Returns whether anything was spoilt.
    pub fn mend(&self) -> bool {
        let mut servers = self.servers();
        let spoil = servers.spoil.take();
        spoil.is_some_and(|(requests, _)| servers.requests > requests.start)
    }

    pub fn is_away(&self, number: usize) -> bool {
        self.servers().databases[number].away
    }

    pub fn set_away(&self, number: usize, away: bool) {
        self.servers().databases[number].away = away;
    }

    /// Deletes a database, and makes an empty one in its place.
    pub fn make_anew(&self, number: usize) {
        self.servers().databases[number] = Database::default();
    }

    /// How far each has come.
    pub fn seqs(&self) -> Vec<u64> {
        self.servers().databases.iter().map(|database| database.seq).collect()
    }

    /// Whether the database has a document.
    pub fn has(&self, number: usize, id: &str) -> bool {
        self.servers().databases[number].documents.get(id).is_some_and(|revs| !revs.is_deleted())
    }

    /// See [`Servers::replicate`].
    pub fn replicate(&self, from: usize, to: usize, cut: Option<u32>) {
        self.servers().replicate(from, to, cut);
    }

    /// The documents of a database as they were written, by key, and how many of them have conflicts.
    pub fn documents(&self, number: usize) -> (Vec<String>, usize) {
        let servers = self.servers();
        let there = servers.databases[number].documents.iter().filter(|(_, revs)| !revs.is_deleted());
        let mut conflicts = 0;
        let text = |(id, revs): (&String, &Revs)| {
            let mut document = revs.document(id, revs.leaves()[0], true);
            let fields = document.as_object_mut().unwrap();
            conflicts += usize::from(fields.remove("_conflicts").is_some());
            fields.remove("_rev");
            litter::record::Document::from_json(&document.to_string()).unwrap().canonical()
        };
        (there.map(text).collect(), conflicts)
    }
}

impl Middleware for Wire {
    fn handle(&self, request: Request<SendBody<'_>>, _: MiddlewareNext<'_>) -> Result<Response<Body>, ureq::Error> {
        let (head, body) = request.into_parts();
        let mut text = Vec::new();
        body.into_reader().read_to_end(&mut text)?;
        let gone = || ureq::Error::Io(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let mut servers = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = servers.requests;
        servers.requests += 1;
        let fault = servers.spoil.as_ref().filter(|(requests, _)| requests.contains(&number)).map(|s| s.1);
        let stopped = servers.spoil.as_ref().is_some_and(|s| s.1 == Fault::Stopping && number >= s.0.start);
        let (name, path) = head.uri.path()[1..].split_once('/').unwrap_or((&head.uri.path()[1..], ""));
        let at = name[1..].parse::<usize>().unwrap();
        if fault == Some(Fault::Overtaken) {
            let other = (at + 1) % servers.databases.len();
            servers.replicate(other, at, None);
        }
        let database = &mut servers.databases[at];
        if database.away || stopped || fault == Some(Fault::Lost) {
            return Err(gone());
        }
        let (status, answer) = match fault {
            Some(Fault::Failed) => (503, json!({"error": "unavailable", "reason": "by the test"})),
            _ => {
                let pairs = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
                let query = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                let body = if text.is_empty() { Value::Null } else { serde_json::from_slice(&text).unwrap() };
                database.answer(head.method.as_str(), path, &query, &body)
            }
        };
        let mut answer = answer.to_string().into_bytes();
        match fault {
            Some(Fault::Unanswered) => return Err(gone()),
            Some(Fault::Half) => answer.truncate(answer.len() / 2),
            _ => {}
        }
        Ok(Response::builder().status(status).header("content-type", "application/json").body(Body::builder().data(answer))?)
    }
}
