//! The stick in a pocket: it carries its own index, is mounted anywhere, and answers for disks that are
//! not there.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "common/shell.rs"]
mod shell;

use std::fs;

use shell::Shell;

/// A stick that was filled at home, from a space that is now out of reach.
fn in_a_pocket() -> Shell {
    let mut s = Shell::new();
    fs::create_dir_all(s.at("home1")).unwrap();
    s.home = s.at("home1");
    s.ltr(".", ["init", "home1/space"]).ok();
    s.write("desk/films/one", "film 1").write("desk/films/two", "film 2").write("desk/notes", "notes");
    s.ltr(".", ["create", "home1/space", "desk", "desk"]).ok();
    s.ltr("desk", ["commit"]).ok();
    s.ltr(".", ["clone", "--carry", "-p", "ondemand", "desk", "stick", "stick"]).ok();
    assert!(s.files("stick").is_empty(), "an ondemand box begins empty");
    s.ltr("stick", ["mark", "--want", "/films"]).ok();
    assert_eq!(s.ltr("stick", [""; 0]).ok(), "W  /films\n");
    s.ltr("stick", ["pull"]).ok();
    assert_eq!(s.read("stick/films/one"), "film 1");
    // what the desk does while the stick is plugged in goes along
    s.ltr("stick", ["sync"]).ok();
    away(&mut s);
    s
}

/// Another place: other mount points, another home, no desk.
fn away(s: &mut Shell) {
    fs::create_dir_all(s.at("elsewhere/media")).unwrap();
    fs::rename(s.at("stick"), s.at("elsewhere/media/stick")).unwrap();
    for name in ["desk", "home1"] {
        fs::rename(s.at(name), s.at(format!("{name} far away"))).unwrap();
    }
    fs::create_dir_all(s.at("home2")).unwrap();
    s.home = s.at("home2");
}

/// Back at the desk.
fn home(s: &mut Shell) {
    for name in ["desk", "home1"] {
        fs::rename(s.at(format!("{name} far away")), s.at(name)).unwrap();
    }
    fs::rename(s.at("elsewhere/media/stick"), s.at("stick")).unwrap();
    s.home = s.at("home1");
}

