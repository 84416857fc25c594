//! Logging in: what is in the files is read for every connection, so that a new key or password
//! counts from the next connection on, without a restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;

use super::options::{JetStreamOptions, Login, Secret};
use crate::secret_file::{SecretFileError, check_secret_file, read_secret_file};

/// A login that cannot be used. It never says what is in a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadLogin {
    /// A file with a secret is open to others, or cannot be read.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A file has something else.
    #[error("{} has no {what}", file.display())]
    NotFound {
        /// The file.
        file: PathBuf,
        /// What should be in it.
        what: &'static str,
    },
}

/// Checks every file with a secret, and that there is a login in it.
pub(super) fn check(options: &JetStreamOptions) -> Result<(), BadLogin> {
    if let Some((_, key)) = &options.tls_identity {
        check_secret_file(key)?;
    }
    authenticate(&options.login, b"").map(drop)
}

/// Who logs in, for errors: without anything that is secret.
pub(super) fn user(login: &Login) -> String {
    match login {
        Login::None => "a user without login".to_owned(),
        Login::Credentials(file) => format!("the user of {}", file.display()),
        Login::NkeySeed(file) => match seed(file) {
            Ok(pair) => format!("the user with nkey {}", pair.public_key()),
            Err(_) => format!("the user of {}", file.display()),
        },
        Login::Password { user, .. } => format!("user {user}"),
        Login::Token(_) => "the user with this token".to_owned(),
    }
}

/// What a server is told that asks who we are.
pub(super) fn authenticate(login: &Login, nonce: &[u8]) -> Result<Auth, BadLogin> {
    let mut auth = Auth::new();
    match login {
        Login::None => {}
        Login::Password { user, password } => {
            auth.username = Some(user.clone());
            auth.password = Some(text(password)?);
        }
        Login::Token(token) => auth.token = Some(text(token)?),
        Login::NkeySeed(file) => {
            let pair = seed(file)?;
            auth.signature = Some(sign(file, &pair, nonce)?);
            auth.nkey = Some(pair.public_key());
        }
        Login::Credentials(file) => {
            let content = read_secret_file(file)?;
            let not_found = |what| BadLogin::NotFound { file: file.clone(), what };
            let jwt = section(&content, "USER JWT").ok_or_else(|| not_found("JWT of a user"))?;
            let seed = section(&content, "USER NKEY SEED");
            let pair = seed.and_then(|seed| KeyPair::from_seed(seed).ok());
            let pair = pair.ok_or_else(|| not_found("seed of a user's nkey"))?;
            auth.signature = Some(sign(file, &pair, nonce)?);
            auth.jwt = Some(jwt.to_owned());
        }
    }
    Ok(auth)
}

/// The same for the client's callback, which says what is wrong once, not at every attempt.
pub(super) async fn again(
    login: std::sync::Arc<Login>,
    nonce: Vec<u8>,
    said: std::sync::Arc<Mutex<Option<String>>>,
    place: std::sync::Arc<str>,
) -> Result<Auth, AuthError> {
    let read = tokio::task::spawn_blocking(move || authenticate(&login, &nonce));
    let read = read.await.map_err(AuthError::new)?;
    let mut said = said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    read.map_err(|error| {
        let why = crate::error::error_chain(&error);
        if said.as_ref() != Some(&why) {
            tracing::warn!(%place, "cannot log in again: {why}");
            *said = Some(why.clone());
        }
        AuthError::new(why)
    })
    .inspect(|_| *said = None)
}

fn text(secret: &Secret) -> Result<String, BadLogin> {
    let file = match secret {
        Secret::Text(text) => return Ok(text.clone()),
        Secret::File(file) => file,
    };
    let content = read_secret_file(file)?;
    match content.lines().next().map(str::trim_end) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(BadLogin::NotFound { file: file.clone(), what: "text in its first line" }),
    }
}

/// The key pair of a file with a seed. Other lines are comments, as for the `nats` command.
fn seed(file: &Path) -> Result<KeyPair, BadLogin> {
    let content = read_secret_file(file)?;
    let pairs = content.lines().map(str::trim).filter(|line| line.starts_with("SU"));
    let pair = pairs.filter_map(|line| KeyPair::from_seed(line).ok()).next();
    pair.ok_or_else(|| BadLogin::NotFound { file: file.to_owned(), what: "seed of a user's nkey" })
}

