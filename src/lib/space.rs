//! Where a space's index lives: what a person writes as SPACE.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::couch::url::{Database, decode};
use crate::path::SpacePath;

/// The parsed form of a SPACE argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// An SQLite file on this machine, as an absolute path.
    File(PathBuf),
    /// That file on another machine.
    Ssh(Remote),
    /// An Apache CouchDB database.
    Http(Database),
}

/// A folder or file on another machine, reached by ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// `user@host` or `host`, never beginning with `-`.
    pub host: String,
    /// Where it is not ssh's own default.
    pub port: Option<u16>,
    /// Absolute there.
    pub path: String,
}

impl Remote {
    /// Parses `[user@]host:/path`, or `ssh://[user@]host[:port]/path` and the same with `sftp`, whose paths are
    /// percent-encoded; `None` when `text` has none of these forms.
    ///
    /// # Errors
    /// The form is right but the host could be taken for an option or holds characters that no host
    /// name has (RFC 952, RFC 1123; `:` and `[]` for IPv6), or the path has a NUL, or a `%` that is no
    /// percent-encoding.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let url = ["ssh://", "sftp://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
        let (host, port, path) = if let Some(rest) = url {
            let Some((authority, path)) = rest.split_once('/') else { bail!("{text}: no path in the url") };
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) if !port.contains(']') => (host, Some(port.parse()?)),
                _ => (authority, None),
            };
            let path = percent_decoded(path).with_context(|| text.to_owned())?;
            // one slash: with two, it would read as another scheme when it is written as `host:/path`
            (host, port, format!("/{}", path.trim_start_matches('/')))
        } else {
            match text.split_once(":/") {
                Some((host, path)) if !host.contains('/') && !path.starts_with('/') => (host, None, format!("/{path}")),
                _ => return Ok(None),
            }
        };
        check_host(host)?;
        ensure!(!path.contains('\0'), "NUL in {path:?}");
        Ok(Some(Self { host: host.to_owned(), port, path }))
    }

    /// The host with an IPv6 address in brackets, where a `:` follows that begins something else.
    #[must_use]
    pub fn bracketed(&self) -> String {
        let (user, host) = self.host.rsplit_once('@').map_or(("", self.host.as_str()), |(user, host)| (user, host));
        let at = if user.is_empty() { "" } else { "@" };
        if host.contains(':') && !host.starts_with('[') {
            return format!("{user}{at}[{host}]");
        }
        self.host.clone()
    }

    /// The raw bytes of the path of the file `path` below this folder.
    #[must_use]
    pub fn file(&self, path: &SpacePath) -> Vec<u8> {
        [self.path.trim_end_matches('/').as_bytes(), &path.raw()].concat()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "ssh://{}:{port}{}", self.host, self.path.replace('%', "%25")),
            None => write!(f, "{}:{}", self.host, self.path),
        }
    }
}

/// Reads percent-encoding as RFC 3986, section 2.1, has it: a bare `%` stands for nothing.
fn percent_decoded(path: &str) -> Result<String> {
    for (at, _) in path.match_indices('%') {
        let escape: String = path[at..].chars().take(3).collect();
        let digits = escape.bytes().skip(1).filter(u8::is_ascii_hexdigit).count();
        ensure!(digits == 2, "{escape} is no percent-encoding (a % itself is %25)");
    }
    decode(path)
}

/// Refuses a host that ssh, scp or rsync could take for an option or a shell could split; and one with a
/// dot first or a bracket out of place, which would read differently when it is written again.
///
/// # Errors
/// Names the host.
pub fn check_host(host: &str) -> Result<()> {
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@[]:%+".contains(&b));
    let names = host.split('@').all(|part| !part.is_empty() && !part.starts_with(['-', '.']));
    let (user, name) = host.rsplit_once('@').unwrap_or(("", host));
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    // ssh gets it without them
    let brackets =
        !inner.is_empty() && !inner.starts_with(['-', '.']) && !inner.contains(['[', ']']) && !user.contains(['[', ']', ':']);
    ensure!(plain && names && brackets && host.matches('@').count() <= 1, "not a host name: {host:?}");
    Ok(())
}

/// The folder that the url of a box names, when it names one on this machine.
#[must_use]
pub fn folder_of(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("file://").unwrap_or(url);
    path.starts_with('/').then(|| PathBuf::from(path))
}

