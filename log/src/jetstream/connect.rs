//! The connection: made once, kept for ever, watched.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError, jetstream,
};
use tipline_proto::LogName;
use tokio::sync::watch;

use super::bounded::{Bounded, shortened};
use super::denials::{Denial, Denials, Denied};
use super::options::{JetStreamOptions, Login};
use super::{login, roles};
use crate::error::LogError;

/// A dead connection is noticed after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(3);
/// Time for connecting, and for one request to the API. A new leader takes 5 to 9 s. A caller that
/// asked before gets an error, and asks again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a request waits for a connection that is away before it fails.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(2);
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// A replica whose way to the log is open again must be back in a balancer's pool within 3 s.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Commands that wait for the socket. A unit is at most 1,000 messages.
const COMMANDS: usize = 2048;
/// Messages that wait for one subscription: more than twice of what a standing request asks
/// for, because beyond it the client drops them.
const ARRIVALS: usize = 4096;

/// A connection to the servers, with what is needed to speak of it in errors.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    /// The log's address as text, without any password.
    pub(super) place: String,
    log: LogName,
    /// What the subjects of the API begin with: `$JS.API`, or that of a domain.
    api: String,
    /// Who we are, for errors.
    user: String,
    pulse: watch::Receiver<Pulse>,
    denied: watch::Receiver<Denied>,
}

/// How the connection is.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    connected: bool,
    /// How often something sent to us may have been lost: disconnected, or dropped.
    losses: u64,
}

/// Tells whether anything sent to us may have been lost since it was made.
pub(super) struct Losses {
    pulse: watch::Receiver<Pulse>,
    seen: u64,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// `Unavailable` if no server answers; `Unusable` if one does and refuses.
    pub(super) async fn connect(options: &JetStreamOptions) -> Result<Self, LogError> {
        let addresses = addresses(options)?;
        let place = place(&addresses, options);
        login::check(options).map_err(|error| LogError::Unusable {
            place: place.clone(),
            why: "the login cannot be used".into(),
            source: Some(Box::new(error)),
        })?;
        let (pulse_tx, pulse) = watch::channel(Pulse { connected: false, losses: 0 });
        let (denied_tx, denied) = watch::channel(Denied::default());
        let client = connect_options(options, &place)
            .event_callback(on_event(place.clone(), pulse_tx, denied_tx))
            .connect(addresses.as_slice())
            .await
            .map_err(|error| refusal(&place, error))?;
        let context = ContextBuilder::new().timeout(PATIENCE);
        let (context, api) = match &options.domain {
            Some(domain) => {
                (context.domain(domain).build(client.clone()), format!("$JS.{domain}.API"))
            }
            None => (context.build(client.clone()), "$JS.API".to_owned()),
        };
        let user = format!(
            "{}, which connected as tipline {}",
            login::user(&options.login),
            options.purpose
        );
        let log = options.log.clone();
        let link = Self { client, context, place, log, api, user, pulse, denied };
        link.connected().await?;
        Ok(link)
    }

    /// A subject of the API, as the server sees it.
    pub(super) fn api(&self, subject: &str) -> String {
        format!("{}.{subject}", self.api)
    }

    /// What is denied from now on.
    pub(super) fn denials(&self) -> Denials {
        Denials::from_now_on(&self.denied)
    }

    /// Waits for the answer to what is published to a subject, unless the server denies it.
    ///
    /// # Errors
    /// `Denied`, at once: there would be no answer.
    pub(super) async fn unless_denied<T>(
        &self,
        subject: &str,
        asked: impl Future<Output = T>,
    ) -> Result<T, LogError> {
        let mut denials = self.denials();
        tokio::select! {
            biased;
            answer = asked => Ok(answer),
            denial = denials.of(subject) => Err(self.denied(&denial)),
        }
    }

    /// The user may not do this.
    pub(super) fn denied(&self, denial: &Denial) -> LogError {
        let hint = match denial {
            Denial::Subscribe(_) => {
                "replies are heard there: set the prefix of inboxes that the server's permissions \
                 give this user (nats-inbox)"
                    .to_owned()
            }
            Denial::Publish(subject) => roles::who_may(&self.log, self.without_domain(subject)),
        };
        let (place, user) = (self.place.clone(), self.user.clone());
        LogError::Denied { place, user, action: denial.action(), hint }
    }

