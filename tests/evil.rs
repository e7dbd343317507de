//! The evil index: each row of the table in `tests/common/evil.rs`, through every command that reads it,
//! here and over ssh. No byte outside of the boxes changes, nothing runs, no byte drives a terminal, and
//! what is refused is named.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "common/evil.rs"]
mod evil;
#[path = "common/far.rs"]
mod far;
#[path = "common/shell.rs"]
mod shell;
#[path = "common/sshd.rs"]
mod sshd;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use evil::{OWN, TABLES, action, entry, paths, refused, scan, taken};
use far::{ALL, Far};
use shell::{Ran, Shell};

const END: &str = "{\"type\":\"end\",\"count\":1,\"errors\":0}\n";
const TEXT: &str = "somebody's only copy";

/// Commands that read an index, in the box `a`. Those with a change in them come last.
const COMMANDS: [&str; 34] = [
    "ltr status",
    "ltr status -a",
    "ltr status --json",
    "ltr ls -R",
    "ltr ls -l -R --space",
    "ltr ls --space --copies \"<2\"",
    "ltr box -l",
    "ltr show",
    "ltr show evil1",
    "ltr show tag:x",
    "ltr show b:/three",
    "ltr stat three nothing file1 passwd0",
    "ltr diff a b",
    "ltr diff a evil1",
    "ltr diff -f three a b",
    "ltr-cat -b evil1 /file1",
    "ltr-cat /passwd0",
    "ltr-index-get",
    "ltr-index-get --changes",
    "ltr-index-list -R",
    "ltr-index-boxes --long",
    "ltr-index-stat three file1",
    "ltr-scan --known",
    "ltr-scan | ltr-compare --all",
    "ltr-reach",
    "ltr-reach -- evil1",
    "ltr-plan",
    "ltr -n pull",
    "ltr -n commit",
    "ltr -n rm -r -- sub",
    "ltr mark --clear -- nothing",
    "ltr pull evil1",
    "ltr pull",
    "ltr commit",
];

fn world() -> Shell {
    let s = Shell::with_files();
    s.write("outside/file", TEXT).write("outside/passwd", "root:").write("a/only", "a's last copy of it");
    s.ltr("a", ["commit"]).ok();
    s
}

/// All that is in nobody's box: nothing of it may change, and nothing be added.
fn around(s: &Shell) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(&s.dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ours =
            ["a", "b", "tmp", "home", "log"].contains(&name.as_str()) || name.starts_with("space") || name.starts_with("evil");
        if !ours {
            all.extend(s.snapshot(&name).into_iter().map(|(file, text)| (format!("{name}/{file}"), text)));
            all.insert(name, String::new());
        }
    }
    all
}

#[track_caller]
fn sane(ran: &Ran, what: &str) {
    assert!(matches!(ran.status, 0 | 1 | 3), "{what}: {} {}{}", ran.status, ran.out, ran.err);
    assert!(ran.status == 0 || !ran.err.is_empty() || !ran.out.is_empty(), "{what}: {} without a word", ran.status);
    assert!(!ran.err.contains("panicked"), "{what}: {}", ran.err);
    assert!(!ran.err.chars().any(|c| c.is_control() && c != '\n'), "{what}: {:?}", ran.err);
}

#[track_caller]
fn refuses(ran: &Ran, what: &str) {
    assert!(matches!(ran.status, 1 | 3), "{what}: {} {}{}", ran.status, ran.out, ran.err);
    assert!(!ran.err.is_empty(), "{what}: refused without a word");
    sane(ran, what);
}

