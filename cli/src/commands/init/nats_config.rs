//! `tipline init --print-nats-config`: accounts and permissions for the servers, with the least
//! rights for each role. Public keys only: what is printed is no secret.

mod text;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tipline_log::jetstream::{Nkey, UserConfig, UserRole};
use tipline_proto::{ConsumerName, LogName};

use crate::address::LogAddress;
use crate::exit::Exit;
use crate::options::Shared;
use crate::output::report::{Failure, Sentence, say};
use crate::settings::Parsed;

/// The user of the servers' own account, who may what no user of a log may.
const SYSTEM: &str = "system";

/// What is printed, and for whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Accounts and permissions on NATS")]
pub(super) struct NatsConfigArgs {
    /// Print the accounts and permissions for the servers' configuration instead of creating a log;
    /// =helm prints values of the NATS Helm chart
    ///
    /// Each user logs in with a key of its own and may do what its role needs: `primary`, one for each
    /// --consumer, `auditor`, `operator`, and `system` for the servers themselves. With --nats-domain
    /// also through leaf nodes, where the API has the name of the domain.
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "server", requires = "nats_keys")]
    print_nats_config: Option<Format>,

    /// Directory of the users' keys. USER.pub is the public one. If there is neither it nor USER.nk,
    /// both are made, and USER.nk is the secret to bring to the machine of that user
    #[arg(long, value_name = "DIR", requires = "print_nats_config")]
    nats_keys: Option<PathBuf>,

    /// A replica, backup or archive that gets a user. Give it for each one
    #[arg(long, value_name = "NAME", value_parser = Parsed::<ConsumerName>::new())]
    #[arg(requires = "print_nats_config")]
    consumer: Vec<ConsumerName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A file to include in the servers' configuration
    Server,
    /// Values of the NATS Helm chart
    Helm,
}

impl NatsConfigArgs {
    pub(super) fn is_asked(&self) -> bool {
        self.print_nats_config.is_some()
    }
}

/// A user, with its public key.
struct User {
    name: String,
    key: String,
    /// `None` for the one of the servers' own account.
    config: Option<UserConfig>,
}

/// Prints the configuration, and makes the keys that are not there.
///
/// # Errors
/// The log is not on NATS, two users have one name, or a key cannot be read or written.
pub(super) fn print(shared: &Shared, args: &NatsConfigArgs) -> Result<Exit, Failure> {
    let LogAddress::Nats(address) = &shared.log else {
        let text = "--print-nats-config is for a log on NATS: give --log nats://HOST:PORT/NAME";
        return Err(Sentence(text.to_owned()).into());
    };
    let log = address.name();
    let dir = args.nats_keys.clone().unwrap_or_default();
    let users = users(log, shared.nats.domain().as_deref(), &dir, &args.consumer)?;
    say(&match args.print_nats_config {
        Some(Format::Helm) => text::helm(log, &users),
        Some(Format::Server) | None => text::server(log, &users),
    })?;
    Ok(Exit::Ok)
}

fn users(
    log: &LogName,
    domain: Option<&str>,
    dir: &Path,
    consumers: &[ConsumerName],
) -> Result<Vec<User>, Failure> {
    let consumers = consumers.iter().cloned().map(UserRole::Consumer);
    let roles = std::iter::once(UserRole::Primary)
        .chain(consumers)
        .chain([UserRole::Auditor, UserRole::Operator]);
    let named = roles.map(|role| (role.name().to_owned(), Some(role.config(log, domain))));
    let mut users: Vec<User> = Vec::new();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| file(dir, error))?;
    for (name, config) in named.chain([(SYSTEM.to_owned(), None)]) {
        if users.iter().any(|user| user.name == name) {
            let text = format!("two users would be called {name}: give that consumer another name");
            return Err(Sentence(text).into());
        }
        let key = public_key(dir, &name)?;
        users.push(User { name, key, config });
    }
    Ok(users)
}

/// The public key of a user. Whoever keeps the secret one elsewhere leaves the public one here.
fn public_key(dir: &Path, name: &str) -> Result<String, Failure> {
    let (public, secret) = (dir.join(format!("{name}.pub")), dir.join(format!("{name}.nk")));
    match fs::read_to_string(&public) {
        Ok(text) if Nkey::is_public(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {
            let text = format!("{} has no public key of a user: it reads U…", public.display());
            return Err(Sentence(text).into());
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(file(&public, error)),
    }
    let key = match secret.exists() {
        true => Nkey::read(&secret).map_err(|error| Failure::from(Sentence(error.to_string())))?,
        false => {
            let key = Nkey::generate();
            let seed = key.seed().map_err(|error| Sentence(error.to_string()))?;
            write_new(&secret, &format!("{seed}\n"), 0o600)?;
            key
        }
    };
    write_new(&public, &format!("{}\n", key.public()), 0o644)?;
    Ok(key.public())
}

/// Writes a file that is not there, and makes it durable: a key that is lost locks somebody out.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut opened| {
        opened.write_all(text.as_bytes())?;
        opened.sync_all()
    });
    written.map_err(|error| file(path, error))
}

fn file(path: &Path, error: std::io::Error) -> Failure {
    Sentence(format!("{}: {error}", path.display())).into()
}
