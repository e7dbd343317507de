//! The content of one path as a box holds it, for a pipe: `ltr-cat`, and `ltr diff -f` by it.
//!
//! It goes to a spool file first and is hashed on its way, so that what is written out is right from its
//! first byte, or nothing is.

use std::fs::File;
use std::io::{self, Seek, Write};

use anyhow::{Context, Result, bail, ensure};

use crate::exit::Exit;
use crate::fetch::shelf::{Origin, pump};
use crate::fetch::ssh::{Elsewhere, RemoteFile};
use crate::index::sqlite::{BoxInfo, Sqlite};
use crate::path::SpacePath;
use crate::reach::far::check_box;
use crate::reach::{Cost, Reaching};
use crate::record::{Entry, Ftype};
use crate::space::Remote;
use crate::ssh::Ssh;

/// Where to look for content.
pub struct Search<'a> {
    /// Tells who holds it.
    pub index: &'a Sqlite,
    /// Finds ways to boxes.
    pub reaching: Reaching,
    /// Reads from other machines.
    pub ssh: &'a Ssh,
}

impl Search<'_> {
    /// Writes what the box `name` holds at `path`, or without a name the first box in reach, the
    /// cheapest first. `spool` is an empty file.
    ///
    /// # Errors
    /// Nobody in reach has it; names who was tried.
    pub fn cat(&self, name: Option<&str>, path: &SpacePath, mut spool: File, mut output: impl Write) -> Result<Exit> {
        let boxes = self.index.boxes()?;
        let mut candidates: Vec<(Cost, String, &BoxInfo)> = boxes
            .all
            .iter()
            .filter(|info| name.map_or(!info.forgotten(), |name| info.name == name))
            .map(|info| (self.reaching.to(info), info))
            .map(|(way, info)| (way.cost, way.url, info))
            .collect();
        candidates.sort_by_key(|candidate| candidate.0);
        ensure!(!candidates.is_empty(), "no box {:?} in this space", name.unwrap_or_default());
        let mut tried = Vec::new();
        for (cost, url, info) in candidates {
            let Some(entry) = self.index.entry(&info.name, path)?.filter(|entry| entry.present) else { continue };
            match self.copy(cost, &url, &entry, &mut spool) {
                Ok(()) => {
                    spool.rewind()?;
                    io::copy(&mut spool, &mut output)?;
                    output.flush()?;
                    return Ok(Exit::Done);
                }
                Err(error) => tried.push(format!("{} ({error:#})", info.name)),
            }
        }
        if tried.is_empty() {
            bail!("{path}: {} has it", name.map_or("no box".to_owned(), |name| format!("the box {name} is not one that")));
        }
        bail!("{path}: could not be had from {}", tried.join(", "))
    }

    fn copy(&self, cost: Cost, url: &str, entry: &Entry, spool: &mut File) -> Result<()> {
        ensure!(entry.attrs.ftype == Ftype::File, "is no file there");
        match cost {
            Cost::SameDisk | Cost::Mounted => {
                let root = self.reaching.open(url.as_ref(), &entry.box_name)?;
                let mut file = root.open_file(&entry.path)?;
                take(entry, &mut file, spool)
            }
            Cost::Ssh => {
                let remote = Remote::parse(url)?.with_context(|| format!("not the url of a box: {url}"))?;
                check_box(self.ssh, &remote, &entry.box_name, self.reaching.uuid.as_deref())?;
                let elsewhere = Elsewhere::new(&entry.box_name, remote, self.ssh, None);
                take(entry, &mut RemoteFile::new(&elsewhere, &entry.path, &|_| {}), spool)
            }
            Cost::Nowhere => bail!("out of reach"),
        }
    }
}

/// Copies the content of `entry`, and looks whether it is that.
fn take(entry: &Entry, origin: &mut dyn Origin, spool: &mut File) -> Result<()> {
    spool.set_len(0)?;
    spool.rewind()?;
    // one byte more than there should be tells a file that has grown
    let (sha1, size) = pump(&mut *origin.open_at(0)?, Some(spool), entry.attrs.size.saturating_add(1))?;
    let same = Some(sha1) == entry.attrs.sha1 && size == entry.attrs.size;
    ensure!(same, "changed since its last commit");
    Ok(())
}
