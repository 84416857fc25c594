//! What makes the server remove the oldest messages by itself.

use async_nats::jetstream::stream::{DiscardPolicy, Info, RetentionPolicy};

use crate::preflight::{DropLimit, DropsAfter};

/// The limits of the events' stream, as it is set up and as full as it is.
pub(super) fn drops(stream: &Info) -> Vec<DropLimit> {
    let (config, state) = (&stream.config, &stream.state);
    let positive = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
    // Otherwise new ones are refused, and none is removed.
    let removes = config.discard == DiscardPolicy::Old;
    let share = |limit: i64, held: u64| {
        let most = positive(limit).filter(|_| removes)?;
        Some(DropsAfter::Share { most, held })
    };
    let interest = (config.retention != RetentionPolicy::Limits).then_some(DropsAfter::Unknown);
    let age = Some(config.max_age).filter(|age| !age.is_zero()).map(DropsAfter::Age);
    // A subject is a kind of events: so many of them are no fewer events.
    let per_subject = positive(config.max_messages_per_subject).map(DropsAfter::Events);
    let limits = [
        ("retention", interest),
        ("max_age", age),
        ("max_msgs", share(config.max_messages, state.messages)),
        ("max_bytes", share(config.max_bytes, state.bytes)),
        ("max_msgs_per_subject", per_subject),
    ];
    let set = limits.into_iter();
    set.filter_map(|(setting, after)| Some(DropLimit { setting, after: after? })).collect()
}
