//! Where a JetStream log is, and how to get in.

use std::fmt;
use std::path::PathBuf;

use tipline_proto::LogName;

/// Where a JetStream log is, and how to get in. Plain data; nothing is opened by making it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JetStreamOptions {
    /// Addresses of the servers, with commas between: `nats://a:4222,nats://b:4222`, or
    /// `tls://…`, which insists on TLS. One that answers is enough; it names the others.
    pub url: String,
    /// Name of the log.
    pub log: LogName,
    /// What the connection is for, as operators see it on the server: `tipline <purpose>`.
    pub purpose: String,
    /// How to log in. Files are read again for every connection.
    pub login: Login,
    /// A file of certificates (PEM) to trust instead of the system's. Read again for every
    /// connection.
    pub tls_ca: Option<PathBuf>,
    /// The client's own certificate and its key (PEM), where the server asks for them. Read again
    /// for every connection.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// The JetStream domain of the log, if it is not that of the server that is connected to: a leaf
    /// node.
    pub domain: Option<String>,
    /// What the subjects of replies begin with; `_INBOX` if nothing else is said. A user that may
    /// listen to its own replies only needs its own prefix.
    pub inbox: Option<String>,
    /// Monitoring addresses of the servers, `http://a:8222`, one each. The preflight reads
    /// from them what servers say nowhere else: whether they fsync before they acknowledge.
    pub monitor: Vec<String>,
}

impl JetStreamOptions {
    /// The log of this name on the servers at `url`, without login, TLS as the server asks.
    pub fn new(url: impl Into<String>, log: LogName) -> Self {
        Self {
            url: url.into(),
            log,
            purpose: "client".into(),
            login: Login::default(),
            tls_ca: None,
            tls_identity: None,
            domain: None,
            inbox: None,
            monitor: Vec::new(),
        }
    }

    /// The same log, for another purpose: `primary`, `replica eu-1`.
    pub fn purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = purpose.into();
        self
    }
}

/// How to log in to the servers.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// Not at all.
    #[default]
    None,
    /// By a credentials file (`.creds`): a JWT and the seed of its key.
    Credentials(PathBuf),
    /// By the seed of an nkey, in a file.
    NkeySeed(PathBuf),
    /// By name and password.
    Password {
        /// Name of the user.
        user: String,
        /// The user's password.
        password: Secret,
    },
    /// By a token.
    Token(Secret),
}

/// A password or a token. It is never printed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secret {
    /// The text itself.
    Text(String),
    /// The first line of a file, which is read for every connection.
    File(PathBuf),
}

impl fmt::Debug for Secret {
    /// Without the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("***"),
            Secret::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

impl fmt::Debug for Login {
    /// Without passwords and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Login::None => f.write_str("None"),
            Login::Credentials(file) => f.debug_tuple("Credentials").field(file).finish(),
            Login::NkeySeed(file) => f.debug_tuple("NkeySeed").field(file).finish(),
            Login::Password { user, password } => {
                let mut text = f.debug_struct("Password");
                text.field("user", user).field("password", password).finish()
            }
            Login::Token(token) => f.debug_tuple("Token").field(token).finish(),
        }
    }
}
