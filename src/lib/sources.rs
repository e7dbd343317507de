//! Whom to sync with and to pull from: what a person means by SRC, or every box in reach.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::couch::places::Places;
use crate::disks::is_disk;
use crate::exit::Exit;
use crate::index::sqlite::{BoxInfo, Sqlite};
use crate::ltrbox;
use crate::probe::{self, Equipment};
use crate::reach::{Cost, Reaching, is_here};
use crate::record::{Fields, check_box_name};
use crate::report::Report;
use crate::space::{Remote, Space};
use crate::ssh::Ssh;
use crate::stream::{Line, Reader, Tagged, Writer};

/// A box in reach, and the index that its machine keeps of the space. A record of the type `source`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its name.
    #[serde(rename = "box")]
    pub box_name: String,
    /// Its root: a folder, or `[user@]host:/path`.
    pub url: String,
    /// Its index as a SPACE argument; none where no ltr could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The name of the space.
    pub name: String,
    /// Whether other boxes of this machine can use the index too: it is here, and on no removable box.
    #[serde(default)]
    pub shared: bool,
    /// What its machine has.
    #[serde(flatten)]
    pub equipment: Equipment,
}

/// A box, and whether it can be reached. A record of the type `ping`.
#[derive(Debug, Serialize)]
struct Ping<'a> {
    #[serde(rename = "box")]
    box_name: &'a str,
    /// The way there, or the ways that were tried.
    url: String,
    #[serde(flatten)]
    equipment: Equipment,
    /// A round trip, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<f64>,
    /// Why it is out of reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Where to look.
pub struct Search<'a> {
    /// The index and the name of the box that asks; none outside of a box.
    pub here: Option<(&'a Sqlite, &'a str)>,
    /// The current folder.
    pub cwd: &'a Path,
    /// Finds ways to boxes.
    pub reaching: Reaching,
    /// Asks other machines.
    pub ssh: Ssh,
    /// Where replicas are.
    pub places: &'a Places,
}

impl Search<'_> {
    /// Writes a `source` record for the box that `asked` means (a box's name, its folder, or
    /// `[user@]host:/path`), or, without, for every box in reach.
    ///
    /// # Errors
    /// `asked` is no box, or cannot be reached.
    pub fn run<W: Write>(&self, asked: Option<&str>, output: W, report: &mut dyn Report) -> Result<Exit> {
        let mut writer = Writer::new(output);
        match asked {
            Some(asked) => writer.put(&tagged(&self.find(asked, report)?))?,
            None => {
                for source in self.all(report)? {
                    writer.put(&tagged(&source))?;
                }
            }
        }
        Ok(Exit::of_failures(writer.end(Map::new())?))
    }

    /// Writes a `ping` record for each of the boxes `names`, or, without, for each of the space.
    ///
    /// # Errors
    /// There is no index here, or no such box.
    pub fn ping<W: Write>(&self, names: &[String], output: W, report: &mut dyn Report) -> Result<Exit> {
        let (boxes, me) = self.boxes()?;
        let mut asked = Vec::new();
        for name in names {
            let known = boxes.iter().find(|info| info.name == *name);
            asked.push(known.with_context(|| format!("no box {name:?} in this space"))?);
        }
        if names.is_empty() {
            asked = boxes.iter().filter(|info| info.name != me && !info.forgotten()).collect();
        }
        let mut writer = Writer::new(output);
        let (mut away, mut reached) = (0, 0);
        for (info, found) in asked.iter().zip(self.ask_all(&asked, true)) {
            let (url, equipment, error) = match found.0 {
                Ok(Some(source)) => (source.url, source.equipment, None),
                Ok(None) => (String::new(), Equipment::default(), Some("has no url that leads anywhere now".to_owned())),
                Err(error) => (String::new(), Equipment::default(), Some(format!("{error:#}"))),
            };
            let urls = info.fields.as_ref().map(Fields::urls).unwrap_or_default().join(" ");
            let url = if error.is_some() { urls } else { url };
            found.1.iter().for_each(|notice| report.notice(notice));
            *if error.is_some() { &mut away } else { &mut reached } += 1;
            #[allow(clippy::cast_precision_loss, reason = "microseconds are few")]
            let rtt_ms = equipment.rtt_us.map(|us| (us as f64 / 10.0).round() / 100.0);
            let record = Ping { box_name: &info.name, url, equipment, rtt_ms, error };
            writer.put(&Tagged { kind: "ping", record: &record })?;
        }
        writer.end(Map::new())?;
        // who asks for all wants to know who is there, and most laptops are not
        Ok(match (names.is_empty(), away, reached) {
            (true, ..) | (_, 0, _) => Exit::Done,
            (_, _, 0) => Exit::Nothing,
            _ => Exit::Part,
        })
    }

    fn asker(&self, time: bool) -> Asker<'_> {
        Asker { reaching: &self.reaching, ssh: &self.ssh, places: self.places, time }
    }

    fn boxes(&self) -> Result<(Vec<BoxInfo>, &str)> {
        let Some((index, me)) = self.here else { bail!("not in a box: name a source") };
        Ok((index.boxes()?.all, me))
    }

    fn find(&self, asked: &str, report: &mut dyn Report) -> Result<SourceRecord> {
        let known = match self.here {
            Some((index, _)) if check_box_name(asked).is_ok() => index.boxes()?.by_name(asked).cloned(),
            _ => None,
        };
        let asker = self.asker(false);
        let mut notices = Vec::new();
        let found = if let Some(info) = known {
            asker.known(&info, &mut notices)?.with_context(|| format!("{asked}: out of reach"))
        } else {
            self.elsewhere(asked, &asker, &mut notices)
        };
        notices.iter().for_each(|notice| report.notice(notice));
        found
    }

    fn elsewhere(&self, asked: &str, asker: &Asker<'_>, notices: &mut Vec<String>) -> Result<SourceRecord> {
        if is_disk(asked) {
            let folder = self.reaching.disks.folder(asked);
            return local(&folder.with_context(|| format!("{asked}: no such disk is mounted"))?, self.places);
        }
        let remote = if asked.starts_with(['/', '.']) { None } else { Remote::parse(asked)? };
        let folder = match &remote {
            Some(remote) if !is_here(&remote.host, &self.reaching.host) => return asker.remote(remote, None, notices),
            Some(remote) => remote.path.as_str(),
            None => asked,
        };
        let folder = self.cwd.join(folder);
        ensure!(folder.is_dir(), "{asked}: neither a box of this space nor a folder");
        local(&folder, self.places)
    }

    fn all(&self, report: &mut dyn Report) -> Result<Vec<SourceRecord>> {
        let (boxes, me) = self.boxes()?;
        let others: Vec<&BoxInfo> = boxes.iter().filter(|b| b.name != me && !b.forgotten()).collect();
        let mut found = Vec::new();
        for (info, (source, notices)) in others.iter().zip(self.ask_all(&others, false)) {
            notices.iter().for_each(|notice| report.notice(notice));
            match source {
                Ok(source) => found.extend(source),
                // a laptop that is not here today is no failure
                Err(error) => report.notice(&format!("{}: {error:#}", info.name)),
            }
        }
        Ok(found)
    }

    /// Asks for all boxes at once: five laptops that are asleep are waited for together.
    fn ask_all(&self, boxes: &[&BoxInfo], time: bool) -> Vec<Asked> {
        let asker = self.asker(time);
        std::thread::scope(|scope| {
            let threads: Vec<_> = boxes
                .iter()
                .map(|info| {
                    std::thread::Builder::new().spawn_scoped(scope, || {
                        let mut notices = Vec::new();
                        (asker.known(info, &mut notices), notices)
                    })
                })
                .collect();
            let lost = || (Err(anyhow::anyhow!("could not be asked")), Vec::new());
            threads.into_iter().map(|thread| thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(lost)).collect()
        })
    }
}

