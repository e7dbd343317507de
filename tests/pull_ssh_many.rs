//! Many files at once, from one machine or several: what brings them, and what becomes of those that are
//! not what they were at their last commit.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use far::{ALL, Far, Kit, Said};

const NAMES: [&[u8]; 12] = [
    b"it's",
    b"q\"q",
    b"new\nline",
    b"$(touch oops)",
    b"*",
    b"b\\c",
    b"-x",
    b"--checkpoint-action=exec=touch oops",
    b"-C",
    b"\xff\xfe",
    b"\t\x1b[31m\r",
    b"d/ {a,b}",
];

/// A hundred files there, some of whose names are odd, and some alike.
fn many(kit: Kit) -> Option<Far> {
    let far = Far::new(kit)?;
    let long = [b"n".repeat(200), b"m".repeat(200)].join(&b'/');
    let mut files: Vec<(Vec<u8>, String)> =
        (0..100).map(|n| (format!("e/{n:03}").into_bytes(), format!("text {}", n / 2))).collect();
    files.extend(NAMES.iter().enumerate().map(|(n, name)| (name.to_vec(), format!("odd {n}"))));
    files.push((long, "long".repeat(5000)));
    files.push((b"empty".to_vec(), String::new()));
    far.commit(&files.iter().map(|(name, text)| (name.as_slice(), text.as_str())).collect::<Vec<_>>());
    Some(far)
}

fn lines(said: &Said, command: &str) -> usize {
    said.out.lines().filter(|line| line.starts_with(command)).count()
}

#[test]
fn many_files_come_through_one_tar_whatever_their_names() {
    let Some(far) = many(ALL) else { return };
    let said = far.ltr("here", &["pull", "there"]).well();
    assert_eq!(far.tree("here"), far.tree("there"), "{}{}", said.out, said.err);
    assert!(lines(&said, "tar ") >= 64 && lines(&said, "rsync ") == 0, "{}", said.out);
    assert!(!far.at("here/.ltr-tmp").exists() && !far.at("there/oops").exists());
    assert_eq!(far.ltr("here", &["status"]).well().out, "");
    assert!(said.out.lines().last().unwrap().starts_with("ltr: 64 files, 20.4 kB from there in "), "{}", said.out);
    let time = |root: &str| fs::metadata(far.at(root).join("e/007")).unwrap().modified().unwrap();
    assert_eq!(time("here"), time("there"));
}

#[test]
fn many_files_come_otherwise_where_there_is_no_tar() {
    for (rsync, sftp) in [(true, true), (false, true), (false, false)] {
        let Some(far) = many(Kit { tar: false, rsync, sftp, ..ALL }) else { return };
        let said = far.ltr("here", &["pull", "there"]).well();
        assert_eq!(far.tree("here"), far.tree("there"), "{}{}", said.out, said.err);
        assert_eq!((lines(&said, "tar "), said.err.as_str()), (0, ""));
    }
}

/// What becomes of a file after its commit, and what is said of it.
fn spoil(far: &Far) {
    let at = |name: &str| far.at("there").join(name);
    fs::remove_file(at("e/010")).unwrap();
    fs::write(at("e/011"), "grown by a good deal").unwrap();
    fs::write(at("e/012"), "t").unwrap();
    fs::write(at("e/013"), "TEXT 6").unwrap();
    for name in ["e/014", "e/015", "e/016"] {
        fs::remove_file(at(name)).unwrap();
    }
    fs::create_dir(at("e/014")).unwrap();
    fs::write(at("e/014/inner"), "not asked for").unwrap();
    let fifo = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, at("e/015"), rustix::fs::FileType::Fifo, fifo, 0).unwrap();
    symlink("/etc/passwd", at("e/016")).unwrap();
    fs::File::options().write(true).open(at("e/017")).unwrap().set_len(300 << 30).unwrap();
    fs::set_permissions(at("e/018"), fs::Permissions::from_mode(0o0)).unwrap();
}

/// Who is root may read all.
fn spoiled() -> Vec<String> {
    (10..18).map(|n| format!("e/{n:03}")).collect()
}

