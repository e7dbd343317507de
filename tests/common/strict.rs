//! What CouchDB does and the stand-in does not, as a server of a few databases in memory: it wants a login, its
//! update sequences are opaque, its answers come a row a line, and it refuses whole batches. As issue 4 lists it,
//! measured on CouchDB 3.4.3; the answers are worded as CouchDB words them. No conflicts, no views.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::{Value, json};

/// Who may do everything, and who only reads and writes documents where `_security` has the name.
pub const ADMIN: &str = "admin:correct-horse";
pub const MEMBER: &str = "thomas:batt%65ry";

/// Longest document: `max_document_size` of 3.4.
const DOCUMENT_MAX: usize = 8_000_000;

/// A request that came through.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub body: String,
}

/// What a test does with a request in place of the server: `None` lets it through.
pub type Whim = Box<dyn FnMut(&Asked) -> Option<Odd> + Send>;

/// What is odd about an answer.
#[derive(Clone, Debug)]
pub enum Odd {
    Status(u16, Value),
    /// The connection ends after so many bytes of the answer, which was made.
    Cut(usize),
    /// The connection is closed, and nothing was done.
    Closed,
    /// The answer comes after so many milliseconds.
    Late(u64),
}

#[derive(Default)]
struct Database {
    /// The newest first: number, key.
    log: Vec<(u64, String)>,
    documents: BTreeMap<String, (u64, String)>,
    local: BTreeMap<String, Value>,
    security: Value,
    seq: u64,
}

#[derive(Default)]
struct State {
    databases: BTreeMap<String, Database>,
    whim: Option<Whim>,
    asked: Vec<Asked>,
    /// Another login than [`ADMIN`].
    admin: Option<String>,
}

pub struct Strict {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

type Answer = (u16, Vec<u8>);

fn says(status: u16, error: &str, reason: &str) -> Answer {
    (status, json!({"error": error, "reason": reason}).to_string().into_bytes())
}

fn good(value: &Value) -> Answer {
    (200, value.to_string().into_bytes())
}

/// An update sequence as a cluster has it.
fn opaque(seq: u64) -> Value {
    json!(format!("{seq}-g1AAAACTeJzLYWBg{:06x}+/_=", seq * 7919))
}

fn seq_of(text: &str) -> Option<u64> {
    let seq = text.split('-').next()?.parse().ok()?;
    (opaque(seq).as_str() == Some(text)).then_some(seq)
}

impl Strict {
    pub fn start() -> Self {
        Self::behind(Ok)
    }

    /// One that only this login may do everything with.
    pub fn of(admin: &str) -> Self {
        let couch = Self::start();
        couch.state.lock().unwrap().admin = Some(admin.to_owned());
        couch
    }

    /// Behind what makes of a connection another one: TLS.
    pub fn behind<S: Read + Write>(wrap: impl Fn(TcpStream) -> std::io::Result<S> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let (all, wrap) = (Arc::clone(&state), Arc::new(wrap));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (state, wrap) = (Arc::clone(&all), Arc::clone(&wrap));
                client.set_nodelay(true).unwrap();
                std::thread::spawn(move || drop(wrap(client).and_then(|client| serve(client, &state))));
            }
        });
        Self { port, state }
    }

    /// The URL of a database, for the user with the password.
    pub fn url(&self, login: &str, name: &str) -> String {
        format!("http://{login}@127.0.0.1:{}/{name}", self.port)
    }

    /// From now on.
    pub fn whim(&self, whim: impl FnMut(&Asked) -> Option<Odd> + Send + 'static) {
        self.state.lock().unwrap().whim = Some(Box::new(whim));
    }

    pub fn no_whim(&self) {
        self.state.lock().unwrap().whim = None;
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// The documents of a database that are not its design, without revisions.
    pub fn documents(&self, name: &str) -> BTreeMap<String, Value> {
        let state = self.state.lock().unwrap();
        let all = state.databases[name].documents.iter().filter(|(id, _)| !id.starts_with('_'));
        all.filter_map(|(id, (_, text))| Some((id.clone(), serde_json::from_str(text).ok()?))).collect()
    }

    /// Puts a text there as it is, which is a document without its revision.
    pub fn plant(&self, name: &str, id: &str, text: &str) {
        let mut state = self.state.lock().unwrap();
        let database = state.databases.get_mut(name).unwrap();
        database.seq += 1;
        database.log.push((database.seq, id.to_owned()));
        database.documents.insert(id.to_owned(), (1, text.to_owned()));
    }

    /// How often a document was written.
    pub fn generation(&self, name: &str, id: &str) -> u64 {
        self.state.lock().unwrap().databases[name].documents[id].0
    }

    pub fn security(&self, name: &str) -> Value {
        self.state.lock().unwrap().databases[name].security.clone()
    }
}

