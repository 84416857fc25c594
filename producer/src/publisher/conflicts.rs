//! A log that contradicts itself.

use tipline_proto::Position;

/// A log that answers an append with a conflict, and then with the tail that was expected. Once that
/// is an answer that came late. From the second time on it is a fault of the log, to be shown, and
/// no reason to send the unit again without a pause.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    /// The tail that was expected.
    after: Option<Position>,
    count: u32,
    paused: bool,
}

impl Conflicts {
    /// An append after this tail was refused.
    pub(super) fn note(&mut self, after: Position) {
        self.count = if self.after == Some(after) { self.count + 1 } else { 1 };
        self.after = Some(after);
        self.paused = false;
    }

    /// Whether to pause before the next append after this tail.
    pub(super) fn pause(&mut self, tail: Position) -> Option<String> {
        if self.after != Some(tail) || self.count < 2 || self.paused {
            return None;
        }
        self.paused = true;
        Some(format!(
            "the log refused an append {} times in a row because its tail is another one, but its \
             tail is the expected one, {tail}: its server contradicts itself; restart the server, \
             or move the stream's leader",
            self.count
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tipline_log::{AppendError, Tail};
    use tipline_proto::{Digest, Entry, Event, Key, Label, OutboxId, Position, Timestamp};

    use crate::publisher::core::Core;
    use crate::publisher::protocol::{Command, Input, Survey, TailRead};

    fn tail() -> Tail {
        let digest = Digest::from_bytes([5; 32]);
        Tail {
            position: Position { index: 0, digest },
            epoch: 0,
            time: Timestamp::default(),
            outbox_sequence: 0,
            outbox: None,
            fence: 0,
        }
    }

    fn survey() -> Input {
        let (logged_through, next_epoch, now) = (0, 1, Timestamp::default());
        Input::Surveyed(Ok(Survey { tail: tail(), logged_through, next_epoch, now }))
    }

    fn paused(commands: &[Command]) -> Option<Duration> {
        let says = commands.iter().any(|command| match command {
            Command::Retrying { why, .. } => why.contains("contradicts itself"),
            _ => false,
        });
        commands.iter().find_map(|command| match command {
            Command::Pause(pause) if says => Some(*pause),
            _ => None,
        })
    }

    /// Claims again and again; answers the pauses of the first 20 attempts.
    #[test]
    fn a_claim_that_is_refused_with_the_expected_tail_is_not_tried_without_pause() {
        let mut core = Core::new(Label::new("p").unwrap(), OutboxId::from_bytes([1; 16]));
        core.start();
        let (mut appends, mut pauses) = (0, 0);
        let mut commands = core.step(survey());
        while appends < 20 {
            commands = match &commands[..] {
                [Command::Append { .. }] => {
                    appends += 1;
                    core.step(Input::Appended(Err(AppendError::Conflict)))
                }
                [Command::Survey] => core.step(survey()),
                other if paused(other).is_some() => {
                    pauses += 1;
                    core.step(Input::Resumed)
                }
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(pauses, 18, "before each attempt from the third on");
    }

    #[test]
    fn a_unit_that_is_refused_with_the_expected_tail_is_not_sent_without_pause() {
        let mut core = Core::new(Label::new("p").unwrap(), OutboxId::from_bytes([1; 16]));
        core.start();
        let commands = core.step(survey());
        let [Command::Append { unit, .. }] = &commands[..] else { panic!("{commands:?}") };
        let claimed = Tail { position: unit[0].position(), fence: 1, epoch: 1, ..tail() };
        core.step(Input::Appended(Ok(claimed.clone())));
        let event = Event::StateRecorded { key: Key::new([1]).unwrap(), value: None };
        let row = Entry::seal(&claimed.position, 1, Timestamp::default(), 1, event);
        let mut commands = core.step(Input::Prepared { request: 1, unit: Ok([row].into()) });
        let (mut appends, mut pauses) = (0, 0);
        while appends < 20 {
            let is = |wanted: fn(&Command) -> bool| commands.iter().any(wanted);
            commands = if is(|command| matches!(command, Command::Append { .. })) {
                appends += 1;
                core.step(Input::Appended(Err(AppendError::Conflict)))
            } else if is(|command| matches!(command, Command::ReadTail)) {
                core.step(Input::TailRead(Ok(TailRead { tail: claimed.clone(), ours: Some(true) })))
            } else {
                assert!(paused(&commands).is_some(), "{commands:?}");
                pauses += 1;
                core.step(Input::Resumed)
            };
        }
        assert_eq!(pauses, 18, "before each attempt from the third on");
    }
}
