//! The records that travel on pipes and rest in indexes: what a file is, which box holds it, what
//! should be where. ltr-records(5) specifies them field by field; what a newer ltr adds is kept in
//! `extra` and written again.

mod check;

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use serde::de::{Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

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

/// Permission bits, `"0644"` in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mode(pub u32);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Mode {
    fn from_digits(text: &str) -> Option<Self> {
        let digits = text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit());
        u32::from_str_radix(text, 8).ok().filter(|m| digits && *m <= 0o7777).map(Self)
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
    /// Takes a document of an unknown type: only its key and stamp are looked at.
    ///
    /// # Errors
    /// It has no usable `_id` or `stamp`.
    pub fn from_map(mut json: Map<String, Value>) -> Result<Self> {
        let Some(id) = json.get("_id").and_then(Value::as_str).map(str::to_owned) else { bail!("a document has an _id") };
        ensure!(!id.is_empty() && !id.starts_with('_') && id.len() <= 8192, "not the key of a document");
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
        match kind {
            "entry" | "mark" | "space" | "box" => serde_json::from_slice::<Wire<'_>>(json)?.into_document(),
            _ => Other::from_map(serde_json::from_slice(json)?).map(Document::Other),
        }
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

/// All known fields of a document as they are written. One struct for every type: serde then reads a
/// line in one pass, and what it does not know lands in `extra`.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(rename = "_id", borrow)]
    id: std::borrow::Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(rename = "box", default, skip_serializing_if = "Option::is_none", borrow)]
    box_name: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<SpacePath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ftype: Option<Ftype>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    present: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purged: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<SpacePath>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtime: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtime_nsec: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha1: Option<Sha1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    want: Option<Want>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alone: Option<bool>,
    stamp: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamps: Option<std::collections::BTreeMap<String, Stamp>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    local: Option<Local>,
    #[serde(flatten)]
    extra: Extra,
}

impl Wire<'_> {
    fn into_document(self) -> Result<Document> {
        if self.extra.contains_key("_rev") {
            // CouchDB's own business, and the replica's
            bail!("a document with _rev is not for this stream");
        }
        match self.kind.as_ref() {
            "entry" => self.into_entry(),
            "mark" => self.into_mark(),
            "space" | "box" => self.into_fields(),
            other => bail!("{other} is not a type of this ltr"),
        }
    }

    fn into_entry(self) -> Result<Document> {
        let (Some(box_name), Some(path), Some(ftype), Some(present), Some(version)) =
            (self.box_name, self.path, self.ftype, self.present, self.version)
        else {
            bail!("an entry has box, path, ftype, present and version");
        };
        let rest = self.id.strip_prefix(box_name.as_ref()).and_then(|rest| rest.strip_prefix(':'));
        ensure!(rest == Some(path.spelled().as_str()), "_id is not box:path");
        let attrs = Attrs {
            ftype,
            size: self.size.unwrap_or(0),
            mtime: self.mtime.unwrap_or(0),
            mtime_nsec: self.mtime_nsec.unwrap_or(0),
            mode: self.mode.unwrap_or_default(),
            sha1: self.sha1,
            mime: self.mime,
            target: self.target,
        };
        let entry = Entry {
            box_name: box_name.into_owned(),
            path,
            attrs,
            present,
            purged: self.purged.unwrap_or(false),
            moved: self.moved,
            commit: self.commit.unwrap_or(0),
            version,
            stamp: self.stamp,
            local: self.local,
            extra: self.extra,
        };
        entry.check()?;
        Ok(Document::Entry(entry))
    }

    fn into_mark(self) -> Result<Document> {
        let (Some(box_name), Some(path), Some(want)) = (self.box_name, self.path, self.want) else {
            bail!("a mark has box, path and want");
        };
        ensure!(self.id == mark_id(&box_name, &path), "_id is not mark:box:path");
        let mark = Mark {
            box_name: box_name.into_owned(),
            path,
            want,
            seen: self.seen.unwrap_or(0),
            alone: self.alone.unwrap_or(false),
            stamp: self.stamp,
            extra: self.extra,
        };
        mark.check()?;
        Ok(Document::Mark(mark))
    }

    fn into_fields(self) -> Result<Document> {
        let (id, kind, stamp) = (self.id.into_owned(), self.kind.into_owned(), self.stamp);
        let mut stamps = self.stamps.unwrap_or_default();
        for key in self.extra.keys() {
            let field = stamps.entry(key.clone()).or_insert(stamp);
            ensure!(*field <= stamp, "the field {key} is younger than its document");
        }
        stamps.retain(|key, _| self.extra.contains_key(key));
        let fields = Fields { fields: self.extra, stamps };
        if let Some(urls) = fields.fields.get("urls") {
            let texts = urls.as_array().is_some_and(|all| all.iter().all(Value::is_string));
            ensure!(texts, "urls is a list of strings");
        }
        if kind == "space" {
            ensure!(id == "space", "_id is not space");
            ensure!(fields.text("uuid").is_some(), "a space has a uuid");
            let format = fields.number("format").unwrap_or(FORMAT);
            ensure!(format <= FORMAT, "the space has format {format}, this ltr knows {FORMAT}: a newer ltr is needed");
            return Ok(Document::Space(fields));
        }
        check_box_name(&id)?;
        Ok(Document::Box(id, fields))
    }
}