fn serve(client: impl Read + Write, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or("").to_owned(), words.next().unwrap_or("").to_owned());
        let (mut length, mut login) = (0, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            match header.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => panic!("a request in chunks: {line}"),
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                    let bytes = base64::engine::general_purpose::STANDARD.decode(value.trim_start_matches("Basic ")).unwrap();
                    login = Some(String::from_utf8(bytes).unwrap());
                }
                None => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let asked = Asked { method, path, body: String::from_utf8_lossy(&body).into_owned() };
        let (odd, answer) = {
            let mut state = state.lock().unwrap();
            state.asked.push(asked.clone());
            let odd = state.whim.as_mut().and_then(|whim| whim(&asked));
            let answer = match &odd {
                Some(Odd::Status(status, value)) => (*status, value.to_string().into_bytes()),
                Some(Odd::Closed) => return Ok(()),
                _ => state.answer(&asked, login.as_deref(), &body),
            };
            (odd, answer)
        };
        if let Some(Odd::Late(ms)) = odd {
            std::thread::sleep(std::time::Duration::from_millis(ms));
        }
        // in pieces, as CouchDB sends it
        let mut text = format!("HTTP/1.1 {} X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n", answer.0)
            .into_bytes();
        for piece in answer.1.chunks(1 << 14) {
            text.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            text.extend(piece);
            text.extend(b"\r\n");
        }
        text.extend(b"0\r\n\r\n");
        if let Some(Odd::Cut(bytes)) = odd {
            return reader.get_mut().write_all(&text[..bytes.min(text.len() - 1)]);
        }
        reader.get_mut().write_all(&text)?;
        reader.get_mut().flush()?;
    }
}

