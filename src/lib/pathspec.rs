//! What a person means by a PATH on a command line: a file's name in the box, as the shell completes
//! it, or a path of the space, as ltr prints it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::path::SpacePath;
use crate::quote::for_terminal;

/// The path of the space that `arg` means to somebody in the folder `cwd`, in a box with the root
/// `root` (both absolute, `root` canonical). The file need not exist; a last component that is a
/// symlink in the box is not followed, as the space has symlinks of its own.
///
/// A relative `arg` is a file's name. An absolute one is a file's name where that lies in the box,
/// else a path of the space.
///
/// # Errors
/// `arg` is empty or longer than a path can be; it is outside the box, or a symlink on its way leads
/// there; `cwd` cannot be resolved.
pub fn resolve(arg: &OsStr, cwd: &Path, root: &Path) -> Result<SpacePath> {
    ensure!(!arg.is_empty(), "empty path");
    let named = Path::new(arg);
    let file = if named.is_absolute() { normal(named) } else { normal(&canonical_cwd(cwd)?.join(named)) };
    let shown = || for_terminal(arg.as_bytes());
    let relative = match below(&file, root) {
        Some(relative) => relative,
        // a symlink on the way leads out: not even an absolute name can mean the space then
        None if named.is_relative() || file.starts_with(root) => {
            bail!("{}: outside the box {}", shown(), for_terminal(root.as_os_str().as_bytes()))
        }
        None => file.strip_prefix("/").unwrap_or(&file).to_path_buf(),
    };
    SpacePath::from_relative(relative.as_os_str().as_bytes()).with_context(shown)
}

fn canonical_cwd(cwd: &Path) -> Result<PathBuf> {
    cwd.canonicalize().with_context(|| for_terminal(cwd.as_os_str().as_bytes()))
}

