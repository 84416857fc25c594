//! A broker that tampers: a proxy between a client and a NATS server that rewrites what the server
//! delivers, and numbers it anew, so that the client is shown a stream that looks whole.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A message as the server delivers it: `MSG` or `HMSG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Its subject.
    pub subject: String,
    /// Where an acknowledgement goes: of a consumer, `$JS.ACK.…`.
    pub reply: Option<String>,
    /// Headers as they are, with the empty line at their end; none of a message without.
    pub headers: Vec<u8>,
    /// What it carries.
    pub payload: Vec<u8>,
    sid: String,
}

/// What is made of a message of a stream: nothing, itself, or others.
pub type Tampering = dyn Fn(Delivered) -> Vec<Delivered> + Send + Sync;

/// Listens on the loopback and passes everything on to a server. What that delivers from a stream
/// through a consumer goes through the tampering first. Ends when dropped.
pub struct TamperingBroker {
    address: String,
    tampering: Arc<RwLock<Arc<Tampering>>>,
    task: JoinHandle<()>,
}

impl TamperingBroker {
    /// Starts an honest one to `HOST:PORT`.
    ///
    /// # Panics
    /// When there is no port to be had.
    pub async fn start(server: &str) -> TamperingBroker {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no port for a proxy: {error}"));
        let address = listener.local_addr().map(|address| address.to_string());
        let address = address.unwrap_or_else(|error| panic!("a proxy has no address: {error}"));
        let honest: Arc<Tampering> = Arc::new(|delivered| vec![delivered]);
        let tampering = Arc::new(RwLock::new(honest));
        let task = tokio::spawn(accept(listener, server.to_owned(), Arc::clone(&tampering)));
        TamperingBroker { address, tampering, task }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Does this to every message from now on.
    pub fn tamper(&self, how: impl Fn(Delivered) -> Vec<Delivered> + Send + Sync + 'static) {
        *self.tampering.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(how);
    }
}

impl Drop for TamperingBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: String, tampering: Arc<RwLock<Arc<Tampering>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (server, tampering) = (server.clone(), Arc::clone(&tampering));
        tokio::spawn(async move {
            // Whoever goes away, goes away.
            _ = pass(client, &server, &tampering).await;
        });
    }
}

async fn pass(
    client: TcpStream,
    server: &str,
    tampering: &RwLock<Arc<Tampering>>,
) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let towards_client = async {
        let (mut reader, mut numbers) = (BufReader::new(from_server), HashMap::new());
        while let Some(frame) = read_frame(&mut reader).await? {
            let made = match frame {
                Frame::Line(line) => line,
                Frame::Message(message) if is_of_stream(&message) => {
                    let how = Arc::clone(&tampering.read().unwrap_or_else(PoisonError::into_inner));
                    let made = how(message).into_iter();
                    made.flat_map(|one| numbered(one, &mut numbers).bytes()).collect()
                }
                Frame::Message(message) => message.bytes(),
            };
            to_client.write_all(&made).await?;
        }
        Ok(())
    };
    tokio::select! {
        passed = copy(&mut from_client, &mut to_server) => passed.map(drop),
        passed = towards_client => passed,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Frame {
    /// `INFO`, `PING`, `+OK` and the like, with the end of the line.
    Line(Vec<u8>),
    Message(Delivered),
}

/// The next frame of the server; `None` at the end.
async fn read_frame(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Frame>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let has_headers = match words.next() {
        Some("MSG") => false,
        Some("HMSG") => true,
        _ => return Ok(Some(Frame::Line(line))),
    };
    let words: Vec<&str> = words.collect();
    let lengths = if has_headers { 2 } else { 1 };
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, text.clone());
    let (names, numbers) =
        words.split_at_checked(words.len().saturating_sub(lengths)).ok_or_else(malformed)?;
    let numbers: Result<Vec<usize>, _> = numbers.iter().map(|number| number.parse()).collect();
    let numbers = numbers.map_err(|_| malformed())?;
    let (subject, sid, reply) = match names {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some((*reply).to_owned())),
        _ => return Err(malformed()),
    };
    let (before, total) = match numbers[..] {
        [total] => (0, total),
        [before, total] if before <= total => (before, total),
        _ => return Err(malformed()),
    };
    let mut headers = vec![0; total + 2];
    reader.read_exact(&mut headers).await?;
    headers.truncate(total);
    let payload = headers.split_off(before);
    let (subject, sid) = ((*subject).to_owned(), (*sid).to_owned());
    Ok(Some(Frame::Message(Delivered { subject, reply, headers, payload, sid })))
}

fn is_of_stream(message: &Delivered) -> bool {
    let is_delivered = message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK."));
    is_delivered && message.subject.contains(".event.")
}

/// As the next message that the client is given of its consumer.
fn numbered(mut message: Delivered, numbers: &mut HashMap<String, u64>) -> Delivered {
    let number = numbers.entry(message.sid.clone()).or_default();
    *number += 1;
    let mut words: Vec<String> =
        message.reply.iter().flat_map(|reply| reply.split('.')).map(str::to_owned).collect();
    // $JS.ACK.<stream>.<consumer>.<times>.<in stream>.<in consumer>.<time>.<pending>
    let at = words.len().saturating_sub(3);
    if let Some(word) = words.get_mut(at) {
        *word = number.to_string();
    }
    message.reply = Some(words.join("."));
    message
}

impl Delivered {
    /// As the server writes it.
    fn bytes(&self) -> Vec<u8> {
        let Self { subject, reply, headers, payload, sid } = self;
        let reply = reply.as_ref().map(|reply| format!(" {reply}")).unwrap_or_default();
        let total = headers.len() + payload.len();
        let line = match headers.len() {
            0 => format!("MSG {subject} {sid}{reply} {total}\r\n"),
            before => format!("HMSG {subject} {sid}{reply} {before} {total}\r\n"),
        };
        [line.as_bytes(), headers, payload, b"\r\n"].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Frame, numbered, read_frame};

    #[tokio::test]
    async fn frames_are_read_and_written_as_they_were() {
        let sent = b"INFO {}\r\nMSG a.event.b 1 3\r\nx\r\n\r\n\
                     HMSG tipline.main.event.marked 7 $JS.ACK.s.c.1.12.3.99.0 12 15\r\n\
                     NATS/1.0\r\n\r\nabc\r\nPING\r\n";
        let mut reader = &sent[..];
        let (mut again, mut messages) = (Vec::new(), Vec::new());
        while let Some(frame) = read_frame(&mut reader).await.unwrap() {
            match frame {
                Frame::Line(line) => again.extend(line),
                Frame::Message(message) => {
                    again.extend(message.bytes());
                    messages.push(message);
                }
            }
        }
        assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(sent.to_vec()).unwrap());
        assert_eq!(
            (&messages[0].payload[..], &messages[1].payload[..]),
            (&b"x\r\n"[..], &b"abc"[..])
        );
        let mut numbers = HashMap::new();
        for number in 1..3 {
            let message = numbered(messages[1].clone(), &mut numbers);
            assert_eq!(message.reply.unwrap(), format!("$JS.ACK.s.c.1.12.{number}.99.0"));
        }
    }
}
