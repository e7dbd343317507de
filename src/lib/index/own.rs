//! Which boxes this index writes for, and with which hand.
//!
//! An actor counts edits in one index for one box. When the cookie or the index is not where it was, or
//! a sync brings documents of this box that this index never issued, somebody may count with the same
//! hand: a fresh actor is drawn, and a number is never used twice.
//!
//! A backup that is written over the index itself, as cp(1) does, is where it was. But every command that
//! takes the hand touches the cookie, and the index remembers when: one that is older than that does not
//! know of the last time. A ctime cannot be put back.

use anyhow::{Context, Result, bail};
use rusqlite::{OptionalExtension, TransactionBehavior, params};

use super::sqlite::{self, Sqlite, now_ms};
use crate::stamp::random_id;

/// What a command needs to write for a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Who counts edits.
    pub actor: u32,
    /// The box's commit counter.
    pub commits: u64,
    /// Whether the cookie was found elsewhere than last time: moved, or copied.
    pub moved: bool,
}

impl Sqlite {
    /// Takes a box as this index's own. `fresh`: it was created here just now, so that no other index
    /// can know more of it; else its first commit waits for a sync.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn adopt_box(&mut self, name: &str, cookie: (u64, u64), fresh: bool) -> Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.prepare_cached("INSERT OR IGNORE INTO boxes (name) VALUES (?1)")?.execute([name])?;
        let sql =
            "INSERT OR REPLACE INTO own (box, actor, dev, ino, synced) SELECT id, ?2, ?3, ?4, ?5 FROM boxes WHERE name = ?1";
        let values = params![name, random_id(), cookie.0.cast_signed(), cookie.1.cast_signed(), fresh];
        transaction.prepare_cached(sql)?.execute(values)?;
        Ok(transaction.commit()?)
    }

    /// The hand that writes for the box `name`, whose cookie has this device and inode.
    ///
    /// # Errors
    /// This index is new for the box and has not been synced, or cannot be written.
    pub fn own(&mut self, name: &str, cookie: (u64, u64)) -> Result<Own> {
        self.own_touched(name, cookie, None)
    }

    /// As [`Sqlite::own`]; `touched` are the ctimes of the cookie, in nanoseconds, as it was found and as it
    /// is now that it was touched; none where its file system keeps no ctimes.
    ///
    /// # Errors
    /// As [`Sqlite::own`].
    pub fn own_touched(&mut self, name: &str, cookie: (u64, u64), touched: Option<(i64, i64)>) -> Result<Own> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql =
            "SELECT o.actor, o.dev, o.ino, o.synced, b.commits, b.id FROM own o JOIN boxes b ON b.id = o.box WHERE b.name = ?1";
        let row: Option<(i64, i64, i64, bool, i64, i64)> = transaction
            .prepare_cached(sql)?
            .query_row([name], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?)))
            .optional()?;
        let Some((actor, dev, ino, synced, commits, box_id)) = row else {
            bail!("this index is new for the box {name}: run `ltr sync`, then `ltr create --reattach`, then `ltr sync` again");
        };
        if !synced {
            bail!("this index is new for the box {name}: run `ltr sync` with another index of the space first");
        }
        let mut actor = u32::try_from(actor).context("the index is damaged: actor")?;
        let moved = (dev.cast_unsigned(), ino.cast_unsigned()) != cookie;
        let key = touched_key(box_id);
        let unseen = match touched {
            Some((found, left)) => {
                let unseen = sqlite::meta(&transaction, &key)? != Some(found);
                sqlite::set_meta(&transaction, &key, left)?;
                unseen
            }
            None => false,
        };
        let mut id = self.id;
        if unseen {
            // what it told its peers under this id was more, and other things, than it can know
            id = random_id();
            sqlite::set_meta(&transaction, "id", i64::from(id))?;
        }
        if moved || unseen {
            actor = random_id();
            transaction.execute(
                "UPDATE own SET actor = ?2, dev = ?3, ino = ?4 WHERE box = ?1",
                params![box_id, actor, cookie.0.cast_signed(), cookie.1.cast_signed()],
            )?;
        }
        transaction.commit()?;
        self.id = id;
        Ok(Own { actor, commits: commits.unsigned_abs(), moved })
    }

    /// Remembers the ctime of the cookie of a box that was just adopted, see [`Sqlite::own_touched`].
    ///
    /// # Errors
    /// The index does not know the box, or cannot be written.
    pub fn set_touched(&mut self, name: &str, ctime: i64) -> Result<()> {
        let box_id = self.connection.query_row("SELECT id FROM boxes WHERE name = ?1", [name], |r| r.get(0))?;
        sqlite::set_meta(&self.connection, &touched_key(box_id), ctime)
    }

    /// Whether this index writes for the box `name`.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_own(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM own o JOIN boxes b ON b.id = o.box WHERE b.name = ?1";
        Ok(self.connection.prepare_cached(sql)?.exists([name])?)
    }

    /// Whether this index writes for the box `name`, and has been synced since it began to.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn is_current(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM own o JOIN boxes b ON b.id = o.box WHERE b.name = ?1 AND o.synced";
        Ok(self.connection.prepare_cached(sql)?.exists([name])?)
    }

    /// The checkpoints of the peer with this index id: how far we read there, how far it read here.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn peer(&self, id: u32) -> Result<(Option<String>, Option<String>)> {
        let sql = "SELECT pulled, pushed FROM peers WHERE id = ?1";
        let row = self.connection.prepare_cached(sql)?.query_row([id], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
        Ok(row.unwrap_or_default())
    }

    /// The checkpoints of all peers, how far we read there, the latest sync first.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn pulled(&self) -> Result<Vec<String>> {
        let sql = "SELECT pulled FROM peers WHERE pulled IS NOT NULL ORDER BY synced_ms DESC, id";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    /// Remembers checkpoints after a sync, and that every own box has been synced.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn set_peer(&mut self, id: u32, pulled: Option<&str>, pushed: Option<&str>) -> Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "INSERT INTO peers (id, pulled, pushed, synced_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET pulled = coalesce(?2, pulled), pushed = coalesce(?3, pushed), synced_ms = ?4";
        transaction.prepare_cached(sql)?.execute(params![id, pulled, pushed, i64::try_from(now_ms())?])?;
        if pulled.is_some() {
            transaction.prepare_cached("UPDATE own SET synced = 1")?.execute([])?;
        }
        Ok(transaction.commit()?)
    }

    /// Moves on the checkpoint of a peer over documents that it got from here: nothing was read, so
    /// it does not count as a sync.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn skip_echo(&mut self, id: u32, pulled: &str) -> Result<()> {
        let sql = "INSERT INTO peers (id, pulled, synced_ms) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET pulled = ?2";
        self.connection.execute(sql, params![id, pulled, i64::try_from(now_ms())?])?;
        Ok(())
    }
}

fn touched_key(box_id: i64) -> String {
    format!("touched {box_id}")
}
