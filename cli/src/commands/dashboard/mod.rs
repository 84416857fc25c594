//! `tipline dashboard`: the verdict as a page, from this process.

mod follow;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::BoolishValueParser;
use tipline_log::system_clock;
use tipline_ops::dashboard::{About, Dashboard, DashboardServer, HostRule, Watched, follow_kept};
use tipline_ops::{follow_checks, follow_places};
use tokio::sync::watch::channel;

use self::follow::Followed;
use crate::exit::Exit;
use crate::open::log::LogLocation;
use crate::options::{ExpectedArgs, ExpectedChecksArgs, IdentitiesArgs, Shared};
use crate::output::report::{Failure, Sentence};
use crate::output::runbook::remedies;
use crate::settings::Parsed;
use crate::signal;

/// Options of `tipline dashboard`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline dashboard
  tipline dashboard --listen 127.0.0.1:9000 --expect backup-1,archive
  tipline dashboard --checks s3://backup/mainnet --expect-verify 1d --expect-drill 7d
  tipline dashboard --log nats://127.0.0.1:4222/mainnet --policy 'any 2 of backup-* at durable'
  tipline dashboard --listen 0.0.0.0:9110 --without-login

It reads the log alone, asks no consumer anything, and changes nothing. The page asks no other host
for anything. There is no log-in: it listens on this machine only, unless --without-login says that
whoever reaches the address may read it. A proxy with a log-in belongs in front of it then.

It keeps the last 12 h in memory, so a page that is loaded again shows them: a point every 5 s for an
hour, then the worst of each minute. What is on the page: docs/dashboard.md.")]
pub(crate) struct DashboardArgs {
    /// Where the page is served
    #[arg(long, env = "TIPLINE_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:9110")]
    #[arg(value_parser = Parsed::<SocketAddr>::new())]
    listen: SocketAddr,

    /// Serve it beyond this machine, and by any name of the host: there is no log-in, so whoever
    /// reaches the address may read
    #[arg(long, env = "TIPLINE_WITHOUT_LOGIN", value_parser = BoolishValueParser::new())]
    without_login: bool,

    #[command(flatten)]
    expected: ExpectedArgs,

    #[command(flatten)]
    checks: ExpectedChecksArgs,

    /// File with the age identity (secret key) that an encrypted archive is read with
    #[arg(long, env = "TIPLINE_IDENTITY", value_name = "FILE")]
    identity: Vec<PathBuf>,

    #[command(flatten)]
    identities: IdentitiesArgs,
}

/// Serves the page until Ctrl-C.
pub(crate) async fn run(shared: &Shared, args: DashboardArgs) -> Result<Exit, Failure> {
    let host_rule = host_rule(&args)?;
    let place = LogLocation::new(shared, "dashboard")?;
    let expected = args.expected.expectation(shared.accept_shortfalls.clone());
    let (places, checks) = (args.checks.places()?, args.checks.expected()?);
    let rule = args.expected.retention_rule()?;
    let identities_at = args.identities.place()?;
    let dashboard = Dashboard::new(About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log: place.address(),
        limits: (&expected).into(),
        remedies: remedies(),
    });
    let stop = signal::on_signal()?;
    // At once, so that the page says what is waited for.
    let server = DashboardServer::bind(args.listen, host_rule, &dashboard).await?;
    tracing::info!("dashboard at http://{}/", server.address());

    let clock = system_clock();
    let (log, open) = channel(None);
    let (identity, at, by) = (args.identity.clone(), places.clone(), Arc::clone(&clock));
    let kept = follow_kept(Watched { places: at, identity, rule, clock: by }, open);
    let followed = async {
        let identities = args.identities.follow(identities_at, &clock);
        // At once: each may have to be waited for.
        let checks = follow_checks(checks, Arc::clone(&clock));
        let (checks, places, identities) = tokio::join!(checks, follow_places(places), identities);
        let followed =
            Followed { place, expected, clock, checks, places, identities, kept, log, dashboard };
        followed.for_ever().await;
    };
    stop.run_until_cancelled(followed).await;
    Ok(Exit::Ok)
}

/// There is no log-in: beyond this machine only if that is said.
fn host_rule(args: &DashboardArgs) -> Result<HostRule, Failure> {
    let DashboardArgs { listen, without_login, .. } = args;
    match (listen.ip().is_loopback(), without_login) {
        (_, true) => Ok(HostRule::Any),
        (true, false) => Ok(HostRule::Local),
        (false, false) => {
            let text =
                format!("the dashboard has no log-in, and {listen} can be reached from elsewhere");
            let advice = "listen at 127.0.0.1 and put a proxy with a log-in in front of it; or let \
                          whoever reaches it read: --without-login";
            Err(Failure::from(Sentence(text)).advise(advice))
        }
    }
}
