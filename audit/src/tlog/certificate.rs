//! Certificates: what range of a log was durable where, at what time, in one text.

use std::fmt;

use tipline_backup::{TimeDigits, time_text};
use tipline_proto::Timestamp;

use super::checkpoint::Checkpoint;
use super::note::{BadNote, unverified_text};
use super::policy::{BadPolicy, NotAccepted, Policy, SeenBy};

/// The first line of a certificate.
pub(super) const FIRST_LINE: &str = "tipline certificate v1";

/// A checkpoint that a policy accepts, with the policy, and with who holds all of it durably.
///
/// ```text
/// tipline certificate v1
/// origin logs.example.org/mainnet/4f1c…
/// entries 1 to 812345
/// durable offsite-a 2026-11-30T01:23:45Z
/// seen w1 2026-11-30T01:23:47Z
///
/// <the policy, byte for byte>
///
/// <the checkpoint, as a signed note>
/// ```
/// Everything above the policy follows from what is below, and there is one text for each: so no byte
/// can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    text: String,
    checkpoint: Checkpoint,
    cosigned: Vec<SeenBy>,
}

/// A text that certifies nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCertificate {
    /// The text is no certificate.
    #[error("it is no certificate: {0}")]
    Malformed(&'static str),
    /// Another policy is in it than the one that is asked for.
    #[error("it was issued by another policy than the one that was given")]
    OtherPolicy,
    /// It is not the one text that follows from its policy and checkpoint.
    #[error("it was changed: it does not say what its policy and checkpoint say")]
    Changed,
    /// The policy is not usable.
    #[error(transparent)]
    Policy(#[from] BadPolicy),
    /// The policy does not accept the checkpoint.
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    /// The checkpoint in it is no signed note.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// Nobody who cosigned says that he holds anything.
    #[error("nobody who cosigned holds the entries: no key has a name that ends with /mirror")]
    NotHeld,
}

impl Certificate {
    /// Certifies a checkpoint by the text of a policy.
    ///
    /// # Errors
    /// See [`BadCertificate`].
    pub fn issue(policy: &str, note: &str) -> Result<Self, BadCertificate> {
        if !policy.ends_with('\n') {
            return Err(BadCertificate::Malformed("its policy does not end with a newline"));
        }
        let accepted = policy.parse::<Policy>()?.check(note)?;
        if !accepted.cosigned.iter().any(|seen| seen.key.is_mirror()) {
            return Err(BadCertificate::NotHeld);
        }
        let checkpoint = accepted.checkpoint;
        let mut text = format!(
            "{FIRST_LINE}\norigin {}\nentries 1 to {}\n",
            checkpoint.origin, checkpoint.size
        );
        for seen in &accepted.cosigned {
            let what = if seen.key.is_mirror() { "durable" } else { "seen" };
            text += &format!("{what} {} {}\n", seen.name, seen.time());
        }
        text += &format!("\n{policy}\n{}", accepted.note);
        Ok(Self { text, checkpoint, cosigned: accepted.cosigned })
    }

    /// Checks the text of a certificate with nothing but the policy that is asked for.
    ///
    /// # Errors
    /// See [`BadCertificate`].
    pub fn check(text: &str, policy: &str) -> Result<Self, BadCertificate> {
        let malformed = BadCertificate::Malformed;
        if !text.starts_with(FIRST_LINE) {
            return Err(malformed("its first line is not that of a certificate"));
        }
        let (_, rest) = text.split_once("\n\n").ok_or(malformed("it has no policy"))?;
        let note = note_of(rest).ok_or(malformed("it has no checkpoint"))?;
        let within = rest.strip_suffix(note).and_then(|policy| policy.strip_suffix('\n'));
        if within != Some(policy) {
            return Err(BadCertificate::OtherPolicy);
        }
        let issued = Self::issue(policy, note)?;
        match issued.text == text {
            true => Ok(issued),
            false => Err(BadCertificate::Changed),
        }
    }

    /// What is certified.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Who holds all of it durably, and when that was found. How long before then the oldest of it was read
    /// back is for the mirror to say: [`Mirror::read_back_every`](crate::tree::Mirror::read_back_every).
    pub fn durable(&self) -> impl Iterator<Item = &SeenBy> {
        self.cosigned.iter().filter(|seen| seen.key.is_mirror())
    }

    /// Who else has seen it.
    pub fn seen(&self) -> impl Iterator<Item = &SeenBy> {
        self.cosigned.iter().filter(|seen| !seen.key.is_mirror())
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl SeenBy {
    /// When, as text, in UTC.
    pub fn time(&self) -> String {
        let micros = self.seconds.saturating_mul(1_000_000);
        time_text(Timestamp::from_micros(micros), TimeDigits::Seconds)
    }
}

/// The signed note at the end of a text: a checkpoint has no empty line.
fn note_of(text: &str) -> Option<&str> {
    let signatures = text.rfind("\n\n")?;
    let at = text[..signatures].rfind("\n\n").map(|at| at + 2)?;
    let note = &text[at..];
    unverified_text(note).ok().map(|_| note)
}
