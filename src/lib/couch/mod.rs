//! Spaces kept in an Apache CouchDB database: worked on through a replica on this machine, brought up to
//! date from the database's changes, and pushed when it answers.

pub mod client;
mod conflicts;
pub mod credentials;
pub mod design;
mod link;
pub mod places;
mod pull;
mod push;
mod replica;
pub mod replicate;
mod rows;
pub mod url;
pub mod visit;
