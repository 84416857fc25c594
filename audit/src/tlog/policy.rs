//! Which checkpoints are accepted: who must have signed and cosigned them.

use std::str::FromStr;

use super::checkpoint::{BadCheckpoint, Checkpoint, number};
use super::cosignature::CosignerKey;
use super::note::{BadNote, MAX_SIGNATURES, VerifierKey};

/// The specification recommends at least 32 of each.
const MAX_OF_EACH: usize = MAX_SIGNATURES / 2;
const MAX_BYTES: usize = 256 << 10;
/// The quorum that needs nobody.
const NOBODY: &str = "none";

/// The text of a policy, as c2sp.org/tlog-policy writes it, in UTF-8.
///
/// ```text
/// log logs.example.org/mainnet/4f1c…+5d7f7d9e+AZ…
/// witness offsite-a a.example.org/mirror+0b4d9a3e+BC…
/// witness offsite-b b.example.net/mirror+71c8e5f0+BA… https://b.example.net/
/// group both all offsite-a offsite-b
/// quorum both
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Cosigner>,
    groups: Vec<Group>,
    /// `None`: nobody need cosign.
    quorum: Option<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cosigner {
    name: String,
    key: CosignerKey,
    /// Where it is asked over HTTP, if that is said.
    address: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    needed: usize,
    members: Vec<Member>,
}

/// By its number among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

/// A text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy is not usable: {why}")]
pub struct BadPolicy {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// A checkpoint that a policy does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAccepted {
    /// No log that the policy names signed it, or a signature is wrong.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// What was signed is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    /// It is of a log that the policy does not name. Nobody has verified that.
    #[error("the policy names no log {}", origin.escape_debug())]
    UnknownLog {
        /// The log that it is of.
        origin: String,
    },
    /// Too few have cosigned it. Wait for them.
    #[error("the quorum of the policy is not reached: {missing} did not cosign")]
    NoQuorum {
        /// Names of the witnesses that did not.
        missing: String,
    },
}

/// Somebody whom a policy names has cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBy {
    /// The name in the policy.
    pub name: String,
    /// The key.
    pub key: CosignerKey,
    /// When, in seconds since 1970, by its own clock.
    pub seconds: u64,
}

/// A checkpoint that a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// It.
    pub checkpoint: Checkpoint,
    /// It as a note, with the signature of the log and the newest of each witness that the policy
    /// names, in its order, and no other.
    pub note: String,
    /// Who cosigned, in the order of the policy.
    pub cosigned: Vec<SeenBy>,
}

impl Policy {
    /// The logs that it names.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The keys of the witnesses that it names.
    pub fn witnesses(&self) -> impl Iterator<Item = &CosignerKey> {
        self.witnesses.iter().map(|witness| &witness.key)
    }

