//! Trying points: a scene each, the command with the fault, a look, the command again, a look.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::check::{State, after_fault, is_as_wanted, is_in_order, is_unchanged};
use crate::point::{Fault, Point, follow, glimpse, points, sample};
use crate::scene::{Scene, make, place, sync};

/// Longer than any command takes here.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines of what was wrong, and of what was said, that are shown of each point.
const LINES: usize = 12;

/// How a command ended.
struct Ran {
    status: Option<i32>,
    said: String,
    /// Of the fault: whether it was met.
    met: bool,
}

/// What a command does when nothing goes wrong, by name of the box and index.
struct Wanted {
    status: Option<i32>,
    state: State,
    /// After another box has pulled.
    others: State,
}

pub fn binaries() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ltr-fetch")).parent().unwrap()
}

/// The scripts, where they do not look for programs in the tree.
fn scripts(scene: &Scene) -> PathBuf {
    let folder = scene.world.dir.path().join("libexec/ltr");
    if !folder.exists() {
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("porcelain"), &folder).unwrap();
    }
    folder
}

fn shim(folder: &Path, program: &str, text: &str) {
    fs::create_dir_all(folder).unwrap();
    let file = folder.join(program);
    fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the command of a scene. In `traces`, if any, each program leaves what it did.
fn run(scene: &Scene, point: Option<&Point>, traces: bool) -> Ran {
    let dir = scene.world.dir.path();
    let (shims, log) = (dir.join("shims"), dir.join("log"));
    for folder in [&shims, &log] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir(folder).unwrap();
    }
    let _ = fs::remove_file(dir.join("met"));
    let _ = fs::create_dir(dir.join("tmp"));
    let scripts = scripts(scene);
    let mut words: Vec<String> = vec![scripts.join("ltr").display().to_string()];
    words.extend(scene.args.iter().map(|a| (*a).to_owned()));
    let quoted = || shlex::try_join(words.iter().map(String::as_str)).unwrap();
    let mut line = format!("exec {}", quoted());
    if traces {
        for program in programs() {
            let real = binaries().join(&program).display().to_string();
            shim(
                &shims,
                &program,
                &format!("exec strace -qq {} '{}/{program}'.$$ {real} \"$@\"", follow(&program), log.display()),
            );
        }
        line = format!("exec strace -qq {} '{}/sh.0' {}", follow("sh"), log.display(), quoted());
    }
    if let Some(point) = point {
        let log = format!("'{}/fault'.$$", log.display());
        let (real, args) = match point.program.as_str() {
            "sh" => (quoted(), ""),
            program => (binaries().join(program).display().to_string(), " \"$@\""),
        };
        let runner = point.runner(&log, dir);
        let met = format!("'{}'", dir.join("met").display());
        // a script runs some programs several times: to one of them it happens
        let once = format!("test ! -e {met} || exec {real}{args}\n");
        let text = match point.fault {
            Fault::Kill => format!("{once}{runner} {real}{args}\nstatus=$?\ntest $status != 137 || : >{met}\nexit $status"),
            Fault::KillAll => {
                format!(
                    "{once}{runner} {real}{args}\nstatus=$?\ntest $status != 137 || {{ : >{met}; kill -KILL 0; }}\nexit $status"
                )
            }
            Fault::Size => runner.replacen("; ", "\nexec ", 1) + &format!(" {real}{args}"),
            _ => format!("exec {runner} {real}{args}"),
        };
        if point.program == "sh" { line = text } else { shim(&shims, &point.program, &text) }
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &line]).env_clear().current_dir(&scene.cwd).process_group(0);
    command.env("PATH", format!("{}:{}:/usr/bin:/bin", shims.display(), binaries().display()));
    command.env("LTR_EXEC_PATH", &scripts).env("HOME", dir).env("TMPDIR", dir.join("tmp")).env("LC_ALL", "C");
    command.envs(crate::far::environment(dir));
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let group = rustix::process::Pid::from_child(&child);
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let hangs = end.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if hangs {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        hangs
    });
    // what they say ends when the last of them has ended, be it an orphan
    let output = child.wait_with_output().unwrap();
    drop(ended);
    let mut said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if watch.join().unwrap() {
        said.push_str("\n(it hung)");
    }
    let met = match point.map(|p| &p.fault) {
        None | Some(Fault::Size) => true,
        Some(Fault::Kill | Fault::KillAll) => dir.join("met").exists(),
        Some(_) => was_met(&log),
    };
    Ran { status: output.status.code(), said, met }
}

/// Whether a call was refused, by the traces of the program.
fn was_met(log: &Path) -> bool {
    fs::read_dir(log).unwrap().any(|entry| {
        let text = fs::read(entry.unwrap().path()).unwrap();
        String::from_utf8_lossy(&text).contains("(INJECTED)")
    })
}

fn programs() -> Vec<String> {
    let sources = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin")).unwrap();
    let names = sources.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect()
}

/// Lets the other boxes pull what the first one has.
fn others_pull(scene: &Scene) -> State {
    if scene.boxes[0].exists(".ltr") {
        scene.boxes[0].commit();
    }
    for other in &scene.boxes[1..] {
        if other.index != scene.boxes[0].index {
            sync(&scene.boxes[0].index, &other.index);
        }
        other.pull_from(&[]);
        other.failures();
    }
    let state = State::of(&scene.boxes[1..], false);
    State { claims: BTreeMap::new(), ..state }
}

