//! Making a folder a box: its document, its cookie, and this index as the one that writes for it.
//!
//! The document comes first, then the cookie, then the hand that writes. A command that was killed in
//! between is repeated: it takes up the box as far as it got.

mod carry;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Map, Value};

use self::carry::Place;
use crate::boxfs::{BoxRoot, COOKIE, COOKIE_STAGED};
use crate::cookie::{Cookie, cookie_path};
use crate::couch;
use crate::couch::places::Places;
use crate::couch::visit::Visit;
use crate::exit::Exit;
use crate::index::sqlite::Sqlite;
use crate::index::{Index, Origin};
use crate::ltrbox::{cookie_id, file_of, touched};
use crate::path::escape;
use crate::query::check_url;
use crate::record::{Document, FORMAT, Fields, Mode, Policy, check_box_name};
use crate::report::Report;
use crate::space::{Space, check_host};
use crate::stamp::{Stamp, random_id};
use crate::stream::Writer;
use crate::sync::through::init_remote;
use crate::sync::{Options, refresh};

/// What box to make.
#[derive(Clone, Debug)]
pub struct Create {
    /// The space, as a person writes it.
    pub space: String,
    /// The name of the box.
    pub box_name: String,
    /// The folder.
    pub dir: PathBuf,
    /// Make the folder when it is not there.
    pub mkdir: bool,
    /// Only look whether it could be made.
    pub dry_run: bool,
    /// What the box should hold; none: `complete`, or what a box that is reattached has.
    pub policy: Option<Policy>,
    /// The box carries its own index.
    pub carry: bool,
    /// The box exists already; its cookie or its index was lost.
    pub reattach: bool,
    /// A box that the same command has finished is left as it is; else it is refused. One that it began is
    /// gone on with in any case.
    pub resume: bool,
    /// Where the box can be reached; empty: the folder on `host`.
    pub urls: Vec<String>,
    /// This machine, `user@host`.
    pub host: Option<String>,
}

/// The new box. A record of the type `created`.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "box")]
    box_name: &'a str,
    /// As the cookie has it: absolute where the box does not carry its index.
    space: &'a str,
    /// The space's last component.
    name: String,
    /// In the spelling of paths.
    root: String,
    /// The text in the cookie.
    cookie: &'a str,
    /// Whether the box was there before.
    reattached: bool,
}

/// An index that is there. A record of the type `index`.
#[derive(Serialize)]
struct Made {
    #[serde(rename = "type")]
    kind: &'static str,
    space: String,
    name: String,
    created: bool,
    /// Whether the views and checks that come with it are new.
    designed: bool,
}

/// Makes a box, and writes a `created` record; relative names are taken from the folder `cwd`.
///
/// # Errors
/// The folder is no folder, or a box already; the name is invalid or taken (or, to be reattached,
/// unknown); there is no index at SPACE; something cannot be written.
pub fn create<W: Write>(cwd: &Path, wish: &Create, options: &Options, output: W, report: &mut dyn Report) -> Result<Exit> {
    check_box_name(&wish.box_name)?;
    wish.urls.iter().try_for_each(|url| check_url(url))?;
    let space = Space::parse(&wish.space, cwd)?;
    let root = folder(&cwd.join(&wish.dir), wish.mkdir)?;
    let places = &options.places;
    let file = file_of(&space, places);
    ask(&space, &file, wish, options, report)?;
    let place = carry::place(&root, &space, &file, wish.carry)?;
    let cookie = format!("{}/{}", place.space, wish.box_name);
    check_cookie(&cookie, &root, &place.file, places)?;
    let progress = match progress(wish, &place, &file, &root, &cookie)? {
        Progress::Done if !wish.resume => Progress::None,
        progress => progress,
    };
    let reattach = wish.reattach || progress == Progress::Begun;
    let wish = &Create { reattach, ..wish.clone() };
    let done = progress == Progress::Done;
    let has_cookie = root.exists() && check_free(&BoxRoot::open(&root)?, &cookie, reattach || done)?;
    // all that can be refused is refused before anything is written
    if !done && let Some(index) = place.look(&file)? {
        claim(&index, wish)?;
    }
    if !wish.dry_run && !done {
        write(wish, &root, &place, &file, (!has_cookie).then_some(cookie.as_str()))?;
        if let Err(error) = place.tell(&file, options, report) {
            report.notice(&format!("{space} does not know of the box yet: {error:#}"));
        }
        refresh(&space, &Visit { push_first: true, ..Visit::default() }, options, std::io::sink(), report)?;
    }
    let made = Created {
        kind: "created",
        box_name: &wish.box_name,
        space: &place.space,
        name: place.name.clone(),
        root: escape(root.as_os_str().as_bytes()),
        cookie: &cookie,
        reattached: reattach || done,
    };
    one_record(&made, output)
}

