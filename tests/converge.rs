//! Boxes that change in every way, and what pulls make of it: all converge, and no byte is lost.

mod common;

use std::os::unix::fs::MetadataExt;

use common::{TestBox, World, sync};
use litter::record::Want;

/// A file of the space that every box has.
fn settled<const N: usize>(world: &World, names: [(&str, &str); N]) -> [TestBox; N] {
    let boxes = world.boxes(names);
    boxes[0].write_at("sub/a", "one", 1_000_000_000).write_at("b", "two", 1_000_000_001);
    boxes[0].commit();
    for other in &boxes[1..] {
        other.pull();
        assert!(other.failures().is_empty());
    }
    boxes
}

/// Two boxes with an index each, which have `/f`.
fn settled_apart(world: &World) -> [TestBox; 2] {
    let [a, b] = world.apart(["a", "b"]);
    a.write("f", "one");
    a.commit();
    sync(&a.index, &b.index);
    b.pull();
    [a, b]
}

#[test]
fn the_documented_session() {
    let world = World::new();
    let [a, b] = world.boxes([("a", "complete"), ("b", "complete")]);
    a.write_at("subdir1/a.tgz", "archive", 1_295_303_519).write("subdir1/notes.html", "<p>").chmod("subdir1/notes.html", 0o600);
    std::os::unix::fs::symlink("subdir1/a.tgz", a.at("link")).unwrap();
    assert_eq!(a.status(), ["N  /link", "N  /subdir1", "N  /subdir1/a.tgz", "N  /subdir1/notes.html"]);
    assert_eq!(a.commit(), ["N  /link", "N  /subdir1", "N  /subdir1/a.tgz", "N  /subdir1/notes.html"]);
    assert!(a.status().is_empty());
    assert_eq!(b.status(), ["w  /link", "w  /subdir1"]);
    assert_eq!(b.pull(), ["mkdir /subdir1", "link /link", "fetch /subdir1/a.tgz", "fetch /subdir1/notes.html"]);
    assert!(b.status().is_empty() && b.pull().is_empty());
    assert_eq!(a.tree(), b.tree());
    assert!(b.failures().is_empty());
}

#[test]
fn an_edit_travels_and_an_older_one_does_not_come_back() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.write("b", "edited");
    assert_eq!(b.status(), ["M  /b"]);
    b.commit();
    assert_eq!(a.status(), ["U  /b"]);
    assert_eq!(a.pull(), ["replace /b"]);
    assert_eq!(a.tree(), b.tree());
    assert!(a.pull().is_empty() && b.pull().is_empty());
}

#[test]
fn an_edit_that_keeps_size_and_mtime_is_seen() {
    let world = World::new();
    let [a, _] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write_at("b", "TWO", 1_000_000_001);
    assert_eq!(a.status(), ["M  /b"]);
    // an older mtime would be a restored backup; the same one is an edit
    a.commit();
    assert!(a.status().is_empty());
}

#[test]
fn a_touched_file_makes_no_version() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.touch("b", 1_500_000_000);
    assert!(a.status().is_empty());
    assert!(a.commit().is_empty());
    assert!(b.pull().is_empty());
    a.chmod("b", 0o640);
    assert_eq!(a.commit(), ["M  /b"]);
    assert_eq!(b.pull(), ["touch /b"]);
    assert_eq!(a.tree(), b.tree());
}

#[test]
fn a_chmod_that_was_not_committed_outlives_a_pull() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    let mode = |one: &TestBox, name: &str| std::fs::metadata(one.at(name)).unwrap().mode() & 0o777;
    b.chmod("b", 0o600).chmod("sub/a", 0o600);
    a.write("b", "newer").mv("sub/a", "sub/z");
    a.commit();
    assert_eq!(b.pull(), ["replace /b", "move /sub/a /sub/z"]);
    assert_eq!((b.read("b"), mode(&b, "b"), mode(&b, "sub/z")), ("newer".to_owned(), 0o600, 0o600));
    assert_eq!(b.status(), ["M  /b", "M  /sub/z"]);
    assert!(b.pull().is_empty());
    b.commit();
    assert_eq!(a.pull(), ["touch /b", "touch /sub/z"]);
    assert_eq!(a.tree(), b.tree());
    // names that are swapped, of which one is private
    a.chmod("sub/z", 0o644).commit();
    b.pull();
    a.mv("b", "c").mv("sub/z", "b").mv("c", "sub/z").commit();
    b.pull();
    assert_eq!((mode(&b, "b"), mode(&b, "sub/z")), (0o644, 0o600));
    assert!(b.status().is_empty());
    assert_eq!(a.tree(), b.tree());
    // two modes for one file
    a.chmod("b", 0o755);
    a.commit();
    b.chmod("b", 0o640);
    assert_eq!(b.pull(), ["touch /b"]);
    assert_eq!((mode(&b, "b"), b.status()), (0o640, vec!["M  /b".to_owned()]));
    b.commit();
    assert_eq!(a.pull(), ["touch /b"]);
    assert_eq!(a.tree(), b.tree());
}

