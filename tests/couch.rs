//! Spaces kept in CouchDB, as a person uses them: two homes, one database.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/couch.rs"]
mod couch;
#[path = "common/door.rs"]
mod door;
#[path = "common/secrets.rs"]
mod secrets;
#[path = "common/shell.rs"]
mod shell;

use std::fs;

use couch::{Couch, bare, documents, get};
use secrets::Secrets;
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

/// What README.md shows, in a database in place of a file.
#[test]
fn the_documented_session() {
    let couch = Couch::start();
    let url = couch.database();
    let name = url.rsplit('/').next().unwrap();
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(top.join("README.md")).unwrap();
    // the first command brings the password
    let text = text.replacen("ltr init ./testspace", "ltr init \u{1}", 1);
    let text = text.replace("./testspace", "\u{2}").replace("~/testspace", "\u{2}").replace("testspace", name);
    let text = text.replace('\u{1}', &url).replace('\u{2}', &couch::with_user(&url));
    let s = Shell::new();
    s.write("README.md", &text);
    let mut command = s.command(".", top.join("tests/transcripts.sh"));
    let ran = command.env_remove("USER").arg(s.at("README.md")).output().unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(documents(&url).len() > 20);
}

/// The lines with which README.md asks CouchDB itself, as they are written there.
#[test]
fn other_tools_see_the_same_documents() {
    let couch = Couch::start();
    let url = couch.database();
    let text = fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let block = text.split("```sh\n").find(|block| block.starts_with("curl -n \"$(cat ~/xyz/.ltr)\"")).unwrap();
    let block = block.split("```").next().unwrap().replace("http://maytag:5984/testspace", &bare(&url));
    // the request for the large files is of three lines
    let asks: Vec<String> =
        block.split("\ncurl ").map(|ask| format!("curl {}", ask.trim_start_matches("curl ").trim_end())).collect();
    assert_eq!(asks.len(), 3, "{asks:#?}");
    let (login, _) = url.strip_prefix("http://").unwrap().split_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let s = Shell::new();
    let host = couch.address().split_once(':').unwrap().0;
    s.write("home/.netrc", &format!("machine {host} login {user} password {password}\n"));
    let space = couch::with_user(&url);
    s.ltr(".", ["init", &space]).ok();
    s.write("home/xyz/once", "once").write("home/xyz/twice", "twice").write("home/xyz/again", "twice");
    let large = fs::File::create(s.at("home/xyz/film")).unwrap();
    large.set_len(1_000_000_001).unwrap();
    s.ltr("home/xyz", ["create", &space, "box@maytag"]).ok();
    s.ltr("home/xyz", ["commit"]).ok();
    let ask = |number: usize| {
        let ran = s.sh("home", &asks[number].replacen("curl", "curl -s", 1));
        assert_eq!(ran.status, 0, "{}: {}{}", asks[number], ran.out, ran.err);
        ran.out
    };
    let cookie: serde_json::Value = serde_json::from_str(&ask(0)).unwrap();
    assert_eq!((&cookie["_id"], &cookie["type"]), (&"box@maytag".into(), &"box".into()));
    let once = litter::hash::sha1_of(b"once").to_string();
    // what is twice is no such content
    let film = documents(&url)["box@maytag:/film"]["sha1"].as_str().unwrap().to_owned();
    let mut counts: Vec<String> = ask(1).lines().map(str::to_owned).collect();
    counts.sort();
    let mut alone = [once, film];
    alone.sort();
    assert_eq!(counts, alone);
    let found: serde_json::Value = serde_json::from_str(&ask(2)).unwrap();
    let found = found["docs"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["path"], &found[0]["size"]), (&"/film".into(), &1_000_000_001_u64.into()));
}

