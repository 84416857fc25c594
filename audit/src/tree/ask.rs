//! Asking the witnesses of a policy for cosignatures, as c2sp.org/tlog-witness has it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tipline_log::Backoff;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::cosigned::{collect, publish_cosigned};
use super::error::TreeError;
use super::place::{Newest, TreePlace};
use super::sign::Signed;
use crate::error::AuditError;
use crate::tlog::{
    AddCheckpoint, Checkpoint, CosignerKey, Policy, answered_size, prove_consistency,
    unverified_text,
};

/// Bytes of the longest answer that is read: sixteen cosignatures, or a size, have a tenth of it.
pub const MAX_ANSWER: usize = 64 << 10;
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// A witness that is unavailable is not tried again after this.
const WITHIN: Duration = Duration::from_secs(30);
/// Once the policy accepts it, the others have this long to cosign, too.
const LINGER: Duration = Duration::from_secs(2);
/// The first pause before another attempt, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// So much of an answer is shown.
const MOST_SHOWN: usize = 200;

/// Sends requests over HTTP. This crate has no HTTP of its own.
pub trait Post: Send + Sync + 'static {
    /// Posts a text to an address. Redirects are not followed, and of an answer that is longer than
    /// [`MAX_ANSWER`] one byte more is enough. Whoever calls it ends what takes too long.
    ///
    /// # Errors
    /// Why there is no answer, in words. It is asked again.
    fn post(
        &self,
        address: &str,
        body: String,
    ) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The header `Content-Type`; empty if there is none.
    pub kind: String,
    /// The body as text.
    pub body: String,
}

/// A witness that did not cosign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCosigned {
    /// Its name in the policy.
    pub witness: String,
    /// Why not.
    pub why: String,
    /// It refuses, or what it answers is wrong: somebody must look, and it is not asked for this
    /// checkpoint again.
    pub is_final: bool,
}

/// What became of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Names of those whose cosignatures the policy still waits for; `None`: it is published.
    pub waits_for: Option<String>,
    /// Who was asked, and did not cosign.
    pub not_cosigned: Vec<NotCosigned>,
}

/// Asks witnesses. Keep it from one checkpoint to the next: it remembers who refused which.
#[derive(Debug)]
pub struct Witnesses<P> {
    post: Arc<P>,
    /// By the text of the key.
    refused: BTreeMap<String, Checkpoint>,
}

impl<P: Post> Witnesses<P> {
    /// Contacts nobody yet.
    pub fn new(post: P) -> Self {
        Self { post: Arc::new(post), refused: BTreeMap::new() }
    }

    /// Asks the witnesses that the policy has addresses of, and that have not cosigned it yet, for
    /// cosignatures of what was [signed](super::sign()) just now, side by side. What is right goes where
    /// those put it who watch the tree. Once the policy accepts the checkpoint with it, the others have
    /// 2 s more, and it is published. This takes 40 s at most, beside what the place of the tree takes.
    /// Cancelling it leaves what the next call goes on from.
    ///
    /// # Errors
    /// The place of the tree cannot be read or written to. What witnesses do is no error.
    pub async fn ask(
        &mut self,
        place: &TreePlace,
        policy: &Policy,
        signed: &Signed,
    ) -> Result<Asked, AuditError> {
        let mut notes: Vec<String> =
            place.notes_by(policy).await?.into_iter().map(|(note, _)| note).collect();
        let is_accepted = |notes: &[String]| {
            collect(policy, &signed.note, notes.iter().map(String::as_str)).is_ok()
        };
        let hurry = CancellationToken::new();
        let mut asking = JoinSet::new();
        for (name, key, address) in policy.addresses() {
            let is_refused = self.refused.get(&key.to_string()) == Some(&signed.checkpoint);
            let Some(old) = known(key, signed, &notes).filter(|_| !is_refused) else { continue };
            let asked = Asking {
                place: place.clone(),
                note: signed.note.clone(),
                size: signed.checkpoint.size,
                key: key.clone(),
                url: format!("{}/add-checkpoint", address.trim_end_matches('/')),
                old,
            };
            let (name, post, hurry) = (name.to_owned(), Arc::clone(&self.post), hurry.clone());
            asking.spawn(async move { (name, asked.ask(&*post, &hurry).await, asked.key) });
        }
        let mut enough = is_accepted(&notes).then(|| Instant::now() + LINGER);
        let mut not_cosigned = Vec::new();
        loop {
            let until = enough.unwrap_or_else(Instant::now);
            let answered = tokio::select! {
                answered = asking.join_next() => answered,
                () = sleep_until(until), if enough.is_some() && !hurry.is_cancelled() => {
                    hurry.cancel();
                    continue;
                }
            };
            let Some(answered) = answered else { break };
            let panicked =
                |_| AuditError::Internal { what: "asking a witness panicked".to_owned() };
            let (witness, asked, key) = answered.map_err(panicked)?;
            let (why, is_final) = match asked {
                Ok(note) => {
                    place.put_cosigned(&key, note.clone()).await?;
                    notes.push(note);
                    if enough.is_none() && is_accepted(&notes) {
                        enough = Some(Instant::now() + LINGER);
                    }
                    continue;
                }
                Err(NoCosignature::Place(error)) => return Err(error.into()),
                Err(NoCosignature::Again(why) | NoCosignature::Later(why)) => (why, false),
                Err(NoCosignature::Never(why)) => {
                    self.refused.insert(key.to_string(), signed.checkpoint.clone());
                    (why, true)
                }
            };
            not_cosigned.push(NotCosigned { witness, why, is_final });
        }
        let newest = Newest {
            note: signed.note.clone(),
            checkpoint: signed.checkpoint.clone(),
            is_published: signed.waits_for.is_none(),
        };
        let waits_for = publish_cosigned(place, Some(policy), &newest).await?;
        Ok(Asked { waits_for, not_cosigned })
    }
}