#[test]
fn a_discarded_copy_stays_in_the_space() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.rm("b");
    assert_eq!(b.status(), ["D  /b"]);
    // deleted and not committed: left alone
    assert!(b.pull().is_empty() && !b.exists("b"));
    assert_eq!(b.commit(), ["D  /b"]);
    assert!(b.status().is_empty() && b.pull().is_empty());
    assert_eq!(a.read("b"), "two");
    b.mark("/b", Want::Want);
    assert_eq!(b.status(), ["W  /b"]);
    assert_eq!(b.pull(), ["fetch /b"]);
    a.rm("b");
    a.commit();
    b.rm("b");
    assert_eq!(b.status(), ["L  /b"]);
}

#[test]
fn a_rename_is_followed_by_a_move() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.mv("sub/a", "new/place");
    assert_eq!(a.status(), ["N  /new", "R  /sub/a -> /new/place"]);
    assert_eq!(a.commit(), ["N  /new", "R  /sub/a -> /new/place"]);
    assert_eq!(b.pull(), ["mkdir /new", "move /sub/a /new/place"]);
    assert_eq!(a.tree(), b.tree());
    assert!(b.status().is_empty() && b.pull().is_empty() && a.pull().is_empty());
}

#[test]
fn the_first_commit_of_a_box_that_pulled_knows_a_rename() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.mv("sub/a", "new/place");
    assert_eq!(b.commit(), ["N  /new", "R  /sub/a -> /new/place"]);
    assert_eq!(a.pull(), ["mkdir /new", "move /sub/a /new/place"]);
}

#[test]
fn a_renamed_folder_takes_all_along() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write("sub/twin1", "same").write("sub/twin2", "same").write("sub/empty", "").write("sub/deep/x", "deep");
    a.commit();
    b.pull();
    a.mv("sub", "moved");
    let letters = a.commit();
    assert!(letters.iter().all(|l| l.starts_with("R  /sub")), "{letters:?}");
    let done = b.pull();
    assert!(done.iter().all(|s| !s.starts_with("fetch")), "{done:?}");
    assert_eq!(a.tree(), b.tree());
    assert!(b.pull().is_empty() && a.pull().is_empty());
}

#[test]
fn an_edit_survives_a_rename_elsewhere() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.write("b", "edited");
    b.commit();
    a.mv("b", "c");
    a.commit();
    for _ in 0..3 {
        a.pull();
        b.pull();
    }
    assert_eq!(a.tree(), b.tree());
    assert_eq!(a.contents(), ["edited", "one", "two"]);
}

#[test]
fn the_same_content_is_copied_within_the_box() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write("copy", "two");
    a.commit();
    assert_eq!(b.pull(), ["copy /b /copy"]);
    assert_eq!(a.tree(), b.tree());
}

#[test]
fn conflicting_edits_on_two_boxes_both_survive() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write_at("b", "from a", 1_700_000_000);
    b.write_at("b", "from b", 1_700_000_009);
    a.commit();
    b.commit();
    assert_eq!(a.status(), ["X  /b"]);
    assert!(b.status().is_empty());
    a.pull();
    assert_eq!(a.read("b"), "from b");
    b.pull();
    assert_eq!(a.tree(), b.tree());
    assert_eq!(a.contents(), ["from a", "from b", "one"]);
    assert!(
        a.exists("b.conflict-20231114T221320-6ba9d3b1") || a.tree().keys().any(|k| k.starts_with("b.conflict-20231114T221320-"))
    );
    assert!(a.pull().is_empty() && b.pull().is_empty());
    // the conflict is settled: the next edit is no conflict any more
    b.write("b", "later");
    b.commit();
    assert_eq!(a.pull(), ["replace /b"]);
    assert_eq!(a.tree(), b.tree());
}

