use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn path(text: &str) -> SpacePath {
    SpacePath::from_spelled(text).unwrap()
}

/// A box with `/d/f` beside a folder outside with the same, once with openat2, once without.
fn boxes() -> Vec<(tempfile::TempDir, BoxRoot)> {
    [false, true]
        .into_iter()
        .map(|walk| {
            let dir = tempfile::tempdir().unwrap();
            for folder in ["box/d", "outside"] {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
                fs::write(dir.path().join(folder).join("f"), folder).unwrap();
            }
            let root = BoxRoot::open(&dir.path().join("box")).unwrap();
            root.walk.store(walk, Ordering::Relaxed);
            (dir, root)
        })
        .collect()
}

#[test]
fn a_symlinked_folder_leads_nowhere() {
    for (dir, root) in boxes() {
        symlink(dir.path().join("outside"), dir.path().join("box/s")).unwrap();
        symlink("d", dir.path().join("box/inner")).unwrap();
        for bad in ["/s/f", "/inner/f"] {
            let bad = path(bad);
            let errors = [
                root.lstat(&bad).unwrap_err(),
                root.look(&bad).unwrap_err(),
                root.open_file(&bad).unwrap_err(),
                root.unlink(&bad).unwrap_err(),
                root.mkdir(&bad, Mode(0o700)).unwrap_err(),
                root.chmod(&bad, Mode(0)).unwrap_err(),
                root.set_mtime(&bad, 1, 0).unwrap_err(),
                root.create(&bad).unwrap_err(),
                root.rename_noreplace(&path("/d/f"), &bad).unwrap_err(),
                root.rename_exchange(&path("/d/f"), &bad).unwrap_err(),
                root.names(&bad.parent().unwrap()).map(|_| ()).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.to_string(), "a symlink is in the way");
            }
        }
        assert_eq!(fs::read(dir.path().join("outside/f")).unwrap(), b"outside");
        assert_eq!(fs::read(dir.path().join("box/d/f")).unwrap(), b"box/d");
    }
}

#[test]
fn a_folder_swapped_for_a_symlink_is_noticed_before_a_change() {
    for (dir, root) in boxes() {
        assert_eq!(root.lstat(&path("/d/f")).unwrap().size, 5);
        fs::rename(dir.path().join("box/d"), dir.path().join("away")).unwrap();
        symlink(dir.path().join("outside"), dir.path().join("box/d")).unwrap();
        assert_eq!(root.unlink(&path("/d/f")).unwrap_err().to_string(), "a symlink is in the way");
        assert_eq!(root.create(&path("/d/g")).unwrap_err().to_string(), "a symlink is in the way");
        assert!(dir.path().join("outside/f").exists() && dir.path().join("away/f").exists());
    }
}

#[test]
fn a_symlink_as_the_last_name_is_not_followed() {
    for (dir, root) in boxes() {
        let link = path("/d/link");
        root.symlink(b"../../outside/f", &link).unwrap();
        assert_eq!(root.readlink(&link).unwrap(), b"../../outside/f");
        assert_eq!(root.lstat(&link).unwrap().kind, Kind::Symlink);
        assert!(root.open_file(&link).is_err() && root.reopen(&link).is_err());
        assert!(root.chmod(&link, Mode(0o777)).is_err());
        root.set_mtime(&link, 77, 5).unwrap();
        assert_eq!(root.lstat(&link).unwrap().mtime, 77);
        root.unlink(&link).unwrap();
        assert!(dir.path().join("outside/f").exists());
    }
}

