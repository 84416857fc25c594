//! One rule for what counts and what fits, whatever the medium.

use bytes::Bytes;
use proptest::prelude::*;
use tipline_proto::{Event, Key};

use crate::outbox::OutboxError;
use crate::outbox::conformance::Subject;

/// What is done to an outbox.
#[derive(Debug, Clone, Copy)]
pub(in crate::outbox) enum Step {
    /// An event with this many payload bytes.
    Enqueue(usize),
    /// Rows up to this one; there may be fewer.
    Release(u64),
    Trim(u64),
    Limits(u64, u64),
}

pub(in crate::outbox) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..40_usize).prop_map(Step::Enqueue),
        2 => (0..40_u64).prop_map(Step::Release),
        1 => (0..40_u64).prop_map(Step::Trim),
        1 => (0..6_u64, 0..120_u64).prop_map(|(events, bytes)| Step::Limits(events, bytes)),
    ];
    prop::collection::vec(step, 1..60)
}

/// The rule in the simplest words.
#[derive(Default)]
struct Model {
    lengths: Vec<u64>,
    released: u64,
    trimmed: u64,
}

impl Model {
    fn bytes_after(&self, sequence: u64) -> u64 {
        self.lengths[sequence as usize..].iter().sum()
    }

    fn counted(&self) -> (u64, u64) {
        (self.lengths.len() as u64 - self.released, self.bytes_after(self.released))
    }
}

/// Does all of it, and compares after each step.
pub(in crate::outbox) fn follows_the_rule(subject: &mut impl Subject, steps: &[Step]) {
    let (mut model, mut limits) = (Model::default(), (u64::MAX >> 1, u64::MAX >> 1));
    subject.set_limits(limits.0, limits.1).unwrap();
    for step in steps {
        let last = model.lengths.len() as u64;
        match *step {
            Step::Enqueue(length) => {
                let key = Key::new([1]).unwrap();
                let value = Some(Bytes::from(vec![7; length]));
                let enqueued = subject.enqueue(&Event::StateRecorded { key, value });
                let (events, bytes) = model.counted();
                let fits = events == 0 || bytes + length as u64 <= limits.1;
                match enqueued {
                    Ok(sequence) => {
                        assert!(events < limits.0 && fits, "{step:?} was enqueued");
                        assert_eq!(sequence, last + 1);
                        model.lengths.push(length as u64);
                    }
                    Err(OutboxError::Full { events: said, bytes: said_bytes, .. }) => {
                        assert!(events >= limits.0 || !fits, "{step:?} was refused");
                        assert_eq!((said, said_bytes), (events, bytes), "what is not logged");
                    }
                    Err(other) => panic!("{step:?} gave {other:?}"),
                }
            }
            Step::Release(sequence) => {
                subject.outbox().release(sequence).unwrap();
                model.released = model.released.max(sequence.min(last));
            }
            Step::Trim(sequence) => {
                subject.outbox().trim(sequence).unwrap();
                model.trimmed = model.trimmed.max(sequence.min(last));
                model.released = model.released.max(model.trimmed);
            }
            Step::Limits(events, bytes) => match subject.set_limits(events, bytes) {
                Ok(()) => limits = (events, bytes),
                Err(error) => {
                    assert!(events == 0 || bytes == 0, "{error}");
                    assert!(matches!(error, OutboxError::Unusable { .. }), "{error:?}");
                }
            },
        }
        let pending = subject.outbox().pending().unwrap();
        let (events, bytes) = model.counted();
        assert_eq!((pending.counted_events(), pending.counted_bytes), (events, bytes), "{step:?}");
        assert_eq!(pending.released, model.released, "{step:?}");
        assert_eq!(pending.first, model.trimmed + 1, "{step:?}");
        assert_eq!(pending.bytes, model.bytes_after(model.trimmed), "{step:?}");
        assert_eq!((pending.max_events, pending.max_bytes), limits);
    }
}