/// The documents of an index, so that a test sees whether one more is in it.
fn documents(s: &Shell, index: &str) -> Vec<String> {
    s.sh(".", &format!("ltr-index-get ./{index}")).lines().iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn the_table_is_long_enough() {
    let rows = refused().len() + TABLES.len() + taken("/x", "0", TEXT).len() + OWN.len() + paths().len() * 8;
    assert!(refused().len() >= 60 && rows >= 200, "{rows} rows");
}

#[test]
fn no_index_takes_what_is_no_document() {
    let s = world();
    let (before, known) = (around(&s), documents(&s, "space"));
    let space = s.sh(".", "ltr-index-get --id none space").lines()[0].to_owned();
    for (name, line) in refused() {
        for (args, first) in [(&["--from-elsewhere"][..], ""), (&["--sync"], space.as_str())] {
            let count = 1 + usize::from(!first.is_empty());
            let first = if first.is_empty() { String::new() } else { format!("{first}\n") };
            let input =
                [first.as_bytes(), &line, format!("\n{{\"type\":\"end\",\"count\":{count},\"errors\":0}}\n").as_bytes()].concat();
            let args = args.iter().copied().chain(["space"]);
            refuses(&s.run(".", "ltr-index-put", args, input), &name);
        }
    }
    assert_eq!(documents(&s, "space")[1..], known[1..]);
    assert_eq!(around(&s), before);
    assert_eq!(s.ltr("a", ["status"]).ok(), "");
}

#[test]
fn no_stage_takes_a_path_that_leaves_the_box() {
    let s = world();
    let before = (around(&s), s.files("a"), s.files("b"));
    let from = |path: &str| format!(r#","from":[{{"box":"b","url":"{}","path":{path}}}]"#, s.at("b").display());
    let own = OWN.iter().map(|path| format!("{path:?}"));
    for (number, path) in paths().into_iter().chain(own).enumerate() {
        let mut lines = vec![
            ("ltr-fetch", action("fetch", &path, &from("\"/three\""))),
            ("ltr-fetch", action("remove", &path, r#","purged":true"#)),
            ("ltr-fetch", action("move", "\"/new\"", &format!(r#","source":{path}"#))),
            ("ltr-fetch", action("copy", "\"/new\"", &format!(r#","source":{path}"#))),
        ];
        if number < paths().len() {
            lines.extend([
                ("ltr-index-put", entry(&path)),
                ("ltr-compare", scan(&path)),
                ("ltr-hash", scan(&path)),
                ("ltr-record", scan(&path)),
                ("ltr-fetch", action("conflict", "\"/three\"", &format!(r#","keep":{path}"#))),
                ("ltr-fetch", action("fetch", "\"/new\"", &from(&path))),
            ]);
        }
        for (program, line) in lines {
            refuses(&s.run("a", program, [""; 0], format!("{line}\n{END}")), &format!("{program} {line:.300}"));
        }
    }
    assert_eq!((around(&s), s.files("a"), s.files("b")), before);
    for path in OWN {
        s.ltr("a", ["rm", "-r", path]).fails(3, "");
    }
}

/// An index with everything in it that a stranger's may have, merged into the one of `a`.
fn with_lies() -> Shell {
    let s = world();
    let outside = s.at("outside").display().to_string();
    let rows = taken(&outside, &litter::hash::sha1_of(TEXT.as_bytes()).to_string(), TEXT);
    let input = format!("{}\n{{\"type\":\"end\",\"count\":{},\"errors\":0}}\n", rows.join("\n"), rows.len());
    s.sh(".", "ltr-index-init ./evil && ltr-index-sync --one-way ./space ./evil");
    s.run(".", "ltr-index-put", ["--from-elsewhere", "evil"], input).ok();
    s.sh(".", "ltr-index-sync --one-way ./evil ./space").ok();
    s
}

/// What must be so after whatever was run.
#[track_caller]
fn unharmed(s: &Shell, before: &BTreeMap<String, String>, what: &str) {
    assert_eq!(&around(s), before, "{what}");
    let has = |file: &str, text: &str| fs::read_to_string(s.at(file)).is_ok_and(|found| found == text);
    // marked to go by a stranger, it goes only where another box was seen to have it
    let only = "a's last copy of it";
    assert!(has("a/only", only) || has("b/only", only), "{what}: the last copy of /only");
    assert!(has("b/three", "three"), "{what}: /three");
    let links = s.sh(".", "find . -name 'pwned*' -o -type l -lname '*outside*' ! -path './a/way' ! -path './b/way'");
    assert_eq!(links.ok(), "", "{what}");
}

#[test]
fn an_index_that_lies_moves_nothing_outside() {
    let s = with_lies();
    let before = around(&s);
    let mut failed = 0;
    for command in
        COMMANDS.iter().chain(&["ltr pull", "ltr -C ../b pull", "ltr -C ../b commit", "ltr pull ../b", "ltr sync ../b"])
    {
        let ran = s.sh("a", command);
        sane(&ran, command);
        failed += usize::from(ran.status != 0);
        unharmed(&s, &before, command);
    }
    assert!(failed >= 5, "{failed} commands had something to say");
    for file in ["a/way/file", "a/way/new"] {
        assert!(!s.exists(file) || !fs::symlink_metadata(s.at("a/way")).unwrap().is_symlink() || s.read("outside/file") == TEXT);
    }
    // not even content that is what the index says is taken from a folder that is no box
    for number in 0..19 {
        assert!(!s.exists(format!("a/file{number}")) && !s.exists(format!("a/passwd{number}")), "{number}");
    }
}

#[test]
fn no_word_of_an_index_drives_a_terminal() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        eprintln!("no script(1): terminals are not tested");
        return;
    }
    let s = with_lies();
    for command in COMMANDS {
        let command = command.replace('"', "\\\"");
        let ran = s.sh("a", &format!("NO_COLOR=1 script -qec \"{command}\" /dev/null"));
        // with which a progress line is wiped out
        let out = String::from_utf8_lossy(&ran.raw).replace("\u{1b}[2K", "");
        let bad = out.chars().find(|c| (c.is_control() && !"\r\n\t".contains(*c)) || *c == '\u{202e}');
        assert_eq!(bad, None, "{command}: {out:?}");
        assert!(!out.contains("\nD  fake"), "{command}: {out:?}");
    }
}

/// Tables of an index that a disk brought, as the index of its box and as another's.
#[test]
fn tables_that_lie_are_damage() {
    for (name, sql) in TABLES {
        let s = world();
        let before = around(&s);
        fs::copy(s.at("space"), s.at("evil")).unwrap();
        let raw = rusqlite::Connection::open(s.at("evil")).unwrap();
        assert!(raw.execute(sql, []).unwrap() >= 1, "{name}");
        drop(raw);
        for command in ["ltr-index-sync ./evil ./space", "ltr-index-get ./evil", "ltr-index-get --changes ./evil"] {
            let ran = s.sh(".", command);
            sane(&ran, &format!("{name}: {command}"));
        }
        assert_eq!(s.ltr("a", ["status"]).ok(), "", "{name}");
        // the box is told that this is its index
        fs::write(s.at("a/.ltr"), format!("{}/a\n", s.at("evil").display())).unwrap();
        for command in ["ltr status", "ltr ls -R --space", "ltr box -l", "ltr -n pull", "ltr sync ../b", "ltr pull", "ltr commit"]
        {
            sane(&s.sh("a", command), &format!("{name}: {command}"));
            unharmed(&s, &before, &format!("{name}: {command}"));
        }
    }
}

/// What system calls were asked for: every file that was written, every program that was run.
#[test]
fn an_audit_of_system_calls_finds_nothing_outside() {
    if std::process::Command::new("strace").arg("--version").output().is_err() {
        eprintln!("no strace(1): system calls are not looked at");
        return;
    }
    let s = with_lies();
    for command in ["ltr status", "ltr -n pull", "ltr pull", "ltr pull evil1", "ltr commit", "ltr sync ../b", "ltr box -l"] {
        let log = s.at("log");
        let _ = fs::remove_file(&log);
        let ran =
            s.sh("a", &format!("strace -f -qq -y -s 4096 -e signal=none -e trace=%file,fchmod,ftruncate -o ../log -- {command}"));
        assert!(matches!(ran.status, 0 | 1 | 3), "{command}: {} {}", ran.status, ran.err);
        let calls = fs::read_to_string(&log).unwrap();
        assert!(calls.lines().count() > 100, "{command}: {calls}");
        assert!(!command.contains("pull") || calls.contains("/outside"), "{command} has not looked where it was led");
        for call in calls.lines() {
            audit(&s, command, call);
        }
    }
}

#[test]
fn the_audit_finds_what_it_looks_for() {
    let s = Shell::new();
    let at = |name: &str| s.at(name).display().to_string();
    let found = |call: &str| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| audit(&s, "test", call))).is_err();
    for (call, bad) in [
        (format!("1 openat(AT_FDCWD<{}>, \"../outside/file\", O_RDONLY) = 3", at("a")), true),
        (format!("1 openat(3<{}>, \"new\", O_WRONLY|O_CREAT, 0600) = 4", at("outside")), true),
        (format!("1 renameat2(3<{}>, \"x\", 4<{}>, \"y\", RENAME_NOREPLACE) = 0", at("a"), at("outside")), true),
        (format!("1 unlink(\"{}\") = 0", at("a/../elsewhere")), true),
        ("1 execve(\"/usr/bin/touch\", [\"touch\", \"x\"], 0x7 /* 9 vars */) = 0".to_owned(), true),
        ("1 execve(\"/home/me/x\", [\"x\"], 0x7 /* 9 vars */) = 0".to_owned(), true),
        (
            format!("1 openat(AT_FDCWD<{}>, \"../outside/.ltr\", O_RDONLY) = -1 ENOENT (No such file or directory)", at("a")),
            false,
        ),
        (format!("1 renameat2(3<{}>, \"x\", 4<{}>, \"y\", RENAME_NOREPLACE) = 0", at("a"), at("b/sub")), false),
    ] {
        assert_eq!(found(&call), bad, "{call}");
    }
}

fn audit(s: &Shell, command: &str, call: &str) {
    let Some((_, call)) = call.split_once(' ') else { return };
    let Some((name, rest)) = call.trim_start().split_once('(') else { return };
    if call.contains(" = -1 ") && name != "execve" {
        return;
    }
    let files = named(rest, &s.at("a"));
    if name == "execve" {
        let program = files.first().cloned().unwrap_or_default();
        let ours = [env!("CARGO_MANIFEST_DIR"), "/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];
        let word = program.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(ours.iter().any(|folder| program.starts_with(folder)) && word != "touch", "{command}: {call}");
        return;
    }
    let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| rest.contains(flag))
        || ["mkdir", "unlink", "rename", "link", "symlink", "chmod", "chown", "utime", "truncate", "mknod", "rmdir", "setxattr"]
            .iter()
            .any(|word| name.contains(word) && !name.contains("readlink"));
    let inside = ["a", "b", "tmp", "home"].map(|name| s.at(name));
    let index =
        |file: &Path| ["space", "evil"].iter().any(|name| file.to_str().unwrap().starts_with(s.at(name).to_str().unwrap()));
    for file in files {
        if writes {
            let allowed = inside.iter().any(|folder| file.starts_with(folder))
                || index(&file)
                || (!file.starts_with(s.at("")) && SYSTEM.iter().any(|folder| file.starts_with(folder)))
                || file.to_str().unwrap().starts_with("/tmp/ltr.");
            assert!(allowed, "{command} writes {}: {call}", file.display());
        } else if file.starts_with(s.at("outside")) && (name.starts_with("open") || name.contains("readlink")) {
            // to see that it is no box, and nothing else
            let looked = rest.contains("O_PATH") || file == s.at("outside/.ltr");
            assert!(looked, "{command} reads {}: {call}", file.display());
        }
    }
}

/// Where anybody may write, unless that is where the test is.
const SYSTEM: [&str; 3] = ["/dev", "/proc/self", "/proc/thread-self"];

/// The files that the arguments of a system call name, a relative name with the folder before it.
fn named(rest: &str, cwd: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folder = cwd.to_path_buf();
    let mut quoted = rest.split('"');
    while let Some(before) = quoted.next() {
        if let Some((_, inside)) = before.rsplit_once('<')
            && let Some((path, _)) = inside.split_once('>')
            && path.starts_with('/')
        {
            folder = PathBuf::from(path);
        }
        let Some(text) = quoted.next() else { break };
        let mut file = PathBuf::new();
        for part in folder.join(text).components() {
            match part {
                Component::ParentDir => drop(file.pop()),
                Component::CurDir => {}
                other => file.push(other),
            }
        }
        files.push(file);
        if rest.starts_with('"') && files.len() == 1 && rest.contains("[\"") {
            // execve: the words after it are no files
            break;
        }
    }
    files
}

/// A program that runs with its owner's rights would run with those of whoever pulls it, maybe root.
#[test]
fn no_box_lends_the_rights_of_who_pulls() {
    use std::os::unix::fs::PermissionsExt;
    let s = world();
    let mode = |name: &str| fs::metadata(s.at(name)).unwrap().permissions().mode() & 0o7777;
    let set = |name: &str, mode| fs::set_permissions(s.at(name), fs::Permissions::from_mode(mode)).unwrap();
    s.write("a/prog", "#!/bin/sh\n").write("a/team/x", "x");
    set("a/prog", 0o6755);
    set("a/team", 0o2775);
    s.ltr("a", ["commit"]).ok();
    s.ltr("b", ["pull"]).ok();
    assert_eq!((mode("b/prog"), mode("b/team")), (0o755, 0o775));
    // and what they are here is not looked at, nor taken away
    set("b/team", 0o2775);
    for name in ["a", "b"] {
        assert_eq!(s.ltr(name, ["status"]).ok(), "");
    }
    set("a/team", 0o2755);
    set("a/prog", 0o6700);
    s.ltr("a", ["commit"]).ok();
    s.ltr("b", ["pull"]).ok();
    assert_eq!((mode("b/prog"), mode("b/team")), (0o700, 0o2755));
    assert_eq!((mode("a/prog"), mode("a/team")), (0o6700, 0o2755));
    // an index that says so is not believed
    let liar = s.at("b").display().to_string();
    let said = action("touch", "\"/prog\"", "").replace("0644", "6777").replace("\"size\":20", "\"size\":10");
    let sha1 = litter::hash::sha1_of(b"#!/bin/sh\n").to_string();
    let said = said.replace(&litter::hash::sha1_of(TEXT.as_bytes()).to_string(), &sha1).replace("\"box\":\"a\"", "\"box\":\"b\"");
    s.run("b", "ltr-fetch", ["--root", liar.as_str()], format!("{said}\n{END}"));
    assert_eq!(mode("b/prog") & 0o6000, 0);
}

/// A folder of the box that becomes a symlink out of it, and a folder again, all the time.
#[test]
fn a_parent_that_is_swapped_in_between_leads_nowhere() {
    let s = world();
    s.write("outside/one", "theirs").write("outside/deep/two", "theirs").write("outside/new", "theirs");
    let before = around(&s);
    symlink("../outside", s.at("a/link")).unwrap();
    let (sub, link) = (s.at("a/sub"), s.at("a/link"));
    let done = AtomicBool::new(false);
    /// So that the other thread ends, whatever becomes of this one.
    struct Ended<'a>(&'a AtomicBool);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _ended = Ended(&done);
        scope.spawn(|| {
            let mut swaps = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                swaps += u64::from(rustix::fs::renameat_with(rustix::fs::CWD, &sub, rustix::fs::CWD, &link, flags).is_ok());
                std::thread::sleep(std::time::Duration::from_micros(swaps % 700));
            }
            assert!(swaps > 20, "{swaps} swaps");
        });
        for round in 0..6 {
            s.write("b/sub/one", &format!("edit {round}")).write("b/sub/new", &format!("new {round}"));
            s.write(format!("b/sub/deep/{round}"), &format!("round {round}"));
            sane(&s.ltr("b", ["commit"]), "commit");
            for args in [vec!["pull", "../b"], vec!["commit"], vec!["rm", "--", "sub/deep/two"], vec!["pull"]] {
                let ran = s.ltr("a", &args);
                assert!(!ran.err.contains("panicked"), "{}", ran.err);
                assert_eq!(around(&s), before, "{args:?}");
            }
        }
    });
}

#[test]
fn an_index_on_another_machine_that_lies_moves_nothing_here() {
    let Some(far) = Far::new(ALL) else { return };
    far.commit(&[(b"three", "three"), (b"sub/one", "one")]);
    far.ltr("here", &["pull", "there"]).well();
    fs::create_dir(far.at("outside")).unwrap();
    fs::write(far.at("outside/file"), TEXT).unwrap();
    let outside = far.at("outside").display().to_string();
    let rows = taken(&outside, &litter::hash::sha1_of(TEXT.as_bytes()).to_string(), TEXT);
    let rows: Vec<String> =
        rows.iter().map(|row| row.replace("\"b:/", "\"there:/").replace("\"box\":\"b\"", "\"box\":\"there\"")).collect();
    fs::write(far.at("rows"), format!("{}\n{{\"type\":\"end\",\"count\":{},\"errors\":0}}\n", rows.join("\n"), rows.len()))
        .unwrap();
    far.shell("ltr-index-put --from-elsewhere ./i-there/s <rows && rm rows").well();
    // and tables that no ltr has written
    let raw = rusqlite::Connection::open(far.at("i-there/s")).unwrap();
    for (name, sql) in [
        ("box", "INSERT INTO boxes (name) VALUES ('-oProxyCommand=touch pwned')"),
        ("folder", "INSERT INTO folders (key) VALUES (CAST('..' AS BLOB))"),
        ("entry", "INSERT INTO entries SELECT (SELECT id FROM folders WHERE key = CAST('..' AS BLOB)), name, box, ftype, present, purged, size,
          mtime, mtime_nsec, mode, sha1, commits, version, stamp, seq + 1000, ino, ctime, ctime_nsec, dev, racy, mime, target, moved, extra
          FROM entries WHERE name = CAST('three' AS BLOB)"),
        ("stamp", "UPDATE entries SET stamp = x'ffffffffffffffffffffffff' WHERE name = CAST('nothing' AS BLOB)"),
        ("seq", "UPDATE meta SET value = value + 2000 WHERE key = 'seq'"),
    ] {
        assert!(raw.execute(sql, []).unwrap() >= 1, "{name}");
    }
    drop(raw);
    let look = || {
        let names: Vec<_> = fs::read_dir(far.at(".")).unwrap().map(|e| e.unwrap().file_name()).collect();
        (names.len(), fs::read_to_string(far.at("outside/file")).unwrap(), fs::read_dir(far.at("outside")).unwrap().count())
    };
    let before = look();
    let mut failed = Vec::new();
    for command in [
        "ltr sync there",
        "ltr -n pull there",
        "ltr pull there",
        "ltr status",
        "ltr pull",
        "ltr-index-get \"$url/../i-there/s\"",
        "ltr-cat -b there /three",
        "ltr-cat -b evil1 /file1",
        "ltr commit",
        "ltr sync there",
    ] {
        let said = far.shell(&format!("cd here && url='{}' && {command}", far.url().replace('\'', "'\\''")));
        let code = said.code.unwrap();
        assert!(matches!(code, 0 | 1 | 3) && !said.err.contains("panicked"), "{command}: {code} {}", said.err);
        assert!(code == 0 || !said.err.is_empty(), "{command}: {code} {}", said.out);
        assert!(!said.err.chars().any(|c| c.is_control() && c != '\n'), "{command}: {:?}", said.err);
        assert_eq!(look(), before, "{command}");
        failed.push(code);
    }
    assert!(failed.iter().filter(|code| **code != 0).count() >= 3, "{failed:?}");
    let said = far.shell("find . -name 'pwned*' -o -name 'file[0-9]*' -o -name 'passwd[0-9]*'");
    assert_eq!(said.well().out, "");
    // what was refused is told once, and not read again
    far.shell("cd here && ltr sync there").well();
}