#[test]
fn conflicting_edits_on_three_boxes_converge() {
    let world = World::new();
    let [a, b, c] = world.apart(["a", "b", "c"]);
    a.write_at("f", "base", 1_600_000_000);
    a.commit();
    let all_sync = || {
        for (x, y) in [(&a, &b), (&b, &c), (&a, &c), (&a, &b)] {
            sync(&x.index, &y.index);
        }
    };
    all_sync();
    b.pull();
    c.pull();
    all_sync();
    for (i, x) in [&a, &b, &c].into_iter().enumerate() {
        x.write_at("f", &format!("edit of {}", x.name), 1_700_000_000 + i as u64);
        x.commit();
    }
    for _ in 0..4 {
        all_sync();
        for x in [&b, &a, &c] {
            x.pull();
        }
    }
    assert_eq!(a.tree(), b.tree());
    assert_eq!(a.tree(), c.tree());
    assert_eq!(a.read("f"), "edit of c");
    assert_eq!(a.contents(), ["edit of a", "edit of b", "edit of c"]);
    all_sync();
    assert!([&a, &b, &c].iter().all(|x| x.pull().is_empty() && x.status().is_empty()));
}

#[test]
fn equal_edits_on_both_sides_are_no_conflict() {
    let world = World::new();
    let [a, b] = world.apart(["a", "b"]);
    a.write_at("f", "same", 1_600_000_000);
    b.write_at("f", "same", 1_600_000_005);
    a.commit();
    b.commit();
    sync(&a.index, &b.index);
    assert!(a.pull().is_empty() && b.pull().is_empty());
    a.write("f", "next");
    a.commit();
    sync(&a.index, &b.index);
    assert_eq!(b.pull(), ["replace /f"]);
    assert_eq!(b.contents(), ["next"]);
}

#[test]
fn uncommitted_edits_are_kept_under_a_conflict_name() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write("b", "committed");
    a.commit();
    b.write("b", "not committed");
    assert_eq!(b.status(), ["X  /b"]);
    b.pull();
    assert_eq!(b.contents(), ["committed", "not committed", "one"]);
    a.pull();
    assert_eq!(a.tree(), b.tree());
}

#[test]
fn a_restored_backup_is_concurrent_unless_it_is_named() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write("b", "newer");
    a.commit();
    b.pull();
    a.write_at("b", "two", 1_000_000_001);
    a.commit();
    for x in [&a, &b, &a] {
        x.pull();
    }
    assert_eq!(a.tree(), b.tree());
    assert_eq!(a.read("b"), "newer");
    assert_eq!(a.contents(), ["newer", "one", "two"]);
    a.write_at("sub/a", "old on purpose", 900_000_000);
    a.commit_paths(&["/sub/a"]);
    assert_eq!(b.pull(), ["replace /sub/a"]);
    assert_eq!(b.read("sub/a"), "old on purpose");
}

#[test]
fn a_restored_backup_is_one_also_of_a_content_that_is_elsewhere_too() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write_at("b", "newer", 1_500_000_000).write_at("kept", "two", 1_000_000_001);
    a.commit();
    b.pull();
    // the backup is of before all that; as long as these are open, no other file gets their inodes
    let _open = ["kept", "b"].map(|name| std::fs::File::open(a.at(name)).unwrap());
    a.rm("kept").rm("b").write_at("b", "two", 1_000_000_001);
    a.commit();
    for other in [&b, &a, &b] {
        other.pull();
    }
    for other in [&a, &b] {
        assert!(["two", "newer"].iter().all(|content| other.contents().contains(&(*content).to_owned())), "{:?}", other.tree());
        assert!(other.failures().is_empty());
    }
}

#[test]
fn a_folder_with_a_last_copy_that_is_not_wanted_stays_a_folder() {
    let world = World::new();
    let [a, b] = world.boxes([("a", "complete"), ("b", "complete")]);
    a.write("d", "a file");
    b.write("d/e/f", "last copy");
    b.commit();
    a.purge_all("d");
    b.mark("/d", Want::Skip);
    b.chmod("d/e/f", 0o700);
    a.commit();
    b.commit();
    for each in [&a, &b, &a, &b] {
        each.pull();
        each.failures();
    }
    for each in [&a, &b] {
        assert!(each.pull().is_empty(), "{:?}", each.status());
        assert!(each.status().iter().all(|line| line.starts_with('s')), "{:?}", each.status());
    }
    assert!([&a, &b].iter().any(|each| each.contents().contains(&"last copy".to_owned())));
}

