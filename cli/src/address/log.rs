//! `embedded:PATH` or `nats://HOST:PORT/NAME`

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tipline_proto::LogName;

use super::kind::{did_you_mean, split};

const KINDS: &[&str] = &["embedded", "nats", "tls"];

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogAddress {
    /// One file on this machine.
    Embedded(PathBuf),
    /// NATS JetStream.
    Nats(NatsAddress),
}

/// A log on NATS servers: `nats://user:password@host:port,host:port/name`. What it prints is
/// without user and password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NatsAddress {
    tls: bool,
    login: Option<UserPassword>,
    hosts: Vec<String>,
    name: LogName,
}

/// As in an address: what is not a letter or a digit may be written as `%40`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UserPassword {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// Text that names no log. It never repeats what may be a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLog {
    #[error("unknown log {given:?}: use embedded:PATH or nats://HOST:PORT/NAME{hint}")]
    Unknown { given: String, hint: String },
    #[error(
        "the log {given:?} has no path: use embedded:PATH, for example embedded:tipline.log.db"
    )]
    NoPath { given: String },
    #[error("the address {given} names no log: put its name after the host, as in {given}/mainnet")]
    NoName { given: String },
    #[error("the address {given} has no host: use nats://HOST:PORT/NAME")]
    NoHost { given: String },
    #[error(
        "the address {given} has a port that is no number: use nats://HOST:PORT/NAME, and an @ after a \
         user and a password"
    )]
    Port { given: String },
    #[error("the address {given} cannot be used: {why}")]
    Name { given: String, why: String },
}

impl FromStr for LogAddress {
    type Err = BadLog;

    fn from_str(given: &str) -> Result<Self, BadLog> {
        match split(given) {
            Some(("embedded", "")) => Err(BadLog::NoPath { given: given.to_owned() }),
            Some(("embedded", path)) => Ok(Self::Embedded(path.into())),
            Some(("nats", rest)) => NatsAddress::parse(rest, false).map(Self::Nats),
            Some(("tls", rest)) => NatsAddress::parse(rest, true).map(Self::Nats),
            // Anything else before the first colon may be a login.
            Some((kind, rest)) if kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let rest = without_login(rest);
                let hint = did_you_mean(kind, &rest, KINDS);
                Err(BadLog::Unknown { given: format!("{kind}:{rest}"), hint })
            }
            _ => {
                let given = without_login(given);
                let hint = format!("; for a file: embedded:{given}");
                Err(BadLog::Unknown { given, hint })
            }
        }
    }
}

impl fmt::Display for LogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Nats(nats) => nats.fmt(f),
        }
    }
}

impl NatsAddress {
    fn parse(rest: &str, tls: bool) -> Result<Self, BadLog> {
        let scheme = if tls { "tls" } else { "nats" };
        let authority = rest.strip_prefix("//").unwrap_or(rest);
        let given = format!("{scheme}://{}", without_login(authority));
        // A password may contain anything but an @ in a host part: the last one ends it.
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(UserPassword::parse(login)), place),
            None => (None, authority),
        };
        let (hosts, name) = place.split_once('/').unwrap_or((place, ""));
        let hosts: Vec<String> =
            hosts.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect();
        if hosts.is_empty() {
            return Err(BadLog::NoHost { given });
        }
        if hosts.iter().any(|host| may_be_login(host)) {
            return Err(BadLog::Port { given });
        }
        if name.is_empty() {
            let given = given.trim_end_matches('/').to_owned();
            return Err(BadLog::NoName { given });
        }
        let wrong = |error: tipline_proto::InvalidName| match may_be_login(name) {
            true => BadLog::Name { given, why: "its name has a colon".to_owned() },
            false => BadLog::Name { given, why: error.to_string() },
        };
        let name = name.parse().map_err(wrong)?;
        Ok(Self { tls, login, hosts, name })
    }

    /// The log's name.
    pub(crate) fn name(&self) -> &LogName {
        &self.name
    }

    /// The servers' addresses, without user and password.
    pub(crate) fn servers(&self) -> String {
        let scheme = self.scheme();
        let servers: Vec<String> =
            self.hosts.iter().map(|host| format!("{scheme}://{host}")).collect();
        servers.join(",")
    }

    /// User and password, for the client. They are never shown.
    pub(crate) fn login(&self) -> Option<&UserPassword> {
        self.login.as_ref()
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "tls" } else { "nats" }
    }
}

