//! Bad days with another machine: login shells that are not sh or that talk, programs of another age, host
//! keys, clocks, sources that may not be read or that lie.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use far::{ALL, Far, Kit, each};

const KITS: [Kit; 4] = [
    ALL,
    Kit { tar: false, ..ALL },
    Kit { tar: false, rsync: false, ..ALL },
    Kit { tar: false, rsync: false, sftp: false, ..ALL },
];
const NAMES: [&[u8]; 16] = [
    b"a b",
    b"it's",
    b"q\"q",
    b"new\nline",
    b"$(touch oops)",
    b"`touch oops`",
    b"(touch oops)",
    b"$HOME",
    b"*",
    b"b\\c",
    b"b\\\\c",
    b"'\\''",
    b"-x",
    b"{a,b}",
    b"\xff\xfe",
    b"~",
];

/// What comes over ssh is run by this in place of a login shell.
fn behind(kit: Kit, shell: &str) -> Option<Far> {
    let sftp = if kit.sftp { "Subsystem sftp /usr/lib/openssh/sftp-server\n" } else { "" };
    Far::with(Kit { sftp: false, ..kit }, |_| format!("{sftp}ForceCommand {shell}\n"))
}

fn odd(far: &Far, root: &str) {
    for (n, name) in NAMES.iter().enumerate() {
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
        fs::write(far.at(root).join(name), format!("text {n}")).unwrap();
    }
    for n in 0..70 {
        fs::write(far.at(root).join(format!("{n:03}")), format!("small {n}")).unwrap();
    }
    fs::write(far.at(root).join("large"), "large ".repeat(300_000)).unwrap();
    far.ltr(root, &["commit"]).well();
}

#[test]
fn a_login_shell_that_is_fish_or_zsh_takes_each_word_as_it_is() {
    let shells = ["fish", "zsh"].map(|shell| (shell, format!("/usr/bin/{shell} -c \"$SSH_ORIGINAL_COMMAND\"")));
    let cases: Vec<_> = shells.iter().flat_map(|(shell, command)| KITS.map(|kit| (kit, *shell, command.as_str()))).collect();
    each(&cases, |(kit, shell, command)| {
        assert!(Path::new("/usr/bin").join(shell).exists(), "{shell} is not installed: tests/prepare.sh");
        let Some(far) = behind(*kit, command) else { return };
        odd(&far, "there");
        far.ltr("here", &["pull", "there"]).well();
        assert!(far.tree("here") == far.tree("there"), "{shell}");
        fs::write(far.at("here/it's \\ new"), "from here").unwrap();
        far.ltr("here", &["commit"]).well();
        if kit.sftp && kit.tar {
            far.ltr("here", &["push", "there"]).well();
            assert!(far.tree("here") == far.tree("there"), "{shell}");
        }
        for folder in ["", "here", "there", "i-there"] {
            assert!(!far.at(folder).join("oops").exists());
        }
    });
}

