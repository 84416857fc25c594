//! HAProxy's agent check: a port that says in a line how much traffic to send, and closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::limits::Allowance;
use super::process::Health;
use super::readiness::Readiness;

/// A balancer that does not take a line within this is gone.
const SEND: Duration = Duration::from_secs(2);
/// Balancers at once.
const CLIENTS: usize = 64;

/// What the agent check says: `ready up 67%` with a weight by lag, or `drain`.
///
/// `ready` takes back the `drain` of before, and also one of an operator: switch the agent off
/// before you take a server out by hand.
pub fn agent_answer(readiness: &Readiness) -> String {
    match readiness.ready {
        true => format!("ready up {}%\n", readiness.weight),
        false => "drain\n".to_owned(),
    }
}

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, health: Health) {
    let clients = Arc::new(Semaphore::new(CLIENTS));
    while let Ok(turn) = Arc::clone(&clients).acquire_owned().await {
        match listener.accept().await {
            Ok((client, _)) => {
                let answer = agent_answer(&health.readiness(&Allowance::default(), Instant::now()));
                tokio::spawn(async move {
                    send(client, &answer).await;
                    drop(turn);
                });
            }
            // Out of descriptors, for a moment.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn send(mut client: TcpStream, answer: &str) {
    let sent = async {
        client.write_all(answer.as_bytes()).await?;
        client.shutdown().await
    };
    // Whoever went away asks again.
    if let Ok(Err(error)) = timeout(SEND, sent).await {
        tracing::debug!(%error, "an agent check went away");
    }
}