impl State {
    fn answer(&mut self, asked: &Asked, login: Option<&str>, body: &[u8]) -> Answer {
        let member = MEMBER.replace("%65", "e");
        let Some(login) = login else { return says(401, "unauthorized", "You are not authorized to access this db.") };
        let is_admin = login == self.admin.as_deref().unwrap_or(ADMIN);
        if !is_admin && login != member {
            return says(401, "unauthorized", "Name or password is incorrect.");
        }
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let (name, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        if asked.path.len() > 8192 {
            return says(400, "bad_request", "Request URI too long");
        }
        let Ok(value) = (if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(body) }) else {
            return says(400, "bad_request", "invalid UTF-8 JSON");
        };
        match (asked.method.as_str(), name) {
            (_, "_replicate") => return self.replicate(&value),
            (method, "_replicator") if is_admin => return self.replicator(method, rest, query, value),
            (_, name) if name.starts_with('_') => return says(403, "forbidden", "You are not a server admin."),
            ("PUT", name) if rest.is_empty() => {
                if !is_admin {
                    return says(401, "unauthorized", "You are not a server admin.");
                }
                if self.databases.contains_key(name) {
                    return says(412, "file_exists", "The database could not be created, the file already exists.");
                }
                // what 3.x sets by itself
                let security = json!({"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}});
                self.databases.insert(name.to_owned(), Database { security, ..Database::default() });
                return (201, b"{\"ok\":true}".to_vec());
            }
            ("DELETE", name) if rest.is_empty() => {
                self.databases.remove(name);
                return good(&json!({"ok": true}));
            }
            _ => {}
        }
        let Some(database) = self.databases.get_mut(name) else { return says(404, "not_found", "Database does not exist.") };
        let user = login.split(':').next().unwrap_or_default();
        let names = |who: &str| database.security[who]["names"].as_array().is_some_and(|names| names.iter().any(|n| n == user));
        if !is_admin && !names("members") && !names("admins") {
            return says(403, "forbidden", "You are not allowed to access this db.");
        }
        let is_admin = is_admin || names("admins");
        database.answer(asked, rest, query, value, is_admin)
    }

    fn replicate(&self, value: &Value) -> Answer {
        for end in ["source", "target"] {
            let url = value[end].as_str().unwrap_or_default();
            if !self.databases.contains_key(url.rsplit('/').next().unwrap_or_default()) {
                return says(500, "db_not_found", &format!("could not open {url}"));
            }
        }
        good(&json!({"ok": true, "session_id": "5", "source_last_seq": opaque(5), "replication_id_version": 4, "history": [
            {"session_id": "5", "start_time": "Sun, 22 Nov 2026 09:00:00 GMT", "end_time": "Sun, 22 Nov 2026 09:00:01 GMT",
             "start_last_seq": 0, "end_last_seq": opaque(5), "recorded_seq": opaque(5), "missing_checked": 5, "missing_found": 4,
             "docs_read": 4, "docs_written": 4, "doc_write_failures": 0, "bulk_get_docs": 4, "bulk_get_attempts": 4}]}))
    }

    fn replicator(&mut self, method: &str, id: &str, query: &str, value: Value) -> Answer {
        let local = &mut self.databases.entry("_replicator".to_owned()).or_default().local;
        let rev = query.strip_prefix("rev=");
        match (method, local.get(id)) {
            ("GET", Some(there)) => good(there),
            ("PUT", None) => {
                let mut there = value;
                there["_rev"] = json!("1-a1");
                local.insert(id.to_owned(), there);
                (201, json!({"ok": true, "id": id, "rev": "1-a1"}).to_string().into_bytes())
            }
            ("PUT", Some(there)) if there["_rev"] == value["_rev"] => good(&json!({"ok": true, "id": id, "rev": "1-a1"})),
            ("DELETE", Some(there)) if there["_rev"].as_str() == rev => {
                local.remove(id);
                good(&json!({"ok": true, "id": id, "rev": "2-b"}))
            }
            (_, None) => says(404, "not_found", "missing"),
            _ => says(409, "conflict", "Document update conflict."),
        }
    }
}

impl Database {
    fn answer(&mut self, asked: &Asked, rest: &str, query: &str, value: Value, is_admin: bool) -> Answer {
        let rest = percent_encoding::percent_decode_str(rest).decode_utf8().unwrap().into_owned();
        match (asked.method.as_str(), rest.as_str()) {
            ("GET", "") => good(
                &json!({"db_name": "x", "update_seq": opaque(self.seq), "doc_count": self.documents.len(), "doc_del_count": 0}),
            ),
            ("GET", "_security") => good(&self.security),
            ("PUT", "_security") if is_admin => {
                self.security = value;
                good(&json!({"ok": true}))
            }
            ("PUT", "_security") => says(401, "unauthorized", "You are not a db or server admin."),
            (method, rest) if rest.starts_with("_local/") => match (method, self.local.get(rest)) {
                ("GET", Some(there)) => good(there),
                ("PUT", None) => {
                    self.local.insert(rest.to_owned(), value);
                    (201, json!({"ok": true, "id": rest, "rev": "0-1"}).to_string().into_bytes())
                }
                ("PUT", Some(_)) => says(409, "conflict", "Document update conflict."),
                _ => says(404, "not_found", "missing"),
            },
            ("GET", "_changes") => self.changes(query),
            ("POST", "_all_docs") => self.all_docs(&value),
            ("POST", "_bulk_docs") => self.bulk_docs(&value, is_admin),
            ("PUT", rest) if rest.starts_with("_design/") && !is_admin => {
                says(403, "forbidden", "You are not a db or server admin.")
            }
            ("PUT", rest) => {
                let mut document = value;
                document["_id"] = json!(rest);
                match self.write(&document) {
                    Ok(rev) => (201, json!({"ok": true, "id": rest, "rev": rev}).to_string().into_bytes()),
                    Err(answer) => answer,
                }
            }
            ("GET", rest) => match self.documents.get(rest) {
                Some(there) => (200, text_of(there).into_bytes()),
                None => says(404, "not_found", "missing"),
            },
            ("DELETE", rest) => match (self.documents.get(rest), query.strip_prefix("rev=")) {
                (None, _) => says(404, "not_found", "missing"),
                (Some((n, _)), Some(rev)) if rev == rev_of(*n) => good(&json!({"ok": true})),
                _ => says(409, "conflict", "Document update conflict."),
            },
            _ => says(405, "method_not_allowed", "Only GET,HEAD allowed"),
        }
    }

    fn write(&mut self, document: &Value) -> Result<String, Answer> {
        let id = document["_id"].as_str().unwrap_or_default().to_owned();
        let number = self.documents.get(&id).map_or(0, |there| there.0);
        let given = document["_rev"].as_str().map(str::to_owned);
        if given != (number > 0).then(|| rev_of(number)) {
            return Err(says(409, "conflict", "Document update conflict."));
        }
        let mut text = document.clone();
        text.as_object_mut().unwrap().remove("_rev");
        self.seq += 1;
        if number > 0 {
            self.log.retain(|(_, other)| *other != id);
        }
        self.log.push((self.seq, id.clone()));
        self.documents.insert(id, (number + 1, text.to_string()));
        Ok(rev_of(number + 1))
    }

    fn bulk_docs(&mut self, value: &Value, is_admin: bool) -> Answer {
        let documents = value["docs"].as_array().cloned().unwrap_or_default();
        // nothing of it is written
        for document in &documents {
            match document["_id"].as_str() {
                Some("") => return says(400, "illegal_docid", "Document id must not be empty"),
                Some(id) if id.starts_with('_') && !id.starts_with("_design/") && !id.starts_with("_local/") => {
                    return says(400, "illegal_docid", "Only reserved document ids may start with underscore.");
                }
                Some(id) if document.to_string().len() > DOCUMENT_MAX => return says(413, "document_too_large", id),
                _ => {}
            }
        }
        let rows = documents.iter().map(|document| {
            let id = document["_id"].as_str().unwrap_or_default();
            if id.starts_with("_design/") && !is_admin {
                return json!({"id": id, "error": "forbidden", "reason": "You are not a db or server admin."});
            }
            match self.write(document) {
                Ok(rev) => json!({"ok": true, "id": id, "rev": rev}),
                Err((_, text)) => {
                    let mut said: Value = serde_json::from_slice(&text).unwrap();
                    said["id"] = json!(id);
                    said
                }
            }
        });
        let rows: Vec<Value> = rows.collect();
        (201, Value::Array(rows).to_string().into_bytes())
    }

    fn changes(&self, query: &str) -> Answer {
        let of = |key: &str| query.split('&').find_map(|part| part.strip_prefix(key).and_then(|p| p.strip_prefix('=')));
        let since = of("since").map(|text| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned());
        let Some(since) = since.map_or(Some(0), |text| seq_of(&text)) else {
            return says(400, "bad_request", "Malformed sequence supplied in 'since' parameter.");
        };
        let limit = of("limit").map_or(usize::MAX, |text| text.parse().unwrap());
        let new: Vec<&(u64, String)> = self.log.iter().filter(|(seq, _)| *seq > since).collect();
        let mut text = "{\"results\":[\n".to_owned();
        for (number, (seq, id)) in new.iter().take(limit).enumerate() {
            let there = &self.documents[id];
            let doc = if of("include_docs").is_some() { format!(",\"doc\":{}", text_of(there)) } else { String::new() };
            let comma = if number > 0 { ",\n" } else { "" };
            let (seq, id, rev) = (opaque(*seq), json!(id), json!(rev_of(there.0)));
            text += &format!("{comma}{{\"seq\":{seq},\"id\":{id},\"changes\":[{{\"rev\":{rev}}}]{doc}}}");
        }
        let last = new.iter().take(limit).next_back().map_or(since, |(seq, _)| *seq);
        text += &format!("\n],\n\"last_seq\":{},\"pending\":{}}}\n", opaque(last), new.len().saturating_sub(limit));
        (200, text.into_bytes())
    }

    fn all_docs(&self, value: &Value) -> Answer {
        let mut text = format!("{{\"total_rows\":{},\"rows\":[\n", self.documents.len());
        for (number, key) in value["keys"].as_array().into_iter().flatten().enumerate() {
            let comma = if number > 0 { ",\n" } else { "" };
            let row = match self.documents.get(key.as_str().unwrap_or_default()) {
                Some(there) => {
                    format!(
                        "{{\"id\":{key},\"key\":{key},\"value\":{{\"rev\":\"{}\"}},\"doc\":{}}}",
                        rev_of(there.0),
                        text_of(there)
                    )
                }
                None => format!("{{\"key\":{key},\"error\":\"not_found\"}}"),
            };
            text += &format!("{comma}{row}");
        }
        (200, (text + "\n]}\n").into_bytes())
    }
}

fn rev_of(number: u64) -> String {
    format!("{number}-{number:032x}")
}

/// With the revision, and the key first.
fn text_of((number, text): &(u64, String)) -> String {
    format!("{{\"_rev\":\"{}\",{}", rev_of(*number), &text[1..])
}
