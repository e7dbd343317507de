//! The records that travel on pipes and rest in indexes: what a file is, which box holds it, what
//! should be where. ltr-records(5) specifies them field by field; what a newer ltr adds is kept in
//! `extra` and written again.

mod action;
mod check;
mod file;
mod plain;
mod wire;

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

pub use self::action::{Action, ActionTag, Source, Verb};
pub use self::file::{Change, FileRecord, ScanTag, Was};
pub(crate) use self::plain::Object;
use self::wire::Wire;
use crate::path::SpacePath;
use crate::stamp::Stamp;
use crate::version::Version;

/// Unknown fields of a record.
pub type Extra = Map<String, Value>;

/// The format of documents that this ltr writes, `format` of the space document.
pub const FORMAT: u64 = 1;

/// Largest size of a file in bytes: what `off_t` and SQLite hold.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// What kind of file is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ftype {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
}

/// A SHA-1 (FIPS 180-4) of a file's bytes, or of a symlink's target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha1(pub [u8; 20]);

impl Sha1 {
    fn hex(self) -> [u8; 40] {
        let mut hex = [0; 40];
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [b"0123456789abcdef"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]];
        }
        hex
    }
}

impl fmt::Display for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Sha1 {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut sha1 = [0; 20];
        let (pairs, _) = text.as_bytes().as_chunks::<2>();
        let digits = text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        ensure!(digits, "a sha1 is 40 hex digits");
        // from_str_radix took a tenth of the time that reading a record takes
        let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
        for (byte, [high, low]) in sha1.iter_mut().zip(pairs) {
            *byte = value(*high) << 4 | value(*low);
        }
        Ok(Self(sha1))
    }
}

impl Serialize for Sha1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Sha1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse { what: "a sha1", parse: |text| text.parse().ok() })
    }
}

/// Reads a short text where it stands: an owned copy of each was a fifth of what reading a record took.
pub(crate) struct Parse<T> {
    /// What it should be, for messages.
    pub(crate) what: &'static str,
    /// What the text says; `None` for anything else.
    pub(crate) parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Parse<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Permission bits, `"0644"` in records. Those that lend the rights of a file's owner or group to who runs
/// it (setuid, setgid) are never among them: the owner does not travel, so they would lend somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Mode {
    /// What a file system says, without the bits that no mode has.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self(bits & 0o1777)
    }

    fn from_digits(text: &str) -> Option<Self> {
        let digits = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        u32::from_str_radix(text, 8).ok().filter(|m| digits && *m <= 0o7777).map(Self::new)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse { what: "four octal digits", parse: Self::from_digits })
    }
}

/// What a file is, wherever it is: content, and what travels with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attrs {
    /// File, folder or symlink.
    pub ftype: Ftype,
    /// Bytes; of a symlink, of its target; 0 for folders.
    pub size: u64,
    /// Modification time, seconds since 1970, as its creator recorded it.
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    pub mtime_nsec: u32,
    /// Permission bits.
    pub mode: Mode,
    /// Hash of the content; none for folders, and before hashing.
    pub sha1: Option<Sha1>,
    /// Media type of a file.
    pub mime: Option<String>,
    /// Target of a symlink as raw bytes in the spelling of paths.
    pub target: Option<String>,
}

impl Attrs {
    /// What is compared: kind and hash, never mtime or mode.
    #[must_use]
    pub fn content(&self) -> (Ftype, Option<Sha1>) {
        (self.ftype, self.sha1)
    }

    /// Whether both have the same content. A file without a hash equals nothing.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.content() == other.content() && (self.ftype == Ftype::Dir || self.sha1.is_some())
    }
}

/// The fact: what one box holds at one path.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The box that this is a fact about.
    pub box_name: String,
    /// Where.
    pub path: SpacePath,
    /// What is, or (absent, purged) was, there.
    pub attrs: Attrs,
    /// Whether the box holds it.
    pub present: bool,
    /// Whether the path was purged from the space at this version.
    pub purged: bool,
    /// A purge that a rename made: where the content went.
    pub moved: Option<SpacePath>,
    /// The box's commit counter when this was recorded.
    pub commit: u64,
    /// Which edit of the path this is.
    pub version: Version,
    /// When this document was written.
    pub stamp: Stamp,
    /// Local facts that accompany the document on a pipe; never stored or sent.
    pub local: Option<Local>,
    /// What this ltr does not know.
    pub extra: Extra,
}

