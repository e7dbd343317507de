//! ltr-scan [DIR...] - one record for each file, folder and symlink of the box around DIR

#[path = "cli/mod.rs"]
mod cli;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use litter::exit::Exit;
use litter::path::SpacePath;
use litter::scan::{COOKIE, NothingTracked, scan};

/// Write a record for each file, folder and symlink in a box, in path order
#[derive(Parser)]
#[command(name = "ltr-scan", version)]
struct Args {
    /// Folders or files to look at, all of one box
    #[arg(value_name = "DIR", default_value = ".")]
    dirs: Vec<PathBuf>,
}

fn main() -> ExitCode {
    cli::run(run)
}

fn run(args: Args, report: &mut cli::Stderr) -> Result<Exit> {
    let (root, starts) = places(&args.dirs)?;
    scan(&root, &starts, &mut NothingTracked, cli::stdout(), report)
}

/// The one root that all of `dirs` have, and where in the box they are.
fn places(dirs: &[PathBuf]) -> Result<(PathBuf, Vec<SpacePath>)> {
    let mut root = None;
    let mut starts = Vec::with_capacity(dirs.len());
    for dir in dirs {
        let (its_root, start) = place(dir).with_context(|| dir.display().to_string())?;
        ensure!(*root.get_or_insert_with(|| its_root.clone()) == its_root, "{}: in another box", dir.display());
        starts.push(start);
    }
    Ok((root.context("no folder is named")?, starts))
}

/// The nearest folder around `dir` with a cookie, or else `dir` itself; and `dir` within it.
fn place(dir: &Path) -> Result<(PathBuf, SpacePath)> {
    let dir = resolved(dir)?;
    let root = dir.ancestors().find(|folder| folder.join(COOKIE).is_file()).unwrap_or(&dir);
    Ok((root.to_path_buf(), SpacePath::from_relative(dir.strip_prefix(root)?.as_os_str().as_bytes())?))
}

/// `path` without symlinks, except that what is no folder keeps its own name: a symlink is a file of a box.
fn resolved(path: &Path) -> Result<PathBuf> {
    match path.file_name() {
        Some(name) if !path.is_dir() => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(folder.canonicalize()?.join(name))
        }
        _ => Ok(path.canonicalize()?),
    }
}