/// What was found of a box, and what is to be said of it.
type Asked = (Result<Option<SourceRecord>>, Vec<String>);

/// Asks for one box.
struct Asker<'a> {
    reaching: &'a Reaching,
    ssh: &'a Ssh,
    places: &'a Places,
    /// How far away it is, too.
    time: bool,
}

impl Asker<'_> {
    /// A box by its urls, the cheapest first.
    fn known(&self, info: &BoxInfo, notices: &mut Vec<String>) -> Result<Option<SourceRecord>> {
        let mut failed = None;
        for way in self.reaching.ways(info) {
            let found = match way.cost {
                Cost::SameDisk | Cost::Mounted => local(Path::new(&way.url), self.places),
                Cost::Ssh => match Remote::parse(&way.url)? {
                    Some(remote) => self.remote(&remote, Some(&info.name), notices),
                    None => continue,
                },
                Cost::Nowhere => continue,
            };
            match found {
                Ok(source) => return Ok(Some(source)),
                Err(error) => failed = Some(failed.unwrap_or(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Asks another machine what its box at this folder is.
    fn remote(&self, remote: &Remote, name: Option<&str>, notices: &mut Vec<String>) -> Result<SourceRecord> {
        let answer = probe::ask(self.ssh, remote, self.time)?;
        let equipment = answer.equipment;
        match answer.located {
            Ok(located) => {
                if let Some(name) = name {
                    ensure!(located.box_name == name, "{remote} is the box {}, not {name}", located.box_name);
                }
                located.check_space(self.reaching.uuid.as_deref())?;
                let space = Space::Ssh(located.index);
                let (name, url, space) = (space.name(), located.root.to_string(), Some(space.to_string()));
                Ok(SourceRecord { box_name: located.box_name, url, space, name, shared: false, equipment })
            }
            Err((code, error)) => {
                // files can still be fetched from a machine that has only rsync or scp
                let (Some(127), Some(name)) = (code, name) else { return Err(error) };
                notices.push(format!("{error:#}; going by the index here"));
                let (url, name) = (remote.to_string(), name.to_owned());
                Ok(SourceRecord { box_name: name, url, space: None, name: String::new(), shared: false, equipment })
            }
        }
    }
}

fn local(folder: &Path, places: &Places) -> Result<SourceRecord> {
    let located = ltrbox::at(&folder.canonicalize().with_context(|| folder.display().to_string())?, places)?;
    let name = Space::parse(&located.space, &located.root)?.name();
    let url = located.root.to_str().with_context(|| format!("{}: not UTF-8", located.root.display()))?.to_owned();
    let free = crate::boxfs::BoxRoot::open(&located.root).and_then(|root| root.free()).ok();
    let equipment = Equipment { ltr: Some(env!("CARGO_PKG_VERSION").to_owned()), free, ..Equipment::default() };
    Ok(SourceRecord { box_name: located.box_name, url, space: Some(located.space), name, shared: !located.carried, equipment })
}

fn tagged(record: &SourceRecord) -> Tagged<'_, SourceRecord> {
    Tagged { kind: "source", record }
}

/// Reads the `source` records of a stream.
///
/// # Errors
/// The stream is cut short or damaged.
pub fn read_sources(input: impl BufRead) -> Result<Vec<SourceRecord>> {
    let mut reader = Reader::new(input);
    let mut found = Vec::new();
    while let Some(line) = reader.next_line()? {
        if let Line::Record { kind, json } = line
            && kind == "source"
        {
            let source: SourceRecord = serde_json::from_str(json)?;
            check_box_name(&source.box_name)?;
            found.push(source);
        }
    }
    Ok(found)
}
