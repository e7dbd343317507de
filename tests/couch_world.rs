//! A small world of databases: machines edit, servers replicate in any direction, requests fail, replicas
//! and whole databases are lost; and in the end everyone knows everything.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/couch.rs"]
mod couch;
#[path = "common/door.rs"]
mod door;
#[path = "common/host.rs"]
mod host;

use std::collections::BTreeMap;

use couch::{Couch, documents, get, replicate, request, send};
use door::{ALL, Door};
use host::{Host, space, stamp};
use litter::couch::design::init;
use litter::couch::visit::{Visit, visit};
use litter::index::sqlite::{Access, Sqlite};
use litter::index::{Index, Origin};
use litter::record::{Document, Fields};
use litter::report::Collected;
use serde_json::{Value, json};

/// Sebastiano Vigna's SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// One whose way to the database can be spoiled.
struct Machine {
    host: Host,
    door: Door,
}

impl Machine {
    fn new(couch: &Couch, url: &str) -> Self {
        let door = Door::to(couch.address());
        Self { host: Host::new(&door.url(url)), door }
    }

    fn sync(&self) -> anyhow::Result<()> {
        let wish = Visit { insist: true, ..Visit::default() };
        visit(&self.host.places, &self.host.url, &wish, &mut Collected::default()).map(drop)
    }

    fn index(&self) -> Option<Sqlite> {
        Sqlite::open(&self.host.places.replica(&self.host.url), Access::Write).ok()
    }
}

/// A box of which one field is new, or an entry.
fn edit(random: &mut Random, ms: u64) -> Value {
    match random.below(4) {
        0 => {
            let key = ["one", "two", "three"][random.below(3) as usize];
            json!({"_id": "a", "type": "box", key: ms, "stamp": stamp(ms), "stamps": {key: stamp(ms)}})
        }
        _ => {
            let path = format!("/{}", random.below(6));
            json!({"_id": format!("a:{path}"), "type": "entry", "box": "a", "path": path, "ftype": "file", "present": true,
                   "sha1": format!("{ms:040x}"), "version": {"0000000a": ms}, "stamp": stamp(ms)})
        }
    }
}

/// What all edits come to, whatever way they went: the newest of each document, and of each field.
#[derive(Default)]
struct Truth(BTreeMap<String, Document>);

impl Truth {
    fn learn(&mut self, new: &Document) {
        let merge = |old: &Fields, new: &Fields| {
            let mut all = old.clone();
            all.merge(new);
            all
        };
        let merged = match (self.0.get(&new.id()), new) {
            (Some(Document::Box(name, old)), Document::Box(_, new)) => Document::Box(name.clone(), merge(old, new)),
            (Some(old), new) if old.stamp() >= new.stamp() => old.clone(),
            _ => new.clone(),
        };
        self.0.insert(new.id(), merged);
    }
}

fn live(seed: u64) {
    let couch = Couch::start();
    let mut random = Random(seed);
    let databases = [couch.database(), couch.database()];
    // two machines on the first server, one on the other
    let machines = [0, 0, 1].map(|at: usize| Machine::new(&couch, &databases[at]));
    let make = |machine: &Machine, url: &str| {
        machine.door.open();
        init(&machine.host.places, &machine.host.url).unwrap();
        if !couch.is_real() {
            // where a check is, the stand-in loses the leaves that are replicated to it
            let rev = get(&format!("{url}/_design/ltr"))["_rev"].as_str().unwrap().to_owned();
            send("DELETE", &format!("{url}/_design/ltr?rev={rev}"), &json!({}));
        }
    };
    make(&machines[0], &databases[0]);
    make(&machines[2], &databases[1]);
    let mut truth = Truth::default();
    let mut write = |machine: &Machine, document: &Value| {
        let document = Document::from_json(&document.to_string()).unwrap();
        machine.index().unwrap().put(std::slice::from_ref(&document), Origin::Here).unwrap();
        truth.learn(&document);
    };
    machines[0].sync().unwrap();
    write(&machines[0], &space());
    machines[0].sync().unwrap();
    replicate(&databases[0], &databases[1]);
    machines.iter().for_each(|machine| machine.sync().unwrap());
    let mut done = Vec::new();
    for step in 1..=40 {
        let machine = &machines[random.below(3) as usize];
        machine.door.open();
        let what = random.below(20);
        done.push(what);
        match what {
            // clocks go wrong, so stamps do not follow the order of events
            0..=8 => {
                let ms = step * 10 + random.below(30);
                let document = edit(&mut random, ms);
                write(machine, &document);
            }
            9..=12 => machine.sync().unwrap(),
            13..=15 => {
                let fault = ALL[random.below(ALL.len() as u64) as usize];
                let at = random.below(8) as usize;
                machine.door.spoil(at..at + 1 + random.below(2) as usize, fault);
                let _ = machine.sync();
                machine.door.open();
            }
            16..=17 => replicate(&databases[0], &databases[1]),
            18 => replicate(&databases[1], &databases[0]),
            // a replica is lost after it was pushed, or the second database
            _ if random.below(2) == 0 => {
                if machine.sync().is_ok() {
                    std::fs::remove_dir_all(machine.host.places.replicas()).unwrap();
                }
                machine.sync().unwrap();
            }
            _ => {
                assert!(request("DELETE", &databases[1], None).0 < 300);
                make(&machines[2], &databases[1]);
            }
        }
    }
    for _ in 0..4 {
        machines.iter().for_each(|machine| machine.sync().unwrap());
        replicate(&databases[0], &databases[1]);
        replicate(&databases[1], &databases[0]);
    }
    machines.iter().for_each(|machine| machine.sync().unwrap());
    let truth: BTreeMap<String, Value> =
        truth.0.into_iter().map(|(id, d)| (id, serde_json::from_str(&d.canonical()).unwrap())).collect();
    for (number, machine) in machines.iter().enumerate() {
        assert_eq!(machine.host.all(), truth, "seed {seed}: machine {number} after {done:?}");
    }
    for url in &databases {
        let mut there = documents(url);
        for (id, document) in &mut there {
            assert!(document.get("_conflicts").is_none(), "seed {seed}: {id}: {document}");
            document.as_object_mut().unwrap().remove("_rev");
        }
        assert_eq!(there, truth, "seed {seed}: {done:?}");
    }
}

/// `LTR_TEST_SEED` plays one again, or others: `7`, `100..200`.
#[test]
fn in_the_end_everyone_knows_everything() {
    let text = std::env::var("LTR_TEST_SEED").unwrap_or_else(|_| "1..3".to_owned());
    let (first, end) = match text.split_once("..") {
        Some((first, end)) => (first.parse().unwrap(), end.parse().unwrap()),
        None => (text.parse().unwrap(), text.parse::<u64>().unwrap() + 1),
    };
    for seed in first..end {
        live(seed);
    }
}
