//! `ltr pull` from another machine: by which program files come, and what is said of it.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;

use far::{ALL, Far, Kit};

/// Pulls three files and looks at the line of one.
fn pull(far: &Far, source: &str, command: &str) {
    far.commit(&[(b"a", "alpha"), (b"d/b b", "beta"), (b"d/twin", "alpha"), (b"empty", "")]);
    let before = far.tree("there");
    let dry = far.ltr("here", &["-n", "pull", source]).well();
    assert!(dry.out.contains("/d/twin"), "{}{}", dry.out, dry.err);
    assert_eq!((far.tree("here"), far.tree("there")), (vec![], before.clone()));
    let said = far.ltr("here", &["pull", source]).well();
    assert_eq!(far.tree("here"), before, "{}{}", said.out, said.err);
    let line = format!("{command} {}\n", far.at("here/a").display());
    assert!(said.out.starts_with("ltr: pull  there\n") && said.out.contains(&line), "{line}{}", said.out);
    assert_eq!(said.err, "");
    assert!(!far.at("here/.ltr-tmp").exists());
    assert_eq!(far.ltr("here", &["status"]).well().out, "");
    assert_eq!(far.ltr("here", &["pull", source]).well().out, "ltr: pull  there\n");
    // what this pull recorded reached the other index at the next one
    assert!(far.ltr("there", &["ls", "-b", "here"]).well().out.contains('a'));
}

/// A box is the same by another url.
fn pull_again(far: &Far, url: &str) {
    far.commit(&[(b"later", "later")]);
    far.ltr("here", &["pull", url]).well();
    assert_eq!(far.tree("here"), far.tree("there"));
}

#[test]
fn files_come_by_rsync_from_a_host_and_a_folder() {
    let Some(far) = Far::new(ALL) else { return };
    let url = far.url();
    pull(&far, &url, &format!("rsync {url}/a"));
}

#[test]
fn a_box_is_found_by_its_url_and_files_come_by_sftp_where_there_is_no_rsync() {
    let Some(far) = Far::new(Kit { rsync: false, ..ALL }) else { return };
    let place = encoded(&far.url().replacen(':', "", 1));
    pull(&far, "there", &format!("scp sftp://{place}/a"));
}

#[test]
fn a_huge_file_comes_through_a_pipe_unless_it_is_held_back() {
    use std::os::unix::fs::FileExt;
    let Some(far) = Far::new(ALL) else { return };
    let url = far.url();
    let ways = [("huge", vec!["pull", &url], "ssh"), ("other", vec!["pull", "--bwlimit", "1000000", &url], "scp")];
    for (name, words, way) in ways {
        let file = fs::File::create(far.at("there").join(name)).unwrap();
        file.write_all_at(name.as_bytes(), 64 << 20).unwrap();
        far.commit(&[]);
        let said = far.ltr("here", &words).well();
        assert!(far.tree("here") == far.tree("there"), "{}{}", said.out, said.err);
        let line = said.out.lines().find(|line| line.ends_with(&format!("/here/{name}"))).unwrap_or_default();
        assert!(line.starts_with(&format!("{way} ")), "{}", said.out);
        assert_eq!((said.err.as_str(), far.ltr("here", &["status"]).well().out.as_str()), ("", ""));
    }
}

#[test]
fn who_is_told_what_came_is_told_only_where_anything_did() {
    let Some(far) = Far::new(ALL) else { return };
    let log = far.dir.path().join("puts");
    far.wrap("ltr-index-put", &format!("echo put >>'{}'; it \"$@\"", log.display()));
    let puts = || {
        let puts = fs::read_to_string(&log).unwrap_or_default().lines().count();
        fs::write(&log, "").unwrap();
        puts
    };
    far.commit(&[(b"a", "alpha")]);
    for (what, expected) in [("a file comes", 2), ("nothing does", 1), ("nor now", 1)] {
        assert_eq!(far.ltr("here", &["pull"]).well().err, "");
        assert_eq!(puts(), expected, "{what}");
        assert!(far.ltr("there", &["ls", "-b", "here"]).well().out.contains('a'), "{what}");
    }
    // what was committed here goes there at once, and what was not yet known of the other is no news to it
    fs::write(far.at("here/mine"), "mine").unwrap();
    far.ltr("here", &["commit"]).well();
    far.commit(&[(b"b", "beta")]);
    far.ltr("here", &["pull"]).well();
    assert_eq!(puts(), 2);
    assert_eq!(far.ltr("there", &["ls", "-b", "here"]).well().out, "a\nb\nmine\n");
    // of several, who was asked first hears what the last one knew, and nobody else hears of nothing
    far.shell("mkdir i-third; ltr-index-init ./i-third/s; ltr-index-sync ./i-third/s ./i-here/s").well();
    far.shell("ltr-box-create ./i-third/s third third --mkdir; ltr-index-sync ./i-third/s ./i-here/s").well();
    far.ltr("here", &["set", "here.policy", "ondemand"]).well();
    far.ltr("here", &["pull"]).well();
    puts();
    far.commit(&[(b"c", "gamma")]);
    far.ltr("here", &["pull"]).well();
    assert_eq!(puts(), 1);
    assert!(far.ltr("third", &["ls", "-b", "there"]).well().out.contains('c'));
}

