//! Applying a range of entries to a store, by the loop that follows a log.

use std::time::Duration;

use tipline_log::Subscription;
use tipline_proto::Chain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::follow::{Context, Follow, StopReason, Timing};
use crate::join::StartState;
use crate::progress::Progress;
use crate::store_thread::StoreThread;
use crate::verifying::Checker;
use crate::vouch::Vouching;

/// How long a store that waits for entries is not asked whether it is still there.
const PROBE: Duration = Duration::from_secs(60);
/// How long the store may be at one batch before that is said.
const STUCK: Duration = Duration::from_secs(60);

/// Verifies and applies everything that the subscription gives, as a consumer does, until the
/// subscription ends or `stop` is cancelled. `start` is where the store is; the subscription gives
/// what comes after that. With `vouching` nothing is
/// applied that nobody vouches for. Sends no receipts.
///
/// Everything up to the cursor in `progress` is durable. Dropping the future abandons what was not
/// applied yet.
pub async fn replay(
    store: &StoreThread,
    subscription: Box<dyn Subscription>,
    chain: &Chain,
    start: StartState,
    vouching: Option<Vouching>,
    progress: &watch::Sender<Progress>,
    stop: &CancellationToken,
) -> StopReason {
    let timing = Timing { linger: Duration::ZERO, probe: PROBE, stuck: STUCK, unsigned: STUCK };
    let context = Context { store, progress, stop, timing, telemetry: None };
    let applied = start.cursor.position.index;
    Follow::new(context, subscription, Checker::new(chain, start, vouching), applied).run().await
}
