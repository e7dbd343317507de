//! Templates: text with fields in braces, one line a record.

use std::iter::Peekable;
use std::str::{Chars, FromStr};

use anyhow::{Error, Result, bail};
use serde_json::Value;

use super::field::Look;
use super::{Field, Printer, Record};

/// Text with fields in braces: `{size:h}\t{path}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

impl FromStr for Template {
    type Err = Error;

    /// # Errors
    /// A brace without its other half, an unknown escape, or what is no [`Field`].
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.next_if_eq(&c).is_some() => literal.push(c),
                '{' => {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                    parts.push(Part::Field(field(&mut chars)?));
                }
                '}' => bail!("}} without {{ in the template ({{{{ and }}}} stand for braces)"),
                '\\' => literal.push(escape(&mut chars)?),
                _ => literal.push(c),
            }
        }
        parts.push(Part::Text(literal));
        Ok(Self { parts })
    }
}

impl Template {
    pub(super) fn tells_time(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(field) if field.tells_time()))
    }
}

fn field(chars: &mut Peekable<Chars<'_>>) -> Result<Field> {
    let mut name = String::new();
    for c in chars {
        match c {
            '}' => return name.parse(),
            '{' => break,
            _ => name.push(c),
        }
    }
    bail!("{{ without }} in the template ({{{{ and }}}} stand for braces)")
}

fn escape(chars: &mut Peekable<Chars<'_>>) -> Result<char> {
    match chars.next() {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        other => bail!("no such escape: \\{} (\\n, \\t, \\0 or \\\\)", other.map(String::from).unwrap_or_default()),
    }
}

/// Shows records by a template.
pub(super) struct Lines<'a> {
    pub template: &'a Template,
    pub look: Look<'a>,
    pub lines: super::Lines<'a>,
}

impl Printer for Lines<'_> {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        let value: Value = record.parse()?;
        let mut line = Vec::new();
        for part in &self.template.parts {
            match part {
                Part::Text(text) => line.extend_from_slice(text.as_bytes()),
                Part::Field(field) => line.extend_from_slice(&field.show(&value, self.look)),
            }
        }
        self.lines.put(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, message) in [
            ("{", "{ without }"),
            ("{a", "{ without }"),
            ("{a{b}}", "{ without }"),
            ("}", "} without {"),
            ("{a}}", "} without {"),
            ("{}", "not the name"),
            ("{a:z}", "no such filter"),
            ("\\q", "no such escape: \\q"),
            ("\\", "no such escape: \\ "),
        ] {
            let error = text.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}
