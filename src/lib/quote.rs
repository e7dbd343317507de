//! How names and texts reach a person: a name is anybody's, and a byte in it must not drive a
//! terminal, forge a second line, or reverse what stands around it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use os_display::Quotable;

/// What is done to a name or text before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// Nothing: for pipes and `-0`.
    Raw,
    /// What holds control characters is quoted, so that one line stays one line: for tables.
    Lines,
    /// Names are quoted where a shell would need it, texts where a byte could do harm.
    Terminal,
}

impl Quoting {
    /// [`Quoting::Terminal`] where output goes to one, else [`Quoting::Raw`].
    #[must_use]
    pub fn of_terminal(terminal: bool) -> Self {
        if terminal { Self::Terminal } else { Self::Raw }
    }

    /// The name of a file, ready to be written.
    #[must_use]
    pub fn name(self, raw: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Terminal => Cow::Owned(for_terminal(raw).into_bytes()),
            Self::Lines if raw.iter().any(u8::is_ascii_control) => Cow::Owned(for_terminal(raw).into_bytes()),
            Self::Raw | Self::Lines => Cow::Borrowed(raw),
        }
    }

    /// Any other text, ready to be written.
    #[must_use]
    pub fn text(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Self::Terminal => match text_for_terminal(text) {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            },
            Self::Raw | Self::Lines => self.name(text.as_bytes()),
        }
    }
}

/// A name as a shell would take it: bare where it can be, else in quotes, and `$'\x1b'` for what a
/// terminal would obey or cannot show.
#[must_use]
pub fn for_terminal(raw: &[u8]) -> String {
    OsStr::from_bytes(raw).maybe_quote().to_string()
}

/// A text (a message, a media type) as it is, unless a character in it could do harm: then quoted as a
/// name is.
#[must_use]
pub fn text_for_terminal(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_harmful) { Cow::Owned(text.maybe_quote().to_string()) } else { Cow::Borrowed(text) }
}

/// Controls (C0, DEL, C1), the line separators of Unicode, and what changes the direction of text
/// ("Trojan Source", CVE-2021-42574).
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// JSON on its way to a terminal: what is in its texts and could do harm is written as `\u009b`, which
/// means the same. JSON escapes only the first 32 controls by itself (RFC 8259, section 7).
#[derive(Debug)]
pub struct JsonForTerminal<W> {
    output: W,
    /// The beginning of a character whose end has not come yet.
    begun: Vec<u8>,
}

impl<W: Write> JsonForTerminal<W> {
    /// Writes to `output`.
    pub fn new(output: W) -> Self {
        Self { output, begun: Vec::new() }
    }
}

impl<W: Write> Write for JsonForTerminal<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let all = [std::mem::take(&mut self.begun).as_slice(), data].concat();
        let whole = match str::from_utf8(&all) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => all.len(),
        };
        let mut text = String::with_capacity(whole);
        for c in String::from_utf8_lossy(&all[..whole]).chars() {
            if c != '\n' && is_harmful(c) {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                text.push(c);
            }
        }
        self.begun = all[whole..].to_vec();
        self.output.write_all(text.as_bytes())?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_quoted_as_a_shell_needs() {
        for (raw, shown) in [
            (&b"/a/b.tgz"[..], "/a/b.tgz"),
            (b"", "''"),
            (b"/a b", "'/a b'"),
            (b"/it's", "\"/it's\""),
            (b"/a\nb", r"$'/a\nb'"),
            (b"/\x1b[31mred", r"$'/\x1B[31mred'"),
            (b"/\xff", r"$'/\xFF'"),
            (b"/\xc2\x9b31m", r"$'/\xC2\x9B'$'31m'"),
            ("/\u{202e}gpj.exe".as_bytes(), r"$'/\xE2\x80\xAEgpj.exe'"),
            ("/für".as_bytes(), "/für"),
        ] {
            assert_eq!(for_terminal(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn texts_stay_as_they_are_while_harmless() {
        for (text, shown) in [
            ("application/x (not $so)", "application/x (not $so)"),
            ("", ""),
            ("a\u{7}", r"$'a\x07'"),
            ("a\u{2028}b", r"$'a\xE2\x80\xA8'$'b'"),
            ("\u{202e}a", r"$'\xE2\x80\xAE'$'a'"),
        ] {
            assert_eq!(text_for_terminal(text), shown, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_byte_drives_a_terminal(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(!for_terminal(&raw).chars().any(char::is_control));
            let lines = Quoting::Lines.name(&raw);
            prop_assert!(!lines.iter().any(u8::is_ascii_control));
            let kept = Quoting::Raw.name(&raw);
            prop_assert_eq!(kept.as_ref(), &raw[..]);
        }

        #[test]
        fn json_on_a_terminal_means_the_same(text in any::<String>(), cuts in proptest::collection::vec(1usize..5, 0..9)) {
            let text = format!("{text}\u{9b}31m\u{7f}\u{202e}");
            let json = serde_json::to_string(&text).unwrap();
            let mut output = JsonForTerminal::new(Vec::new());
            let mut rest = json.as_bytes();
            for cut in cuts {
                let (first, more) = rest.split_at(cut.min(rest.len()));
                output.write_all(first).unwrap();
                rest = more;
            }
            output.write_all(rest).unwrap();
            let shown = String::from_utf8(output.output).unwrap();
            prop_assert!(!shown.chars().any(is_harmful));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn no_text_drives_a_terminal(text in any::<String>()) {
            prop_assert!(!text_for_terminal(&text).chars().any(char::is_control));
        }
    }
}
