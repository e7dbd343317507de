//! A pull over ssh: the source is behind a private sshd, and has enough for each program that brings
//! files: many small ones for tar, a large one for sftp, a large one that changed for rsync.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use litter::couch::places::Places;
use litter::index::sqlite::Access;
use litter::query::{Assignment, Scene, set};

use crate::common::{TestBox, World};
use crate::scene::sync;
use crate::sshd::{Sshd, path_of};
use crate::trial::try_all;

const T: u64 = 1_300_000_000;

/// What commands find in their environment, while there is an sshd.
static SSH: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());

/// In the folder of a scene that needs ssh.
const MARK: &str = "over-ssh";

/// What commands in the scene in the folder `dir` find in their environment besides.
pub fn environment(dir: &Path) -> Vec<(&'static str, String)> {
    if dir.join(MARK).exists() { SSH.lock().unwrap().clone() } else { Vec::new() }
}

fn lines(changed: &str) -> String {
    (0..60_000).map(|n| if n == 777 { changed.to_owned() } else { format!("line {n} of a large file\n") }).collect()
}

/// A box that is behind another one on another machine.
pub fn behind_ssh(world: &World) -> Vec<TestBox> {
    let [src, me] = world.apart(["src", "me"]);
    for name in ["edit", "gone", "moved", "conf", "unc", "deleted", "s1", "s2", "f2d", "d2f/inner"] {
        src.write_at(name, &format!("first content of {name}"), T);
    }
    src.write_at("changed", &lines("as it was\n"), T);
    src.commit();
    sync(&src.index, &me.index);
    me.pull_from(&["src"]);
    sync(&src.index, &me.index);
    src.write_at("edit", "second content of edit", T + 100).write_at("changed", &lines("as it is\n"), T + 100);
    src.rm("gone").mv("moved", "sub/moved").mv("s1", "t").mv("s2", "s1").mv("t", "s2").rm("f2d").rm("d2f");
    src.write_at("f2d/inner", "now in a folder", T + 100).write_at("d2f", "now a file", T + 100);
    src.write_at("conf", "edited in one", T + 200).write_at("unc", "committed in one", T + 200);
    for n in 0..70 {
        src.write_at(&format!("many/{n:02}"), &format!("text {}", n / 2).repeat(n), T);
    }
    src.write_at("large", &lines("as large as the other\n"), T).commit();
    me.write_at("conf", "edited in two", T + 150).commit();
    me.write_at("unc", "not committed in two", T + 150).write_at("mine", "not committed, and mine alone", T).rm("deleted");
    for index in [&src, &me] {
        let mut scene = Scene::open(&index.root, None, Access::Write, &Places::below(&index.root)).unwrap();
        let urls: Assignment = "src.urls".parse().unwrap();
        set(&mut scene, &urls, &format!("far:{}", src.root.display()), false, std::io::sink()).unwrap();
    }
    std::fs::write(world.dir.path().join(MARK), "").unwrap();
    for b in [&src, &me] {
        b.failures();
        b.notices();
    }
    vec![me, src]
}

/// Opens the connection that all commands share: strace would wait for the end of one that a command makes, and
/// the command for that of strace.
fn open(ssh: &str) -> tempfile::TempDir {
    let sockets = tempfile::Builder::new().prefix("ltr-f.").tempdir_in("/tmp").unwrap();
    let path = format!("-oControlPath={}/{}", sockets.path().display(), litter::hash::sha1_of(b"far:"));
    let line = format!("exec {ssh} -T -oBatchMode=yes {path} -oControlPersist=yes -M -N -f -- far");
    assert!(Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).status().unwrap().success());
    sockets
}

#[test]
fn a_pull_over_ssh_at_every_step() {
    let sftp = "Subsystem sftp internal-sftp\nMaxSessions 1000";
    let Some(sshd) = Sshd::start_with(&path_of(env!("CARGO_BIN_EXE_ltr-fetch")), sftp) else { return };
    let sockets = open(&sshd.ssh());
    let folder = sockets.path().display().to_string();
    *SSH.lock().unwrap() = vec![("LTR_SSH", sshd.ssh()), ("LTR_CONNECTIONS", folder)];
    try_all("pull-ssh");
    SSH.lock().unwrap().clear();
    // and with it the connection
    sshd.kill_all();
}
