//! The media type of a file by its first bytes, as tree_magic_mini tells it by the system's database of
//! shared MIME info (freedesktop.org).
//!
//! That library tries one type of the database after the other: 33 us for a file of which it then only says
//! whether it is text, a quarter of what hashing took where names have no ending. So the rules that every
//! type begins with are looked for all at once first, which takes 1 us; where none of them is met there is
//! nothing to ask the library, and wherever this is not certain it is asked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The media type of what begins with `first`, which is not empty.
pub(super) fn media_type(first: &[u8]) -> &'static str {
    match &*FIRST_RULES {
        Some(rules) if !rules.may_match(first) => base_type(first),
        _ => tree_magic_mini::from_u8(first),
    }
}

/// What the library says where no rule is met.
fn base_type(first: &[u8]) -> &'static str {
    if first.contains(&0) { "application/octet-stream" } else { "text/plain" }
}

/// The rules of the databases that the library reads; none where one is there that it reads otherwise.
static FIRST_RULES: LazyLock<Option<FirstRules>> = LazyLock::new(|| {
    let mut rules = FirstRules::default();
    for database in databases(&|key| std::env::var_os(key)) {
        if let Ok(bytes) = std::fs::read(database) {
            rules.add(&bytes)?;
        }
    }
    Some(rules)
});

/// Where the library looks, by the same variables: this is its environment, and not ltr's.
fn databases(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    if let Some(folder) = variable("TREE_MAGIC_DIR") {
        return vec![Path::new(&folder).join("magic")];
    }
    let given = |key| variable(key).filter(|value| !value.is_empty());
    let shared = given("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share/:/usr/share/".into());
    let own = given("XDG_DATA_HOME").map(PathBuf::from);
    let own = own.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".local/share")));
    let mut all: Vec<PathBuf> = std::env::split_paths(&shared).chain(own).collect();
    if cfg!(target_os = "macos") {
        all.push("/opt/homebrew/share".into());
    }
    all.iter().map(|folder| folder.join("mime/magic")).collect()
}

/// The rules that are tried first of some type, by where they look.
#[derive(Debug, Default)]
struct FirstRules {
    /// Rules for one offset.
    fixed: BTreeMap<usize, ByFirstByte>,
    /// Rules for any offset of a range.
    anywhere: ByFirstByte,
}

/// Rules by the byte that they begin with.
#[derive(Debug)]
struct ByFirstByte {
    rules: Vec<Vec<Rule>>,
    /// From this offset on, no rule begins with that byte.
    ends: [usize; 256],
}

impl Default for ByFirstByte {
    fn default() -> Self {
        Self { rules: vec![Vec::new(); 256], ends: [0; 256] }
    }
}

impl ByFirstByte {
    fn add(&mut self, rule: &Rule) {
        for byte in 0..=u8::MAX {
            if rule.bytes.value[0] == byte & rule.bytes.mask[0] {
                let at = usize::from(byte);
                self.rules[at].push(rule.clone());
                self.ends[at] = self.ends[at].max(rule.bytes.last + 1);
            }
        }
    }

    /// Whether a rule is met at `offset` in `bytes`.
    fn met(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(&byte) = bytes.get(offset) else { return false };
        let byte = usize::from(byte);
        offset < self.ends[byte] && self.rules[byte].iter().any(|rule| rule.is_met(offset, bytes))
    }
}

/// Bytes to be found, and further ones of which then some have to be found too.
#[derive(Clone, Debug)]
struct Rule {
    bytes: Bytes,
    further: Vec<Bytes>,
}

/// Bytes to be found at an offset of a range.
#[derive(Clone, Debug)]
struct Bytes {
    first: usize,
    last: usize,
    value: Vec<u8>,
    mask: Vec<u8>,
}

impl Rule {
    fn is_met(&self, offset: usize, bytes: &[u8]) -> bool {
        let further = || self.further.is_empty() || self.further.iter().any(|further| further.are_in(bytes));
        self.bytes.are_at(offset, bytes) && further()
    }
}

