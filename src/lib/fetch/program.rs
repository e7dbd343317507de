//! A program that moves files for us, watched while it works: what it says is kept within bounds, and
//! it is ended when what comes is not what was asked for.

use std::io::{self, Read};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a program may say at most, in bytes; the rest is read and forgotten.
const WORDS: u64 = 64 << 10;
const LOOK: Duration = Duration::from_millis(2);

/// Runs `command` to its end, or until `go_on` says no. Its stdout is not kept.
pub(crate) fn run(mut command: Command, mut go_on: impl FnMut() -> bool) -> io::Result<Output> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let words = listen(&mut child);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Output { status, stdout: Vec::new(), stderr: heard(words) });
        }
        if !go_on() {
            let _ = child.kill();
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads what a program says on stderr, so that it never waits for a reader.
pub(crate) fn listen(child: &mut Child) -> Option<JoinHandle<Vec<u8>>> {
    let mut stderr = child.stderr.take()?;
    // where the system gives no thread nobody listens, which is no reason to fail
    let listening = std::thread::Builder::new().spawn(move || {
        let mut words = Vec::new();
        let _ = (&mut stderr).take(WORDS).read_to_end(&mut words);
        let _ = io::copy(&mut stderr, &mut io::sink());
        words
    });
    listening.ok()
}

/// What was heard in the end.
pub(crate) fn heard(words: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    words.and_then(|words| words.join().ok()).unwrap_or_default()
}