/// Size of the newest checkpoint that this key has cosigned, as far as the place of the tree knows;
/// `None` if that is this one.
fn known(key: &CosignerKey, signed: &Signed, notes: &[String]) -> Option<u64> {
    let mut newest = 0;
    for note in notes.iter().filter(|note| matches!(key.find(note), Ok(Some(_)))) {
        let Ok(text) = unverified_text(note) else { continue };
        if unverified_text(&signed.note) == Ok(text) {
            return None;
        }
        let of = text.parse::<Checkpoint>().ok();
        let of = of.filter(|of| of.origin == signed.checkpoint.origin);
        let size = of.map_or(0, |of| of.size);
        if size < signed.checkpoint.size {
            newest = newest.max(size);
        }
    }
    Some(newest)
}

/// Why there is no cosignature.
enum NoCosignature {
    /// It is unavailable.
    Again(String),
    /// Not now.
    Later(String),
    /// Not of this checkpoint.
    Never(String),
    /// That is not for the witness to say.
    Place(TreeError),
}

/// One witness.
struct Asking {
    place: TreePlace,
    note: String,
    size: u64,
    key: CosignerKey,
    url: String,
    /// What it has cosigned last, as far as is known.
    old: u64,
}

impl Asking {
    /// Gives the checkpoint with its cosignature. In a hurry it ends at once.
    async fn ask<P: Post>(
        &self,
        post: &P,
        hurry: &CancellationToken,
    ) -> Result<String, NoCosignature> {
        let until = Instant::now() + WITHIN;
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut why = "it has not answered yet".to_owned();
        loop {
            let attempt = timeout(ATTEMPT, self.attempt(post));
            match hurry.run_until_cancelled(attempt).await {
                None => break,
                Some(Ok(Err(NoCosignature::Again(said)))) => why = said,
                Some(Ok(done)) => return done,
                Some(Err(_)) => why = format!("it has not answered for {} s", ATTEMPT.as_secs()),
            }
            let pause = backoff.failed();
            let is_late = Instant::now() + pause > until;
            if is_late || hurry.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
        Err(NoCosignature::Again(why))
    }

    /// Asks, and once more if it has cosigned another one last than is known here.
    async fn attempt<P: Post>(&self, post: &P) -> Result<String, NoCosignature> {
        let (mut old, mut is_told, size) = (self.old, false, self.size);
        loop {
            let (status, first, answered) = match self.request(post, old).await? {
                Answer { status: 200, body, .. } => return self.cosigned(&body),
                Answer { status, kind, body } => {
                    (status, shown(&body), answered_size(&kind, &body))
                }
            };
            let found = match (status, answered) {
                (409, Some(found)) => found,
                (409, None) => return never("it answers 409 without a size".to_owned()),
                (408 | 429 | 500.., _) => {
                    return Err(NoCosignature::Again(format!("it answers {status}{first}")));
                }
                (300..400, _) => {
                    return never(format!(
                        "it answers {status}, and redirects are not followed: put the address where \
                         it answers into the policy"
                    ));
                }
                _ => return never(format!("it answers {status}{first}")),
            };
            if found > size {
                return never(format!(
                    "it has cosigned {found} entries, and {size} are signed: was the log put back to \
                     an older state?"
                ));
            }
            if found == size && old == size {
                return never(format!(
                    "it has cosigned another checkpoint of {size} entries: two histories were signed"
                ));
            }
            if is_told {
                return Err(NoCosignature::Later(format!(
                    "it answers 409 to what continues the size that it gave, and now gives {found}"
                )));
            }
            (old, is_told) = (found, true);
        }
    }

    async fn request<P: Post>(&self, post: &P, old: u64) -> Result<Answer, NoCosignature> {
        let size = self.size;
        let hashes = match old == 0 || old == size {
            true => Vec::new(),
            false => {
                let proof = move |read: super::place::Read<'_>| prove_consistency(old, size, read);
                self.place.with_tiles(proof).await.map_err(NoCosignature::Place)?
            }
        };
        let body = AddCheckpoint { old, hashes, note: self.note.clone() }.to_string();
        let answer = post.post(&self.url, body).await;
        let answer =
            answer.map_err(|why| NoCosignature::Again(format!("it does not answer: {why}")))?;
        match answer.body.len() > MAX_ANSWER {
            true => never(format!("its answer has more than {MAX_ANSWER} bytes")),
            false => Ok(answer),
        }
    }

    /// The checkpoint with what was answered, which must be a cosignature of it by the key that the
    /// policy has.
    fn cosigned(&self, lines: &str) -> Result<String, NoCosignature> {
        // Below an empty line it would be one of another text.
        if lines.starts_with('\n') || lines.contains("\n\n") {
            return never("what it answers is no cosignature".to_owned());
        }
        match self.key.find(&format!("{}{lines}", self.note)) {
            Ok(Some(found)) => Ok(format!("{}{}", self.note, found.line)),
            Ok(None) => never(format!("its answer has no cosignature by the key {}", self.key)),
            Err(error) => never(format!("its cosignature is not right: {error}")),
        }
    }
}

fn never<T>(why: String) -> Result<T, NoCosignature> {
    Err(NoCosignature::Never(why))
}

/// As much of an answer as is fit to be shown.
fn shown(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(MOST_SHOWN).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}
