//! Where and how a program can be made to fail, by what it was seen to do when nothing failed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The program is killed, and the others of the pipe go on without it.
    Kill,
    /// All of the pipe is killed.
    KillAll,
    /// The call fails.
    Error(String),
    /// And so does every later one.
    Errors(String),
    /// Files may not grow above this many bytes: the last write is a short one.
    Size,
}

/// One fault at one call of one program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub program: String,
    pub call: String,
    /// The which of these calls; of [`Fault::Size`], how many bytes.
    pub number: u64,
    pub fault: Fault,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match &self.fault {
            Fault::Kill => "kill".to_owned(),
            Fault::KillAll => "kill-all".to_owned(),
            Fault::Error(name) => name.clone(),
            Fault::Errors(name) => format!("{name}+"),
            Fault::Size => "short".to_owned(),
        };
        write!(f, "{} {} {} {fault}", self.program, self.call, self.number)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [program, call, number, fault] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("not PROGRAM CALL NUMBER FAULT: {text}"));
        };
        let fault = match fault {
            "kill" => Fault::Kill,
            "kill-all" => Fault::KillAll,
            "short" => Fault::Size,
            name => match name.strip_suffix('+') {
                Some(name) => Fault::Errors(name.to_owned()),
                None => Fault::Error(name.to_owned()),
            },
        };
        let number = number.parse().map_err(|_| text.to_owned())?;
        Ok(Self { program: program.to_owned(), call: call.to_owned(), number, fault })
    }
}

impl Point {
    /// The command line that a program is run by, so that this happens to it.
    pub fn runner(&self, log: &str) -> String {
        let (call, number) = (&self.call, self.number);
        let inject = match &self.fault {
            Fault::Kill | Fault::KillAll => format!("signal=KILL:when={number}"),
            Fault::Error(name) => format!("error={name}:when={number}"),
            Fault::Errors(name) => format!("error={name}:when={number}+"),
            Fault::Size => return format!("trap '' XFSZ; prlimit --fsize={number}:{number}"),
        };
        format!("strace -q {} {log} -e trace={call} -e signal=none -e inject={call}:{inject}", follow(&self.program))
    }
}

/// Options of strace for a program: its threads are followed, but not what it becomes or starts.
pub fn follow(program: &str) -> &'static str {
    if ["sh", "ltr-lock", "ltr-fetch", "ltr-reach", "ltr-index-sync"].contains(&program) { "-o" } else { "-ff -o" }
}

/// Faults that a call may meet. A kill matters only where something changes.
fn faults(call: &str, line: &str) -> (bool, &'static [&'static str]) {
    match call {
        "openat" | "open" if line.contains("O_CREAT") || line.contains("O_TMPFILE") => (true, &["ENOSPC", "EACCES", "EIO"]),
        "openat" | "openat2" | "open" => (false, &["EACCES", "EIO"]),
        "write" | "pwrite64" | "writev" | "sendfile" | "copy_file_range" => (true, &["ENOSPC", "EIO"]),
        "mkdir" | "mkdirat" | "symlinkat" | "linkat" => (true, &["ENOSPC", "EACCES"]),
        "rename" | "renameat" | "renameat2" => (true, &["EACCES", "ENOSPC", "EIO"]),
        "unlink" | "unlinkat" | "rmdir" | "ftruncate" => (true, &["EACCES", "EIO"]),
        "chmod" | "fchmod" | "fchmodat" | "utimensat" => (true, &["EIO"]),
        "fsync" | "fdatasync" | "syncfs" => (true, &["EIO", "ENOSPC"]),
        "ioctl" if line.contains("FICLONE") => (true, &["EIO", "ENOSPC"]),
        "read" | "pread64" | "getdents64" | "readlinkat" | "fstatfs" | "statfs" => (false, &["EIO"]),
        "statx" | "newfstatat" | "fstat" | "lstat" | "stat" => (false, &["EACCES", "EIO"]),
        "flock" => (false, &["ENOLCK"]),
        "fcntl" if line.contains("F_DUPFD") => (false, &["EMFILE"]),
        "clone" | "clone3" | "vfork" | "fork" => (true, &["EAGAIN"]),
        "pipe2" | "pipe" => (false, &["EMFILE"]),
        "wait4" | "exit_group" => (true, &[]),
        _ => (false, &[]),
    }
}