    /// The witnesses that it has an address of, where they are asked for cosignatures
    /// (c2sp.org/tlog-witness): name, key, and address as it is written.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &CosignerKey, &str)> {
        self.witnesses.iter().filter_map(|of| Some((&*of.name, &of.key, of.address.as_deref()?)))
    }

    /// With this log, if it names none: then it is known from elsewhere.
    #[must_use]
    pub fn or_log(mut self, key: &VerifierKey) -> Self {
        if self.logs.is_empty() {
            self.logs.push(key.clone());
        }
        self
    }

    /// Whether a checkpoint is signed by a log and cosigned by the quorum.
    ///
    /// # Errors
    /// See [`NotAccepted`].
    pub fn check(&self, note: &str) -> Result<Accepted, NotAccepted> {
        let claimed: Checkpoint = super::note::unverified_text(note)?.parse()?;
        let named = self.logs.iter().filter(|log| log.name() == claimed.origin);
        let Some((text, mut lines)) = line_by_any(named, note)? else {
            return Err(NotAccepted::UnknownLog { origin: claimed.origin });
        };
        let (mut cosigned, mut missing) = (Vec::new(), Vec::new());
        let mut has = Vec::with_capacity(self.witnesses.len());
        for Cosigner { name, key, .. } in &self.witnesses {
            let found = key.find(note)?;
            has.push(found.is_some());
            match found {
                Some(found) => {
                    lines += &found.line;
                    let (name, key) = (name.clone(), key.clone());
                    cosigned.push(SeenBy { name, key, seconds: found.seconds });
                }
                None => missing.push(name.as_str()),
            }
        }
        match self.quorum.is_none_or(|quorum| self.is_reached(quorum, &has)) {
            true => Ok(Accepted {
                checkpoint: text.parse()?,
                note: format!("{text}\n{lines}"),
                cosigned,
            }),
            false => Err(NotAccepted::NoQuorum { missing: missing.join(", ") }),
        }
    }

    /// Members are defined before their group, so this ends.
    fn is_reached(&self, member: Member, has: &[bool]) -> bool {
        match member {
            Member::Witness(number) => has.get(number) == Some(&true),
            Member::Group(number) => self.groups.get(number).is_some_and(|group| {
                let reached = |member: &&Member| self.is_reached(**member, has);
                group.members.iter().filter(reached).count() >= group.needed
            }),
        }
    }

    fn member(&self, name: &str) -> Option<Member> {
        let witness = self.witnesses.iter().position(|known| known.name == name);
        let group = || self.groups.iter().position(|group| group.name == name);
        witness.map(Member::Witness).or_else(|| group().map(Member::Group))
    }

    fn check_new(&self, name: &str) -> Result<(), String> {
        match name == NOBODY || self.member(name).is_some() {
            true => Err(format!("the name {name} is taken")),
            false => Ok(()),
        }
    }

    fn add_log(&mut self, key: &str) -> Result<(), String> {
        let key: VerifierKey = key.parse().map_err(|error: BadNote| error.to_string())?;
        if self.logs.iter().any(|log| log.bytes() == key.bytes()) {
            return Err("the key of this log is there already".to_owned());
        }
        self.logs.push(key);
        limit(self.logs.len())
    }

    fn add_witness(&mut self, name: &str, key: &str, at: Option<&str>) -> Result<(), String> {
        self.check_new(name)?;
        let key: CosignerKey = key.parse().map_err(|error: BadNote| error.to_string())?;
        if self.witnesses().any(|known| known.bytes() == key.bytes()) {
            return Err("the key of this witness is there already".to_owned());
        }
        let (name, address) = (name.to_owned(), at.map(str::to_owned));
        self.witnesses.push(Cosigner { name, key, address });
        limit(self.witnesses.len())
    }

    fn add_group(&mut self, name: &str, needed: &str, members: &[&str]) -> Result<(), String> {
        self.check_new(name)?;
        let mut found = Vec::with_capacity(members.len());
        for member in members {
            let is_known = self.member(member);
            let member = is_known.ok_or_else(|| format!("{member} is not defined before"))?;
            let is_taken = self.groups.iter().any(|group| group.members.contains(&member));
            if is_taken || found.contains(&member) {
                return Err("a name is a member for the second time".to_owned());
            }
            found.push(member);
        }
        let needed = match needed {
            "any" => Some(1),
            "all" => Some(found.len()),
            count => number(count).and_then(|count| count.try_into().ok()),
        };
        let needed = needed.filter(|needed| (1..=found.len()).contains(needed));
        let needed = needed.ok_or("it must need from 1 to all of its members")?;
        self.groups.push(Group { name: name.to_owned(), needed, members: found });
        limit(self.groups.len())
    }
}

/// The text of a note that one of these keys signed, and the line of that; `None` if there is no key.
///
/// # Errors
/// None of them signed it; or a signature says that it is of one of them, and is not, whatever the
/// others signed.
pub(crate) fn line_by_any<'a, 'k>(
    keys: impl Iterator<Item = &'k VerifierKey>,
    note: &'a str,
) -> Result<Option<(&'a str, String)>, BadNote> {
    let (mut signed, mut unsigned) = (None, None);
    for key in keys {
        match key.line(note) {
            Ok(line) => _ = signed.get_or_insert(line),
            Err(error @ BadNote::Unsigned { .. }) => unsigned = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (signed, unsigned) {
        (None, Some(unsigned)) => Err(unsigned),
        (signed, _) => Ok(signed),
    }
}

fn limit(count: usize) -> Result<(), String> {
    match count > MAX_OF_EACH {
        true => Err(format!("there are more than {MAX_OF_EACH} of its kind")),
        false => Ok(()),
    }
}

impl FromStr for Policy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let bad = |line: usize, why: &str| BadPolicy { line, why: why.to_owned() };
        let is_control = |byte: u8| (byte < 0x20 && byte != b'\t' && byte != b'\n') || byte == 0x7f;
        if text.len() > MAX_BYTES || text.bytes().any(is_control) {
            return Err(bad(1, "it is too long, or has control characters"));
        }
        let mut policy = Self { logs: vec![], witnesses: vec![], groups: vec![], quorum: None };
        let mut has_quorum = false;
        for (number, line) in text.split('\n').enumerate() {
            let line = line.trim_matches([' ', '\t']);
            if line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> =
                line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            let added = match words[..] {
                [] => Ok(()),
                ["log", key] | ["log", key, _] => policy.add_log(key),
                ["witness", name, key] => policy.add_witness(name, key, None),
                ["witness", name, key, at] => policy.add_witness(name, key, Some(at)),
                ["group", name, needed, ref members @ ..] if !members.is_empty() => {
                    policy.add_group(name, needed, members)
                }
                ["quorum", _] if has_quorum => Err("there is a second quorum".to_owned()),
                ["quorum", name] => {
                    has_quorum = true;
                    policy.quorum = policy.member(name);
                    match policy.quorum.is_some() || name == NOBODY {
                        true => Ok(()),
                        false => Err(format!("{name} is not defined before")),
                    }
                }
                _ => Err("it is no line of a policy".to_owned()),
            };
            added.map_err(|why| BadPolicy { line: number + 1, why })?;
        }
        match has_quorum {
            true => Ok(policy),
            false => Err(bad(text.split('\n').count(), "there is no line `quorum NAME`")),
        }
    }
}
