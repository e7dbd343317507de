//! What every binary needs around its one call into the library: messages on stderr, the exit status,
//! and a quiet end when the reader of a pipe has gone.
#![allow(dead_code, reason = "each binary uses its part")]

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, StdinLock, Stdout, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error};
use clap::{CommandFactory, Parser};
use litter::connections::{CONNECTIONS, Connections};
use litter::couch::places::{Places, WAIT};
use litter::couch::url::{Database, Secret};
use litter::couch::visit::{Visit, visit};
use litter::exit::Exit;
use litter::index::sqlite::{Access, Sqlite};
use litter::ltrbox::{self, Located};
use litter::query::Scene;
use litter::quote::JsonForTerminal;
use litter::report::{Report, Unit};
use litter::space::Space;
use litter::ssh::{SILENCE, Ssh};
use litter::stream::{CUT, Cut};
use litter::sync::Options;

/// [`run`] for what writes a stream: where it fails, the stream says that this was told, so that of a whole pipe
/// only one tells.
pub fn stream<A: Parser + CommandFactory>(work: impl FnOnce(A, &mut Stderr) -> anyhow::Result<Exit>) -> ExitCode {
    let mut failed = true;
    let status = run(|args: A, report| {
        let done = work(args, report);
        failed = done.is_err();
        done
    });
    if failed && status != ExitCode::SUCCESS && !stdout_is_terminal() {
        // who has gone need not hear of it
        let _ = io::stdout().write_all(CUT.as_bytes());
    }
    status
}

/// Parses the arguments and runs `work`; its errors become messages and exit statuses.
pub fn run<A: Parser + CommandFactory>(work: impl FnOnce(A, &mut Stderr) -> anyhow::Result<Exit>) -> ExitCode {
    let program = A::command().get_name().to_owned();
    if let [_, flag, shell] = std::env::args_os().collect::<Vec<_>>().as_slice()
        && flag == "--generate-completions"
    {
        return completions::<A>(&program, &shell.to_string_lossy());
    }
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) => {
            if !error.use_stderr() {
                return if error.print().is_ok() { Exit::Done } else { Exit::Nothing }.into();
            }
            let text = error.render().to_string();
            // what a shell made of `*` may be a name that drives a terminal
            text.trim_end().lines().for_each(|line| tell(&litter::quote::text_for_terminal(line)));
            return Exit::Usage.into();
        }
    };
    let mut report = Stderr::new(program);
    match work(args, &mut report) {
        Ok(exit) => {
            report.finish();
            exit.max(Exit::of_failures(report.failures)).into()
        }
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        // of what another machine said, its name would be the context
        Err(error) if error.chain().next().is_some_and(<dyn std::error::Error>::is::<Cut>) => {
            report.finish();
            Exit::Nothing.into()
        }
        Err(error) => {
            report.line(&format!("{error:#}"));
            Exit::Nothing.into()
        }
    }
}