#[test]
fn renames_replace_nothing() {
    for (dir, root) in boxes() {
        fs::write(dir.path().join("box/g"), "g").unwrap();
        let (f, g) = (path("/d/f"), path("/g"));
        assert_eq!(root.rename_noreplace(&g, &f).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        root.rename_exchange(&g, &f).unwrap();
        assert_eq!(fs::read(dir.path().join("box/d/f")).unwrap(), b"g");
        assert_eq!(fs::read(dir.path().join("box/g")).unwrap(), b"box/d");
        root.rename_noreplace(&g, &path("/h")).unwrap();
        assert!(root.look(&g).unwrap().is_none());
        assert_eq!(root.rename_exchange(&f, &g).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

#[test]
fn renames_without_the_kernels_help_replace_nothing_either() {
    for (dir, root) in boxes() {
        fs::write(dir.path().join("box/g"), "g").unwrap();
        fs::create_dir(dir.path().join("box/e")).unwrap();
        let (f, g) = (path("/d/f"), path("/g"));
        for from in [&g, &path("/e")] {
            assert_eq!(root.link_noreplace(from, &f).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        root.link_noreplace(&path("/e"), &path("/k")).unwrap();
        root.exchange_slowly(&g, &f).unwrap();
        assert_eq!(fs::read(dir.path().join("box/d/f")).unwrap(), b"g");
        assert_eq!(fs::read(dir.path().join("box/g")).unwrap(), b"box/d");
        assert!(root.exchange_slowly(&path("/no"), &f).is_err());
        assert_eq!(fs::read(dir.path().join("box/d/f")).unwrap(), b"g", "put back");
        root.link_noreplace(&g, &path("/h")).unwrap();
        assert!(root.look(&g).unwrap().is_none() && root.look(&path("/h")).unwrap().is_some());
    }
}

#[test]
fn modes_times_and_what_is_no_file() {
    for (dir, root) in boxes() {
        let f = path("/d/f");
        root.chmod(&f, Mode(0o200)).unwrap();
        root.chmod(&f, Mode(0o640)).unwrap();
        root.set_mtime(&f, 1_295_303_519, 123_456_789).unwrap();
        let stat = root.lstat(&f).unwrap();
        assert_eq!((stat.mode, stat.mtime, stat.mtime_nsec, stat.size), (Mode(0o640), 1_295_303_519, 123_456_789, 5));
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("box/fifo"), FileType::Fifo, Bits::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(root.open_file(&path("/fifo")).unwrap_err().to_string(), "not a regular file");
        assert_eq!(root.lstat(&path("/fifo")).unwrap().kind, Kind::Other);
        assert!(root.open_file(&path("/d")).is_err());
        assert_eq!(root.look(&f.join(b"x").unwrap()).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(root.look(&path("/no/such")).unwrap().is_none());
        assert!(root.lists(&f).unwrap() && !root.lists(&path("/d/F")).unwrap());
        root.sync().unwrap();
        assert!(root.free().unwrap() > 0);
    }
}

#[test]
fn the_staging_folder_is_ours_alone() {
    for (dir, root) in boxes() {
        let at = dir.path().join("box/.ltr-tmp");
        fs::create_dir(&at).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
        let staging = root.staging().unwrap();
        assert_eq!(root.lstat(&staging).unwrap().mode, Mode(0o700));
        fs::remove_dir(&at).unwrap();
        symlink("../outside", &at).unwrap();
        assert_eq!(root.staging().unwrap_err().to_string(), ".ltr-tmp is not a folder");
        assert!(root.create(&staging.join(b"x").unwrap()).is_err());
        fs::remove_file(&at).unwrap();
        fs::write(&at, "").unwrap();
        assert!(root.staging().is_err());
    }
}

#[test]
fn own_files_are_known_in_any_case() {
    for own in ["/.ltr", "/.LTR", "/a/.ltr", "/a/.Ltr/b", "/.ltr-tmp/x", "/.Ltr-Index/space"] {
        assert!(is_own(&path(own)), "{own}");
    }
    for not in ["/.ltrignore", "/ltr", "/a.ltr", "/a/.ltr-tmp/x", "/a/.ltr-index"] {
        assert!(!is_own(&path(not)), "{not}");
    }
}
