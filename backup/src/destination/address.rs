//! Addresses of destinations.

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::ObjectStoreScheme;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

#[cfg(not(feature = "cloud"))]
use super::Client;
#[cfg(feature = "cloud")]
use super::cloud::{self, Clients};
use super::{Destination, DestinationError};

const FORMS: &str =
    "write dir:PATH, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";

/// There are none in this build.
#[cfg(not(feature = "cloud"))]
struct Clients {
    usual: Client,
    with_checksums: Option<Client>,
}

#[cfg(not(feature = "cloud"))]
const WITHOUT: &str = "object storage was left out of this build: build it with the feature `cloud`, \
                       as in `cargo build --release --features cloud`";

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
    if let ObjectStoreScheme::Local = scheme {
        let path = url.to_file_path().map_err(|()| bad(address, FORMS, None))?;
        return directory(address, &path);
    }
    let Clients { usual, with_checksums } = object_storage(scheme, address, variables)?;
    Ok(Destination {
        store: usual.store,
        in_pieces: Some(usual.in_pieces),
        with_checksums,
        needs_checksums: Arc::default(),
        prefix,
        root: None,
        directory: None,
        place: place_of(&url),
    })
}

#[cfg(feature = "cloud")]
fn object_storage(
    scheme: ObjectStoreScheme,
    address: &str,
    variables: &Variables,
) -> Result<Clients, DestinationError> {
    if let Some((name, _)) = variables.iter().find(|(name, value)| is_login(name, value)) {
        let why = format!("there is a login in {name}, which errors would show: take it out");
        return Err(bad(address, &why, None));
    }
    let why = "its settings are not complete: see the variables of the environment of its provider";
    let built = cloud::clients_of(scheme, address, variables);
    let built = built.ok_or_else(|| bad(address, FORMS, None))?;
    built.map_err(|e| bad(address, why, Some(Box::new(e))))
}

/// Whether a variable of a provider is the address of a server with a login in it. The client shows
/// addresses in its errors.
#[cfg(feature = "cloud")]
fn is_login(name: &str, value: &str) -> bool {
    let is_ours = ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
    let is_address = name.contains("ENDPOINT") || name.ends_with("_URL");
    let has_login = |url: Url| !url.username().is_empty() || url.password().is_some();
    is_ours && is_address && Url::parse(value).is_ok_and(has_login)
}

#[cfg(not(feature = "cloud"))]
fn object_storage(
    scheme: ObjectStoreScheme,
    address: &str,
    _: &Variables,
) -> Result<Clients, DestinationError> {
    use ObjectStoreScheme::{AmazonS3, GoogleCloudStorage, MicrosoftAzure};
    match scheme {
        AmazonS3 | GoogleCloudStorage | MicrosoftAzure => Err(bad(address, WITHOUT, None)),
        _ => Err(bad(address, FORMS, None)),
    }
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
    let store = Arc::new(LocalFileSystem::new());
    let place = format!("dir:{}", path.display());
    let root = Some(Arc::new(absolute));
    Ok(Destination {
        store,
        in_pieces: None,
        with_checksums: None,
        needs_checksums: Arc::default(),
        prefix,
        directory: root.clone(),
        root,
        place,
    })
}

fn place_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{}", url.scheme(), url.path().trim_end_matches('/'))
}

fn bad(
    address: &str,
    why: &str,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> DestinationError {
    let why = why.to_owned();
    if !address.contains(['@', '?']) || address.starts_with("dir:") {
        return DestinationError::BadAddress { address: address.to_owned(), why, source };
    }
    // It may hold credentials, and the cause may repeat it.
    let scheme = address.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
    let address = format!("{}…", scheme.unwrap_or_default());
    DestinationError::BadAddress { address, why, source: None }
}

#[cfg(test)]
mod tests {
    use tipline_log::error_chain;

    use super::open;

    #[test]
    fn credentials_in_a_mistyped_address_are_not_repeated() {
        for given in [
            "s3://KEY:S3CRET/1@bucket/prefix",
            "s3//KEY:S3CRET@bucket",
            "KEY:S3CRET@bucket/prefix",
            "s4://bucket?secret=S3CRET",
            "https://KEY:S3CRET@host:port/bucket",
            "s3://KEY:S3CRET@bucket",
        ] {
            let error = open(given, &Vec::new()).unwrap_err();
            let told = error_chain(&error) + &format!("{error:?}");
            assert!(!told.contains("S3CRET"), "{told}");
        }
        let told = open("s4://bucket", &Vec::new()).unwrap_err().to_string();
        assert!(told.contains("s4://bucket"), "{told}");
    }

    #[cfg(feature = "cloud")]
    #[test]
    fn a_login_in_the_address_of_a_provider_is_refused_and_not_repeated() {
        let open = |name: &str, value: &str| {
            let variables = vec![
                ("AWS_REGION".to_owned(), "r".to_owned()),
                (name.to_owned(), value.to_owned()),
            ];
            open("s3://bucket", &variables)
        };
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"] {
            let error = open(name, "http://KEY:S3CRET@host").unwrap_err();
            let told = error_chain(&error) + &format!("{error:?}");
            assert!(told.contains(name) && !told.contains("S3CRET"), "{told}");
        }
        open("AWS_ENDPOINT_URL", "https://host").unwrap();
        // What another program has there is none of ours.
        open("OTHER_ENDPOINT", "http://KEY:S3CRET@host").unwrap();
    }
}