/// Prints a message. Where that is not possible, as with a log on a disk that is full, the work goes on: it
/// would be worse to end in the middle of it.
fn tell(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn completions<A: CommandFactory>(program: &str, shell: &str) -> ExitCode {
    let Ok(shell) = shell.parse::<clap_complete::Shell>() else { return Exit::Usage.into() };
    clap_complete::generate(shell, &mut A::command(), program, &mut io::stdout());
    ExitCode::SUCCESS
}

/// Whether the reader of stdout has gone.
pub fn is_broken_pipe(error: &Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
            || cause.downcast_ref::<serde_json::Error>().is_some_and(|e| e.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
}

/// Messages and progress on stderr.
pub struct Stderr {
    program: String,
    failures: u64,
    bar: Option<indicatif::ProgressBar>,
}

impl Stderr {
    fn new(program: String) -> Self {
        Self { program, failures: 0, bar: None }
    }

    /// Says what follows in another's name.
    pub fn speak_as(&mut self, program: &str) {
        program.clone_into(&mut self.program);
    }

    fn line(&self, text: &str) {
        // messages name files, and names are anybody's
        let text = litter::quote::text_for_terminal(text);
        let line = format!("{}: {text}", self.program);
        match &self.bar {
            Some(bar) => bar.suspend(|| tell(&line)),
            None => tell(&line),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Report for Stderr {
    fn failure(&mut self, subject: &str, cause: &str) {
        self.failures += 1;
        self.line(&format!("{subject}: {cause}"));
    }

    fn notice(&mut self, text: &str) {
        self.line(text);
    }

    fn progress(&mut self, done: u64, total: u64, unit: Unit) {
        let bar = self.bar.get_or_insert_with(|| progress_bar(unit));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    fn aside(&mut self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(litter::quote::text_for_terminal(text).into_owned());
        }
    }
}

fn progress_bar(unit: Unit) -> indicatif::ProgressBar {
    let template = match unit {
        Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}",
        Unit::Files => "{human_pos} files {per_sec} {wide_msg}",
        Unit::Documents => "{human_pos} documents {per_sec} {wide_msg}",
    };
    // indicatif draws on stderr, and only where that is a terminal
    let bar = indicatif::ProgressBar::no_length();
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Whether programs show their progress on stderr, as indicatif decides it.
pub fn shows_progress() -> bool {
    let able = std::env::var("TERM").is_ok_and(|term| term != "dumb");
    able && io::stderr().is_terminal()
}

/// Where the command asks the index: `space`, or else the box around the current folder. The replica of a
/// database that is named is first brought up to date.
pub fn scene(space: Option<&str>, access: Access, report: &mut Stderr) -> anyhow::Result<Scene> {
    let here = std::env::current_dir()?;
    let places = places();
    if let Some(Space::Http(database)) = space.map(|text| Space::parse(text, &here)).transpose()? {
        let database = kept(&places, database)?;
        visit(&places, &database, &Visit { no_push: access == Access::Read, ..Visit::default() }, report)?;
        return Scene::open(&here, Some(&database.to_string()), access, &places);
    }
    Scene::open(&here, space, access, &places)
}

/// Sends what was written to the replica of a database that was named.
pub fn push(space: Option<&str>, report: &mut Stderr) -> anyhow::Result<()> {
    if let Some(Space::Http(database)) = space.map(|text| Space::parse(text, &std::env::current_dir()?)).transpose()? {
        visit(&places(), &database, &Visit { push_first: true, ..Visit::default() }, report)?;
    }
    Ok(())
}

/// Keeps the password of a URL, so that it need not be given again, and leaves it out from here on.
pub fn kept(places: &Places, database: Database) -> anyhow::Result<Database> {
    litter::couch::credentials::keep(places, &database)?;
    Ok(database.without_password())
}

/// [`kept`] for a SPACE argument of any form.
pub fn kept_text(places: &Places, text: &str) -> anyhow::Result<String> {
    match Space::parse(text, &std::env::current_dir()?)? {
        Space::Http(database) => Ok(kept(places, database)?.to_string()),
        _ => Ok(text.to_owned()),
    }
}

/// Folders and limits, from the environment.
pub fn places() -> Places {
    let folder = |key: &str| std::env::var_os(key).map(std::path::PathBuf::from).filter(|folder| folder.is_absolute());
    let mut places = Places::below(&folder("HOME").unwrap_or_else(|| "/".into()));
    for (key, place) in [("XDG_STATE_HOME", &mut places.state), ("XDG_CONFIG_HOME", &mut places.config)] {
        if let Some(folder) = folder(key) {
            *place = folder.join("ltr");
        }
    }
    places.ca_file = std::env::var_os("LTR_CA_FILE").filter(|file| !file.is_empty()).map(Into::into);
    let wait = std::env::var("LTR_WAIT").ok().and_then(|text| text.parse::<f64>().ok());
    places.wait = wait.and_then(|s| Duration::try_from_secs_f64(s).ok()).unwrap_or(WAIT);
    places.ask = Some(ask);
    places
}

/// Asks on the terminal, which shows nothing of the answer.
fn ask(question: &str) -> Option<Secret> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    let modes = tcgetattr(&terminal).ok()?;
    let mut silent = modes.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    // before the question, or who answers at once would have it shown, and thrown away
    tcsetattr(&terminal, OptionalActions::Flush, &silent).ok()?;
    let mut answer = String::new();
    let asked = write!(terminal, "{}", litter::quote::text_for_terminal(question));
    let read = asked.and_then(|()| BufReader::new(&terminal).read_line(&mut answer));
    let restored = tcsetattr(&terminal, OptionalActions::Flush, &modes);
    let _ = writeln!(terminal);
    let answer = answer.trim_end_matches(['\r', '\n']);
    (read.is_ok() && restored.is_ok() && !answer.is_empty()).then(|| Secret::new(answer))
}

/// Standard input, buffered.
pub fn stdin() -> BufReader<StdinLock<'static>> {
    BufReader::with_capacity(1 << 16, io::stdin().lock())
}

/// Standard input, read ahead by a thread of its own.
pub fn stdin_ahead() -> io::Result<Box<dyn BufRead>> {
    let stdin = || io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let input = stdin()?;
    litter::stream::widen(&input);
    litter::stream::ahead(input, stdin)
}

/// What keeps this program from its work may have kept the one that writes to it from its own: where that cut its
/// stream before the first record, it has told.
pub fn unless_told(error: Error) -> Error {
    if io::stdin().is_terminal() {
        return error;
    }
    match litter::stream::Reader::new(stdin()).next_line() {
        Err(cut) if cut.is::<Cut>() => cut,
        _ => error,
    }
}

/// Standard output for JSON, buffered; on a terminal no byte in it does harm.
pub fn stdout() -> BufWriter<Box<dyn Write + Send>> {
    let terminal = stdout_is_terminal();
    let output: Box<dyn Write + Send> =
        if terminal { Box::new(JsonForTerminal::new(io::stdout())) } else { Box::new(io::stdout()) };
    BufWriter::with_capacity(1 << 16, output)
}

/// Standard output as it is, buffered: for content, and for text that was made fit already.
pub fn raw_stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(1 << 16, io::stdout())
}

/// Whether stdout is a terminal, so that names are to be quoted.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// An unnamed temporary file in `TMPDIR`, for what must be whole before it is acted upon.
pub fn spool() -> anyhow::Result<File> {
    tempfile::tempfile().with_context(|| format!("cannot make a temporary file in {}", std::env::temp_dir().display()))
}

/// How to reach other machines: `LTR_SSH` may name a program and its options in place of `ssh`,
/// `LTR_CONNECTIONS` the folder of the connections that all programs of a command share, and
/// `LTR_TIMEOUT` how many seconds the other side may say nothing.
pub fn ssh() -> anyhow::Result<Ssh> {
    let program = std::env::var("LTR_SSH").ok().filter(|text| !text.is_empty());
    // ssh asks for passwords on the terminal itself, so stderr is what tells whether there is one
    let ssh = Ssh::new(program.as_deref().unwrap_or("ssh"), !is_interactive())?;
    let ssh = ssh.patient(silence()?).hearing(|line| tell(&litter::quote::text_for_terminal(line)));
    let verbose = std::env::var_os("LTR_VERBOSE").is_some_and(|value| !value.is_empty());
    let ssh = if verbose { verbosely(ssh) } else { ssh };
    Ok(match std::env::var_os(CONNECTIONS).filter(|folder| !folder.is_empty()) {
        Some(folder) => ssh.sharing(Arc::new(Connections::within(folder.into(), lock_above()))),
        None => ssh,
    })
}

/// How to sync, both ways and in earnest.
pub fn sync_options() -> anyhow::Result<Options> {
    Ok(Options { one_way: false, scratch: None, read_only_ok: false, ssh: ssh()?, places: places() })
}

/// How long the other side may say nothing; 0 is for ever, as with rsync.
pub fn silence() -> anyhow::Result<Option<Duration>> {
    let Some(text) = std::env::var("LTR_TIMEOUT").ok().filter(|text| !text.is_empty()) else { return Ok(Some(SILENCE)) };
    let limit = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let limit = limit.with_context(|| format!("LTR_TIMEOUT is no number of seconds: {text}"))?;
    Ok(Some(limit).filter(|limit| !limit.is_zero()))
}

/// The same, with each command shown before it is run.
pub fn verbosely(ssh: Ssh) -> Ssh {
    ssh.telling(Some(|command| tell(&format!("+ {}", litter::quote::text_for_terminal(command)))))
}

/// As [`ssh`], with connections of this program's own where no process above shares its own.
pub fn shared_ssh() -> anyhow::Result<Ssh> {
    let ssh = ssh()?;
    if std::env::var_os(CONNECTIONS).is_some_and(|folder| !folder.is_empty()) {
        return Ok(ssh);
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(std::path::PathBuf::from).filter(|folder| folder.is_dir());
    let below = runtime.unwrap_or_else(|| "/tmp".into());
    Ok(match Connections::below(&below, lock_above()) {
        Ok(own) => ssh.sharing(Arc::new(own)),
        // then each command has its own
        Err(_) => ssh,
    })
}

/// A SPACE argument; without one, the index of the box around the current folder.
pub fn space(text: Option<&str>) -> anyhow::Result<Space> {
    let here = std::env::current_dir()?;
    match text {
        Some(text) => match Space::parse(text, &here)? {
            Space::Http(database) => Ok(Space::Http(kept(&places(), database)?)),
            other => Ok(other),
        },
        None => Ok(Space::File(ltrbox::locate(&here, &places())?.index)),
    }
}

/// The box at `root`, or else the one around the current folder.
pub fn box_root(root: Option<std::path::PathBuf>) -> anyhow::Result<litter::boxfs::BoxRoot> {
    let root = match root {
        Some(root) => root,
        None => litter::cookie::find_root(&std::env::current_dir()?).context("no box here")?,
    };
    litter::boxfs::BoxRoot::open(&root).with_context(|| root.display().to_string())
}

/// The descriptor of the lock that an ltr-lock above this process holds.
pub fn lock_above() -> Option<std::os::fd::RawFd> {
    std::env::var(litter::lock::LOCK_FD).ok().and_then(|fd| fd.parse().ok())
}

/// Which box a command is about.
#[derive(clap::Args)]
pub struct BoxArgs {
    /// The box; by default the one around the current folder
    #[arg(long = "box", value_name = "BOX")]
    pub box_name: Option<String>,
    /// The space's index, where the current folder is in no box of it
    #[arg(long, value_name = "SPACE", requires = "box_name")]
    pub space: Option<String>,
}

impl BoxArgs {
    /// The box around the current folder, under the name that was given.
    pub fn locate(&self) -> anyhow::Result<Located> {
        let here = std::env::current_dir()?;
        let mut located = match &self.space {
            None => litter::ltrbox::locate(&here, &places())?,
            Some(space) => litter::ltrbox::elsewhere(space, &here, &places())?,
        };
        if let Some(name) = &self.box_name {
            litter::record::check_box_name(name)?;
            located.box_name.clone_from(name);
        }
        Ok(located)
    }

    /// The same, when files of the box are to be looked at: it must be the one around the current folder.
    pub fn locate_here(&self) -> anyhow::Result<Located> {
        let located = litter::ltrbox::locate(&std::env::current_dir()?, &places())?;
        match &self.box_name {
            Some(name) if *name != located.box_name => anyhow::bail!("the box here is {}, not {name}", located.box_name),
            _ => Ok(located),
        }
    }
}

/// The paths in the space that a person's PATH arguments mean: in the index, or on disk.
pub fn paths(args: &[std::ffi::OsString], space: Option<&str>) -> anyhow::Result<Vec<litter::path::SpacePath>> {
    if args.is_empty() {
        return Ok(Vec::new());
    }
    Scene::open(&std::env::current_dir()?, space, Access::Read, &places())?.all_known(args)
}

/// The name of this machine, as uname(2) has it.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Tells who uses a box that was forgotten: in the folder itself all is as ever, and elsewhere nothing of it counts.
pub fn tell_forgotten(index: &Sqlite, name: &str, report: &mut Stderr) -> anyhow::Result<()> {
    if index.box_fields(name)?.is_some_and(|fields| fields.forgotten()) {
        let back = format!("`ltr set {name}.forgotten false` takes that back");
        report.notice(&format!("the box {name} is forgotten: its copies do not count ({back})"));
    }
    Ok(())
}

/// Whether a person is there who could be asked for a password.
pub fn is_interactive() -> bool {
    io::stderr().is_terminal()
}