    /// A subject of the API, as it is without a domain.
    fn without_domain<'a>(&self, subject: &'a str) -> std::borrow::Cow<'a, str> {
        match subject.strip_prefix(&self.api) {
            Some(rest) => format!("$JS.API{rest}").into(),
            None => subject.into(),
        }
    }

    /// Waits until there is a connection, for a short while.
    pub(super) async fn connected(&self) -> Result<(), LogError> {
        let mut pulse = self.pulse.clone();
        let connected = pulse.wait_for(|pulse| pulse.connected);
        match tokio::time::timeout(RECONNECT_PATIENCE, connected).await {
            Ok(Ok(_)) if !self.has_ended() => Ok(()),
            Ok(_) | Err(_) => Err(self.unavailable("reconnect", None)),
        }
    }

    /// Whether there is a connection, as far as is known.
    pub(super) fn is_connected(&self) -> bool {
        self.pulse.borrow().connected && !self.has_ended()
    }

    /// Whether the client will never be connected again. There are frames that its task panics over,
    /// and nobody else tells how the connection is. The last that it told is no news.
    fn has_ended(&self) -> bool {
        self.pulse.has_changed().is_err()
    }

    /// How often something may have been lost until now.
    pub(super) fn loss_count(&self) -> u64 {
        self.pulse.borrow().losses
    }

    /// From now on.
    pub(super) fn losses(&self) -> Losses {
        let seen = self.pulse.borrow().losses;
        Losses { pulse: self.pulse.clone(), seen }
    }

    /// The log is out of reach for now; for good, if the client has ended. Whoever waited for
    /// anything gets to here, so nobody waits for that.
    pub(super) fn unavailable(&self, what: &str, source: Option<super::error::Source>) -> LogError {
        let place = self.place.clone();
        if self.has_ended() {
            let why =
                "the server sent what ended the connection for good: start this program again";
            return LogError::Unusable { place, why: why.into(), source };
        }
        LogError::Unavailable { place, what: what.to_owned(), source }
    }
}

impl Losses {
    /// Whether something may have been lost.
    pub(super) fn any(&self) -> bool {
        self.pulse.borrow().losses != self.seen || self.pulse.has_changed().is_err()
    }

    /// Waits until something may have been lost.
    pub(super) async fn occur(&mut self) {
        let seen = self.seen;
        // An error means that the client is closed. Everything from here on is lost.
        let _closed = self.pulse.wait_for(|pulse| pulse.losses != seen).await.is_err();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.place).finish_non_exhaustive()
    }
}

fn addresses(options: &JetStreamOptions) -> Result<Vec<ServerAddr>, LogError> {
    let parse = |url: &str| {
        url.trim().parse::<ServerAddr>().map_err(|error| LogError::Unusable {
            place: without_password(url),
            why: "this is not an address of a NATS server; it reads nats://host:4222".into(),
            source: Some(Box::new(error)),
        })
    };
    options.url.split(',').map(parse).collect()
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}{}", &url[..scheme + 3], &url[at + 1..])
        }
        _ => url.to_owned(),
    }
}

fn place(addresses: &[ServerAddr], options: &JetStreamOptions) -> String {
    let hosts: Vec<String> =
        addresses.iter().map(|a| format!("{}:{}", a.host(), a.port())).collect();
    format!("nats://{}/{}", hosts.join(","), options.log)
}

fn connect_options(options: &JetStreamOptions, place: &str) -> ConnectOptions {
    let mut connecting = match options.login {
        Login::None => ConnectOptions::new(),
        _ => with_login(options, place),
    };
    if let Some(file) = &options.tls_ca {
        connecting = connecting.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &options.tls_identity {
        connecting = connecting.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(prefix) = &options.inbox {
        connecting = connecting.custom_inbox_prefix(prefix);
    }
    connecting
        .name(format!("tipline {}", options.purpose))
        .connection_timeout(PATIENCE)
        .ping_interval(PING_INTERVAL)
        .client_capacity(COMMANDS)
        .subscription_capacity(ARRIVALS)
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_pause)
}

/// The client reads certificates for every connection by itself. So is the login.
fn with_login(options: &JetStreamOptions, place: &str) -> ConnectOptions {
    let login = Arc::new(options.login.clone());
    let place: Arc<str> = place.into();
    let said = Arc::new(Mutex::new(None));
    ConnectOptions::with_auth_callback(move |nonce| {
        login::again(login.clone(), nonce, said.clone(), place.clone())
    })
}

/// The first attempt at once; then doubling, with jitter so that a fleet does not come back
/// in one moment.
fn reconnect_pause(attempt: usize) -> Duration {
    if attempt <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt - 2).unwrap_or(u32::MAX).min(16);
    let pause = RECONNECT_PAUSE.saturating_mul(1 << doublings).min(RECONNECT_PAUSE_MAX);
    // The standard library keys every hasher at random. That is enough for a pause.
    let percent = RandomState::new().build_hasher().finish() % 50;
    pause.mul_f64(0.75 + percent as f64 / 100.0)
}

/// What was said of a connection. A server decides how often each of it happens.
#[derive(Debug, Default)]
struct Said {
    lost: Bounded,
    dropped: Bounded,
    complaints: Bounded,
}

