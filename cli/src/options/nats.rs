//! How to get in to NATS servers.

use std::path::PathBuf;
use std::str::FromStr;

use tipline_log::jetstream::{self, JetStreamOptions, Login};

use crate::address::{NatsAddress, has_login};
use crate::output::report::{Failure, Sentence};
use crate::settings::Parsed;

/// Options for logs on NATS.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options for logs on NATS")]
pub(crate) struct NatsArgs {
    /// User name; or in the address: nats://USER:PASSWORD@HOST/NAME
    #[arg(long, global = true, env = "TIPLINE_NATS_USER", value_name = "NAME")]
    #[arg(hide_short_help = true)]
    nats_user: Option<String>,

    /// Password of the user. By the environment or the settings file only: other users of the
    /// machine see flags
    #[arg(long, global = true, env = "TIPLINE_NATS_PASSWORD", value_name = "PASSWORD")]
    #[arg(hide_short_help = true, hide_default_value = true)]
    #[arg(value_parser = Parsed::<Secret>::new())]
    nats_password: Option<Secret>,

    /// File with the password of the user, read again for every connection
    #[arg(long, global = true, env = "TIPLINE_NATS_PASSWORD_FILE", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_password_file: Option<PathBuf>,

    /// Token to log in with. By the environment or the settings file only
    #[arg(long, global = true, env = "TIPLINE_NATS_TOKEN", value_name = "TOKEN")]
    #[arg(hide_short_help = true, hide_default_value = true)]
    #[arg(value_parser = Parsed::<Secret>::new())]
    nats_token: Option<Secret>,

    /// File with the token, read again for every connection
    #[arg(long, global = true, env = "TIPLINE_NATS_TOKEN_FILE", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_token_file: Option<PathBuf>,

    /// Credentials file (.creds), read again for every connection
    #[arg(long, global = true, env = "TIPLINE_NATS_CREDS", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_creds: Option<PathBuf>,

    /// File with the seed of an nkey, read again for every connection
    #[arg(long, global = true, env = "TIPLINE_NATS_NKEY", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_nkey: Option<PathBuf>,

    /// Certificates to trust instead of the system's (PEM), read again for every connection
    #[arg(long, global = true, env = "TIPLINE_NATS_CA", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_ca: Option<PathBuf>,

    /// Certificate of this client (PEM), with --nats-key
    #[arg(long, global = true, env = "TIPLINE_NATS_CERT", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_cert: Option<PathBuf>,

    /// Key of this client's certificate (PEM)
    #[arg(long, global = true, env = "TIPLINE_NATS_KEY", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_key: Option<PathBuf>,

    /// JetStream domain of the log, to reach it through a leaf node
    #[arg(long, global = true, env = "TIPLINE_NATS_DOMAIN", value_name = "NAME")]
    #[arg(hide_short_help = true, value_parser = Parsed::<SubjectPart>::new())]
    nats_domain: Option<SubjectPart>,

    /// What the subjects of replies begin with, where the server lets each user hear its own only:
    /// _INBOX.primary. `tipline init --print-nats-config` prints it for each user
    #[arg(long, global = true, env = "TIPLINE_NATS_INBOX", value_name = "PREFIX")]
    #[arg(hide_short_help = true, value_parser = Parsed::<SubjectPart>::new())]
    nats_inbox: Option<SubjectPart>,

    /// Monitoring addresses of the servers, separated by commas: http://a:8222,http://b:8222. They
    /// show whether the servers fsync before they acknowledge
    #[arg(long, global = true, env = "TIPLINE_NATS_MONITOR", value_name = "URLS")]
    #[arg(hide_short_help = true)]
    nats_monitor: Option<String>,
}

/// A part of a subject, without what would make it a pattern. An empty variable is none.
#[derive(Debug, Clone)]
struct SubjectPart(String);

/// It does not repeat what was given: an address with a password is typed there by mistake.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be part of a subject: use letters, digits, - and _, with dots between")]
struct NotInSubject;

