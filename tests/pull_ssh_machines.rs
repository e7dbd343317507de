//! Several machines, each with its own network, and what a pull makes of a cable that is pulled in mid-transfer.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/machines.rs"]
mod machines;
#[path = "common/sshd.rs"]
mod sshd;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use far::{ALL, Far, Said};
use machines::Machine;

const FILES: u8 = 20;
const SIZE: usize = 1_200_000;
/// Seconds that a machine under load may say nothing.
const LIMIT: &str = "15";

/// The boxes `there` and `third`, which hold the same, on machines `far` and `other` that are 20 ms away.
fn two_machines() -> Option<(Far, [Machine; 2])> {
    let mut far = Far::new(ALL)?;
    let path = sshd::path_of(env!("CARGO_BIN_EXE_ltr-fetch"));
    let machine = || Machine::start(&path, Duration::from_millis(10));
    let machines = [machine()?, machine()?];
    for n in 0..FILES {
        fs::write(far.at("there").join(format!("{n:02}")), vec![n; SIZE]).unwrap();
    }
    far.commit(&[(b"small", "small")]);
    let url = far.third().replace("@far:", "@other:");
    far.ltr("here", &["set", "third.urls", &url]).well();
    let config = far.dir.path().join("config");
    fs::write(&config, machines[0].config("far") + &machines[1].config("other")).unwrap();
    far.ssh = shlex::try_join(["ssh", "-F", config.to_str().unwrap()]).unwrap();
    far.env.push(("LTR_TIMEOUT", LIMIT.to_owned()));
    Some((far, machines))
}

#[test]
fn a_pull_goes_on_from_the_other_machine_when_a_cable_is_pulled() {
    let Some((far, [first, second])) = two_machines() else { return };
    let mut pull = far.porcelain("here", &["pull", "--bwlimit", "3000"]);
    let pull = pull.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while first.relay.came() < 2_000_000 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    first.unplug(true);
    let said = Said::of(&pull.wait_with_output().unwrap()).well();
    assert_eq!(far.tree("here"), far.tree("there"), "{}{}", said.out, said.err);
    let all = SIZE as u64 * u64::from(FILES);
    let came = [&first, &second].map(|machine| machine.relay.came());
    assert!(came[0] >= 2_000_000 && came[1] > all / 2 && came[0] + came[1] < all * 3 / 2, "{came:?} of {all}: {}", said.err);
    assert!(said.err.contains("box there: ") && said.err.contains("not a byte for 15 s: given up"), "{}", said.err);
    assert!(!far.at("here/.ltr-tmp").exists());
    // it is found to be away, and then to be back
    far.ltr("here", &["ping", "there"]).failed(3, "");
    far.ltr("here", &["ping", "third"]).well();
    first.unplug(false);
    far.commit(&[(b"later", "later")]);
    far.ltr("here", &["pull", "there"]).well();
    assert_eq!(far.tree("here"), far.tree("there"));
}