/// An absolute name without `.`, `..` and doubled slashes, without a look at the disk: what a shell
/// does to `$PWD`.
fn normal(name: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in name.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::Normal(part) => normal.push(part),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

/// `file` relative to `root`, its parents resolved; `None` when it is not in there.
fn below(file: &Path, root: &Path) -> Option<PathBuf> {
    if file == root {
        return Some(PathBuf::new());
    }
    let real = match (file.parent(), file.file_name()) {
        (Some(parent), Some(name)) => resolve_existing(parent).join(name),
        _ => file.to_path_buf(),
    };
    if let Ok(relative) = real.strip_prefix(root) {
        return Some(relative.to_path_buf());
    }
    // from outside, a symlink may be the way in: ~/music -> /mnt/stick/music
    resolve_existing(file).strip_prefix(root).ok().map(Path::to_path_buf)
}

/// Resolves symlinks as far as `name` exists; the rest stays as it is.
fn resolve_existing(name: &Path) -> PathBuf {
    let mut rest: Vec<OsString> = Vec::new();
    let mut head = name;
    loop {
        if let Ok(real) = head.canonicalize() {
            return rest.iter().rev().fold(real, |path, part| path.join(part));
        }
        match (head.parent(), head.file_name()) {
            (Some(parent), Some(part)) => {
                rest.push(part.to_owned());
                head = parent;
            }
            _ => return name.to_path_buf(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// `base/box` with `sub/deep` and some symlinks; `base/way` leads to the box, `base/music` into it.
    fn base() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let root = base.join("box");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::create_dir_all(base.join("other")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        symlink("../other", root.join("out")).unwrap();
        symlink("sub", root.join("inner")).unwrap();
        symlink(".", root.join("self")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("box", base.join("way")).unwrap();
        symlink("box/sub", base.join("music")).unwrap();
        (dir, base, root)
    }

    #[test]
    fn relative_names_are_files_of_the_box() {
        let (_dir, base, root) = base();
        for (cwd, arg, path) in [
            ("box", "a", Some("/a")),
            ("box", ".", Some("/")),
            ("box", "./", Some("/")),
            ("box", "a/", Some("/a")),
            ("box", "a//b/./c", Some("/a/b/c")),
            ("box", "sub/..", Some("/")),
            ("box", "not/there/../yet", Some("/not/yet")),
            ("box/sub", "a", Some("/sub/a")),
            ("box/sub", "..", Some("/")),
            ("box/sub", "../a", Some("/a")),
            ("box/sub/deep", "../../..", None),
            ("box/sub", "../../box/a", Some("/a")),
            ("box", "../other/a", None),
            ("box", "../boxer", None),
            ("box", "..", None),
            ("box", "../../../../../../../../..", None),
            ("other", "a", None),
            ("other", "../box/a", Some("/a")),
            // the way to the box does not matter
            ("way", "a", Some("/a")),
            ("way/sub", "../a", Some("/a")),
            ("music", "a", Some("/sub/a")),
            ("music", "../a", Some("/a")),
            ("", "way/a", Some("/a")),
            ("", "way", Some("/")),
            ("", "music", Some("/sub")),
            // symlinks in the box: themselves when last, what they lead to when on the way
            ("box", "out", Some("/out")),
            ("box", "out/", Some("/out")),
            ("box", "out/a", None),
            ("box", "out/a/b", None),
            ("box", "inner", Some("/inner")),
            ("box", "inner/a", Some("/sub/a")),
            ("box/inner", "a", Some("/sub/a")),
            ("box", "self", Some("/self")),
            ("box", "self/self/a", Some("/a")),
            ("box", "dangling", Some("/dangling")),
            ("box", "dangling/a", Some("/dangling/a")),
            ("box", "loop/a", Some("/loop/a")),
            ("box", "file/a", Some("/file/a")),
            ("box", "-f", Some("/-f")),
            ("box", "a\\b", Some("/a\\\\b")),
            ("box", "a\nb", Some("/a\nb")),
        ] {
            let resolved = resolve(OsStr::new(arg), &base.join(cwd), &root).ok().map(|p| p.spelled());
            assert_eq!(resolved.as_deref(), path, "{arg} in {cwd}");
        }
    }

    #[test]
    fn absolute_names_are_files_or_paths_of_the_space() {
        let (_dir, base, root) = base();
        let here = |name: &str| base.join(name).into_os_string();
        for (arg, path) in [
            ("/".into(), Some("/")),
            ("//".into(), Some("/")),
            ("/subdir1/a.tgz".into(), Some("/subdir1/a.tgz")),
            ("/subdir1/".into(), Some("/subdir1")),
            ("/a/./b/../c".into(), Some("/a/c")),
            ("/../a".into(), Some("/a")),
            (here("box"), Some("/")),
            (here("box/a"), Some("/a")),
            (here("box/../box/a"), Some("/a")),
            (here("way"), Some("/")),
            (here("way/a"), Some("/a")),
            (here("way/inner/a"), Some("/sub/a")),
            (here("music/a"), Some("/sub/a")),
            (here("box/out"), Some("/out")),
            (here("box/out/a"), None),
        ] {
            let resolved = resolve(&arg, &root, &root).ok().map(|p| p.spelled());
            assert_eq!(resolved.as_deref(), path, "{}", arg.display());
        }
        // a folder beside the box is no file of it, so it can only be a path of the space
        let beside = resolve(&here("boxer/a"), &root, &root).unwrap();
        assert_eq!(beside.raw(), here("boxer/a").as_bytes());
    }

    #[test]
    fn any_bytes_are_a_name() {
        let (_dir, _, root) = base();
        let path = resolve(OsStr::from_bytes(b"a\xff/\x1b"), &root, &root).unwrap();
        assert_eq!(path.raw(), b"/a\xff/\x1b");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (_dir, base, root) = base();
        let message = |arg: &str, cwd: &str| format!("{:#}", resolve(OsStr::new(arg), &base.join(cwd), &root).unwrap_err());
        assert_eq!(message("", "box"), "empty path");
        assert_eq!(message("../\u{1b}", "box"), format!("$'../\\x1B': outside the box {}", root.display()));
        assert!(message("a", "gone").contains("gone: No such file"));
        assert!(message(&"a".repeat(300), "box").ends_with(": path too long"));
    }
}
