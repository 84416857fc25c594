//! New passwords, tokens, keys, credentials and certificates count from the next connection on. Nothing is started
//! again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use tipline_log::jetstream::{JetStreamLog, JetStreamOptions, Login, Nkey, Secret};
use tipline_log::{Appender, LogError};
use tipline_proto::{Chain, Hash, Lineage, LogIdentity};
use tipline_tests::{Nats, NatsOptions, eventually, http_get, write_private};

use super::WITHIN;
use super::certificates::{Authority, Files};
use super::tokens::{Account, User, creds};
use crate::deployment::Deployment;

fn identity() -> LogIdentity {
    LogIdentity {
        name: "main".parse().unwrap(),
        chain: Chain::new("test".parse().unwrap(), Hash::new(&b"genesis"[..]).unwrap()),
        lineage: Lineage::from_bytes([1; 16]),
    }
}

/// A server, and a handle that was opened once.
pub(super) struct Open {
    pub(super) nats: Nats,
    pub(super) log: JetStreamLog,
}

impl Open {
    pub(super) async fn start(more: String, login: impl FnOnce(&mut JetStreamOptions)) -> Open {
        let nats = Nats::start(NatsOptions { more, ..NatsOptions::default() }).await;
        let mut options = JetStreamOptions::new(nats.url(), "main".parse().unwrap());
        login(&mut options);
        let log = JetStreamLog::create(&options, &identity(), 1).await.unwrap();
        Open { nats, log }
    }

    /// The server lets nobody in but who has what is new, and the handle gets in by itself once the
    /// file has it.
    async fn rotate(&mut self, more: &str, write: impl FnOnce()) {
        self.log.tail().await.unwrap();
        self.nats.restart_with(more).await;
        eventually("the old login is refused", WITHIN, async || match self.log.tail().await {
            Err(LogError::Unavailable { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        write();
        eventually("the new login is taken", WITHIN, async || self.log.tail().await).await;
    }

    /// Who is connected, by what the server says.
    async fn users(&self) -> BTreeSet<String> {
        let url = format!("{}/connz?auth=true", self.nats.monitor_url());
        let told: Value = serde_json::from_str(&http_get(&url).await.unwrap().body).unwrap();
        let connections = told["connections"].as_array().unwrap().iter();
        connections.map(|one| one["authorized_user"].as_str().unwrap().to_owned()).collect()
    }
}

/// A file for its owner alone.
fn secret(site: &Deployment, name: &str) -> (PathBuf, impl Fn(&str) + use<>) {
    let file = site.path(name);
    let path = file.clone();
    (file, move |text: &str| write_private(&path, text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_read_when_the_server_is_reconnected_to() {
    let site = Deployment::new();
    let (file, write) = secret(&site, "password");
    let config = |password: &str| format!("authorization {{ user: u, password: {password} }}");
    write("first\n");
    let open = Open::start(config("first"), |options| {
        options.login = Login::Password { user: "u".into(), password: Secret::File(file) };
    });
    open.await.rotate(&config("second"), || write("second\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_is_read_when_the_server_is_reconnected_to() {
    let site = Deployment::new();
    let (file, write) = secret(&site, "token");
    let config = |token: &str| format!("authorization {{ token: {token} }}");
    write("first");
    let open = Open::start(config("first"), |options| {
        options.login = Login::Token(Secret::File(file));
    });
    open.await.rotate(&config("second"), || write("second")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_nkey_is_read_when_the_server_is_reconnected_to() {
    let site = Deployment::new();
    let (file, write) = secret(&site, "nk");
    let [first, second] = [Nkey::generate(), Nkey::generate()];
    let config =
        |key: &Nkey| format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public());
    write(&first.seed().unwrap());
    let open = Open::start(config(&first), |options| options.login = Login::NkeySeed(file));
    open.await.rotate(&config(&second), || write(&second.seed().unwrap())).await;
}

/// By JSON web tokens: the account revokes the first user, and the second one is in the file.
#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_are_read_when_the_server_is_reconnected_to() {
    let site = Deployment::new();
    let (file, write) = secret(&site, "user.creds");
    let (account, [first, second]) = (Account::new(), [User::new(), User::new()]);
    write(&creds(&account, &first));
    let mut open =
        Open::start(account.config(&[]), |options| options.login = Login::Credentials(file)).await;
    assert_eq!(open.users().await, BTreeSet::from([first.public()]));
    open.rotate(&account.config(&[&first]), || write(&creds(&account, &second))).await;
    assert_eq!(open.users().await, BTreeSet::from([second.public()]));
}

/// Both sides change: the server's authority and certificate, and the client's.
#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_read_when_the_server_is_reconnected_to() {
    let site = Deployment::new();
    let (first, second) = (Authority::new(), Authority::new());
    let server = first.files(&site, "server-1");
    let Files { ca, certificate, key } = first.files(&site, "client");
    let open = Open::start(server.config(), |options| {
        options.url = options.url.replace("nats://", "tls://");
        options.tls_ca = Some(ca);
        options.tls_identity = Some((certificate, key));
    });
    let config = second.files(&site, "server-2").config();
    open.await
        .rotate(&config, || {
            let _written = second.files(&site, "client");
        })
        .await;
}
