//! Operators, accounts and users as JSON web tokens, as `nsc` makes them.

use nkeys::KeyPair;
use serde_json::{Value, json};

/// When all of them are issued, in seconds since 1970. A revocation is of what was issued before it.
const ISSUED: u64 = 1_700_000_000;

/// An operator with one account and its users.
pub(super) struct Account {
    operator: KeyPair,
    /// The servers' own account, which has no JetStream.
    system: KeyPair,
    account: KeyPair,
}

impl Account {
    pub(super) fn new() -> Account {
        Account {
            operator: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account(),
        }
    }

    /// Of a server that knows this operator and account, which has revoked these users.
    pub(super) fn config(&self, revoked: &[&User]) -> String {
        let operator = token(&self.operator, &self.operator, json!({ "type": "operator" }));
        let common = ["subs", "data", "payload", "imports", "exports", "conn", "leaf"];
        let jetstream = ["mem_storage", "disk_storage", "streams", "consumer"];
        let claims = |names: &[&str]| {
            let unlimited = names.iter().map(|name| ((*name).to_owned(), json!(-1)));
            let mut limits: Value = unlimited.collect();
            limits["wildcards"] = json!(true);
            json!({ "type": "account", "limits": limits })
        };
        let mut account = claims(&[&common[..], &jetstream[..]].concat());
        let revoked = revoked.iter().map(|user| (user.0.public_key(), json!(ISSUED + 1)));
        account["revocations"] = revoked.collect();
        let accounts = [(&self.system, claims(&common)), (&self.account, account)];
        let accounts = accounts.map(|(account, claims)| {
            format!("{}: {}", account.public_key(), token(&self.operator, account, claims))
        });
        format!(
            "operator: {operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload {{ {} }}",
            self.system.public_key(),
            accounts.join(", "),
        )
    }
}

/// A user of an account.
pub(super) struct User(KeyPair);

impl User {
    pub(super) fn new() -> User {
        User(KeyPair::new_user())
    }

    pub(super) fn public(&self) -> String {
        self.0.public_key()
    }
}

/// The user's credentials file.
pub(super) fn creds(account: &Account, user: &User) -> String {
    let claims = json!({ "type": "user", "subs": -1, "data": -1, "payload": -1 });
    let token = token(&account.account, &user.0, claims);
    let seed = user.0.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// What `issuer` says of `subject`.
fn token(issuer: &KeyPair, subject: &KeyPair, mut claims: Value) -> String {
    claims["version"] = json!(2);
    let (issued_by, subject) = (issuer.public_key(), subject.public_key());
    let body = json!({
        "jti": "test", "iat": ISSUED, "iss": issued_by, "sub": subject, "name": "test",
        "nats": claims,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let text = format!("{}.{}", base64(header.to_string()), base64(body.to_string()));
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", base64(signature))
}

/// For URLs, without padding.
fn base64(bytes: impl AsRef<[u8]>) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