/// What ltr-couchdb(7) says of the views, which ltr itself never asks.
#[test]
fn views_say_where_things_are() {
    let couch = Couch::start();
    let url = couch.database();
    let s = Shell::new();
    s.ltr(".", ["init", &url]).ok();
    s.write("xyz/sub/once", "once").write("xyz/twice", "twice").write("xyz/again", "twice");
    s.ltr("xyz", ["create", &couch::with_user(&url), "b"]).ok();
    s.ltr("xyz", ["commit"]).ok();
    fs::remove_file(s.at("xyz/sub/once")).unwrap();
    s.ltr("xyz", ["commit"]).ok();
    let rows = |view: &str| get(&format!("{url}/_design/ltr/_view/{view}"))["rows"].as_array().unwrap().clone();
    let keys = |view: &str| rows(view).iter().map(|row| row["key"].clone()).collect::<Vec<_>>();
    assert_eq!(keys("boxes"), ["b"]);
    let sha1 = litter::hash::sha1_of(b"twice").to_string();
    // what is gone is no copy
    assert_eq!(keys("by-sha1?reduce=false"), [sha1.as_str(); 2]);
    let copies = &rows("by-sha1?group=true")[0];
    assert_eq!((&copies["key"], &copies["value"]), (&sha1.into(), &2.into()));
    let place = rows("by-sha1?reduce=false")[0]["value"].to_string();
    assert!(["\"b\"", "\"/again\"", "5"].iter().all(|part| place.contains(part)), "{place}");
    let paths = rows("by-path");
    assert!(paths.iter().any(|row| row["key"] == "/sub/once" || row["key"][0] == "/sub/once"), "{paths:?}");
}

#[test]
fn on_another_computer_with_another_server() {
    let (left, right) = (Couch::start(), Couch::another());
    let (here, there) = (left.database(), right.database());
    // both machines are this one, so that each finds the other's box in a folder
    let a = home(&there);
    a.ltr(".", ["init", &here]).ok();
    a.write("xyz/sub/one", "one");
    a.ltr("xyz", ["create", &here, "box@a"]).ok();
    a.ltr("xyz", ["commit"]).ok();
    a.ltr("xyz", ["set", "box@a.urls", &format!("[\"{}\"]", a.at("xyz").display())]).ok();

    // a database without boxes takes over the space that it is first synced with
    let b = Shell::new();
    b.ltr(".", ["init", &there]).ok();
    let record = b.ltr(".", ["sync", "-d", &here, "-D", &there]).json().remove(0);
    assert_eq!((&record["type"], &record["ok"]), (&"sync".into(), &true.into()), "{record}");
    for key in ["docs_read", "docs_written", "doc_write_failures", "start_time", "end_time", "source_last_seq"] {
        assert!(record.get(key).is_some(), "{key}: {record}");
    }
    assert!(record["docs_written"].as_u64().unwrap() >= 4);
    assert!(!record.to_string().contains(couch::PASSWORD));
    let made = format!("ltr: new box to database  <ltrbox {}/box@b >", there.rsplit('/').next().unwrap());
    let cloned = b.ltr(".", ["clone", &there, "uvw", "box@b"]);
    assert!(cloned.ok().starts_with(&made), "{}", cloned.out);
    assert_eq!(a.files("xyz"), b.files("uvw"));
    b.write("uvw/two", "two");
    assert_eq!(b.ltr("uvw", ["commit"]).ok(), "N  /two\n");
    b.ltr("uvw", ["set", "box@b.urls", &format!("[\"{}\"]", b.at("uvw").display())]).ok();
    b.ltr(".", ["sync", "-d", &there, "-D", &here]).ok();
    a.ltr("xyz", ["pull"]).ok();
    assert_eq!(a.files("xyz"), b.files("uvw"));
    assert!(a.ltr("xyz", ["box"]).ok().contains("box@b"));

    // another space is refused
    let other = left.database();
    a.ltr(".", ["init", &other]).ok();
    fs::create_dir(a.at("other")).unwrap();
    a.ltr("other", ["create", &other, "box@other"]).ok();
    a.ltr(".", ["sync", "-d", &other, "-D", &here]).fails(3, "two spaces do not merge");
    // a database that is not there is not made by a slip of the pen
    a.ltr(".", ["sync", "-d", &here, "-D", &left.database()]).fails(3, "ltr init");
    // the servers would keep the passwords
    a.ltr(".", ["sync", "--continuous", "-d", &here, "-D", &there]).fails(3, "--keep-password");
}

