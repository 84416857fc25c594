//! Addresses of destinations.

use std::path::Path as FilePath;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::{Destination, DestinationError};

/// What the caller tries again, and shows, after it: an outage must be seen within seconds.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A last resort: whoever calls gives up long before.
const SILENCE: Duration = Duration::from_secs(600);

const FORMS: &str =
    "write dir:PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";

/// The variables of the environment that object storage is configured by.
pub(super) type Variables = Vec<(String, String)>;

pub(super) fn open(address: &str, variables: &Variables) -> Result<Destination, DestinationError> {
    if let Some(path) = address.strip_prefix("dir:") {
        return directory(address, FilePath::new(path));
    }
    let url = Url::parse(address).map_err(|e| bad(address, FORMS, Some(Box::new(e))))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        let why = "credentials do not belong into an address: give them in the environment";
        return Err(bad(&place_of(&url), why, None));
    }
    let (scheme, prefix) =
        ObjectStoreScheme::parse(&url).map_err(|e| bad(address, FORMS, Some(Box::new(e))))?;
    let built: Result<Arc<dyn ObjectStore>, object_store::Error> = match scheme {
        ObjectStoreScheme::Local => match url.to_file_path() {
            Ok(path) => return directory(address, &path),
            Err(()) => return Err(bad(address, FORMS, None)),
        },
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
        _ => return Err(bad(address, FORMS, None)),
    };
    let why = "its settings are not complete: see the variables of the environment of its provider";
    let store = built.map_err(|e| bad(address, why, Some(Box::new(e))))?;
    let place = place_of(&url);
    Ok(Destination { store, prefix, root: None, directory: None, place })
}

/// The variables of a provider that its client knows.
fn known<'a, K: FromStr + 'a>(
    variables: &'a Variables,
    prefix: &'a str,
) -> impl Iterator<Item = (K, &'a str)> {
    let ours = variables.iter().filter(move |(name, _)| name.starts_with(prefix));
    ours.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, &**value)))
}

fn directory(address: &str, path: &FilePath) -> Result<Destination, DestinationError> {
    if path.as_os_str().is_empty() {
        return Err(bad(address, FORMS, None));
    }
    let unusable = "this path cannot be used";
    let absolute =
        std::path::absolute(path).map_err(|e| bad(address, unusable, Some(Box::new(e))))?;
    let prefix = Path::from_absolute_path(&absolute)
        .map_err(|e| bad(address, unusable, Some(Box::new(e))))?;
    let store = Arc::new(LocalFileSystem::new().with_fsync(true));
    let place = format!("dir:{}", path.display());
    let root = Some(Arc::new(absolute));
    Ok(Destination { store, prefix, directory: root.clone(), root, place })
}

fn place_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{}", url.scheme(), url.path().trim_end_matches('/'))
}

fn retry() -> RetryConfig {
    RetryConfig { backoff: BackoffConfig::default(), max_retries: 3, retry_timeout: RETRY_TIMEOUT }
}

fn client() -> ClientOptions {
    // Without a provider of its own, TLS takes the one of the process. Whoever set one first wins.
    drop(rustls::crypto::ring::default_provider().install_default());
    // No limit for a whole request: a large object takes as long as it takes.
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled()
        .with_read_timeout(SILENCE)
}

fn bad(
    address: &str,
    why: &str,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> DestinationError {
    DestinationError::BadAddress { address: address.to_owned(), why: why.to_owned(), source }
}