#[test]
fn a_shell_that_prints_a_banner_is_named_and_spoils_nothing() {
    let Some(far) = behind(ALL, "echo Welcome to maytag!; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"") else { return };
    odd(&far, "there");
    let hint = "does the login shell there print something?";
    far.ltr("here", &["pull", "there"]).failed(3, hint);
    far.ltr("here", &["sync", "there"]).failed(3, hint);
    far.ltr("here", &["push", "there"]).failed(3, hint);
    let said = far.ltr("here", &["ping"]);
    assert!(said.out.contains(hint), "{}{}", said.out, said.err);
    assert_eq!(far.tree("here"), []);
    // on stderr it does no harm
    let Some(far) = behind(ALL, "echo Welcome to maytag! >&2; exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"") else { return };
    odd(&far, "there");
    far.ltr("here", &["pull", "there"]).well();
    assert!(far.tree("here") == far.tree("there"));
}

#[test]
fn an_rsync_of_another_age_here_or_there_is_done_without() {
    let refuses = "echo 'rsync: unrecognized option' >&2; exit 1";
    let open = "case $1 in --version) echo 'openrsync: protocol version 29, rsync version 2.6.9 compatible';; \
                *) echo 'openrsync: unknown option' >&2; exit 1;; esac";
    let cases = [("there", refuses), ("there", open), ("here", refuses), ("here", open)];
    each(&cases, |(side, script)| {
        let Some(mut far) = Far::new(Kit { tar: false, ..ALL }) else { return };
        for n in 0..3 {
            fs::write(far.at("there").join(format!("{n}")), format!("text {n}")).unwrap();
        }
        far.ltr("there", &["commit"]).well();
        if *side == "there" {
            far.wrap("rsync", script);
        } else {
            let own = far.dir.path().join("own");
            fs::create_dir(&own).unwrap();
            fs::write(own.join("rsync"), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(own.join("rsync"), fs::Permissions::from_mode(0o755)).unwrap();
            let built = Path::new(env!("CARGO_BIN_EXE_ltr-fetch")).parent().unwrap();
            far.env.push(("PATH", format!("{}:{}:/usr/bin:/bin", own.display(), built.display())));
        }
        let said = far.ltr("here", &["pull", "there"]);
        assert_eq!(said.code, Some(0), "{side} {script}: {}", said.err);
        assert!(far.tree("here") == far.tree("there") && said.out.contains("scp sftp://"), "{side} {script}: {}", said.out);
    });
}

#[test]
fn a_host_key_that_changed_is_told_in_the_words_of_ssh() {
    let Some(far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha")]);
    far.ltr("here", &["sync", "there"]).well();
    let known = far.sshd.config().with_file_name("known");
    let user = fs::read_to_string(far.sshd.config().with_file_name("user.pub")).unwrap();
    // somebody else's key in its place
    let key = user.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let line = fs::read_to_string(&known).unwrap();
    let host = line.split(' ').next().unwrap();
    fs::write(&known, format!("{host} {key}\n")).unwrap();
    let words = "REMOTE HOST IDENTIFICATION HAS CHANGED";
    far.ltr("here", &["pull", &far.url()]).failed(3, words);
    far.ltr("here", &["pull", "there"]).failed(3, words);
    far.ltr("here", &["push", "there"]).failed(3, words);
    far.ltr("here", &["pull"]).failed(1, words);
    assert_eq!(far.tree("here"), []);
    fs::remove_file(&known).unwrap();
    far.completes("with the right key");
}

#[test]
fn what_may_not_be_read_there_is_named_and_the_rest_comes() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // everything over there is done by nobody
    let nobody = "/usr/bin/setpriv --reuid=65534 --regid=65534 --clear-groups /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"";
    each(&KITS, |kit| {
        let Some(far) = behind(*kit, nobody) else { return };
        odd(&far, "there");
        fs::set_permissions(far.at("there/005"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(far.at("there/large"), fs::Permissions::from_mode(0o600)).unwrap();
        far.shell("chmod 755 ..; chmod a+rX . there; chmod -R a+rwX i-there").well();
        let said = far.ltr("here", &["pull", "there"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        for name in ["005", "large"] {
            assert!(said.err.contains(&format!("/{name}: could not be had from there")), "{name}: {}", said.err);
        }
        far.is_whole("what nobody may read");
        assert_eq!(far.tree("here").len(), far.tree("there").len() - 2, "{}", said.err);
        far.shell("chmod a+r there/005 there/large").well();
        far.ltr("here", &["pull", "there"]).well();
        assert!(far.tree("here") == far.tree("there"));
    });
}

#[test]
fn of_two_sources_at_once_the_one_that_does_not_lie_delivers() {
    each(&KITS, |kit| {
        let Some(far) = Far::new(*kit) else { return };
        odd(&far, "there");
        far.third();
        let expected = far.tree("third");
        for n in 0..60 {
            let file = far.at("there").join(format!("{n:03}"));
            match n % 6 {
                0 => fs::write(&file, format!("small {n:<3}").replace("small", "SMALL")).unwrap(),
                1 => fs::write(&file, "").unwrap(),
                2 => fs::write(&file, "longer than it was ".repeat(9000)).unwrap(),
                kind => {
                    fs::remove_file(&file).unwrap();
                    match kind {
                        3 => fs::create_dir(&file).unwrap(),
                        4 => {
                            let mode = rustix::fs::Mode::from_raw_mode(0o600);
                            rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
                        }
                        _ => {}
                    }
                }
            }
        }
        let mut large = fs::read(far.at("there/large")).unwrap();
        large[1_000_000] = b'X';
        fs::write(far.at("there/large"), large).unwrap();
        let said = far.ltr("here", &["pull", "-j", "2"]);
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(far.tree("here") == expected && !far.at("here/.ltr-tmp").exists(), "{}", said.err);
    });
}

/// No disk here has room for it.
#[test]
fn what_does_not_fit_is_refused_before_a_byte_is_written() {
    let Some(far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha"), (b"vast", "as large as it says")]);
    let fake = "ltr-index-get --id there:/vast ./i-there/s | sed -e 's/\"size\":19,/\"size\":329853488332800,/' \
                | ltr-index-put --from-elsewhere ./i-here/s";
    far.shell(fake).well();
    let said = far.shell("ltr-index-get --id there:/vast ./i-here/s").well();
    assert!(said.out.contains("329853488332800"), "{}", said.out);
    let said = far.ltr("here", &["pull", "there"]).failed(3, "/here: needs 329853488332805 bytes");
    assert!(far.tree("here").is_empty() && !far.at("here/.ltr-tmp").exists(), "{}", said.err);
}

#[test]
fn a_clock_that_is_two_days_off_decides_nothing_but_names() {
    each(&["+2d", "-2d"], |off| {
        let Some(far) = Far::new(ALL) else { return };
        let ltr = concat!(env!("CARGO_MANIFEST_DIR"), "/porcelain/ltr");
        let there = |command: &str| far.shell(&format!("cd there && faketime -f {off} {ltr} {command}"));
        for name in ["a", "b", "c"] {
            fs::write(far.at("there").join(name), format!("first of {name}")).unwrap();
        }
        there("commit").well();
        far.completes(off);
        // edits in turn, each of which is newer than the one before whatever the clocks say
        for round in 0..3 {
            fs::write(far.at("here/a"), format!("here, {round}")).unwrap();
            far.ltr("here", &["commit"]).well();
            far.ltr("here", &["push", "there"]).well();
            assert_eq!(fs::read_to_string(far.at("there/a")).unwrap(), format!("here, {round}"), "{off}");
            fs::write(far.at("there/a"), format!("there, {round}")).unwrap();
            there("commit").well();
            far.completes(off);
            assert_eq!(fs::read_to_string(far.at("here/a")).unwrap(), format!("there, {round}"), "{off}");
        }
        assert_eq!(far.tree("here").len(), 3, "{off}: no conflict");
        // both at once: both survive
        fs::write(far.at("here/b"), "edited here").unwrap();
        fs::write(far.at("there/b"), "edited there").unwrap();
        far.ltr("here", &["commit"]).well();
        there("commit").well();
        far.ltr("here", &["pull", "there"]).well();
        far.ltr("here", &["push", "there"]).well();
        let trees = [far.tree("here"), far.tree("there")];
        for text in ["edited here", "edited there"] {
            assert!(trees.iter().all(|tree| tree.iter().any(|(_, bytes)| bytes == text.as_bytes())), "{off}: {text}");
        }
        assert_eq!(trees[0], trees[1], "{off}");
    });
}
