//! Clients of object storage.

use std::str::FromStr;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStoreScheme, RetryConfig};

use super::Client;

/// After this the caller tries again, and shows the error. An outage must show within seconds.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A last resort: callers give up long before.
const SILENCE: Duration = Duration::from_secs(600);

/// The clients of an address.
pub(super) struct Clients {
    pub(super) usual: Client,
    /// The one that sends a checksum with every write, where that is a choice.
    pub(super) with_checksums: Option<Client>,
}

/// The clients of an address, `None` if there are none for its scheme. Nothing is contacted.
pub(super) fn clients_of(
    scheme: ObjectStoreScheme,
    address: &str,
    variables: &[(String, String)],
) -> Option<object_store::Result<Clients>> {
    let built = match scheme {
        ObjectStoreScheme::AmazonS3 => return Some(s3(address, variables)),
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder =
                GoogleCloudStorageBuilder::new().with_client_options(client()).with_retry(retry());
            known(variables, "GOOGLE_")
                .fold(builder, |builder, (key, value)| builder.with_config(key, value))
                .with_url(address)
                .build()
                .map(Client::new)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder =
                MicrosoftAzureBuilder::new().with_client_options(client()).with_retry(retry());
            known(variables, "AZURE_")
                .chain(known(variables, "IDENTITY_ENDPOINT"))
                .fold(builder, |builder, (key, value)| builder.with_config(key, value))
                .with_url(address)
                .build()
                .map(Client::new)
        }
        _ => return None,
    };
    Some(built.map(|usual| Clients { usual, with_checksums: None }))
}

fn s3(address: &str, variables: &[(String, String)]) -> object_store::Result<Clients> {
    let builder = AmazonS3Builder::new().with_client_options(client()).with_retry(retry());
    // Removing one object is known to every server, removing several at once is not.
    let builder = builder.with_disable_bulk_delete(true);
    let builder = known(variables, "AWS_")
        .fold(builder, |builder, (key, value)| builder.with_config(key, value))
        .with_url(address);
    let is_chosen = builder.get_config_value(&AmazonS3ConfigKey::Checksum).is_some();
    let with = builder.clone().with_checksum_algorithm(Checksum::SHA256);
    let with_checksums = if is_chosen { None } else { Some(Client::new(with.build()?)) };
    Ok(Clients { usual: Client::new(builder.build()?), with_checksums })
}

/// The variables of a provider that its client knows.
fn known<'a, K: FromStr + 'a>(
    variables: &'a [(String, String)],
    prefix: &'a str,
) -> impl Iterator<Item = (K, &'a str)> {
    let ours = variables.iter().filter(move |(name, _)| name.starts_with(prefix));
    ours.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, &**value)))
}

fn retry() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 3, retry_timeout: RETRY_TIMEOUT }
}

fn client() -> ClientOptions {
    // Without a provider of its own, TLS takes that of the process. The first one set wins.
    _ = rustls::crypto::ring::default_provider().install_default();
    // No limit for a whole request: a large object takes as long as it takes.
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled()
        .with_read_timeout(SILENCE)
}
