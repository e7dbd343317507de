//! What is there before a command, made through the library because that is quick.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use litter::couch::places::Places;
use litter::record::Want;
use litter::report::Collected;
use litter::space::Space;
use litter::sync::Options;

use crate::common::{TestBox, World};

/// A long time ago, so that nothing is racy that need not be.
const T: u64 = 1_300_000_000;

/// Boxes, and the command that is about to go wrong.
pub struct Scene {
    pub world: World,
    /// The one in which the command runs is the first.
    pub boxes: Vec<TestBox>,
    /// Where.
    pub cwd: PathBuf,
    pub args: Vec<&'static str>,
    /// The command may say that it has been done, when it is run again.
    pub once: bool,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for folder in ["ro", "dir"] {
            for b in &self.boxes {
                let _ = fs::set_permissions(b.at(folder), fs::Permissions::from_mode(0o755));
            }
        }
    }
}

/// A folder in memory where there is one: thousands of scenes are made, and each waits for its disk.
pub fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if tempfile::tempfile_in(&memory).is_ok() { memory } else { std::env::temp_dir() }
}

pub fn make(name: &str) -> Scene {
    let world = World { dir: tempfile::tempdir_in(place()).unwrap() };
    let (boxes, args, once): (Vec<TestBox>, &[&'static str], bool) = match name {
        "commit" => (edited(&world), &["commit"], false),
        "commit-paths" => (edited(&world), &["commit", "dir", "edit", "gone", "new"], false),
        "pull" => (behind(&world), &["pull", "src"], false),
        "pull-new" => (empty(&world), &["pull", "src"], false),
        "pull-any" => (three(&world), &["pull"], false),
        "pull-ssh" => (crate::far::behind_ssh(&world), &["pull", "src"], false),
        "rm" => (purged(&world), &["rm", "-r", "keep", "dir"], true),
        "sync" => (apart(&world), &["sync", "src"], false),
        "mark" => (purged(&world), &["mark", "--skip", "keep", "dir"], false),
        "set" => (purged(&world), &["set", "me.policy", "ondemand"], false),
        "set-space" => (purged(&world), &["set", "space.mincopies", "2"], false),
        "init" => (unmade(&world, "me.index", false), &["init", "me.index"], false),
        "create" => (unmade(&world, "me.index", true), &["create", "-p", "ondemand", "me.index", "me", "me"], true),
        "create-carry" => (unmade(&world, "me/.ltr-index/me.index", true), &["create", "--carry", "me.index", "me", "me"], true),
        "clone" => (cloned(&world, "src.index"), &["clone", "src", "me", "me"], true),
        "clone-carry" => (cloned(&world, "me/.ltr-index/src.index"), &["clone", "--carry", "src", "me", "me"], true),
        _ => panic!("no scene {name}"),
    };
    // one that is not there yet is made from beside it
    let cwd = if boxes[0].exists(".ltr") { boxes[0].root.clone() } else { world.dir.path().to_owned() };
    Scene { world, boxes, cwd, args: args.to_vec(), once }
}

/// What is to be a box.
fn to_be(world: &World, index: &str) -> TestBox {
    let [root, index] = ["me", index].map(|name| world.dir.path().join(name));
    TestBox { name: "me".to_owned(), root, index, said: Rc::default() }
}

/// A folder with files that is to be a box, of a space that there is or not.
fn unmade(world: &World, index: &str, space: bool) -> Vec<TestBox> {
    let me = to_be(world, index);
    me.write_at("mine", "not committed, and mine alone", T).write_at("dir/b", "content of dir/b", T);
    if !space {
        return vec![me];
    }
    let src = world.new_box(&world.index("src"), "src", "complete");
    src.write_at("a", "content of a", T).write_at("dir/b", "content of dir/b", T).commit();
    sync(&src.index, &world.index("me"));
    vec![me, src]
}

/// A box that is to be cloned.
fn cloned(world: &World, index: &str) -> Vec<TestBox> {
    let src = world.new_box(&world.index("src"), "src", "complete");
    src.write_at("a", "content of a", T).write_at("dir/b", "content of dir/b", T).commit();
    vec![to_be(world, index), src]
}

/// Two boxes that hold the same.
fn start(world: &World) -> [TestBox; 2] {
    let [src, me] = world.apart(["src", "me"]);
    let files = [
        "keep",
        "edit",
        "same",
        "gone",
        "moved",
        "s1",
        "s2",
        "c1",
        "c2",
        "c3",
        "fold/x",
        "fold/y/z",
        "f2d",
        "d2f/inner",
        "f2l",
        "mode",
        "touched",
        "conf",
        "unc",
        "skipped",
        "deleted",
        "dir/one",
        "dir/two",
    ];
    for name in files {
        src.write_at(name, &format!("first content of {name}"), T);
    }
    symlink("keep", src.at("link")).unwrap();
    symlink("keep", src.at("l2f")).unwrap();
    src.commit();
    settle(&src, &me);
    [src, me]
}

/// Merges two indexes both ways, and remembers how far they have read.
pub fn sync(a: &Path, b: &Path) {
    let places = Places::below(a.parent().unwrap());
    let options = Options { places, ..Options::below(Path::new("/nowhere")).unwrap() };
    let [a, b] = [a, b].map(|path| Space::File(path.to_path_buf()));
    litter::sync::sync(&a, &b, &options, std::io::sink(), &mut Collected::default()).unwrap();
}

/// `me` learns of all that `src` has, and gets it.
fn settle(src: &TestBox, me: &TestBox) {
    sync(&src.index, &me.index);
    me.pull_from(&["src"]);
    sync(&src.index, &me.index);
    for b in [src, me] {
        assert!(b.failures().is_empty() && b.status().is_empty(), "{:?}", b.status());
        b.notices();
    }
}

/// Everything that can become of files.
fn edit(b: &TestBox) {
    b.write_at("edit", "second content of edit, and longer", T + 100);
    b.write_at("same", "other content of same", T);
    b.rm("gone").mv("moved", "sub/moved").rm("f2d").rm("d2f").rm("f2l").rm("link").rm("l2f");
    b.mv("s1", "t").mv("s2", "s1").mv("t", "s2");
    b.mv("c1", "t").mv("c2", "c1").mv("c3", "c2").mv("t", "c3");
    b.mv("fold", "fold2");
    b.write_at("f2d/inner", "now in a folder", T + 100).write_at("d2f", "now a file", T + 100);
    symlink("edit", b.at("link")).unwrap();
    symlink("edit", b.at("f2l")).unwrap();
    b.write_at("l2f", "no symlink any more", T + 100);
    b.chmod("mode", 0o600).touch("touched", T + 100);
    b.write_at("conf", "edited in one", T + 200).write_at("unc", "committed in one", T + 200);
    b.write_at("new/a", "brand new", T).write_at("new/deep/b", "brand new as well", T).write_at("empty", "", T);
    b.write_at("twin1", "twins", T).write_at("twin2", "twins", T).write_at("copy", "first content of keep", T);
    b.write_at("big", &"three hundred thousand bytes, ".repeat(10_000), T);
    symlink("nowhere", b.at("newlink")).unwrap();
    fs::create_dir(b.at("emptydir")).unwrap();
    b.write_at("ro/file", "in a folder that nobody may write to", T).chmod("ro", 0o555);
}

fn edited(world: &World) -> Vec<TestBox> {
    let [src, me] = start(world);
    edit(&me);
    vec![me, src]
}

fn behind(world: &World) -> Vec<TestBox> {
    let [src, me] = start(world);
    edit(&src);
    src.commit();
    src.purge("dir/one");
    src.pull_from(&[]);
    me.write_at("conf", "edited in two", T + 150);
    me.commit();
    me.write_at("unc", "not committed in two", T + 150).write_at("mine", "not committed, and mine alone", T).rm("deleted");
    me.mark("/skipped", Want::Skip);
    vec![me, src]
}

/// Two boxes that have what the third is to get: both are looked for at the same time.
fn three(world: &World) -> Vec<TestBox> {
    let [src, me] = start(world);
    let index = world.index("other");
    sync(&src.index, &index);
    let other = world.new_box(&index, "other", "complete");
    other.write_at("theirs/a", "of the third", T);
    edit(&src);
    for b in [&src, &other] {
        b.commit();
    }
    sync(&other.index, &src.index);
    sync(&src.index, &me.index);
    me.write_at("mine", "not committed, and mine alone", T);
    vec![me, src, other]
}

fn empty(world: &World) -> Vec<TestBox> {
    let [src, me] = world.apart(["src", "me"]);
    for name in ["a", "dir/b", "dir/deep/c", "twin"] {
        src.write_at(name, &format!("content of {}", if name == "twin" { "a" } else { name }), T);
    }
    src.write_at("big", &"three hundred thousand bytes, ".repeat(10_000), T).chmod("a", 0o400).chmod("dir", 0o555);
    symlink("a", src.at("link")).unwrap();
    src.commit();
    vec![me, src]
}

fn purged(world: &World) -> Vec<TestBox> {
    let [src, me] = start(world);
    vec![me, src]
}

fn apart(world: &World) -> Vec<TestBox> {
    let [src, me] = start(world);
    edit(&src);
    src.commit();
    me.write_at("conf", "edited in two", T + 150).write_at("other", "new in two", T).rm("deleted");
    me.commit();
    vec![me, src]
}