impl Bytes {
    fn are_at(&self, offset: usize, bytes: &[u8]) -> bool {
        // nearly all rules are out with the second byte: iterators over all three took longer to make than that
        let there = (self.first..=self.last).contains(&offset).then(|| bytes.get(offset..offset + self.value.len())).flatten();
        there.is_some_and(|there| (0..there.len()).all(|at| there[at] & self.mask[at] == self.value[at]))
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        (self.first..=self.last.min(bytes.len())).any(|offset| self.are_at(offset, bytes))
    }
}

impl FirstRules {
    /// Whether any rule is met by a file that begins with `bytes`.
    fn may_match(&self, bytes: &[u8]) -> bool {
        let fixed = self.fixed.iter().any(|(&at, rules)| rules.met(at, bytes));
        let anywhere = &self.anywhere;
        let may = |at: usize, byte: u8| at < anywhere.ends[usize::from(byte)] && anywhere.met(at, bytes);
        fixed || bytes.iter().enumerate().any(|(at, &byte)| may(at, byte))
    }

    /// Adds a database; `None` where it is not as shared-mime-info(5) has it.
    fn add(&mut self, mut bytes: &[u8]) -> Option<()> {
        bytes = bytes.strip_prefix(b"MIME-Magic\0\n")?;
        let (mut is_first, mut begun, mut least) = (false, None::<Rule>, usize::MAX);
        while let Some(&byte) = bytes.first() {
            if byte == b'[' {
                let end = bytes.iter().position(|&b| b == b'\n')?;
                let head = str::from_utf8(&bytes[1..end]).ok()?.strip_suffix(']')?;
                let (priority, name) = head.split_once(':')?;
                if priority.is_empty() || name.is_empty() || name.contains(']') {
                    return None;
                }
                self.add_rule(begun.take());
                (bytes, is_first) = (&bytes[end + 1..], true);
                continue;
            }
            let indent = number(&mut bytes).unwrap_or(0);
            let rule = rule(&mut bytes)?;
            is_first &= indent != 0;
            match &mut begun {
                // one that is indented less came in between, and this one depends on that
                Some(_) if indent > least => {}
                Some(first) if indent > 0 => {
                    first.further.push(rule);
                    least = indent;
                }
                // what comes before any rule without an indent is tried like one
                _ => {
                    self.add_rule(begun.take());
                    let rule = Rule { bytes: rule, further: Vec::new() };
                    least = usize::MAX;
                    if is_first { self.add_rule(Some(rule)) } else { begun = Some(rule) }
                }
            }
        }
        self.add_rule(begun);
        Some(())
    }

    fn add_rule(&mut self, rule: Option<Rule>) {
        let Some(rule) = rule else { return };
        if rule.bytes.first == rule.bytes.last {
            self.fixed.entry(rule.bytes.first).or_default().add(&rule);
        } else {
            self.anywhere.add(&rule);
        }
    }
}

/// Takes a number off the front of `bytes`, if there is one.
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at(digits);
    *bytes = rest;
    // the library takes what is no u32 for the default
    str::from_utf8(number).ok()?.parse::<u32>().ok().map(|number| number as usize)
}

/// Takes a rule off the front of `bytes`, after its indent.
fn rule(bytes: &mut &[u8]) -> Option<Bytes> {
    take(bytes, b">")?;
    let first = number(bytes).unwrap_or(0);
    take(bytes, b"=")?;
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    let length = usize::from(u16::from_be_bytes(*length));
    let value = slice(bytes, length)?.to_vec();
    let mask = if take(bytes, b"&").is_some() { slice(bytes, length)?.to_vec() } else { vec![0xff; length] };
    if take(bytes, b"~").is_some() {
        number(bytes);
    }
    let range = if take(bytes, b"+").is_some() { number(bytes).unwrap_or(0) } else { 0 };
    take(bytes, b"\n")?;
    (length > 0).then(|| Bytes { first, last: first + range, value, mask })
}

fn take(bytes: &mut &[u8], what: &[u8]) -> Option<()> {
    *bytes = bytes.strip_prefix(what)?;
    Some(())
}

