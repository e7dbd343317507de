//! The boxes that content comes from: a folder here, or a folder elsewhere by ssh. Each is asked once
//! which box it is, and one that does not answer is forgotten for the rest of the run.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::Options;
use super::ssh::Elsewhere;
use super::staging::Staging;
use super::transfer::{Arrived, Transfer};
use crate::boxfs::BoxRoot;
use crate::path::SpacePath;
use crate::reach::far::check_box;
use crate::reach::{is_here, open_box};
use crate::record::{Action, Source};
use crate::report::Report;
use crate::space::{Remote, folder_of};
use crate::ssh::Ssh;

/// The boxes of one run, by name and url.
pub(super) struct Sources<'a> {
    own: String,
    my_host: Option<&'a str>,
    uuid: Option<&'a str>,
    ssh: &'a Ssh,
    known: HashMap<(String, String), Known>,
}

/// What became of the first look at a box.
#[derive(Clone)]
pub(super) enum Known {
    Local(Arc<BoxRoot>),
    Remote(Arc<Elsewhere>),
    Gone,
}

/// How a box can be reached.
pub(super) enum Reached {
    Local,
    Remote,
    Gone,
}

impl<'a> Sources<'a> {
    pub(super) fn new(own: &str, options: &Options<'a>) -> Self {
        Self { own: own.to_owned(), my_host: options.my_host, uuid: options.uuid, ssh: options.ssh, known: HashMap::new() }
    }

    /// Looks for a box, the first time; says once when it is not to be had.
    pub(super) fn reach(&mut self, source: &Source, report: &mut dyn Report) -> Reached {
        match self.find(source, report) {
            Known::Local(_) => Reached::Local,
            Known::Remote(_) => Reached::Remote,
            Known::Gone => Reached::Gone,
        }
    }

    pub(super) fn find(&mut self, source: &Source, report: &mut dyn Report) -> Known {
        let key = (source.box_name.clone(), source.url.clone());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let known = self.look(source).unwrap_or_else(|e| {
            report.notice(&format!("box {}: {e:#}", source.box_name));
            Known::Gone
        });
        self.known.insert(key, known.clone());
        known
    }

    fn look(&self, source: &Source) -> Result<Known> {
        ensure!(source.box_name != self.own, "is this box itself");
        if source.url.is_empty() {
            bail!("has no url");
        }
        if let Some(folder) = folder_of(&source.url) {
            return open_box(&folder, &source.box_name, self.uuid).map(|root| Known::Local(Arc::new(root)));
        }
        let remote = Remote::parse(&source.url)?.with_context(|| format!("not the url of a box: {}", source.url))?;
        if self.my_host.is_some_and(|host| is_here(&remote.host, host))
            && let Ok(root) = open_box(Path::new(&remote.path), &source.box_name, self.uuid)
        {
            return Ok(Known::Local(Arc::new(root)));
        }
        check_box(self.ssh, &remote, &source.box_name, self.uuid)?;
        Ok(Known::Remote(Arc::new(Elsewhere::new(remote, self.ssh))))
    }

    /// The folder of a box that was reached here.
    pub(super) fn folder(&self, source: &Source) -> Option<Arc<BoxRoot>> {
        match self.known.get(&(source.box_name.clone(), source.url.clone())) {
            Some(Known::Local(root)) => Some(Arc::clone(root)),
            _ => None,
        }
    }

    /// Gets files from a box elsewhere: staged, or `None` for each that did not come.
    pub(super) fn transfer(
        &mut self,
        source: &Source,
        steps: &[(&Action, &SpacePath)],
        staging: &mut Staging<'_>,
        report: &mut dyn Report,
    ) -> Vec<Option<Arrived>> {
        let key = (source.box_name.clone(), source.url.clone());
        let Some(Known::Remote(from)) = self.known.get(&key).cloned() else { return vec![None; steps.len()] };
        let mut transfer = Transfer { from: &from, box_name: &source.box_name, staging, report };
        let (staged, alive) = transfer.run(steps);
        if !alive {
            self.known.insert(key, Known::Gone);
        }
        staged
    }
}
