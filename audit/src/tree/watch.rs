//! Witnessing the tree beside an archive.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::TreeError;
use super::mirror::Mirror;
use super::place::TreePlace;
use super::witness::{Witness, WitnessError};
use crate::error::AuditError;
use crate::tlog::{AddCheckpoint, Checkpoint, NotContinued, VerifierKey};

/// How often it looks again because somebody had the same witness cosign a newer one meanwhile.
const ATTEMPTS: usize = 3;

/// What a witness has cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// The newest checkpoint.
    pub checkpoint: Checkpoint,
    /// It with the log's signature and the witness' cosignature.
    pub note: String,
    /// How many entries it has more than the one that was cosigned before.
    pub added: u64,
}

/// Cosigns the newest checkpoint of the tree beside an archive, published or not, if its tiles prove
/// that it continues the one that was cosigned before; with a mirror also only if that holds every
/// entry of it, all of which was read back from there: see [`Mirror::read_back_every`]. Then puts it into the tree, for whoever signs to collect. `None` if nothing is signed.
///
/// # Errors
/// [`TreeError::NotConsistent`] for one that contradicts what was cosigned, or is smaller. The log's key
/// signed both: the first one that is proven to contradict it the witness keeps beside its own, for
/// good. Those of tree, witness and mirror. Nothing is cosigned then.
pub async fn watch_tree(
    place: &TreePlace,
    log: &VerifierKey,
    witness: &Arc<Witness>,
    mirror: Option<&Mirror>,
    stop: &CancellationToken,
) -> Result<Option<Witnessed>, AuditError> {
    place.check_key(log.name())?;
    for _ in 0..ATTEMPTS {
        match watch_once(place, log, witness, mirror, stop).await {
            Err(AuditError::Tree(TreeError::Witness(WitnessError::NotContinued {
                source: NotContinued::Behind { .. },
                ..
            }))) => {}
            done => return done,
        }
    }
    watch_once(place, log, witness, mirror, stop).await
}

async fn watch_once(
    place: &TreePlace,
    log: &VerifierKey,
    witness: &Arc<Witness>,
    mirror: Option<&Mirror>,
    stop: &CancellationToken,
) -> Result<Option<Witnessed>, AuditError> {
    // Before what is signed: it has cosigned nothing newer, whoever asks it meanwhile.
    let kept = kept(witness, log).await?;
    let Some(newest) = place.newest(log).await? else {
        return match kept {
            None => Ok(None),
            Some((_, kept)) => {
                let (size, place) = (kept.size, place.place());
                let what =
                    format!("{size} entries were cosigned, and nothing is signed at {place}");
                Err(TreeError::NotConsistent(what).into())
            }
        };
    };
    let (note, checkpoint) = (newest.note, newest.checkpoint);
    let is_same = kept.as_ref().is_some_and(|(_, kept)| *kept == checkpoint);
    let hashes = match kept.as_ref().map(|(_, kept)| kept) {
        // That the tiles are those that were signed.
        None => place.resume(&checkpoint).await.map(|_| Vec::new())?,
        Some(kept) => match place.consistency(kept.clone(), checkpoint.clone()).await {
            Ok(proven) => proven.hashes,
            Err(error) => {
                // One that is merely older contradicts nothing.
                let is_proven = checkpoint.size >= kept.size;
                if is_proven && matches!(error, TreeError::NotConsistent(_)) {
                    let (origin, note) = (checkpoint.origin, note);
                    let keep = move |witness: &Witness| witness.keep_evidence(&origin, &note);
                    blocking(witness, move |witness| Ok(keep(witness)?)).await?;
                }
                return Err(error.into());
            }
        },
    };
    let is_read_again = match mirror {
        None => false,
        Some(mirror) => read_back(mirror, place, witness, &checkpoint, stop).await?,
    };
    let (kept_note, old) = kept.map_or((None, 0), |(note, kept)| (Some(note), kept.size));
    if let Some(note) = kept_note.filter(|_| is_same && !is_read_again) {
        place.put_cosigned(&witness.verifier(), note.clone()).await?;
        return Ok(Some(Witnessed { checkpoint, note, added: 0 }));
    }
    let request = AddCheckpoint { old, hashes, note };
    let note = blocking(witness, move |witness| witness.cosign(&request)).await?.note;
    place.put_cosigned(&witness.verifier(), note.clone()).await?;
    let added = checkpoint.size - old;
    Ok(Some(Witnessed { checkpoint, note, added }))
}

/// Whether anything was read that was not known before.
async fn read_back(
    mirror: &Mirror,
    place: &TreePlace,
    witness: &Arc<Witness>,
    to: &Checkpoint,
    stop: &CancellationToken,
) -> Result<bool, AuditError> {
    let origin = to.origin.clone();
    let last = move |witness: &Witness| Ok((witness.read_back(&origin)?, witness.seconds()));
    let (last, seconds) = blocking(witness, last).await?;
    let read = mirror.check(place, last.as_ref(), to, seconds, stop).await?;
    if last.as_ref() == Some(&read) {
        return Ok(false);
    }
    blocking(witness, move |witness| Ok(witness.keep_read_back(&read)?)).await?;
    Ok(true)
}

async fn kept(
    witness: &Arc<Witness>,
    log: &VerifierKey,
) -> Result<Option<(String, Checkpoint)>, AuditError> {
    let origin = log.name().to_owned();
    blocking(witness, move |witness| Ok(witness.kept(&origin)?)).await
}

/// Files block the thread.
async fn blocking<T: Send + 'static>(
    witness: &Arc<Witness>,
    work: impl FnOnce(&Witness) -> Result<T, WitnessError> + Send + 'static,
) -> Result<T, AuditError> {
    let witness = Arc::clone(witness);
    match tokio::task::spawn_blocking(move || work(&witness)).await {
        Ok(done) => Ok(done.map_err(TreeError::from)?),
        Err(_) => Err(AuditError::Internal { what: "the witness panicked".to_owned() }),
    }
}
