//! Passwords are in no file but the one for them, in no list of processes, and in nothing that a command says: in a
//! session with clones, pushes, another machine, and replication that goes on.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/secrets.rs"]
mod secrets;
#[path = "common/sshd.rs"]
mod sshd;
#[path = "common/strict.rs"]
mod strict;

use std::cell::RefCell;
use std::fs;

use far::{ALL, Far};
use secrets::Secrets;
use strict::{Odd, Strict};

#[test]
fn a_session_with_clones_and_pushes_keeps_the_password_to_itself() {
    let Some(far) = Far::new(ALL) else { return };
    // one of this test's own, since it looks at everybody's processes
    let login = format!("admin:pw-{}", uuid::Uuid::new_v4().simple());
    let secrets = Secrets::of(&login);
    let couch = Strict::of(&login);
    let (url, user) = (couch.url(&login, "x"), couch.url("admin", "x"));
    let other = couch.url(&login, "y");
    let watch = secrets.watch();
    let said = RefCell::new(String::new());
    // as a person types it: the shell is the test's own
    let run = |folder: &str, args: &[&str], code: i32| {
        let ran = far.ltr(folder, args);
        *said.borrow_mut() += &format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.out, ran.err);
    };
    run(".", &["init", &url], 0);
    let there = far.url().replace("/there", "/i-there/s");
    run(".", &["sync", "-d", &there, "-D", &url], 0);
    // a box from the database, one from a box, and one from a box on another machine
    run(".", &["clone", &url, "web", "web"], 0);
    fs::write(far.at("web/one"), "eins").unwrap();
    run("web", &["commit"], 0);
    run(".", &["clone", "web", "copy", "copy"], 0);
    assert_eq!(far.tree("copy"), far.tree("web"));
    run("web", &["sync", "there"], 0);
    run(".", &["clone", &far.url(), "third", "third"], 0);
    // to a folder, and to another machine; and back
    fs::write(far.at("web/two"), "zwei").unwrap();
    run("web", &["commit"], 0);
    run("web", &["push", "-v", far.at("copy").to_str().unwrap()], 0);
    run("web", &["push", "-v", "there"], 0);
    assert_eq!(far.tree("there"), far.tree("web"));
    far.commit(&[(b"three", "drei")]);
    run("web", &["pull", "-v", &far.url()], 0);
    run("web", &["-n", "push", "there"], 0);
    run("web", &["ping"], 0);
    run("web", &["box", "-l"], 0);
    // replication by the server, once and on and on
    run(".", &["init", &other], 0);
    run(".", &["sync", "-d", &url, "-D", &other], 0);
    run(".", &["sync", "--continuous", "-d", &url, "-D", &other], 3);
    run(".", &["sync", "--continuous", "--keep-password", "-d", &url, "-D", &other], 0);
    // a server that is told the password may say it
    for status in [400, 401, 403, 404, 409, 413, 500] {
        let words = serde_json::json!({"error": "odd", "reason": format!("no {login}, {url}")});
        couch.whim(move |_| Some(Odd::Status(status, words.clone())));
        for args in [&["sync"][..], &["push", "there"], &["clone", &url, "fourth", "fourth"]] {
            let folder = if args[0] == "clone" { "." } else { "web" };
            let ran = far.ltr(folder, args);
            *said.borrow_mut() += &format!("{status} {}\n{}{}", args[0], ran.out, ran.err);
        }
        couch.no_whim();
    }
    let said = said.into_inner();
    assert!(!secrets.are_in(said.as_bytes()), "{said}");
    assert!(said.contains("400 push") && said.contains("odd"), "{said}");
    assert_eq!(watch.end(), Vec::<String>::new());
    // both machines, with what ssh and sshd log
    assert_eq!(secrets.files(far.dir.path()), [far.dir.path().join(".config/ltr/credentials")]);
    assert_eq!(secrets.files(far.sshd.config().parent().unwrap()), Vec::<std::path::PathBuf>::new());
    assert!(fs::read_to_string(far.at("web/.ltr")).unwrap().starts_with(&user));
    for name in ["x", "y"] {
        let documents = serde_json::to_vec(&couch.documents(name)).unwrap();
        assert!(!documents.is_empty() && !secrets.are_in(&documents));
    }
}
