//! The part of Tipline that a node embeds: outbox, publisher, backup status.

mod outbox;

pub use outbox::{Outbox, OutboxError, Pending, Row};
