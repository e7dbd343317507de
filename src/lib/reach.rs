//! Where boxes can be reached from this machine, and how dear it is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::boxfs::BoxRoot;
use crate::cookie::Cookie;
use crate::index::sqlite::BoxInfo;
use crate::record::Fields;
use crate::space::{Remote, folder_of};

/// How a box is reached, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// A folder on the same file system.
    SameDisk,
    /// A folder on another one.
    Mounted,
    /// Another machine.
    Ssh,
    /// No url that leads anywhere now.
    Nowhere,
}

/// A way to a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// How dear.
    pub cost: Cost,
    /// A folder, or `[user@]host:/path`; empty where the box has no url.
    pub url: String,
}

/// Finds ways to boxes from one box.
#[derive(Clone, Debug)]
pub struct Reaching {
    /// The name of this machine, as boxes' urls have it.
    pub host: String,
    /// Device of the box that asks.
    pub dev: u64,
    /// Boxes and urls that a person named: tried before the urls in the index.
    pub named: Vec<(String, String)>,
}

impl Reaching {
    /// For the box at `root` on the machine `host`.
    #[must_use]
    pub fn new(host: &str, root: &Path, named: Vec<(String, String)>) -> Self {
        Self { host: host.to_owned(), dev: std::fs::metadata(root).map_or(0, |m| m.dev()), named }
    }

    /// The cheapest way to a box that can be told without asking another machine.
    #[must_use]
    pub fn to(&self, info: &BoxInfo) -> Reach {
        let named = self.named.iter().filter(|n| n.0 == info.name).map(|n| n.1.clone());
        let urls = info.fields.as_ref().map(Fields::urls).unwrap_or_default();
        let ways = named.chain(urls.into_iter().map(str::to_owned)).map(|url| self.way(&info.name, url));
        ways.min_by_key(|r| r.cost).unwrap_or(Reach { cost: Cost::Nowhere, url: String::new() })
    }

    fn way(&self, box_name: &str, url: String) -> Reach {
        let folder = match Remote::parse(&url) {
            Ok(None) if let Some(folder) = folder_of(&url) => folder,
            Ok(Some(remote)) if is_here(&remote.host, &self.host) => PathBuf::from(&remote.path),
            Ok(Some(_)) => return Reach { cost: Cost::Ssh, url },
            _ => return Reach { cost: Cost::Nowhere, url },
        };
        let cost = if !is_box(&folder, box_name) {
            Cost::Nowhere
        } else if std::fs::metadata(&folder).is_ok_and(|m| m.dev() == self.dev) {
            Cost::SameDisk
        } else {
            Cost::Mounted
        };
        Reach { cost, url: if cost == Cost::Nowhere { url } else { folder.display().to_string() } }
    }
}

/// Whether `host` of a url (`user@host` or `host`) is the machine `here`.
#[must_use]
pub fn is_here(host: &str, here: &str) -> bool {
    host.rsplit('@').next().is_some_and(|host| host.eq_ignore_ascii_case(here))
}

/// Whether the folder has the cookie of the box `name` (design section 10.7).
#[must_use]
pub fn is_box(folder: &Path, name: &str) -> bool {
    BoxRoot::open(folder).ok().and_then(|root| Cookie::read(&root).ok()).is_some_and(|cookie| cookie.box_name == name)
}
