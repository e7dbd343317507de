//! Which box is at a folder of another machine: what its ltr says, or where it has none, its cookie.

use std::io::BufRead;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::boxfs::COOKIE;
use crate::cookie::{COOKIE_MAX, Cookie};
use crate::path::unescape;
use crate::record::check_box_name;
use crate::space::Remote;
use crate::ssh::Ssh;
use crate::stream::{LINE_MAX, Line, Reader};

/// What `ltr-locate` says of a box on another machine, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its root.
    pub root: Remote,
    /// Its name.
    pub box_name: String,
    /// Its index.
    pub index: Remote,
    /// The uuid of its space, where its index could be read.
    pub uuid: Option<String>,
    /// Whether the folder that was asked about is its root.
    pub at_root: bool,
}

/// The record as it comes.
#[derive(Deserialize)]
struct Said {
    root: String,
    #[serde(rename = "box")]
    box_name: String,
    index: String,
    path: String,
    #[serde(default)]
    uuid: Option<String>,
}

impl Located {
    /// Reads the stream of an `ltr-locate` on `remote`'s machine.
    ///
    /// # Errors
    /// It is cut short, or what it says is no place on that machine: with a relative name, the url of
    /// an index would be that of a file here.
    pub fn read<R: BufRead>(reader: &mut Reader<R>, remote: &Remote) -> Result<Self> {
        let mut said: Option<Said> = None;
        while let Some(line) = reader.next_line()? {
            if let Line::Record { kind, json } = line
                && kind == "located"
            {
                said = Some(serde_json::from_str(json)?);
            }
        }
        let said = said.context("no box there")?;
        check_box_name(&said.box_name)?;
        let there = |spelled: &str| {
            let path = String::from_utf8(unescape(spelled)?).context("not UTF-8")?;
            let plain = path.starts_with('/') && !path.contains(char::is_control);
            ensure!(plain, "{}: not the name of a file there: {path:?}", remote.host);
            Ok(Remote { path, ..remote.clone() })
        };
        Ok(Self {
            root: there(&said.root)?,
            box_name: said.box_name,
            index: there(&said.index)?,
            uuid: said.uuid,
            at_root: said.path == "/",
        })
    }

    /// Refuses a box of another space (design section 10.7). Where either is not known, the name must do.
    ///
    /// # Errors
    /// It is of another space.
    pub fn check_space(&self, uuid: Option<&str>) -> Result<()> {
        let same = uuid.is_none_or(|mine| self.uuid.as_deref().is_none_or(|theirs| theirs == mine));
        ensure!(same, "at {} is the box {} of another space", self.root, self.box_name);
        Ok(())
    }
}

/// Asks in one connection. A cookie that is a fifo would be waited for.
const SCRIPT: &str = "ltr-locate -- \"$1\" 2>/dev/null && exit
if test -f \"$2\" || ! test -e \"$2\"; then exec cat -- \"$2\"; fi
echo \"$2: not a regular file\" >&2; exit 1";

/// Makes sure that the folder `remote` is the box `name` of the space `uuid`, before the first byte.
///
/// # Errors
/// The machine does not answer; there is no box, or another one.
pub fn check_box(ssh: &Ssh, remote: &Remote, name: &str, uuid: Option<&str>) -> Result<()> {
    let cookie = format!("{}/{COOKIE}", remote.path.trim_end_matches('/'));
    let said = ssh.ask(remote, &["sh", "-c", SCRIPT, "sh", &remote.path, &cookie], LINE_MAX as u64)?;
    let found = if said.starts_with(b"{") {
        let located = Located::read(&mut Reader::new(said.as_slice()), remote)?;
        ensure!(located.at_root, "{remote} is not the root of a box");
        located.check_space(uuid)?;
        located.box_name
    } else {
        ensure!(said.len() as u64 <= COOKIE_MAX, "{remote}: not a cookie");
        Cookie::parse(&said)?.box_name
    };
    ensure!(found == name, "at {remote} is the box {found}, not {name}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(root: &str, index: &str, more: &str) -> Result<Located> {
        let json = serde_json::json!({"type": "located", "root": root, "box": "b", "space": index, "index": index, "path": "/"});
        let json = json.to_string().replace("\"path\"", &format!("{more}\"path\""));
        let stream = format!("{json}\n{{\"type\":\"end\",\"count\":1,\"errors\":0}}\n");
        Located::read(&mut Reader::new(stream.as_bytes()), &Remote::parse("h:/x")?.context("a url")?)
    }

    #[test]
    fn a_place_there_is_never_one_here() {
        let located = read("/box", "/home/\\\\t/space", "\"uuid\":\"u\",").unwrap();
        assert_eq!((located.root.path.as_str(), located.index.path.as_str()), ("/box", "/home/\\t/space"));
        located.check_space(Some("u")).unwrap();
        located.check_space(None).unwrap();
        located.check_space(Some("v")).unwrap_err();
        read("/box", "/i", "").unwrap().check_space(Some("v")).unwrap();
        // `h:x/../../home/me/index` is the name of a file on this machine
        for bad in ["x/../../home/me/index", "", "index", "-oX", "/a\nb", "/a\u{1b}[31m", "/a\\x1b", "/a\\xff", "/a\\q", "/a\0b"]
        {
            assert!(read("/box", bad, "").is_err() && read(bad, "/index", "").is_err(), "{bad:?}");
        }
        read("/box", "/i", "\"box\":\"c\",").unwrap_err();
    }
}
