//! The fuzz targets: what must hold of any bytes that somebody else wrote. `cargo fuzz run NAME` looks
//! for bytes of which it does not hold; `tests/fuzz.rs` runs the same functions over `fuzz/corpus`.
//!
//! None of them only asks that nothing panics: what is taken is held against what it was taken from.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a property that fails is a panic")]

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use litter::cookie::Cookie;
use litter::couch::client::Client;
use litter::couch::places::Places;
use litter::couch::push::told;
use litter::couch::rows::read_rows;
use litter::couch::url::Database;
use litter::fetch::tar::Archive;
use litter::path::{SpacePath, escape, on_disk, unescape};
use litter::quote::{for_terminal, text_for_terminal};
use litter::record::{Action, Document, FileRecord, check_box_name};
use litter::report::Collected;
use litter::scan::Rules;
use litter::show::{self, Mode, Style};
use litter::space::{Remote, Space, check_host, folder_of};
use litter::ssh::Ssh;
use litter::stamp::Stamp;
use litter::stream::{Line, Reader, Writer};
use litter::version::Version;
use serde_json::{Map, Value};
use ureq::http::StatusCode;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, for the corpus.
pub const TARGETS: [Target; 9] = [
    ("stream", stream),
    ("document", document),
    ("records", records),
    ("path", path),
    ("url", url),
    ("ltrignore", ltrignore),
    ("terminal", terminal),
    ("tar", tar),
    ("couch", couch),
];

/// The type and the text of a line.
type Text = (String, String);

/// The lines of a stream, and how many of them are errors; `None` where it is damaged.
fn lines_of(data: &[u8]) -> Option<(Vec<Text>, u64)> {
    let (mut reader, mut lines, mut errors) = (Reader::new(data), Vec::new(), 0);
    loop {
        match reader.next_line().ok()? {
            Some(Line::Record { kind, json }) => lines.push((kind.into_owned(), json.to_owned())),
            Some(Line::Error(record)) => {
                errors += 1;
                lines.push(("error".to_owned(), serde_json::to_string(&record).unwrap()));
            }
            None => break,
        }
    }
    let end = reader.end().expect("a whole stream has a trailer");
    assert_eq!((end.count, end.errors), (lines.len() as u64, errors));
    assert!(reader.next_line().unwrap().is_none(), "nothing comes after a trailer");
    Some((lines, errors))
}

/// A stream that is whole reads the same when it is passed on, and no beginning of it is whole.
pub fn stream(data: &[u8]) {
    let Some((lines, errors)) = lines_of(data) else { return };
    let mut copy = Vec::new();
    let mut writer = Writer::new(&mut copy);
    for (kind, json) in &lines {
        // what a glance took for the type is what a parser finds, and what has two is of neither
        if let Ok(Value::Object(map)) = serde_json::from_str(json)
            && kind != "error"
            && map.get("type").and_then(Value::as_str) != Some(kind.as_str())
        {
            assert!(Document::of_kind(kind, json).is_err(), "{kind}: {json:?}");
        }
        if kind == "error" {
            writer.put_error(&serde_json::from_str(json).unwrap()).unwrap();
        } else {
            writer.put_raw(json).unwrap();
        }
    }
    assert_eq!(writer.end(Map::new()).unwrap(), errors);
    assert_eq!(lines_of(&copy), Some((lines, errors)));
    for cut in [copy.len() - 1, copy.len() / 2, copy.len() / 3, data.len() % copy.len()] {
        assert!(lines_of(&copy[..cut]).is_none(), "cut after {cut} of {} bytes", copy.len());
    }
}

