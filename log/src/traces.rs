//! Traces of events: their spans, and the context that travels in the headers of an entry.
//!
//! Spans are made with OpenTelemetry's API alone. Whether they go anywhere is decided by the program: if
//! it installs no SDK there are none, and no header.

use std::time::SystemTime;

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{
    Link, Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use tipline_proto::{Entry, Event, Headers, LogName, Timestamp};

pub use opentelemetry::global::BoxedSpan;

/// The headers of [W3C Trace Context](https://www.w3.org/TR/trace-context/).
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Most events that the span of a batch links to: what an SDK takes by default.
const LINKS: usize = 128;

/// A stage of an event's way, each a span. What it is called is part of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// From the commit to where the publisher reads the row.
    Outbox,
    /// From there until the log has acknowledged the entry.
    Send,
    /// The batch with the entry is verified.
    Verify,
    /// The batch with the entry is applied and fsynced.
    Apply,
    /// From there until the log has the receipt.
    Receipt,
}

impl Stage {
    /// The operation, and its type if the conventions for messaging have one.
    fn operation(self) -> (&'static str, Option<&'static str>) {
        match self {
            Stage::Outbox => ("outbox", None),
            Stage::Send => ("send", Some("send")),
            Stage::Verify => ("verify", None),
            Stage::Apply => ("apply", Some("process")),
            Stage::Receipt => ("receipt", Some("settle")),
        }
    }

    fn kind(self) -> SpanKind {
        match self {
            Stage::Send => SpanKind::Producer,
            Stage::Apply => SpanKind::Consumer,
            Stage::Receipt => SpanKind::Client,
            Stage::Outbox | Stage::Verify => SpanKind::Internal,
        }
    }
}

/// Who makes spans.
#[derive(Debug)]
pub struct Traces {
    tracer: BoxedTracer,
}

impl Traces {
    /// `None` if the program has no SDK so far: then nothing must be done for traces at all. If it has
    /// one, the start is a span itself, of this name.
    pub fn begin(start: &'static str) -> Option<Self> {
        let scope =
            InstrumentationScope::builder("tipline").with_version(env!("CARGO_PKG_VERSION"));
        let tracer = global::tracer_with_scope(scope.build());
        // Without an SDK a span has the context of its parent, and this one has no parent.
        let has_sdk = tracer.build_with_context(tracer.span_builder(start), &Context::new());
        has_sdk.span_context().is_valid().then_some(Self { tracer })
    }

    /// Begins the span of a stage of this entry. It must be ended, or dropped, which ends it too.
    pub fn span(
        &self,
        stage: Stage,
        (log, entry): (&LogName, &Entry),
        parent: Option<&SpanContext>,
        start: Timestamp,
    ) -> BoxedSpan {
        let mut attributes = attributes(stage, log);
        attributes.extend([
            KeyValue::new("messaging.message.id", entry.index.to_string()),
            KeyValue::new("messaging.message.body.size", count(entry.event.payload().len() as u64)),
            KeyValue::new("tipline.event.kind", entry.event.kind().as_str()),
        ]);
        if let Some(height) = height(&entry.event) {
            attributes.push(KeyValue::new("tipline.block.height", count(height)));
        }
        self.start(stage, log, parent, start, attributes)
    }

    /// Begins the span of a stage after its entry is gone.
    pub fn span_after(
        &self,
        stage: Stage,
        log: &LogName,
        parent: &SpanContext,
        start: Timestamp,
    ) -> BoxedSpan {
        self.start(stage, log, Some(parent), start, attributes(stage, log))
    }

    /// The span of a whole batch of `size` entries: a trace of its own, which links to the spans of the
    /// entries that are traced. Nothing if none is, or if it is no batch.
    pub fn batch(
        &self,
        stage: Stage,
        log: &LogName,
        size: usize,
        spans: &[SpanContext],
        (start, end): (Timestamp, Timestamp),
    ) {
        if size < 2 || spans.is_empty() {
            return;
        }
        let mut attributes = attributes(stage, log);
        attributes.push(KeyValue::new("messaging.batch.message_count", count(size as u64)));
        let links = spans.iter().take(LINKS).map(|span| Link::new(span.clone(), Vec::new(), 0));
        let builder = self
            .tracer
            .span_builder(format!("{} batch {log}", stage.operation().0))
            .with_kind(SpanKind::Client)
            .with_start_time(SystemTime::from(start))
            .with_attributes(attributes)
            .with_links(links.collect());
        let mut span = self.tracer.build_with_context(builder, &Context::new());
        end_at(&mut span, end);
    }

