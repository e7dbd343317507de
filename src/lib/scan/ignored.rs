//! `.ltrignore`: the rules of gitignore(5), a file a folder, the deepest that has an opinion decides.

use std::borrow::Cow;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::folder;
use crate::path::SpacePath;

/// [`super::IGNORE_FILE`] for the kernel.
pub(super) const NAME: &CStr = c".ltrignore";

/// Longest file of rules in bytes: more is no work of a person, and each rule costs time at each file.
const LIMIT: u64 = 1 << 20;

/// The rules of the folders that are open, outermost first.
#[derive(Debug, Default)]
pub struct Rules {
    stack: Vec<Rule>,
}

/// What became of a folder's file of rules.
#[derive(Debug)]
pub struct Pushed {
    /// Whether there is something to take away with [`Rules::pop`].
    pub has_rules: bool,
    /// Why some or all of it does not apply.
    pub error: Option<String>,
}

#[derive(Debug)]
struct Rule {
    /// Bytes of the folder's raw path with the `/` behind it.
    prefix: usize,
    matcher: Gitignore,
}

impl Rules {
    /// Puts the rules of the folder `path`, open as `folder`, on top, if it has any.
    pub(super) fn push(&mut self, folder: impl AsFd, path: &SpacePath) -> Pushed {
        match read(folder) {
            Ok(text) => self.push_text(&text.unwrap_or_default(), path),
            Err(error) => Pushed { has_rules: false, error: Some(format!("{error:#}, so its rules do not apply")) },
        }
    }

    /// Puts the rules in `text`, what the folder `path` has in its file of rules, on top.
    pub fn push_text(&mut self, text: &[u8], path: &SpacePath) -> Pushed {
        let (matcher, error) = parse(text);
        let has_rules = !matcher.is_empty();
        if has_rules {
            let prefix = if path.is_root() { 1 } else { path.raw().len() + 1 };
            self.stack.push(Rule { prefix, matcher });
        }
        Pushed { has_rules, error }
    }

    /// Takes the topmost rules away.
    pub fn pop(&mut self) {
        self.stack.pop();
    }

    /// Whether nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }

    /// Whether `path` matches, in a folder that does not.
    #[must_use]
    pub fn ignore(&self, path: &SpacePath, is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let raw = path.raw();
        for rule in self.stack.iter().rev() {
            let Some(relative) = raw.get(rule.prefix..) else { continue };
            match rule.matcher.matched(Path::new(OsStr::from_bytes(relative)), is_dir) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

/// The text of the rules in `folder`; none where there is no such file. A folder, fifo or device of
/// that name holds no rules.
fn read(folder: impl AsFd) -> Result<Option<Vec<u8>>> {
    match folder::look(&folder, NAME).map(|look| look.kind) {
        Ok(FileType::RegularFile) => {}
        // as git has it: a link out of the box must not decide what is in it
        Ok(FileType::Symlink) => bail!("is a symlink"),
        // without search permission all that is in the folder fails anyway
        Ok(_) | Err(Errno::NOENT | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(&folder, NAME, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        file => File::from(file?),
    };
    let mut text = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= LIMIT, "is longer than {LIMIT} bytes");
    Ok(Some(text))
}

/// The rules in `text`, and what is wrong with the first line that cannot be one. The others apply: to
/// take all that a person wanted left out for a typing error would be worse.
fn parse(text: &[u8]) -> (Gitignore, Option<String>) {
    // an editor's byte order mark is no part of the first rule (git skips it too)
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let mut builder = GitignoreBuilder::new("");
    let mut wrong = None;
    for (i, line) in text.split(|&b| b == b'\n').enumerate() {
        if let Err(error) = add(&mut builder, line) {
            wrong.get_or_insert_with(|| format!("line {} does not apply: {error:#}", i + 1));
        }
    }
    match builder.build() {
        Ok(matcher) => (matcher, wrong),
        Err(error) => (Gitignore::empty(), Some(format!("{error}, so its rules do not apply"))),
    }
}

fn add(builder: &mut GitignoreBuilder, line: &[u8]) -> Result<()> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line))?;
    builder.add_line(None, &without_braces(line))?;
    Ok(())
}

/// The matcher knows `{a,b}`, gitignore(5) does not: there a brace is a brace.
fn without_braces(line: &str) -> Cow<'_, str> {
    if !line.contains(['{', '}']) {
        return line.into();
    }
    let mut literal = String::with_capacity(line.len() + 8);
    let mut escaped = false;
    for c in line.chars() {
        if matches!(c, '{' | '}') && !escaped {
            literal.push('\\');
        }
        escaped = c == '\\' && !escaped;
        literal.push(c);
    }
    literal.into()
}
