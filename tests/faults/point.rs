//! Where and how a program can be made to fail, by what it was seen to do when nothing failed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// Of a call that another thread than the first makes: the file or folder that it is about, below that of the
    /// scene. Which thread makes it may change from run to run, what it is about does not: of each thread those calls
    /// are counted alone that are about it, of the first as well.
    pub about: Option<String>,
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
        write!(f, "{} {} {} {fault}", self.program, self.call, self.number)?;
        self.about.as_ref().map_or(Ok(()), |path| write!(f, " {path}"))
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "kill" => Self::Kill,
            "kill-all" => Self::KillAll,
            "short" => Self::Size,
            name => match name.strip_suffix('+') {
                Some(name) => Self::Errors(name.to_owned()),
                None => Self::Error(name.to_owned()),
            },
        })
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (program, call, number, fault, about) = match text.split(' ').collect::<Vec<_>>()[..] {
            [program, call, number, fault] => (program, call, number, fault, None),
            [program, call, number, fault, path] => (program, call, number, fault, Some(path.to_owned())),
            _ => return Err(format!("not PROGRAM CALL NUMBER FAULT [PATH]: {text}")),
        };
        let fault = fault.parse()?;
        let number = number.parse().map_err(|_| text.to_owned())?;
        Ok(Self { program: program.to_owned(), call: call.to_owned(), number, fault, about })
    }
}

impl Point {
    /// The command line that a program is run by, so that this happens to it, in the scene that is in `dir`.
    pub fn runner(&self, log: &str, dir: &Path) -> String {
        let (call, number) = (&self.call, self.number);
        let inject = match &self.fault {
            Fault::Kill | Fault::KillAll => format!("signal=KILL:when={number}"),
            Fault::Error(name) => format!("error={name}:when={number}"),
            Fault::Errors(name) => format!("error={name}:when={number}+"),
            Fault::Size => return format!("trap '' XFSZ; prlimit --fsize={number}:{number}"),
        };
        let threads = match &self.about {
            None => String::new(),
            Some(path) => format!("-f -P '{}/{path}'", dir.display()),
        };
        format!("strace -q {threads} -o {log} -e trace={call} -e signal=none -e inject={call}:{inject}")
    }
}

/// Options of strace that tell what a program does: its threads are followed, but not what a script starts.
pub fn follow(program: &str) -> &'static str {
    if ["sh", "ltr-lock"].contains(&program) { "-y -o" } else { "-y -ff -o" }
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

/// The points in the traces of a command that nothing went wrong with in a scene that is in `dir`: files
/// `PROGRAM.PID`, of a thread `PROGRAM.PID.TID`, in a folder.
pub fn points(traces: &Path, dir: &Path) -> Vec<Point> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(traces).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let program = name.split('.').next().unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
        if program == "sh" || text.starts_with("execve(") {
            of_trace(program, &text, &mut all);
        } else {
            of_thread(program, &text, &format!("{}/", dir.display()), &mut all);
        }
    }
    all.into_iter().collect()
}

/// What the first thread does.
fn of_trace(program: &str, text: &str, all: &mut BTreeSet<Point>) {
    let script = ["sh", "ltr-lock"].contains(&program);
    let mut seen: HashMap<&str, u64> = HashMap::new();
    // what happens before main is not ours; of a shell, all is
    let mut started = program == "sh";
    let (mut wrote, mut fresh) = (false, false);
    for line in text.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let number = seen.entry(call).or_default();
        *number += 1;
        started |= line.starts_with("rt_sigaction(SIGPIPE");
        fresh |= call == "execve";
        if !started || line.contains(".so") || line.contains("/etc/ld.so") || line.contains("/proc/") {
            continue;
        }
        if script && call == "read" {
            let of_file = arguments.contains("</");
            let first = fresh;
            fresh &= !of_file;
            // a pipe is never refused; and where the system could not read the beginning of a script it would not
            // have run a shell, which takes that for an empty one
            if !of_file || (first && !arguments.contains("/ltr-sh-setup>")) {
                continue;
            }
        }
        let point =
            Point { program: program.to_owned(), call: call.to_owned(), number: *number, fault: Fault::Kill, about: None };
        wrote |= add(&point, line, all);
    }
    if wrote && program.starts_with("ltr-") {
        for number in [0, 1, 100, 511, 4095, 4096, 5000, 10_000, 20_000, 40_000, 70_000, 100_000, 131_072, 200_000, 299_999] {
            let (program, call) = (program.to_owned(), "write".to_owned());
            all.insert(Point { program, call, number, fault: Fault::Size, about: None });
        }
    }
}

