//! Changing one field of a box or of the space: `ltr set`.

use std::io::Write;
use std::str::FromStr;
use std::time::SystemTime;

use anyhow::{Context, Error, Result, bail, ensure};
use serde_json::{Map, Value};

use super::{Scene, no_such_box};
use crate::disks::is_disk;
use crate::exit::Exit;
use crate::index::{Index, Origin};
use crate::record::{Document, Fields, Policy};
use crate::space::Remote;
use crate::stream::Writer;

/// `OBJECT.KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// A box, or `space`.
    pub object: String,
    /// The field.
    pub key: String,
}

impl FromStr for Assignment {
    type Err = Error;

    /// Splits at the last dot: names of boxes may have dots, keys have none.
    fn from_str(text: &str) -> Result<Self> {
        match text.rsplit_once('.') {
            Some((object, key)) if !object.is_empty() && !key.is_empty() => {
                Ok(Self { object: object.to_owned(), key: key.to_owned() })
            }
            _ => bail!("not OBJECT.KEY: {text:?} (such as stick.policy or space.mincopies)"),
        }
    }
}

/// Sets a field of a box or space document, unless `dry_run`, and writes the document as it then is.
///
/// # Errors
/// There is no such box, the key cannot be set, the value is none for it, or the index cannot be
/// written.
pub fn set<W: Write>(scene: &mut Scene, assignment: &Assignment, value: &str, dry_run: bool, output: W) -> Result<Exit> {
    let Assignment { object, key } = assignment;
    let of_space = object == "space";
    let mut fields = match of_space {
        true => scene.index.space()?.context("the space has no document: no box was created yet")?,
        false => scene.index.box_fields(object)?.with_context(|| no_such_box(object))?,
    };
    let value = parse(of_space, key, value, &fields).with_context(|| format!("{object}.{key}"))?;
    fields.set(key, value, scene.index.clock()?.tick(SystemTime::now()));
    let document = if of_space { Document::Space(fields) } else { Document::Box(object.clone(), fields) };
    // a key that documents use otherwise would make this one unreadable
    let again = Document::from_json(&document.canonical()).ok();
    ensure!(again.as_ref() == Some(&document), "{object}.{key}: not a field that can be set");
    if !dry_run {
        scene.index.put(std::slice::from_ref(&document), Origin::Here)?;
    }
    let mut writer = Writer::new(output);
    writer.put(&document)?;
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

/// The value that `text` means for the field `key`.
fn parse(of_space: bool, key: &str, text: &str, fields: &Fields) -> Result<Value> {
    ensure!(!text.contains('\0') && text.len() <= 65536, "not a value");
    match (of_space, key) {
        (_, "uuid" | "format" | "type" | "_id" | "_rev" | "stamp" | "stamps") => bail!("cannot be set"),
        (false, "policy") => Ok(text.parse::<Policy>()?.to_string().into()),
        (false, "urls") => urls(text, fields),
        (false, "reserve") => Ok(bytes(text)?.into()),
        (false, "forgotten") => Ok(text.parse::<bool>().context("true or false")?.into()),
        (true, "mincopies") => {
            let copies: u32 = text.parse().context("not a number of copies")?;
            ensure!(copies >= 1, "at least 1: with none, a last copy could go");
            Ok(copies.into())
        }
        (true, "policy" | "urls" | "reserve" | "forgotten") => bail!("a field of boxes"),
        (false, "mincopies") => bail!("a field of the space"),
        (_, "name") => {
            ensure!(!text.is_empty() && !text.contains(char::is_control), "not a name");
            Ok(text.into())
        }
        _ => {
            let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            ensure!(plain && !key.starts_with(['_', '-']), "not the name of a field");
            Ok(serde_json::from_str(text).unwrap_or_else(|_| text.into()))
        }
    }
}

/// `URL` or a JSON list replaces the list, `+URL` adds one, `-URL` removes one.
fn urls(text: &str, fields: &Fields) -> Result<Value> {
    let mut urls: Vec<String> = fields.urls().into_iter().map(str::to_owned).collect();
    if let Some(url) = text.strip_prefix('-') {
        let before = urls.len();
        urls.retain(|u| u != url);
        ensure!(urls.len() < before, "{url} is not among them");
    } else if let Some(url) = text.strip_prefix('+') {
        urls.retain(|u| u != url);
        urls.push(url.to_owned());
    } else if text.starts_with('[') {
        urls = serde_json::from_str(text).context("not a list of urls")?;
    } else {
        urls = vec![text.to_owned()];
    }
    urls.iter().try_for_each(|url| check_url(url))?;
    Ok(urls.into())
}

/// Refuses what cannot be where a box is: an absolute folder, or one on another host or a named disk.
///
/// # Errors
/// Names the url.
pub(crate) fn check_url(url: &str) -> Result<()> {
    ensure!(!url.contains(char::is_control), "control characters in {url:?}");
    let known = url.starts_with('/') || is_disk(url) || Remote::parse(url)?.is_some();
    ensure!(known, "{url:?}: neither a folder, [user@]host:/folder, label:NAME/folder nor uuid:UUID/folder");
    Ok(())
}

/// Bytes, with one of the suffixes k M G T for powers of 1024.
fn bytes(text: &str) -> Result<u64> {
    let (number, power) = match text.strip_suffix(['k', 'K', 'M', 'G', 'T']) {
        Some(number) => (number, text.bytes().last().and_then(|s| b"kMGT".iter().position(|u| u.eq_ignore_ascii_case(&s)))),
        None => (text, None),
    };
    let unit = 1u64 << (10 * power.map_or(0, |p| p + 1));
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    bytes.filter(|b| *b <= crate::record::SIZE_MAX).with_context(|| format!("not a number of bytes: {text:?}"))
}
