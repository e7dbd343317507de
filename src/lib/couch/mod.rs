//! Spaces kept in an Apache CouchDB database: worked on through a replica on this machine, brought up to
//! date from the database's changes, and pushed when it answers.

mod ahead;
pub mod client;
mod conflicts;
pub mod credentials;
pub mod design;
mod found;
mod link;
mod pages;
pub mod places;
mod pull;
pub mod push;
mod replica;
pub mod replicate;
pub mod rows;
mod text;
pub mod url;
pub mod visit;
