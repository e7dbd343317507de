//! Words of a shell, as every login shell that a person may have reads them: sh, bash, zsh and fish.
//!
//! Between single quotes fish takes a backslash before a quote or a backslash for an escape, and sh does
//! not; between double quotes they differ too. So quotes and backslashes stand outside of quotes, each
//! after a backslash, where all of them agree.

use anyhow::{Result, ensure};

/// `words` as a command line.
///
/// # Errors
/// A word has a NUL.
pub fn join<T: AsRef<[u8]>>(words: &[T]) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    for word in words {
        if !line.is_empty() {
            line.push(b' ');
        }
        push(&mut line, word.as_ref())?;
    }
    Ok(line)
}

/// `words` as a command line for a person to read.
#[must_use]
pub fn shown<T: AsRef<[u8]>>(words: &[T]) -> String {
    String::from_utf8_lossy(&join(words).unwrap_or_default()).into_owned()
}

fn push(line: &mut Vec<u8>, word: &[u8]) -> Result<()> {
    ensure!(!word.contains(&0), "NUL in a word");
    // an option with a value is no assignment, and nothing that zsh looks up
    let plain: &[u8] = if word.starts_with(b"-") { b"/._-+:,@=" } else { b"/._-+:,@" };
    if !word.is_empty() && word.iter().all(|b| b.is_ascii_alphanumeric() || plain.contains(b)) {
        line.extend_from_slice(word);
        return Ok(());
    }
    let mut quoted = false;
    for &byte in word {
        let apart = matches!(byte, b'\'' | b'\\');
        if apart == quoted {
            line.push(b'\'');
            quoted = !quoted;
        }
        if apart {
            line.push(b'\\');
        }
        line.push(byte);
    }
    if quoted {
        line.push(b'\'');
    }
    if word.is_empty() {
        line.extend_from_slice(b"''");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What the shell makes of `words`; `None` where there is no such shell.
    fn read_by(shell: &str, words: &[Vec<u8>]) -> Option<Vec<u8>> {
        let line = [b"printf '%s|' ".as_slice(), &join(words).unwrap()].concat();
        Command::new(shell).env("LC_ALL", "C").arg("-c").arg(OsStr::from_bytes(&line)).output().ok().map(|o| o.stdout)
    }

    #[test]
    fn every_shell_reads_the_same_words() {
        let words: Vec<Vec<u8>> = [
            "a b", "it's", "\\", "\\'", "a\\\\b", "'\\''", "$(id)", "`id`", "\n", "", "-n", "ä;*", "~", "{a,b}", "!x", "a=b",
            "\"",
        ]
        .map(|w| w.as_bytes().to_vec())
        .to_vec();
        let expected: Vec<u8> = words.iter().flat_map(|w| [w.as_slice(), b"|"].concat()).collect();
        for shell in ["sh", "bash", "zsh", "fish", "dash"] {
            if let Some(read) = read_by(shell, &words) {
                assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(&expected), "{shell}");
            }
        }
        assert!(join(&["a\0b"]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_are_one_word(words in prop::collection::vec(prop::collection::vec(1u8..=255, 0..20), 1..5)) {
            let expected: Vec<u8> = words.iter().flat_map(|w| [w.as_slice(), b"|"].concat()).collect();
            prop_assert_eq!(read_by("sh", &words).unwrap(), expected);
            prop_assert_eq!(shlex::bytes::split(&join(&words).unwrap()).unwrap(), words);
        }
    }
}
