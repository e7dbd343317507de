//! Spaces kept in an Apache CouchDB database: worked on through a replica on this machine, brought up to
//! date from the database's changes, and pushed when it answers.

mod ahead;
pub mod client;
mod conflicts;
pub mod credentials;
pub mod design;
mod link;
pub mod places;
mod pull;
pub mod push;
mod replica;
pub mod replicate;
pub mod rows;
pub mod url;
pub mod visit;
