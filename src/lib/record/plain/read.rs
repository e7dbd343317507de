//! Reading. `None` is no judgement: a parser has to tell.

use crate::path::SpacePath;
use crate::record::{Attrs, Change, Extra, FileRecord, Ftype, Local, Mode, ScanTag, Sha1};
use crate::stamp::{Stamp, parse_hex8};
use crate::version::Version;

/// An entry as it was written, of which nothing was checked.
pub(in crate::record) struct EntryText<'a> {
    pub(in crate::record) id: &'a str,
    pub(in crate::record) box_name: &'a str,
    pub(in crate::record) path_text: &'a str,
    pub(in crate::record) path: SpacePath,
    pub(in crate::record) present: bool,
    pub(in crate::record) commit: u64,
    pub(in crate::record) attrs: Attrs,
    pub(in crate::record) version: Version,
    pub(in crate::record) stamp: Stamp,
    pub(in crate::record) local: Option<Local>,
}

/// Reads a record of a scan.
pub(in crate::record) fn file(json: &[u8]) -> Option<FileRecord> {
    let mut line = Line(json);
    line.take(r#"{"type":"scan","path":"#)?;
    let path = line.path()?;
    let mut record = FileRecord {
        kind: ScanTag::Scan,
        path,
        ftype: line.field(r#","ftype":"#, Line::ftype)?,
        size: line.field(r#","size":"#, Line::number)?,
        mtime: line.field(r#","mtime":"#, Line::signed)?,
        mtime_nsec: line.field(r#","mtime_nsec":"#, Line::number)?.try_into().ok()?,
        mode: line.optional(r#","mode":"#, Line::mode)?,
        target: line.optional(r#","target":"#, Line::owned)?,
        local: line.optional(r#","local":"#, Line::local)?,
        sha1: line.optional(r#","sha1":"#, Line::sha1)?,
        mime: line.optional(r#","mime":"#, Line::owned)?,
        status: line.optional(r#","status":"#, Line::owned)?,
        change: None,
        was: None,
        otherwise: None,
        whole: false,
        renamed: None,
        extra: Extra::new(),
    };
    record.change = line.optional(r#","change":"#, Line::change)?;
    line.end().map(|()| record)
}

/// Reads an entry.
pub(in crate::record) fn entry(json: &[u8]) -> Option<EntryText<'_>> {
    let mut line = Line(json);
    line.take(r#"{"_id":"#)?;
    let id = line.text()?;
    let box_name = line.field(r#","type":"entry","box":"#, Line::text)?;
    let path_text = line.field(r#","path":"#, Line::text)?;
    let path = SpacePath::from_spelled(path_text).ok()?;
    let ftype = line.field(r#","ftype":"#, Line::ftype)?;
    let present = line.field(r#","present":"#, Line::truth)?;
    let commit = line.field(r#","commit":"#, Line::number)?;
    let attrs = Attrs {
        ftype,
        size: line.field(r#","size":"#, Line::number)?,
        mtime: line.field(r#","mtime":"#, Line::signed)?,
        mtime_nsec: line.field(r#","mtime_nsec":"#, Line::number)?.try_into().ok()?,
        mode: line.field(r#","mode":"#, Line::mode)?,
        sha1: line.optional(r#","sha1":"#, Line::sha1)?,
        mime: line.optional(r#","mime":"#, Line::owned)?,
        target: line.optional(r#","target":"#, Line::owned)?,
    };
    let version = line.field(r#","version":"#, Line::version)?;
    let stamp = line.field(r#","stamp":"#, Line::stamp)?;
    let local = line.optional(r#","local":"#, Line::local)?;
    line.end().map(|()| EntryText { id, box_name, path_text, path, present, commit, attrs, version, stamp, local })
}

/// What is left of a line.
struct Line<'a>(&'a [u8]);

impl<'a> Line<'a> {
    fn take(&mut self, what: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(what.as_bytes())?;
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        (self.0 == b"}").then_some(())
    }

    fn field<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.take(key)?;
        read(self)
    }

    fn optional<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.take(key).is_some() { read(self).map(Some) } else { Some(None) }
    }

    /// A text in which nothing is escaped, and nothing would have to be.
    fn text(&mut self) -> Option<&'a str> {
        let text = self.0.strip_prefix(b"\"")?;
        let end = text.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ')?;
        self.0 = text[end..].strip_prefix(b"\"")?;
        str::from_utf8(&text[..end]).ok()
    }

    fn owned(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        if digits > 1 && number[0] == b'0' {
            return None;
        }
        // a fraction, or an exponent
        if digits == 0 || matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.0 = rest;
        let more = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        number.iter().try_fold(0, more)
    }

    fn signed(&mut self) -> Option<i64> {
        self.number()?.try_into().ok()
    }

    fn truth(&mut self) -> Option<bool> {
        match self.take("true") {
            Some(()) => Some(true),
            None => self.take("false").map(|()| false),
        }
    }

    fn path(&mut self) -> Option<SpacePath> {
        SpacePath::from_spelled(self.text()?).ok()
    }

    fn ftype(&mut self) -> Option<Ftype> {
        match self.text()? {
            "file" => Some(Ftype::File),
            "dir" => Some(Ftype::Dir),
            "symlink" => Some(Ftype::Symlink),
            _ => None,
        }
    }

    fn change(&mut self) -> Option<Change> {
        match self.text()? {
            "new" => Some(Change::New),
            "modified" => Some(Change::Modified),
            "suspect" => Some(Change::Suspect),
            "gone" => Some(Change::Gone),
            _ => None,
        }
    }

    fn mode(&mut self) -> Option<Mode> {
        Mode::from_digits(self.text()?)
    }

    fn sha1(&mut self) -> Option<Sha1> {
        self.text()?.parse().ok()
    }

    fn stamp(&mut self) -> Option<Stamp> {
        self.text()?.parse().ok()
    }

    /// One of a single actor, as nearly all are.
    fn version(&mut self) -> Option<Version> {
        self.take("{")?;
        let actor = parse_hex8(self.text()?)?;
        let count = self.field(":", Self::number)?;
        self.take("}")?;
        let version = Version::of(actor, count);
        version.check().is_ok().then_some(version)
    }

    fn local(&mut self) -> Option<Local> {
        self.take(r#"{"ino":"#)?;
        let local = Local {
            ino: self.number()?,
            ctime: self.field(r#","ctime":"#, Self::signed)?,
            ctime_nsec: self.field(r#","ctime_nsec":"#, Self::number)?.try_into().ok()?,
            dev: self.field(r#","dev":"#, Self::number)?,
            racy: self.field(r#","racy":"#, Self::truth)?,
            status: self.optional(r#","status":"#, Self::owned)?,
            renamed: self.optional(r#","renamed":"#, Self::path)?,
        };
        self.take("}").map(|()| local)
    }
}
