//! Spaces kept in CouchDB, as a person uses them: two homes, one database.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/couch.rs"]
mod couch;
#[path = "common/shell.rs"]
mod shell;

use std::fs;

use couch::{Couch, bare, documents, get};
use shell::Shell;

/// A home that works on a database: its password is kept as a person would do it.
fn home(url: &str) -> Shell {
    let shell = Shell::new();
    shell.run(".", "ltr-credentials", [""; 0], format!("{url}\n")).ok();
    shell
}

#[test]
fn two_homes_and_a_database() {
    let couch = Couch::start();
    let url = couch.database();
    let (here, name) = (couch::with_user(&url), url.rsplit('/').next().unwrap());
    let a = Shell::new();
    assert_eq!(a.ltr(".", ["init", &url]).ok(), format!("ltr: create database  {name}\nltr: push design docs  {name}\n"));
    assert_eq!(a.ltr(".", ["init", &here]).ok(), format!("ltr: database exists  {name}\n"));
    a.write("xyz/sub/one", "one").write("xyz/two %+#é", "two");
    let made = format!("ltr: new box to database  <ltrbox {name}/box@a >\nltr: wrote cookie for box@a\n");
    assert_eq!(a.ltr(".", ["create", &here, "box@a", "xyz"]).ok(), made);
    assert_eq!(a.read("xyz/.ltr"), format!("{here}/box@a\n"));
    assert_eq!(a.ltr("xyz", ["commit"]).ok().lines().count(), 3);
    assert_eq!(a.ltr("xyz", ["status"]).ok(), "");
    let there = documents(&url);
    let keys: Vec<&str> = there.keys().map(String::as_str).collect();
    assert_eq!(keys, ["box@a", "box@a:/sub", "box@a:/sub/one", "box@a:/two %+#é", "space"]);
    assert_eq!(get(&format!("{url}/box@a"))["type"], "box", "the cookie is the url of the box's document");

    let b = home(&url);
    fs::create_dir(b.at("uvw")).unwrap();
    b.ltr(".", ["create", &here, "box@b", "uvw"]).ok();
    assert_eq!(b.ltr("uvw", ["status"]).ok(), "w  /sub\nw  /two %+#é\n");
    b.ltr("uvw", ["set", "box@a.urls", &format!("[\"{}\"]", a.at("xyz").display())]).ok();
    b.ltr("uvw", ["pull"]).ok();
    assert_eq!(a.files("xyz"), b.files("uvw"));
    assert_eq!(a.ltr("xyz", ["box"]).ok(), "* box@a\n  box@b\n");
    assert_eq!(a.ltr("xyz", ["ls", "-R", "--copies", "=2"]).ok(), "/sub/one\n/two %+#é\n");
    assert!(bare(&url).starts_with("http://"));
}
