//! What is typed: addresses of logs, stores and sources of blocks, points to restore to, shares, rates.

mod audited;
mod hash;
mod kind;
mod log;
mod login;
mod rate;
mod share;
mod source;
mod store;
mod target;

pub(crate) use audited::Audited;
pub(crate) use hash::TypedHash;
pub(crate) use log::{BadLog, LogAddress, NatsAddress};
pub(crate) use login::has_login;
pub(crate) use rate::ByteRate;
pub(crate) use share::Share;
pub(crate) use source::{Format, Source};
pub(crate) use store::{Medium, StoreAddress};
pub(crate) use target::TargetAddress;
