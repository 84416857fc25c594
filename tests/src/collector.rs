//! A collector of OpenTelemetry, which keeps what it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A collector that listens on two ports of its own until it is dropped.
#[derive(Debug)]
pub struct Collector {
    grpc: String,
    http: String,
    received: Received,
    /// Aborted when they are dropped.
    _serving: JoinSet<()>,
}

/// A span, and the service that it is of.
#[derive(Debug, Clone)]
pub struct CollectedSpan {
    /// `service.name` of who sent it.
    pub service: String,
    /// The span itself.
    pub span: Span,
}

#[derive(Debug, Clone, Default)]
struct Received {
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
    /// Names of metrics, and who sent them.
    metrics: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start() -> Collector {
        let ((grpc, grpc_url), (http, http_url)) = (listen().await, listen().await);
        let received = Received::default();
        let serving_grpc = Server::builder()
            .add_service(TraceServiceServer::new(received.clone()))
            .add_service(MetricsServiceServer::new(received.clone()))
            .serve_with_incoming(TcpIncoming::from(grpc));
        let routes = Router::new()
            .route("/v1/traces", post(take::<ExportTraceServiceRequest>))
            .route("/v1/metrics", post(take::<ExportMetricsServiceRequest>))
            .with_state(received.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            serving_grpc.await.unwrap_or_else(|error| panic!("the collector: {error}"));
        });
        serving.spawn(async move {
            axum::serve(http, routes)
                .await
                .unwrap_or_else(|error| panic!("the collector: {error}"));
        });
        Collector { grpc: grpc_url, http: http_url, received, _serving: serving }
    }

    /// Where it is sent to over gRPC.
    pub fn url(&self) -> &str {
        &self.grpc
    }

    /// Where it is sent to over HTTP.
    pub fn http_url(&self) -> &str {
        &self.http
    }

    /// All spans that it was sent.
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.received.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The metrics that it was sent, by name, with who sent them last.
    pub fn metrics(&self) -> BTreeMap<String, String> {
        self.received.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.unwrap_or_else(|error| panic!("no port: {error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("no port: {error}"));
    (listener, format!("http://{address}"))
}

/// What is sent in one request.
trait Sent: Message + Default {
    fn keep(self, received: &Received);
}

/// Takes it over HTTP.
async fn take<T: Sent>(State(received): State<Received>, body: Bytes) -> StatusCode {
    match T::decode(body) {
        Ok(sent) => {
            sent.keep(&received);
            // An empty answer is a whole one: everything was taken.
            StatusCode::OK
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

impl Sent for ExportTraceServiceRequest {
    fn keep(self, received: &Received) {
        let mut spans = received.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in self.resource_spans {
            let service = service(of_resource.resource.as_ref());
            let all = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.map(|span| CollectedSpan { service: service.clone(), span }));
        }
    }
}

impl Sent for ExportMetricsServiceRequest {
    fn keep(self, received: &Received) {
        let mut metrics = received.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        for of_resource in self.resource_metrics {
            let service = service(of_resource.resource.as_ref());
            let all = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            metrics.extend(all.map(|metric| (metric.name, service.clone())));
        }
    }
}

impl CollectedSpan {
    /// An attribute, as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

fn service(resource: Option<&Resource>) -> String {
    resource.and_then(|resource| text(&resource.attributes, "service.name")).unwrap_or_default()
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        request.into_inner().keep(self);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        request.into_inner().keep(self);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
