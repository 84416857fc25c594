//! What happens in the demo, in order.

use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_log::{Accepted, Log, system_clock};
use tipline_producer::{Producer, ProducerSettings};
use tipline_proto::{Hash, Label, Level, Policy};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::blocks::{Block, Format};
use super::check;
use super::fleet::{FLEET, Follower, VICTIM};
use super::node::{Node, NodeError};
use super::screen::{Moment, Screen};
use super::summary::{Killed, Latencies, StoreSummary, Summary};
use crate::output::report::{Failure, Sentence};

/// The blocks are committed over this time, or longer where the disk is slow.
const DURATION: Duration = Duration::from_secs(10);
/// Proofs come this much later than their blocks.
const PROOF_DELAY_MS: std::ops::Range<u64> = 100..1500;
/// The log and the consumers have this long for the rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most commits whose receipts are waited for at a time.
const WAITING_TICKETS: usize = 100_000;

/// Everything that is decided before it starts.
pub(super) struct Script {
    pub(super) dir: PathBuf,
    pub(super) format: Format,
    pub(super) blocks: Vec<Block>,
    pub(super) address: String,
    pub(super) shortfalls: Vec<String>,
    pub(super) seed: u64,
}

pub(super) struct Play {
    log: Arc<dyn Log>,
    script: Script,
    producer: Arc<Producer>,
    followers: Vec<Follower>,
    node: Option<Node>,
    committing: Option<JoinHandle<Result<Committed, NodeError>>>,
    measuring: Option<JoinHandle<Result<(Latencies, Latencies), Failure>>>,
    /// Ends the node's thread.
    halt: CancellationToken,
}

/// What the node's thread leaves behind when it has committed everything.
struct Committed {
    node: Node,
    /// Outbox sequence of its last event.
    last: u64,
}

/// The killed replica, while it is gone and when it is back.
enum Victim {
    Alive,
    Gone { at_block: u64, at_index: u64 },
    Back { at_block: u64, missed: u64, target: u64, since: Instant },
    CaughtUp(Killed),
}

impl Play {
    pub(super) fn new(log: Arc<dyn Log>, script: Script) -> Result<Self, Failure> {
        let genesis = &log.identity().chain.genesis;
        let node = Node::create(&script.dir.join("node.db"), genesis, system_clock())?;
        let mut settings = ProducerSettings::new(Label::new("demo-node")?);
        settings.accept_shortfalls = Accepted::Everything;
        let shared = Arc::clone(&log);
        let connect = move || {
            let log = Arc::clone(&shared);
            async move { Ok(log) }
        };
        let producer =
            Producer::start(connect, Box::new(node.outbox()?), settings, system_clock())?;
        let followers = FLEET.into_iter().map(|one| Follower::new(one, &script.dir));
        let followers = followers.collect::<Result<_, _>>()?;
        let halt = CancellationToken::new();
        let (producer, node, committing, measuring) = (Arc::new(producer), Some(node), None, None);
        Ok(Self { log, script, producer, followers, node, committing, measuring, halt })
    }

