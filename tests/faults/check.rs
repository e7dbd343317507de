//! What is on the disks and in the indexes, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use litter::hash::sha1_of;
use litter::index::Index;
use litter::index::sqlite::{Access, Sqlite};
use litter::record::Document;
use serde_json::Value;

use crate::common::{Node, TestBox};

/// Everything that matters of all boxes and indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// By box and path.
    pub trees: BTreeMap<String, BTreeMap<String, Node>>,
    /// The contents in the staging folder of a box.
    pub staged: BTreeMap<String, Vec<Vec<u8>>>,
    /// By index and id, an entry or a mark without what differs from run to run.
    pub claims: BTreeMap<String, BTreeMap<String, Value>>,
    /// All documents, as they are.
    pub documents: BTreeMap<String, BTreeMap<String, Value>>,
    /// By box.
    pub cookies: BTreeMap<String, BTreeMap<String, String>>,
}

impl State {
    /// Of the first box's index all; of another's, what it says of its own box, since what it knows of the others is
    /// what it was last told; with `all`, everything.
    pub fn of(boxes: &[TestBox], all: bool) -> Self {
        let mut state = Self {
            trees: BTreeMap::new(),
            staged: BTreeMap::new(),
            claims: BTreeMap::new(),
            documents: BTreeMap::new(),
            cookies: BTreeMap::new(),
        };
        for b in boxes {
            // the folder of the scene has another name each time
            let dir = b.root.parent().unwrap().to_str().unwrap();
            state.trees.insert(b.name.clone(), if b.root.exists() { b.tree() } else { BTreeMap::new() });
            let mut staged = Vec::new();
            files_below(&b.at(".ltr-tmp"), &mut staged);
            state.staged.insert(b.name.clone(), staged);
            let cookie = fs::read_to_string(b.at(".ltr")).ok();
            let made = cookie.is_some();
            let cookie = cookie.map(|text| ("cookie".to_owned(), text.replace(dir, "DIR")));
            state.cookies.insert(b.name.clone(), cookie.into_iter().collect());
            let name = b.index.file_name().unwrap().to_str().unwrap().to_owned();
            if !state.documents.contains_key(&name) && b.index.exists() {
                let mut documents = match read(&b.index) {
                    Ok(documents) => documents,
                    // of a box that is being made, its index may be as well
                    Err(_) if !made => continue,
                    Err(e) => panic!("{}: {e:#}", b.index.display()),
                };
                let first = boxes[0].index == b.index;
                documents.retain(|_, d| all || first || d["box"] == b.name.as_str());
                let claims = documents.iter().filter_map(|(id, d)| Some((id.clone(), claim(d, dir)?)));
                state.claims.insert(name.clone(), claims.collect());
                state.documents.insert(name, documents);
            }
        }
        state
    }

    /// The contents of files and symlinks in a box.
    fn contents(&self, name: &str) -> BTreeSet<Vec<u8>> {
        self.trees[name].values().filter_map(content).collect()
    }

    fn is_staged(&self, name: &str, content: &[u8]) -> bool {
        self.staged[name].iter().any(|staged| staged == content)
    }

    fn claims_copy(&self, claim: &Value) -> Option<bool> {
        if claim["type"] != "entry" || claim["present"] != true {
            return None;
        }
        let (name, path) = (claim["box"].as_str()?, claim["path"].as_str()?);
        let node = self.trees.get(name)?.get(&path[1..]);
        Some(match (node, claim["ftype"].as_str()?) {
            (Some(Node::Dir { .. }), "dir") => true,
            (Some(node @ Node::File { .. }), "file") | (Some(node @ Node::Link(_)), "symlink") => {
                claim["sha1"] == sha1_of(&content(node)?).to_string()
            }
            _ => false,
        })
    }

    /// Entries of a box's own index that claim a copy which is not there, by index and id.
    fn lies(&self) -> BTreeMap<(String, String), Value> {
        let all = self.claims.iter().flat_map(|(index, claims)| claims.iter().map(move |(id, claim)| (index, id, claim)));
        let own = |index: &str, claim: &Value| claim["box"].as_str().is_some_and(|name| index == format!("{name}.index"));
        let lies = all.filter(|(index, _, claim)| own(index, claim) && self.claims_copy(claim) == Some(false));
        lies.map(|(index, id, claim)| ((index.clone(), id.clone()), claim.clone())).collect()
    }
}

fn content(node: &Node) -> Option<Vec<u8>> {
    match node {
        Node::File { bytes, .. } => Some(bytes.clone()),
        Node::Link(target) => Some(target.as_os_str().as_encoded_bytes().to_vec()),
        Node::Dir { .. } => None,
    }
}

fn files_below(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            found.push(fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(fs::read(&path).unwrap());
        }
    }
}