#[test]
fn a_folder_that_stays_takes_the_place_of_no_file_unseen() {
    let world = World::new();
    let [a, b, c] = world.boxes([("a", "complete"), ("b", "complete"), ("c", "complete")]);
    b.write("d/a", "first");
    c.write("d", "file of c");
    b.commit();
    b.write("d/a", "second");
    a.purge_all("d");
    a.write("d", "file of a");
    for each in [&a, &b, &c] {
        each.commit();
    }
    for _ in 0..2 {
        for each in [&a, &b, &c] {
            each.pull();
            each.failures();
        }
        for each in [&a, &b, &c] {
            each.commit();
        }
    }
    for text in ["second", "file of a", "file of c"] {
        for each in [&a, &b, &c] {
            assert!(each.contents().contains(&text.to_owned()), "{text}: {:?}", each.contents());
        }
    }
    assert!([&a, &b, &c].iter().all(|each| each.pull().is_empty()));
}

#[test]
fn a_copy_that_a_newer_edit_replaces_is_none_when_the_last_one_goes() {
    let world = World::new();
    let [a, b] = world.boxes([("a", "complete"), ("b", "complete")]);
    a.write("f", "wanted");
    a.commit();
    b.pull();
    // b has it under another name, where it goes, and something else under the name of a's copy
    b.write("b", "wanted");
    b.write("f", "something else");
    b.commit();
    std::fs::remove_file(b.at("b")).unwrap();
    assert_eq!(b.status(), ["L  /b"]);
}

#[test]
fn a_file_becomes_a_folder_and_a_folder_a_symlink() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.rm("b").write("b/inside", "now a folder");
    a.commit();
    b.pull();
    assert_eq!(a.tree(), b.tree());
    a.mv("sub", "elsewhere");
    std::os::unix::fs::symlink("elsewhere", a.at("sub")).unwrap();
    a.commit();
    b.pull();
    b.pull();
    assert_eq!(a.tree(), b.tree());
    assert!(b.failures().is_empty(), "{:?}", b.said);
}

#[test]
fn names_are_swapped() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.mv("b", "t").mv("sub/a", "b").mv("t", "sub/a");
    a.commit();
    b.pull();
    assert_eq!(b.read("b"), "one");
    assert_eq!(b.read("sub/a"), "two");
    assert_eq!(a.tree(), b.tree());
    assert!(b.pull().is_empty() && a.pull().is_empty());
}

#[test]
fn a_copy_marked_skip_goes_when_another_box_has_it() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.mark("/b", Want::Skip);
    assert_eq!(b.status(), ["s  /b"]);
    assert_eq!(b.pull(), ["remove /b"]);
    assert!(!b.exists("b"));
    // the last copy stays
    a.mark("/b", Want::Skip);
    a.pull();
    assert!(a.exists("b"));
    assert!(a.failures()[0].1.contains("only 0 of 1 copies"), "{:?}", a.said);
}

#[test]
fn two_boxes_that_both_skip_keep_what_they_have() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.mark("/b", Want::Skip);
    b.mark("/b", Want::Skip);
    a.pull();
    b.pull();
    assert!(a.exists("b") && b.exists("b"));
}

#[test]
fn what_was_put_there_after_the_mark_stays() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.mark("/sub", Want::Skip);
    b.write("sub/mine", "put there later");
    b.commit();
    b.pull();
    assert!(b.exists("sub/mine") && !b.exists("sub/a"));
    assert!(a.pull().contains(&"fetch /sub/mine".to_owned()));
}

#[test]
fn an_ondemand_box_gets_what_is_marked_with_its_folders() {
    let world = World::new();
    let [a, b] = world.boxes([("a", "complete"), ("b", "ondemand")]);
    a.write("films/old/one", "1").write("films/new/two", "2").write("books/three", "3");
    a.commit();
    assert!(b.status().is_empty() && b.pull().is_empty());
    b.mark("/films/old", Want::Want);
    assert_eq!(b.status(), ["W  /films/old"]);
    assert_eq!(b.pull(), ["mkdir /films", "mkdir /films/old", "fetch /films/old/one"]);
    assert!(b.status().is_empty());
    a.mv("films/old/one", "books/one");
    a.commit();
    // a rename elsewhere removes nothing here
    b.pull();
    assert_eq!(b.contents(), ["1"]);
    assert!(b.exists("books/one"));
    assert!(b.pull().is_empty());
}