    fn start(
        &self,
        stage: Stage,
        log: &LogName,
        parent: Option<&SpanContext>,
        start: Timestamp,
        attributes: Vec<KeyValue>,
    ) -> BoxedSpan {
        let builder = self
            .tracer
            .span_builder(format!("{} {log}", stage.operation().0))
            .with_kind(stage.kind())
            .with_start_time(SystemTime::from(start))
            .with_attributes(attributes);
        let context = Context::new();
        let context = match parent {
            Some(parent) => context.with_remote_span_context(parent.clone()),
            None => context,
        };
        self.tracer.build_with_context(builder, &context)
    }
}

/// Ends a span at this time.
pub fn end_at(span: &mut BoxedSpan, time: Timestamp) {
    span.end_with_timestamp(SystemTime::from(time));
}

/// Puts the context of a span into the headers, by W3C Trace Context. A state that does not fit is left
/// out, as that allows.
pub fn inject(headers: &mut Headers, context: &SpanContext) {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    let state = context.trace_state().header();
    if headers.set(TRACEPARENT, &parent).is_ok() && !state.is_empty() {
        _ = headers.set(TRACESTATE, &state);
    }
}

/// The context of a span that is sampled, if the headers have one. Anything else is none: nothing depends
/// on it.
pub fn extract(headers: &Headers) -> Option<SpanContext> {
    let mut parts = headers.get(TRACEPARENT)?.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    let has_lengths = (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2);
    if !is_known || !has_lengths {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let state = headers.get(TRACESTATE).and_then(|state| state.parse().ok());
    let state = state.unwrap_or(TraceState::NONE);
    let context = SpanContext::new(trace, span, flags & TraceFlags::SAMPLED, true, state);
    (context.is_valid() && context.is_sampled()).then_some(context)
}

fn attributes(stage: Stage, log: &LogName) -> Vec<KeyValue> {
    let (name, kind) = stage.operation();
    let mut attributes = Vec::with_capacity(8);
    attributes.extend([
        KeyValue::new("messaging.system", "tipline"),
        KeyValue::new("messaging.destination.name", log.to_string()),
        KeyValue::new("messaging.operation.name", name),
    ]);
    attributes.extend(kind.map(|kind| KeyValue::new("messaging.operation.type", kind)));
    attributes
}

fn height(event: &Event) -> Option<u64> {
    match event {
        Event::BlockCommitted { height, .. } | Event::BlockProven { height, .. } => Some(*height),
        Event::RolledBack { to_height, .. } => Some(*to_height),
        _ => None,
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(state: &str) -> SpanContext {
        let (trace, span) = (TraceId::from_hex("0af7651916cd43dd8448eb211c80319c"), 0xb7ad_u64);
        let span = SpanId::from(span);
        SpanContext::new(trace.unwrap(), span, TraceFlags::SAMPLED, false, state.parse().unwrap())
    }

    #[test]
    fn a_context_travels_with_its_state() {
        let mut headers = Headers::default();
        inject(&mut headers, &context("a=1,b=2"));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-000000000000b7ad-01";
        assert_eq!(headers.get("traceparent"), Some(parent));
        let found = extract(&headers).unwrap();
        assert_eq!(found.trace_id(), context("").trace_id());
        assert_eq!(found.span_id(), context("").span_id());
        assert_eq!(found.trace_state().header(), "a=1,b=2");
        assert!(found.is_remote() && found.is_sampled());
    }

    #[test]
    fn a_state_that_does_not_fit_is_left_out() {
        let mut headers = Headers::default();
        inject(&mut headers, &context(&format!("a={},b={0}", "x".repeat(250))));
        assert_eq!(headers.get("tracestate"), None);
        assert!(extract(&headers).is_some());
    }

    #[test]
    fn what_is_no_context_is_none() {
        let read = |parent: &str| {
            let mut headers = Headers::default();
            headers.set("traceparent", parent).unwrap();
            extract(&headers)
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(read(good).is_some());
        // A later version may have more.
        assert!(read(&format!("01{}-x", &good[2..])).is_some());
        for wrong in [
            "x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333g-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad-01",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        assert!(extract(&Headers::default()).is_none());
    }
}
