//! A space whose index is elsewhere is worked on through a replica on this machine, which each command
//! first brings up to date, and which sends on what was written to it. Of a database that is
//! [`visit`]'s part; of an index on another machine it is a sync with it, over ssh.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Map;

use super::{Options, Visitor};
use crate::couch::visit::{Visit, as_of, visit};
use crate::exit::Exit;
use crate::index::sqlite::{Access, Sqlite, now_ms};
use crate::report::Report;
use crate::space::{Remote, Space};
use crate::ssh::is_away;
use crate::stamp::random_id;
use crate::stream::Writer;

/// How long a machine that did not answer is not asked again: ssh takes ten seconds to give up.
const AGAIN: Duration = Duration::from_mins(5);

/// Brings the replica of `space` up to date, and `space`: a file has none, and nothing is done. Writes a
/// record of the type `sync` for each direction.
///
/// # Errors
/// The replica cannot be read or written, or does not exist and cannot be made; they are of two spaces;
/// with `insist`, whatever keeps the other side from answering.
pub fn refresh(space: &Space, wish: &Visit, options: &Options, output: impl Write, report: &mut dyn Report) -> Result<Exit> {
    let mut visitor = Visitor { writer: Writer::new(output), options: options.clone(), report, wrote: false };
    visitor.visit(space, wish)?;
    Ok(Exit::of_failures(visitor.writer.end(Map::new())?))
}

impl<W: Write> Visitor<'_, W> {
    pub(super) fn visit(&mut self, space: &Space, wish: &Visit) -> Result<()> {
        match space {
            Space::File(_) => Ok(()),
            Space::Http(database) => {
                let visited = visit(&self.options.places, database, wish, self.report)?;
                visited.done.iter().try_for_each(|record| self.tell(record))
            }
            Space::Ssh(remote) => self.visit_machine(remote, wish),
        }
    }

    fn visit_machine(&mut self, remote: &Remote, wish: &Visit) -> Result<()> {
        let file = self.replica_of(remote)?;
        let last = Sqlite::open(&file, Access::Read)?.visits()?;
        if !wish.insist && last.is_resting(AGAIN, now_ms()) {
            // who comes to send has been told before
            if !wish.push_first {
                self.report.notice(&format!("{} does not answer; {}", remote.host, as_of(last.reached_ms)));
            }
            return Ok(());
        }
        let options = Options { one_way: wish.no_push, scratch: wish.scratch.clone(), ..self.options.clone() };
        let (here, there) = (Space::File(file.clone()), Space::Ssh(remote.clone()));
        let kept = std::mem::replace(&mut self.options, options);
        let visited = if wish.no_push { self.pair(&there, &here) } else { self.pair(&here, &there) };
        self.options = kept;
        match visited {
            Ok(_) if wish.scratch.is_some() => Ok(()),
            Ok(_) => Sqlite::open(&file, Access::Write)?.set_visit(true),
            Err(error) if wish.insist || !is_away(&error) => Err(error),
            Err(error) => {
                self.report.notice(&format!("{error:#}; {}", as_of(last.reached_ms)));
                Sqlite::open(&file, Access::Write)?.set_visit(false)
            }
        }
    }

    /// The replica of the index on another machine, which is made where there is none yet: then that
    /// machine must answer.
    pub(super) fn replica_of(&mut self, remote: &Remote) -> Result<PathBuf> {
        let file = self.options.places.replica_of(remote);
        if file.exists() {
            return Ok(file);
        }
        let folder = file.parent().context("a replica is in a folder")?;
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        // under its name it is only once it was read whole
        let staged = file.with_file_name(format!(".{:08x}", random_id()));
        Sqlite::create(&staged)?;
        let options = Options { one_way: true, scratch: None, ..self.options.clone() };
        let mut first = Visitor { writer: Writer::new(std::io::sink()), options, report: &mut *self.report, wrote: false };
        let read = first.pair(&Space::Ssh(remote.clone()), &Space::File(staged.clone()));
        // never over one that another command has made meanwhile, and works with
        let made = read.and_then(|_| match std::fs::hard_link(&staged, &file) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            linked => Ok(linked?),
        });
        let _ = std::fs::remove_file(&staged);
        made.with_context(|| format!("there is no replica of {remote} on this machine yet"))?;
        Ok(file)
    }
}