impl SubjectPart {
    fn text(&self) -> Option<String> {
        Some(self.0.clone()).filter(|text| !text.is_empty())
    }
}

impl FromStr for SubjectPart {
    type Err = NotInSubject;

    fn from_str(given: &str) -> Result<Self, NotInSubject> {
        let is_word = |word: &str| {
            let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$');
            !word.is_empty() && word.chars().all(usable)
        };
        match given.is_empty() || given.split('.').all(is_word) {
            true => Ok(Self(given.to_owned())),
            false => Err(NotInSubject),
        }
    }
}

impl NatsArgs {
    /// The JetStream domain of the log.
    pub(crate) fn domain(&self) -> Option<String> {
        self.nats_domain.as_ref().and_then(SubjectPart::text)
    }

    /// What the log's client needs.
    ///
    /// # Errors
    /// Options contradict each other.
    pub(crate) fn options(
        &self,
        address: &NatsAddress,
        purpose: &str,
    ) -> Result<JetStreamOptions, Failure> {
        let mut options =
            JetStreamOptions::new(address.servers(), address.name().clone()).purpose(purpose);
        options.login = self.login(address)?;
        options.tls_ca = self.nats_ca.clone();
        options.tls_identity = match (&self.nats_cert, &self.nats_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err(contradiction("nats-cert and nats-key go together: give both")),
        };
        options.domain = self.domain();
        options.inbox = self.nats_inbox.as_ref().and_then(SubjectPart::text);
        let monitor = self.nats_monitor.as_deref().unwrap_or_default();
        if monitor.split(',').any(has_login) {
            let text = "a monitoring address of nats-monitor has a login in it, and the servers \
                        take none there: http://HOST:8222";
            return Err(contradiction(text));
        }
        options.monitor =
            monitor.split(',').filter(|url| !url.is_empty()).map(Into::into).collect();
        Ok(options)
    }

    fn login(&self, address: &NatsAddress) -> Result<Login, Failure> {
        let mut ways = Vec::new();
        if let Some(login) = address.login() {
            let password = jetstream::Secret::Text(login.password.clone());
            ways.push(Login::Password { user: login.user.clone(), password });
        }
        let password = secret("nats-password", &self.nats_password, &self.nats_password_file)?;
        match (&self.nats_user, password) {
            (Some(user), password) => {
                let password = password.unwrap_or(jetstream::Secret::Text(String::new()));
                ways.push(Login::Password { user: user.clone(), password });
            }
            (None, Some(_)) => return Err(contradiction("nats-password needs nats-user")),
            (None, None) => {}
        }
        let token = secret("nats-token", &self.nats_token, &self.nats_token_file)?;
        ways.extend(token.map(Login::Token));
        ways.extend(self.nats_creds.clone().map(Login::Credentials));
        ways.extend(self.nats_nkey.clone().map(Login::NkeySeed));
        if ways.len() > 1 {
            return Err(contradiction(
                "there is more than one way to log in to NATS: give a user in the log's address, \
                 or nats-user, or nats-token, or nats-creds, or nats-nkey",
            ));
        }
        Ok(ways.pop().unwrap_or_default())
    }
}

/// A secret, which is given as text or as a file.
fn secret(
    key: &str,
    text: &Option<Secret>,
    file: &Option<PathBuf>,
) -> Result<Option<jetstream::Secret>, Failure> {
    match (text, file) {
        (Some(_), Some(_)) => Err(contradiction(&format!("give {key} or {key}-file, not both"))),
        (Some(Secret(text)), None) => Ok(Some(jetstream::Secret::Text(text.clone()))),
        (None, Some(file)) => Ok(Some(jetstream::Secret::File(file.clone()))),
        (None, None) => Ok(None),
    }
}

fn contradiction(text: &str) -> Failure {
    Sentence(text.to_owned()).into()
}

/// Text that is never printed.
#[derive(Clone, Default)]
struct Secret(String);

impl FromStr for Secret {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
