//! How to get in to NATS servers.

use std::path::PathBuf;

use tipline_log::jetstream::{JetStreamOptions, Login};

use crate::address::NatsAddress;
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

    /// Password of the user. Give it by the environment or the file: other users of the
    /// machine see flags
    #[arg(long, global = true, env = "TIPLINE_NATS_PASSWORD", value_name = "PASSWORD")]
    #[arg(hide_short_help = true, hide_default_value = true)]
    #[arg(value_parser = Parsed::<Secret>::new())]
    nats_password: Option<Secret>,

    /// Credentials file (.creds)
    #[arg(long, global = true, env = "TIPLINE_NATS_CREDS", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_creds: Option<PathBuf>,

    /// File with the seed of an nkey
    #[arg(long, global = true, env = "TIPLINE_NATS_NKEY", value_name = "FILE")]
    #[arg(hide_short_help = true)]
    nats_nkey: Option<PathBuf>,

    /// Certificates to trust besides the system's (PEM)
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

    /// Monitoring addresses of the servers, separated by commas: http://a:8222,http://b:8222. They
    /// show whether the servers fsync before they acknowledge
    #[arg(long, global = true, env = "TIPLINE_NATS_MONITOR", value_name = "URLS")]
    #[arg(hide_short_help = true)]
    nats_monitor: Option<String>,
}

impl NatsArgs {
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
        let monitor = self.nats_monitor.as_deref().unwrap_or_default();
        options.monitor =
            monitor.split(',').filter(|url| !url.is_empty()).map(Into::into).collect();
        Ok(options)
    }

    fn login(&self, address: &NatsAddress) -> Result<Login, Failure> {
        let mut ways = Vec::new();
        if let Some(login) = address.login() {
            let (user, password) = (login.user.clone(), login.password.clone());
            ways.push(Login::Password { user, password });
        }
        if let Some(user) = &self.nats_user {
            let password = self.nats_password.clone().unwrap_or_default().0;
            ways.push(Login::Password { user: user.clone(), password });
        }
        ways.extend(self.nats_creds.clone().map(Login::Credentials));
        ways.extend(self.nats_nkey.clone().map(Login::NkeySeed));
        if ways.len() > 1 {
            return Err(contradiction(
                "there is more than one way to log in to NATS: give a user in the log's address, \
                 or nats-user, or nats-creds, or nats-nkey",
            ));
        }
        if self.nats_password.is_some() && self.nats_user.is_none() {
            return Err(contradiction("nats-password needs nats-user"));
        }
        Ok(ways.pop().unwrap_or_default())
    }
}

fn contradiction(text: &str) -> Failure {
    Sentence(text.to_owned()).into()
}

/// Text that is never printed.
#[derive(Clone, Default)]
struct Secret(String);

impl std::str::FromStr for Secret {
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