/// A document that is taken is written as it was read, has the key that its fields say, and keeps every
/// field that this ltr does not know.
pub fn document(data: &[u8]) {
    let Ok(json) = str::from_utf8(data) else { return };
    let Ok(document) = Document::from_json(json) else { return };
    let given: Map<String, Value> = match serde_json::from_str(json) {
        Ok(given) => given,
        // what `local` has that is not known is never looked at, nor stored
        Err(error) => return assert!(matches!(&document, Document::Entry(e) if e.local.is_some()), "{error}"),
    };
    let canonical = document.canonical();
    let again = Document::from_json(&canonical).unwrap_or_else(|e| panic!("{e:#}: {canonical}"));
    assert_eq!(canonical, again.canonical(), "another spelling at each hop never converges");
    let written: Map<String, Value> = serde_json::from_str(&canonical).unwrap();
    assert_eq!(written["_id"], Value::String(document.id()));
    assert_eq!(given.get("_id"), written.get("_id"));
    assert_eq!(given.get("type"), written.get("type"));
    assert!(!written.contains_key("local") || matches!(document, Document::Entry(_)));
    document.check().unwrap_or_else(|e| panic!("taken, but {e:#}: {canonical}"));
    let unknown = |key: &str| !KNOWN.contains(&key);
    let kept = |map: &Map<String, Value>| -> Map<String, Value> {
        map.iter().filter(|(key, _)| unknown(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    assert_eq!(kept(&given), kept(&written));
    match &document {
        Document::Entry(entry) => {
            inside(&entry.path);
            check_box_name(&entry.box_name).unwrap();
            assert!(!entry.path.is_root() && !litter::boxfs::is_own(&entry.path));
            if let Some(moved) = &entry.moved {
                inside(moved);
            }
        }
        Document::Mark(mark) => {
            inside(&mark.path);
            check_box_name(&mark.box_name).unwrap();
        }
        Document::Box(name, _) => check_box_name(name).unwrap(),
        Document::Space(_) => {}
        Document::Other(other) => {
            assert!(!other.id.starts_with('_'), "a design document, or a local one, of CouchDB");
            let kind = other.json.get("type").and_then(Value::as_str);
            assert!(!["entry", "mark", "space", "box"].contains(&kind.unwrap_or_default()), "smuggled: {canonical}");
        }
    }
}

/// The fields of documents that this ltr knows.
const KNOWN: [&str; 24] = [
    "_id",
    "type",
    "box",
    "path",
    "ftype",
    "present",
    "purged",
    "moved",
    "commit",
    "size",
    "mtime",
    "mtime_nsec",
    "mode",
    "sha1",
    "mime",
    "target",
    "version",
    "want",
    "seen",
    "alone",
    "stamp",
    "stamps",
    "local",
    "_rev",
];

/// No path of a space leaves a box.
fn inside(path: &SpacePath) {
    let root = Path::new("/box");
    let file = on_disk(root, path);
    assert!(file.starts_with(root) && !file.as_os_str().as_bytes().contains(&0));
    assert!(file.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_))), "{file:?}");
    assert_eq!(path.is_root(), file == root);
    assert_eq!(SpacePath::from_spelled(&path.spelled()).as_ref(), Ok(path));
    assert_eq!(SpacePath::from_key(path.key()).as_ref(), Ok(path));
    assert_eq!(SpacePath::from_relative(&path.raw()[1..]).as_ref(), Ok(path));
}

/// The other records survive being written, and what a check lets through is in the box.
pub fn records(data: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<FileRecord>(data)
        && record.check().is_ok()
    {
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<FileRecord>(&text).unwrap(), record);
        inside(&record.path);
    }
    if let Ok(action) = serde_json::from_slice::<Action>(data)
        && action.check().is_ok()
    {
        let text = serde_json::to_vec(&action).unwrap();
        assert_eq!(serde_json::from_slice::<Action>(&text).unwrap(), action);
        for path in [Some(&action.path), action.source.as_ref(), action.keep.as_ref()].into_iter().flatten() {
            inside(path);
        }
        for source in &action.from {
            inside(&source.path);
            check_box_name(&source.box_name).unwrap();
        }
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(stamp) = text.parse::<Stamp>() {
        assert_eq!(stamp.to_string(), text);
        assert_eq!(Stamp::from_bytes(stamp.to_bytes()), stamp);
    }
    if let Ok(version) = serde_json::from_str::<Version>(text) {
        version.check().unwrap();
        assert_eq!(serde_json::from_str::<Version>(&serde_json::to_string(&version).unwrap()).unwrap(), version);
        assert_eq!(Version::from_bytes(&version.to_bytes()), Some(version));
    }
}

