//! Where the index of a new box lies: somewhere on this machine, or carried by the box itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::name_space;
use crate::boxfs::CARRIED_INDEX;
use crate::index::sqlite::{Access, Sqlite};
use crate::index::{Index, Origin, Select};
use crate::record::Document;
use crate::report::Report;
use crate::space::Space;
use crate::sync::{Options, sync};

/// Documents put in one transaction.
const BATCH: usize = 4096;

/// The index of a new box.
pub(super) struct Place {
    /// The file.
    pub(super) file: PathBuf,
    /// How the box's cookie names it.
    pub(super) space: String,
    /// The name of the space.
    pub(super) name: String,
    pub(super) carried: bool,
}

/// Where the index of the box at `root` will be, when SPACE is `space`, and `file` is its index or replica.
pub(super) fn place(root: &Path, space: &Space, file: &Path, carry: bool) -> Result<Place> {
    let own = root.join(CARRIED_INDEX);
    let elsewhere = match space {
        Space::File(_) => None,
        Space::Http(database) => Some(database.without_password().to_string()),
        Space::Ssh(remote) => Some(remote.to_string()),
    };
    if let Some(url) = elsewhere {
        let name = space.name();
        if !carry {
            return Ok(Place { file: file.to_path_buf(), space: url, name, carried: false });
        }
        let name = name.replace('/', "-");
        return Ok(Place { file: own.join(&name), space: format!("./{CARRIED_INDEX}/{name}"), name, carried: true });
    }
    // the folder of the file may be reached through symlinks
    let folder = file.parent().and_then(|p| p.canonicalize().ok());
    let within = |folder: &Path| folder.starts_with(root);
    let name = file.file_name().context("the space has no name")?;
    let is_own = folder.as_deref() == Some(&own);
    if !carry && !is_own {
        ensure!(
            !folder.as_deref().is_some_and(within),
            "{}: the index would be a file of the box (--carry lets the box carry it)",
            file.display()
        );
        let space = file.to_str().with_context(|| format!("{}: not UTF-8, so no cookie can name it", file.display()))?;
        let name = name.to_string_lossy().into_owned();
        return Ok(Place { file: file.to_path_buf(), space: space.to_owned(), name, carried: false });
    }
    let name = name.to_str().with_context(|| format!("{}: not UTF-8, so no cookie can name it", file.display()))?;
    let space = format!("./{CARRIED_INDEX}/{name}");
    Ok(Place { file: own.join(name), space, name: name.to_owned(), carried: true })
}

impl Place {
    /// The index as far as it is there: one that is yet to be carried is looked for at `source`; `None`
    /// where it will begin empty.
    pub(super) fn look(&self, source: &Path) -> Result<Option<Sqlite>> {
        let there = [self.file.as_path(), source].into_iter().find(|file| file.exists() && !Sqlite::is_blank(file));
        ensure!(there.is_some() || self.carried, "{}: no index there (ltr init makes it)", self.file.display());
        there.map(|file| Sqlite::open(file, Access::Read)).transpose()
    }

    /// Opens the index for writing; one that is carried is made first, with what `source` holds.
    pub(super) fn open(&self, source: &Path) -> Result<Sqlite> {
        if self.carried {
            self.fill(source)?;
        }
        Sqlite::open(&self.file, Access::Write)
    }

    /// Tells the index that a carried one was copied from what is new in the copy: which box has it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn tell(&self, source: &Path, options: &Options, report: &mut dyn Report) -> Result<()> {
        if !self.carried || !self.is_copy_of(source)? {
            return Ok(());
        }
        let options = Options { one_way: true, ..options.clone() };
        sync(&Space::File(self.file.clone()), &Space::File(source.to_path_buf()), &options, std::io::sink(), report).map(drop)
    }

    fn is_copy_of(&self, source: &Path) -> Result<bool> {
        Ok(source.exists() && source.canonicalize()? != self.file.canonicalize()?)
    }

    /// Copying again what is there already changes nothing, so that this can be cut short anywhere.
    fn fill(&self, source: &Path) -> Result<()> {
        let folder = self.file.parent().context("the space has no folder")?;
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let meta = folder.symlink_metadata()?;
                ensure!(meta.is_dir(), "{}: not a folder", folder.display());
            }
            made => made.with_context(|| folder.display().to_string())?,
        }
        Sqlite::create(&self.file)?;
        if !self.is_copy_of(source)? {
            return Ok(());
        }
        // or the next box that carries its index would be of another space
        if Sqlite::open(source, Access::Read)?.space()?.is_none() {
            name_space(&mut Sqlite::open(source, Access::Write)?, &self.name)?;
        }
        copy(&Sqlite::open(source, Access::Read)?, &mut Sqlite::open(&self.file, Access::Write)?)
    }
}

/// Puts every document of one index into another.
fn copy(from: &Sqlite, to: &mut Sqlite) -> Result<()> {
    let mut batch: Vec<Document> = Vec::with_capacity(BATCH);
    from.range(&Select::default(), &mut |document| {
        batch.push(document);
        if batch.len() == BATCH {
            to.put(&batch, Origin::Elsewhere)?;
            batch.clear();
        }
        Ok(())
    })?;
    match to.put(&batch, Origin::Elsewhere) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{}: {error:#}", to.path().display()),
    }
}
