//! A connection that is lost midway: the same command completes what it began.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use far::{Alone as _, Far, Kit};

const SIZE: usize = 3_000_000;
/// An ssh whose line is cut after some bytes: dd passes them on at once, which head does not.
const HALF: &str = "dd bs=4096 count=400 2>/dev/null";
/// All but the transfer of files.
const WHOLE: &str = "case \"$*\" in *ltr-*|*.ltr*) exec SSH \"$@\";; esac";

/// Bytes that no program can make fewer.
fn noise() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..SIZE / 8).flat_map(|_| next()).collect()
}

fn large(kit: Kit) -> Option<Far> {
    let far = Far::new(kit)?;
    fs::write(far.at("there/large"), noise()).unwrap();
    far.commit(&[(b"small", "alpha")]);
    Some(far)
}

/// Pulls again, and makes sure that the second half alone came.
fn completes(mut far: Far) {
    far.ssh_is(&format!("SSH \"$@\" | tee -a '{}'", far.dir.path().join("bytes").display()));
    let said = far.ltr("here", &["pull", "there"]).well();
    assert!(far.tree("here") == far.tree("there"), "{}{}", said.out, said.err);
    let came = fs::metadata(far.dir.path().join("bytes")).unwrap().len();
    assert!(came < 2_500_000, "{came} bytes came");
    assert!(!far.at("here/.ltr-tmp").exists());
    assert_eq!(far.ltr("here", &["status"]).well().out, "");
}

#[test]
fn a_large_file_is_resumed_and_not_restarted() {
    for (rsync, sftp) in [(true, true), (false, true), (false, false)] {
        let Some(mut far) = large(Kit { rsync, sftp, ltr: true }) else { return };
        far.ssh_is(&format!("{WHOLE}\nSSH \"$@\" | {HALF}\nexit 255"));
        let said = far.ltr("here", &["pull", "there"]).failed(1, "/large: could not be had from there");
        assert!(!far.at("here/large").exists() && !said.out.contains("/here/large"), "{}", said.out);
        completes(far);
    }
}

#[test]
fn a_pull_that_is_killed_is_completed() {
    for (rsync, sftp) in [(true, true), (false, true), (false, false)] {
        let Some(mut far) = large(Kit { rsync, sftp, ltr: true }) else { return };
        // an ssh that stops in the middle, and tells its process
        let pid = far.dir.path().join("pid");
        let slow = format!("({HALF}; echo >'{}'; exec sleep 8)", pid.display());
        far.ssh_is(&format!("{WHOLE}\nSSH \"$@\" | {slow}"));
        let child = far
            .porcelain("here", &["pull", "there"])
            .process_group_zero()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..1500 {
            if pid.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(pid.exists(), "the transfer began");
        std::thread::sleep(Duration::from_millis(300));
        far::kill_group(child);
        assert!(!far.at("here/large").exists());
        completes(far);
    }
}