/// The fault-free run, and all points there are.
fn reference(name: &str) -> (Wanted, Vec<Point>) {
    let scene = make(name);
    let ran = run(&scene, None, false);
    assert!(matches!(ran.status, Some(0 | 1)), "{name}: {:?} {}", ran.status, ran.said);
    let state = State::of(&scene.boxes, name == "sync");
    let wanted = Wanted { status: ran.status, state, others: others_pull(&scene) };
    let scene = make(name);
    let traced = run(&scene, None, true);
    let wrong = is_as_wanted(&State::of(&scene.boxes, name == "sync"), &wanted.state);
    assert!(traced.status == ran.status && wrong.is_empty(), "{name}: traced {wrong:?}\n{}", traced.said);
    let dir = scene.world.dir.path();
    (wanted, points(&dir.join("log"), dir))
}

/// Tries one point; returns whether it was met, and what was wrong.
fn attempt(name: &str, point: &Point, wanted: &Wanted) -> (bool, Vec<String>) {
    let scene = make(name);
    let before = State::of(&scene.boxes, name == "sync");
    let ran = run(&scene, Some(point), false);
    let now = State::of(&scene.boxes, name == "sync");
    let mut wrong = after_fault(&before, &now, &wanted.state);
    if ran.status == Some(0) {
        wrong.extend(is_as_wanted(&now, &wanted.state).into_iter().map(|w| format!("ended with 0, but {w}")));
    }
    if ran.said.contains("panicked") || ran.said.contains("(it hung)") {
        wrong.push("it panicked or hung".to_owned());
    }
    let again = run(&scene, None, false);
    let now = State::of(&scene.boxes, name == "sync");
    let done_before = scene.once && is_as_wanted(&now, &wanted.state).is_empty();
    if again.status != wanted.status && !done_before {
        wrong.push(format!("again: status {:?}", again.status));
    }
    // a rename of which one half could not be looked at is, once that half can be, no rename any more
    let strict = !(name.starts_with("commit") && ran.status == Some(1));
    if strict {
        wrong.extend(is_as_wanted(&now, &wanted.state).into_iter().map(|w| format!("again: {w}")));
    } else {
        wrong.extend(is_in_order(&now, &wanted.state).into_iter().map(|w| format!("again: {w}")));
    }
    let more = run(&scene, None, false);
    wrong.extend(is_unchanged(&State::of(&scene.boxes, name == "sync"), &now, ["mark", "set", "set-space"].contains(&name)));
    // what is no box yet cannot be committed
    if strict && wrong.is_empty() {
        let others = others_pull(&scene);
        wrong.extend(is_as_wanted(&others, &wanted.others).into_iter().map(|w| format!("another box: {w}")));
    }
    if !wrong.is_empty() {
        wrong.truncate(LINES);
        let told = [("first", &ran), ("again", &again), ("once more", &more)];
        wrong.extend(told.map(|(when, ran)| format!("{when} ({:?}):\n{}", ran.status, last_lines(&ran.said))));
    }
    (ran.met, wrong)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Makes sure that strace can do what all this depends on.
pub fn need_strace() {
    let tried = Command::new("strace").args(["-o", "/dev/null", "-e", "inject=chdir:error=EIO", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("strace may not trace here: {}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => panic!("strace cannot be run: {e}"),
    }
}

/// Tries the points of one scene, and says how many.
pub fn try_all(name: &str) {
    need_strace();
    let named: Option<Point> = std::env::var("LTR_FAULT").ok().and_then(|text| {
        let (scene, point) = text.split_once(' ')?;
        (scene == name).then(|| point.parse().unwrap())
    });
    if named.is_none() && std::env::var_os("LTR_FAULT").is_some() {
        return;
    }
    let (wanted, all) = reference(name);
    let total = all.len();
    let chosen = match named {
        Some(point) => vec![point],
        None => match std::env::var("LTR_SOAK").as_deref() {
            Ok("all") => all,
            Ok(each) => sample(all, each.parse().unwrap()),
            Err(_) => glimpse(name, all),
        },
    };
    let (next, missed, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|threads| {
        for _ in 0..workers {
            threads.spawn(|| {
                while let Some(point) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (met, wrong) = attempt(name, point, &wanted);
                    if !met {
                        missed.lock().unwrap().push(point.to_string());
                    }
                    if !wrong.is_empty() {
                        // a soak takes hours
                        eprintln!("LTR_FAULT='{name} {point}': {}", wrong[0]);
                        failed.lock().unwrap().push((point.clone(), wrong));
                    }
                }
            });
        }
    });
    let (missed, failed) = (missed.into_inner().unwrap(), failed.into_inner().unwrap());
    let (tried, threads) = (chosen.len(), chosen.iter().filter(|p| p.about.is_some()).count());
    eprintln!(
        "{name}: {tried} of {total} points tried, {threads} in threads; {} were not met, {} failed",
        missed.len(),
        failed.len()
    );
    assert!(missed.len() * 2 <= chosen.len(), "most points were not met: is the trace what runs? {missed:?}");
    let mut text = String::new();
    for (point, wrong) in &failed {
        write!(text, "\nLTR_FAULT='{name} {point}'\n  {}", wrong.join("\n").replace('\n', "\n  ")).unwrap();
    }
    assert!(failed.is_empty(), "{}{text}", place().display());
}
