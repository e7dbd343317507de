//! What ssh, or a program that it runs, says on its stderr: anybody's bytes, which must not reach a
//! terminal as they are (design section 10.5). A thread reads them, so that a program with much to say
//! does not wait for us, and hands them on line by line.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Receives a line, which begins with the host and is not yet fit for a terminal.
pub type Heard = fn(&str);

/// Longest line that is handed on whole, in bytes.
const LINE: u64 = 4096;
/// Lines of one program that are handed on: what says more has nothing to tell to a person.
const LINES: usize = 200;
/// How long the last words of a program that has ended are waited for. A process that it left behind
/// may keep its stderr open.
const PATIENCE: Duration = Duration::from_secs(1);

/// The thread that reads.
#[derive(Debug)]
pub(crate) struct Words {
    ended: Receiver<()>,
}

impl Words {
    /// Hands on what `child` says from now on; its stderr must be piped.
    pub(super) fn of(child: &mut Child, host: &str, heard: Heard) -> Self {
        let (sender, ended) = channel();
        if let Some(stderr) = child.stderr.take() {
            let host = host.to_owned();
            // where the system gives no thread nobody listens, which is no reason to fail
            let _ = std::thread::Builder::new().spawn(move || {
                hand_on(stderr, &host, heard);
                drop(sender);
            });
        }
        Self { ended }
    }

    /// Waits until the last word of a program that has ended was handed on.
    pub(crate) fn wait(&self) {
        // nothing is ever sent: the sender goes when the thread ends
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

fn hand_on(stderr: impl Read, host: &str, heard: Heard) {
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        match (&mut input).take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        // what is not handed on is read all the same, or who writes it would wait
        if !text.is_empty() && number < LINES {
            heard(&format!("{host}: {text}"));
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn lines_are_handed_on_and_floods_are_not() {
        let heard: Heard = |line| HEARD.lock().unwrap().push(line.to_owned());
        hand_on(&b"one\r\n\n\x1b[31mtwo\xff"[..], "h", heard);
        assert_eq!(std::mem::take(&mut *HEARD.lock().unwrap()), ["h: one", "h: \u{1b}[31mtwo\u{fffd}"]);
        let flood = [b"x".repeat(1 << 20), b"\ny".repeat(1 << 16)].concat();
        hand_on(flood.as_slice(), "h", heard);
        let heard = std::mem::take(&mut *HEARD.lock().unwrap());
        assert_eq!(heard.len(), LINES);
        assert!(heard.iter().all(|line| line.len() as u64 <= LINE + 3));
    }
}
