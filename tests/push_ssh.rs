//! `ltr push`: a box on another machine gets what it should have, from a side that it cannot reach.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;
#[path = "common/wire.rs"]
mod wire;

use std::fs;

use far::{ALL, Far, Kit, each};
use wire::{Then, Wire};

/// Files of `here`, committed.
fn filled(kit: Kit) -> Option<Far> {
    let far = Far::new(kit)?;
    let at = |name: &str| far.at("here").join(name);
    fs::create_dir(at("d")).unwrap();
    for (name, text) in
        [("a", "alpha"), ("it's\n$(touch oops)", "odd"), ("d/twin", "alpha"), ("d/triplet", "alpha"), ("empty", "")]
    {
        fs::write(at(name), text).unwrap();
    }
    fs::write(at("large"), (0..600_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    far.ltr("here", &["commit"]).well();
    Some(far)
}

#[test]
fn what_the_other_box_wants_is_sent_and_recorded_there() {
    for sftp_only in [false, true] {
        let Some(far) = filled(ALL) else { return };
        let indexes = || ["i-here/s", "i-there/s"].map(|index| fs::read(far.at(index)).unwrap());
        let before = indexes();
        let dry = far.ltr("here", &["-n", "push", "there"]).well();
        assert!(indexes() == before, "a dry run writes no byte");
        let line = format!("scp {} {}/a\n", far.at("here/a").display(), far.url());
        assert!(dry.out.starts_with("ltr: push  there\n") && dry.out.contains(&line), "{}", dry.out);
        assert_eq!(far.tree("there"), []);
        let limit: &[&str] = if sftp_only { &["push", "--bwlimit", "100000", "there"] } else { &["push", "there"] };
        let said = far.ltr("here", limit).well();
        assert_eq!(far.tree("there"), far.tree("here"), "{}{}", said.out, said.err);
        assert!(said.out.contains(&line) && said.err.is_empty(), "{}{}", said.out, said.err);
        assert!(!far.at("there/.ltr-tmp").exists() && !far.at("there/oops").exists());
        assert_eq!(far.ltr("there", &["status"]).well().out, "");
        // both indexes know of it
        for root in ["here", "there"] {
            assert!(far.ltr(root, &["ls", "-b", "there"]).well().out.contains("large"));
        }
        assert_eq!(far.ltr("here", &["push", &far.url()]).well().out, "ltr: push  there\n");
        // the next plan for that box does not look everywhere
        let index = rusqlite::Connection::open(far.at("i-here/s")).unwrap();
        let settled = "SELECT name FROM settled JOIN boxes ON id = box";
        assert_eq!(index.query_row(settled, [], |row| row.get::<_, String>(0)).unwrap(), "there");
    }
}

#[test]
fn a_push_keeps_what_was_not_committed_there_and_completes_what_was_begun() {
    let Some(far) = filled(ALL) else { return };
    far.ltr("here", &["push", "there"]).well();
    fs::write(far.at("there/a"), "an edit there").unwrap();
    fs::write(far.at("here/a"), "an edit here").unwrap();
    let mut large = fs::read(far.at("here/large")).unwrap();
    large[0] = 7;
    fs::write(far.at("here/large"), &large).unwrap();
    far.ltr("here", &["commit"]).well();
    // half of it came before, and of another content all that is there is wrong
    let staged = |content: &[u8]| far.at("there/.ltr-tmp").join(litter::hash::sha1_of(content).to_string());
    fs::create_dir(far.at("there/.ltr-tmp")).unwrap();
    fs::write(staged(&large), &large[..1_000_000]).unwrap();
    fs::write(staged(b"an edit here"), "AN EDIT HERE").unwrap();
    far.ltr("here", &["push", "there"]).well();
    assert_eq!(fs::read(far.at("there/a")).unwrap(), b"an edit here");
    assert_eq!(fs::read(far.at("there/large")).unwrap(), large);
    let kept = far.tree("there").into_iter().filter(|(_, text)| text == b"an edit there").count();
    assert_eq!(kept, 1, "what was not committed is kept");
}

#[test]
fn what_cannot_be_pushed_to_is_refused_by_name() {
    let Some(far) = filled(Kit { ltr: false, ..ALL }) else { return };
    far.ltr("here", &["push", "there"]).failed(3, "no ltr there");
    far.ltr("here", &["push", "nobody"]).failed(3, "nobody: neither a box of this space nor a folder");
    far.ltr("here", &["push"]).failed(2, "usage: ltr push");
    let Some(far) = filled(ALL) else { return };
    let lock = litter::lock::take(&litter::boxfs::BoxRoot::open(&far.at("there")).unwrap()).unwrap();
    far.ltr("here", &["push", "there"]).failed(3, "is in use by");
    drop(lock);
    assert_eq!(far.tree("there"), []);
    // a folder here pulls for itself
    let folder = far.at("there").display().to_string();
    far.ltr("here", &["push", &folder]).well();
    assert_eq!(far.tree("there"), far.tree("here"));
    fs::write(far.at("here/new"), "new").unwrap();
    far.ltr("here", &["commit"]).well();
    far.ltr("here", &["set", "there.reserve", "9000000000000000"]).well();
    far.ltr("here", &["push", "there"]).failed(3, &format!("{}: needs ", far.at("there").display()));
}

/// Bytes that no program can make fewer.
fn noise(size: u32) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size / 8).flat_map(next).collect()
}

