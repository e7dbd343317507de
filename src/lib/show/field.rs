//! A field of a record by name, and how its value reads: `path`, `from.0.url`, `size:h`, `sha1:8`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::FromStr;

use anyhow::{Error, Result, bail, ensure};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::path::unescape;
use crate::quote::Quoting;
use crate::stamp::Stamp;

/// Fields whose strings are names of files in the spelling of paths, wherever they stand.
const NAMES: [&str; 7] = ["path", "name", "source", "keep", "target", "renamed", "moved"];

/// A field, and the form it is shown in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Keys and indices on the way to it.
    steps: Vec<String>,
    filter: Option<Filter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// A number of bytes in powers of 1024.
    Human,
    /// Seconds since 1970, or a stamp, as local time.
    Time,
    /// The items of a list, with blanks between.
    List,
    /// The first characters.
    First(usize),
}

/// What a value looks like besides its filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub quoting: Quoting,
    pub zone: &'a TimeZone,
}

impl FromStr for Field {
    type Err = Error;

    /// # Errors
    /// An empty name, or an unknown filter.
    fn from_str(text: &str) -> Result<Self> {
        let (name, filter) = match text.rsplit_once(':') {
            Some((name, filter)) => (name, Some(filter.parse()?)),
            None => (text, None),
        };
        let steps: Vec<String> = name.split('.').map(str::to_owned).collect();
        ensure!(steps.iter().all(|s| !s.is_empty()), "not the name of a field: {text:?}");
        Ok(Self { steps, filter })
    }
}

impl FromStr for Filter {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("h", _) => Ok(Self::Human),
            ("t", _) => Ok(Self::Time),
            ("l", _) => Ok(Self::List),
            (_, Ok(count)) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self::First(count)),
            _ => bail!("no such filter: {text:?} (h, t, l or a number of characters)"),
        }
    }
}

impl Field {
    /// The name without the filter.
    #[must_use]
    pub fn name(&self) -> String {
        self.steps.join(".")
    }

    pub(super) fn tells_time(&self) -> bool {
        matches!(self.filter, Some(Filter::Time))
    }

    /// The value in `record`, ready to be written; empty where it is missing.
    pub(super) fn show(&self, record: &Value, look: Look<'_>) -> Vec<u8> {
        let Some(value) = self.find(record) else { return Vec::new() };
        if let (Some(Filter::List), Value::Array(items)) = (self.filter, value) {
            let items = items.iter().map(|item| look.quoting.name(plain(item).as_bytes()).into_owned());
            return items.collect::<Vec<_>>().join(&b' ');
        }
        let text = match self.filter {
            Some(Filter::Human) => value.as_u64().map(human),
            Some(Filter::Time) => local_time(value, look.zone),
            Some(Filter::List | Filter::First(_)) | None => None,
        };
        match (text, self.raw_name(value)) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(name)) => look.quoting.name(self.first(&name)).into_owned(),
            (None, None) => {
                let text = plain(value);
                let first = self.first(text.as_bytes());
                look.quoting.text(&String::from_utf8_lossy(first)).into_owned()
            }
        }
    }

    fn find<'v>(&self, record: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(record, |value, step| match value {
            Value::Object(fields) => fields.get(step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The bytes of a file name; `None` for anything else, and for what is not in the spelling of paths.
    fn raw_name(&self, value: &Value) -> Option<Vec<u8>> {
        let named = self.steps.last().is_some_and(|last| NAMES.contains(&last.as_str()));
        if named { unescape(value.as_str()?).ok() } else { None }
    }

    /// As much of `text` as the filter leaves, never half a character.
    fn first<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        let Some(Filter::First(count)) = self.filter else { return text };
        let mut starts = text.iter().enumerate().filter(|(_, b)| !is_continuation(**b)).map(|(at, _)| at);
        starts.nth(count).map_or(text, |end| &text[..end])
    }
}

/// Whether `byte` can only stand inside a character of UTF-8.
fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Strings without quotes, null as nothing, all else as JSON.
fn plain(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Bytes as `ls -h` shows them: rounded up, one decimal below ten.
fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut text = String::new();
    for (power, unit) in (1..).zip("KMGTPE".chars()) {
        let unit_bytes = 1u128 << (10 * power);
        let tenths = (u128::from(bytes) * 10).div_ceil(unit_bytes);
        let whole = u128::from(bytes).div_ceil(unit_bytes);
        if tenths < 100 || whole < 1024 {
            // writing to a String cannot fail
            let _ =
                if tenths < 100 { write!(text, "{}.{}{unit}", tenths / 10, tenths % 10) } else { write!(text, "{whole}{unit}") };
            break;
        }
    }
    text
}

