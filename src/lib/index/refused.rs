//! What this index would not take from others, so that it is told once, and not read again with every
//! sync. What another version of ltr may take, or this one once the clock has come so far, is asked for
//! again then: by reading everything again.

use std::collections::BTreeSet;
use std::time::SystemTime;

use anyhow::Result;
use rusqlite::{OptionalExtension, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::sqlite::Sqlite;
use crate::hash::sha1_of;
use crate::record::Document;
use crate::stamp::horizon;

/// Where it is kept.
const KEY: &str = "refused";

/// Refusals that are remembered: who sends more of them is told of each one, every time.
const MOST: usize = 4096;

/// What was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The version of ltr that refused.
    by: String,
    /// The earliest horizon (see [`horizon`]) at which some of it would not be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    /// The beginnings of the SHA-1 of what was refused.
    told: BTreeSet<String>,
}

impl Refused {
    /// Adds what was refused, a text that is the same whenever it is refused again, and, where it could be
    /// read, the document. Returns whether it is new.
    pub fn add(&mut self, what: &str, document: Option<&Document>, now: SystemTime) -> bool {
        if let Some(ahead) = document.map(Document::reaches).filter(|ahead| *ahead > horizon(now)) {
            self.until = Some(self.until.map_or(ahead, |until| until.min(ahead)));
        }
        let name: String = sha1_of(what.as_bytes()).to_string().chars().take(16).collect();
        if self.told.contains(&name) {
            return false;
        }
        if self.told.len() < MOST {
            self.told.insert(name);
        }
        true
    }

    fn is_due(&self, now: SystemTime) -> bool {
        self.by != env!("CARGO_PKG_VERSION") || self.until.is_some_and(|until| until <= horizon(now))
    }
}

impl Sqlite {
    /// What was refused so far, as it was last remembered.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn refused(&self) -> Result<Refused> {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        let text: Option<String> = self.connection.prepare_cached(sql)?.query_row([KEY], |r| r.get(0)).optional()?;
        // what cannot be read was written by another version, and is due
        Ok(text.map_or_else(
            || Refused { by: env!("CARGO_PKG_VERSION").to_owned(), ..Refused::default() },
            |text| serde_json::from_str(&text).unwrap_or_default(),
        ))
    }

    /// Remembers what was refused.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_refused(&mut self, refused: &Refused) -> Result<()> {
        let text = serde_json::to_string(refused)?;
        self.connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", [KEY, &text])?;
        Ok(())
    }

    /// Where something that was refused would not be any more, lets the next sync with every peer read
    /// everything again.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn ask_again(&mut self, now: SystemTime) -> Result<()> {
        if !self.writable || !self.refused()?.is_due(now) {
            return Ok(());
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("UPDATE peers SET pulled = NULL", [])?;
        transaction.execute("DELETE FROM meta WHERE key = ?1", [KEY])?;
        Ok(transaction.commit()?)
    }
}
