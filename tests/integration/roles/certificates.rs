//! Certificates, and servers that ask for them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use futures_util::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tipline_tests::{Nats, NatsOptions, Tipline, write_private};

use super::WITHIN;
use crate::deployment::Deployment;

/// A certificate authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// The files of a party that the authority vouches for.
pub(super) struct Files {
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    pub(super) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a new certificate for the loopback, with its key.
    pub(super) fn files(&self, site: &Deployment, name: &str) -> Files {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let write = |kind: &str, pem: String| {
            let file = site.path(&format!("{name}.{kind}.pem"));
            write_private(&file, pem);
            file
        };
        Files {
            ca: write("ca", self.0.pem()),
            certificate: write("certificate", certificate.pem()),
            key: write("key", key.serialize_pem()),
        }
    }
}

impl Files {
    /// Of a server that asks clients for their certificates, too.
    pub(super) fn config(&self) -> String {
        let Files { ca, certificate, key } = self;
        format!(
            "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}"
        )
    }

    fn arguments(&self) -> String {
        let Files { ca, certificate, key } = self;
        let [ca, certificate, key] = [ca, certificate, key].map(|file| file.display());
        format!("--nats-ca {ca} --nats-cert {certificate} --nats-key {key}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_prove_who_they_are() {
    let site = Deployment::new();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let config = ours.files(&site, "server").config();
    let nats = Nats::start(NatsOptions { more: config, ..NatsOptions::default() }).await;
    let init = async |nats: &Nats, arguments: &str| {
        let words = "init --chain test --genesis 00 --replicas 1 --accept-shortfalls";
        let log = nats.url().replace("nats://", "tls://");
        let tipline: Tipline = site.tipline(&format!("{words} --log {log}/main {arguments}"));
        tipline.finish(WITHIN).await
    };
    let run = async |arguments: &str| init(&nats, arguments).await;
    let client = ours.files(&site, "client");
    // Others may not read the key.
    std::fs::set_permissions(&client.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = run(&client.arguments()).await;
    assert!(open.stderr.contains("chmod 600"), "{}", open.stderr);
    std::fs::set_permissions(&client.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Without the authority, with another one, without a certificate, and with that of another one.
    let other = foreign.files(&site, "other");
    let mixed = Files { ca: client.ca.clone(), ..foreign.files(&site, "mixed") };
    let without = format!("--nats-ca {}", client.ca.display());
    for arguments in ["", &other.arguments(), &without, &mixed.arguments()] {
        let refused = run(arguments).await;
        assert!(!refused.status.success(), "{arguments}: {}", refused.stdout);
        let told = refused.stderr.to_lowercase();
        let says = ["certificate", "unknownca", "fatal alert"].into_iter();
        assert!(says.into_iter().any(|part| told.contains(part)), "{arguments}: {told}");
    }
    let made = run(&client.arguments()).await;
    assert_eq!(made.status.code(), Some(0), "{}", made.stderr);
    // Whoever asks for TLS says nothing to a server that has none.
    let plain = Nats::start(NatsOptions::default()).await;
    let refused = init(&plain, &client.arguments()).await;
    assert!(!refused.status.success(), "{}", refused.stdout);
    let context = async_nats::jetstream::new(async_nats::connect(plain.url()).await.unwrap());
    assert_eq!(context.stream_names().count().await, 0);
}