fn check_count(count: u64) -> Result<()> {
    ensure!(count <= crate::version::COUNT_MAX, "commit counter out of range");
    Ok(())
}

/// Ranges that every later step relies on.
fn check_attrs(attrs: &Attrs) -> Result<()> {
    ensure!(attrs.size <= SIZE_MAX, "size out of range");
    ensure!(attrs.mtime_nsec < 1_000_000_000, "mtime_nsec out of range");
    ensure!(attrs.mode.0 <= 0o7777, "mode out of range");
    // equal content is what never conflicts: a folder with a hash would be something else than a folder
    let bare = attrs.size == 0 && attrs.sha1.is_none();
    ensure!(attrs.ftype != Ftype::Dir || bare, "a folder has neither a sha1 nor a size");
    if let Some(target) = &attrs.target {
        let raw = crate::path::unescape(target)?;
        ensure!(!raw.is_empty() && raw.len() <= crate::path::PATH_MAX && !raw.contains(&0), "not the target of a symlink");
        ensure!(crate::path::escape(&raw) == *target, "not the one spelling of a symlink's target");
    }
    ensure!((attrs.ftype == Ftype::Symlink) == attrs.target.is_some(), "a symlink, and nothing else, has a target");
    Ok(())
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Document::Entry(e) => serialize_entry(e, serializer),
            Document::Mark(m) => mark_wire(m).serialize(serializer),
            Document::Space(f) => fields_wire("space", "space", f).serialize(serializer),
            Document::Box(name, f) => fields_wire(name, "box", f).serialize(serializer),
            Document::Other(o) => o.json.serialize(serializer),
        }
    }
}

impl Wire<'_> {
    fn empty<'a>(id: std::borrow::Cow<'a, str>, kind: &'a str, stamp: Stamp, extra: &Extra) -> Wire<'a> {
        Wire {
            id,
            kind: kind.into(),
            box_name: None,
            path: None,
            ftype: None,
            present: None,
            purged: None,
            moved: None,
            commit: None,
            size: None,
            mtime: None,
            mtime_nsec: None,
            mode: None,
            sha1: None,
            mime: None,
            target: None,
            version: None,
            want: None,
            seen: None,
            alone: None,
            stamp,
            stamps: None,
            local: None,
            extra: extra.clone(),
        }
    }
}

