//! The command line. It also defines the keys of `tipline.toml` and the environment: see
//! [`crate::settings`].

use clap::{CommandFactory, Parser};

use crate::commands::Command;
use crate::options::Shared;

/// Replicate a chain node's committed state: every block and proof is pushed through a durable log
/// to replicas and backups, which acknowledge what they hold.
#[derive(Debug, Parser)]
#[command(name = "tipline", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command line as it is parsed and shown.
pub(crate) fn command() -> clap::Command {
    share_examples(quiet(Args::command()), "tipline")
}

/// A command below another shows those of its examples that are its own.
fn share_examples(command: clap::Command, path: &str) -> clap::Command {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        let own = examples_of(&examples, &path);
        let is_without = below.get_after_help().is_none() && !own.is_empty();
        let below = if is_without { below.after_help(format!("Examples:{own}")) } else { below };
        share_examples(below, &path)
    })
}

/// The examples that begin with this command, each on lines of its own.
fn examples_of(help: &str, path: &str) -> String {
    let (mut own, mut continues) = (String::new(), false);
    for line in help.lines() {
        let begins = line.trim_start().strip_prefix(path).is_some_and(|rest| rest.starts_with(' '));
        if begins || continues {
            own = own + "\n" + line;
            continues = line.ends_with('\\');
        }
    }
    own
}

/// Values are not shown in help texts: they may be secret, and they are not the help.
fn quiet(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.hide_env_values(true)).mut_subcommands(quiet)
}

const AFTER_HELP: &str = "\
Examples:
  tipline demo
  tipline init --chain testnet --genesis 6fe28c0ab6f1b372…
  tipline primary --source dir:/var/lib/node/blocks
  tipline backup --name backup-1 --store sqlite:/backup/chain.db
  tipline archive --to s3://backups/testnet
  tipline status --watch
  tipline restore --store sqlite:chain.db --from s3://backup/mainnet --to height:1200000
  tipline get block tip --store sqlite:/backup/chain.db

Settings come from ./tipline.toml, then the environment, then flags; later ones win:
  log = \"nats://127.0.0.1:4222/mainnet\"    # TIPLINE_LOG, --log
  [backup]
  name = \"backup-1\"                         # TIPLINE_NAME, --name
  store = \"sqlite:/backup/chain.db\"         # TIPLINE_STORE, --store

Exit codes:
    0  done; drained after Ctrl-C or SIGTERM; status: well
    1  status: degraded
    2  failed, or called wrongly; status: broken
    3  fenced: a newer primary has claimed the log; do not restart this one by itself;
       status --nagios: unknown
   10  restoring: the target is older than everything that is kept
   11  restoring: the target is not there yet, or not known
   12  entries that are needed are missing
   13  what is needed is corrupt; verify, drill: something is wrong
   14  a log, a place, a store or an outbox is of another log or chain
   15  restoring: there is a store, or a key file, already
   16  a log, a primary, a store or a place does not answer
  130  ended at once by a second Ctrl-C; restore, refill, verify, drill: told to stop";

#[cfg(test)]
mod tests;
