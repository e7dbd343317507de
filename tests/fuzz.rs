//! The fuzz targets over their corpus: what a run of `cargo fuzz` found stays found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use targets::TARGETS;

/// The seeds of a target, by name.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).map(|e| e.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect()
}

/// What a fuzzer does first: cut, double, join, turn a bit. Each change is told by a number.
fn changed(seed: &[u8], other: &[u8], change: usize) -> Vec<u8> {
    let (at, mut data) = (change * 7919 % seed.len().max(1), seed.to_vec());
    match change % 6 {
        0 => data.truncate(at),
        1 => data.extend_from_slice(other),
        2 => data.drain(..at).for_each(drop),
        3 => data.splice(at..at, other.iter().copied()).for_each(drop),
        4 => data.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (change % 8)),
        _ => data.iter_mut().skip(at).take(1).for_each(|byte| *byte = b"\0\n\"\\/.:@-\x1b{}"[change % 12]),
    }
    data
}

#[test]
fn every_target_holds_on_its_corpus() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() >= 10, "{name} has {} seeds", seeds.len());
        for (number, (file, seed)) in seeds.iter().enumerate() {
            let other = &seeds[(number + 1) % seeds.len()].1;
            let inputs = std::iter::once(seed.clone()).chain((0..120).map(|change| changed(seed, other, change)));
            for (which, input) in inputs.enumerate() {
                if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                    failed.push(format!("{file}, change {which}: {:?}", String::from_utf8_lossy(&input)));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_target_can_be_run_by_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut programs: Vec<String> =
        fs::read_dir(folder.join("fuzz_targets")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let mut known: Vec<String> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    programs.sort();
    known.sort();
    assert_eq!(programs, known);
    for (name, _) in TARGETS {
        let program = fs::read_to_string(folder.join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("litter_fuzz::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
