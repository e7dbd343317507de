//! The boxes that content comes from: a folder here, or a folder elsewhere by ssh. Each is asked once
//! which box it is, and one that does not answer is forgotten for the rest of the run. All threads of a
//! run share what is known of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::Options;
use super::ssh::Elsewhere;
use crate::boxfs::BoxRoot;
use crate::couch::places::Places;
use crate::reach::{is_here, open_box};
use crate::record::Source;
use crate::space::{Remote, folder_of};
use crate::ssh::Ssh;

/// The boxes of one run, by name and url.
pub(super) struct Sources<'a> {
    own: String,
    my_host: Option<&'a str>,
    uuid: Option<&'a str>,
    places: Option<&'a Places>,
    ssh: &'a Ssh,
    known: Mutex<HashMap<(String, String), Known>>,
}

/// What is known of a box.
#[derive(Clone)]
pub(super) enum Known {
    Local(Arc<BoxRoot>),
    Remote(Arc<Elsewhere>),
    Gone,
}

impl<'a> Sources<'a> {
    pub(super) fn new(own: &str, options: &Options<'a>) -> Self {
        let known = Mutex::default();
        let (uuid, places) = (options.uuid, options.places);
        Self { own: own.to_owned(), my_host: options.my_host, uuid, places, ssh: options.ssh, known }
    }

    /// Where a box is, without a word to another machine; `say` hears, once, when it is not to be had.
    pub(super) fn place(&self, source: &Source, say: &mut dyn FnMut(String)) -> Known {
        let key = (source.box_name.clone(), source.url.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.entry(key).or_insert_with(|| {
            self.look(source).unwrap_or_else(|e| {
                say(format!("box {}: {e:#}", source.box_name));
                Known::Gone
            })
        });
        match found {
            Known::Remote(elsewhere) if elsewhere.is_lost() => Known::Gone,
            found => found.clone(),
        }
    }

    /// As [`Sources::place`], where another machine has been asked which box it has there.
    pub(super) fn find(&self, source: &Source, say: &mut dyn FnMut(String)) -> Known {
        match self.place(source, say) {
            Known::Remote(elsewhere) if !elsewhere.prove(say) => Known::Gone,
            known => known,
        }
    }

    fn look(&self, source: &Source) -> Result<Known> {
        ensure!(source.box_name != self.own, "is this box itself");
        if source.url.is_empty() {
            bail!("has no url");
        }
        if let Some(folder) = folder_of(&source.url) {
            return open_box(&folder, &source.box_name, self.uuid, self.places).map(|root| Known::Local(Arc::new(root)));
        }
        let remote = Remote::parse(&source.url)?.with_context(|| format!("not the url of a box: {}", source.url))?;
        if self.my_host.is_some_and(|host| is_here(&remote.host, host))
            && let Ok(root) = open_box(Path::new(&remote.path), &source.box_name, self.uuid, self.places)
        {
            return Ok(Known::Local(Arc::new(root)));
        }
        Ok(Known::Remote(Arc::new(Elsewhere::new(&source.box_name, remote, self.ssh, self.uuid))))
    }
}