/// One spelling a name, one order, nothing outside: `data` is some paths, NUL between them.
pub fn path(data: &[u8]) {
    assert_eq!(unescape(&escape(data)).as_deref(), Ok(data));
    if let Ok(text) = str::from_utf8(data) {
        if let Ok(path) = SpacePath::from_spelled(text) {
            assert_eq!(path.spelled(), text, "one spelling a name");
            inside(&path);
        }
        if let Ok(raw) = unescape(text) {
            assert_eq!(unescape(&escape(&raw)).as_deref(), Ok(raw.as_slice()));
        }
    }
    if let Ok(path) = SpacePath::from_key(data) {
        inside(&path);
    }
    let mut paths: Vec<SpacePath> = data.split(|&b| b == 0).take(8).filter_map(|p| SpacePath::from_relative(p).ok()).collect();
    for a in &paths {
        inside(a);
        for b in &paths {
            two(a, b);
            for c in &paths {
                if a <= b && b <= c {
                    assert!(a <= c, "{a} {b} {c}");
                }
                if let Some(there) = a.rebased(b, c) {
                    inside(&there);
                    assert!(there.is_within(c));
                    assert_eq!(there.rebased(c, b).as_ref(), Some(a));
                }
            }
        }
    }
    // sorted paths are a depth-first walk: what is below a folder follows it without a gap
    paths.sort();
    for (at, folder) in paths.iter().enumerate() {
        let below = paths.iter().filter(|p| p.is_within(folder)).count();
        let first = paths.iter().position(|p| p.is_within(folder)).unwrap_or(at);
        assert!(paths[first..first + below].iter().all(|p| p.is_within(folder)), "{paths:?}");
    }
}

fn two(a: &SpacePath, b: &SpacePath) {
    let (ra, rb) = (a.raw(), b.raw());
    let parts = |raw: &[u8]| raw.split(|&b| b == b'/').skip(1).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let wanted = if a.is_root() || b.is_root() { b.is_root().cmp(&a.is_root()) } else { parts(&ra).cmp(&parts(&rb)) };
    assert_eq!(a.cmp(b), wanted, "{a} {b}: path order is component order");
    assert_eq!(a.cmp(b) == Ordering::Equal, ra == rb);
    assert_eq!(a.spelled() == b.spelled(), a == b);
    let below = a == b || b.is_root() || ra.strip_prefix(rb.as_slice()).is_some_and(|rest| rest.starts_with(b"/"));
    assert_eq!(a.is_within(b), below);
    if let Some(parent) = a.parent() {
        assert!(a.is_within(&parent) && parent < *a);
        assert_eq!(parent.join(a.name()).as_ref(), Ok(a));
    }
}

