//! The whole producer under seeded schedules: its tickets, its board, its outbox, a log that fails.
//!
//! The simulation of the core tries which commands are given; here they are carried out, and what a
//! node is told is compared with what the log holds at that moment. `TIPLINE_SEED` repeats one schedule.

use std::time::Duration;

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tipline_log::memory::{AppendFault, MemoryLog};
use tipline_log::{Appender, Reader, Receipts};
use tipline_proto::{Event, Policy, Position};

use super::{block, log, outbox, receipt, settings, start};
use crate::{EndReason, Keep, MemoryOutbox, Producer, Ticket, Trim};

/// Rows stay for so long where the log loses them.
const LONG: Duration = Duration::from_secs(1_000_000);
/// By the clock of the machine: tokio's does not wait for the outbox's thread.
const WITHIN: Duration = Duration::from_secs(60);
const STEPS: usize = 120;
const FAULTS: [AppendFault; 4] = [
    AppendFault::StoredInDoubt,
    AppendFault::LostInDoubt,
    AppendFault::LateInDoubt,
    AppendFault::Delayed(Duration::from_secs(2)),
];

struct World {
    rng: StdRng,
    log: MemoryLog,
    outbox: MemoryOutbox,
    producer: Producer,
    policy: Policy,
    /// One for each block, with its height, which is the number of its row.
    tickets: Vec<(u64, Ticket)>,
    /// What the backup has said, the newest last.
    said: Vec<Position>,
    loses: bool,
    /// What `losses` said when the log lost something that the primary has not noticed yet.
    unnoticed: Option<u64>,
    losses: u64,
    logged: usize,
    backed_up: usize,
}

impl World {
    fn new(seed: u64, loses: bool) -> Self {
        let (log, outbox) = (log(), outbox(1));
        let policy: Policy = "any 1 of backup at durable".parse().unwrap();
        let producer = start(&log, &outbox, World::settings(&policy, loses));
        Self {
            rng: StdRng::seed_from_u64(seed),
            log,
            outbox,
            producer,
            policy,
            tickets: vec![],
            said: vec![],
            loses,
            unnoticed: None,
            losses: 0,
            logged: 0,
            backed_up: 0,
        }
    }

    /// Rows leave as early as they may, but where the log loses them.
    fn settings(policy: &Policy, loses: bool) -> crate::ProducerSettings {
        let mut settings = settings();
        settings.trim = Trim::BackedUp(policy.clone());
        let (rows, time) = if loses { (u64::MAX, LONG) } else { (2, Duration::ZERO) };
        settings.keep = Some(Keep { rows, time, bytes: u64::MAX });
        settings
    }

    fn commit(&mut self) {
        let height = self.tickets.len() as u64 + 1;
        let sequence = self.outbox.enqueue(&block(height)).unwrap();
        self.tickets.push((height, self.producer.committed(sequence)));
    }

    /// The primary is killed, and started again.
    fn restart(&mut self) {
        self.producer = start(&self.log, &self.outbox, World::settings(&self.policy, self.loses));
        for (height, ticket) in &mut self.tickets {
            *ticket = self.producer.committed(*height);
        }
        self.unnoticed = None;
    }

    /// The backup has read to somewhere, and says so. What it has of a history that was lost it
    /// replaces.
    async fn receive(&mut self) {
        let last = self.log.extent().await.unwrap().last;
        let newest = self.said.last().map_or(0, |said| said.index);
        let from = if newest <= last { newest } else { 0 };
        if last > from {
            let index = self.rng.random_range(from + 1..=last);
            let position = self.log.entry(index).await.unwrap().position();
            self.log.put_receipt(&receipt(&self.log, "backup", position)).await.unwrap();
            self.said.push(position);
        }
    }

    /// The log loses some of the newest entries, but never all.
    async fn lose(&mut self) {
        let last = self.log.extent().await.unwrap().last;
        if last > 2 {
            let keep = last - self.rng.random_range(1..=last.min(6) - 1);
            self.unnoticed = Some(self.producer.progress().borrow().losses);
            self.log.truncate(keep);
        }
    }