/// The points in the traces of a command that nothing went wrong with: files `PROGRAM.PID` in a folder.
pub fn points(traces: &Path) -> Vec<Point> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(traces).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let program = name.split('.').next().unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
        of_trace(program, &text, &mut all);
    }
    all.into_keys().collect()
}

fn of_trace(program: &str, text: &str, all: &mut BTreeMap<Point, ()>) {
    let mut seen: HashMap<&str, u64> = HashMap::new();
    // what happens before main is not ours; of a shell, all is
    let mut started = !(program.starts_with("ltr-") && text.starts_with("execve("));
    let mut wrote = false;
    for line in text.lines() {
        let Some((call, _)) = line.split_once('(') else { continue };
        let number = seen.entry(call).or_default();
        *number += 1;
        started |= line.starts_with("rt_sigaction(SIGPIPE");
        if !started || line.contains(".so") || line.contains("/etc/ld.so") || line.contains("/proc/") {
            continue;
        }
        if call == "read" && ["sh", "ltr-lock"].contains(&program) {
            // a shell takes a script that it cannot read on for one that has ended, and ends with 0
            continue;
        }
        let (kill, errors) = faults(call, line);
        let mut add = |fault| {
            all.insert(Point { program: program.to_owned(), call: call.to_owned(), number: *number, fault }, ());
        };
        if kill {
            add(Fault::Kill);
            add(Fault::KillAll);
            wrote = true;
        }
        for (at, error) in errors.iter().enumerate() {
            add(Fault::Error((*error).to_owned()));
            // a disk that is full, or gone, stays so for a while
            if at == 0 && *number % 5 == 1 {
                add(Fault::Errors((*error).to_owned()));
            }
        }
    }
    if wrote && program.starts_with("ltr-") {
        for number in [0, 1, 100, 511, 4095, 4096, 5000, 10_000, 20_000, 40_000, 70_000, 100_000, 131_072, 200_000, 299_999] {
            all.insert(Point { program: program.to_owned(), call: "write".to_owned(), number, fault: Fault::Size }, ());
        }
    }
}

/// Of each fault of each kind of call of each program so many at most, the first and the last among them.
pub fn sample(points: Vec<Point>, each: usize) -> Vec<Point> {
    let mut groups: BTreeMap<(String, String, Fault), Vec<Point>> = BTreeMap::new();
    for point in points {
        groups.entry((point.program.clone(), point.call.clone(), point.fault.clone())).or_default().push(point);
    }
    let spread = |group: Vec<Point>| {
        let count = group.len().min(each);
        let at = move |n: usize| if count == 1 { group.len() / 2 } else { n * (group.len() - 1) / (count - 1) };
        (0..count).map(at).collect::<Vec<_>>()
    };
    groups.into_values().flat_map(|group| spread(group.clone()).into_iter().map(move |n| group[n].clone())).collect()
}

/// Faults that once were too much, of the scene `pull`: they are always tried, at the last of these calls.
const FOUND: [(&str, &str, &str); 1] = [("ltr-fetch", "getdents64", "EIO")];

/// Of each kind of call one point, by whatever program; of the two main commands, for each fault one.
pub fn glimpse(scene: &str, points: Vec<Point>) -> Vec<Point> {
    let main = ["commit", "pull"].contains(&scene);
    let mut groups: BTreeMap<(String, Option<Fault>), Vec<Point>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for (program, call, fault) in FOUND.into_iter().filter(|_| scene == "pull") {
        let fault = Fault::Error(fault.to_owned());
        chosen.extend(points.iter().rfind(|p| p.program == program && p.call == call && p.fault == fault).cloned());
    }
    for point in points {
        groups.entry((point.call.clone(), main.then(|| point.fault.clone()))).or_default().push(point);
    }
    for (key, group) in groups {
        // always the same one, but not the first program of the alphabet for all
        let hash = litter::hash::sha1_of(format!("{scene} {key:?}").as_bytes()).to_string();
        let number = usize::from_str_radix(&hash[..8], 16).unwrap();
        chosen.push(group[number % group.len()].clone());
    }
    chosen
}
