//! What is in the staging folder under a name of ours and was never put there by us: a folder, a symlink,
//! a fifo, a file that has another name as well. Nothing may be written through it, and nothing of it is
//! ours to remove, so it gets another name before anything is done there.

use std::io;

use super::journal::JOURNAL;
use super::recover::is_for_one_run;
use super::staging::Staging;
use crate::boxfs::{BoxRoot, Kind, Stat};
use crate::path::SpacePath;
use crate::record::Sha1;

/// What it is called then, with a number.
const NAME: &str = "not-ours";

/// Makes the staging folder of the box at `root`, for others to put content in.
///
/// # Errors
/// It cannot be made, or what is in it cannot be renamed.
pub fn stage(root: &BoxRoot) -> anyhow::Result<()> {
    Ok(step_aside(&Staging::open(root)?).map(drop)?)
}

/// Renames what is not ours. Returns each path as it was, and as it is.
pub(super) fn step_aside(staging: &Staging<'_>) -> io::Result<Vec<(SpacePath, SpacePath)>> {
    let mut moved = Vec::new();
    for name in staging.names()? {
        let path = staging.at(&name)?;
        let Some(stat) = staging.root().look(&path)? else { continue };
        if may_be_ours(&name, &stat) {
            continue;
        }
        if stat.kind == Kind::File && stat.nlink > 1 {
            // its content has another name
            staging.root().unlink(&path)?;
            continue;
        }
        let free = (1..=u64::MAX).find_map(|number| {
            let aside = staging.at(&format!("{NAME}-{number}")).ok()?;
            match staging.root().rename_noreplace(&path, &aside) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => None,
                done => Some(done.map(|()| aside)),
            }
        });
        if let Some(aside) = free {
            moved.push((path, aside?));
        }
    }
    Ok(moved)
}

fn may_be_ours(name: &str, stat: &Stat) -> bool {
    let content = name.parse::<Sha1>().is_ok();
    if content || is_for_one_run(name) || name == JOURNAL {
        let link = stat.kind == Kind::Symlink && name.starts_with("l-");
        return link || (stat.kind == Kind::File && (stat.nlink == 1 || !content));
    }
    // the one folder that a program fills for us
    !name.starts_with("rsync-") || stat.kind == Kind::Dir
}
