//! Asking a machine what it can do for us: which box is in a folder there, which programs it has, how far
//! away it is. One program of its shell answers all, so that a pull that looks around pays for one
//! round trip and not for five. How long one takes costs one more, and only a ping asks for that.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::reach::far::Located;
use crate::space::Remote;
use crate::ssh::Ssh;
use crate::stream::Reader;

/// Answers a line where it is to, tells of programs in lines with `@` before them, and becomes ltr-locate. No
/// quotes and backslashes, so that any login shell passes it on as it is.
const SCRIPT: &str = r#"echo @ready
if test "$2" = time; then read -r line; echo "@$line"; fi
for program in rsync tar ltr-locate; do
	"$program" --version 2>/dev/null | { read -r line && echo "@$program $line"; }
done
df -Pk -- "$1" 2>/dev/null | { read -r line; read -r line && echo "@df $line"; }
exec ltr-locate -- "$1""#;
/// Longest line of an answer, and how many there may be.
const LINES: (u64, usize) = (4096, 16);

/// What a machine is equipped with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equipment {
    /// Version of its ltr; none: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ltr: Option<String>,
    /// Version of its rsync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsync: Option<String>,
    /// Which tar it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar: Option<String>,
    /// A round trip, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Bytes free at the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
}

/// What a machine answered.
pub(crate) struct Answer {
    pub(crate) equipment: Equipment,
    /// The box there, or why that is not known: with the exit status of ltr-locate, 127 where it is missing.
    pub(crate) located: Result<Located, (Option<i32>, anyhow::Error)>,
}

/// Asks `remote`'s machine about the folder, and with `time` how long a round trip takes.
///
/// # Errors
/// It cannot be asked.
pub(crate) fn ask(ssh: &Ssh, remote: &Remote, time: bool) -> Result<Answer> {
    let words = ["sh", "-c", SCRIPT, "ltr-locate", remote.path.as_str(), if time { "time" } else { "" }];
    let mut session = ssh.start(remote, &words, true)?.named("ltr-locate");
    let mut output = BufReader::new(session.stdout.take().context("no output")?);
    let mut input = session.stdin.take().context("no input")?;
    let mut equipment = Equipment::default();
    let mut asked = None;
    let mut first = Vec::new();
    for _ in 0..LINES.1 {
        first.clear();
        let read = (&mut output).take(LINES.0).read_until(b'\n', &mut first);
        let line = String::from_utf8_lossy(&first).into_owned();
        let Some(line) = line.strip_prefix('@').filter(|_| read.is_ok()) else { break };
        if line.trim_end() == "ready" && time {
            asked = Some(Instant::now());
            // one that does not listen has its exit status to tell
            let _ = input.write_all(b"answer\n").and_then(|()| input.flush());
        }
        note(&mut equipment, line.trim_end(), asked);
    }
    drop(input);
    let mut reader = Reader::new(BufReader::new(first.chain(output)));
    let located = match Located::read(&mut reader, remote) {
        Ok(located) => session.finish().map(|_| located).map_err(|e| (None, e)),
        Err(error) => {
            let lines = reader.line_number();
            Err(session.explain(error, lines))
        }
    };
    Ok(Answer { equipment, located })
}

fn note(equipment: &mut Equipment, line: &str, asked: Option<Instant>) {
    let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
    // "rsync  version 3.2.7  protocol version 31", "ltr-locate 0.1.0"
    let version =
        |text: &str| text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned);
    match what {
        "answer" => equipment.rtt_us = asked.and_then(|asked| u64::try_from(asked.elapsed().as_micros()).ok()),
        "rsync" => equipment.rsync = version(rest),
        "tar" => equipment.tar = Some(rest.to_owned()),
        "ltr-locate" => equipment.ltr = version(rest),
        // the fourth column, in KiB; what a file system is called may have blanks
        "df" => {
            let free = rest.split_whitespace().rev().nth(2).and_then(|kib| kib.parse::<u64>().ok());
            equipment.free = free.map(|kib| kib.saturating_mul(1024));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_of_themselves_is_understood() {
        let mut equipment = Equipment::default();
        for line in [
            "rsync rsync  version 3.2.7  protocol version 31",
            "tar tar (GNU tar) 1.34",
            "ltr-locate ltr-locate 0.1.0",
            "df //nas/my share 1000 400 600 40% /mnt",
            "something else",
        ] {
            note(&mut equipment, line, None);
        }
        let text = |text: &str| Some(text.to_owned());
        let expected = Equipment {
            ltr: text("0.1.0"),
            rsync: text("3.2.7"),
            tar: text("tar (GNU tar) 1.34"),
            rtt_us: None,
            free: Some(614_400),
        };
        assert_eq!(equipment, expected);
    }
}
