//! Who may do what: one table, from which the servers' configuration is made, and which says in
//! errors who may do what was denied.
//!
//! Permissions look at the subject that a user publishes to, and not at the subject that it asks the
//! answer to be sent to. In the account of the streams a server would store its answer as an event,
//! if a reader asked for it there. So each user has an account of its own, which has of the log what
//! it imports: the answers stay there.
//!
//! The names of a stream's consumers are one word of a subject each, so rights on them cannot be
//! told apart by name: a consumer can disturb the delivery to another one, which notices. It cannot
//! write its receipts. Who only reads cannot, because names are random and it may not list them.

use std::fmt;

use tipline_proto::subject::{Subject, events_stream, receipts_stream};
use tipline_proto::{ConsumerName, LogName};

/// What a user of the servers is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserRole {
    /// Publishes the events, and announces how far it is.
    Primary,
    /// Reads the events, and puts receipts under its own name.
    Consumer(ConsumerName),
    /// Reads.
    Auditor,
    /// Creates the log, trims it, forgets consumers: all of the log but its events.
    Operator,
}

/// A user, as it is in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserConfig {
    /// What it is for.
    pub role: UserRole,
    /// The account that it is in. That of the log is the operator's alone, and every other user is
    /// alone in its own.
    pub account: String,
    /// What it may publish to: the subjects of the API are among them.
    pub publish: Vec<Grant>,
    /// Subjects that it may subscribe to.
    pub subscribe: Vec<String>,
}

/// A subject that a user may publish to. It may have wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// As the user publishes to it.
    pub subject: String,
    /// As the account of the log has it. Another one if the user says the name of the domain.
    pub of_log: String,
    /// Whether a request has more than one answer.
    pub has_many_answers: bool,
}

/// The account that has the streams of a log.
pub fn account_of(log: &LogName) -> String {
    format!("tipline-{log}")
}

/// Rights that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Ask what the streams are, read what is in them.
    Read,
    /// Be one of those that the servers know by name.
    Follow,
    PublishEvents,
    Announce,
    PutReceipts,
    /// Remove a consumer that is gone.
    Forget,
    KeepClaim,
    /// Everything about streams.
    Manage,
}

use Right::{Announce, Follow, Forget, KeepClaim, Manage, PublishEvents, PutReceipts, Read};

const PRIMARY: &[Right] = &[Read, PublishEvents, Announce];
const CONSUMER: &[Right] = &[Read, Follow, PutReceipts];
const AUDITOR: &[Right] = &[Read];
const OPERATOR: &[Right] = &[Read, Forget, KeepClaim, Manage];

impl UserRole {
    /// A name for the user that no other user of the log has, and that no consumer can have twice.
    pub fn name(&self) -> &str {
        match self {
            UserRole::Primary => "primary",
            UserRole::Consumer(name) => name.as_str(),
            UserRole::Auditor => "auditor",
            UserRole::Operator => "operator",
        }
    }

    /// The prefix of its inboxes: nobody else may subscribe to what begins so.
    pub fn inbox(&self) -> String {
        match self {
            UserRole::Consumer(name) => format!("_INBOX.consumer.{name}"),
            other => format!("_INBOX.{}", other.name()),
        }
    }

    /// What the server must allow it, on one log. What is not named is denied. With the `domain` of
    /// the log, the API is allowed by that name too, as who comes through a leaf node calls it.
    pub fn config(&self, log: &LogName, domain: Option<&str>) -> UserConfig {
        let subjects = self.rights().iter().flat_map(|right| right.subjects(log, self));
        let publish = subjects.flat_map(|subject| grants(subject, domain)).collect();
        let account = match self {
            UserRole::Operator => account_of(log),
            // No log and no consumer has a `_` in its name.
            other => format!("{}_{}", account_of(log), other.name()),
        };
        let subscribe = vec![format!("{}.>", self.inbox())];
        UserConfig { role: self.clone(), account, publish, subscribe }
    }

    fn rights(&self) -> &'static [Right] {
        match self {
            UserRole::Primary => PRIMARY,
            UserRole::Consumer(_) => CONSUMER,
            UserRole::Auditor => AUDITOR,
            UserRole::Operator => OPERATOR,
        }
    }
}