impl Space {
    /// Parses a SPACE argument; relative files are taken from the folder `base`.
    ///
    /// # Errors
    /// It has none of the forms of design section 3.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        ensure!(!text.is_empty(), "empty space");
        ensure!(!text.contains('\0'), "NUL in the space");
        if text.starts_with("http://") || text.starts_with("https://") {
            return Database::parse(text).map(Space::Http);
        }
        if let Some(path) = text.strip_prefix("file://") {
            ensure!(path.starts_with('/'), "{text}: a file url has an absolute path");
            return Self::file(text, Path::new(path));
        }
        if !text.starts_with(['/', '.'])
            && let Some(remote) = Remote::parse(text)?
        {
            return Ok(Space::Ssh(remote));
        }
        ensure!(!text.contains("://"), "{text}: not a space that ltr knows");
        Self::file(text, &base.join(text))
    }

    fn file(text: &str, path: &Path) -> Result<Self> {
        let path = normal(path);
        ensure!(path.file_name().is_some(), "{text}: a space is a file, not a folder");
        Ok(Space::File(path))
    }

    /// The last component, the name that people use.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Space::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Space::Ssh(Remote { path, .. }) => path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned(),
            Space::Http(database) => database.name().to_owned(),
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Space::File(path) => write!(f, "{}", path.display()),
            Space::Ssh(remote) => write!(f, "{remote}"),
            Space::Http(database) => write!(f, "{database}"),
        }
    }
}

/// Removes `.` and `..` without looking at the disk: the index need not exist yet.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_space() {
        let base = Path::new("/base");
        let file = |p: &str| Space::File(p.into());
        let ssh = |host: &str, port, path: &str| Space::Ssh(Remote { host: host.into(), port, path: path.into() });
        for (text, space) in [
            ("/a/b", file("/a/b")),
            ("./b", file("/base/b")),
            ("../b", file("/b")),
            ("b", file("/base/b")),
            ("file:///a/b", file("/a/b")),
            ("./a:/b", file("/base/a:/b")),
            ("maytag:/a/b", ssh("maytag", None, "/a/b")),
            ("t@maytag:/a/b", ssh("t@maytag", None, "/a/b")),
            ("ssh://t@maytag:2222/a", ssh("t@maytag", Some(2222), "/a")),
            ("ssh://maytag/a", ssh("maytag", None, "/a")),
            ("ssh://maytag///a//b", ssh("maytag", None, "/a//b")),
            ("ssh://maytag:22/a%20b/100%25%2fx%C3%A4", ssh("maytag", Some(22), "/a b/100%/xä")),
            ("sftp://t@maytag/%2F%2fa b", ssh("t@maytag", None, "/a b")),
            ("maytag:/a%20b/100%", ssh("maytag", None, "/a%20b/100%")),
            ("http://u:p@h:5984/s", Space::Http(Database::parse("http://u:p@h:5984/s").unwrap())),
        ] {
            assert_eq!(Space::parse(text, base).unwrap(), space, "{text}");
        }
        for text in [
            "",
            "-oProxyCommand=x:/a",
            "a@-b:/a",
            "ssh://-x/a",
            "ssh://h:99999/a",
            "h;id:/a",
            "ftp://h/a",
            "/",
            "ssh://h",
            "a b:/x",
            "-l@host:/a",
            "host;rm:/x",
            "$(x):/x",
            ":/x",
            "@host:/x",
            "ssh://host:port/x",
            "a\nb:/x",
            "file:///",
            "file:///..",
            "ssh://..:22/x",
            "::1]:/x",
            "ssh://[]:22/x",
            "[a]b:/x",
            "[-oX]:/x",
            "u@[-oX]:/x",
            "a:b@h:/x",
            "sftp://h/100%",
            "ssh://h:22/a%2",
            "ssh://h/a%+1b",
            "sftp://h/%ff",
            "sftp://h/a%00b",
            "sftp://h/a%1b[31m",
            "sftp://-x/a",
            "sftp://h",
        ] {
            assert!(Space::parse(text, base).is_err(), "{text}");
        }
        let error = format!("{:#}", Remote::parse("sftp://h/a%zzb").unwrap_err());
        assert_eq!(error, "sftp://h/a%zzb: %zz is no percent-encoding (a % itself is %25)");
    }

    #[test]
    fn what_is_written_of_a_folder_elsewhere_reads_the_same() {
        for text in ["sftp://h:22/a%20b/100%25/%25zz%C3%A4", "ssh://t@h/100%2525", "h:/100%/%20"] {
            let remote = Remote::parse(text).unwrap().unwrap();
            assert_eq!(Remote::parse(&remote.to_string()).unwrap(), Some(remote.clone()), "{remote}");
        }
    }

    #[test]
    fn a_file_in_a_folder_elsewhere() {
        let remote = |text: &str| Remote::parse(text).unwrap().unwrap();
        let file = SpacePath::from_spelled("/a;b").unwrap();
        for (text, host, path) in [
            ("t@m:/home/t's $x", "t@m", "/home/t's $x/a;b"),
            ("ssh://t@m:22/", "t@m", "/a;b"),
            ("ssh://t@[::1]:22/x/", "t@[::1]", "/x/a;b"),
            ("t@fe80::1%lo:/x", "t@[fe80::1%lo]", "/x/a;b"),
            ("[::1]:/x", "[::1]", "/x/a;b"),
        ] {
            assert_eq!(
                (remote(text).bracketed().as_str(), remote(text).file(&file).as_slice()),
                (host, path.as_bytes()),
                "{text}"
            );
        }
    }
}