    /// Plays it; `None` if it was stopped. On return nobody writes any more, whatever came of it.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Result<Option<Summary>, Failure> {
        let played = self.play(&stop).await;
        let closed = self.close().await;
        let summary = played?;
        closed?;
        Ok(summary)
    }

    async fn play(&mut self, stop: &CancellationToken) -> Result<Option<Summary>, Failure> {
        let names: Vec<&str> = FLEET.iter().map(|(name, ..)| *name).collect();
        let blocks = self.script.blocks.len() as u64;
        let mut screen = Screen::new(&names, blocks);
        screen.say(&format!(
            "a node with {blocks} blocks, the log {}, two replicas and a backup",
            self.script.address
        ));
        for follower in &mut self.followers {
            follower.start(&self.log).await?;
        }
        let Some(ready) = stop.run_until_cancelled(self.producer.ready()).await else {
            screen.say("stopped");
            return Ok(None);
        };
        ready?;
        let start = Instant::now();
        let committed = Arc::new(AtomicU64::new(0));
        let (sender, tickets) = mpsc::channel(WAITING_TICKETS);
        self.measuring = Some(tokio::spawn(measure(Arc::clone(&self.producer), tickets)));
        self.start_commits(&committed, sender)?;
        let Some((node, killed)) = self.direct(&mut screen, &committed, stop).await? else {
            return Ok(None);
        };
        let seconds = start.elapsed().as_secs_f64();
        let (logged, receipted) = finished(&mut self.measuring).await??;
        for follower in &mut self.followers {
            follower.stop().await?;
        }
        screen.finish();
        let summary = self.verify(&node, killed, seconds, &logged, &receipted).await?;
        Ok(Some(summary))
    }

    /// Ends whatever still runs, and waits for it.
    async fn close(&mut self) -> Result<(), Failure> {
        self.halt.cancel();
        if let Some(measuring) = self.measuring.take() {
            // It holds the producer.
            measuring.abort();
            // Aborted, or ended before.
            _ = measuring.await;
        }
        let mut closed = Ok(());
        if let Some(committing) = self.committing.take() {
            closed = match committing.await {
                Ok(committed) => committed.map(drop).map_err(Failure::from),
                Err(panicked) => Err(panicked.into()),
            };
        }
        for follower in &mut self.followers {
            closed = closed.and(follower.stop().await);
        }
        closed
    }

    /// Commits blocks and proofs on a thread of their own, as a node does.
    fn start_commits(
        &mut self,
        committed: &Arc<AtomicU64>,
        tickets: mpsc::Sender<(u64, Instant)>,
    ) -> Result<(), Failure> {
        let node = self.node.take().ok_or_else(|| Sentence("the node is running".into()))?;
        let mut commits = Commits {
            node,
            rng: StdRng::seed_from_u64(self.script.seed),
            proofs: BinaryHeap::new(),
            producer: Arc::clone(&self.producer),
            tickets,
            halt: self.halt.clone(),
            last: 0,
        };
        let (blocks, committed) = (self.script.blocks.clone(), Arc::clone(committed));
        self.committing = Some(tokio::task::spawn_blocking(move || {
            commits.commit_all(&blocks, &committed)?;
            Ok(Committed { node: commits.node, last: commits.last })
        }));
        Ok(())
    }

    /// Kills the victim, brings it back, and waits until everyone has everything.
    async fn direct(
        &mut self,
        screen: &mut Screen,
        committed: &AtomicU64,
        stop: &CancellationToken,
    ) -> Result<Option<(Node, Killed)>, Failure> {
        let total = self.script.blocks.len() as u64;
        let (mut victim, mut all) = (Victim::Alive, None::<Committed>);
        let mut patience = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    screen.say("stopped");
                    return Ok(None);
                }
                done = finished(&mut self.committing), if all.is_none() => {
                    all = Some(done??);
                    patience = Instant::now() + PATIENCE;
                }
                ended = self.producer.ended() => return Err(ended.into()),
                _ = tick.tick() => {}
            }
            for follower in &self.followers {
                follower.check()?;
            }
            let now = committed.load(Ordering::Relaxed);
            victim = self.stage(victim, now, total, screen).await?;
            self.draw(screen, now, &victim);
            if let Victim::CaughtUp(killed) = &victim
                && let Some(all) = all.take_if(|all| self.everyone_has(all.last))
            {
                return Ok(Some((all.node, killed.clone())));
            }
            if all.is_some() && Instant::now() > patience {
                return Err(Sentence(format!("not everyone caught up within {PATIENCE:?}")).into());
            }
        }
    }

    async fn stage(
        &mut self,
        victim: Victim,
        committed: u64,
        total: u64,
        screen: &Screen,
    ) -> Result<Victim, Failure> {
        let tail = self.producer.progress().borrow().tail.map_or(0, |tail| tail.index);
        let log = Arc::clone(&self.log);
        let follower = self
            .followers
            .iter_mut()
            .find(|follower| follower.name == VICTIM)
            .ok_or_else(|| Sentence("nobody to kill".into()))?;
        Ok(match victim {
            Victim::Alive if committed >= total * 4 / 10 => {
                follower.kill();
                screen.say(&format!("{VICTIM} is killed at block {committed}"));
                Victim::Gone { at_block: committed, at_index: tail }
            }
            Victim::Gone { at_block, at_index } if committed >= total * 7 / 10 => {
                follower.start(&log).await?;
                screen.say(&format!("{VICTIM} is back at block {committed}"));
                let missed = tail.saturating_sub(at_index);
                Victim::Back { at_block, missed, target: tail, since: Instant::now() }
            }
            Victim::Back { at_block, missed, target, since } if self.reached(VICTIM) >= target => {
                let caught_up_ms = since.elapsed().as_secs_f64() * 1e3;
                screen.say(&format!(
                    "{VICTIM} has caught up on {missed} entries in {caught_up_ms:.0} ms"
                ));
                Victim::CaughtUp(Killed { name: VICTIM.into(), at_block, missed, caught_up_ms })
            }
            same => same,
        })
    }

    fn draw(&self, screen: &mut Screen, committed: u64, victim: &Victim) {
        let killed: &[String] = match victim {
            Victim::Gone { .. } => &[VICTIM.to_owned()],
            _ => &[],
        };
        let (progress, status) = (self.producer.progress(), self.producer.backup_status());
        let (progress, status) = (progress.borrow(), status.borrow());
        screen.show(&Moment { committed, progress: &progress, status: &status, killed });
    }

    /// How far a consumer is, as the primary knows it.
    fn reached(&self, name: &str) -> u64 {
        let status = self.producer.backup_status();
        let status = status.borrow();
        let reached = status.consumer(name).and_then(|c| c.receipt.reached.at(Level::Durable));
        reached.map_or(0, |position| position.index)
    }

    /// Whether the event of this outbox sequence is logged, and everyone is at the log's tail.
    fn everyone_has(&self, last: u64) -> bool {
        let progress = self.producer.progress();
        let progress = progress.borrow();
        let tail = progress.tail.map_or(0, |tail| tail.index);
        progress.logged >= last && FLEET.iter().all(|(name, ..)| self.reached(name) == tail)
    }

    async fn verify(
        &self,
        node: &Node,
        killed: Killed,
        seconds: f64,
        logged: &Latencies,
        receipted: &Latencies,
    ) -> Result<Summary, Failure> {
        let tail = self.log.tail().await?.position;
        let blocks = self.script.blocks.len() as u64;
        let content = check::check_log(&*self.log, tail, blocks).await?;
        let genesis = &self.log.identity().chain.genesis;
        let (mut stores, mut first) = (vec![], None);
        for follower in &self.followers {
            let store = follower.read().await?;
            let name = follower.name;
            let found =
                check::check_store(name, &*store, node, self.script.format, genesis, tail, blocks)?;
            let same =
                first.get_or_insert((found.content, found.blocks, found.proofs, found.bytes));
            if *same != (found.content, found.blocks, found.proofs, found.bytes)
                || found.proofs != content.proofs
            {
                return Err(Sentence(format!("{name} does not hold what the others hold")).into());
            }
            stores.push(StoreSummary {
                name: name.into(),
                role: follower.role.as_str(),
                medium: follower.medium,
                position: found.position.to_string(),
                content_digest: found.content.to_string(),
            });
        }
        Ok(Summary {
            verdict: "verified",
            log: self.script.address.clone(),
            lineage: self.log.identity().lineage.to_string(),
            tail_index: tail.index,
            tail_digest: tail.digest.to_string(),
            entries: content.entries,
            blocks: content.blocks,
            proofs: content.proofs,
            bytes: first.map_or(0, |(_, _, _, bytes)| bytes),
            stores,
            commit_to_logged_ms: logged.into(),
            commit_to_receipt_ms: receipted.into(),
            killed,
            events_per_second: content.entries as f64 / seconds,
            seconds,
            shortfalls: self.script.shortfalls.clone(),
        })
    }
}

