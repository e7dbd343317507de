//! Documents as they are written: one struct for all types but entries, so that a line is read in one
//! pass, and what this ltr does not know lands in `extra`.

use anyhow::{Result, bail, ensure};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{
    Attrs, Document, Entry, Extra, FORMAT, Fields, Ftype, Local, Mark, Mode, SIZE_MAX, Sha1, Want, check_box_name, mark_id,
};
use crate::path::SpacePath;
use crate::stamp::Stamp;
use crate::version::Version;

/// All known fields of a document as they are written. One struct for every type: serde then reads a
/// line in one pass, and what it does not know lands in `extra`.
#[derive(Serialize, Deserialize)]
pub(super) struct Wire<'a> {
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
    /// Takes out what a database adds.
    pub(super) fn take_own(&mut self) -> Extra {
        let mut own = Extra::new();
        self.extra.retain(|key, value| {
            let mine = !key.starts_with('_');
            if !mine {
                own.insert(key.clone(), value.take());
            }
            mine
        });
        own
    }

    pub(super) fn into_document(self) -> Result<Document> {
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

pub(super) fn check_count(count: u64) -> Result<()> {
    ensure!(count <= crate::version::COUNT_MAX, "commit counter out of range");
    Ok(())
}

/// Ranges that every later step relies on.
pub(super) fn check_attrs(attrs: &Attrs) -> Result<()> {
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
    map.serialize_entry("_id", &[&e.box_name, ":", &path].concat())?;
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
