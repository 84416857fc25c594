//! What a test may choose, and the configuration file that follows from it.

use std::path::{Path, PathBuf};

use crate::Port;

/// When the server writes to disk what it has acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before it acknowledges, as production must have it.
    #[default]
    Always,
    /// Within two minutes, as the server does if nobody says otherwise.
    ServerDefault,
}

/// How a server is to run. The default is what production must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsOptions {
    /// When it writes to disk.
    pub sync: SyncInterval,
    /// The largest message it takes, in bytes.
    pub max_payload: usize,
    /// Its JetStream domain, if it has one.
    pub domain: Option<String>,
    /// More of the configuration file, such as accounts.
    pub more: String,
    /// Which program: the one of all tests, or the one in this file.
    pub program: Option<PathBuf>,
}

impl Default for NatsOptions {
    /// `sync_interval: always`, and messages up to 1 MiB, the server's own default.
    fn default() -> Self {
        NatsOptions {
            sync: SyncInterval::Always,
            max_payload: 1 << 20,
            domain: None,
            more: String::new(),
            program: None,
        }
    }
}

/// One server's place in a cluster.
pub(super) struct Membership<'a> {
    pub(super) cluster: &'a str,
    pub(super) listen: &'a Port,
    pub(super) routes: &'a [String],
}

/// The text of the configuration file.
pub(super) fn render(
    name: &str,
    options: &NatsOptions,
    client: &Port,
    monitor: &Port,
    store: &Path,
    member: Option<&Membership<'_>>,
) -> String {
    let sync = match options.sync {
        SyncInterval::Always => "sync_interval: always",
        SyncInterval::ServerDefault => "",
    };
    let domain = match &options.domain {
        Some(domain) => format!(", domain: {domain:?}"),
        None => String::new(),
    };
    let mut text = format!(
        "server_name: {name:?}\n\
         listen: \"{client}\"\n\
         http: \"{monitor}\"\n\
         max_payload: {}\n\
         jetstream {{ store_dir: {store:?}, {sync}{domain} }}\n{}\n",
        options.max_payload, options.more,
    );
    if let Some(Membership { cluster, listen, routes }) = member {
        text.push_str(&format!(
            "cluster {{ name: {cluster:?}, listen: \"{listen}\", routes: {routes:?} }}\n"
        ));
    }
    text
}
