//! The accounts as text. Each is a JSON object, which the servers' own format and YAML both contain.

use std::fmt::Write;

use serde_json::{Value, json};
use tipline_log::jetstream::{Grant, UserConfig, account_of};
use tipline_proto::LogName;

use super::{SYSTEM, User};

/// The account of the servers themselves.
const SYSTEM_ACCOUNT: &str = "SYS";
/// What is longer has a line for each of its parts.
const WIDTH: usize = 140;

struct Account {
    name: String,
    /// What it is for.
    comment: String,
    json: Value,
}

/// A file for the servers' own configuration.
pub(super) fn server(log: &LogName, users: &[User]) -> String {
    let comment = "#\n# Put it beside each server's configuration: include \"accounts.conf\"\n\n";
    let mut text = head(log, users, comment);
    text.push_str("system_account: SYS\n\naccounts {\n");
    for Account { name, comment, json } in accounts(log, users) {
        let json = pretty(&json, 2);
        text.push_str(&format!("  # {comment}\n  \"{name}\": {json}\n"));
    }
    text.push_str("}\n");
    text
}

/// Values of the NATS Helm chart, which has none of its own for `sync_interval` and accounts.
pub(super) fn helm(log: &LogName, users: &[User]) -> String {
    let comment = "#\n# helm upgrade --install nats nats/nats --values this-file.yaml\n\n";
    let mut text = head(log, users, comment);
    text.push_str(
        "config:
  cluster:
    enabled: true
    replicas: 3
  jetstream:
    enabled: true
    fileStore:
      pvc:
        size: 50Gi
  monitor:
    enabled: true
  merge:
    # The chart has no value for it. Without it what is acknowledged can be lost for two minutes.
    jetstream:
      sync_interval: always
    max_payload: 8388608
    system_account: SYS
    accounts:
",
    );
    for Account { name, comment, json } in accounts(log, users) {
        let json = pretty(&json, 8);
        text.push_str(&format!("      # {comment}\n      \"{name}\":\n        {json}\n"));
    }
    text.push_str(
        "
# One server at a time, and never two of three away.
podDisruptionBudget:
  enabled: true
",
    );
    text
}

/// What every form begins with. It has nothing that changes from run to run.
fn head(log: &LogName, users: &[User], comment: &str) -> String {
    let mut text = format!(
        "# Accounts and permissions of log {log}, by `tipline init --print-nats-config`.\n\
         # It has public keys only. What is not allowed is denied. The settings of each user:\n#\n"
    );
    for User { name, config, .. } in users {
        let (nkey, inbox) = match config {
            Some(config) => (name, config.role.inbox()),
            // For the command `nats`.
            None => (name, "_INBOX".to_owned()),
        };
        let _infallible =
            writeln!(text, "#   nats-nkey = \"…/{nkey}.nk\"  nats-inbox = \"{inbox}\"");
    }
    text.push_str(comment);
    text
}

/// One for the servers, one for the log, and one for each user that has none of these.
fn accounts(log: &LogName, users: &[User]) -> Vec<Account> {
    let own = account_of(log);
    let members = |account: &str| -> Vec<Value> {
        users.iter().filter(|user| user.account() == account).map(User::json).collect()
    };
    let mut accounts = vec![
        Account {
            name: SYSTEM_ACCOUNT.to_owned(),
            comment: SYSTEM.to_owned(),
            json: json!({ "users": members(SYSTEM_ACCOUNT) }),
        },
        Account {
            name: own.clone(),
            comment: "operator: the account that has the streams".to_owned(),
            json: json!({
                "exports": exports(users, &own),
                "jetstream": "enabled",
                "users": members(&own),
            }),
        },
    ];
    for config in users.iter().filter_map(|user| user.config.as_ref()) {
        if config.account != own {
            accounts.push(Account {
                name: config.account.clone(),
                comment: config.role.to_string(),
                json: json!({ "imports": imports(config, &own), "users": members(&config.account) }),
            });
        }
    }
    accounts
}

impl User {
    fn account(&self) -> &str {
        self.config.as_ref().map_or(SYSTEM_ACCOUNT, |config| &config.account)
    }

    fn json(&self) -> Value {
        let Some(UserConfig { publish, subscribe, .. }) = &self.config else {
            return json!({ "nkey": self.key });
        };
        let publish: Vec<&str> = publish.iter().map(|grant| grant.subject.as_str()).collect();
        let permissions =
            json!({ "publish": { "allow": publish }, "subscribe": { "allow": subscribe } });
        json!({ "nkey": self.key, "permissions": permissions })
    }
}

/// What the account of the log lets others have, each for those alone who may.
fn exports(users: &[User], own: &str) -> Vec<Value> {
    let mut exports: Vec<(&str, bool, Vec<&str>)> = Vec::new();
    for config in users.iter().filter_map(|user| user.config.as_ref()) {
        for grant in config.publish.iter().filter(|_| config.account != own) {
            let account = config.account.as_str();
            match exports.iter_mut().find(|(subject, ..)| *subject == grant.of_log) {
                // In a domain, one subject has two names.
                Some((.., accounts)) if accounts.contains(&account) => {}
                Some((.., accounts)) => accounts.push(account),
                None => exports.push((&grant.of_log, grant.has_many_answers, vec![account])),
            }
        }
    }
    let export = |(subject, has_many_answers, accounts)| match has_many_answers {
        true => json!({ "accounts": accounts, "response_type": "stream", "service": subject }),
        false => json!({ "accounts": accounts, "service": subject }),
    };
    exports.into_iter().map(export).collect()
}

fn imports(config: &UserConfig, own: &str) -> Vec<Value> {
    let import = |grant: &Grant| {
        let service = json!({ "account": own, "subject": grant.of_log });
        match grant.subject == grant.of_log {
            true => json!({ "service": service }),
            false => json!({ "service": service, "to": grant.subject }),
        }
    };
    config.publish.iter().map(import).collect()
}

/// JSON in as few lines as are readable. `indent` is that of the line that it begins on.
fn pretty(value: &Value, indent: usize) -> String {
    let short = value.to_string();
    if short.len() + indent <= WIDTH {
        return short;
    }
    let inner = indent + 2;
    let (open, lines, close): (_, Vec<String>, _) = match value {
        Value::Object(members) => {
            let line = |(name, value): (&String, &Value)| {
                format!("{}: {}", json!(name), pretty(value, inner))
            };
            ('{', members.iter().map(line).collect(), '}')
        }
        Value::Array(items) => ('[', items.iter().map(|item| pretty(item, inner)).collect(), ']'),
        _ => return short,
    };
    let (before, after) = (" ".repeat(inner), " ".repeat(indent));
    let lines = lines.join(&format!(",\n{before}"));
    format!("{open}\n{before}{lines}\n{after}{close}")
}