/// How far an earlier run of the same command got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    None,
    Begun,
    Done,
}

/// Nothing is taken up that another folder may be: the cookie here names the box, or the box has never
/// committed and its document, which this index wrote, says that it is this folder.
fn progress(wish: &Create, place: &Place, file: &Path, root: &Path, cookie: &str) -> Result<Progress> {
    let Some(index) = place.look(file)? else { return Ok(Progress::None) };
    let Some(info) = index.boxes()?.by_name(&wish.box_name).cloned() else { return Ok(Progress::None) };
    let Some(fields) = &info.fields else { return Ok(Progress::None) };
    let has_cookie = root.exists() && BoxRoot::open(root)?.look(&cookie_path()?)?.is_some();
    let named = has_cookie && Cookie::read(&BoxRoot::open(root)?).is_ok_and(|c| format!("{}/{}", c.space, c.box_name) == cookie);
    if named && !fields.forgotten() && index.is_current(&wish.box_name)? {
        return Ok(Progress::Done);
    }
    let urls = fields.urls();
    let here = named || (!has_cookie && default_url(wish, root).is_some_and(|url| urls.first() == Some(&url.as_str())));
    Ok(if here && made_here(&index, fields, info.commits) { Progress::Begun } else { Progress::None })
}

/// The folder, the documents, the cookie where there is none yet, and the hand that writes for the box.
fn write(wish: &Create, root: &Path, place: &Place, source: &Path, cookie: Option<&str>) -> Result<()> {
    std::fs::create_dir_all(root).with_context(|| root.display().to_string())?;
    let mut index = place.open(source)?;
    let fresh = write_documents(&mut index, wish, root, &place.name)?;
    if let Some(cookie) = cookie {
        write_cookie(&BoxRoot::open(root)?, cookie)?;
    }
    index.adopt_box(&wish.box_name, cookie_id(root)?, fresh)?;
    touched(root)?.map_or(Ok(()), |ctime| index.set_touched(&wish.box_name, ctime))
}

fn one_record<W: Write>(record: &impl Serialize, output: W) -> Result<Exit> {
    let mut writer = Writer::new(output);
    writer.put(record)?;
    Ok(Exit::of_failures(writer.end(Map::new())?))
}

/// The folder without symlinks. Where it `may_lack`, as much of it as there is.
fn folder(dir: &Path, may_lack: bool) -> Result<PathBuf> {
    let named = || dir.display().to_string();
    let mut there = dir;
    while may_lack && there.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        there = there.parent().with_context(named)?;
    }
    let rest = dir.strip_prefix(there).unwrap_or(Path::new(""));
    let known = rest.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(known, "{}: .. leads out of a folder that is not there", named());
    let root = there.canonicalize().with_context(named)?;
    ensure!(root.is_dir(), "{}: not a folder", named());
    // joining nothing would only add a slash
    Ok(if rest.as_os_str().is_empty() { root } else { root.join(rest) })
}

/// Whether the cookie leads back to the index: it has one line, and is text.
fn check_cookie(cookie: &str, root: &Path, index: &Path, places: &Places) -> Result<()> {
    let read = Cookie::parse(cookie.as_bytes()).and_then(|c| Space::parse(&c.space, root));
    let leads = read.is_ok_and(|space| file_of(&space, places) == index);
    ensure!(leads, "{}: a cookie cannot name this space", index.display());
    Ok(())
}