#[test]
fn a_changed_large_file_goes_as_what_differs() {
    const SIZE: u64 = 8_000_000;
    /// What is sent of the two files that changed, at most.
    const LITTLE: u64 = 1_500_000;
    // with rsync, with none there, with one there that fails, and with names of which sftp or rsync cannot be told
    let cases =
        [("large", "", LITTLE), ("it's [b]* $(x)", "", LITTLE), ("large", "exit 127", u64::MAX), ("large", "exit 12", u64::MAX)];
    let odd = [("new\nline", "", u64::MAX), ("b\\c*", "", u64::MAX)];
    each(&[&cases[..], &odd].concat(), |(name, rsync, most)| {
        let Some(mut far) = Far::new(ALL) else { return };
        let wire = Wire::to(far.sshd.port());
        far.ssh = format!("{} -p {}", far.ssh, wire.port);
        let mut large = noise(SIZE as u32);
        let at = |root: &str, name: &str| far.at(root).join(name);
        fs::create_dir(at("here", "d")).unwrap();
        for file in [*name, "d/other"] {
            fs::write(at("here", file), &large).unwrap();
        }
        fs::write(at("here", "stays"), "small").unwrap();
        far.ltr("here", &["commit"]).well();
        far.ltr("here", &["push", "there"]).well();
        assert!(wire.went() > SIZE, "{} bytes went", wire.went());
        // in the middle, at the end, and shifted
        large[4_000_000..4_000_100].fill(7);
        large.extend_from_slice(b"and more");
        large.insert(100, 7);
        for file in [*name, "d/other"] {
            large[2_000_000] ^= 1;
            fs::write(at("here", file), &large).unwrap();
        }
        far.ltr("here", &["commit"]).well();
        if !rsync.is_empty() {
            far.wrap("rsync", rsync);
        }
        // what another push left when it was broken off
        let left = at("there", ".ltr-tmp/rsync-push-1");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("large"), &large[..1_000_000]).unwrap();
        wire.limit(u64::MAX, Then::Cut);
        let said = far.ltr("here", &["push", "-v", "there"]).well();
        assert!(far.tree("here") == far.tree("there"), "{name} {rsync}: {}", said.err);
        assert!(wire.went() < *most, "{name} {rsync}: {} bytes went: {}", wire.went(), said.err);
        assert!(!at("there", ".ltr-tmp").exists() && !at("there", "oops").exists());
        assert_eq!(far.ltr("there", &["status"]).well().out, "");
    });
}