#[test]
fn files_walk_to_a_host_without_a_way_to_the_origin_and_edits_walk_back() {
    let mut s = in_a_pocket();
    let ran = s.ltr("elsewhere", ["clone", "-p", "ondemand", "media/stick", "attic", "attic"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    s.ltr("elsewhere/attic", ["mark", "--want", "/films", "/notes"]).ok();
    let ran = s.ltr("elsewhere/attic", ["pull", "../media/stick"]);
    assert!(s.read("elsewhere/attic/films/one") == "film 1" && s.exists("elsewhere/attic/films/two"), "{}{}", ran.out, ran.err);
    // the notes are at the desk only
    assert_eq!(s.ltr("elsewhere/attic", [""; 0]).out, "W  /notes\n");
    // an edit, a new file and a rename; back onto the stick
    s.write("elsewhere/attic/films/one", "film 1, cut").write("elsewhere/attic/films/three", "film 3");
    fs::rename(s.at("elsewhere/attic/films/two"), s.at("elsewhere/attic/films/second")).unwrap();
    let done = s.ltr("elsewhere/attic", ["commit"]);
    assert_eq!(done.ok(), "M  /films/one\nR  /films/two -> /films/second\nN  /films/three\n");
    let ran = s.ltr("elsewhere/media/stick", ["pull", "../../attic"]);
    assert_eq!(s.read("elsewhere/media/stick/films/one"), "film 1, cut", "{}{}", ran.out, ran.err);
    assert!(s.exists("elsewhere/media/stick/films/second") && s.exists("elsewhere/media/stick/films/three"));
    home(&mut s);
    let ran = s.ltr("desk", ["pull", "../stick"]);
    assert_eq!(s.read("desk/films/one"), "film 1, cut", "{}{}", ran.out, ran.err);
    assert!(s.exists("desk/films/second") && s.exists("desk/films/three") && !s.exists("desk/films/two"));
    assert_eq!(s.read("desk/notes"), "notes");
    assert_eq!(s.files("desk/films"), s.files("stick/films"));
    assert_eq!(s.ltr("desk", [""; 0]).out, "");
    // the desk's answer to the mark of a box that it has never seen travels back
    assert_eq!(s.ltr("desk", ["ls", "-b", "attic", "-R"]).ok(), "/films\n/films/one\n/films/second\n/films/three\n");
    s.ltr("desk", ["mark", "-b", "stick", "--want", "notes"]).ok();
    s.ltr("stick", ["pull", "desk"]).ok();
    away(&mut s);
    let ran = s.ltr("elsewhere/attic", ["pull", "../media/stick"]);
    assert_eq!(s.read("elsewhere/attic/notes"), "notes", "{}{}", ran.out, ran.err);
    assert_eq!(s.ltr("elsewhere/attic", [""; 0]).out, "");
}

#[test]
fn the_index_answers_for_disks_that_are_not_there() {
    let s = in_a_pocket();
    let stick = "elsewhere/media/stick";
    assert_eq!(s.ltr(stick, ["ls", "-b", "desk"]).ok(), "films\nnotes\n");
    assert_eq!(s.ltr(stick, ["ls", "-b", "desk", "/films"]).ok(), "one\ntwo\n");
    let stat = s.ltr(stick, ["stat", "/notes"]);
    assert!(stat.ok().contains("copy: desk:/notes") && stat.out.contains("size: 5"), "{}", stat.out);
    assert_eq!(s.ltr(stick, ["ls", "--space", "--copies", "<2"]).ok(), "/notes\n");
    assert_eq!(s.ltr(stick, ["diff", "desk", "stick"]).ok(), "<  /notes\n");
    assert_eq!(s.ltr(stick, ["show", "desk"]).json()[0]["policy"], "complete");
    let boxes = s.ltr(stick, ["box", "-l"]);
    assert!(boxes.ok().lines().nth(1).unwrap().starts_with("      desk") && boxes.out.contains("\n*     stick"), "{}", boxes.out);
    assert_eq!(s.ltr(stick, [""; 0]).ok(), "");
    // the desk is out of reach: nothing is fetched, nothing is lost, and it is said
    s.ltr(stick, ["mark", "--want", "/notes"]).ok();
    assert_eq!(s.ltr(stick, [""; 0]).ok(), "W  /notes\n");
    let ran = s.ltr(stick, ["pull"]);
    assert!(ran.status == 1 && ran.err.contains("/notes"), "{}: {}{}", ran.status, ran.out, ran.err);
    // a copy here is not given up while the other one cannot be looked at
    s.ltr(stick, ["mark", "--skip", "/films/one"]).ok();
    let ran = s.ltr(stick, ["pull"]);
    assert!(ran.status == 1 && ran.err.contains("/films/one"), "{}: {}{}", ran.status, ran.out, ran.err);
    assert!(s.exists("elsewhere/media/stick/films/one"));
}

#[test]
fn a_stick_that_is_full_holds_whole_files_and_goes_on_when_there_is_room() {
    let s = Shell::with_boxes();
    let stick = s.at("stick");
    fs::create_dir(&stick).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
        .arg(&stick)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("mount is not permitted: a full disk is not tested");
        return;
    }
    let unmount = Unmount(stick);
    s.sh("a", "for i in 1 2 3 4 5 6; do head -c 1000000 /dev/urandom >$i; done; mkdir d; echo x >d/x; head -c 2500000 /dev/urandom >big").ok();
    s.ltr("a", ["commit"]).ok();
    s.ltr(".", ["create", "--carry", "space", "stick", "stick"]).ok();
    s.ltr("stick", ["sync", "../a"]).ok();
    // the reserve alone does not fit
    let before = s.files("stick");
    let ran = s.ltr("stick", ["pull", "a"]);
    assert!(ran.status == 3 && ran.err.contains("bytes"), "{}: {}{}", ran.status, ran.out, ran.err);
    assert_eq!(s.files("stick"), before);
    s.ltr("stick", ["set", "stick.reserve", "0"]).ok();
    let ran = s.ltr("stick", ["pull", "a"]);
    assert!(ran.status == 3 && ran.err.contains("bytes"), "{}: {}{}", ran.status, ran.out, ran.err);
    assert_eq!(s.files("stick"), before, "room is checked before the first byte");
    // the disk fills up behind ltr's back: what came is whole, the rest is named
    s.ltr("stick", ["mark", "--skip", "/big", "/6", "/5"]).ok();
    let plan = s.run("stick", "ltr-plan", ["a"], "").raw;
    s.sh("stick", "head -c 2900000 /dev/zero >.ltr-index/filler").ok();
    let ran = s.run("stick", "sh", ["-c", "ltr-fetch | ltr-index-put"], &plan);
    assert!(ran.status == 3 || ran.status == 1, "{}: {}{}", ran.status, ran.out, ran.err);
    for (name, look) in s.files("stick") {
        assert_eq!(s.files("a").get(&name), Some(&look), "{name} is whole");
    }
    fs::remove_file(s.at("stick/.ltr-index/filler")).unwrap();
    let ran = s.ltr("stick", ["pull", "a"]);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert_eq!(s.files("stick").len(), 6);
    assert_eq!(s.ltr("stick", [""; 0]).ok(), "");
    assert!(!s.exists("stick/.ltr-tmp"));
    drop(unmount);
}

#[test]
fn two_spaces_whose_indexes_have_one_name_are_cloned_to_one_machine() {
    let mut s = Shell::with_boxes();
    for space in ["photos", "music"] {
        s.write(format!("{space}/box/{space}"), space);
        s.ltr(space, ["init", "./index"]).ok();
        s.ltr(space, ["create", "./index", "box", "box"]).ok();
        s.ltr(format!("{space}/box"), ["commit"]).ok();
        s.ltr(space, ["clone", "--carry", "box", "stick", "stick"]).ok();
    }
    fs::create_dir_all(s.at("home2")).unwrap();
    s.home = s.at("home2");
    for space in ["photos", "music"] {
        s.ltr(".", ["clone", &format!("{space}/stick"), &format!("{space}-desk"), "desk"]).ok();
        assert_eq!(s.read(format!("{space}-desk/{space}")), space);
        // and another box of the same space has the same index
        s.ltr(".", ["clone", &format!("{space}/stick"), &format!("{space}-attic"), "attic"]).ok();
        assert_eq!(s.ltr(format!("{space}-attic"), ["box"]).ok(), "* attic\n  box\n  desk\n  stick\n");
    }
}

#[test]
fn a_stick_that_nobody_may_write_to_can_be_cloned() {
    let s = in_a_pocket();
    let stick = s.at("elsewhere/media/stick");
    let mount =
        |args: &[&str]| std::process::Command::new("mount").args(args).arg(&stick).status().is_ok_and(|done| done.success());
    if !mount(&["--bind", stick.to_str().unwrap()]) {
        eprintln!("mount is not permitted: a disk that cannot be written is not tested");
        return;
    }
    let unmount = Unmount(stick.clone());
    assert!(mount(&["-o", "remount,ro,bind"]));
    let ran = s.ltr("elsewhere", ["clone", "media/stick", "attic", "attic"]);
    // the box is there and has all, and what could not be told to the stick is named
    let words = "only read: Read-only file system";
    assert!(ran.status == 0 && ran.err.contains(words), "{}: {}{}", ran.status, ran.out, ran.err);
    assert_eq!(s.files("elsewhere/attic"), s.files("elsewhere/media/stick"));
    let ran = s.ltr("elsewhere/attic", ["pull", "../media/stick"]);
    assert!(ran.status == 0 && ran.err.contains(words), "{}: {}{}", ran.status, ran.out, ran.err);
    // what is new here is not there yet, which is what a sync is for
    s.ltr("elsewhere/attic", ["sync", "../media/stick"]).fails(1, words);
    assert_eq!(s.ltr("elsewhere/attic", ["status"]).out, "w  /notes\n");
    drop(unmount);
    s.ltr("elsewhere/attic", ["sync", "../media/stick"]).ok();
    assert!(s.ltr("elsewhere/media/stick", ["box"]).ok().contains("attic"));
}

/// Takes a file system away at the end.
struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
