//! Litter: which file of a space is in which box, what should be where, and how to get it there safely.
//!
//! The modules stand in the order in which data flows: words first, then facts (scan, compare, hash,
//! commit), then the index that keeps them, intentions and plan, and at last what moves files.
//! Nothing in here prints, exits or reads the environment: functions take readers, writers and a
//! [`report::Report`].

pub mod chance;
pub mod exit;
mod hex;
mod lines;
pub mod path;
pub mod quote;
pub mod record;
pub mod report;
pub mod shellword;
pub mod stamp;
pub mod stream;
pub mod version;

pub mod cookie;
pub mod pathspec;
pub mod space;

pub mod boxfs;
pub mod fsinfo;
pub mod scan;

pub mod hash;

pub mod index;

pub mod connections;
pub mod couch;

pub mod disks;
pub mod lock;
pub mod ltrbox;
pub mod probe;
pub mod reach;
pub mod sources;
pub mod ssh;
pub mod sync;

pub mod resolve;
pub mod wants;

pub mod compare;

pub mod commit;

pub mod plan;

pub mod cat;
pub mod fetch;
pub mod push;

pub mod create;
pub mod query;

pub mod show;

#[cfg(test)]
mod testing;