/// A host is never an option or a second word, a space reads the same as it is shown, a cookie names one
/// box, and what is run elsewhere is the words that were meant.
pub fn url(data: &[u8]) {
    if let Ok(cookie) = Cookie::parse(data) {
        check_box_name(&cookie.box_name).unwrap();
        let line = format!("{}/{}\n", cookie.space, cookie.box_name);
        assert!(!line.trim_end_matches('\n').contains(char::is_control));
        assert_eq!(Cookie::parse(line.as_bytes()).unwrap(), cookie);
    }
    // as a word for another machine: any bytes but NUL
    let ssh = Ssh::new("ssh", true).unwrap();
    let known = Remote::parse("host:/x").unwrap().unwrap();
    match ssh.command(&known, &[b"tail".as_slice(), b"--", data]) {
        Ok(command) => assert_eq!(words(&command).1, [b"tail".as_slice(), b"--", data].map(<[u8]>::to_vec)),
        Err(_) => assert!(data.contains(&0)),
    }
    let Ok(text) = str::from_utf8(data) else { return };
    let base = Path::new("/base/folder");
    if let Ok(Some(remote)) = Remote::parse(text) {
        check_host(&remote.host).unwrap();
        assert!(remote.path.starts_with('/') && !remote.path.contains('\0'));
        let shown = remote.to_string();
        assert_eq!(Remote::parse(&shown).unwrap(), Some(remote.clone()), "{shown}");
        let (options, line) = words(&ssh.command(&remote, &["cat", "--", &remote.path]).unwrap());
        let host = options.last().unwrap();
        assert!(!host.starts_with(b"-") && host.iter().all(|b| b.is_ascii_graphic() && !b"'\"\\$`;&|<>()*?!#~/".contains(b)));
        assert_eq!(options[options.len() - 2], b"--");
        let same = ssh.command(&Remote { port: remote.port, ..known }, &["cat"]).unwrap();
        assert_eq!(words(&same).0.len(), options.len(), "a host adds no option");
        assert_eq!(line, [b"cat".as_slice(), b"--", remote.path.as_bytes()]);
        // rsync and sftp split a host from a path at the first colon outside of brackets
        let bracketed = remote.bracketed();
        assert!(!bracketed.starts_with('-'));
        let bare = bracketed.rsplit_once('@').map_or(bracketed.as_str(), |(_, host)| host);
        assert!(bare.starts_with('[') || !bare.contains(':'), "{bracketed}");
    }
    match Space::parse(text, base) {
        Ok(Space::File(file)) => {
            assert!(file.is_absolute() && file.file_name().is_some(), "{file:?}");
            assert!(file.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_))), "{file:?}");
            assert_eq!(Space::parse(file.to_str().unwrap(), base).unwrap(), Space::File(file.clone()));
        }
        Ok(space @ Space::Ssh(_)) => {
            assert!(!text.starts_with(['/', '.', '-']));
            assert_eq!(Space::parse(&space.to_string(), base).unwrap(), space);
        }
        Ok(Space::Http(http)) => assert!(http.to_string().starts_with("http")),
        Err(_) => {}
    }
    if let Some(folder) = folder_of(text) {
        assert!(folder.is_absolute());
    }
}

/// What ssh is told, and the words that its last argument is to a shell there.
fn words(command: &std::process::Command) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut args: Vec<Vec<u8>> = command.get_args().map(|arg| arg.as_bytes().to_vec()).collect();
    let line = args.pop().unwrap();
    let words = shlex::bytes::Shlex::new(&line).collect();
    (args, words)
}

