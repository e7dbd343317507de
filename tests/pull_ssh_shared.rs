//! One connection to each machine, shared by all that a command runs, and closed at its end.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;
#[path = "common/wire.rs"]
mod wire;

use std::fs;
use std::path::Path;

use far::{ALL, Far, Kit};
use rustix::process::Signal;
use wire::Wire;

fn wired(kit: Kit) -> Option<(Far, Wire)> {
    let mut far = Far::new(kit)?;
    far.commit(&[(b"a", "alpha"), (b"d/b", "beta"), (b"new\nline", "gamma")]);
    let wire = Wire::to(far.sshd.port());
    far.ssh = format!("{} -p {}", far.ssh, wire.port);
    Some((far, wire))
}

#[test]
fn a_command_makes_one_connection_and_leaves_none() {
    for kit in [ALL, Kit { rsync: false, ..ALL }] {
        let Some((far, wire)) = wired(kit) else { return };
        for (made, args) in
            [(1, vec!["pull", "there"]), (2, vec!["sync", "there"]), (3, vec!["diff", "-f", "a", "here", "there"])]
        {
            far.ltr("here", &args).well();
            assert_eq!(wire.made(), made, "{args:?}");
            assert!(wire.all_end(), "{args:?}: nothing stays open");
        }
        assert_eq!(far.tree("here"), far.tree("there"));
        // ltr-fetch alone has connections of its own
        fs::remove_file(far.at("there/a")).unwrap();
        far.commit(&[(b"c", "gamma"), (b"c2", "delta")]);
        far.ltr("here", &["sync", "there"]).well();
        let before = wire.made();
        far.shell("cd here && ltr-plan there | ltr-fetch | ltr-index-put >../put").well();
        assert_eq!((far.tree("here").len(), wire.made()), (5, before + 1));
        assert!(wire.all_end(), "nothing stays open");
    }
}

#[test]
fn a_connection_that_stays_does_not_keep_the_box_locked() {
    let Some((far, wire)) = wired(ALL) else { return };
    let sockets = tempfile::Builder::new().prefix("ltr-test.").tempdir_in("/tmp").unwrap();
    let line = format!("cd here && LTR_CONNECTIONS={} ltr pull there", sockets.path().display());
    let path = format!("PATH={}:$PATH", concat!(env!("CARGO_MANIFEST_DIR"), "/porcelain"));
    far.shell(&format!("{path}; {line}")).well();
    assert_eq!(fs::read_dir(sockets.path()).unwrap().count(), 1, "the connection is there");
    let root = litter::boxfs::BoxRoot::open(&far.at("here")).unwrap();
    litter::lock::take(&root).unwrap();
    // and is used by the next
    far.shell(&format!("{path}; {line}")).well();
    assert_eq!(wire.made(), 1);
    far.shell(&format!("ltr-hangup {}", sockets.path().display())).well();
    assert!(wire.all_end() && !sockets.path().exists());
}

#[test]
fn a_machine_that_does_not_answer_is_asked_once() {
    let Some((far, wire)) = wired(ALL) else { return };
    far.ltr("here", &["sync", "there"]).well();
    let before = wire.made();
    far.sshd.stop();
    let said = far.ltr("here", &["pull"]);
    assert_eq!(far.tree("here"), []);
    assert!(said.err.contains("ltr-fetch: /a: could not be had from there"), "{}", said.err);
    // ltr-reach, and ltr-fetch, which is another process
    assert!(wire.made() - before <= 2, "{}{}", wire.made() - before, said.err);
}

/// A process that goes on, or ends, when this is dropped.
struct Stopped(rustix::process::Pid);

impl Stopped {
    /// Stops the master of the one socket in `folder`.
    fn master(far: &Far, folder: &Path) -> Self {
        let socket = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        let check = format!("{} -o ControlPath={} -O check far", far.ssh, socket.display());
        // "Master running (pid=123)"
        let said = far.shell(&check).well().err;
        let pid = said.split_once("pid=").unwrap().1.split(')').next().unwrap().parse().unwrap();
        let stopped = Self(rustix::process::Pid::from_raw(pid).unwrap());
        rustix::process::kill_process(stopped.0, Signal::STOP).unwrap();
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn a_connection_that_hangs_or_is_dead_is_given_up_and_made_anew() {
    let Some((mut far, wire)) = wired(ALL) else { return };
    let sockets = tempfile::Builder::new().prefix("ltr-test.").tempdir_in("/tmp").unwrap();
    let folder = sockets.path();
    far.env.push(("LTR_CONNECTIONS", folder.display().to_string()));
    far.env.push(("LTR_TIMEOUT", "3".to_owned()));
    far.ltr("here", &["sync", "there"]).well();
    let first = Stopped::master(&far, folder);
    far.ltr("here", &["pull", "there"]).well();
    assert_eq!((far.tree("here"), wire.made()), (far.tree("there"), 2));
    // nothing is left where that one was
    let second = Stopped::master(&far, folder);
    drop(second);
    far.ltr("here", &["sync", "there"]).well();
    assert_eq!((wire.made(), fs::read_dir(folder).unwrap().count()), (3, 1));
    let third = Stopped::master(&far, folder);
    far.shell(&format!("ltr-hangup {}", folder.display())).well();
    assert!(!folder.exists());
    // a command waits for none of its own either
    far.env.retain(|(key, _)| *key != "LTR_CONNECTIONS");
    far.ltr("here", &["sync", "there"]).well();
    drop((first, third));
    assert!(wire.all_end(), "no connection is left that nobody closes");
}