/// Refuses a folder that is a box. Returns whether it has exactly this cookie, which a box that is
/// reattached may.
fn check_free(beneath: &BoxRoot, cookie: &str, reattach: bool) -> Result<bool> {
    if beneath.look(&cookie_path()?)?.is_none() {
        return Ok(false);
    }
    let shown = beneath.path().join(COOKIE);
    let there = Cookie::read(beneath).with_context(|| format!("{} is in the way", shown.display()))?;
    let there = format!("{}/{}", there.space, there.box_name);
    if there != cookie {
        bail!("{}: already the box {there}", beneath.path().display());
    }
    ensure!(reattach, "{}: already the box {there} (if its index was lost: --reattach)", shown.display());
    Ok(true)
}

/// The box's document as it is, and whether no other index can know more of the box than this one.
fn claim(index: &Sqlite, wish: &Create) -> Result<(Fields, bool)> {
    let name = wish.box_name.as_str();
    let known = index.boxes()?.by_name(name).cloned();
    match known.map(|b| (b.fields, b.commits)) {
        None if wish.reattach => bail!(
            "no box {name} in this index: sync it with one that knows the box, or make it anew (without its .ltr and --reattach)"
        ),
        None => Ok((Fields::default(), true)),
        Some(_) if !wish.reattach => bail!("the box {name} exists already in this space (--reattach takes it up again here)"),
        Some((None, _)) => bail!("the box {name} has no document here: sync first"),
        Some((Some(fields), commits)) => {
            ensure!(!fields.forgotten(), "the box {name} is forgotten: first `ltr set {name}.forgotten false`");
            let fresh = index.is_current(name)? || made_here(index, &fields, commits);
            Ok((fields, fresh))
        }
    }
}

/// The document of a new space.
fn space_fields(name: &str, mut stamp: impl FnMut() -> Stamp) -> Fields {
    let uuid = uuid::Uuid::new_v4().to_string();
    let mut fields = Fields::default();
    for (key, value) in [("uuid", Value::from(uuid)), ("name", name.into()), ("format", FORMAT.into()), ("mincopies", 1.into())] {
        fields.set(key, value, stamp());
    }
    fields
}

/// Writes the document of a space that has none.
fn name_space(index: &mut Sqlite, name: &str) -> Result<()> {
    if index.space()?.is_none() {
        let mut clock = index.clock()?;
        index.put(&[Document::Space(space_fields(name, || clock.tick(SystemTime::now())))], Origin::Here)?;
    }
    Ok(())
}

/// Writes the space's document when there is none, and the box's. Returns whether no other index can
/// know more of the box than this one.
fn write_documents(index: &mut Sqlite, wish: &Create, root: &Path, name: &str) -> Result<bool> {
    let (mut fields, fresh) = claim(index, wish)?;
    name_space(index, name)?;
    let mut clock = index.clock()?;
    let mut stamp = || clock.tick(SystemTime::now());
    let mut documents = Vec::new();
    let mut changed = false;
    for (key, value) in box_fields(wish, &fields, root) {
        fields.set(key, value, stamp());
        changed = true;
    }
    if changed {
        documents.push(Document::Box(wish.box_name.clone(), fields));
    }
    index.put(&documents, Origin::Here)?;
    Ok(fresh)
}

/// A box that this index made and that never committed: a `create` that was killed.
fn made_here(index: &Sqlite, fields: &Fields, commits: u64) -> bool {
    commits == 0 && fields.stamps.get("uuid").is_some_and(|s| s.index == index.id())
}