/// What another thread does with what is in the scene.
fn of_thread(program: &str, text: &str, dir: &str, all: &mut BTreeSet<Point>) {
    let mut seen: HashMap<(&str, &str), u64> = HashMap::new();
    for line in text.lines() {
        let Some((call, arguments)) = line.split_once('(') else { continue };
        let arguments = arguments.rsplit_once(" = ").map_or(arguments, |(before, _)| before);
        // descriptors as FD</path>, names as "/path"
        let named = arguments.split(['<', '>', '"']).skip(1).step_by(2).filter_map(|word| word.strip_prefix(dir));
        let mut about: Vec<&str> = named.filter(|path| !path.contains(['\'', ' ', '\\', '('])).collect();
        about.dedup();
        for path in &about {
            *seen.entry((call, path)).or_default() += 1;
        }
        if let Some(path) = about.first() {
            let (program, call, number) = (program.to_owned(), call.to_owned(), seen[&(call, *path)]);
            add(&Point { program, call, number, fault: Fault::Kill, about: Some((*path).to_owned()) }, line, all);
        }
    }
}

/// All that a call may meet. Returns whether it changes something.
fn add(point: &Point, line: &str, all: &mut BTreeSet<Point>) -> bool {
    let (kill, errors) = faults(&point.call, line);
    let mut add = |fault| all.insert(Point { fault, ..point.clone() });
    if kill {
        add(Fault::Kill);
        add(Fault::KillAll);
    }
    for (at, error) in errors.iter().enumerate() {
        add(Fault::Error((*error).to_owned()));
        // a disk that is full, or gone, stays so for a while
        if at == 0 && point.number % 5 == 1 {
            add(Fault::Errors((*error).to_owned()));
        }
    }
    kill
}

/// Of each fault of each kind of call of each program so many at most, the first and the last among them.
pub fn sample(points: Vec<Point>, each: usize) -> Vec<Point> {
    let mut groups: BTreeMap<(String, String, Fault, bool), Vec<Point>> = BTreeMap::new();
    for point in points {
        let thread = point.about.is_some();
        groups.entry((point.program.clone(), point.call.clone(), point.fault.clone(), thread)).or_default().push(point);
    }
    let spread = |group: Vec<Point>| {
        let count = group.len().min(each);
        let at = move |n: usize| if count == 1 { group.len() / 2 } else { n * (group.len() - 1) / (count - 1) };
        (0..count).map(at).collect::<Vec<_>>()
    };
    groups.into_values().flat_map(|group| spread(group.clone()).into_iter().map(move |n| group[n].clone())).collect()
}

/// Scenes in which files are at stake.
const LARGE: [&str; 8] = ["commit", "commit-paths", "pull", "pull-new", "pull-any", "pull-ssh", "rm", "sync"];

/// Faults that once were too much, of the scene `pull`: they are always tried, at the last of these calls.
const FOUND: [(&str, &str, &str); 2] = [("ltr-fetch", "getdents64", "EIO"), ("ltr-fetch", "fstat", "EACCES+")];

/// Of each kind of call one point, by whatever program; of a pull for each fault one; of what only makes or sets
/// something, of those calls that change something. All take as long as the other tests together.
pub fn glimpse(scene: &str, points: Vec<Point>) -> Vec<Point> {
    let main = scene == "pull";
    let mut groups: BTreeMap<(String, Option<Fault>, bool), Vec<Point>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for (program, call, fault) in FOUND.into_iter().filter(|_| main) {
        let fault = fault.parse().unwrap();
        chosen.extend(points.iter().rfind(|p| p.program == program && p.call == call && p.fault == fault).cloned());
    }
    // each takes seconds: of that scene only what the others have not, kills of what brings files from elsewhere
    let brings = |p: &Point| p.about.is_some() && matches!(p.fault, Fault::Kill | Fault::KillAll);
    let changing: BTreeSet<String> = points.iter().filter(|p| p.fault == Fault::Kill).map(|p| p.call.clone()).collect();
    for point in points.into_iter().filter(|p| scene != "pull-ssh" || brings(p)) {
        if LARGE.contains(&scene) || changing.contains(&point.call) {
            // once or for good, one program or all of the pipe: one of the two
            let fault = match &point.fault {
                Fault::KillAll => Fault::Kill,
                Fault::Errors(name) => Fault::Error(name.clone()),
                fault => fault.clone(),
            };
            let key = (point.call.clone(), main.then_some(fault), point.about.is_some());
            groups.entry(key).or_default().push(point);
        }
    }
    for (key, group) in groups {
        // always the same one, but not the first program of the alphabet for all
        let hash = litter::hash::sha1_of(format!("{scene} {key:?}").as_bytes()).to_string();
        let number = usize::from_str_radix(&hash[..8], 16).unwrap();
        chosen.push(group[number % group.len()].clone());
    }
    chosen
}