#[test]
fn a_skeleton_box_has_every_folder() {
    let world = World::new();
    let [a, b] = world.boxes([("a", "complete"), ("b", "skeleton")]);
    a.write("x/y/z", "1");
    a.commit();
    assert_eq!(b.pull(), ["mkdir /x", "mkdir /x/y"]);
    assert!(b.pull().is_empty());
}

#[test]
fn an_emptied_box_is_not_committed() {
    let world = World::new();
    let [a, _] = settled(&world, [("a", "complete"), ("b", "complete")]);
    for i in 0..30 {
        a.write(&format!("many/{i}"), &format!("content {i}"));
    }
    a.commit();
    a.rm("many");
    let said = a.try_commit(&[], false);
    assert!(said.is_empty(), "{said:?}");
    assert!(a.failures()[0].1.contains("30 of 32 files are gone, 30 of them last copies (/many/0, "), "{:?}", a.said);
    assert_eq!(a.status().len(), 31);
    assert_eq!(a.try_commit(&[], true).len(), 31);
}

#[test]
fn a_folder_wins_over_a_file_and_the_file_is_kept() {
    let world = World::new();
    let [a, b] = world.apart(["a", "b"]);
    a.write_at("x", "a file", 1_700_000_000);
    b.write("x/y", "in a folder");
    a.commit();
    b.commit();
    sync(&a.index, &b.index);
    assert_eq!(a.status(), ["X  /x", "w  /x/y"]);
    a.pull();
    sync(&a.index, &b.index);
    b.pull();
    assert_eq!(a.contents(), ["a file", "in a folder"]);
    assert_eq!(a.contents(), b.contents());
    assert!(a.failures().is_empty() && b.failures().is_empty());
    sync(&a.index, &b.index);
    assert!(a.pull().is_empty() && b.pull().is_empty() && a.status().is_empty() && b.status().is_empty());
}

#[test]
fn a_new_file_does_not_supersede_what_was_discarded_under_its_name() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.rm("b");
    b.commit();
    b.write("b", "something else altogether");
    assert_eq!(b.commit(), ["N  /b"]);
    for x in [&a, &b, &a] {
        x.pull();
    }
    assert_eq!(a.tree(), b.tree());
    assert_eq!(a.contents(), ["one", "something else altogether", "two"]);
    // named by a person, it is meant to take the place of the old one
    b.rm("sub/a");
    b.commit();
    b.write("sub/a", "instead");
    b.commit_paths(&["/sub/a"]);
    a.pull();
    assert_eq!(a.contents(), ["instead", "something else altogether", "two"]);
}

#[test]
fn a_rename_and_a_deletion_leave_the_copies_of_others() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.mv("b", "g");
    a.commit();
    a.rm("g");
    assert_eq!(a.commit(), ["D  /g"]);
    assert_eq!(b.pull(), ["move /b /g"]);
    assert_eq!(b.contents(), ["one", "two"]);
    assert!(b.pull().is_empty() && b.status().is_empty());
}

#[test]
fn a_rename_into_a_skipped_folder_asks_for_other_copies() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    b.mark("/new", Want::Skip);
    a.mv("b", "new/b");
    a.commit();
    a.rm("new/b");
    b.pull();
    b.pull();
    assert_eq!(b.contents(), ["one", "two"]);
}

#[test]
fn a_file_that_was_renamed_twice_is_followed() {
    let world = World::new();
    let [a, b] = world.boxes([("a", "complete"), ("b", "ondemand")]);
    a.write("films/f", "a film");
    a.commit();
    b.mark("/films", Want::Want);
    b.pull();
    a.mv("films/f", "g");
    a.commit();
    a.mv("g", "h");
    a.commit();
    assert_eq!(b.pull(), ["move /films/f /h"]);
    assert_eq!(b.contents(), ["a film"]);
}

#[test]
fn a_file_that_was_renamed_and_edited_is_followed_and_updated() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.mv("b", "g");
    a.commit();
    a.write("g", "edited after the rename");
    a.commit();
    b.pull();
    b.pull();
    assert_eq!(a.tree(), b.tree());
    assert!(b.pull().is_empty());
}

