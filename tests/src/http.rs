//! A GET or a POST of one page, for endpoints on the loopback.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any page that a test reads; a longer one is an error.
const MAX_BYTES: u64 = 16 << 20;

/// What a server answered.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// The status, such as 200 or 503.
    pub status: u16,
    /// What the body is, by its header.
    pub kind: String,
    /// The body, as text.
    pub body: String,
}

/// Gets `url`, which is `http://HOST:PORT/PATH`.
///
/// It has no time limit of its own: call it inside [`eventually`](crate::eventually).
///
/// # Errors
/// When nothing listens there, or the answer is not HTTP.
pub async fn http_get(url: &str) -> io::Result<HttpReply> {
    ask("GET", url, "").await
}

/// Posts a body to `url`, like [`http_get`].
///
/// # Errors
/// Those of [`http_get`].
pub async fn http_post(url: &str, body: &str) -> io::Result<HttpReply> {
    ask("POST", url, body).await
}

async fn ask(method: &str, url: &str, body: &str) -> io::Result<HttpReply> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {why}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| invalid("does not begin with http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));

    let mut stream = TcpStream::connect(host).await?;
    // HTTP/1.0, so that the body is neither in chunks nor kept open.
    let length = body.len();
    let request = format!(
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    // Whoever refuses a body need not read it.
    _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.take(MAX_BYTES + 1).read_to_end(&mut answer).await?;
    if read as u64 > MAX_BYTES {
        return Err(invalid("the answer is larger than 16 MiB"));
    }
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| invalid("the answer is not HTTP"))
}

fn parse(answer: &str) -> Option<HttpReply> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let kind = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
    });
    Some(HttpReply { status, kind: kind.unwrap_or_default(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn status_and_body_are_told_apart() {
        let reply =
            parse("HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\nnot\r\n\r\nyet").unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (503, "not\r\n\r\nyet"));
        assert!(parse("SSH-2.0-OpenSSH\r\n\r\n").is_none());
    }
}