    /// One random thing happens. The log is available while it is looked at.
    async fn happen(&mut self, is_there: &mut bool) {
        self.log.set_available(true);
        match self.rng.random_range(0..100) {
            0..30 => (0..self.rng.random_range(1..4)).for_each(|_| self.commit()),
            30..50 => {
                let fault = FAULTS[self.rng.random_range(0..FAULTS.len())];
                self.log.fail_append(fault);
            }
            50..65 => self.receive().await,
            65..75 => *is_there = !*is_there,
            75..80 => self.restart(),
            80..88 if self.loses => self.lose().await,
            _ => {}
        }
        self.log.set_available(*is_there);
        // A shorter tail is believed after 15 s.
        let pause = [1, 1, 1, 3_000, 20_000][self.rng.random_range(0..5)];
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Heights of the blocks up to an entry, as the log has them now.
    async fn heights(&self, index: u64) -> Vec<u64> {
        let mut found = vec![];
        for index in 1..=index {
            if let Event::BlockCommitted { height, .. } = self.log.entry(index).await.unwrap().event
            {
                found.push(height);
            }
        }
        found
    }

    /// What a caller is told now is so.
    async fn check(&mut self, is_there: bool) {
        // Between a loss and its discovery nobody can know better.
        let losses = self.producer.progress().borrow().losses;
        if self.unnoticed.is_some_and(|before| losses == before) {
            return;
        }
        self.losses += u64::from(self.unnoticed.take().is_some());
        let told: Vec<_> = self
            .tickets
            .iter()
            .map(|(height, ticket)| {
                let backed_up = ticket.backed_up(&self.policy).now_or_never();
                (*height, ticket.logged().now_or_never(), backed_up)
            })
            .collect();
        self.log.set_available(true);
        let extent = self.log.extent().await.unwrap();
        let all = self.heights(extent.last).await;
        assert!(all.iter().enumerate().all(|(at, height)| *height == at as u64 + 1), "{all:?}");
        let mut counts = 0;
        for said in self.said.iter().filter(|said| said.index <= extent.last) {
            if self.log.entry(said.index).await.unwrap().position() == *said {
                counts = counts.max(said.index);
            }
        }
        let counts = self.heights(counts).await;
        for (height, logged, backed_up) in told {
            if let Some(logged) = logged {
                let index = logged.unwrap_or_else(|ended| panic!("{ended}"));
                assert!(index <= extent.last, "block {height} at {index} of {}", extent.last);
                assert!(self.heights(index).await.contains(&height), "block {height}, {index}");
                self.logged += 1;
            }
            if let Some(backed_up) = backed_up {
                backed_up.unwrap_or_else(|ended| panic!("{ended}"));
                assert!(counts.contains(&height), "block {height} is in no receipt: {counts:?}");
                self.backed_up += 1;
            }
        }
        self.log.set_available(is_there);
    }

    /// The faults are over: every block gets into the log, and into the backup.
    async fn settle(&mut self) {
        self.log.set_available(true);
        self.commit();
        let last = self.tickets.len() as u64;
        let ticket = self.tickets[self.tickets.len() - 1].1.clone();
        let index = soon(|| ticket.logged()).await.unwrap_or_else(|ended| panic!("{ended}"));
        assert_eq!(self.heights(index).await, Vec::from_iter(1..=last));
        let position = self.log.tail().await.unwrap().position;
        self.log.put_receipt(&receipt(&self.log, "backup", position)).await.unwrap();
        for (height, ticket) in &self.tickets {
            let backed_up = soon(|| ticket.backed_up(&self.policy)).await;
            backed_up.unwrap_or_else(|ended| panic!("block {height}: {ended}"));
        }
    }
}

/// What a caller is told in the end.
async fn soon<T, F: Future<Output = T>>(ask: impl Fn() -> F) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(told) = ask().now_or_never() {
            return told;
        }
        assert!(began.elapsed() < WITHIN, "nothing is said");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn run(seed: u64, loses: bool) -> World {
    println!("seed {seed}");
    let mut world = World::new(seed, loses);
    let mut is_there = true;
    for _ in 0..STEPS {
        world.happen(&mut is_there).await;
        world.check(is_there).await;
        assert!(!matches!(world.producer.ended().now_or_never(), Some(EndReason::Panicked)));
    }
    world.settle().await;
    world
}

fn seeds() -> impl Iterator<Item = u64> {
    let one = std::env::var("TIPLINE_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let first = one.unwrap_or_else(|| rand::rng().random_range(0..u64::MAX / 2));
    println!("seeds from {first}; repeat one with TIPLINE_SEED=<seed>");
    first..first + if one.is_some() { 1 } else { 40 }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_answered_when_the_log_has_its_event_and_the_policy_is_met() {
    let (mut logged, mut backed_up) = (0, 0);
    for seed in seeds() {
        let world = run(seed, false).await;
        logged += world.logged;
        backed_up += world.backed_up;
    }
    println!("{logged} answers of the log, {backed_up} of backups");
    let one = std::env::var_os("TIPLINE_SEED").is_some();
    assert!(one || (logged > 0 && backed_up > 0), "they were given under way, too");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_knows_what_the_log_has_lost() {
    let (mut losses, mut backed_up) = (0, 0);
    for seed in seeds() {
        let world = run(seed, true).await;
        losses += world.losses;
        backed_up += world.backed_up;
    }
    println!("{losses} losses were noticed; {backed_up} answers of backups");
    let one = std::env::var_os("TIPLINE_SEED").is_some();
    assert!(one || (losses > 0 && backed_up > 0), "there were some, and answers between them");
}
