//! Sending another machine's box what it should have, when it cannot fetch it: the plan is that box's own,
//! the content goes into its staging folder under its hash, and its own `ltr-fetch` checks and installs
//! it. The box over there is locked from before the first byte until all is recorded.
//!
//! Small files go through one `tar` over there, whose archive is written here, large ones by `sftp`, which
//! continues what is there. Neither is given a name of the space: both know only hashes. Of a large file that
//! changed, `rsync` sends what differs from the version over there ([`delta`]).

mod delta;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::boxfs::{BoxRoot, STAGING, stat_of};
use crate::exit::Exit;
use crate::fetch::movers::LARGE;
use crate::fetch::program::{self, Listening, Sign};
use crate::fetch::tar::header;
use crate::fetch::transfer::escaped;
use crate::hash::sha1_of;
use crate::record::{Action, Ftype, Sha1, Verb};
use crate::report::{Report, Unit};
use crate::space::Remote;
use crate::ssh::{Life, Patient, Session, Ssh, end_of, words_of};
use crate::stream::{Line, Reader};
use crate::sync::through;

/// Locks the box, says so, and carries out the plan that comes after the content.
const SCRIPT: &str =
    r#"cd "$1" && shift && ltr-fetch --root . --stage && echo @ready && ltr-fetch --root . "$@" | ltr-index-put"#;

/// Where to.
pub struct Push<'a> {
    /// The box that has the content.
    pub root: &'a BoxRoot,
    /// Its name.
    pub box_name: &'a str,
    /// The box that is to get it.
    pub remote: &'a Remote,
    /// Reaches it.
    pub ssh: &'a Ssh,
    /// KiB a second.
    pub limit: Option<u64>,
    /// Options of the `ltr-fetch` over there.
    pub options: Vec<String>,
}

/// What is to be sent: a file of this box.
struct Content {
    action: Action,
    path: crate::path::SpacePath,
    sha1: Sha1,
}