/// `2026-11-21 10:04`; `None` for what is no time.
fn local_time(value: &Value, zone: &TimeZone) -> Option<String> {
    let time = match value {
        Value::String(text) => Timestamp::from_millisecond(i64::try_from(text.parse::<Stamp>().ok()?.ms).ok()?),
        other => Timestamp::from_second(other.as_i64()?),
    };
    Some(time.ok()?.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn show(field: &str, record: &Value, quoting: Quoting) -> String {
        let bytes = field.parse::<Field>().unwrap().show(record, Look { quoting, zone: &TimeZone::UTC });
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn values_read_as_people_expect() {
        let record = json!({
            "type": "action", "path": "/a\\\\b", "size": 1_258_291, "mtime": 1_795_255_440, "purged": true, "x": null,
            "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "local": {"ino": 7, "renamed": "/o\\xff"},
            "from": [{"url": "h:/r", "path": "/p"}], "stamp": "012d97a0c1f0-0000-1f2e3d4c", "mime": "für", "target": "\\q",
            "urls": ["h:/r", "/it's"], "none": [],
        });
        for (field, shown) in [
            ("path", "/a\\b"),
            ("path:3", "/a\\"),
            ("target", "\\q"),
            ("size", "1258291"),
            ("size:h", "1.2M"),
            ("size:2", "12"),
            ("mtime:t", "2026-11-21 10:04"),
            ("stamp:t", "2011-01-18 05:37"),
            ("path:t", "/a\\b"),
            ("path:h", "/a\\b"),
            ("sha1:8", "da39a3ee"),
            ("mime:2", "fü"),
            ("mime:0", ""),
            ("mime:99", "für"),
            ("purged", "true"),
            ("x", ""),
            ("nothing", ""),
            ("nothing.at.all", ""),
            ("size.ino", ""),
            ("local.ino", "7"),
            ("local.renamed", "/o\u{fffd}"),
            ("from.0.url", "h:/r"),
            ("from.1.url", ""),
            ("from.x", ""),
            ("from.-1", ""),
            ("from", r#"[{"path":"/p","url":"h:/r"}]"#),
            ("from:l", r#"{"path":"/p","url":"h:/r"}"#),
            ("urls:l", "h:/r /it's"),
            ("none:l", ""),
            ("path:l", "/a\\b"),
        ] {
            assert_eq!(show(field, &record, Quoting::Raw), shown, "{field}");
        }
    }

    #[test]
    fn hostile_values_are_quoted_on_a_terminal() {
        let record = json!({"path": "/\u{1b}c", "mime": "a\u{1b}]0;x\u{7}", "from": ["\u{9b}"], "keep": "/a b", "note": "a b",
            "target": "\\q\u{7}", "urls": ["h:/r", "/a b\u{1b}"]});
        for (field, shown) in [
            ("path", r"$'/\x1B'$'c'"),
            ("mime", r"$'a\x1B]0;x\x07'"),
            ("keep", "'/a b'"),
            ("note", "a b"),
            ("urls:l", r"h:/r $'/a b\x1B'"),
            ("target", r"$'\\q\x07'"),
        ] {
            assert_eq!(show(field, &record, Quoting::Terminal), shown, "{field}");
        }
        assert!(!show("from", &record, Quoting::Terminal).contains('\u{9b}'));
    }

    #[test]
    fn sizes_are_rounded_up_as_ls_does() {
        for (bytes, shown) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10_188, "10K"),
            (10_241, "11K"),
            (1_048_575, "1.0M"),
            (1 << 40, "1.0T"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human(bytes), shown, "{bytes}");
        }
        for (size, shown) in [(json!(-1), "-1"), (json!(1.5), "1.5"), (json!("big"), "big")] {
            assert_eq!(show("size:h", &json!({ "size": size }), Quoting::Raw), shown);
        }
        assert_eq!(show("mtime:t", &json!({"mtime": i64::MAX}), Quoting::Raw), i64::MAX.to_string());
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for text in ["", ".", "a..b", "a.", ":h", "a:", "a:x", "a:-1", "a:+1", "a:99999999999999999999999"] {
            assert!(text.parse::<Field>().is_err(), "{text:?}");
        }
    }
}
