//! The two records that there are millions of, a scan's and an entry, read and written as ltr's own commands
//! write them: fields in their order, no blanks. Of the time that a first commit took in its pipe half went
//! into reading and writing JSON; a reader that knows what comes next takes a fifth of a parser's, and
//! nothing is lost by it: whatever is written in another way is left to the parser, and both say the same.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub(super) use self::read::{EntryText, entry, file};
pub(crate) use self::write::Object;
