//! A person at a terminal who pulls from another machine: what is asked, what is shown, and that nobody waits for an
//! answer where there is no terminal.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use far::{ALL, Far, Kit};

/// Runs a command line on a terminal of its own, and answers each time `asked` is asked.
fn on_a_terminal(far: &Far, line: &str, asked: &str, answer: &str) -> (Option<i32>, String) {
    let script = format!("cd here && exec script -qec '{line}' /dev/null");
    let mut command = far.shell_command(&script);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut shown, mut answered, mut buffer) = (String::new(), 0, [0; 1024]);
    while let Ok(read @ 1..) = screen.read(&mut buffer) {
        shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if shown.matches(asked).count() > answered {
            answered += 1;
            keys.write_all(answer.as_bytes()).unwrap();
        }
    }
    drop(keys);
    (child.wait().unwrap().code(), shown)
}

#[test]
fn what_ssh_asks_is_asked_on_a_terminal_and_nobody_waits_without_one() {
    let Some(mut far) = Far::new(ALL) else { return };
    far.commit(&[(b"a", "alpha")]);
    let key = far.sshd.config().with_file_name("user");
    let locked = Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"])
        .arg(&key)
        .stdout(Stdio::null())
        .status();
    assert!(locked.unwrap().success());
    far.env.push(("SSH_AUTH_SOCK", String::new()));
    far.ltr("here", &["pull", "there"]).failed(3, "Permission denied");
    let (code, shown) = on_a_terminal(&far, "ltr pull there", "Enter passphrase for key", "open sesame\n");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(shown.matches("Enter passphrase for key").count(), 1, "one connection, one question: {shown}");
    assert_eq!(far.tree("here").len(), 1, "{shown}");
    let (code, shown) = on_a_terminal(&far, "ltr sync there", "Enter passphrase for key", "wrong\n");
    assert!(code == Some(3) && shown.contains("Permission denied"), "{code:?} {shown}");
}

/// A user of this machine, who is gone when this is dropped.
struct User(String);

impl User {
    const PASSWORD: &str = "o'pen $(sesame)";

    /// `None`, and a word about it, where users cannot be made.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: no user with a password can be made, and none is tried");
            return None;
        }
        let user = Self(format!("ltr-t{}", std::process::id()));
        let hash = Command::new("openssl").args(["passwd", "-6", Self::PASSWORD]).output().ok()?;
        let hash = String::from_utf8(hash.stdout).unwrap();
        // another test may be at the same file
        let made = (0..50).any(|_| {
            let mut add = Command::new("useradd");
            add.args(["--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", "--password", hash.trim(), &user.0]);
            let made = add.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
            made || {
                std::thread::sleep(std::time::Duration::from_millis(100));
                false
            }
        });
        if !made {
            eprintln!("no user can be made here: no password is tried");
        }
        made.then_some(user)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_password_is_asked_for_once_and_nobody_waits_without_a_terminal() {
    let Some(user) = User::new() else { return };
    let logins = |_: &Path| "PasswordAuthentication yes\nPubkeyAuthentication no\n".to_owned();
    let Some(far) = Far::with(ALL, logins) else { return };
    far.commit(&[(b"a", "alpha"), (b"d/b", "beta")]);
    let url = format!("{}@far:{}", user.0, far.at("there").display());
    far.ltr("here", &["set", "there.urls", &url]).well();
    // where the programs are may be a folder of one's own
    for program in ["ltr-locate", "ltr-lock", "ltr-fetch", "ltr-index-get", "ltr-index-put"] {
        let (built, reached) =
            (Path::new(env!("CARGO_BIN_EXE_ltr-fetch")).with_file_name(program), far.dir.path().join("first").join(program));
        fs::hard_link(&built, &reached).or_else(|_| fs::copy(&built, &reached).map(drop)).unwrap();
    }
    // another user over there needs the box and its index
    far.shell("chmod 755 ..; chmod a+rx .; chmod -R a+rwX there i-there").well();
    for args in [["pull", "there"], ["sync", "there"], ["push", "there"]] {
        far.ltr("here", &args).failed(3, "Permission denied");
    }
    far.ltr("here", &["ping", "there"]).failed(3, "");
    let answer = format!("{}\n", User::PASSWORD);
    let (code, shown) = on_a_terminal(&far, "ltr pull there", "password:", &answer);
    assert_eq!((code, shown.matches("password:").count()), (Some(0), 1), "one connection, one question: {shown}");
    assert!(!shown.contains("sesame") && far.tree("here") == far.tree("there"), "{shown}");
    fs::write(far.at("here/mine"), "mine").unwrap();
    far.ltr("here", &["commit"]).well();
    let (code, shown) = on_a_terminal(&far, "ltr push there", "password:", &answer);
    assert_eq!((code, shown.matches("password:").count()), (Some(0), 1), "{shown}");
    assert!(far.tree("here") == far.tree("there"), "{shown}");
    let (code, shown) = on_a_terminal(&far, "ltr sync there", "password:", "wrong\n");
    assert!(code == Some(3) && shown.contains("Permission denied"), "{code:?} {shown}");
}