/// Waits for a task that is there, and takes it away.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    let Some(running) = task else { return std::future::pending().await };
    let done = running.await;
    *task = None;
    done
}

/// Measures from each commit to the answer of the log, and to the backup's receipt.
async fn measure(
    producer: Arc<Producer>,
    mut tickets: mpsc::Receiver<(u64, Instant)>,
) -> Result<(Latencies, Latencies), Failure> {
    let policy: Policy = "any 1 of backup-* at durable".parse()?;
    let (mut logged, mut receipted) = (new_latencies()?, new_latencies()?);
    let (sender, mut logged_tickets) = mpsc::channel(WAITING_TICKETS);
    let to_log = async {
        // Dropped with this block, which ends the other one.
        let sender = sender;
        // In order: when an event is logged, those before it are.
        while let Some((sequence, at)) = tickets.recv().await {
            producer.committed(sequence).logged().await?;
            record(&mut logged, at);
            sender.send((sequence, at)).await?;
        }
        Ok::<_, Failure>(())
    };
    let to_receipt = async {
        while let Some((sequence, at)) = logged_tickets.recv().await {
            producer.committed(sequence).backed_up(&policy).await?;
            record(&mut receipted, at);
        }
        Ok(())
    };
    tokio::try_join!(to_log, to_receipt)?;
    Ok((logged, receipted))
}

