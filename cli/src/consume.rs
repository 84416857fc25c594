//! `tipline replica` and `tipline backup`: follow the log into a store.

use tipline_proto::{ConsumerName, Role};

use crate::address::StoreAddress;
use crate::args::Shared;
use crate::report::{Exit, Failure, Sentence};
use crate::settings::Parsed;

/// Options of `tipline replica` and `tipline backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline replica --name replica-1 --store sqlite:replica.db
  tipline backup --name backup-1 --store sqlite:/backup/chain.db --log nats://a:4222,b:4222/mainnet

It goes on where the store is. A receipt is sent for what the store has fsynced. Ctrl-C or SIGTERM
applies what has arrived and ends with 0.")]
pub(crate) struct ConsumeArgs {
    /// Name of this consumer, unique in its log: 1 to 32 of a-z, 0-9 and -
    #[arg(long, env = "TIPLINE_NAME", value_name = "NAME", value_parser = Parsed::<ConsumerName>::new())]
    name: ConsumerName,

    /// Where to keep what is applied: sqlite:PATH. Created if it is not there
    #[arg(long, env = "TIPLINE_STORE", value_name = "STORE", value_parser = Parsed::<StoreAddress>::new())]
    store: StoreAddress,
}

/// Follows until it is asked to stop.
pub(crate) async fn run(shared: &Shared, role: Role, args: ConsumeArgs) -> Result<Exit, Failure> {
    let _ = (shared, role, args);
    Err(Sentence("not in this build".into()).into())
}