fn grants(subject: String, domain: Option<&str>) -> impl Iterator<Item = Grant> {
    let has_many_answers = subject.contains(".CONSUMER.MSG.NEXT.");
    let by_domain = domain
        .and_then(|domain| Some(format!("$JS.{domain}.API.{}", subject.strip_prefix("$JS.API.")?)));
    let published = [Some(subject.clone()), by_domain].into_iter().flatten();
    published.map(move |published| Grant {
        subject: published,
        of_log: subject.clone(),
        has_many_answers,
    })
}

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserRole::Consumer(name) => write!(f, "consumer {name}"),
            other => f.write_str(other.name()),
        }
    }
}

impl Right {
    const ALL: [Right; 8] =
        [Read, Follow, PublishEvents, Announce, PutReceipts, Forget, KeepClaim, Manage];

    /// The subjects that it takes to publish to.
    fn subjects(self, log: &LogName, role: &UserRole) -> Vec<String> {
        let (events, receipts) = (events_stream(log), receipts_stream(log));
        match self {
            Read => {
                let of = |stream: &str| {
                    [
                        format!("$JS.API.STREAM.INFO.{stream}"),
                        format!("$JS.API.STREAM.MSG.GET.{stream}"),
                        // For a consumer that goes with who made it. The body may name another one,
                        // which is random: SECURITY.md.
                        format!("$JS.API.CONSUMER.CREATE.{stream}"),
                        format!("$JS.API.CONSUMER.INFO.{stream}.*"),
                        format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.*"),
                    ]
                };
                let streams = of(&events).into_iter().chain(of(&receipts));
                std::iter::once("$JS.API.INFO".to_owned()).chain(streams).collect()
            }
            Follow => vec![
                format!("$JS.API.CONSUMER.CREATE.{events}.*"),
                format!("$JS.API.CONSUMER.NAMES.{events}"),
                format!("$JS.API.CONSUMER.DELETE.{events}.*"),
                format!("$JS.ACK.{events}.>"),
                // The same in servers with domains.
                format!("$JS.ACK.*.*.{events}.>"),
            ],
            PublishEvents => vec![Subject::events(log)],
            Announce => vec![Subject::Primary(log.clone()).to_string()],
            PutReceipts => vec![match role {
                UserRole::Consumer(name) => Subject::Receipt(log.clone(), name.clone()).to_string(),
                _ => Subject::receipts(log),
            }],
            Forget => vec![
                format!("$JS.API.CONSUMER.NAMES.{events}"),
                format!("$JS.API.CONSUMER.DELETE.{events}.*"),
                Subject::receipts(log),
            ],
            KeepClaim => vec![Subject::Claim(log.clone()).to_string()],
            Manage => ["$JS.API.>", "$JS.SNAPSHOT.>"].map(str::to_owned).to_vec(),
        }
    }

    fn holders(self) -> Vec<&'static str> {
        let roles = [
            ("primary", PRIMARY),
            ("consumer", CONSUMER),
            ("auditor", AUDITOR),
            ("operator", OPERATOR),
        ];
        roles
            .into_iter()
            .filter(|(_, rights)| rights.contains(&self))
            .map(|(role, _)| role)
            .collect()
    }
}

/// Which role may publish to a subject, for whom the server does not let.
pub(super) fn who_may(log: &LogName, subject: impl AsRef<str>) -> String {
    let subject = subject.as_ref();
    if let Ok(Subject::Receipt(_, name)) = subject.parse() {
        return format!(
            "that is for the user of consumer {name}; give every consumer its own user, and the \
             name of that user"
        );
    }
    // The operator's rights are wide: what a narrower one has is named first.
    let has = |right: &Right| {
        let subjects = right.subjects(log, &UserRole::Operator);
        subjects.iter().any(|pattern| matches(pattern, subject))
    };
    let mut roles: Vec<&str> = Vec::new();
    for role in Right::ALL.into_iter().filter(has).flat_map(Right::holders) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    match roles.as_slice() {
        [] => "no role of this log may; is it the account, or the domain, of the log?".to_owned(),
        [role] => format!("only the role {role} may, and this user has another one"),
        roles => format!("the roles {} may, and this user has none of them", roles.join(", ")),
    }
}

