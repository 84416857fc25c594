//! Clients of object storage.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};

/// After this the caller tries again, and shows the error. An outage must show within seconds.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A last resort: callers give up long before.
const SILENCE: Duration = Duration::from_secs(600);

/// The client of an address, `None` if there is none for its scheme. Nothing is contacted.
pub(super) fn client_of(
    scheme: ObjectStoreScheme,
    address: &str,
    variables: &[(String, String)],
) -> Option<object_store::Result<Arc<dyn ObjectStore>>> {
    let built = match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let builder = AmazonS3Builder::new().with_client_options(client()).with_retry(retry());
            known(variables, "AWS_")
                .fold(builder, |builder, (key, value)| builder.with_config(key, value))
                .with_url(address)
                .build()
                .map(|store| Arc::new(store) as _)
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder =
                GoogleCloudStorageBuilder::new().with_client_options(client()).with_retry(retry());
            known(variables, "GOOGLE_")
                .fold(builder, |builder, (key, value)| builder.with_config(key, value))
                .with_url(address)
                .build()
                .map(|store| Arc::new(store) as _)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder =
                MicrosoftAzureBuilder::new().with_client_options(client()).with_retry(retry());
            known(variables, "AZURE_")
                .chain(known(variables, "IDENTITY_ENDPOINT"))
                .fold(builder, |builder, (key, value)| builder.with_config(key, value))
                .with_url(address)
                .build()
                .map(|store| Arc::new(store) as _)
        }
        _ => return None,
    };
    Some(built)
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