/// Field by field in the order of [`Wire`], which would have to be filled with copies first: that was a
/// third of what a commit's documents cost.
fn serialize_entry<S: Serializer>(e: &Entry, serializer: S) -> Result<S::Ok, S::Error> {
    let (a, path) = (&e.attrs, e.path.spelled());
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("_id", &format_args!("{}:{path}", e.box_name))?;
    map.serialize_entry("type", "entry")?;
    map.serialize_entry("box", &e.box_name)?;
    map.serialize_entry("path", &path)?;
    map.serialize_entry("ftype", &a.ftype)?;
    map.serialize_entry("present", &e.present)?;
    if e.purged {
        map.serialize_entry("purged", &true)?;
    }
    optional(&mut map, "moved", e.moved.as_ref())?;
    map.serialize_entry("commit", &e.commit)?;
    map.serialize_entry("size", &a.size)?;
    map.serialize_entry("mtime", &a.mtime)?;
    map.serialize_entry("mtime_nsec", &a.mtime_nsec)?;
    map.serialize_entry("mode", &a.mode)?;
    optional(&mut map, "sha1", a.sha1.as_ref())?;
    optional(&mut map, "mime", a.mime.as_ref())?;
    optional(&mut map, "target", a.target.as_ref())?;
    map.serialize_entry("version", &e.version)?;
    map.serialize_entry("stamp", &e.stamp)?;
    optional(&mut map, "local", e.local.as_ref())?;
    for (key, value) in &e.extra {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

fn optional<M: SerializeMap>(map: &mut M, key: &str, value: Option<&impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, value))
}

fn mark_wire(m: &Mark) -> Wire<'_> {
    Wire {
        box_name: Some(m.box_name.as_str().into()),
        path: Some(m.path.clone()),
        want: Some(m.want),
        seen: Some(m.seen),
        alone: m.alone.then_some(true),
        ..Wire::empty(mark_id(&m.box_name, &m.path).into(), "mark", m.stamp, &m.extra)
    }
}

fn fields_wire<'a>(id: &'a str, kind: &'a str, f: &Fields) -> Wire<'a> {
    Wire { stamps: Some(f.stamps.clone()), ..Wire::empty(id.into(), kind, f.stamp(), &f.fields) }
}

/// What a scan saw at a path, and what the stages after it add. A record of the type `scan`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Always `scan`.
    #[serde(rename = "type")]
    pub kind: ScanTag,
    /// Where.
    pub path: SpacePath,
    /// What kind of file; of one that is gone, what it was.
    pub ftype: Ftype,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// Modification time, seconds since 1970.
    #[serde(default)]
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    #[serde(default)]
    pub mtime_nsec: u32,
    /// Permission bits; none where the file system has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Target of a symlink in the spelling of paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Inode, ctime and device as seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
    /// Hash of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Sha1>,
    /// Media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// The letter of design section 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How the disk differs from the box's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The content hash that the entry has: what a suspect is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Was>,
    /// The letter of a suspect that a hash clears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
    /// A folder wanted whole: this line stands for all below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// Where a renamed file came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<SpacePath>,
    /// What this ltr does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The `type` of a [`FileRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ScanTag {
    /// `scan`
    #[default]
    #[serde(rename = "scan")]
    Scan,
}

/// How a file on disk differs from its box's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// No entry, or an absent one.
    New,
    /// Certainly other content or mode.
    Modified,
    /// Only a hash can tell.
    Suspect,
    /// Present in the index, not on disk.
    Gone,
}

/// What a box's entry says of a file that may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    /// Kind of file.
    pub ftype: Ftype,
    /// Bytes.
    pub size: u64,
    /// Content hash; none for folders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Sha1>,
    /// Permission bits.
    pub mode: Mode,
}

impl FileRecord {
    /// A record with the attributes `attrs` and nothing else.
    #[must_use]
    pub fn new(path: SpacePath, attrs: &Attrs) -> Self {
        Self {
            kind: ScanTag::Scan,
            path,
            ftype: attrs.ftype,
            size: attrs.size,
            mtime: attrs.mtime,
            mtime_nsec: attrs.mtime_nsec,
            mode: Some(attrs.mode),
            target: attrs.target.clone(),
            local: None,
            sha1: attrs.sha1,
            mime: attrs.mime.clone(),
            status: None,
            change: None,
            was: None,
            otherwise: None,
            whole: false,
            renamed: None,
            extra: Extra::new(),
        }
    }