impl Push<'_> {
    /// Sends what the plan in `input` needs, has it carried out over there, and writes what came of it.
    /// `spool` is an empty file.
    ///
    /// # Errors
    /// The plan is cut short; the machine does not answer, has no ltr, or somebody else uses the box.
    pub fn run(&self, input: impl BufRead, spool: File, output: impl Write, report: &mut dyn Report) -> Result<Exit> {
        let (mut spool, total) = self.load(input, spool)?;
        let mut session = self.begin()?;
        let mut progress = Progress { sent: 0, total };
        spool.rewind()?;
        self.send_small(&spool, &mut progress, report)?;
        spool.rewind()?;
        let deltas = self.send_deltas(&spool, &mut progress, report)?;
        spool.rewind()?;
        self.send_large(&spool, deltas, &mut progress, report)?;
        let mut there = session.stdin.take().context("no pipe to ssh")?;
        spool.rewind()?;
        let mut plan = spool.try_clone()?;
        // the other side reads it whole before it says anything
        let fed = std::io::copy(&mut plan, &mut there).context("the connection was lost");
        drop(there);
        if let Some(output) = &session.stdout {
            // it looks at all that was sent
            output.life().allow(total);
        }
        let done = through::pass(session, output, report)?;
        fed?;
        Ok(done)
    }

    /// Keeps the plan, and counts what is to be sent.
    fn load(&self, input: impl BufRead, spool: File) -> Result<(File, u64)> {
        let mut writer = BufWriter::new(spool);
        let mut reader = Reader::new(input);
        let mut total = 0_u64;
        while let Some(line) = reader.next_line()? {
            let Line::Record { json, .. } = line else { bail!("the plan has errors") };
            if let Some(content) = self.content(json)? {
                total = total.saturating_add(content.action.size);
            }
            writer.write_all(json.as_bytes())?;
            writer.write_all(b"\n")?;
        }
        let end = reader.end().map_or(0, |end| end.count);
        writeln!(writer, "{}", serde_json::json!({"type": "end", "count": end, "errors": 0}))?;
        Ok((writer.into_inner().map_err(std::io::IntoInnerError::into_error)?, total))
    }

    /// What a step needs from here.
    fn content(&self, json: &str) -> Result<Option<Content>> {
        let value: serde_json::Value = serde_json::from_str(json)?;
        if value["type"] != "action" {
            return Ok(None);
        }
        let action: Action = serde_json::from_value(value)?;
        action.check()?;
        let needs = matches!(action.action, Verb::Fetch | Verb::Replace | Verb::Conflict) && action.ftype == Ftype::File;
        let path = action.from.iter().find(|from| from.box_name == self.box_name).map(|from| from.path.clone());
        Ok(match (needs, path, action.sha1) {
            (true, Some(path), Some(sha1)) => Some(Content { action, path, sha1 }),
            _ => None,
        })
    }

    /// Locks the box over there, and makes its staging folder.
    fn begin(&self) -> Result<Session> {
        let root = self.remote.path.as_str();
        let mut words = vec!["ltr-lock", "--root", root, "sh", "-c", SCRIPT, "sh", root];
        words.extend(self.options.iter().map(String::as_str));
        let mut session = self.ssh.start(self.remote, &words, true)?;
        let mut output = session.stdout.take().context("no pipe from ssh")?;
        // byte by byte: what comes after is somebody else's to read
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            match output.read(&mut byte) {
                Ok(1) if byte[0] != b'\n' && line.len() < 256 => line.push(byte[0]),
                Ok(_) => break,
                Err(e) => return Err(session.explain(e.into(), 0).1),
            }
        }
        if line != b"@ready" {
            return Err(session.explain(anyhow::anyhow!("cannot be pushed to"), 0).1);
        }
        session.stdout = Some(output);
        Ok(session)
    }

    /// Whether a file goes by tar.
    fn is_small(&self, content: &Content) -> bool {
        // a tar takes what it can get
        content.action.size < LARGE && self.limit.is_none()
    }

    /// What the plan needs from here, one after the other.
    fn contents<'c>(&'c self, spool: &'c File) -> impl Iterator<Item = Result<Content>> + 'c {
        BufReader::new(spool).lines().filter_map(|line| match line {
            Ok(line) => self.content(&line).transpose(),
            Err(e) => Some(Err(e.into())),
        })
    }

    /// Sends small files as they stand in the plan.
    fn send_small(&self, spool: &File, progress: &mut Progress, report: &mut dyn Report) -> Result<()> {
        let mut tar: Option<Tar> = None;
        for content in self.contents(spool) {
            let content = content?;
            if !self.is_small(&content) {
                continue;
            }
            let Some(bytes) = self.read(&content, report) else { continue };
            let tar = match &mut tar {
                Some(tar) => tar,
                none => none.insert(Tar::start(self)?),
            };
            // why it does not take more, it says at its end
            if tar.put(&content.sha1.to_string(), &bytes).is_err() {
                break;
            }
            progress.done(content.action.size, report);
        }
        tar.map_or(Ok(()), |tar| tar.end(self))
    }

    /// The content of a file, when it is still what the plan says.
    fn read(&self, content: &Content, report: &mut dyn Report) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.root.open_file(&content.path).and_then(|file| file.take(LARGE).read_to_end(&mut bytes));
        match read {
            Ok(_) if sha1_of(&bytes) == content.sha1 => return Some(bytes),
            Ok(_) => report.notice(&format!("{}: changed since its last commit", content.path)),
            Err(e) => report.notice(&format!("{}: {e}", content.path)),
        }
        None
    }

    /// Sends large files, or what is missing of them over there; not those of which `deltas` were sent.
    fn send_large(&self, spool: &File, deltas: bool, progress: &mut Progress, report: &mut dyn Report) -> Result<()> {
        for content in self.contents(spool) {
            let content = content?;
            if self.is_small(&content) {
                continue;
            }
            match self.open(&content) {
                None => report.notice(&format!("{}: changed since its last commit", content.path)),
                // that was told with all of them
                Some(_) if deltas && delta::is_one(&content) => continue,
                Some(file) => {
                    let size = content.action.size;
                    self.put(&content, &file, &mut |read| progress.tell(read.min(size), report))?;
                }
            }
            progress.done(content.action.size, report);
        }
        Ok(())
    }

    /// A file that has the size that the plan says.
    fn open(&self, content: &Content) -> Option<File> {
        let file = self.root.open_file(&content.path).ok()?;
        stat_of(&file).is_ok_and(|stat| stat.size == content.action.size).then_some(file)
    }

    /// Sends one file: what is there is continued, and where nothing is sftp says so. `told` hears how much of
    /// it was read.
    fn put(&self, content: &Content, file: &File, told: &mut dyn FnMut(u64)) -> Result<()> {
        let output = self.sftp("put -a ", content, file, told)?;
        let begun = !String::from_utf8_lossy(&output.stderr).contains("stat remote: No such file");
        let output = if begun { output } else { self.sftp("put ", content, file, told)? };
        // what is whole over there, or longer, is looked at there
        let whole = String::from_utf8_lossy(&output.stderr).contains("destination file same size or larger");
        ensure!(output.status.success() || whole, "{}: {}", self.remote.host, words_of(&output));
        Ok(())
    }

    fn sftp(&self, put: &str, content: &Content, file: &File, told: &mut dyn FnMut(u64)) -> Result<Output> {
        let here = crate::path::on_disk(self.root.path(), &content.path);
        // a name that no line can say is that of a descriptor of this process
        let here = escaped(here.as_os_str().as_bytes())
            .unwrap_or_else(|| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into_bytes());
        let there = self.staged(&content.sha1.to_string());
        let there = escaped(there.as_bytes()).with_context(|| format!("{there}: a name that sftp cannot be told"))?;
        let mut list = tempfile::tempfile()?;
        list.write_all(&[put.as_bytes(), &here, b" ", &there, b"\n"].concat())?;
        self.run_sftp(list, told)
    }

    /// Runs sftp with the lines of `list`; `told` hears how many bytes it has read.
    fn run_sftp(&self, mut list: File, told: &mut dyn FnMut(u64)) -> Result<Output> {
        list.rewind()?;
        let mut sftp = Command::new("sftp");
        sftp.args(["-q", "-D", &self.ssh.sftp_server(self.remote)?, "-b", "-"]).env("LC_ALL", "C").stdin(list);
        if let Some(limit) = self.limit {
            sftp.arg("-l").arg(limit.saturating_mul(8).to_string());
        }
        self.watched(sftp, Sign::Bytes, told).with_context(|| format!("{}: sftp", self.remote.host))
    }

    /// Runs a program to its end; `told` hears how many bytes it has read.
    fn watched(&self, program: Command, sign: Sign, told: &mut dyn FnMut(u64)) -> std::io::Result<Output> {
        self.ssh.tell(&program);
        program::run(program, self.ssh.limit(), sign, |read| {
            told(read);
            true
        })
    }

    /// Where `name` is in the staging folder over there.
    fn staged(&self, name: &str) -> String {
        format!("{}/{STAGING}/{name}", self.remote.path.trim_end_matches('/'))
    }
}