fn sign(file: &Path, pair: &KeyPair, nonce: &[u8]) -> Result<Vec<u8>, BadLogin> {
    let what = "seed of a user's nkey that signs";
    pair.sign(nonce).map_err(|_| BadLogin::NotFound { file: file.to_owned(), what })
}

/// What is between `-----BEGIN NATS NAME-----` and its end in a credentials file.
fn section<'a>(content: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = content
        .split_once(&format!("BEGIN NATS {name}"))
        .or_else(|| content.split_once(&format!("BEGIN {name}")))?;
    let mut lines = after.lines().skip(1).map(str::trim);
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

/// The key of a user: the server is told the public one, the user signs with the seed.
pub struct Nkey {
    pair: KeyPair,
}

impl Nkey {
    /// A new one.
    pub fn generate() -> Self {
        Self { pair: KeyPair::new_user() }
    }

    /// The one whose seed is in a file.
    ///
    /// # Errors
    /// The file cannot be read, is open to others, or has no seed.
    pub fn read(file: &Path) -> Result<Self, BadLogin> {
        seed(file).map(|pair| Self { pair })
    }

    /// The public key: `U…`.
    pub fn public(&self) -> String {
        self.pair.public_key()
    }

    /// The seed, which is secret: `SU…`.
    ///
    /// # Errors
    /// Never, for a key that was made or read here.
    pub fn seed(&self) -> Result<String, BadLogin> {
        let missing = |_| BadLogin::NotFound { file: PathBuf::new(), what: "seed" };
        self.pair.seed().map_err(missing)
    }

    /// Whether this is the public key of a user.
    pub fn is_public(text: &str) -> bool {
        text.starts_with('U') && KeyPair::from_public_key(text).is_ok()
    }
}

impl fmt::Debug for Nkey {
    /// Without the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nkey").field(&self.public()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, file)
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_the_mode_is_named() {
        for mode in [0o644, 0o604, 0o620, 0o666] {
            let (_dir, file) = secret("SUsecret", mode);
            let told = Nkey::read(&file).unwrap_err().to_string();
            assert!(told.contains("chmod 600") && told.contains(&format!("{mode:o}")), "{told}");
            assert!(!told.contains("SUsecret"), "{told}");
        }
        for mode in [0o600, 0o400, 0o640, 0o440] {
            let (_dir, file) = secret("s3cret\n", mode);
            assert_eq!(text(&Secret::File(file)).unwrap(), "s3cret");
        }
    }

    #[test]
    fn a_seed_is_found_among_comments() {
        let key = Nkey::generate();
        let content = format!("# backup-1\n{}\n", key.seed().unwrap());
        let (_dir, file) = secret(&content, 0o600);
        assert_eq!(Nkey::read(&file).unwrap().public(), key.public());
        assert!(!format!("{key:?}").contains(&key.seed().unwrap()));
        assert!(Nkey::is_public(&key.public()) && !Nkey::is_public(&key.seed().unwrap()));
        let (_dir, other) = secret("nothing", 0o600);
        let told = Nkey::read(&other).unwrap_err().to_string();
        assert!(told.ends_with("has no seed of a user's nkey"), "{told}");
    }

    #[test]
    fn a_credentials_file_has_a_token_and_a_seed() {
        let key = Nkey::generate();
        let seed = key.seed().unwrap();
        let content = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.sig\n------END NATS USER JWT------\n\n\
             *** IMPORTANT ***\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n\
             ------END USER NKEY SEED------\n"
        );
        let (_dir, file) = secret(&content, 0o600);
        let auth = authenticate(&Login::Credentials(file), b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("eyJ0.eyJq.sig"));
        assert!(key.pair.verify(b"nonce", &auth.signature.unwrap()).is_ok());
        let (_dir, cut) = secret(&content.replace(&seed, ""), 0o600);
        let told = authenticate(&Login::Credentials(cut), b"").err().unwrap().to_string();
        assert!(told.contains("no seed"), "{told}");
    }

    #[test]
    fn no_secret_is_printed() {
        let told = [
            format!("{:?}", Login::Token(Secret::Text("s3cret".into()))),
            format!(
                "{:?}",
                Login::Password { user: "u".into(), password: Secret::Text("s3cret".into()) }
            ),
            user(&Login::Token(Secret::Text("s3cret".into()))),
        ];
        assert!(told.iter().all(|told| !told.contains("s3cret")), "{told:?}");
    }
}