/// The rules of the line before do not depend on what is no rule, a file named literally is matched by
/// its name, and an exception takes it back: the first line is the name, the others are the rules.
pub fn ltrignore(data: &[u8]) {
    let mut parts = data.splitn(2, |&b| b == b'\n');
    let (name, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let root = SpacePath::root();
    let with = |more: &[u8]| {
        let mut rules = Rules::default();
        let pushed = rules.push_text(&[text, b"\n", more].concat(), &root);
        (rules, pushed)
    };
    let (plain, pushed) = with(b"");
    let (commented, again) = with(b"# a comment\n\n   \n");
    assert_eq!((pushed.has_rules, &pushed.error), (again.has_rules, &again.error));
    let Ok(path) = SpacePath::from_relative(name) else { return };
    if path.is_root() {
        return;
    }
    for is_dir in [false, true] {
        assert_eq!(plain.ignore(&path, is_dir), commented.ignore(&path, is_dir));
        if !pushed.has_rules {
            assert!(!plain.ignore(&path, is_dir), "no rule ignores nothing");
        }
    }
    let Ok(literal) = str::from_utf8(name) else { return };
    if literal.chars().any(|c| c.is_control() || c == '\u{feff}') || literal.ends_with(' ') || pushed.error.is_some() {
        return;
    }
    let escaped: String = literal.chars().flat_map(|c| if "\\*?[]!#{} ".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
    let (ignoring, said) = with(format!("/{escaped}\n").as_bytes());
    assert_eq!(said.error, None, "{escaped:?}");
    assert!(ignoring.ignore(&path, false) && ignoring.ignore(&path, true), "{escaped:?} does not match {literal:?}");
    let (taken_back, _) = with(format!("/{escaped}\n!/{escaped}\n").as_bytes());
    assert!(!taken_back.ignore(&path, false), "an exception takes {literal:?} back");
    if literal.ends_with('\\') {
        // the matcher takes the slash behind it for an escaped one
        return;
    }
    let (folders, _) = with(format!("!/{escaped}\n/{escaped}/\n").as_bytes());
    assert!(folders.ignore(&path, true) && !folders.ignore(&path, false), "a rule with a slash behind it is for folders");
}

/// No byte of a record drives a terminal, whatever form it is shown in, and one record stays one line.
pub fn terminal(data: &[u8]) {
    assert!(!for_terminal(data).chars().any(char::is_control));
    if let Ok(text) = str::from_utf8(data) {
        assert!(!text_for_terminal(text).chars().any(char::is_control));
        // a shell reads a quoted name as the name
        if !text.contains('\0') && !text.chars().any(|c| c.is_control() || !c.is_ascii()) {
            assert_eq!(shlex::split(&for_terminal(data)).as_deref(), Some([text.to_owned()].as_slice()));
        }
    }
    let fields = "path,type,box,status,from.0.url,size:h,mtime:t,sha1:8,mime,target,name,_id";
    let template = "{path}|{type}|{box}|{status}|{error}|{stamp:t}|{from.0.url}|{_id:9}|{size:h}|{mtime:t}|{extra}";
    let modes = [
        Mode::Template(template.parse().unwrap()),
        Mode::Csv(fields.parse().unwrap()),
        Mode::Table(fields.parse().unwrap()),
        Mode::Letters { all: true, color: false },
        Mode::Stat,
        Mode::Steps { root: "/a box".into() },
    ];
    for mode in modes {
        let (name, mut output, mut report) = (format!("{mode:?}"), Vec::new(), Collected::default());
        let style = Style { mode, terminal: true, shared: false, nul: false, zone: jiff::tz::TimeZone::UTC };
        let shown = show::format(data, &mut output, &style, &mut report);
        let text = String::from_utf8_lossy(&output);
        let bad = text.chars().find(|c| c.is_control() && !"\n\r\t".contains(*c));
        assert_eq!(bad, None, "{name}: {text:?}");
        let said = report.failures.iter().map(|(subject, cause)| format!("{subject}: {cause}")).chain(report.notices);
        let said = said.chain(shown.err().map(|error| format!("{error:#}")));
        for line in said {
            assert!(!text_for_terminal(&line).chars().any(char::is_control));
        }
    }
}

/// The members of an archive, with the content of those that `read` chooses; `None` where it is damaged.
fn members(data: &[u8], read: fn(usize) -> bool) -> Option<Vec<(Vec<u8>, bool, u64)>> {
    let (mut archive, mut found) = (Archive::new(data), Vec::new());
    while let Some(member) = archive.next().ok()? {
        if member.is_file && read(found.len()) {
            let mut content = Vec::new();
            (&mut archive).take(member.size).read_to_end(&mut content).ok()?;
            assert_eq!(content.len() as u64, member.size);
        }
        found.push((member.name, member.is_file, member.size));
    }
    Some(found)
}

/// An archive says the same whether its contents are read or passed over, and none that is cut short is whole.
pub fn tar(data: &[u8]) {
    let all = members(data, |_| true);
    assert_eq!(members(data, |_| false), all);
    assert_eq!(members(data, |number| number % 2 == 0), all);
    let Some(all) = all else { return };
    let size: u64 = all.iter().map(|member| if member.1 { 512 + member.2 } else { 512 }).sum();
    assert!(size <= data.len() as u64, "more came than was there");
    // up to the block of zeros, which ends it
    let end = (0..data.len() / 512).rev().find(|at| data[at * 512..].iter().take(512).any(|b| *b != 0)).unwrap_or(0);
    let cut = &data[..(end * 512).min(data.len())];
    if let Some(some) = members(cut, |_| true) {
        assert!(all.starts_with(&some));
    }
}

/// How a password may be spelled by a server that was told it: `s3cr:t pass` of the user `me`.
const SPELLINGS: [&str; 3] = ["s3cr:t pass", "s3cr%3At%20pass", "bWU6czNjcjp0IHBhc3M="];

/// The keys of the rows of an answer, and where to read on; `None` where it is damaged.
fn keys(client: &Client, data: impl Read) -> Option<(Vec<Option<String>>, u64, Option<Value>)> {
    let mut keys = Vec::new();
    let tail = read_rows(client, data, &mut |row| {
        assert!(!row.is_there() || row.id.is_some());
        keys.push(row.id.map(Cow::into_owned));
        Ok(())
    });
    tail.ok().map(|tail| (keys, tail.count, tail.last_seq))
}

/// A byte at a time.
struct Slowly<'a>(&'a [u8]);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let some = buffer.len().min(1);
        self.0.read(&mut buffer[..some])
    }
}