#[test]
fn a_database_and_a_file_and_a_box() {
    let couch = Couch::start();
    let url = couch.database();
    let s = Shell::with_files();
    let b = home(&url);
    b.ltr(".", ["init", &couch::with_user(&url)]).ok();
    // the file's space goes to a database that has none
    s.ltr(".", ["init", &url]).fails(0, "");
    assert_eq!(s.ltr(".", ["sync", "-d", "space", "-D", &url]).status, 0);
    assert_eq!(documents(&url).len(), 13);
    let rev = documents(&url)["a"]["_rev"].clone();
    assert_eq!(s.ltr(".", ["sync", "-d", "space", "-D", &url]).status, 0);
    assert_eq!(documents(&url)["a"]["_rev"], rev, "written twice");
    // and from there to a file
    s.ltr(".", ["init", "copy"]).ok();
    s.ltr(".", ["-n", "sync", "-d", &url, "-D", "copy"]).ok();
    assert_eq!(s.sh(".", "ltr-index-get copy | jq -s length").ok(), "1\n");
    s.ltr(".", ["sync", "-d", &url, "-D", "copy"]).ok();
    assert_eq!(s.sh(".", "ltr-index-get copy | jq -s length").ok(), "14\n");
    // a box in the database, and one in a file, tell each other
    fs::create_dir(s.at("c")).unwrap();
    s.ltr("c", ["create", &couch::with_user(&url), "c"]).ok();
    s.ltr("c", ["pull", "../a"]).ok();
    assert_eq!(s.files("a"), s.files("c"));
    s.write("c/new", "new");
    s.ltr("c", ["commit"]).ok();
    s.ltr("b", ["sync", "../c"]).ok();
    assert_eq!(s.ltr("b", ["ls", "--space", "new"]).ok(), "/new\n");
    // by the name of a box, both ways; and the folder of a box in the database is one to clone from
    s.ltr("c", ["sync", "b"]).ok();
    assert_eq!(s.ltr("b", ["mark", "--skip", "three"]).ok(), "skip  /three\n");
    s.ltr("c", ["sync", "b"]).ok();
    assert_eq!(documents(&url)["mark:b:/three"]["want"], "skip");
    s.ltr(".", ["clone", "c", "d", "d"]).ok();
    assert_eq!(s.read("d/.ltr"), format!("{}/d\n", couch::with_user(&url)));
    assert_eq!((s.files("d"), documents(&url)["d:/new"]["present"].clone()), (s.files("c"), true.into()));
    // plumbing on the database itself
    assert_eq!(
        s.sh(".", &format!("ltr-index-get --id c:/new {} | jq -r '.path // empty'", couch::with_user(&url))).ok(),
        "/new\n"
    );
    s.run(".", "ltr-index-set", ["--space", &couch::with_user(&url), "b.note", "read me"], "").ok();
    assert_eq!(documents(&url)["b"]["note"], "read me");
}

#[test]
fn the_password_is_in_one_file_and_nowhere_else() {
    let couch = Couch::start();
    let url = couch.database();
    let user = couch::with_user(&url);
    let (login, _) = url.strip_prefix("http://").unwrap().split_once('@').unwrap();
    let secrets = Secrets::of(login);
    let door = door::Door::to(couch.address());
    let s = Shell::new();
    s.write("xyz/one", "one");
    let watch = secrets.watch();
    let mut said = String::new();
    let mut run = |folder: &str, args: &[&str]| {
        let ran = s.ltr(folder, args);
        said += &format!("{}{}", ran.out, ran.err);
        ran.status
    };
    assert_eq!(run(".", &["init", &url]), 0);
    assert_eq!(run(".", &["create", &url, "b", "xyz"]), 0);
    for args in [&["commit"][..], &["status"], &["pull"], &["sync"], &["box", "-l"], &["set", "b.name", "x"], &["rm", "one"]] {
        assert_eq!(run("xyz", args), 0, "{args:?}");
    }
    // and with every kind of failure
    let through = door.url(&url);
    assert_eq!(run(".", &["init", &through]), 0);
    for fault in door::ALL {
        door.spoil(0..99, fault);
        assert_eq!(run(".", &["init", &door.url(&user)]), 3, "{fault:?}");
        assert_eq!(run(".", &["sync", "-d", &through, "-D", "nothing"]), 3, "{fault:?}");
        assert_eq!(run(".", &["sync", "-d", &through, "-D", &url]), 3, "{fault:?}");
    }
    assert_eq!(run(".", &["init", &format!("{url}/../x")]), 3);
    assert_eq!(run(".", &["create", &url.replace("ltr-test", "Ltr"), "c", "xyz"]), 3);
    assert_eq!(watch.end(), Vec::<String>::new());
    assert!(!secrets.are_in(said.as_bytes()), "{said}");
    assert_eq!(secrets.files(&s.dir), [s.at("home/.config/ltr/credentials")]);
    assert!(!secrets.are_in(get(&format!("{url}/_all_docs?include_docs=true")).to_string().as_bytes()));
    assert_eq!(s.sh(".", "stat -c %a home/.config/ltr/credentials").ok(), "600\n");
}