/// What only the machine that holds the file can know: vouches for an entry without hashing again.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Local {
    /// Inode number.
    pub ino: u64,
    /// Status change time, seconds since 1970.
    pub ctime: i64,
    /// Nanoseconds to add to `ctime`.
    pub ctime_nsec: u32,
    /// Device number.
    #[serde(default)]
    pub dev: u64,
    /// Whether the file was as young as its hash, so that an edit could hide (racy-git).
    #[serde(default)]
    pub racy: bool,
    /// The letter that a commit shows for this document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Where a renamed file came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<SpacePath>,
}

/// An intention by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// The box should hold it.
    Want,
    /// The box should not hold it.
    Skip,
    /// Inherited again.
    Cleared,
}

/// The intention for one box and one path, and all below it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The box that should follow it.
    pub box_name: String,
    /// The file or folder.
    pub path: SpacePath,
    /// What should be.
    pub want: Want,
    /// The box's commit counter as the writer knew it: what the box put there later stays.
    pub seen: u64,
    /// Made by a commit: holds for this path alone, not for what is below it.
    pub alone: bool,
    /// When this document was written.
    pub stamp: Stamp,
    /// What this ltr does not know.
    pub extra: Extra,
}

/// A box's intention where no mark speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Everything.
    #[default]
    Complete,
    /// Only what is marked.
    Ondemand,
    /// Every folder, and of the files only what is marked.
    Skeleton,
}

impl FromStr for Policy {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "complete" => Ok(Self::Complete),
            "ondemand" => Ok(Self::Ondemand),
            "skeleton" => Ok(Self::Skeleton),
            _ => bail!("no such policy: {text} (complete, ondemand or skeleton)"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Ondemand => "ondemand",
            Self::Skeleton => "skeleton",
        })
    }
}

/// A box or space document: fields that merge one by one, each with its own stamp.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Fields {
    /// All fields but `_id`, `type`, `stamp` and `stamps`.
    pub fields: Map<String, Value>,
    /// When each field was written.
    pub stamps: std::collections::BTreeMap<String, Stamp>,
}

impl Fields {
    /// Sets a field at `stamp`.
    pub fn set(&mut self, key: &str, value: Value, stamp: Stamp) {
        self.fields.insert(key.to_owned(), value);
        self.stamps.insert(key.to_owned(), stamp);
    }

    /// The greatest stamp of any field.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamps.values().copied().max().unwrap_or_default()
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(Value::as_str)
    }

    /// A number field.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        self.fields.get(key).and_then(Value::as_u64)
    }

    /// The policy of a box; `complete` where none can be read.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.text("policy").and_then(|t| t.parse().ok()).unwrap_or_default()
    }

    /// Where a box can be reached.
    #[must_use]
    pub fn urls(&self) -> Vec<&str> {
        self.fields.get("urls").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether the box is gone for good: its copies no longer count.
    #[must_use]
    pub fn forgotten(&self) -> bool {
        self.fields.get("forgotten").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Merges field by field: of each, the greater stamp wins, of equal stamps the greater canonical
    /// bytes. Returns whether anything changed.
    pub fn merge(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (key, value) in &other.fields {
            let stamp = other.stamps.get(key).copied().unwrap_or_default();
            let mine = self.stamps.get(key).copied().unwrap_or_default();
            let greater = match self.fields.get(key) {
                None => true,
                Some(old) => (stamp, value.to_string()) > (mine, old.to_string()),
            };
            if greater {
                self.set(key, value.clone(), stamp);
                changed = true;
            }
        }
        changed
    }
}

/// A document of an index.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all documents are entries, so a box around them would only add an allocation"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// The space itself.
    Space(Fields),
    /// A box of this name.
    Box(String, Fields),
    /// What a box holds.
    Entry(Entry),
    /// What a box should hold.
    Mark(Mark),
    /// Of a type that this ltr does not know; kept as it is.
    Other(Other),
}

/// A document that this ltr only carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Its key.
    pub id: String,
    /// When it was written.
    pub stamp: Stamp,
    /// The whole document.
    pub json: Map<String, Value>,
}

