//! A space whose index is a file on another machine: worked on through a replica, over a real sshd.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::process::Command;

use far::{ALL, Far, Kit, Said};

/// The space, as seen from here.
fn space(far: &Far) -> String {
    far.url().replace("/there", "/i-far/space")
}

/// Runs `ltr ARGS` in a box, as a machine with a home of its own.
fn at_home(far: &Far, home: &str, root: &str, args: &[&str]) -> Said {
    Said::of(&command(far, home, root, args).output().unwrap())
}

fn command(far: &Far, home: &str, root: &str, args: &[&str]) -> Command {
    for folder in [home, root] {
        fs::create_dir_all(far.at(folder)).unwrap();
    }
    let mut command = far.porcelain(root, args);
    command.env("HOME", far.at(home));
    command
}

/// Boxes `laptop` and `desk`, on two machines that have a home of their own, of a space on a third.
fn two_machines() -> Option<Far> {
    let far = Far::new(ALL)?;
    fs::create_dir(far.at("i-far")).unwrap();
    let said = at_home(&far, "home-1", "laptop", &["init", &space(&far)]).well();
    assert_eq!(said.out, "ltr: create database  space\nltr: push design docs  space\n");
    assert_eq!(at_home(&far, "home-2", "desk", &["init", &space(&far)]).well().out, "ltr: database exists  space\n");
    for (home, name) in [("home-1", "laptop"), ("home-2", "desk")] {
        let said = at_home(&far, home, name, &["create", &space(&far), name, "."]).well();
        assert_eq!(said.out, format!("ltr: new box to database  <ltrbox space/{name} >\nltr: wrote cookie for {name}\n"));
        assert_eq!(fs::read_to_string(far.at(name).join(".ltr")).unwrap(), format!("{}/{name}\n", space(&far)));
        let url = far.at(name).display().to_string();
        at_home(&far, home, name, &["set", &format!("{name}.urls"), &format!("[\"{url}\"]")]).well();
    }
    Some(far)
}

fn lines(said: &Said) -> Vec<String> {
    said.out.lines().map(str::to_owned).collect()
}

#[test]
fn what_one_machine_commits_another_one_wants_and_pulls() {
    let Some(far) = two_machines() else { return };
    fs::create_dir(far.at("laptop/a b")).unwrap();
    fs::write(far.at("laptop/a b/c"), "text").unwrap();
    let said = at_home(&far, "home-1", "laptop", &["commit"]).well();
    assert_eq!(lines(&said), ["N  /a b", "N  /a b/c"], "{}", said.err);
    // it is on the third machine, and nowhere else had anybody to be asked
    assert!(far.shell("ltr-index-get ./i-far/space").well().out.contains("laptop:/a b/c"));
    let wanted = at_home(&far, "home-2", "desk", &[]).well();
    assert!(lines(&wanted).iter().any(|line| line.starts_with("w  /a b")), "{}", wanted.out);
    let state = far.at("home-2/.local/state/ltr/.ssh");
    let before: Vec<_> = fs::read_dir(&state).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap()).collect();
    let plan = at_home(&far, "home-2", "desk", &["-n", "pull", "laptop"]).well();
    assert!(plan.out.contains("c"), "{}{}", plan.out, plan.err);
    let after: Vec<_> = fs::read_dir(&state).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap()).collect();
    assert!(before == after && !far.at("desk/a b").exists(), "a dry run wrote");
    at_home(&far, "home-2", "desk", &["pull", "laptop"]).well();
    assert_eq!(far.tree("desk"), far.tree("laptop"));
    assert_eq!(at_home(&far, "home-2", "desk", &["status"]).well().out, "");
    // what the pull recorded is there for the first machine
    let known = at_home(&far, "home-1", "laptop", &["ls", "-l", "a b/c"]).well();
    assert!(known.out.contains(" 2 "), "{}", known.out);
}

#[test]
fn a_machine_that_does_not_answer_is_done_without() {
    let Some(far) = two_machines() else { return };
    fs::write(far.at("laptop/a"), "alone").unwrap();
    let mut commit = command(&far, "home-1", "laptop", &["commit"]);
    let said = Said::of(&commit.env("LTR_SSH", "sh -c 'exit 255' sh").output().unwrap()).well();
    assert_eq!(lines(&said), ["N  /a"]);
    assert!(said.err.contains("far does not answer; index as of 2"), "{}", said.err);
    assert_eq!(said.err.matches("does not answer").count(), 1, "{}", said.err);
    assert!(!far.shell("ltr-index-get ./i-far/space").well().out.contains("laptop:/a"));
    // so soon it is not asked again, unless that is the point
    let said = at_home(&far, "home-1", "laptop", &["status"]).well();
    assert!(said.out.is_empty() && said.err.contains("does not answer"), "{}", said.err);
    at_home(&far, "home-1", "laptop", &["sync"]).well();
    assert!(far.shell("ltr-index-get ./i-far/space").well().out.contains("laptop:/a"));
    let said = at_home(&far, "home-1", "laptop", &["status"]).well();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
}

#[test]
fn a_replica_that_was_lost_is_made_again() {
    let Some(far) = two_machines() else { return };
    fs::write(far.at("laptop/a"), "first").unwrap();
    at_home(&far, "home-1", "laptop", &["commit"]).well();
    fs::remove_dir_all(far.at("home-1/.local/state/ltr")).unwrap();
    let mut status = command(&far, "home-1", "laptop", &["status"]);
    let said = Said::of(&status.env("LTR_SSH", "sh -c 'exit 255' sh").output().unwrap());
    assert_eq!(said.code, Some(3));
    assert!(said.err.contains("there is no replica of") && said.err.contains("does not answer"), "{}", said.err);
    fs::write(far.at("laptop/a"), "second").unwrap();
    at_home(&far, "home-1", "laptop", &["commit"])
        .failed(3, "run `ltr sync`, then `ltr create --reattach`, then `ltr sync` again");
    at_home(&far, "home-1", "laptop", &["create", "--reattach", &space(&far), "laptop", "."]).well();
    at_home(&far, "home-1", "laptop", &["sync"]).well();
    assert_eq!(lines(&at_home(&far, "home-1", "laptop", &["commit"]).well()), ["M  /a"]);
    at_home(&far, "home-2", "desk", &["pull", "laptop"]).well();
    assert_eq!(far.tree("desk"), [(b"a".to_vec(), b"second".to_vec())]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let Some(far) = Far::new(Kit { ltr: false, ..ALL }) else { return };
    let space = space(&far);
    let run = |args: &[&str]| at_home(&far, "home-1", "laptop", args);
    run(&["init", &space]).failed(3, "no ltr there");
    run(&["create", &space, "laptop", "."]).failed(3, "no ltr there");
    assert!(!far.at("laptop/.ltr").exists());
    let Some(far) = Far::new(ALL) else { return };
    let said = at_home(&far, "home-1", "laptop", &["create", &space.replace(&far.url(), ""), "laptop", "."]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(!far.at("laptop/.ltr").exists());
}
