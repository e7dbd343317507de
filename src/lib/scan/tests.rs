//! What a walk tells of real folders, and what it keeps quiet about.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use rustix::fs::{CWD, Mode as FsMode, mkdirat, mkfifoat, openat};
use tempfile::TempDir;

use super::*;
use crate::report::Collected;
use crate::stream::{Line, Reader};

/// Makes files (`a/b`), folders (`a/`) and their parents.
fn tree(names: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    names.iter().for_each(|name| make(dir.path(), name, ""));
    dir
}

fn make(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    if name.ends_with('/') {
        fs::create_dir_all(path).unwrap();
    } else {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn path(text: &str) -> SpacePath {
    SpacePath::from_spelled(text).unwrap()
}

fn found(root: &Path, starts: &[&str], tracked: &mut dyn Tracked) -> Vec<Found> {
    let starts: Vec<_> = starts.iter().map(|s| if *s == "/" { SpacePath::root() } else { path(s) }).collect();
    let mut all = Vec::new();
    walk(root, &starts, tracked, &mut |found| {
        all.push(found);
        Ok(())
    })
    .unwrap();
    all
}

/// One word per finding: `/a` for an item, `/a box` for what was skipped, `/a! cause` for a failure.
fn words(found: Vec<Found>) -> Vec<String> {
    found
        .into_iter()
        .map(|found| match found {
            Found::Item(item) => item.path.spelled(),
            Found::Skipped { path, why } => format!("{path} {}", serde_json::to_value(why).unwrap().as_str().unwrap()),
            Found::Unnamed { folder, name } => format!("{folder} unnamed {}", name.len()),
            Found::Failed { path, error } => format!("{path}! {error}"),
            Found::Folder { path, sealed, .. } => format!("{path} {}", if sealed { "sealed" } else { "open" }),
        })
        .collect()
}

fn seen(root: &Path) -> Vec<String> {
    words(found(root, &[], &mut NothingTracked))
}

fn seen_from(root: &Path, starts: &[&str]) -> Vec<String> {
    words(found(root, starts, &mut NothingTracked))
}

/// Entries by path; remembers what it was asked.
#[derive(Default)]
struct Entries {
    paths: Vec<SpacePath>,
    asked: Vec<String>,
}

impl Entries {
    fn of(paths: &[&str]) -> Self {
        Self { paths: paths.iter().map(|p| path(p)).collect(), asked: Vec::new() }
    }
}

impl Tracked for Entries {
    fn at_or_below(&mut self, path: &SpacePath) -> Result<bool> {
        self.asked.push(path.spelled());
        Ok(self.paths.iter().any(|entry| entry.is_within(path)))
    }
}

#[test]
fn items_come_in_path_order() {
    let dir = tree(&["a/x", "a.b", "a-", "a0", "b/", "a\nb", "é", "a/x.y/z", "a/x-"]);
    let all = found(dir.path(), &[], &mut NothingTracked);
    let order: Vec<_> = all.iter().map(|f| if let Found::Item(item) = f { item.path.clone() } else { panic!("{f:?}") }).collect();
    assert!(order.is_sorted());
    let expected = ["/a", "/a/x", "/a/x-", "/a/x.y", "/a/x.y/z", "/a\nb", "/a-", "/a.b", "/a0", "/b", "/é"];
    assert_eq!(words(all), expected);
}

#[test]
fn any_name_is_a_path() {
    let dir = tree(&[]);
    for name in [&b"\xff\xfe"[..], b"back\\slash", b"new\nline", b"-n", b"\x1b[31m", b"..."] {
        fs::write(dir.path().join(OsStr::from_bytes(name)), "").unwrap();
    }
    assert_eq!(seen(dir.path()), ["/\u{1b}[31m", "/-n", "/...", "/back\\\\slash", "/new\nline", "/\\xff\\xfe"]);
}

#[test]
fn an_item_is_what_lstat_says() {
    let dir = tree(&["f"]);
    let file = dir.path().join("f");
    fs::write(&file, "12345").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    let meta = fs::symlink_metadata(&file).unwrap();
    let all = found(dir.path(), &[], &mut NothingTracked);
    let [Found::Item(item)] = all.as_slice() else { panic!("{all:?}") };
    let expected = Item {
        path: path("/f"),
        ftype: Ftype::File,
        size: 5,
        mtime: meta.mtime(),
        mtime_nsec: u32::try_from(meta.mtime_nsec()).unwrap(),
        // without what would lend rights
        mode: Mode(0o751),
        ino: meta.ino(),
        dev: meta.dev(),
        ctime: meta.ctime(),
        ctime_nsec: u32::try_from(meta.ctime_nsec()).unwrap(),
        target: None,
    };
    assert_eq!(*item, expected);
    let record = item.clone().into_record(true);
    record.check().unwrap();
    assert_eq!((record.mode, record.local.map(|l| (l.ino, l.dev))), (Some(Mode(0o751)), Some((meta.ino(), meta.dev()))));
    assert_eq!(item.clone().into_record(false).mode, None);
}

#[test]
fn symlinks_are_items_and_lead_nowhere() {
    let dir = tree(&["d/x"]);
    symlink("d", dir.path().join("to-d")).unwrap();
    symlink(OsStr::from_bytes(b"no\\such\xff"), dir.path().join("dangling")).unwrap();
    let all = found(dir.path(), &[], &mut NothingTracked);
    assert_eq!(words(all.clone()), ["/d", "/d/x", "/dangling", "/to-d"]);
    let Found::Item(dangling) = all[2].clone() else { panic!() };
    assert_eq!((dangling.size, dangling.target.as_deref()), (8, Some(&b"no\\such\xff"[..])));
    let record = dangling.into_record(true);
    record.check().unwrap();
    assert_eq!((record.mode, record.target.as_deref()), (Some(Mode(0o777)), Some("no\\\\such\\xff")));
}

#[test]
fn boxes_within_and_own_files_are_left_out() {
    let own = [".ltr", ".ltr-tmp/part", ".ltr-index/db"];
    let below = ["in/.ltr", "in/x", "in/deep/.ltr", "dir/.ltr/x", "dir/.ltr-tmp/y", "dir/.ltr-index", ".ltrx"];
    let dir = tree(&[own.as_slice(), &below].concat());
    symlink("nowhere", dir.path().join("dir/.ltr/.ltr")).unwrap();
    let expected =
        ["/.ltrx", "/dir", "/dir/.ltr own", "/dir/.ltr-index", "/dir/.ltr-tmp", "/dir/.ltr-tmp/y", "/in box"].map(String::from);
    assert_eq!(seen(dir.path()), expected);
    assert_eq!(seen_from(dir.path(), &["/in/x", "/.ltr", "/.ltr-tmp/part", "/in/deep"]), ["/in box"]);
}

#[test]
fn what_is_no_file_is_skipped() {
    let dir = tree(&["a"]);
    mkfifoat(CWD, dir.path().join("fifo"), FsMode::RWXU).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    assert_eq!(seen(dir.path()), ["/a", "/fifo fifo", "/socket socket"]);
    assert_eq!(seen_from(Path::new("/dev"), &["/null"]), ["/null device"]);
}

#[test]
fn other_file_systems_are_skipped() {
    assert_eq!(seen_from(Path::new("/"), &["/proc"]), ["/proc mount"]);
    assert_eq!(seen_from(Path::new("/"), &["/proc/self/stat"]), ["/proc mount"]);
}

#[test]
fn rules_are_those_of_gitignore() {
    let dir = tree(&[
        "a.o",
        "keep.o",
        "build/x",
        "src/build/y",
        "src/a.o",
        "src/b.c",
        "src/sub/only.c",
        "only.c",
        "doc/keep.txt",
        "doc/not.txt",
        "{x}",
        "x",
        "late.",
        "d/build",
        "src/sub/a.o",
    ]);
    make(dir.path(), ".ltrignore", "\u{feff}*.o\n# comment\n!keep.o\r\nbuild/\n/only.c\ndoc/*\n!doc/keep.txt\n{x}\nlate.\n");
    make(dir.path(), "src/.ltrignore", "!a.o\n*.c\n");
    make(dir.path(), "src/sub/.ltrignore", "a.o\n!only.c\n");
    let expected = [
        "/.ltrignore",
        "/d",
        "/d/build",
        "/doc",
        "/doc/keep.txt",
        "/keep.o",
        "/src",
        "/src/.ltrignore",
        "/src/a.o",
        "/src/sub",
        "/src/sub/.ltrignore",
        "/src/sub/only.c",
        "/x",
    ];
    assert_eq!(seen(dir.path()), expected);
    assert_eq!(seen_from(dir.path(), &["/src/sub", "/src/b.c", "/a.o", "/build/x"]), expected[9..12]);
}

#[test]
fn rules_do_not_outlive_their_folder() {
    let dir = tree(&["a/x", "a/b/x", "b/x", "c/x"]);
    make(dir.path(), "a/.ltrignore", "x");
    make(dir.path(), "b/.ltrignore", "# none");
    assert_eq!(seen(dir.path()), ["/a", "/a/.ltrignore", "/a/b", "/b", "/b/.ltrignore", "/b/x", "/c", "/c/x"]);
}

#[test]
fn rules_are_for_what_has_no_entry() {
    let dir = tree(&["out/a/1", "out/a/2", "out/b/3", "tmp/4", "x.o", "y.o", "z", "out/.ltrignore"]);
    make(dir.path(), ".ltrignore", "out\ntmp/\n*.o\n");
    // a rule below an ignored folder cannot take it back, as with git
    make(dir.path(), "out/.ltrignore", "!*\n");
    let mut entries = Entries::of(&["/out/a/1", "/y.o"]);
    let all = words(found(dir.path(), &[], &mut entries));
    assert_eq!(all, ["/.ltrignore", "/out", "/out/a", "/out/a/1", "/y.o", "/z"]);
    let asked = ["/out", "/out/.ltrignore", "/out/a", "/out/a/1", "/out/a/2", "/out/b", "/tmp", "/x.o", "/y.o"];
    assert_eq!(entries.asked, asked);
    assert_eq!(words(found(dir.path(), &["/out/a/1", "/out/a/2"], &mut entries)), ["/out/a/1"]);
}

#[test]
fn ignored_oddities_are_quiet_unless_they_have_an_entry() {
    let dir = tree(&["boxed/.ltr"]);
    mkfifoat(CWD, dir.path().join("fifo"), FsMode::RWXU).unwrap();
    make(dir.path(), ".ltrignore", "*\n");
    assert_eq!(seen(dir.path()), [""; 0]);
    let mut entries = Entries::of(&["/boxed/x", "/fifo"]);
    assert_eq!(words(found(dir.path(), &[], &mut entries)), ["/boxed box", "/fifo fifo"]);
}

#[test]
fn rules_that_cannot_be_had_are_failures_in_their_place() {
    let dir = tree(&["a/!", "a/x", "b/x", "c/x", "d/.ltrignore/", "d/x", "e/x"]);
    make(dir.path(), "a/.ltrignore", &"#".repeat((1 << 20) + 1));
    symlink("../a/.ltrignore", dir.path().join("b/.ltrignore")).unwrap();
    fs::write(dir.path().join("c/.ltrignore"), b"x\n\xff\n").unwrap();
    mkfifoat(CWD, dir.path().join("e/.ltrignore"), FsMode::RWXU).unwrap();
    let long = "/a/.ltrignore! is longer than 1048576 bytes, so its rules do not apply";
    let all = seen(dir.path());
    assert_eq!(all[..5], ["/a", "/a/!", "/a/.ltrignore", long, "/a/x"]);
    assert_eq!(all[5..9], ["/b", "/b/.ltrignore", "/b/.ltrignore! is a symlink, so its rules do not apply", "/b/x"]);
    assert_eq!(all[9..11], ["/c", "/c/.ltrignore"]);
    assert!(all[11].starts_with("/c/.ltrignore! line 2 does not apply: invalid utf-8"), "{all:?}");
    assert_eq!(all[12..], ["/d", "/d/.ltrignore", "/d/x", "/e", "/e/.ltrignore fifo", "/e/x"]);
    assert_eq!(seen_from(dir.path(), &["/a/!", "/a/x"]), ["/a/!", long, "/a/x"]);
}

#[test]
fn starts_are_all_there_is() {
    let dir = tree(&["a/b/c", "a/b/d", "a/e", "a.b", "f/g", "h"]);
    for (starts, expected) in [
        (&["/a/b"][..], &["/a/b", "/a/b/c", "/a/b/d"][..]),
        (&["/h", "/a/b/d", "/a/b", "/a/b", "/f/g"], &["/a/b", "/a/b/c", "/a/b/d", "/f/g", "/h"]),
        (&["/a/e", "/a.b"], &["/a/e", "/a.b"]),
        (&["/none", "/a/none", "/a/none/x", "/h/x", "/none/x"], &[]),
        (&["/h", "/", "/a"], &["/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e", "/a.b", "/f", "/f/g", "/h"]),
    ] {
        assert_eq!(seen_from(dir.path(), starts), expected, "{starts:?}");
    }
}

#[test]
fn a_start_is_not_reached_through_a_symlink() {
    let dir = tree(&["a/b/c", "x"]);
    symlink("a", dir.path().join("l")).unwrap();
    symlink("nowhere", dir.path().join("m")).unwrap();
    let got = seen_from(dir.path(), &["/l/b/c", "/l/b/d", "/m", "/x"]);
    assert_eq!(got, ["/l! a symlink is in the way", "/m", "/x"]);
}

#[test]
fn a_root_that_is_none_is_an_error() {
    let dir = tree(&["file"]);
    for name in ["none", "file"] {
        let root = dir.path().join(name);
        let error = walk(&root, &[], &mut NothingTracked, &mut |_| Ok(())).unwrap_err();
        assert!(format!("{error:#}").starts_with(&format!("{}: ", root.display())), "{error:#}");
        let mut output = Vec::new();
        assert!(scan(&root, &[], &mut NothingTracked, &mut output, &mut Collected::default()).is_err());
        assert_eq!(output, b"");
    }
}

/// A zombie's `net` has no network to tell of: it can be opened but not listed, not even by root.
#[test]
fn a_folder_that_cannot_be_listed_comes_with_a_failure() {
    let mut child = Command::new("true").spawn().unwrap();
    let root = format!("/proc/{}", child.id());
    let is_zombie = || fs::read_to_string(format!("{root}/stat")).unwrap().contains(") Z ");
    while !is_zombie() {
        std::thread::yield_now();
    }
    let got = seen_from(Path::new(&root), &["/net", "/stat"]);
    child.wait().unwrap();
    assert_eq!(got, ["/net", "/net! Invalid argument (os error 22)", "/stat"]);
}

/// Permissions bind everyone but root, so root runs this in a child that is nobody.
#[test]
fn what_may_not_be_read_is_a_failure() {
    if !rustix::process::geteuid().is_root() {
        return check_permissions();
    }
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let this = "scan::tests::what_may_not_be_read_is_a_failure";
    let output = Command::new(copy).args(["--exact", this]).current_dir("/").gid(65534).uid(65534).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

fn check_permissions() {
    let dir = tree(&["closed/x", "names/f", "names/g/h", "pass/.ltrignore", "pass/in/x", "z"]);
    let mode = |name: &str, mode| fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    mode("closed", 0o000);
    mode("names", 0o400);
    mode("pass/.ltrignore", 0o000);
    mode("pass", 0o100);
    let all = seen(dir.path());
    let started = seen_from(dir.path(), &["/closed/x", "/names/f", "/pass/in"]);
    for name in ["closed", "names", "pass"] {
        mode(name, 0o700);
    }
    let denied = |path: &str| format!("{path}! Permission denied (os error 13)");
    let expected =
        ["/closed", &denied("/closed"), "/names", &denied("/names/f"), &denied("/names/g"), "/pass", &denied("/pass"), "/z"];
    assert_eq!(all, expected);
    let rules = format!("{}, so its rules do not apply", denied("/pass/.ltrignore"));
    assert_eq!(started, [&denied("/closed/x"), &denied("/names/f"), rules.as_str(), "/pass/in", "/pass/in/x"]);
}

/// Makes `depth` folders named `d`, each in the one before, with a file `e` in each.
fn dig(root: &Path, depth: usize) {
    let flags = rustix::fs::OFlags::DIRECTORY;
    let mut fd = openat(CWD, root, flags, FsMode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&fd, "d", FsMode::RWXU).unwrap();
        fd = openat(&fd, "d", flags, FsMode::empty()).unwrap();
        mkfifoat(&fd, "e", FsMode::RWXU).unwrap();
    }
}

#[test]
fn depth_costs_no_open_files() {
    for depth in [255, 256, 257, 1000, 2100] {
        let dir = tree(&[]);
        dig(dir.path(), depth);
        let all = found(dir.path(), &[], &mut NothingTracked);
        // 2047 of `/d` and an `e` or `d` have 4095 bytes, the next would have 4097
        let named = depth.min(2048);
        let items = all.iter().filter(|f| matches!(f, Found::Item(_))).count();
        let skipped = all.iter().filter(|f| matches!(f, Found::Skipped { why: Why::Fifo, .. })).count();
        let unnamed = all.iter().filter(|f| matches!(f, Found::Unnamed { .. })).count();
        assert_eq!((items, skipped), (named, depth.min(2047)), "{depth}");
        assert_eq!(items + skipped + unnamed, all.len());
        assert_eq!(unnamed, if depth > 2048 { 2 } else { usize::from(depth == 2048) });
    }
}

#[test]
fn a_start_may_be_deep() {
    let dir = tree(&["z"]);
    dig(dir.path(), 700);
    let starts = ["/d".repeat(699) + "/e", "/d".repeat(600) + "/none", "/d/e".into(), "/z".into()];
    let starts: Vec<_> = starts.iter().map(String::as_str).collect();
    assert_eq!(seen_from(dir.path(), &starts), [format!("{} fifo", starts[0]), "/d/e fifo".into(), "/z".into()]);
}

#[test]
fn a_folder_swapped_meanwhile_is_not_concluded_about() {
    let dir = tree(&["z"]);
    dig(dir.path(), 300);
    let away = tree(&[]);
    let mut all = Vec::new();
    walk(dir.path(), &[], &mut NothingTracked, &mut |found| {
        if matches!(&found, Found::Item(item) if item.path.key().len() == 599) {
            fs::rename(dir.path().join("d/d"), away.path().join("d")).unwrap();
            symlink(away.path().join("d"), dir.path().join("d/d")).unwrap();
        }
        all.push(found);
        Ok(())
    })
    .unwrap();
    let all = words(all);
    assert_eq!(all[300..].iter().filter(|w| w.ends_with("fifo")).count(), 257, "{:?}", &all[299..]);
    let lost = all.iter().filter(|w| w.contains("! cannot be opened again: ")).count();
    assert_eq!(lost, 300 - 257);
    assert_eq!(all[all.len() - 2..], ["/d/e fifo", "/z"]);
}

#[test]
fn a_stream_tells_all_of_it() {
    let dir = tree(&["a", "in/.ltr"]);
    mkfifoat(CWD, dir.path().join("p"), FsMode::RWXU).unwrap();
    symlink("a", dir.path().join("l")).unwrap();
    let (mut output, mut report) = (Vec::new(), Collected::default());
    let starts = ["/a", "/in", "/l/x", "/p"].map(path);
    let exit = scan(dir.path(), &starts, &mut NothingTracked, &mut output, &mut report).unwrap();
    assert_eq!(exit, Exit::Part);
    assert_eq!(report.failures, [("/l".to_owned(), "a symlink is in the way".to_owned())]);
    assert_eq!(report.notices, ["/in: is a box of its own, skipped", "/p: is a fifo, skipped"]);
    let mut reader = Reader::new(output.as_slice());
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        lines.push(match line {
            Line::Record { kind, json } if kind == "scan" => serde_json::from_str::<FileRecord>(json).unwrap().path.spelled(),
            Line::Record { json, .. } => json.to_owned(),
            Line::Error(error) => error.error,
        });
    }
    let skipped = [r#"{"type":"skipped","path":"/in","why":"box"}"#, r#"{"type":"skipped","path":"/p","why":"fifo"}"#];
    assert_eq!(lines, ["/a", skipped[0], "a symlink is in the way", skipped[1]]);
}

#[test]
fn an_error_of_the_sink_or_the_index_ends_the_walk() {
    struct Broken;
    impl Tracked for Broken {
        fn at_or_below(&mut self, _path: &SpacePath) -> Result<bool> {
            anyhow::bail!("index")
        }
    }
    let dir = tree(&["a", "b"]);
    let mut count = 0;
    let result = walk(dir.path(), &[], &mut NothingTracked, &mut |_| {
        count += 1;
        anyhow::bail!("sink")
    });
    assert_eq!((result.unwrap_err().to_string().as_str(), count), ("sink", 1));
    make(dir.path(), ".ltrignore", "b");
    assert_eq!(walk(dir.path(), &[], &mut Broken, &mut |_| Ok(())).unwrap_err().to_string(), "index");
}

/// All paths below `folder`, depth first, names sorted as bytes.
fn naive(folder: &Path, raw: &[u8], all: &mut Vec<Vec<u8>>) {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let path = [raw, b"/", name.as_bytes()].concat();
        all.push(path.clone());
        let inner = folder.join(&name);
        if fs::symlink_metadata(&inner).unwrap().is_dir() {
            naive(&inner, &path, all);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_walk_is_a_naive_walk(paths in proptest::collection::vec(proptest::collection::vec("[a-b.é\n-]{1,3}", 1..5), 0..12)) {
        let dir = tree(&[]);
        for (i, parts) in paths.iter().enumerate() {
            let path = dir.path().join(parts.join("/"));
            // a name may be taken by another kind, or be `..`: then this one does not come about
            if i % 3 == 0 { let _ = fs::create_dir_all(&path); continue; }
            let Some(parent) = path.parent() else { continue };
            if fs::create_dir_all(parent).is_ok() {
                let _ = if i % 3 == 1 { fs::write(&path, "") } else { symlink("..", &path) };
            }
        }
        let mut expected = Vec::new();
        naive(dir.path(), b"", &mut expected);
        let all = found(dir.path(), &[], &mut NothingTracked);
        let got: Vec<_> = all.iter().map(|f| if let Found::Item(item) = f { item.path.raw() } else { panic!("{f:?}") }).collect();
        prop_assert_eq!(got, expected);
    }
}

/// Has entries where `.0`, and knows the seals of folders.
struct Sealed(&'static [&'static str], HashMap<SpacePath, Sha1>);

impl Tracked for Sealed {
    fn at_or_below(&mut self, at: &SpacePath) -> Result<bool> {
        Ok(self.0.iter().any(|entry| path(entry).is_within(at)))
    }

    fn seals(&self) -> bool {
        true
    }

    fn is_sealed(&mut self, folder: &SpacePath, seal: &Sha1) -> Result<bool> {
        Ok(self.1.get(folder) == Some(seal))
    }
}

impl Sealed {
    /// What a walk tells when all that could be sealed at the walk before is.
    fn again(&mut self, root: &Path) -> Vec<String> {
        let found = found(root, &[], self);
        self.1 = found
            .iter()
            .filter_map(|found| match found {
                Found::Folder { path, seal, .. } => Some((path.clone(), *seal)),
                _ => None,
            })
            .collect();
        words(found)
    }
}

#[test]
fn of_what_is_sealed_only_the_folders_in_it_are_told() {
    let dir = tree(&["a/b/1", "a/b/2", "a/c/", "a/d/e/1", "l/1", "i/1.o", "i/2", "i/j/1", "t.o/1", "x"]);
    symlink("1", dir.path().join("l/2")).unwrap();
    fs::write(dir.path().join(".ltrignore"), "*.o\n").unwrap();
    let mut sealed = Sealed(&["/t.o/1"], HashMap::new());
    let mut again = || sealed.again(dir.path());
    let first = [
        "/.ltrignore",
        "/a",
        "/a open",
        "/a/b",
        "/a/b open",
        "/a/b/1",
        "/a/b/2",
        "/a/c",
        "/a/d",
        "/a/d open",
        "/a/d/e",
        "/a/d/e open",
        "/a/d/e/1",
        "/i",
        "/i/2",
        "/i/j",
        "/i/j open",
        "/i/j/1",
        "/l",
        "/l/1",
        "/l/2",
        "/t.o",
        "/t.o/1",
        "/x",
    ];
    assert_eq!(again(), first);
    let second = [
        "/.ltrignore",
        "/a",
        "/a sealed",
        "/a/b sealed",
        "/a/d sealed",
        "/a/d/e sealed",
        "/i",
        "/i/2",
        "/i/j",
        "/i/j sealed",
        "/l",
        "/l/1",
        "/l/2",
        "/t.o",
        "/t.o/1",
        "/x",
    ];
    assert_eq!(again(), second);
    assert_eq!(again(), second);
    let opened = |folder: &str, inner: &[&str]| {
        let at = second.iter().position(|word| *word == format!("{folder} sealed")).unwrap();
        let mut words = second.map(str::to_owned).to_vec();
        words[at] = format!("{folder} open");
        words.splice(at + 1..=at, inner.iter().map(ToString::to_string));
        words
    };
    fs::write(dir.path().join("a/b/2"), "longer").unwrap();
    assert_eq!(again(), opened("/a/b", &["/a/b/1", "/a/b/2"]));
    fs::remove_file(dir.path().join("a/b/1")).unwrap();
    assert_eq!(again(), opened("/a/b", &["/a/b/2"]));
    fs::write(dir.path().join("a/d/e/2"), "").unwrap();
    assert_eq!(again(), opened("/a/d/e", &["/a/d/e/1", "/a/d/e/2"]));
    fs::set_permissions(dir.path().join("a/d/e"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(again(), opened("/a/d", &["/a/d/e"]));
    // the same bytes, size and mtime in another file
    let (one, other) = (dir.path().join("i/j/1"), dir.path().join("other"));
    let mtime = fs::metadata(&one).unwrap().modified().unwrap();
    fs::write(&other, "").unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_modified(mtime).unwrap();
    fs::rename(&other, &one).unwrap();
    assert_eq!(again(), opened("/i/j", &["/i/j/1"]));
    // what is ignored now must be told from what is tracked, name by name
    fs::write(dir.path().join(".ltrignore"), "*.o\n2\n").unwrap();
    let told = again();
    assert!(
        told.contains(&"/i".to_owned()) && !told.iter().any(|word| matches!(word.as_str(), "/a/b sealed" | "/a/b/2")),
        "{told:?}"
    );
}
