//! What asks the witnesses of a policy over HTTP.

use tipline_audit::tlog::Policy;
use tipline_audit::tree::Witnesses;

use crate::output::report::Failure;

/// What asks those that the policy has addresses of; `None` if there are none. Contacts nobody.
///
/// # Errors
/// An address cannot be asked.
#[cfg(feature = "cloud")]
pub(super) fn witnesses(policy: &Policy) -> Result<Option<Witnesses<Http>>, Failure> {
    use crate::output::report::Sentence;

    let mut addresses = policy.addresses().peekable();
    if addresses.peek().is_none() {
        return Ok(None);
    }
    for (name, _, address) in addresses {
        // It is not repeated: it may hold what is secret.
        http::check(address).map_err(|why| {
            Sentence(format!("the address of the witness {name} in the policy {why}"))
        })?;
    }
    let client = Http::new().map_err(|why| {
        Sentence(format!("the witnesses of the policy cannot be asked over HTTP: {why}"))
    })?;
    Ok(Some(Witnesses::new(client)))
}

/// Without HTTP nobody is asked: those who watch the archive cosign all the same.
#[cfg(not(feature = "cloud"))]
pub(super) fn witnesses(policy: &Policy) -> Result<Option<Witnesses<Http>>, Failure> {
    if policy.addresses().next().is_some() {
        tracing::warn!(
            "nobody is asked at the addresses of the policy: this program was built without \
             `--features cloud`, which has HTTP. It waits for witnesses that watch the archive"
        );
    }
    Ok(None)
}

#[cfg(feature = "cloud")]
pub(super) use self::http::Http;

#[cfg(feature = "cloud")]
mod http {
    use std::time::Duration;

    use reqwest::header::CONTENT_TYPE;
    use reqwest::redirect::Policy as Redirects;
    use reqwest::{Client, Url};
    use tipline_audit::tree::{Answer, MAX_ANSWER, Post};
    use tipline_log::error_chain;

    /// Nobody who is there takes longer to take a connection.
    const CONNECTING: Duration = Duration::from_secs(5);

    /// A client of HTTP.
    #[derive(Debug)]
    pub(crate) struct Http(Client);

    impl Http {
        pub(super) fn new() -> Result<Self, String> {
            // If there is one already, it is this one.
            _ = rustls::crypto::ring::default_provider().install_default();
            let client = Client::builder()
                .user_agent(concat!("tipline/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECTING)
                .redirect(Redirects::none())
                .build();
            client.map(Self).map_err(|error| error_chain(&error))
        }
    }

    impl Post for Http {
        async fn post(&self, address: &str, body: String) -> Result<Answer, String> {
            let failed = |error: reqwest::Error| error_chain(&error.without_url());
            let mut answer = self.0.post(address).body(body).send().await.map_err(failed)?;
            let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let (status, kind) = (answer.status().as_u16(), kind.unwrap_or_default().to_owned());
            let mut body = Vec::new();
            while let Some(more) = answer.chunk().await.map_err(failed)? {
                let room = (MAX_ANSWER + 1).saturating_sub(body.len());
                body.extend_from_slice(&more[..more.len().min(room)]);
                if body.len() > MAX_ANSWER {
                    break;
                }
            }
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer { status, kind, body })
        }
    }

    /// Whether it is an address that can be asked.
    pub(super) fn check(address: &str) -> Result<(), &'static str> {
        let url = Url::parse(address).map_err(|_| "is no URL")?;
        match url.scheme() {
            "http" | "https" => {}
            _ => return Err("does not begin with http:// or https://"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has credentials in it, and policies are given to strangers");
        }
        match url.query().is_some() || url.fragment().is_some() {
            true => Err("has more than a path"),
            false => Ok(()),
        }
    }
}

/// There is none.
#[cfg(not(feature = "cloud"))]
#[derive(Debug)]
pub(super) enum Http {}

#[cfg(not(feature = "cloud"))]
impl tipline_audit::tree::Post for Http {
    async fn post(&self, _: &str, _: String) -> Result<tipline_audit::tree::Answer, String> {
        match *self {}
    }
}

#[cfg(all(test, feature = "cloud"))]
mod tests {
    use super::http::check;

    #[test]
    fn addresses_that_cannot_be_asked_are_refused() {
        for address in
            ["https://w.example.net", "http://127.0.0.1:7380/", "https://w.example.net/tlog/w1"]
        {
            check(address).expect(address);
        }
        for (address, says) in [
            ("w.example.net", "no URL"),
            ("/w.example.net", "no URL"),
            ("ftp://w.example.net", "http://"),
            ("https://me:secret@w.example.net", "credentials"),
            ("https://w.example.net/?key=1", "more than a path"),
        ] {
            let why = check(address).expect_err(address);
            assert!(why.contains(says), "{address}: {why}");
        }
    }
}