#[test]
fn what_is_not_what_it_was_is_named_and_the_rest_comes() {
    let without = |rsync, sftp, tar| Kit { rsync, sftp, tar, ..ALL };
    for kit in [ALL, without(true, true, false), without(false, true, false), without(false, false, false)] {
        let Some(far) = many(kit) else { return };
        // no two are alike, or one would be had from the other
        far.commit(
            &(0..100)
                .map(|n| format!("e/{n:03}").into_bytes())
                .collect::<Vec<_>>()
                .iter()
                .map(|n| (n.as_slice(), str::from_utf8(n).unwrap()))
                .collect::<Vec<_>>(),
        );
        spoil(&far);
        let said = far.ltr("here", &["pull", "there"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        for name in spoiled() {
            assert!(said.err.contains(&format!("/{name}: could not be had from there")), "{name}{}", said.err);
            assert!(far.at("here").join(&name).symlink_metadata().is_err(), "{name}");
        }
        assert!(far.tree("here").len() >= 100 + 14 - 9, "{}", said.err);
        assert!(!far.at("here/e/014").exists() && !said.err.contains("panicked"));
    }
}

#[test]
fn what_one_box_does_not_have_the_next_is_asked_for() {
    let Some(far) = many(ALL) else { return };
    far.third();
    spoil(&far);
    // one after the other, or the second may have given it all before
    let said = far.ltr("here", &["pull", "-j", "1"]);
    assert_eq!(far.tree("here").len(), 114, "{}", said.err);
    assert!(said.code == Some(0) && said.err.contains("in box there: source changed since its last commit"), "{}", said.err);
    assert_eq!(far.tree("here"), far.tree("third"));
}

#[test]
fn what_a_box_on_this_machine_does_not_have_comes_from_another_machine() {
    let Some(far) = many(ALL) else { return };
    far.third();
    let third = far.at("third");
    far.ltr("here", &["set", "third.urls", third.to_str().unwrap()]).well();
    for name in ["e/010", "e/011", "empty"] {
        fs::remove_file(third.join(name)).unwrap();
    }
    fs::write(third.join("e/013"), "TEXT 6").unwrap();
    let said = far.ltr("here", &["pull"]).well();
    assert_eq!(far.tree("here"), far.tree("there"), "{}{}", said.out, said.err);
    assert!(said.err.contains("/e/013: in box third: source changed since its last commit"), "{}", said.err);
    assert_eq!(said.err.matches(": in box third: ").count(), 4, "{}", said.err);
    let elsewhere = lines(&said, "rsync ") + lines(&said, "tar ");
    assert!((1..=4).contains(&elsewhere) && lines(&said, "cp ") >= 64, "{}", said.out);
    assert!(!far.at("here/.ltr-tmp").exists());
}

/// The first that is missing has come from the other machine long before the second is found missing.
#[test]
fn what_a_box_on_this_machine_is_found_not_to_have_late_comes_too() {
    let Some(far) = many(ALL) else { return };
    fs::write(far.at("there/e/010-large"), vec![7; 100 << 20]).unwrap();
    far.commit(&[]);
    far.third();
    let third = far.at("third");
    far.ltr("here", &["set", "third.urls", third.to_str().unwrap()]).well();
    for name in ["e/008", "e/009", "e/020", "e/021"] {
        fs::remove_file(third.join(name)).unwrap();
    }
    far.ltr("here", &["pull"]).well();
    assert_eq!(far.tree("here"), far.tree("there"));
}

#[test]
fn boxes_that_hold_the_same_are_used_at_once_and_one_that_is_gone_is_done_without() {
    for (jobs, gone) in [("1", false), ("2", false), ("2", true), ("1", true)] {
        let Some(far) = Far::new(Kit { tar: false, ..ALL }) else { return };
        let files: Vec<(Vec<u8>, String)> = (0..200).map(|n| (format!("{n:03}").into_bytes(), format!("{n}"))).collect();
        far.commit(&files.iter().map(|(name, text)| (name.as_slice(), text.as_str())).collect::<Vec<_>>());
        far.third();
        if gone {
            fs::remove_file(far.at("there/.ltr")).unwrap();
        }
        let said = far.shell(&format!("cd here && ltr-plan | ltr-fetch -v -j {jobs} >../done"));
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert_eq!(far.tree("here").len(), 200);
        let third = said.err.matches("third/").count() > 0;
        assert_eq!(third, gone || jobs == "2", "{}", said.err);
        assert!(said.err.contains("+ rsync --files-from=- --from0"), "{}", said.err);
    }
}

#[test]
fn a_changed_large_file_comes_as_what_differs() {
    let Some(far) = Far::new(ALL) else { return };
    let mut large: Vec<u8> = (0..4_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(far.at("there/large"), &large).unwrap();
    far.commit(&[]);
    far.ltr("here", &["pull", "there"]).well();
    large[5_000_000..5_000_100].fill(7);
    fs::write(far.at("there/large"), &large).unwrap();
    far.commit(&[]);
    let said = far.ltr("here", &["sync", "there"]).well();
    let said =
        far.shell("cd here && ltr-plan | ltr-fetch -v --bwlimit 100000 | ltr-index-put | ltr-fmt --steps --root .").well().err
            + &said.err;
    assert_eq!(far.tree("here"), far.tree("there"));
    assert!(said.contains("--copy-dest=") && said.contains("--bwlimit=100000"), "{said}");
    assert_eq!(far.ltr("here", &["status"]).well().out, "");
}

/// A large file is read while its new content comes, and all is still seen that may not go.
#[test]
fn what_is_in_the_place_of_a_large_file_is_read_before_it_goes() {
    let Some(far) = Far::new(ALL) else { return };
    let content = |n: u32| -> Vec<u8> { (0..1_000_000_u32).flat_map(|at| at.wrapping_mul(n).to_le_bytes()).collect() };
    let write = |root: &str, n: u32| fs::write(far.at(root).join("large"), content(n)).unwrap();
    write("there", 3);
    far.commit(&[]);
    far.ltr("here", &["pull", "there"]).well();
    write("there", 5);
    far.commit(&[]);
    // as large as both, and in no index
    write("here", 7);
    let said = far.ltr("here", &["pull", "there"]).well();
    let tree = far.tree("here");
    assert_eq!(tree.len(), 2, "{}{}", said.out, said.err);
    assert!(tree.contains(&(b"large".to_vec(), content(5))) && tree.iter().any(|file| file.1 == content(7)));
    assert!(said.err.contains("/large: was not committed: kept as "), "{}", said.err);

    write("there", 9);
    far.commit(&[]);
    // somebody has brought the new content already, with a time of its own
    write("here", 9);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
    fs::File::options().write(true).open(far.at("here/large")).unwrap().set_modified(old).unwrap();
    let said = far.ltr("here", &["pull", "there"]).well();
    assert!(said.err.is_empty(), "{}", said.err);
    assert!(far.tree("here").contains(&(b"large".to_vec(), content(9))) && far.tree("here").len() == 2);
    assert!(!far.at("here/.ltr-tmp").exists());
    assert_eq!(far.ltr("here", &["status"]).well().out, "");
}

#[test]
fn thousands_of_files_come_through_more_than_one_tar() {
    let Some(far) = Far::new(ALL) else { return };
    for n in 0..4000 {
        let folder = far.at(&format!("there/{}", n / 100));
        fs::create_dir_all(&folder).unwrap();
        // some alike, in other batches too
        fs::write(folder.join(format!("{n}")), format!("{}", n % 3900)).unwrap();
    }
    far.commit(&[]);
    let said = far.ltr("here", &["pull", "there"]).well();
    assert_eq!(far.tree("here"), far.tree("there"), "{}", said.err);
    assert!(lines(&said, "tar ") >= 3800 && said.err.is_empty(), "{}", said.err);
    assert!(!far.at("here/.ltr-tmp").exists());
    assert_eq!(far.ltr("here", &["status"]).well().out, "");
}