/// The fields of the box that are still to be set.
fn box_fields(wish: &Create, old: &Fields, root: &Path) -> Vec<(&'static str, Value)> {
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    if old.text("uuid").is_none() {
        fields.push(("uuid", uuid::Uuid::new_v4().to_string().into()));
    }
    if let Some(policy) = wish.policy.or(old.text("policy").is_none().then(Policy::default)) {
        fields.push(("policy", policy.to_string().into()));
    }
    let known = old.urls();
    let urls: Vec<String> = match default_url(wish, root) {
        _ if !wish.urls.is_empty() => wish.urls.clone(),
        // where it is now is tried first; what else is known of it may still be true
        Some(url) if !known.contains(&url.as_str()) => [url].into_iter().chain(known.iter().map(|u| (*u).to_owned())).collect(),
        _ => known.iter().map(|u| (*u).to_owned()).collect(),
    };
    if urls != known || !old.fields.contains_key("urls") {
        fields.push(("urls", urls.into()));
    }
    fields
}

/// The folder on this host; `None` where its name is no text.
fn default_url(wish: &Create, root: &Path) -> Option<String> {
    let folder = root.to_str()?;
    let url = match &wish.host {
        Some(host) if check_host(host).is_ok() => format!("{host}:{folder}"),
        _ => folder.to_owned(),
    };
    check_url(&url).is_ok().then_some(url)
}

/// Writes the cookie whole or not at all, and never over another one.
fn write_cookie(beneath: &BoxRoot, cookie: &str) -> Result<()> {
    let staging = beneath.staging()?;
    for left in beneath.names(&staging)?.into_iter().filter(|name| name.starts_with(COOKIE_STAGED)) {
        // of a command that was killed
        beneath.unlink(&staging.join(&left)?)?;
    }
    let staged = staging.join(&[COOKIE_STAGED, format!("{:08x}", random_id()).as_bytes()].concat())?;
    let mut file = beneath.create(&staged)?;
    file.write_all(format!("{cookie}\n").as_bytes())?;
    // whoever may look into the box may know which one it is; file systems without modes have no say
    let _ = beneath.chmod(&staged, Mode(0o644));
    file.sync_all()?;
    let written = beneath.rename_noreplace(&staged, &cookie_path()?);
    if written.is_err() {
        let _ = beneath.unlink(&staged);
    }
    written.with_context(|| beneath.path().join(COOKIE).display().to_string())?;
    let _ = beneath.rmdir(&staging);
    Ok(beneath.sync()?)
}

/// Creates the index or the database `space`, and writes an `index` record; harmless when it exists.
///
/// # Errors
/// The form of `space` is not supported, or the file is something else or cannot be written.
pub fn init<W: Write>(cwd: &Path, space: &str, options: &Options, output: W) -> Result<Exit> {
    let parsed = Space::parse(space, cwd)?;
    let (space, made) = match &parsed {
        Space::File(file) => {
            // it is not made: a disk may not be mounted
            if let Some(folder) = file.parent().filter(|folder| !folder.is_dir()) {
                bail!("{}: no such folder", folder.display());
            }
            let created = Sqlite::create(file)?;
            (escape(file.as_os_str().as_bytes()), couch::design::Made { created, designed: created })
        }
        Space::Http(database) => (database.to_string(), couch::design::init(&options.places, database)?),
        Space::Ssh(remote) => {
            let created = init_remote(&options.ssh, remote)?;
            (remote.to_string(), couch::design::Made { created, designed: created })
        }
    };
    let couch::design::Made { created, designed } = made;
    one_record(&Made { kind: "index", space, name: parsed.name(), created, designed }, output)
}

/// What is elsewhere must answer before a box is made in it: others may have boxes of that name. Without
/// consequences only where there is a replica to look at.
fn ask(space: &Space, file: &Path, wish: &Create, options: &Options, report: &mut dyn Report) -> Result<()> {
    match space {
        Space::File(_) => Ok(()),
        Space::Http(database) if wish.dry_run => couch::visit::replica_of(&options.places, database).map(drop),
        Space::Ssh(_) if wish.dry_run && file.exists() => Ok(()),
        _ => refresh(space, &Visit { insist: true, ..Visit::default() }, options, std::io::sink(), report).map(drop),
    }
}
