//! Writing: field by field what serde_json writes of the same record.

use anyhow::Result;
use serde::Serialize;

use crate::path::SpacePath;
use crate::record::{Entry, Extra, FileRecord, Ftype, Local, Mode, Sha1};
use crate::stamp::Stamp;

/// A JSON object that is being written; keys are given with the punctuation around them.
pub(crate) struct Object<'a>(pub(crate) &'a mut Vec<u8>);

impl Object<'_> {
    /// Adds JSON as it is.
    pub(crate) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// Adds a text.
    pub(crate) fn text(&mut self, key: &str, text: &str) -> Result<&mut Self> {
        self.raw(key);
        if text.bytes().any(|b| b == b'"' || b == b'\\' || b < b' ') {
            serde_json::to_writer(&mut *self.0, text)?;
        } else {
            self.raw("\"").raw(text).raw("\"");
        }
        Ok(self)
    }

    fn value(&mut self, key: &str, value: &impl Serialize) -> Result<&mut Self> {
        self.raw(key);
        serde_json::to_writer(&mut *self.0, value)?;
        Ok(self)
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, key: &str, number: u64) -> &mut Self {
        self.raw(key);
        let (mut digits, mut at, mut left) = ([0; 20], 20, number);
        loop {
            at -= 1;
            digits[at] = b"0123456789"[(left % 10) as usize];
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
        self
    }

    /// Adds a number.
    pub(crate) fn signed(&mut self, key: &str, number: i64) -> &mut Self {
        self.raw(key);
        self.number(if number < 0 { "-" } else { "" }, number.unsigned_abs())
    }

    fn truth(&mut self, key: &str, value: bool) -> &mut Self {
        self.raw(key).raw(if value { "true" } else { "false" })
    }

    fn hex(&mut self, number: u64, digits: u32) -> &mut Self {
        let nibbles = (0..digits).rev().map(|at| (number >> (4 * at) & 15) as usize);
        self.0.extend(nibbles.map(|nibble| b"0123456789abcdef"[nibble]));
        self
    }

    /// Adds a kind of file.
    pub(crate) fn ftype(&mut self, key: &str, ftype: Ftype) -> &mut Self {
        self.raw(key).raw(match ftype {
            Ftype::File => "\"file\"",
            Ftype::Dir => "\"dir\"",
            Ftype::Symlink => "\"symlink\"",
        })
    }

    /// Adds permission bits.
    pub(crate) fn mode(&mut self, key: &str, mode: Mode) -> Result<&mut Self> {
        if mode.0 > 0o7777 {
            return self.value(key, &mode);
        }
        self.raw(key).raw("\"");
        self.0.extend([9, 6, 3, 0].map(|shift| b"01234567"[(mode.0 >> shift & 7) as usize]));
        Ok(self.raw("\""))
    }

    /// Adds a hash.
    pub(crate) fn sha1(&mut self, key: &str, sha1: Sha1) -> &mut Self {
        self.raw(key).raw("\"");
        self.0.extend_from_slice(&sha1.hex());
        self.raw("\"")
    }

    fn stamp(&mut self, key: &str, stamp: Stamp) -> &mut Self {
        // one beyond twelve digits would be written with more
        let digits = 12.max(16 - stamp.ms.leading_zeros() / 4);
        self.raw(key).raw("\"").hex(stamp.ms, digits).raw("-").hex(stamp.counter.into(), 4);
        self.raw("-").hex(stamp.index.into(), 8).raw("\"")
    }

    /// Adds a text, if there is one.
    pub(crate) fn optional_text(&mut self, key: &str, text: Option<&str>) -> Result<&mut Self> {
        if let Some(text) = text {
            self.text(key, text)?;
        }
        Ok(self)
    }

    /// Adds a path, if there is one.
    pub(crate) fn optional_path(&mut self, key: &str, path: Option<&SpacePath>) -> Result<&mut Self> {
        self.optional_text(key, path.map(SpacePath::spelled).as_deref())
    }

    fn local(&mut self, key: &str, local: Option<&Local>) -> Result<&mut Self> {
        let Some(local) = local else { return Ok(self) };
        self.raw(key).number(r#"{"ino":"#, local.ino).signed(r#","ctime":"#, local.ctime);
        self.number(r#","ctime_nsec":"#, local.ctime_nsec.into()).number(r#","dev":"#, local.dev);
        self.truth(r#","racy":"#, local.racy).optional_text(r#","status":"#, local.status.as_deref())?;
        Ok(self.optional_path(r#","renamed":"#, local.renamed.as_ref())?.raw("}"))
    }

    fn extra(&mut self, extra: &Extra) -> Result<&mut Self> {
        for (key, value) in extra {
            self.text(",", key)?.value(":", value)?;
        }
        Ok(self)
    }
}

impl FileRecord {
    /// Appends the record as a line of a stream has it, without a newline.
    ///
    /// # Errors
    /// An unknown field cannot be written.
    pub fn write(&self, line: &mut Vec<u8>) -> Result<()> {
        let mut object = Object(line);
        object.text(r#"{"type":"scan","path":"#, &self.path.spelled())?.ftype(r#","ftype":"#, self.ftype);
        object.number(r#","size":"#, self.size).signed(r#","mtime":"#, self.mtime);
        object.number(r#","mtime_nsec":"#, self.mtime_nsec.into());
        if let Some(mode) = self.mode {
            object.mode(r#","mode":"#, mode)?;
        }
        object.optional_text(r#","target":"#, self.target.as_deref())?.local(r#","local":"#, self.local.as_ref())?;
        if let Some(sha1) = self.sha1 {
            object.sha1(r#","sha1":"#, sha1);
        }
        object.optional_text(r#","mime":"#, self.mime.as_deref())?.optional_text(r#","status":"#, self.status.as_deref())?;
        if let Some(change) = self.change {
            object.value(r#","change":"#, &change)?;
        }
        if let Some(was) = &self.was {
            object.value(r#","was":"#, was)?;
        }
        object.optional_text(r#","otherwise":"#, self.otherwise.as_deref())?;
        if self.whole {
            object.truth(r#","whole":"#, true);
        }
        object.optional_path(r#","renamed":"#, self.renamed.as_ref())?.extra(&self.extra)?.raw("}");
        Ok(())
    }
}

impl Entry {
    /// Appends the document as a line of a stream has it, without a newline.
    pub(in crate::record) fn write(&self, line: &mut Vec<u8>) -> Result<()> {
        let (mut object, attrs, path) = (Object(line), &self.attrs, self.path.spelled());
        object.text(r#"{"_id":"#, &[&self.box_name, ":", &path].concat())?.text(r#","type":"entry","box":"#, &self.box_name)?;
        object.text(r#","path":"#, &path)?.ftype(r#","ftype":"#, attrs.ftype).truth(r#","present":"#, self.present);
        if self.purged {
            object.truth(r#","purged":"#, true);
        }
        object.optional_path(r#","moved":"#, self.moved.as_ref())?.number(r#","commit":"#, self.commit);
        object.number(r#","size":"#, attrs.size).signed(r#","mtime":"#, attrs.mtime);
        object.number(r#","mtime_nsec":"#, attrs.mtime_nsec.into()).mode(r#","mode":"#, attrs.mode)?;
        if let Some(sha1) = attrs.sha1 {
            object.sha1(r#","sha1":"#, sha1);
        }
        object.optional_text(r#","mime":"#, attrs.mime.as_deref())?.optional_text(r#","target":"#, attrs.target.as_deref())?;
        object.raw(r#","version":{"#);
        for (at, (actor, count)) in self.version.counts().enumerate() {
            object.raw(if at > 0 { ",\"" } else { "\"" }).hex(actor.into(), 8).number("\":", count);
        }
        object.raw("}").stamp(r#","stamp":"#, self.stamp).local(r#","local":"#, self.local.as_ref())?;
        object.extra(&self.extra)?.raw("}");
        Ok(())
    }
}