    /// The attributes that an entry of this file has.
    #[must_use]
    pub fn attrs(&self) -> Attrs {
        Attrs {
            ftype: self.ftype,
            size: self.size,
            mtime: self.mtime,
            mtime_nsec: self.mtime_nsec,
            mode: self.mode.unwrap_or_default(),
            sha1: self.sha1,
            mime: self.mime.clone(),
            target: self.target.clone(),
        }
    }

    /// Refuses what no scan can have seen.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.path.is_root(), "a record is not for /");
        check_attrs(&self.attrs())
    }
}

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Make a folder.
    Mkdir,
    /// Get a file from another box.
    Fetch,
    /// Copy a file of this box that has the content.
    Copy,
    /// Move a file or folder of this box, following a rename elsewhere.
    Move,
    /// Put newer content in the place of older.
    Replace,
    /// Set mode and mtime.
    Touch,
    /// Make a symlink.
    Link,
    /// Remove a copy that was purged, or marked skip.
    Remove,
    /// Keep this box's edit under a conflict name, then put the winner in its place.
    Conflict,
}

/// A place that holds the content of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The box.
    #[serde(rename = "box")]
    pub box_name: String,
    /// A folder, or `[user@]host:/path`: its root. Empty where the box has no url.
    pub url: String,
    /// The path in the space.
    pub path: SpacePath,
}

/// One step of a plan. A record of the type `action`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Always `action`.
    #[serde(rename = "type")]
    pub kind: ActionTag,
    /// What to do.
    pub action: Verb,
    /// The box that it is done in.
    #[serde(rename = "box")]
    pub box_name: String,
    /// Where: what will be there afterwards, or (remove) what goes.
    pub path: SpacePath,
    /// What `path` will be; of a remove, what it is.
    pub ftype: Ftype,
    /// Bytes of the wanted content.
    #[serde(default)]
    pub size: u64,
    /// Its modification time.
    #[serde(default)]
    pub mtime: i64,
    /// Nanoseconds of it.
    #[serde(default)]
    pub mtime_nsec: u32,
    /// Its permission bits.
    #[serde(default)]
    pub mode: Mode,
    /// Its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<Sha1>,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Target of a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The version that this box's entry will have.
    pub version: Version,
    /// What the index says this box has at `path` now; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Was>,
    /// Copy and move: where in this box the content is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SpacePath>,
    /// Other boxes that hold the content, cheapest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Source>,
    /// Conflict: the name that this box's edit is kept under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<SpacePath>,
    /// Remove: the path is purged, so no other copy is owed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purged: bool,
    /// Remove, not purged: how many of `from` must hold the content before it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mincopies: Option<u64>,
    /// What this ltr does not know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The `type` of an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ActionTag {
    /// Planned.
    #[default]
    #[serde(rename = "action")]
    Action,
    /// Carried out by ltr-fetch.
    #[serde(rename = "done")]
    Done,
}

impl Action {
    /// The attributes that `path` will have.
    #[must_use]
    pub fn attrs(&self) -> Attrs {
        Attrs {
            ftype: self.ftype,
            size: self.size,
            mtime: self.mtime,
            mtime_nsec: self.mtime_nsec,
            mode: self.mode,
            sha1: self.sha1,
            mime: self.mime.clone(),
            target: self.target.clone(),
        }
    }

    /// Refuses a step that no plan of ltr's contains.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<()> {
        check_box_name(&self.box_name)?;
        ensure!(!self.path.is_root(), "an action is not for /");
        check_attrs(&self.attrs())?;
        self.from.iter().try_for_each(|s| check_box_name(&s.box_name))?;
        let hashed = self.ftype == Ftype::Dir || self.sha1.is_some();
        ensure!(hashed, "an action on a file or symlink has a sha1");
        ensure!(self.action != Verb::Conflict || self.keep.is_some(), "a conflict has a name to keep the edit under");
        ensure!(self.action != Verb::Move || self.source.is_some(), "a move has a source");
        Ok(())
    }
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
