//! The box around a folder, for programs and for `eval`.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Map;

use crate::exit::Exit;
use crate::index::sqlite::Access;
use crate::ltrbox::Located;
use crate::stream::{Tagged, Writer};
use crate::sync::sink::uuid;

/// A located box, and the space that its index is of.
#[derive(Serialize)]
struct WithSpace<'a> {
    #[serde(flatten)]
    located: &'a Located,
    /// Left out where the index cannot be read, or has no space yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

/// Writes the `located` record.
///
/// # Errors
/// The output cannot be written.
pub fn put_located<W: Write>(located: &Located, output: W) -> Result<Exit> {
    let uuid = located.open(Access::Read).and_then(|index| uuid(&index)).ok().flatten();
    let mut writer = Writer::new(output);
    writer.put(&Tagged { kind: "located", record: &WithSpace { located, uuid } })?;
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

/// Writes assignments of `root`, `box`, `space`, `index`, `prefix` (the folder in the space, raw bytes)
/// that a POSIX shell can `eval`, whatever bytes the names have.
///
/// # Errors
/// The output cannot be written.
pub fn put_shell<W: Write>(located: &Located, mut output: W) -> Result<Exit> {
    let prefix = located.path.raw();
    for (name, value) in [
        ("root", located.root.as_os_str()),
        ("box", OsStr::new(&located.box_name)),
        ("space", OsStr::new(&located.space)),
        ("index", located.index.as_os_str()),
        ("prefix", OsStr::from_bytes(&prefix)),
    ] {
        let quoted = shlex::bytes::try_quote(value.as_bytes()).context("a name holds a NUL byte")?;
        output.write_all(&[name.as_bytes(), b"=", &quoted, b"\n"].concat())?;
    }
    output.flush()?;
    Ok(Exit::Done)
}
