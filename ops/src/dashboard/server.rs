//! Answering on a port: the page, and what is pushed to it.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::state::Dashboard;
use crate::http::{accept, answer};

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");
const CHART: &str = include_str!("page/chart.js");
const ICON: &str = include_str!("page/icon.svg");

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Clients at once. One more takes the place of the one that was silent the longest.
const CLIENTS: usize = 64;
/// A client that says nothing, takes nothing, or does not end what it asks, for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Proxies close what is silent: a comment is sent then.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Browsers connect again after this.
const RETRY: Duration = Duration::from_secs(1);

/// By which names of the host a page is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostRule {
    /// `localhost`, and addresses. A page of another site, which can give its own name our address,
    /// must not read this one.
    Local,
    /// Any name: whoever reaches the port may read.
    Any,
}

/// An address at which nobody can listen. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("the dashboard cannot be served at {address}: is something else listening there?")]
pub struct ServeError {
    /// Where.
    pub address: SocketAddr,
    source: io::Error,
}

/// An open port. It is closed when this is dropped.
#[derive(Debug)]
pub struct DashboardServer {
    address: SocketAddr,
    _stop: DropGuard,
}

impl DashboardServer {
    /// Opens the port and answers from now on; port 0 is any that is free.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn bind(
        address: SocketAddr,
        rule: HostRule,
        dashboard: &Dashboard,
    ) -> Result<Self, ServeError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = bound.await.map_err(|source| ServeError { address, source })?;
        let stop = CancellationToken::new();
        let (router, ending) = (router(rule, dashboard.clone(), stop.clone()), stop.clone());
        let answering = accept(listener, CLIENTS, SILENCE, move |client| {
            answer(client, router.clone(), SILENCE, ending.clone())
        });
        tokio::spawn(stop.clone().run_until_cancelled_owned(answering));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[derive(Clone)]
struct Shared {
    dashboard: Dashboard,
    stop: CancellationToken,
}

fn router(rule: HostRule, dashboard: Dashboard, stop: CancellationToken) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", PAGE))
        .route("/style.css", file("text/css; charset=utf-8", STYLE))
        .route("/script.js", file("text/javascript; charset=utf-8", SCRIPT))
        .route("/chart.js", file("text/javascript; charset=utf-8", CHART))
        .route("/icon.svg", file("image/svg+xml", ICON))
        .route("/events", get(events))
        .with_state(Shared { dashboard, stop })
        .layer(middleware::from_fn_with_state(rule, guard))
}

/// Refuses other names of the host, and says what a browser may do with the answer.
async fn guard(State(rule): State<HostRule>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 has it in the address.
    let host = host.or_else(|| request.uri().host()).unwrap_or_default();
    let mut response = match rule == HostRule::Any || is_local(host) {
        true => next.run(request).await,
        false => {
            let text = "this dashboard is given out by address or as localhost only\n";
            (StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
    };
    let said = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in said {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a host, perhaps with a port, is an address or `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// All that there is, then every change, until the client goes or the port is closed.
async fn events(State(Shared { dashboard, stop }): State<Shared>) -> Response {
    let alive = KeepAlive::new().interval(HEARTBEAT).text("alive");
    Sse::new(pushed(dashboard, stop)).keep_alive(alive).into_response()
}

fn pushed(
    dashboard: Dashboard,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    // Subscribed before the snapshot is made, so that nothing is missed in between.
    let news = dashboard.news();
    unfold((news, None), move |(mut news, sent)| {
        let (dashboard, stop) = (dashboard.clone(), stop.clone());
        async move {
            let (event, newest) = match sent {
                None => {
                    news.borrow_and_update();
                    let (json, newest) = dashboard.snapshot();
                    (Event::default().event("snapshot").retry(RETRY).data(json), newest)
                }
                Some(newest) => {
                    stop.run_until_cancelled(news.changed()).await?.ok()?;
                    let (json, newest) = dashboard.news_after(newest);
                    (Event::default().event("news").data(json), newest)
                }
            };
            Some((Ok(event), (news, Some(newest))))
        }
    })
}
