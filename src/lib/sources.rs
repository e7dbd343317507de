//! Whom to sync with and to pull from: what a person means by SRC, or every box in reach.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::couch::places::Places;
use crate::exit::Exit;
use crate::index::sqlite::{BoxInfo, Sqlite};
use crate::ltrbox;
use crate::reach::far::Located;
use crate::reach::{Cost, Reaching, is_here};
use crate::record::check_box_name;
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

    fn find(&self, asked: &str, report: &mut dyn Report) -> Result<SourceRecord> {
        let known = match self.here {
            Some((index, _)) if check_box_name(asked).is_ok() => index.boxes()?.by_name(asked).cloned(),
            _ => None,
        };
        if let Some(info) = known {
            return self.known(&info, report)?.with_context(|| format!("{asked}: out of reach"));
        }
        let remote = if asked.starts_with(['/', '.']) { None } else { Remote::parse(asked)? };
        let folder = match &remote {
            Some(remote) if !is_here(&remote.host, &self.reaching.host) => return self.remote(remote, None, report),
            Some(remote) => remote.path.as_str(),
            None => asked,
        };
        let folder = self.cwd.join(folder);
        ensure!(folder.is_dir(), "{asked}: neither a box of this space nor a folder");
        local(&folder, self.places)
    }

    fn all(&self, report: &mut dyn Report) -> Result<Vec<SourceRecord>> {
        let Some((index, me)) = self.here else { bail!("not in a box: name a source") };
        let mut found = Vec::new();
        for info in index.boxes()?.all.iter().filter(|b| b.name != me && !b.forgotten()) {
            match self.known(info, report) {
                Ok(source) => found.extend(source),
                // a laptop that is not here today is no failure
                Err(error) => report.notice(&format!("{}: {error:#}", info.name)),
            }
        }
        Ok(found)
    }

    fn known(&self, info: &BoxInfo, report: &mut dyn Report) -> Result<Option<SourceRecord>> {
        let way = self.reaching.to(info);
        match way.cost {
            Cost::SameDisk | Cost::Mounted => local(Path::new(&way.url), self.places).map(Some),
            Cost::Ssh => {
                let Some(remote) = Remote::parse(&way.url)? else { return Ok(None) };
                self.remote(&remote, Some(&info.name), report).map(Some)
            }
            Cost::Nowhere => Ok(None),
        }
    }

    /// Asks the ltr on another machine what its box at this folder is.
    fn remote(&self, remote: &Remote, name: Option<&str>, report: &mut dyn Report) -> Result<SourceRecord> {
        let words = ["ltr-locate", "--", remote.path.as_str()].map(str::to_owned);
        let mut session = self.ssh.start(remote, &words, false)?;
        let output = session.stdout.take().context("no output")?;
        let mut reader = Reader::new(BufReader::new(output));
        match Located::read(&mut reader, remote) {
            Ok(located) => {
                session.finish()?;
                if let Some(name) = name {
                    ensure!(located.box_name == name, "{remote} is the box {}, not {name}", located.box_name);
                }
                located.check_space(self.reaching.uuid.as_deref())?;
                let space = Space::Ssh(located.index);
                let (name, url) = (space.name(), located.root.to_string());
                Ok(SourceRecord { box_name: located.box_name, url, space: Some(space.to_string()), name, shared: false })
            }
            Err(error) => {
                let lines = reader.line_number();
                let (code, error) = session.explain(error, lines);
                // files can still be fetched from a machine that has only rsync or scp
                let (Some(127), Some(name)) = (code, name) else { return Err(error) };
                report.notice(&format!("{error:#}; going by the index here"));
                Ok(SourceRecord {
                    box_name: name.to_owned(),
                    url: remote.to_string(),
                    space: None,
                    name: String::new(),
                    shared: false,
                })
            }
        }
    }
}

fn local(folder: &Path, places: &Places) -> Result<SourceRecord> {
    let located = ltrbox::at(&folder.canonicalize().with_context(|| folder.display().to_string())?, places)?;
    let name = Space::parse(&located.space, &located.root)?.name();
    let url = located.root.to_str().with_context(|| format!("{}: not UTF-8", located.root.display()))?.to_owned();
    Ok(SourceRecord { box_name: located.box_name, url, space: Some(located.space), name, shared: !located.carried })
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
            let source: SourceRecord = serde_json::from_slice(json)?;
            check_box_name(&source.box_name)?;
            found.push(source);
        }
    }
    Ok(found)
}
