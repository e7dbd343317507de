//! Copies that go when another machine holds them: it is locked and looked into; and `ltr-cat` from there.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;

use far::{ALL, Far, Kit};
use litter::boxfs::BoxRoot;
use litter::index::sqlite::{Access, Sqlite};

const KEPT: &str = "only 0 of 1 copies could be verified (there)";

/// Both boxes hold `a`, and `here` has marked it skip.
fn skipped(kit: Kit) -> Option<Far> {
    let far = Far::new(kit)?;
    far.commit(&[(b"a", "alpha"), (b"b", "beta")]);
    far.shell("ltr-index-sync ./i-here/s ./i-there/s").well();
    far.ltr("here", &["pull", "there"]).well();
    assert_eq!(far.tree("here").len(), 2);
    far.ltr("here", &["mark", "--skip", "a"]).well();
    Some(far)
}

#[test]
fn a_holder_elsewhere_is_locked_and_looked_into() {
    let Some(far) = skipped(ALL) else { return };
    let lock = litter::lock::take(&BoxRoot::open(&far.at("there")).unwrap()).unwrap();
    far.ltr("here", &["pull", "there"]).failed(1, KEPT);
    drop(lock);
    fs::write(far.at("there/a"), "ALPHA").unwrap();
    far.ltr("here", &["pull", "there"]).failed(1, KEPT);
    assert!(far.at("here/a").exists());
    fs::write(far.at("there/a"), "alpha").unwrap();
    let dry = far.ltr("here", &["-n", "pull", "there"]).well();
    assert!(dry.out.contains(&format!("rm {}", far.at("here/a").display())) && far.at("here/a").exists());
    let said = far.ltr("here", &["pull", "there"]).well();
    assert!(!far.at("here/a").exists() && far.at("there/a").exists(), "{}{}", said.out, said.err);
    let index = Sqlite::open(&far.at("i-here/s"), Access::Read).unwrap();
    let sha1 = litter::hash::sha1_of(b"alpha");
    assert!(index.verified("there", sha1).unwrap().is_some(), "that it was seen is remembered");
}

#[test]
fn a_holder_without_ltr_does_not_count() {
    let Some(far) = skipped(Kit { ltr: false, ..ALL }) else { return };
    far.ltr("here", &["pull", "there"]).failed(1, KEPT);
    assert!(far.at("here/a").exists());
}

#[test]
fn a_holder_out_of_reach_counts_when_it_is_trusted() {
    let Some(far) = skipped(ALL) else { return };
    let out_of_reach = |is: bool| {
        let (there, away) = (far.at("there"), far.at("away"));
        let (from, to) = if is { (there, away) } else { (away, there) };
        fs::rename(from, to).unwrap();
    };
    out_of_reach(true);
    far.ltr("here", &["pull"]).failed(1, KEPT);
    // what a box says of itself is in the index, but nobody has looked
    far.ltr("here", &["pull", "--trust-offline", "1"]).failed(1, KEPT);
    out_of_reach(false);
    far.ltr("here", &["set", "space.mincopies", "2"]).well();
    far.ltr("here", &["pull", "there"]).failed(1, "only 1 of 2 copies could be verified");
    far.ltr("here", &["set", "space.mincopies", "1"]).well();
    out_of_reach(true);
    far.ltr("here", &["pull", "--trust-offline", "0"]).failed(1, KEPT);
    assert!(far.at("here/a").exists());
    let said = far.ltr("here", &["pull", "--trust-offline", "1"]);
    assert!(!far.at("here/a").exists(), "{}{}", said.out, said.err);
}

#[test]
fn content_is_read_from_a_box_elsewhere_and_checked_first() {
    let Some(far) = Far::new(Kit { rsync: false, sftp: false, ..ALL }) else { return };
    far.commit(&[(b"it's a\n", "alpha")]);
    far.ltr("here", &["sync", "there"]).well();
    let cat = |args: &str| far.shell(&format!("cd here && ltr-cat {args} \"it's a\n\""));
    assert_eq!(cat("").well().out, "alpha");
    assert_eq!(cat("-b there").well().out, "alpha");
    assert_eq!(cat("-b here").failed(3, "not one that has it").out, "");
    assert_eq!(cat("-b nobody").failed(3, "no box \"nobody\"").out, "");
    far.ltr("here", &["pull", "there"]).well();
    assert_eq!(cat("-b here").well().out, "alpha");
    fs::write(far.at("there/it's a\n"), "ALPHA").unwrap();
    assert_eq!(cat("-b there").failed(3, "could not be had from there (changed since its last commit)").out, "");
    fs::write(far.at("here/it's a\n"), "an edit").unwrap();
    assert_eq!(cat("").failed(3, "could not be had from here (changed since its last commit), there (changed").out, "");
    fs::rename(far.at("there"), far.at("away")).unwrap();
    assert_eq!(cat("-b there").failed(3, "No such file or directory").out, "");
}

#[test]
fn two_boxes_are_compared_by_what_they_hold() {
    let Some(far) = skipped(ALL) else { return };
    far.commit(&[(b"b", "gamma\n")]);
    far.ltr("here", &["sync", "there"]).well();
    let said = far.ltr("here", &["diff", "-f", "b", "here", "there"]).well();
    assert!(said.out.contains("-beta") && said.out.contains("+gamma"), "{}", said.out);
}
