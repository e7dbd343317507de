//! One connection to each machine, shared by all that a command runs, and closed at its end.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;
#[path = "common/wire.rs"]
mod wire;

use std::fs;

use far::{ALL, Far, Kit};
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
