//! `ltr push`: a box on another machine gets what it should have, from a side that it cannot reach.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;

use far::{ALL, Far, Kit};

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
        let dry = far.ltr("here", &["-n", "push", "there"]).well();
        let line = format!("scp {} {}/a\n", far.at("here/a").display(), far.url());
        assert!(dry.out.starts_with("ltr: push  there\n") && dry.out.contains(&line), "{}", dry.out);
        assert_eq!(far.tree("there"), []);
        let limit: &[&str] = if sftp_only { &["push", "--bwlimit", "100000", "there"] } else { &["push", "there"] };
        if sftp_only {
            // names that no line of sftp can say go by tar alone
            fs::remove_file(far.at("here/it's\n$(touch oops)")).unwrap();
            far.ltr("here", &["commit"]).well();
        }
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
}