impl Other {
    /// Takes a document of the unknown type `kind`: only its key and stamp are looked at.
    ///
    /// # Errors
    /// It has no usable `_id` or `stamp`, or another type.
    pub fn from_map(kind: &str, mut json: Map<String, Value>) -> Result<Self> {
        let Some(id) = json.get("_id").and_then(Value::as_str).map(str::to_owned) else { bail!("a document has an _id") };
        ensure!(!id.is_empty() && !id.starts_with('_') && id.len() <= 8192, "not the key of a document");
        // of a field that is there twice, a reader of streams takes the first and a parser the last
        ensure!(json.get("type").and_then(Value::as_str) == Some(kind), "two types");
        // one key is one document
        ensure!(split_id(&id).is_none(), "the key of an entry or a mark");
        let Some(stamp) = json.get("stamp").and_then(Value::as_str) else { bail!("a document has a stamp") };
        let stamp = stamp.parse()?;
        json.remove("local");
        Ok(Self { id, stamp, json })
    }
}

impl Document {
    /// The key, `_id`.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Document::Space(_) => "space".to_owned(),
            Document::Box(name, _) => name.clone(),
            Document::Entry(e) => entry_id(&e.box_name, &e.path),
            Document::Mark(m) => mark_id(&m.box_name, &m.path),
            Document::Other(o) => o.id.clone(),
        }
    }

    /// When it was written.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        match self {
            Document::Space(f) | Document::Box(_, f) => f.stamp(),
            Document::Entry(e) => e.stamp,
            Document::Mark(m) => m.stamp,
            Document::Other(o) => o.stamp,
        }
    }

    /// Reads a document and checks it as the word of a stranger.
    ///
    /// # Errors
    /// It is malformed, out of range, or its key is not what its fields say.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        Self::of_kind(&serde_json::from_slice::<Kind<'_>>(json)?.kind, json)
    }

    /// [`Document::from_json`] where a stream's reader has found the type already.
    ///
    /// # Errors
    /// As [`Document::from_json`].
    pub fn of_kind(kind: &str, json: &[u8]) -> Result<Self> {
        if kind == "entry"
            && let Some(text) = plain::entry(json)
        {
            return wire::checked(text);
        }
        match kind {
            "entry" | "mark" | "space" | "box" => serde_json::from_slice::<Wire<'_>>(json)?.into_document(),
            _ => Other::from_map(kind, serde_json::from_slice(json)?).map(Document::Other),
        }
    }

    /// Appends the document as a line of a stream has it, without a newline.
    ///
    /// # Errors
    /// An unknown field cannot be written.
    pub fn write(&self, line: &mut Vec<u8>) -> Result<()> {
        match self {
            Document::Entry(entry) => entry.write(line),
            other => Ok(serde_json::to_writer(line, other)?),
        }
    }

    /// Reads a document of ltr's own types as a database has it, and returns the fields that are the database's
    /// (`_rev` and others that begin so) apart.
    ///
    /// # Errors
    /// As [`Document::from_json`], or it is of an unknown type.
    pub fn of_database(json: &[u8]) -> Result<(Self, Extra)> {
        let mut wire: Wire<'_> = serde_json::from_slice(json)?;
        let own = wire.take_own();
        Ok((wire.into_document()?, own))
    }

    /// Keys sorted, no blanks: what decides between equal stamps.
    #[must_use]
    pub fn canonical(&self) -> String {
        // serde_json's map without `preserve_order` is sorted, so going through a value sorts the keys
        serde_json::to_value(self).map(|v| v.to_string()).unwrap_or_default()
    }
}

/// The key of the entry of `box_name` at `path`.
#[must_use]
pub fn entry_id(box_name: &str, path: &SpacePath) -> String {
    format!("{box_name}:{path}")
}

/// The key of the mark for `box_name` at `path`.
#[must_use]
pub fn mark_id(box_name: &str, path: &SpacePath) -> String {
    format!("mark:{box_name}:{path}")
}

/// The box and the path of the entry with the key `id`, or (`true`) of the mark; `None` for other keys.
#[must_use]
pub fn split_id(id: &str) -> Option<(&str, SpacePath, bool)> {
    let (rest, mark) = id.strip_prefix("mark:").map_or((id, false), |rest| (rest, true));
    let (box_name, path) = rest.split_once(':')?;
    Some((box_name, SpacePath::from_spelled(path).ok()?, mark))
}