#[test]
fn a_file_that_was_edited_and_renamed_is_followed_and_updated() {
    for renames in [&["g"][..], &["g", "h"], &["new/g"]] {
        for edited_after in [false, true] {
            let world = World::new();
            let [a, b, c] = settled(&world, [("a", "complete"), ("b", "complete"), ("c", "ondemand")]);
            c.mark("/b", Want::Want);
            c.pull();
            a.write("b", "edited before the rename");
            a.commit();
            let mut name = "b";
            for new in renames {
                a.mv(name, new);
                a.commit();
                name = new;
            }
            if edited_after {
                a.write(name, "edited after the rename as well");
                a.commit();
            }
            for follower in [&b, &c] {
                let done = follower.pull();
                assert!(done.contains(&format!("move /b /{name}")), "{done:?}");
                assert_eq!(follower.pull(), [format!("replace /{name}")]);
                assert!(follower.pull().is_empty() && follower.status().is_empty());
            }
            assert_eq!(a.tree(), b.tree());
            assert_eq!(c.contents(), [a.read(name)]);
            assert!(a.pull().is_empty());
        }
    }
}

#[test]
fn an_older_version_goes_from_its_old_name_where_the_new_one_is_here() {
    let world = World::new();
    let [a, b] = settled_apart(&world);
    a.write("f", "two");
    a.commit();
    a.mv("f", "g");
    a.commit();
    // the new name came before the old one was known to be gone
    b.write("g", "two");
    b.commit();
    sync(&a.index, &b.index);
    b.pull();
    b.pull();
    assert_eq!((a.contents(), b.contents()), (vec!["two".to_owned()], vec!["two".to_owned()]));
    assert!(b.status().is_empty() && b.pull().is_empty() && a.pull().is_empty());
}

#[test]
fn a_file_of_ones_own_in_the_place_of_a_rename_is_no_newer_version() {
    let world = World::new();
    let [a, b, c] = world.boxes([("a", "complete"), ("b", "complete"), ("c", "complete")]);
    a.write("f", "one");
    a.commit();
    b.pull();
    a.mv("f", "g");
    a.commit();
    a.rm("g");
    b.write("g", "another");
    a.commit();
    b.commit();
    for _ in 0..3 {
        for one in [&a, &b, &c] {
            one.pull();
            one.failures();
        }
    }
    assert_eq!(b.contents(), ["another", "one"]);
}

#[test]
fn what_was_edited_before_its_folder_was_renamed_is_followed_and_updated() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.write("sub/a", "edited").write("sub/b", "new");
    a.commit();
    a.mv("sub", "moved");
    a.commit();
    b.pull();
    b.pull();
    assert_eq!(a.tree(), b.tree());
    assert!(a.pull().is_empty() && b.pull().is_empty() && b.status().is_empty());
}

#[test]
fn an_edit_that_a_rename_did_not_know_of_is_kept() {
    let world = World::new();
    let [a, b] = settled_apart(&world);
    b.write("f", "b's own");
    b.commit();
    a.write("f", "a's own");
    a.commit();
    sync(&a.index, &b.index);
    a.mv("f", "g");
    a.commit();
    for _ in 0..4 {
        sync(&a.index, &b.index);
        a.pull();
        b.pull();
    }
    for text in ["a's own", "b's own"] {
        assert!(a.contents().contains(&text.to_owned()) && b.contents().contains(&text.to_owned()), "{text} {:?}", b.contents());
    }
}

#[test]
fn half_a_rename_removes_nothing() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.mv("b", "z");
    a.commit();
    // the new name's entry never arrived
    let index = rusqlite::Connection::open(&a.index).unwrap();
    index.execute("DELETE FROM entries WHERE name = CAST('z' AS BLOB)", []).unwrap();
    b.pull();
    assert_eq!(b.contents(), ["one", "two"]);
    a.commit();
    b.failures();
    b.pull();
    assert_eq!(a.tree(), b.tree());
}

#[test]
fn what_was_purged_stays_purged_until_it_is_named() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.purge("b");
    assert_eq!(b.status(), ["p  /b"]);
    assert_eq!(b.pull(), ["remove /b"]);
    b.write("b", "two");
    assert_eq!(b.status(), ["p  /b"]);
    assert!(b.commit().is_empty() && a.pull() == ["remove /b"]);
    assert_eq!(b.commit_paths(&["/b"]), ["N  /b"]);
    assert_eq!(a.pull(), ["fetch /b"]);
    assert_eq!(a.contents(), ["one", "two"]);
}