/// What a terminal shows of a pull of twenty files of a megabyte, a few seconds long.
fn pulled(kit: Kit) -> Option<(Far, String)> {
    let mut far = Far::new(kit)?;
    far.env.push(("TERM", "xterm".to_owned()));
    for n in 0..20_u8 {
        fs::write(far.at("there").join(format!("{n:02}")), vec![n; 1_048_576]).unwrap();
    }
    far.commit(&[]);
    let (code, shown) = on_a_terminal(&far, "ltr pull --bwlimit 5000 there", "nothing is asked", "");
    assert_eq!(code, Some(0), "{shown}");
    assert!(far.tree("here") == far.tree("there"));
    Some((far, shown))
}

/// The MiB of twenty that each progress line of a terminal says are done: `7.38 MiB/20.00 MiB 4.82 MiB/s 3s`, and
/// what `is_aside` knows.
fn progress(shown: &str, is_aside: impl Fn(&[&str]) -> bool) -> Vec<f64> {
    let number = |text: &str| text.parse::<f64>().ok();
    let done = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [done, unit_and_all, "MiB", rate, per, left, aside @ ..] = words.as_slice() else { return None };
        let (unit, all) = unit_and_all.split_once('/')?;
        let scale =
            [("B", 1.0 / 1_048_576.0), ("KiB", 1.0 / 1024.0), ("MiB", 1.0)].into_iter().find(|(name, _)| *name == unit)?.1;
        let units = per.ends_with("B/s") && left.ends_with('s') && number(all) == Some(20.0) && number(rate).is_some();
        (units && is_aside(aside)).then(|| number(done).map(|done| done * scale))?
    };
    shown.split(['\r', '\n', '\u{1b}']).filter_map(|line| done(line.trim_start_matches("[2K"))).collect()
}

#[test]
fn a_terminal_is_shown_how_far_a_push_of_one_file_is() {
    let Some(mut far) = Far::new(ALL) else { return };
    far.env.push(("TERM", "xterm".to_owned()));
    let mut content = vec![1; 20 << 20];
    for changed in [false, true] {
        // the second time rsync sends what differs, as much again
        content.iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(far.at("here/film"), &content).unwrap();
        far.ltr("here", &["commit"]).well();
        let (code, shown) = on_a_terminal(&far, "ltr push --bwlimit 5000 there", "nothing is asked", "");
        assert_eq!(code, Some(0), "{shown}");
        assert!(far.tree("here") == far.tree("there"));
        let seen = progress(&shown, |aside| aside.is_empty());
        let within = seen.iter().filter(|done| (1.0..19.0).contains(*done)).count();
        assert!(within > 3 && seen.is_sorted(), "changed: {changed}: {seen:?}: {shown:?}");
    }
}

#[test]
fn a_terminal_is_shown_how_far_a_pull_is() {
    for kit in [ALL, Kit { sftp: false, ..ALL }] {
        let Some((_far, shown)) = pulled(kit) else { return };
        let seen = progress(&shown, |aside| {
            let [files, "files,", "from", "there"] = aside else { return false };
            files.split_once('/').is_some_and(|(files, of_all)| files.parse::<u8>().is_ok() && of_all == "20")
        });
        assert!(seen.len() > 3 && seen.is_sorted() && seen[0] < 20.0, "{seen:?}: {shown:?}");
        // what stays on the screen is the steps, and the last line, which sums up
        let screen: Vec<&str> = shown.trim_end().split("\r\n").filter_map(|line| line.rsplit("\u{1b}[2K").next()).collect();
        let screen: Vec<&str> = screen.iter().filter_map(|line| line.rsplit("\u{1b}[K").next()).collect();
        let screen: Vec<&str> = screen.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(screen.len(), 22, "{screen:?}");
        assert!(
            screen[0] == "ltr: pull  there"
                && screen[1..21].iter().all(|line| line.starts_with("scp ") || line.starts_with("rsync "))
        );
        assert!(screen[21].starts_with("ltr: 20 files, 21.0 MB from there in ") && screen[21].ends_with("MB/s)"), "{screen:?}");
    }
}

#[test]
fn what_is_no_terminal_is_shown_no_progress() {
    let Some(far) = Far::new(ALL) else { return };
    for n in 0..20_u8 {
        fs::write(far.at("there").join(format!("{n:02}")), vec![n; 1_048_576]).unwrap();
    }
    far.commit(&[]);
    let said = far.ltr("here", &["pull", "--bwlimit", "5000", "there"]).well();
    assert!(said.err.is_empty() && !said.out.contains("iB/s"), "{}{}", said.out, said.err);
    assert!(said.out.lines().last().unwrap().starts_with("ltr: 20 files, 21.0 MB from there in "), "{}", said.out);
}
