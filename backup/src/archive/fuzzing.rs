//! What fuzzing reaches here.

use tipline_proto::LogIdentity;

use super::descriptor;
pub(crate) use super::format::{check, decode, encode, seal};
pub(crate) use super::receipts::fuzzing::{read_merged, read_object};

pub(crate) fn decode_descriptor(bytes: &[u8]) -> Option<(LogIdentity, Vec<String>)> {
    descriptor::take(bytes).ok()
}

pub(crate) fn encode_descriptor(log: &LogIdentity, recipients: &[String]) -> Option<Vec<u8>> {
    descriptor::put(log, recipients).ok()
}