fn on_event(
    place: String,
    pulse: watch::Sender<Pulse>,
    denied: watch::Sender<Denied>,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    let said = Mutex::<Said>::default();
    move |event| {
        // Counters alone: a panic elsewhere leaves nothing half done.
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected => {
                denied.send_modify(Denied::connected);
                pulse.send_modify(|pulse| {
                    // The client drops what it tells too much of: that it was disconnected, too.
                    pulse.losses += u64::from(pulse.connected);
                    pulse.connected = true;
                });
            }
            Event::Disconnected | Event::Closed => {
                // Closed is what we do ourselves, when the log's handle is dropped.
                if matches!(event, Event::Disconnected)
                    && let Some(left_out) = said.lost.left_out()
                {
                    tracing::warn!(%place, left_out, "the connection to the log is lost; reconnecting");
                }
                pulse.send_modify(|pulse| {
                    pulse.connected = false;
                    pulse.losses += 1;
                });
            }
            Event::SlowConsumer(_) => {
                if let Some(left_out) = said.dropped.left_out() {
                    tracing::warn!(
                        %place, left_out,
                        "messages of the log were dropped here; asking for them again"
                    );
                }
                pulse.send_modify(|pulse| pulse.losses += 1);
            }
            Event::ServerError(error) => match denial(&error) {
                // Whoever asked for it gets it as an error.
                Some(denial) => {
                    tracing::debug!(%place, %error, "the log's server denies it");
                    denied.send_modify(|denied| denied.put(denial));
                }
                None => {
                    if let Some(left_out) = said.complaints.left_out() {
                        let error = shortened(&error.to_string());
                        tracing::warn!(%place, %error, left_out, "the log's server complains");
                    }
                }
            },
            Event::ClientError(error) => tracing::debug!(%place, %error, "no connection yet"),
            Event::LameDuckMode | Event::Draining => {}
        }
        std::future::ready(())
    }
}

fn denial(error: &ServerError) -> Option<Denial> {
    match error {
        ServerError::Other(text) => Denial::parse(text),
        ServerError::AuthorizationViolation | ServerError::SlowConsumer(_) => None,
    }
}

fn refusal(place: &str, error: async_nats::ConnectError) -> LogError {
    let (place, kind) = (place.to_owned(), error.kind());
    let why = match kind {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server refuses the login; check user, password, token, nkey or credentials file"
        }
        ConnectErrorKind::Tls => "TLS fails; check the certificates and the server's name",
        ConnectErrorKind::ServerParse => "the address cannot be read",
        _ => {
            let source = Some(Box::new(error) as _);
            return LogError::Unavailable { place, what: "connect".into(), source };
        }
    };
    LogError::Unusable { place, why: why.into(), source: Some(Box::new(error)) }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Level, Metadata, Subscriber};

    use super::*;

    /// Warnings and errors.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl Heard {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            write!(self.0, "{}={value:?} ", field.name()).unwrap();
        }
    }

    impl Subscriber for Heard {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::WARN
        }
        fn event(&self, event: &tracing::Event<'_>) {
            let mut text = Text(String::new());
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn no_password_in_messages() {
        assert_eq!(without_password("nats://u:p@ss@host:1"), "nats://host:1");
        assert_eq!(without_password("nats://host:1"), "nats://host:1");
    }

    /// What is said is said on the thread of the test.
    #[tokio::test(start_paused = true)]
    async fn a_server_does_not_fill_the_log_of_the_process() {
        let heard = Heard::default();
        let _listening = tracing::subscriber::set_default(heard.clone());
        let (pulse_tx, pulse) = watch::channel(Pulse { connected: false, losses: 0 });
        let (denied_tx, _denied) = watch::channel(Denied::default());
        let on_event = on_event("test".into(), pulse_tx, denied_tx);
        let all = async |times: u64| {
            for number in 0..times {
                let complaint = ServerError::Other(format!("{number} {}", "x".repeat(100_000)));
                for event in [
                    Event::Connected,
                    Event::ServerError(complaint),
                    Event::SlowConsumer(1),
                    Event::Disconnected,
                ] {
                    on_event(event).await;
                }
            }
        };
        all(1000).await;
        let said = heard.take();
        for part in ["is lost", "were dropped", "complains"] {
            let times = said.iter().filter(|text| text.contains(part)).count();
            assert_eq!(times, 16, "{part}");
        }
        assert!(said.iter().all(|text| text.len() < 500), "{said:?}");
        assert_eq!(pulse.borrow().losses, 2000, "they are counted all the same");
        tokio::time::advance(Duration::from_secs(600)).await;
        all(1).await;
        let said = heard.take();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.iter().all(|text| text.contains("left_out=984")), "{said:?}");
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(reconnect_pause(0), Duration::ZERO);
        assert_eq!(reconnect_pause(1), Duration::ZERO);
        for attempt in 2..100 {
            let pause = reconnect_pause(attempt);
            assert!(pause >= RECONNECT_PAUSE.mul_f64(0.75), "{attempt}: {pause:?}");
            assert!(pause <= RECONNECT_PAUSE_MAX.mul_f64(1.25), "{attempt}: {pause:?}");
        }
    }
}
