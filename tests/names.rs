//! Any name that a file can have, through every command.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use shell::Shell;

const NAMES: [&[u8]; 16] = [
    b"-n",
    b"--help",
    b"$(touch pwned)",
    b"`touch pwned`",
    b"; touch pwned",
    b"two\nlines",
    b"x\nD  fake",
    b"\x1b]0;title\x07\x1b[31m",
    b"\xff\xfe",
    b"back\\slash \\x41",
    b"it's \"quoted\"",
    b" leading and trailing ",
    b"*?[a]{b,c}~",
    b"#%&|<>",
    b"\x7f\x01\t\r",
    "ünïcode\u{202e}gpj".as_bytes(),
];

fn world() -> Shell {
    let s = Shell::with_boxes();
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        fs::write(s.at("a").join(name), name.as_bytes()).unwrap();
        fs::create_dir(s.at("a/d")).unwrap_or_default();
        let folder = s.at("a/d").join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(name), b"below").unwrap();
    }
    s
}

#[test]
fn every_command_takes_every_name() {
    let s = world();
    let new = s.ltr("a", ["status", "-0"]);
    assert_eq!(new.raw.iter().filter(|&&b| b == 0).count(), 3 * NAMES.len() + 1);
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        let args = |words: &[&str]| {
            words.iter().map(OsStr::new).chain([OsStr::new("--"), name]).map(OsStr::to_owned).collect::<Vec<_>>()
        };
        assert!(!s.ltr("a", args(&["-n", "commit"])).ok().is_empty());
        assert!(!s.ltr("a", args(&["commit"])).ok().is_empty());
        assert_eq!(s.ltr("a", args(&["status"])).ok(), "");
        let listed = s.ltr("a", args(&["ls", "-0"]));
        listed.ok();
        assert_eq!(listed.raw, [name.as_bytes(), b"\0"].concat());
        assert!(s.ltr("a", args(&["stat"])).ok().contains("size: "));
        assert_eq!(s.ltr("a", args(&["stat", "--json"])).json().len(), 2);
        assert_eq!(s.ltr("a", args(&["mark", "-b", "b", "--skip"])).status, 0);
        assert_eq!(s.ltr("a", args(&["mark", "-b", "b", "--clear"])).status, 0);
    }
    s.ltr("a", ["commit"]).ok();
    let dry = s.ltr("b", ["-n", "pull"]);
    let wet = s.ltr("b", ["pull"]);
    assert_eq!((dry.ok(), dry.sorted()), (dry.out.as_str(), wet.sorted()));
    wet.ok();
    assert_eq!(s.files("a"), s.files("b"));
    assert_eq!(s.ltr("b", [""; 0]).ok(), "");
    s.ltr(".", ["clone", "--", "a", "-c", "c"]).ok();
    assert_eq!(s.files("a"), s.files("-c"));
    for name in NAMES {
        let name = OsStr::from_bytes(name);
        let args = |words: &[&str]| {
            words.iter().map(OsStr::new).chain([OsStr::new("--"), name]).map(OsStr::to_owned).collect::<Vec<_>>()
        };
        assert!(!s.ltr("b", args(&["rm"])).ok().is_empty());
        assert!(!s.ltr("b/d", args(&["rm", "-r"])).ok().is_empty());
    }
    s.ltr("b", ["pull"]).fails(3, "32 of 32 files");
    s.ltr("b", ["pull", "--gone-ok"]).ok();
    s.ltr("a", ["pull", "--gone-ok"]).ok();
    assert_eq!(s.files("a").len(), 1, "{:?}", s.files("a"));
    assert!(s.sh(".", "find . -name pwned").ok().is_empty());
}

#[test]
fn no_name_drives_a_terminal() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        eprintln!("no script(1): terminals are not tested");
        return;
    }
    let s = world();
    let harmless = |command: &str| {
        let ran = s.sh("a", &format!("script -qec '{command}' /dev/null"));
        let bad = ran.raw.iter().find(|b| (**b < 32 && !b"\r\n\t".contains(b)) || **b == 127);
        assert_eq!(bad, None, "{command}: {:?}", ran.out);
        assert!(!ran.out.contains("\nD  fake") && !ran.out.contains('\u{202e}'), "{command}: {:?}", ran.out);
        ran.out
    };
    for command in [
        "ltr status",
        "ltr commit",
        "ltr ls",
        "ltr ls -l",
        "ltr ls -R",
        "ltr ls --space",
        "ltr -C ../b -n pull",
        "ltr -C ../b pull",
        "ltr stat *",
        "ltr diff a b",
        "ltr box -l",
        "ltr mark --skip -- *",
        "ltr status",
        "ltr -n rm -r -- *",
        "ltr rm -r -- *",
        "ltr stat /nowhere*",
        "ltr ls \"$(printf \"x\\033[31m\")\"",
    ] {
        harmless(&format!("NO_COLOR=1 {command}"));
    }
}

#[test]
fn a_file_in_the_way_of_a_folder_and_the_reverse() {
    let s = Shell::with_files();
    // not committed, in the way of what comes
    s.write("a/x/y", "from a").write("a/z", "from a");
    s.ltr("a", ["commit"]).ok();
    s.write("b/x", "mine, a file").write("b/z/w", "mine, in a folder");
    for _ in 0..3 {
        s.ltr("b", ["pull"]);
        s.ltr("b", ["commit"]);
        s.ltr("a", ["pull"]);
    }
    let contents = |name: &str| s.sh(name, "find . -type f ! -path './.ltr*' -exec cat {} + | tr -d '\\n'").out;
    for name in ["a", "b"] {
        for text in ["mine, a file", "mine, in a folder", "from a"] {
            assert!(contents(name).contains(text), "{name} has lost {text:?}: {:?}", s.files(name));
        }
    }
    assert_eq!(s.files("a"), s.files("b"));
}