impl fmt::Display for NatsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme(), self.hosts.join(","), self.name)
    }
}

impl fmt::Debug for NatsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl UserPassword {
    fn parse(login: &str) -> Self {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Self { user: percent_decoded(user), password: percent_decoded(password) }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.filter(|_| *first == b'%').and_then(|h| u8::from_str_radix(h, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What may be shown of an address: nothing before its last `@`, and nothing at all if there may be a
/// login in it of which the `@` was forgotten.
fn without_login(rest: &str) -> String {
    let start = rest.trim_start_matches('/');
    let slashes = &rest[..rest.len() - start.len()];
    match rest.rsplit_once('@') {
        Some((_, place)) => format!("{slashes}{place}"),
        None if start.split(['/', ',']).any(may_be_login) => format!("{slashes}…"),
        None => rest.to_owned(),
    }
}

/// Whether what is after the first colon is no port.
fn may_be_login(host: &str) -> bool {
    let port = host.split_once(':').filter(|_| !host.starts_with('[')).map(|(_, port)| port);
    port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::LogAddress;

    fn nats(given: &str) -> super::NatsAddress {
        match given.parse() {
            Ok(LogAddress::Nats(nats)) => nats,
            other => panic!("{other:?}"),
        }
    }

    fn refused(given: &str) -> String {
        given.parse::<LogAddress>().unwrap_err().to_string()
    }

    #[test]
    fn an_embedded_log_is_a_path() {
        let log: LogAddress = "embedded:./tipline.log.db".parse().unwrap();
        assert_eq!(log, LogAddress::Embedded("./tipline.log.db".into()));
        assert_eq!(log.to_string(), "embedded:./tipline.log.db");
    }

    #[test]
    fn a_log_on_nats_has_servers_and_a_name() {
        let log = nats("nats://127.0.0.1:4222/mainnet");
        assert_eq!(log.servers(), "nats://127.0.0.1:4222");
        assert!(log.login().is_none());
        assert_eq!(log.name().as_str(), "mainnet");
        let log = nats("nats://a:1,b:2,[::1]:3/main-net");
        assert_eq!(log.servers(), "nats://a:1,nats://b:2,nats://[::1]:3");
    }

    #[test]
    fn a_password_reaches_the_client_and_nobody_else() {
        let log = nats("tls://node:s3cr@t%2F%@a:1,b:2/mainnet");
        assert_eq!(log.servers(), "tls://a:1,tls://b:2");
        let login = log.login().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("node", "s3cr@t/%"));
        assert_eq!(log.to_string(), "tls://a:1,b:2/mainnet");
        assert_eq!(format!("{log:?}"), "tls://a:1,b:2/mainnet");
        let wrong = [
            "nats://node:s3cr@t@a:1",
            "nats://node:s3cr@t@a/B",
            "nast://node:s3cr@t@a/b",
            // Without a scheme, and without a host.
            "s3cr@t@a:1/b",
            ":s3cr@t@a/b",
            "//node:s3cr@t@a/b",
            "nats://node:s3cret",
            "nats://node:s3cret127.0.0.1:4222",
            "nats://node:s3cret127.0.0.1:4222/main",
            "nats://h/node:s3cret",
        ];
        for given in wrong {
            let told = refused(given);
            assert!(!told.contains("s3cr") && !told.contains("node"), "{told}");
        }
    }

    #[test]
    fn what_is_no_log_is_told_what_would_be_one() {
        let usage = "use embedded:PATH or nats://HOST:PORT/NAME";
        assert_eq!(
            refused("embeded:log.db"),
            format!("unknown log \"embeded:log.db\": {usage}; did you mean embedded:log.db?")
        );
        assert_eq!(
            refused("log.db"),
            format!("unknown log \"log.db\": {usage}; for a file: embedded:log.db")
        );
        assert_eq!(
            refused("nats://127.0.0.1:4222"),
            "the address nats://127.0.0.1:4222 names no log: put its name after the host, \
             as in nats://127.0.0.1:4222/mainnet"
        );
        assert_eq!(
            refused("nats:///x"),
            "the address nats:///x has no host: use nats://HOST:PORT/NAME"
        );
        assert_eq!(
            refused("nats://h/Main"),
            "the address nats://h/Main cannot be used: log name \"Main\" is not usable: \
             use 1 to 32 of the characters a-z, 0-9 and -"
        );
    }
}