fn read(index: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let index = Sqlite::open(index, Access::Read)?;
    let mut documents = BTreeMap::new();
    let mut add = |document: Document| {
        let mut value = serde_json::to_value(&document).unwrap();
        value.as_object_mut().unwrap().remove("local");
        documents.insert(value["_id"].as_str().unwrap().to_owned(), value);
        Ok(())
    };
    index.changes(None, &mut add)?;
    Ok(documents)
}

fn claim(document: &Value, dir: &str) -> Option<Value> {
    let kind = document["type"].as_str()?;
    let fields: &[&str] = match kind {
        "entry" => {
            &["type", "box", "path", "present", "purged", "ftype", "sha1", "size", "mtime", "mtime_nsec", "mode", "target"]
        }
        "mark" => &["type", "box", "path", "want", "alone"],
        "box" => &["type", "policy", "urls", "reserve"],
        "space" => &["type", "name", "mincopies"],
        _ => return None,
    };
    let mut claim: serde_json::Map<String, Value> =
        fields.iter().filter_map(|f| Some(((*f).to_owned(), document.get(f)?.clone()))).collect();
    if claim.get("ftype").is_some_and(|f| f != "file") {
        // a folder's time is when it was last filled, a symlink's when the scene was made
        claim.retain(|field, _| !["mtime", "mtime_nsec", "size"].contains(&field.as_str()));
    }
    serde_json::from_str(&Value::Object(claim).to_string().replace(dir, "DIR")).ok()
}

/// What a fault did to a state that was `before`, where without it there would have been `wanted`.
pub fn after_fault(before: &State, now: &State, wanted: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    let known: BTreeSet<Vec<u8>> =
        [before, wanted].iter().flat_map(|s| s.trees.keys().flat_map(|name| s.contents(name))).collect();
    for name in before.trees.keys() {
        let has = now.contents(name);
        let stays = before.contents(name).intersection(&wanted.contents(name)).cloned().collect::<Vec<_>>();
        for content in stays.iter().filter(|c| !has.contains(*c) && !now.is_staged(name, c)) {
            wrong.push(format!("lost from {name}: {}", short(content)));
        }
        for content in has.iter().filter(|c| !known.contains(*c)) {
            wrong.push(format!("in {name} nobody wrote {}", short(content)));
        }
    }
    for ((index, id), claim) in now.lies() {
        if before.claims.get(&index).and_then(|c| c.get(&id)) != Some(&claim) {
            wrong.push(format!("{index} claims what is not there: {claim}"));
        }
    }
    wrong
}

/// The difference to what should be.
pub fn is_as_wanted(now: &State, wanted: &State) -> Vec<String> {
    let mut wrong = differences("files", node, &now.trees, &wanted.trees);
    let mut claims = differences("claims", Value::to_string, &now.claims, &wanted.claims);
    // what was never committed may yet be so, under the name that it was kept by
    claims.retain(|text| !text.contains("/unc.conflict-"));
    wrong.extend(claims);
    wrong.extend(differences("cookie", String::clone, &now.cookies, &wanted.cookies));
    wrong.extend(is_in_order(now, wanted));
    wrong
}

/// Nothing is left over, and the index is right.
pub fn is_in_order(now: &State, wanted: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(now.staged.iter().filter(|(_, s)| !s.is_empty()).map(|(name, s)| format!("{} staged in {name}", s.len())));
    let lies = wanted.lies();
    wrong.extend(now.lies().into_iter().filter(|(key, _)| !lies.contains_key(key)).map(|(_, c)| format!("is not there: {c}")));
    wrong
}

/// The difference that a command made which has nothing to do. What somebody `says` again he means now: it is newer
/// than what others said meanwhile.
pub fn is_unchanged(now: &State, before: &State, says: bool) -> Vec<String> {
    let mut wrong = differences("once more: files", node, &now.trees, &before.trees);
    let of = |state: &State| if says { state.claims.clone() } else { state.documents.clone() };
    wrong.extend(differences("once more: documents", Value::to_string, &of(now), &of(before)));
    wrong
}

fn differences<T: PartialEq>(
    what: &str,
    text: impl Fn(&T) -> String,
    now: &BTreeMap<String, BTreeMap<String, T>>,
    wanted: &BTreeMap<String, BTreeMap<String, T>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, wanted) in wanted {
        let none = BTreeMap::new();
        let now = now.get(place).unwrap_or(&none);
        for key in now.keys().chain(wanted.keys()).collect::<BTreeSet<_>>() {
            if now.get(key) != wanted.get(key) {
                let side = |side: Option<&T>| side.map_or("none".to_owned(), |s| short(text(s).as_bytes()));
                wrong.push(format!("{what} of {place}: {key}: is {}, should be {}", side(now.get(key)), side(wanted.get(key))));
            }
        }
    }
    wrong
}

fn node(node: &Node) -> String {
    match node {
        Node::File { bytes, mode, mtime } => {
            format!("{mode:o} {mtime:?} {}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]))
        }
        other => format!("{other:?}"),
    }
}

fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned()
}
