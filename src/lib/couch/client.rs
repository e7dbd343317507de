//! Requests to a database: each with a deadline, none redirected, every failure named without the
//! password.
//!
//! CouchDB ends neither a longpoll nor a slow view by itself, and what is at an address need not be a
//! CouchDB at all; so nothing is waited for without end, and nothing is read that could not be an answer.

use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};
use ureq::config::ConfigBuilder;
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::middleware::Middleware;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;
use ureq::{Agent, Body};

use super::credentials;
use super::places::Places;
use super::url::{Database, Secret, encode};

/// Longest answer that is kept in memory whole: that of a `_bulk_docs` with the largest batch.
const ANSWER_MAX: u64 = 64 << 20;

/// How long a person waits who wants an answer: to connect, for the first byte, and for each further one.
const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(120);
const READ: Duration = Duration::from_secs(60);
/// For a command that has something else to do: so many times what the first answer may take.
const BRIEF: u32 = 20;
/// For what the server does at its own pace, such as a replication.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Only for the first answer, which must come at once: the work can go on without it.
    Probe,
    /// The work can go on without it, but the server has just answered.
    Brief,
    /// Somebody asked for it.
    Patient,
    /// The server has much to do.
    Long,
}

/// Why a request was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody answers, or not to the end.
    Away,
    /// There is no such database or document.
    Missing,
    /// The login is wrong or missing (401), or may not do this (403).
    Denied,
    /// The body is too large (413), or something in it is refused (400).
    Unfit,
    /// It is no CouchDB, says what CouchDB does not say, or cannot prove to be the machine that was meant.
    Foreign,
    /// Anything else that the server reports.
    Refused,
}

/// A request that was in vain: which database, and why.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What to do about it.
    pub kind: Kind,
    /// The database, without its password.
    pub database: String,
    /// Why.
    pub cause: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.database, self.cause)
    }
}

impl std::error::Error for Trouble {}

/// The kind of trouble that an error is, where it is one with a server.
#[must_use]
pub fn kind_of(error: &anyhow::Error) -> Option<Kind> {
    error.chain().find_map(|cause| cause.downcast_ref::<Trouble>()).map(|t| t.kind)
}

type Config = ConfigBuilder<AgentScope>;

/// A client of one database.
pub struct Client {
    database: Database,
    agent: Agent,
    places: Places,
    login: RefCell<Option<(String, Secret)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.database)
    }
}

impl Client {
    /// For `database`, with the login that is known for it. Nothing is asked yet.
    ///
    /// # Errors
    /// Passwords or certificates cannot be read.
    pub fn new(places: &Places, database: &Database) -> Result<Self> {
        Self::made(places, database, |config| config)
    }