/// Refuses what cannot be the name of a box: `[A-Za-z0-9][A-Za-z0-9._@+-]*`, not `space`.
///
/// # Errors
/// Names the rule.
pub fn check_box_name(name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+-".contains(&b));
    ensure!(
        first && rest && name.len() <= 128,
        "invalid box name {name:?}: letters, digits and ._@+- only, a letter or digit first"
    );
    ensure!(name != "space", "the box name space is reserved");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{"_id":"b:/a","type":"entry","box":"b","path":"/a","ftype":"file","present":true,"commit":17,"size":1234,"mtime":1295303519,"mtime_nsec":5,"mode":"0644","sha1":"da39a3ee5e6b4b0d3255bfef95601890afd80709","version":{"1f2e3d4c":3},"stamp":"012d97a0c1f0-0000-1f2e3d4c","colour":"red"}"#;

    #[test]
    fn unknown_fields_and_documents_are_kept() {
        for json in [
            ENTRY,
            r#"{"_id":"mark:b:/","type":"mark","box":"b","path":"/","want":"skip","seen":3,"stamp":"000000000001-0000-00000000","why":{"a":[1]}}"#,
            r#"{"_id":"future","type":"tag","stamp":"000000000001-0000-00000000","size":"large","x":1}"#,
        ] {
            let document = Document::from_json(json.as_bytes()).unwrap();
            let again: Value = serde_json::from_str(&document.canonical()).unwrap();
            assert_eq!(again, serde_json::from_str::<Value>(json).unwrap());
        }
    }

    #[test]
    fn hostile_documents_are_refused() {
        for (from, to) in [
            (r#""path":"/a""#, r#""path":"/../a""#),
            (r#""path":"/a""#, r#""path":"/b""#),
            (r#""box":"b""#, r#""box":"-b""#),
            (r#""size":1234"#, r#""size":-1"#),
            (r#""size":1234"#, r#""size":18446744073709551615"#),
            (r#""size":1234"#, r#""size":"1""#),
            (r#""mtime_nsec":5"#, r#""mtime_nsec":1000000000"#),
            (r#""mode":"0644""#, r#""mode":"+644""#),
            (r#""sha1":"da"#, r#""sha1":"DA"#),
            (r#""ftype":"file""#, r#""ftype":"fifo""#),
            (r#""ftype":"file""#, r#""ftype":"symlink""#),
            (r#""commit":17"#, r#""commit":9007199254740992"#),
            (r#""present":true,"#, ""),
            (r#""size":1234"#, r#""size":1,"size":2"#),
            (r#""colour":"red""#, r#""_rev":"1-a""#),
        ] {
            let json = ENTRY.replace(from, to);
            assert_ne!(json, ENTRY, "{from}");
            assert!(Document::from_json(json.as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn no_mode_lends_rights() {
        for (text, mode) in [("\"4755\"", 0o755), ("\"2770\"", 0o770), ("\"1777\"", 0o1777), ("\"7000\"", 0o1000)] {
            assert_eq!(serde_json::from_str::<Mode>(text).unwrap(), Mode(mode));
        }
    }

    #[test]
    fn what_is_not_known_passes_for_nothing_else() {
        for json in [
            r#"{"_id":"f","type":"tag","type":"entry","stamp":"000000000001-0000-00000000"}"#,
            r#"{"_id":"b:/a","type":"tag","stamp":"000000000001-0000-00000000"}"#,
            r#"{"_id":"mark:b:/a","type":"tag","stamp":"000000000001-0000-00000000"}"#,
            r#"{"_id":"_design/x","type":"tag","stamp":"000000000001-0000-00000000"}"#,
        ] {
            assert!(Document::of_kind("tag", json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn fields_merge_one_by_one() {
        let stamp = |ms| Stamp { ms, counter: 0, index: 0 };
        let mut a = Fields::default();
        a.set("policy", "complete".into(), stamp(1));
        a.set("urls", Value::Array(vec!["/x".into()]), stamp(5));
        let mut b = Fields::default();
        b.set("policy", "ondemand".into(), stamp(2));
        b.set("urls", Value::Array(vec![]), stamp(3));
        let (mut ab, mut ba) = (a.clone(), b.clone());
        assert!(ab.merge(&b) && ba.merge(&a));
        assert_eq!(ab, ba);
        assert_eq!((ab.policy(), ab.urls()), (Policy::Ondemand, vec!["/x"]));
        assert!(!ab.merge(&a));
    }
}