/// A place as a url has it.
fn encoded(place: &str) -> String {
    [
        ('%', "%25"),
        (' ', "%20"),
        ('\'', "%27"),
        ('[', "%5B"),
        (']', "%5D"),
        ('*', "%2A"),
        ('$', "%24"),
        ('(', "%28"),
        (')', "%29"),
    ]
    .iter()
    .fold(place.to_owned(), |place, (from, to)| place.replace(*from, to))
}

#[test]
fn a_box_is_found_by_a_url_that_is_percent_encoded() {
    let Some(far) = Far::new(Kit { rsync: false, ..ALL }) else { return };
    let url = format!("sftp://{}", encoded(&far.url().replacen(':', "", 1)));
    far.ltr("here", &["set", "there.urls", &url]).well();
    pull(&far, "there", &format!("scp {url}/a"));
    pull_again(&far, &url);
    assert!(far.ltr("here", &["show", "there"]).well().out.contains(&url), "it keeps its spelling");
    far.ltr("here", &["set", "there.urls", "sftp://far/100%/a"]).failed(3, "%/a is no percent-encoding");
    far.ltr("here", &["pull", "sftp://far/%zz"]).failed(3, "sftp://far/%zz: %zz is no percent-encoding");
}

#[test]
fn files_come_by_ssh_alone_where_there_is_nothing_else() {
    let Some(far) = Far::new(Kit { rsync: false, sftp: false, ..ALL }) else { return };
    let url = far.url();
    pull(&far, &url, &format!("ssh {url}/a"));
}

#[test]
fn a_machine_without_ltr_is_named_and_its_files_come_by_the_index_here() {
    for rsync in [true, false] {
        let Some(far) = Far::new(Kit { ltr: false, rsync, ..ALL }) else { return };
        far.commit(&[(b"a", "alpha")]);
        far.ltr("here", &["pull", &far.url()]).failed(3, "far: no ltr there (ltr-locate: command not found)");
        far.shell("ltr-index-sync ./i-here/s ./i-there/s").well();
        let said = far.ltr("here", &["pull", "there"]).well();
        assert!(said.err.contains("no ltr there") && said.err.contains("going by the index here"), "{}", said.err);
        assert_eq!(far.tree("here"), far.tree("there"));
    }
}

#[test]
fn a_clone_of_a_box_elsewhere_has_its_files() {
    let Some(far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha"), (b"d/b", "beta")]);
    let clone = far.at("clone").display().to_string();
    let dry = far.ltr("here", &["-n", "clone", &far.url(), &clone, "third"]).well();
    assert!(dry.out.contains("/clone/d/b") && !far.at("clone").exists(), "{}", dry.out);
    let said = far.ltr("here", &["clone", &far.url(), &clone, "third"]).well();
    assert!(said.out.contains("ltr: wrote cookie for third"), "{}", said.out);
    assert_eq!(far.tree("clone"), far.tree("there"), "{}{}", said.out, said.err);
    assert_eq!(far.ltr("clone", &["status"]).well().out, "");
    far.ltr("clone", &["pull"]).well();
    assert!(far.ltr("there", &["box"]).well().out.contains("third"));
}

#[test]
fn a_source_that_changed_since_its_commit_is_left_for_the_next_pull() {
    for rsync in [true, false] {
        let Some(far) = Far::new(Kit { rsync, ..ALL }) else { return };
        far.commit(&[(b"a", "alpha"), (b"b", "beta"), (b"c", "gamma")]);
        fs::write(far.at("there/a"), "ALPHA").unwrap();
        fs::write(far.at("there/b"), "beta and more").unwrap();
        let said = far.ltr("here", &["pull", "there"]).failed(1, "/a: in box there: source changed since its last commit");
        assert!(said.err.contains("ltr-fetch: /b: could not be had from there"), "{}", said.err);
        assert_eq!(said.err.matches("/a: could not be had").count(), 1, "{}", said.err);
        assert_eq!(far.tree("here"), [(b"c".to_vec(), b"gamma".to_vec())]);
        assert!(said.out.contains("/here/c") && !said.out.contains("/here/a"), "{}", said.out);
        far.ltr("there", &["commit"]).well();
        far.ltr("here", &["pull", "there"]).well();
        assert_eq!(far.tree("here"), far.tree("there"));
    }
}