    /// A client whose requests `server` answers, so that nothing goes over a wire. For tests.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn simulated(places: &Places, database: &Database, server: impl Middleware) -> Result<Self> {
        Self::made(places, database, |config| config.middleware(server))
    }

    fn made(places: &Places, database: &Database, more: impl FnOnce(Config) -> Config) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("ltr/", env!("CARGO_PKG_VERSION")))
            .max_idle_age(Duration::from_secs(5))
            .timeout_resolve(Some(CONNECT))
            .tls_config(tls(places, database)?);
        let config = more(config).build();
        let login = credentials::look_up(places, database)?;
        Ok(Self {
            database: database.without_password(),
            agent: config.into(),
            places: places.clone(),
            login: RefCell::new(login),
        })
    }

    /// Another one with the same login, for a thread of its own.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self {
            database: self.database.clone(),
            agent: self.agent.clone(),
            places: self.places.clone(),
            login: self.login.clone(),
        }
    }

    /// The database, without the password.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Who is logged in, with the password.
    #[must_use]
    pub fn login(&self) -> Option<(String, Secret)> {
        self.login.borrow().clone()
    }

    /// A request about the database, or (`path` begins with `/`) the server. The answer, a JSON value, is
    /// kept in memory.
    ///
    /// # Errors
    /// A [`Trouble`].
    pub fn ask(&self, method: &Method, path: &str, body: Option<&[u8]>, patience: Patience) -> Result<Value> {
        self.understood(&self.text(method, path, body, patience)?)
    }

    /// The same, as it comes.
    ///
    /// # Errors
    /// A [`Trouble`].
    pub fn text(&self, method: &Method, path: &str, body: Option<&[u8]>, patience: Patience) -> Result<Vec<u8>> {
        let answer = self.send(method, path, body, patience)?;
        let mut text = Vec::new();
        let read = answer.into_body().into_with_config().limit(ANSWER_MAX).reader().read_to_end(&mut text);
        read.map_err(|error| self.cut(&error))?;
        Ok(text)
    }

    /// What the text of an answer says.
    ///
    /// # Errors
    /// A [`Trouble`]: it is cut short, or says something else.
    pub fn understood<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T> {
        let no_json = || self.trouble(Kind::Foreign, "not a CouchDB: the answer is no JSON".to_owned());
        // a parser looks only at the texts that somebody asks for
        let text = str::from_utf8(text).map_err(|_| no_json())?;
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Eof => self.trouble(Kind::Away, "the answer ends in the middle".to_owned()),
            Category::Data => self.trouble(Kind::Foreign, "not the answer of a CouchDB".to_owned()),
            _ => no_json(),
        })
    }

    /// The same for an answer of any length, which is read as it comes.
    ///
    /// # Errors
    /// A [`Trouble`].
    pub fn stream(&self, method: &Method, path: &str, body: Option<&[u8]>, patience: Patience) -> Result<impl Read + use<>> {
        Ok(self.send(method, path, body, patience)?.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// What a failure to read or understand an answer means.
    #[must_use]
    pub fn cut(&self, error: &dyn fmt::Display) -> anyhow::Error {
        self.trouble(Kind::Away, format!("the answer ends in the middle ({})", self.hush(&error.to_string())))
    }

    /// A trouble with this database.
    #[must_use]
    pub fn trouble(&self, kind: Kind, cause: String) -> anyhow::Error {
        anyhow!(Trouble { kind, database: self.database.to_string(), cause })
    }

    /// Sends a request, again where the connection was lost (what is sent twice is written once), and once
    /// more where a person could tell the password.
    fn send(&self, method: &Method, path: &str, body: Option<&[u8]>, patience: Patience) -> Result<Response<Body>> {
        let mut answer = self.once(method, path, body, patience);
        let lost = matches!(&answer, Err(ureq::Error::Io(_) | ureq::Error::Protocol(_)));
        if lost && matches!(patience, Patience::Brief | Patience::Patient) {
            answer = self.once(method, path, body, patience);
        }
        let mut answer = answer.map_err(|error| self.away(&error))?;
        if answer.status() == 401 && matches!(patience, Patience::Patient) && self.ask_password()? {
            answer = self.once(method, path, body, patience).map_err(|error| self.away(&error))?;
            if answer.status() != 401
                && let Some((user, password)) = self.login()
            {
                credentials::keep(&self.places, &self.database.of(&user, Some(password)))?;
            }
        }
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer)) }
    }

    fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&[u8]>,
        patience: Patience,
    ) -> std::result::Result<Response<Body>, ureq::Error> {
        let url = match path.strip_prefix('/') {
            Some(rest) => format!("{}/{rest}", self.database.server()),
            None if path.is_empty() => self.database.key(),
            None => format!("{}/{path}", self.database.key()),
        };
        let mut request = Request::builder().method(method).uri(&url).header("accept", "application/json");
        if let Some((user, password)) = &*self.login.borrow() {
            request = request.header("authorization", format!("Basic {}", in_base64(user, password)));
        }
        let (connect, answer, read) = match patience {
            Patience::Probe => (self.places.wait, self.places.wait, self.places.wait),
            Patience::Brief => (self.places.wait * BRIEF, self.places.wait * BRIEF, self.places.wait * BRIEF),
            Patience::Patient => (CONNECT, ANSWER, READ),
            Patience::Long => (CONNECT, LONG, LONG),
        };
        let overall = (patience == Patience::Probe).then_some(self.places.wait);
        macro_rules! run {
            ($request:expr) => {{
                let request = self.agent.configure_request($request).timeout_global(overall).timeout_connect(Some(connect));
                let request = request.timeout_recv_response(Some(answer)).timeout_per_read(Some(read));
                self.agent.run(request.timeout_per_write(Some(answer)).build())
            }};
        }
        match body {
            Some(body) => run!(request.header("content-type", "application/json").body(body)?),
            // without one, a request that could have a body would come in chunks
            None if *method == Method::PUT => run!(request.body(&[][..])?),
            None => run!(request.body(())?),
        }
    }

    fn ask_password(&self) -> Result<bool> {
        let (Some(ask), Some(user)) = (self.places.ask, self.database.user()) else { return Ok(false) };
        let known = self.login.borrow().is_some();
        if known {
            return Ok(false);
        }
        let Some(password) = ask(&format!("Password for {user} at {}: ", self.database.server())) else { return Ok(false) };
        *self.login.borrow_mut() = Some((user.to_owned(), password));
        Ok(true)
    }

    fn away(&self, error: &ureq::Error) -> anyhow::Error {
        // rustls wraps what it finds in an error of this kind
        if let ureq::Error::Io(error) = error
            && self.database.tls()
            && error.kind() == std::io::ErrorKind::InvalidData
        {
            return self.trouble(Kind::Foreign, self.not_trusted(&error.to_string()));
        }
        let cause = match error {
            ureq::Error::HostNotFound => "no such host".to_owned(),
            ureq::Error::Timeout(_) => "does not answer in time".to_owned(),
            ureq::Error::Io(error) => format!("does not answer ({error})"),
            other => format!("does not answer ({other})"),
        };
        self.trouble(Kind::Away, self.hush(&cause))
    }

    /// What another server says, which was told the password.
    #[must_use]
    pub fn hushed(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<Trouble>() {
            Ok(trouble) => anyhow!(Trouble { cause: self.hush(&trouble.cause), ..trouble }),
            Err(error) => error,
        }
    }

    fn not_trusted(&self, why: &str) -> String {
        let hint = match &self.places.ca_file {
            _ if !why.contains("UnknownIssuer") => String::new(),
            None => "; LTR_CA_FILE names a file with the certificate of one's own authority".to_owned(),
            Some(file) => format!("; neither the system nor LTR_CA_FILE={} vouches for it", file.display()),
        };
        format!("no encrypted connection ({why}){hint}")
    }

    /// Nothing that a library or a server says may have the password in it, however it is spelled.
    #[must_use]
    pub fn hush(&self, text: &str) -> String {
        let Some((user, password)) = self.login() else { return text.to_owned() };
        let plain = password.reveal();
        let spellings = [plain.to_owned(), encode(plain), in_base64(&user, &password), in_json(plain)];
        let hidden = |text: String, spelling: String| if spelling.is_empty() { text } else { text.replace(&spelling, "...") };
        spellings.into_iter().fold(text.to_owned(), hidden)
    }

    fn refused(&self, answer: Response<Body>) -> anyhow::Error {
        let status = answer.status();
        let target = answer.headers().get("location").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let mut text = Vec::new();
        let read = answer.into_body().into_with_config().limit(1 << 20).reader().read_to_end(&mut text);
        self.meaning(status, target.as_deref(), if read.is_ok() { &text } else { b"" })
    }

    /// What an answer means that is no success: its status, the address that it leads to, and its body.
    #[must_use]
    pub fn meaning(&self, status: StatusCode, target: Option<&str>, text: &[u8]) -> anyhow::Error {
        let said: Map<String, Value> = serde_json::from_slice(text).unwrap_or_default();
        let part = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default();
        let (error, reason) = (part("error"), part("reason"));
        let couch = !error.is_empty();
        let told = self.hush(&format!("{error}: {reason}"));
        let (kind, cause) = match status.as_u16() {
            300..=399 => {
                let target = target.map(|t| format!(" to {}", self.hush(t.split(['?', '#']).next().unwrap_or_default())));
                (Kind::Foreign, format!("not a CouchDB: it redirects{}", target.unwrap_or_default()))
            }
            401 | 403 => (Kind::Denied, format!("{} ({})", self.denied(status.as_u16()), told.trim_end_matches(": "))),
            // a proxy says so in words of its own
            413 if !couch => (Kind::Unfit, "too large for the server (413)".to_owned()),
            code if !couch && code < 500 => (Kind::Foreign, format!("not a CouchDB: it answers {status} in no JSON")),
            404 => (Kind::Missing, format!("{told} (ltr init makes a database)")),
            400 | 413 => (Kind::Unfit, told),
            _ if couch => (Kind::Refused, format!("the server fails: {status}, {told}")),
            _ => (Kind::Refused, format!("the server fails: {status}")),
        };
        self.trouble(kind, cause)
    }

    /// Which login was refused, and where it is from.
    fn denied(&self, status: u16) -> String {
        let login = self.login.borrow();
        let file = self.places.credentials();
        match &*login {
            None => format!("it wants a login: none in {} or in {}", file.display(), self.places.netrc().display()),
            Some((user, _)) if status == 401 => {
                format!("it refuses the password of {user}: look at {} and {}", file.display(), self.places.netrc().display())
            }
            Some((user, _)) => format!("{user} may not do this (the login is from {} or .netrc)", file.display()),
        }
    }
}

/// A login as requests have it (RFC 7617).
fn in_base64(user: &str, password: &Secret) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{}", password.reveal()))
}

/// What is between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The system's certificates and one's own, where the connection is encrypted.
fn tls(places: &Places, database: &Database) -> Result<TlsConfig> {
    let mut roots: Vec<Certificate<'static>> = Vec::new();
    if database.tls() {
        // what cannot be read of them is missed when it is needed
        let system = rustls_native_certs::load_native_certs().certs;
        roots.extend(system.iter().map(|cert| Certificate::from_der(cert.as_ref()).to_owned()));
        if let Some(file) = &places.ca_file {
            let named = || file.display().to_string();
            let text = std::fs::read(file).with_context(named)?;
            let before = roots.len();
            for item in parse_pem(&text) {
                if let PemItem::Certificate(cert) = item.with_context(named)? {
                    roots.push(cert);
                }
            }
            ensure!(roots.len() > before, "{}: no certificate in it (LTR_CA_FILE)", file.display());
        }
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(roots))).build())
}

/// The body of a request, from a value.
///
/// # Errors
/// The value has no JSON form.
pub fn body(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    serde_json::to_writer(&mut text, value)?;
    text.flush()?;
    Ok(text)
}
