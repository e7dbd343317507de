//! A space in a database, and machines that are reached over ssh: indexes there, and boxes.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;
#[path = "common/strict.rs"]
mod strict;

use std::fs;

use far::{ALL, Far};
use strict::{ADMIN, Strict};

#[test]
fn a_database_and_what_is_on_another_machine_tell_each_other() {
    let Some(far) = Far::new(ALL) else { return };
    let couch = Strict::start();
    let (url, user) = (couch.url(ADMIN, "x"), couch.url("admin", "x"));
    far.shell(&format!("ltr init '{url}'")).well();
    let there = far.url().replace("/there", "/i-there/s");
    // one without boxes takes over the space that it is first synced with, here from an index elsewhere
    far.shell(&format!("ltr sync -d \"{}\" -D {user}", there.replace('$', "\\$"))).well();
    assert!(couch.documents("x").contains_key("there"));
    fs::create_dir(far.at("web")).unwrap();
    far.shell(&format!("ltr create {user} web web")).well();
    assert_eq!(fs::read_to_string(far.at("web/.ltr")).unwrap(), format!("{user}/web\n"));
    for (name, text) in [("one", "eins"), ("two", "zwei")] {
        fs::write(far.at("web").join(name), text).unwrap();
    }
    far.ltr("web", &["commit"]).well();
    // and back: the database to the index elsewhere
    far.shell(&format!("ltr sync -d {user} -D \"{}\"", there.replace('$', "\\$"))).well();
    assert!(far.ltr("there", &["box"]).well().out.contains("  web\n"));
    assert_eq!(far.ltr("there", &["status"]).well().out, "w  /one\nw  /two\n");
    // a push to a box there, and what it has then is in the database
    let said = far.ltr("web", &["push", "there"]).well();
    assert!(said.out.contains(&format!("{}/one\n", far.url())), "{}", said.out);
    assert_eq!(far.tree("there"), far.tree("web"));
    assert_eq!(couch.documents("x")["there:/one"]["present"], true);
    assert_eq!(couch.documents("x")["there:/one"]["sha1"], couch.documents("x")["web:/one"]["sha1"]);
    // and a pull from it
    far.commit(&[(b"three", "drei")]);
    let said = far.ltr("web", &["pull", &far.url()]).well();
    assert!(said.out.contains("/three"), "{}", said.out);
    assert_eq!(far.tree("there"), far.tree("web"));
    assert_eq!(couch.documents("x")["web:/three"]["present"], true);
    far.ltr("web", &["sync", "there"]).well();
    // a new one from there has the index of this machine, and from the database the database's
    far.shell(&format!("ltr clone {user} copy copy")).well();
    assert_eq!(fs::read_to_string(far.at("copy/.ltr")).unwrap(), format!("{user}/copy\n"));
    assert_eq!(far.tree("copy"), far.tree("web"));
    assert!(couch.documents("x").contains_key("copy:/three"));
}