fn new_latencies() -> Result<Latencies, hdrhistogram::CreationError> {
    Latencies::new_with_bounds(1, 600_000_000, 3)
}

fn record(latencies: &mut Latencies, since: Instant) {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    latencies.saturating_record(micros);
}

/// The node's own thread.
struct Commits {
    node: Node,
    rng: StdRng,
    /// Proofs to come, the earliest first.
    proofs: BinaryHeap<std::cmp::Reverse<(Instant, u64, Hash)>>,
    producer: Arc<Producer>,
    tickets: mpsc::Sender<(u64, Instant)>,
    halt: CancellationToken,
    /// Outbox sequence of the last event.
    last: u64,
}

impl Commits {
    fn commit_all(&mut self, blocks: &[Block], committed: &AtomicU64) -> Result<(), NodeError> {
        let pause = DURATION / u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        let mut due = Instant::now();
        for block in blocks {
            self.commit_proofs_until(due)?;
            if self.halt.is_cancelled() {
                return Ok(());
            }
            let sequence = self.node.commit_block(block)?;
            self.committed(sequence);
            committed.store(block.height, Ordering::Relaxed);
            let delay = Duration::from_millis(self.rng.random_range(PROOF_DELAY_MS));
            let proof = (Instant::now() + delay, block.height, block.hash.clone());
            self.proofs.push(std::cmp::Reverse(proof));
            due += pause;
        }
        while let Some(at) = self.next_proof() {
            self.commit_proofs_until(at)?;
            if self.halt.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// When the next proof is due.
    fn next_proof(&self) -> Option<Instant> {
        self.proofs.peek().map(|proof| proof.0.0)
    }

    /// Waits until then, and commits the proofs that are due meanwhile.
    fn commit_proofs_until(&mut self, until: Instant) -> Result<(), NodeError> {
        while self.next_proof().is_some_and(|at| at <= until) && !self.halt.is_cancelled() {
            let Some(std::cmp::Reverse((at, height, hash))) = self.proofs.pop() else {
                break;
            };
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            // Some are empty: an empty proof is a proof.
            let length = self.rng.random_range(0..2000_usize).saturating_sub(200);
            let mut payload = vec![0; length];
            self.rng.fill(&mut payload[..]);
            let sequence = self.node.commit_proof(height, hash, Bytes::from(payload))?;
            self.committed(sequence);
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        Ok(())
    }

    fn committed(&mut self, sequence: u64) {
        self.last = sequence;
        // The ticket is not awaited.
        _ = self.producer.committed(sequence);
        // If it is full, this one is not measured.
        let _measured = self.tickets.try_send((sequence, Instant::now())).is_ok();
    }
}