/// Whether a subject is one of a pattern's.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> LogName {
        "main".parse().unwrap()
    }

    fn may(role: &UserRole, subject: &str) -> bool {
        let config = role.config(&log(), None);
        config.publish.iter().any(|grant| matches(&grant.subject, subject))
    }

    fn roles() -> [UserRole; 4] {
        let name = "backup-1".parse().unwrap();
        [UserRole::Primary, UserRole::Consumer(name), UserRole::Auditor, UserRole::Operator]
    }

    /// Against a real server: `tests/integration/roles/`.
    #[test]
    fn each_role_may_what_it_is_for_and_nothing_else() {
        let cases = [
            ("tipline.main.event.block_committed", [true, false, false, false]),
            ("tipline.main.primary", [true, false, false, false]),
            ("tipline.main.receipt.backup-1", [false, true, false, true]),
            ("tipline.main.receipt.backup-2", [false, false, false, true]),
            ("tipline.main.claim", [false, false, false, true]),
            ("tipline.other.event.block_committed", [false; 4]),
            ("$JS.API.STREAM.MSG.GET.tipline-main-events", [true; 4]),
            ("$JS.API.STREAM.MSG.GET.other", [false, false, false, true]),
            ("$JS.API.STREAM.PURGE.tipline-main-events", [false, false, false, true]),
            ("$JS.API.STREAM.DELETE.tipline-main-events", [false, false, false, true]),
            ("$JS.API.STREAM.RESTORE.tipline-main-events", [false, false, false, true]),
            ("$JS.API.STREAM.UPDATE.tipline-main-events", [false, false, false, true]),
            ("$JS.API.META.RESCUE", [false, false, false, true]),
            ("$JS.API.CONSUMER.CREATE.tipline-main-events.x", [false, true, false, true]),
        ];
        for (subject, expected) in cases {
            assert_eq!(roles().map(|role| may(&role, subject)), expected, "{subject}");
        }
    }

    #[test]
    fn nobody_hears_the_replies_to_another() {
        let inboxes: Vec<String> =
            roles().iter().flat_map(|role| role.config(&log(), None).subscribe).collect();
        for (number, one) in inboxes.iter().enumerate() {
            let other = inboxes.iter().enumerate().filter(|(other, _)| *other != number);
            for (_, other) in other {
                assert!(!matches(one, &other.replace('>', "x.y")), "{one} {other}");
            }
        }
        // A consumer may be called as a role is.
        let named = UserRole::Consumer("primary".parse().unwrap());
        assert_ne!(named.inbox(), UserRole::Primary.inbox());
    }

    #[test]
    fn each_user_is_alone_in_its_account() {
        let accounts = roles().map(|role| role.config(&log(), None).account);
        let expected = ["main_primary", "main_backup-1", "main_auditor", "main"];
        assert_eq!(accounts, expected.map(|name| format!("tipline-{name}")));
    }

    #[test]
    fn through_a_leaf_node_the_api_has_the_name_of_the_domain() {
        let subjects = |domain: Option<&str>| -> Vec<(String, String)> {
            let config = UserRole::Auditor.config(&log(), domain);
            config.publish.into_iter().map(|grant| (grant.subject, grant.of_log)).collect()
        };
        let plain = subjects(None);
        let with_domain = subjects(Some("hub"));
        for (subject, of_log) in &plain {
            assert_eq!(subject, of_log);
            let named = subject.replace("$JS.API", "$JS.hub.API");
            assert!(with_domain.contains(&(named, of_log.clone())), "{subject}");
        }
        assert!(plain.iter().all(|one| with_domain.contains(one)));
        assert_eq!(with_domain.len(), 2 * plain.len());
    }

    #[test]
    fn a_denial_says_who_may() {
        let told = |subject: &str| who_may(&log(), subject);
        assert!(told("tipline.main.event.proof_attached").starts_with("only the role primary may"));
        assert!(told("tipline.main.receipt.b").starts_with("that is for the user of consumer b"));
        assert!(told("$JS.API.STREAM.PURGE.x").starts_with("only the role operator may"));
        let follow = told("$JS.API.CONSUMER.DELETE.tipline-main-events.x");
        assert!(follow.contains("consumer, operator"), "{follow}");
        assert!(told("tipline.other.primary").starts_with("no role of this log may"));
    }
}