/// What a database answers. Rows say the same however they come, and none that are cut short are whole; each
/// document that was sent has one fate, its own; and whatever a server says, the password is not told.
pub fn couch(data: &[u8]) {
    thread_local! {
        static CLIENT: Client = {
            let url = Database::parse("http://me:s3cr%3At%20pass@h:5984/x").unwrap();
            Client::new(&Places::below(Path::new("/nonexistent")), &url).unwrap()
        };
    }
    CLIENT.with(|client| {
        let rows = keys(client, data);
        assert_eq!(rows, keys(client, Slowly(data)));
        if let Some((keys, count, _)) = &rows {
            assert_eq!(keys.len() as u64, *count);
            let whole = data.trim_ascii();
            for cut in [whole.len() - 1, whole.len() / 2, whole.len() / 3] {
                assert!(self::keys(client, &whole[..cut]).is_none(), "cut after {cut} of {} bytes", whole.len());
            }
            if let Ok(Value::Object(map)) = serde_json::from_slice(data) {
                let last = |key: &str| map.get(key).and_then(Value::as_array).map_or(0, Vec::len) as u64;
                assert!(*count >= last("results").max(last("rows")), "rows were left out");
            }
        }
        let value = serde_json::from_slice::<Value>(data).unwrap_or_default();
        let mut sent: Vec<&str> = value.as_array().into_iter().flatten().filter_map(|told| told["id"].as_str()).collect();
        sent.sort_unstable();
        sent.dedup();
        if let Ok(told) = told(client, &sent, data) {
            assert!(told.iter().map(|told| told.id.as_str()).eq(sent.iter().copied()));
        }
        if !sent.contains(&"nobody's") {
            assert!(told(client, &["nobody's"], data).is_err(), "a fate for what it says nothing of");
        }
        let said = String::from_utf8_lossy(data);
        for status in [301, 400, 401, 403, 404, 409, 413, 500, 503] {
            let trouble = client.meaning(StatusCode::from_u16(status).unwrap(), Some(&said), data);
            let text = format!("{trouble:#}");
            assert!(SPELLINGS.iter().all(|secret| !text.contains(secret)), "{status}: {text}");
            assert!(!text_for_terminal(&text).chars().any(char::is_control));
        }
    });
}
