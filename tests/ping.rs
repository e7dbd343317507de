//! `ltr ping`: who is in reach, by which url, with what; and disks by their names.
#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "common/far.rs"]
mod far;
#[path = "common/sshd.rs"]
mod sshd;

use far::{ALL, Far, Kit};

#[test]
fn every_box_is_told_with_its_way_and_its_programs() {
    let Some(far) = Far::new(ALL) else { return };
    let url = far.url();
    // the first url leads nowhere, the second does
    far.ltr("here", &["set", "there.urls", &format!("[\"far:/nowhere\",\"{url}\"]")]).well();
    far.shell("ltr-box-create ./i-here/s disk disk --mkdir && rm -r disk").well();
    far.ltr("here", &["set", "disk.urls", "[\"label:NO SUCH DISK/box\"]"]).well();
    let said = far.ltr("here", &["ping", "--json"]).well();
    let boxes: Vec<serde_json::Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [disk, there, _end] = boxes.as_slice() else { unreachable!("{}", said.out) };
    assert_eq!((disk["box"].as_str(), disk["url"].as_str()), (Some("disk"), Some("label:NO SUCH DISK/box")));
    assert!(disk["error"].is_string(), "{disk}");
    assert_eq!((there["box"].as_str(), there["url"].as_str()), (Some("there"), Some(url.as_str())));
    assert_eq!(there["ltr"], env!("CARGO_PKG_VERSION"));
    assert!(there["rsync"].is_string() && there["rtt_ms"].as_f64().unwrap() > 0.0 && there["error"].is_null(), "{there}");
    let table = far.ltr("here", &["ping", "there"]).well().out;
    assert!(table.lines().count() == 2 && table.contains(&url), "{table}");
    far.ltr("here", &["ping", "disk"]).failed(3, "");
    far.ltr("here", &["ping", "disk", "there"]).failed(1, "");
    far.ltr("here", &["ping", "nobody"]).failed(3, "no box \"nobody\" in this space");
    // a pull finds its way by the same probe
    far.commit(&[(b"a", "alpha")]);
    far.ltr("here", &["pull"]).well();
    assert_eq!(far.tree("here").len(), 1);
}

#[test]
fn a_machine_without_ltr_or_that_does_not_answer_is_told_as_such() {
    let Some(far) = Far::new(Kit { ltr: false, rsync: false, ..ALL }) else { return };
    let said = far.ltr("here", &["ping", "-v"]).well();
    assert!(said.err.contains("no ltr there") && said.err.contains("+ ssh "), "{}", said.err);
    assert!(said.out.contains(&far.url()), "{}", said.out);
    far.sshd.stop();
    let said = far.ltr("here", &["ping"]).well();
    assert!(said.out.contains("Connection refused"), "{}{}", said.out, said.err);
}