#[test]
fn a_refused_login_says_which_file_to_look_at() {
    let couch = Couch::start();
    let url = couch.database();
    let user = couch::with_user(&url);
    let s = Shell::new();
    let file = s.home.join(".config/ltr/credentials").display().to_string();
    couch::send("PUT", &url, &serde_json::json!({}));
    // nobody knows the password, and there is no terminal to ask at
    s.ltr(".", ["init", &user]).fails(3, &file);
    s.ltr(".", ["init", &user.replacen('@', ":wrong@", 1)]).fails(3, &file);
    let host = couch.address().split_once(':').unwrap().0;
    fs::remove_file(&file).unwrap();
    let login = url.strip_prefix("http://").unwrap().split_once('@').unwrap().0;
    let (name, password) = login.split_once(':').unwrap();
    s.write("home/.netrc", &format!("machine {host}\n  login {name}\n  password {password}\n"));
    s.ltr(".", ["init", &user]).ok();
    s.ltr(".", ["init", &bare(&url)]).ok();
    assert!(!s.exists("home/.config/ltr/credentials"));
}

#[test]
fn on_a_train() {
    let couch = Couch::start();
    let url = couch.database();
    let door = door::Door::to(couch.address());
    let through = door.url(&url);
    let s = Shell::new();
    s.ltr(".", ["init", &through]).ok();
    s.write("xyz/one", "one");
    s.ltr("xyz", ["create", &through, "b"]).ok();
    s.ltr("xyz", ["commit"]).ok();
    let before = documents(&url);
    door.spoil(0..9999, door::Fault::Closed);
    s.write("xyz/two", "two").write("xyz/three", "three");
    let away = format!("ltr: 127.0.0.1:{} does not answer; index as of 2", door.port);
    let ran = s.ltr("xyz", ["commit"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "N  /three\nN  /two\n"), "{}", ran.err);
    assert!(ran.err.starts_with(&away) && ran.err.ends_with("ltr: 2 documents to push\n"), "{}", ran.err);
    let asked = door.count();
    for args in [&["status"][..], &["ls"], &["mark", "--want", "one"], &["box"], &["-n", "pull"], &["pull"]] {
        let ran = s.ltr("xyz", args);
        assert_eq!(ran.status, 0, "{args:?}: {}", ran.err);
        assert!(args[0] == "-n" || ran.err.contains("to push") && ran.err.contains(&away), "{args:?}: {}", ran.err);
    }
    assert_eq!(door.count(), asked, "within a minute it is not asked again: {:?}", door.seen());
    assert_eq!(s.ltr("xyz", ["sync"]).fails(3, "does not answer").out.lines().count(), 1);
    // nothing new can be begun there
    fs::create_dir(s.at("uvw")).unwrap();
    s.ltr("uvw", ["create", &through, "c"]).fails(3, "does not answer");
    assert_eq!(documents(&url), before);
    door.open();
    s.ltr("xyz", ["sync"]).ok();
    assert_eq!(documents(&url).len(), before.len() + 3);
    assert_eq!(s.ltr("xyz", ["status", "-a"]).ok(), "C  /one\nC  /three\nC  /two\n");
    // without consequences
    s.write("xyz/four", "four");
    let home = || {
        let mut all = s.snapshot("home");
        // SQLite's own files beside the replica come and go
        all.remove(".local/state/ltr/.couch");
        all
    };
    let (there, here) = (documents(&url), home());
    for args in [&["-n", "commit"][..], &["-n", "pull"], &["-n", "sync"], &["-n", "rm", "two"], &["-n", "mark", "--skip", "two"]]
    {
        assert_eq!(s.ltr("xyz", args).status, 0, "{args:?}");
    }
    assert_eq!((documents(&url), home()), (there, here));
}