fn slice<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (slice, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(slice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All rules that are known here, each once.
    fn rules() -> Vec<Rule> {
        let rules = FIRST_RULES.as_ref().unwrap();
        rules.fixed.values().chain([&rules.anywhere]).flat_map(|by| by.rules.iter().flatten().cloned()).collect()
    }

    /// Puts what `rule` asks for into `bytes`.
    fn plant(bytes: &mut Vec<u8>, rule: &Bytes, away: usize, damage: u8) {
        let at = (rule.first + away % (rule.last - rule.first + 2)).min(4096);
        let end = at + rule.value.len();
        bytes.resize(bytes.len().max(end), b' ');
        bytes[at..end].copy_from_slice(&rule.value);
        if damage < 64 {
            bytes[at + usize::from(damage) % rule.value.len()] ^= 1 << (damage % 8);
        }
    }

    proptest! {
        #[test]
        fn the_library_says_the_same(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 9u8..127], 1..600),
            text in any::<bool>(),
            planted in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..300, any::<u8>()), 0..3),
        ) {
            let mut bytes: Vec<u8> = bytes.into_iter().map(|b| if text { b.max(9) & 127 } else { b }).collect();
            let rules = rules();
            for (which, away, damage) in planted {
                if rules.is_empty() {
                    break;
                }
                let rule = which.get(&rules);
                plant(&mut bytes, &rule.bytes, away, damage);
                if damage % 2 == 0 && !rule.further.is_empty() {
                    plant(&mut bytes, &rule.further[away % rule.further.len()], away / 7, damage);
                }
            }
            prop_assert_eq!(media_type(&bytes), tree_magic_mini::from_u8(&bytes));
        }
    }

    #[test]
    fn a_database_is_read_as_it_is_written() {
        let mut rules = FirstRules::default();
        let text = b"MIME-Magic\0\n[50:a/b]\n>0=\0\x02aB&\xff\xdf~2+3\n[50:a/c]\n>9=\0\x01z\n2>1=\0\x01u\n3>2=\0\x01t\n1>0=\0\x01v\n[50:c/d]\n>4=\0\x01x\n[1:e/f]\n1>7=\0\x01y\n";
        assert_eq!(rules.add(text), Some(()));
        for (bytes, met) in [
            ("ab", true),
            ("aB", true),
            ("AB", false),
            ("...aB", true),
            ("....aB", false),
            ("....x", true),
            ("...x", false),
            (".........z", false),
            ("..t......z", false),
            (".u.......z", true),
            ("v........z", true),
            ("v", false),
            (".......y", true),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(rules.may_match(bytes.as_bytes()), met, "{bytes}");
        }
        for cut in 0..text.len() {
            let whole = text[..cut].ends_with(b"\n");
            assert_eq!(FirstRules::default().add(&text[..cut]).is_some(), whole, "{cut}");
        }
        // a rule of no length is nothing that can be told
        assert_eq!(FirstRules::default().add(b"MIME-Magic\0\n[50:a/b]\n>0=\0\0\n"), None);
    }

    #[test]
    fn databases_are_where_the_library_looks() {
        let found = |pairs: &[(&str, &str)]| {
            let variable = |key: &str| pairs.iter().find(|pair| pair.0 == key).map(|pair| OsString::from(pair.1));
            databases(&variable).iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        let usual = "/usr/local/share/mime/magic /usr/share/mime/magic";
        assert!(found(&[]).starts_with(usual));
        assert!(
            found(&[("XDG_DATA_DIRS", ""), ("XDG_DATA_HOME", ""), ("HOME", "/h")])
                .starts_with(&format!("{usual} /h/.local/share/mime/magic"))
        );
        assert!(
            found(&[("XDG_DATA_DIRS", "/a:/b"), ("XDG_DATA_HOME", "/c"), ("HOME", "/h")])
                .starts_with("/a/mime/magic /b/mime/magic /c/mime/magic")
        );
        assert_eq!(found(&[("TREE_MAGIC_DIR", "/t"), ("XDG_DATA_DIRS", "/a")]), "/t/magic");
    }
}