struct Progress {
    sent: u64,
    total: u64,
}

impl Progress {
    /// So many bytes of what is being sent are on their way.
    fn tell(&self, bytes: u64, report: &mut dyn Report) {
        report.progress(self.sent.saturating_add(bytes), self.total, Unit::Bytes);
    }

    /// So many bytes more were sent.
    fn done(&mut self, bytes: u64, report: &mut dyn Report) {
        self.sent = self.sent.saturating_add(bytes);
        self.tell(0, report);
    }
}

/// A tar over there that unpacks what is written here.
struct Tar {
    child: Child,
    words: Option<Listening>,
    archive: BufWriter<Patient<ChildStdin>>,
}

impl Tar {
    fn start(push: &Push<'_>) -> Result<Self> {
        let folder = push.staged("");
        let mut tar = push.ssh.command(push.remote, &["tar", "-C", &folder, "-x", "-f", "-"])?;
        let mut child =
            tar.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run ssh")?;
        let words = program::listen(&mut child);
        let pipe = Patient::input(child.stdin.take().context("no pipe to ssh")?, &Life::new(push.ssh.limit()))?;
        let archive = BufWriter::with_capacity(1 << 17, pipe);
        Ok(Self { child, words, archive })
    }

    fn put(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.archive.write_all(&header(name, bytes.len() as u64))?;
        self.archive.write_all(bytes)?;
        self.archive.write_all(&[0; 512][..bytes.len().wrapping_neg() % 512])
    }

    fn end(mut self, push: &Push<'_>) -> Result<()> {
        let written = self.archive.write_all(&[0; 1024]).and_then(|()| self.archive.flush());
        // the end of its input
        let (archive, _) = self.archive.into_parts();
        drop(archive);
        let status = end_of(&mut self.child, push.ssh.limit()).with_context(|| format!("{}: tar", push.remote.host))?;
        let said = program::heard(self.words);
        let said = String::from_utf8_lossy(&said);
        ensure!(status.success(), "{}: tar failed there: {}", push.remote.host, said.lines().next().unwrap_or("no word"));
        Ok(written?)
    }
}