#[test]
fn a_content_stays_purged_though_another_box_lost_another_one_to_the_purge() {
    let world = World::new();
    let [a, b] = world.apart(["a", "b"]);
    a.write("f", "one");
    a.commit();
    b.write("f", "another");
    b.commit();
    sync(&a.index, &b.index);
    a.purge("f");
    assert_eq!(a.pull(), ["remove /f"]);
    a.write("f", "one");
    assert_eq!(a.status(), ["p  /f"]);
    sync(&a.index, &b.index);
    assert_eq!(b.pull(), ["remove /f"]);
    sync(&a.index, &b.index);
    assert_eq!(a.status(), ["p  /f"]);
    assert!(a.commit().is_empty());
}

#[test]
fn a_rename_there_and_back_is_two_renames() {
    let world = World::new();
    let [a, b] = settled(&world, [("a", "complete"), ("b", "complete")]);
    a.mv("b", "c");
    a.commit();
    b.pull();
    a.write("b", "two");
    assert_eq!(a.commit(), ["N  /b"]);
    a.rm("b");
    a.commit();
    a.mv("c", "b");
    assert_eq!(a.commit(), ["R  /c -> /b"]);
    b.pull();
    b.pull();
    assert_eq!(a.tree(), b.tree());
}

#[test]
fn what_a_purge_took_is_not_refused_when_it_was_edited_elsewhere() {
    let world = World::new();
    let [a, b] = world.apart(["a", "b"]);
    a.write_at("f", "one", 1_600_000_000);
    a.commit();
    sync(&a.index, &b.index);
    b.pull();
    b.purge("f");
    // a pull that is killed before the index learns of what it did
    b.rm("f");
    a.write_at("f", "edited elsewhere", 1_600_000_009);
    a.commit();
    sync(&a.index, &b.index);
    b.commit();
    assert_eq!(b.pull(), ["fetch /f"]);
    assert_eq!(b.contents(), ["edited elsewhere"]);
}

#[test]
fn a_file_cannot_take_the_place_of_a_folder_that_others_fill() {
    let world = World::new();
    let [a, b] = world.apart(["a", "b"]);
    b.write("d/old", "old");
    b.commit();
    sync(&a.index, &b.index);
    // the folder is purged and becomes a file here, while it gets another file there
    a.purge_all("d");
    a.write_at("d", "a file", 1_700_000_000);
    a.commit();
    b.write("d/new", "new");
    b.commit();
    for _ in 0..3 {
        sync(&a.index, &b.index);
        a.pull();
        sync(&a.index, &b.index);
        b.pull();
    }
    a.failures();
    sync(&a.index, &b.index);
    assert!(a.pull().is_empty() && b.pull().is_empty());
    assert_eq!(a.contents(), ["a file", "new"]);
    assert_eq!(a.contents(), b.contents());
    assert!(a.failures().is_empty() && b.failures().is_empty() && a.status().is_empty() && b.status().is_empty());
}

#[test]
fn a_skeleton_box_does_not_want_a_file_where_it_had_a_folder() {
    let world = World::new();
    let [a, b] = world.boxes([("a", "complete"), ("b", "skeleton")]);
    b.write("d/f", "in the folder");
    b.commit();
    b.mv("d", "moved");
    a.write("d", "a file of that name");
    a.commit();
    b.commit();
    assert!(b.pull().is_empty());
    assert!(b.status().is_empty(), "{:?}", b.status());
}

#[test]
fn a_backup_written_over_the_index_counts_with_another_hand() {
    let world = World::new();
    let [a, b] = world.apart(["a", "b"]);
    a.write_at("f", "one", 1_600_000_000);
    a.commit();
    let backup = std::fs::read(&a.index).unwrap();
    a.write_at("f", "two", 1_600_000_100);
    a.commit();
    sync(&a.index, &b.index);
    b.pull();
    // all of it is restored as it was, where it was, and gone on with
    std::fs::write(&a.index, &backup).unwrap();
    a.write_at("f", "one", 1_600_000_000);
    a.write_at("f", "three", 1_600_000_200);
    a.commit();
    a.write_at("f", "four", 1_600_000_300);
    a.commit();
    for _ in 0..2 {
        sync(&a.index, &b.index);
        a.pull();
        b.pull();
    }
    assert_eq!(b.contents(), ["four", "two"]);
    assert_eq!(a.contents(), b.contents());
}
