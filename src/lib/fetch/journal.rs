//! Where what waits in the staging folder came from. It is written before a rename takes content out
//! of its place, so that after a kill content is never without a path, whatever became of the plan.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::staging::Staging;
use crate::boxfs::{Kind, is_own};
use crate::path::SpacePath;

/// The file in the staging folder; each line is a JSON array of a name there and a path of the box.
pub(super) const JOURNAL: &str = "paths";
/// More than that is not ours.
const LONGEST: u64 = 64 << 20;

impl Staging<'_> {
    /// Records that what will be at `slot` came from `path`. Where the disk is full it cannot be, and
    /// that must not keep anybody from removing: then what a kill leaves there is found by its hash.
    pub(super) fn note(&self, slot: &SpacePath, path: &SpacePath) -> io::Result<()> {
        let name = String::from_utf8_lossy(slot.name()).into_owned();
        // a line of its own even after one that was cut short
        let line = format!("\n{}\n", serde_json::json!([name, path.spelled()]));
        let done = self.journal().and_then(|mut file| {
            file.seek(SeekFrom::End(0))?;
            file.write_all(line.as_bytes())
        });
        match done {
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
            done => done,
        }
    }

    fn journal(&self) -> io::Result<std::fs::File> {
        let at = self.at(JOURNAL)?;
        match self.root().look(&at)? {
            Some(stat) if stat.kind == Kind::File && stat.nlink == 1 => return self.root().reopen(&at),
            Some(_) => self.root().unlink(&at)?,
            None => {}
        }
        self.root().create(&at)
    }

    /// What was recorded, by name in the staging folder: of several lines the last. A name is not used
    /// again while the file is there.
    pub(super) fn noted(&mut self) -> io::Result<HashMap<String, SpacePath>> {
        let mut noted = HashMap::new();
        let at = self.at(JOURNAL)?;
        if !self.root().look(&at)?.is_some_and(|stat| stat.kind == Kind::File) {
            return Ok(noted);
        }
        let mut text = Vec::new();
        self.root().open_file(&at)?.take(LONGEST).read_to_end(&mut text)?;
        for line in text.split(|&byte| byte == b'\n') {
            let Ok((name, path)) = serde_json::from_slice::<(String, String)>(line) else { continue };
            if let Some(number) = name.rsplit_once('-').and_then(|(_, number)| number.parse().ok()) {
                self.used_up(number);
            }
            if let Ok(path) = SpacePath::from_spelled(&path)
                && !path.is_root()
                && !is_own(&path)
            {
                noted.insert(name, path);
            }
        }
        Ok(noted)
    }

    /// Removes the record, when nothing is left that it tells of.
    pub(super) fn forget(&self) -> io::Result<()> {
        if self.names()?.iter().any(|name| is_slot(name)) {
            return Ok(());
        }
        match self.root().unlink(&self.at(JOURNAL)?) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// Whether a name in the staging folder is that of content which came out of the box.
pub(super) fn is_slot(name: &str) -> bool {
    ["x-", "r-", "k-", "d-"].iter().any(|prefix| name.starts_with(prefix))
}
