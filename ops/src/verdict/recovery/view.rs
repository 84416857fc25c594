//! What is shown of it. Serialised, it is part of `tipline status --json`, so the names must stay
//! stable.

use std::time::Duration;

use serde::Serialize;

use crate::millis::some_milliseconds;

/// Whether the fleet could be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveryView {
    /// For how long the newest backup joins the log.
    pub runway: RunwayView,
    /// What must hold, in a fixed order.
    pub conditions: Vec<Condition>,
}

/// For how long the newest backup joins the log, if it stands still and the log grows as it did:
/// until the log drops the event that comes after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunwayView {
    /// The newest backup: an archive by its consumer's name, or a place that was verified; `null`
    /// if none is known.
    pub backup: Option<String>,
    /// Everything up to this event is in it.
    pub index: Option<u64>,
    /// Whether the log has the event after it; `null` if that is not known.
    pub joins: Option<bool>,
    /// How long it will; `null` if that is not known.
    #[serde(rename = "left_ms", serialize_with = "some_milliseconds")]
    pub left: Option<Duration>,
    /// What ends it first: a setting of the log, or `reserve`; `null` if that is not known.
    pub limit: Option<&'static str>,
    /// It in a sentence, also why it is not known.
    pub text: String,
}

/// Something that must hold on the day of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it is, for programs.
    pub name: &'static str,
    /// Whether it holds.
    pub state: ConditionState,
    /// Why, in a sentence.
    pub text: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConditionState {
    /// It does.
    Ok,
    /// It does not.
    Fail,
    /// Nobody looked, or what was asked did not answer.
    Unknown,
}
