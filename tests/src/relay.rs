//! A way to a server that can be held up, slowed down and cut.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a relay treats what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Everything passes.
    Open,
    /// Connections stay, new ones are taken, and nothing passes: a cable that was pulled.
    Held,
    /// So many bytes a second pass towards the client.
    Slow(u32),
    /// Connections are closed, new ones too, at once.
    Cut,
}

/// Listens on the loopback and passes everything on to a server, as long as it is told to. Ends
/// when dropped.
#[derive(Debug)]
pub struct Relay {
    address: String,
    way: Arc<watch::Sender<Way>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts one to `HOST:PORT`.
    ///
    /// # Panics
    /// When there is no port to be had.
    pub async fn start(server: &str) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no port for a relay: {error}"));
        let address = listener.local_addr().map(|address| address.to_string());
        let address = address.unwrap_or_else(|error| panic!("a relay has no address: {error}"));
        let way = Arc::new(watch::channel(Way::Open).0);
        let task = tokio::spawn(relay(listener, server.to_owned(), Arc::clone(&way)));
        Relay { address, way, task }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Treats everything in this way from now on.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.set(Way::Cut);
    }
}

async fn relay(listener: TcpListener, server: String, way: Arc<watch::Sender<Way>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, ways) = (server.clone(), way.subscribe());
        tokio::spawn(async move {
            // Whoever goes away, or is cut off, sees its connection closed.
            _ = pass(client, &server, ways).await;
        });
    }
}

async fn pass(client: TcpStream, server: &str, ways: watch::Receiver<Way>) -> io::Result<()> {
    wait_until_open(&mut ways.clone()).await?;
    let server = TcpStream::connect(server).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = ways.clone();
    tokio::select! {
        passed = pump(from_client, to_server, ways.clone(), false) => passed,
        passed = pump(from_server, to_client, ways, true) => passed,
        // An error means that the relay is gone.
        _ = cut.wait_for(|way| *way == Way::Cut) => Ok(()),
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut ways: watch::Receiver<Way>,
    is_slowed: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        wait_until_open(&mut ways).await?;
        let way = *ways.borrow();
        if let (Way::Slow(rate), true) = (way, is_slowed) {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / f64::from(rate))).await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// # Errors
/// It was cut.
async fn wait_until_open(ways: &mut watch::Receiver<Way>) -> io::Result<()> {
    let way = ways.wait_for(|way| *way != Way::Held).await.map(|way| *way);
    match way {
        Ok(Way::Cut) | Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::{Relay, Way};

    #[tokio::test]
    async fn what_is_held_comes_later_and_what_is_cut_is_closed() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start(&server.local_addr().unwrap().to_string()).await;
        let mut client = TcpStream::connect(relay.address()).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        let mut buffer = [0; 4];
        client.write_all(b"one!").await.unwrap();
        served.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"one!");

        relay.set(Way::Held);
        client.write_all(b"two!").await.unwrap();
        let held = timeout(Duration::from_millis(200), served.read_exact(&mut buffer)).await;
        assert!(held.is_err(), "it came through: {buffer:?}");
        relay.set(Way::Open);
        served.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"two!");

        relay.set(Way::Cut);
        assert_eq!(client.read(&mut buffer).await.unwrap_or(0), 0);
    }
}
