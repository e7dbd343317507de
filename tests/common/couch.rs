//! A server that speaks CouchDB's protocol, on a loopback port: pouchdb-server, which tests/prepare.sh
//! installs, or the real one that LTR_TEST_COUCHDB (`http://admin:password@127.0.0.1:5984`) names.
//!
//! Tests that run at the same time share it. It is ended by its process id with the last of them, and also
//! when the tests are killed; databases have random names and are removed.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]
#![allow(missing_docs, reason = "helpers of tests")]

use std::cell::RefCell;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The login of the server that is started.
pub const ADMIN: &str = "admin";
pub const PASSWORD: &str = "correct-horse";

/// A server, and the databases that a test makes there.
pub struct Couch {
    server: Option<Arc<Server>>,
    /// `http://admin:password@127.0.0.1:5984`.
    url: String,
    names: RefCell<Vec<String>>,
}

struct Server {
    dir: tempfile::TempDir,
    port: u16,
    child: Mutex<Child>,
}

static SERVERS: [Mutex<Weak<Server>>; 2] = [const { Mutex::new(Weak::new()) }; 2];

impl Couch {
    pub fn start() -> Self {
        Self::numbered(0)
    }

    /// Another one, as on another computer. A real server stands for both.
    pub fn another() -> Self {
        Self::numbered(1)
    }

    fn numbered(number: usize) -> Self {
        if let Ok(url) = std::env::var("LTR_TEST_COUCHDB") {
            return Self { server: None, url: url.trim_end_matches('/').to_owned(), names: RefCell::default() };
        }
        let mut shared = SERVERS[number].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(Server::start()));
        *shared = Arc::downgrade(&server);
        let url = format!("http://{ADMIN}:{PASSWORD}@127.0.0.1:{}", server.port);
        Self { server: Some(server), url, names: RefCell::default() }
    }

    /// Whether it is CouchDB itself: LTR_TEST_COUCHDB may name a stand-in that somebody else started.
    pub fn is_real(&self) -> bool {
        self.server.is_none() && get(&self.url)["couchdb"] == "Welcome"
    }

    /// The URL of a database of this test's own, which is not made yet.
    pub fn database(&self) -> String {
        let name = format!("ltr-test-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        self.names.borrow_mut().push(name.clone());
        format!("{}/{name}", self.url)
    }

    pub fn server_url(&self) -> &str {
        &self.url
    }

    /// `127.0.0.1:5984`.
    pub fn address(&self) -> &str {
        self.url.rsplit_once('@').unwrap().1
    }
}

/// The same URL without login.
pub fn bare(url: &str) -> String {
    match url.split_once('@') {
        Some((_, rest)) => format!("http://{rest}"),
        None => url.to_owned(),
    }
}

/// The same URL with the user alone.
pub fn with_user(url: &str) -> String {
    let (before, after) = url.split_once('@').unwrap();
    format!("{}@{after}", before.rsplit_once(':').unwrap().0)
}

/// The answer to a request, with its status. The login is that of the URL.
pub fn request(method: &str, url: &str, body: Option<&Value>) -> (u16, Value) {
    use base64::Engine as _;
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(bare(url)).header("content-type", "application/json");
    if let Some((login, _)) = url.strip_prefix("http://").unwrap().split_once('@') {
        let text = base64::engine::general_purpose::STANDARD.encode(login);
        request = request.header("authorization", format!("Basic {text}"));
    }
    let mut answer = match body {
        Some(body) => agent.run(request.body(body.to_string()).unwrap()).unwrap(),
        None => agent.run(request.body(()).unwrap()).unwrap(),
    };
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub fn get(url: &str) -> Value {
    let (status, value) = request("GET", url, None);
    assert!(status < 300, "GET {}: {status} {value}", bare(url));
    value
}

#[track_caller]
pub fn send(method: &str, url: &str, body: &Value) -> Value {
    let (status, value) = request(method, url, Some(body));
    assert!(status < 300, "{method} {}: {status} {value}", bare(url));
    value
}

/// All documents of a database that are not its design, by key.
pub fn documents(url: &str) -> std::collections::BTreeMap<String, Value> {
    let all = get(&format!("{url}/_all_docs?include_docs=true&conflicts=true"));
    let rows = all["rows"].as_array().unwrap().iter();
    let documents = rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row["doc"].clone()));
    documents.filter(|(id, _)| !id.starts_with('_')).collect()
}

/// Replicates as CouchDB does it, conflicts and all.
pub fn replicate(from: &str, to: &str) {
    let server = from.rsplit_once('/').unwrap().0;
    let answer = send("POST", &format!("{server}/_replicate"), &json!({"source": from, "target": to}));
    assert_eq!(answer["ok"], true, "{answer}");
}

impl Server {
    fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/couch/node_modules/.bin/pouchdb-server");
        assert!(program.exists(), "{} is not installed: run tests/prepare.sh", program.display());
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new("sh");
            // its end is that of the pipe, whatever becomes of the tests
            command.args(["-c", "\"$@\" </dev/null >log 2>&1 & pid=$!; cat >/dev/null; kill \"$pid\"; wait \"$pid\"", "sh"]);
            command.arg(&program).args(["--in-memory", "--host", "127.0.0.1", "--port", &port.to_string()]);
            // without this some requests kill it
            command.env("NODE_OPTIONS", "--unhandled-rejections=warn").current_dir(dir.path());
            let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let server = Self { dir, port, child: Mutex::new(child) };
            if server.wait() {
                let url = format!("http://127.0.0.1:{port}/_config/admins/{ADMIN}");
                send("PUT", &url, &json!(PASSWORD));
                return server;
            }
        }
        panic!("pouchdb-server does not start");
    }

    fn wait(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            if log.contains("EADDRINUSE") {
                return false;
            }
            if log.contains("has started") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

impl Drop for Couch {
    fn drop(&mut self) {
        // what was started keeps nothing
        if self.server.is_none() {
            for name in self.names.borrow().iter() {
                let _ = request("DELETE", &format!("{}/{name}", self.url), None);
            }
        }
    }
}
