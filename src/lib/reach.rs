//! Where boxes can be reached from this machine, and how dear it is.

pub mod far;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::boxfs::BoxRoot;
use crate::cookie::Cookie;
use crate::couch::places::Places;
use crate::disks::{Disks, is_disk};
use crate::index::sqlite::{Access, BoxInfo, Sqlite};
use crate::record::Fields;
use crate::space::{Remote, Space, folder_of};
use crate::sync::sink::uuid;

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
    /// The space of the box that asks: another one may have a box of the same name.
    pub uuid: Option<String>,
    /// Where replicas are: of a box in a database they tell which space it is of.
    pub places: Option<Places>,
    /// Where removable disks are mounted.
    pub disks: Disks,
}

impl Reaching {
    /// For the box at `root` on the machine `host`.
    #[must_use]
    pub fn new(host: &str, root: &Path, named: Vec<(String, String)>, uuid: Option<String>) -> Self {
        let dev = std::fs::metadata(root).map_or(0, |m| m.dev());
        Self { host: host.to_owned(), dev, named, uuid, places: None, disks: Disks::default() }
    }

    /// The same on a machine with replicas.
    #[must_use]
    pub fn with_replicas(self, places: &Places) -> Self {
        Self { places: Some(places.clone()), ..self }
    }

    /// Opens the folder of a box, and makes sure that it is that box: [`open_box`].
    ///
    /// # Errors
    /// There is none, or another one.
    pub fn open(&self, folder: &Path, name: &str) -> Result<BoxRoot> {
        open_box(folder, name, self.uuid.as_deref(), self.places.as_ref())
    }

    /// The cheapest way to a box that can be told without asking another machine.
    #[must_use]
    pub fn to(&self, info: &BoxInfo) -> Reach {
        self.ways(info).into_iter().next().unwrap_or(Reach { cost: Cost::Nowhere, url: String::new() })
    }

    /// All ways to a box, the cheapest first.
    #[must_use]
    pub fn ways(&self, info: &BoxInfo) -> Vec<Reach> {
        let named = self.named.iter().filter(|n| n.0 == info.name).map(|n| n.1.clone());
        let urls = info.fields.as_ref().map(Fields::urls).unwrap_or_default();
        let ways = named.chain(urls.into_iter().map(str::to_owned)).map(|url| self.way(&info.name, url));
        let mut ways: Vec<Reach> = ways.collect();
        ways.sort_by_key(|way| way.cost);
        ways
    }

    fn way(&self, box_name: &str, url: String) -> Reach {
        let folder = match Remote::parse(&url) {
            _ if is_disk(&url) => match self.disks.folder(&url) {
                Some(folder) => folder,
                None => return Reach { cost: Cost::Nowhere, url },
            },
            Ok(None) if let Some(folder) = folder_of(&url) => folder,
            Ok(Some(remote)) if is_here(&remote.host, &self.host) => PathBuf::from(&remote.path),
            Ok(Some(_)) => return Reach { cost: Cost::Ssh, url },
            _ => return Reach { cost: Cost::Nowhere, url },
        };
        let cost = if self.open(&folder, box_name).is_err() {
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

/// Opens the folder of a box, and makes sure that it is the box `name` of the space `uuid` (design section
/// 10.7). Where its index is not to be had (a disk that does not carry its own, a database without a replica
/// in `places`), the space cannot be compared, and the name must do.
///
/// # Errors
/// There is none, or another one.
pub fn open_box(folder: &Path, name: &str, uuid: Option<&str>, places: Option<&Places>) -> Result<BoxRoot> {
    let root = BoxRoot::open(folder).with_context(|| folder.display().to_string())?;
    let cookie = Cookie::read(&root)?;
    ensure!(cookie.box_name == name, "at {} is the box {}", folder.display(), cookie.box_name);
    let same = uuid.is_none_or(|mine| space_of(&cookie, folder, places).is_none_or(|theirs| theirs == mine));
    ensure!(same, "at {} is the box {name} of another space", folder.display());
    Ok(root)
}

/// The uuid of the space that a cookie leads to.
fn space_of(cookie: &Cookie, folder: &Path, places: Option<&Places>) -> Option<String> {
    let file = match Space::parse(&cookie.space, folder).ok()? {
        Space::File(file) => file,
        Space::Http(database) => places?.replica(&database),
        Space::Ssh(_) => return None,
    };
    let index = Sqlite::open(&file, Access::Read).ok()?;
    uuid(&index).ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Index, Origin};
    use crate::record::Document;
    use crate::testing::{fields_of, fresh};

    #[test]
    fn a_box_of_the_same_name_in_another_space_is_another_box() {
        let (dir, mut index) = fresh();
        let space = fields_of(serde_json::json!({"uuid": "theirs"}));
        index.put(&[Document::Space(space)], Origin::Here).unwrap();
        let folder = dir.path();
        std::fs::write(folder.join(".ltr"), "./space/b\n").unwrap();
        let is_box = |name, uuid| open_box(folder, name, uuid, None).is_ok();
        assert!(is_box("b", Some("theirs")) && is_box("b", None) && !is_box("c", None));
        assert!(!is_box("b", Some("ours")));
        // a disk without its index has only its name
        std::fs::write(folder.join(".ltr"), "./gone/b\n").unwrap();
        assert!(is_box("b", Some("ours")));
    }

    #[test]
    fn so_is_one_in_the_database_of_another_space() {
        let (dir, mut index) = fresh();
        index.put(&[Document::Space(fields_of(serde_json::json!({"uuid": "theirs"})))], Origin::Here).unwrap();
        let places = Places::below(dir.path());
        let database = crate::couch::url::Database::parse("http://me@h:5984/testspace").unwrap();
        std::fs::create_dir_all(places.replicas()).unwrap();
        index.copy_to(&places.replica(&database)).unwrap();
        let folder = dir.path();
        std::fs::write(folder.join(".ltr"), "http://me@h:5984/testspace/b\n").unwrap();
        let reaching = |uuid: &str| Reaching::new("here", folder, Vec::new(), Some(uuid.to_owned())).with_replicas(&places);
        reaching("theirs").open(folder, "b").unwrap();
        let error = reaching("ours").open(folder, "b").unwrap_err().to_string();
        assert!(error.contains("another space"), "{error}");
        // without a replica there is only the name
        std::fs::write(folder.join(".ltr"), "http://me@h:5984/other/b\n").unwrap();
        reaching("ours").open(folder, "b").unwrap();
        open_box(folder, "b", Some("ours"), None).unwrap();
    }
}
