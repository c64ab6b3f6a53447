//! What the service counts, for Prometheus. Labels are words of enumerations and templates of routes: no name, path, key or address
//! gets into one, and there is a bound on how many series there are.

use crate::expiry;
use crate::finish::Side;
use crate::service::Service;
use crate::shares::Shares;
use crate::store::{SqliteStore, Store, StoreError, Tx as _};
use axum::extract::MatchedPath;
use axum::http::Method;
use ccnode_evidence::{Code, EvidenceKind, UnixTime};
use ccnode_protocol::{ATTEST, AUTH, CERTIFICATE, GRANTS, REFUSALS};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// `GET` of all of it, on the administrators' listener.
pub const PATH: &str = "/metrics";
/// Of the page, as Prometheus names it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What is of no route.
const OTHER: &str = "other";

/// Seconds; an appraisal takes milliseconds, and a mirror's answer seconds.
const APPRAISAL: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
const REQUEST: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
const COMMIT: [f64; 9] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 5.0];

/// The template of a route that there is; there is no other way to make one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Route(&'static str);

impl Route {
    /// The template, or `other`.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether resources are named below it.
    pub fn is_of_resources(self) -> bool {
        self.0.contains("/resource")
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Requests {
    listener: &'static str,
    method: &'static str,
    route: &'static str,
    status: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Durations {
    listener: &'static str,
    route: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Sessions {
    outcome: &'static str,
    code: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Appraisals {
    tee: &'static str,
    verdict: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Certificate {
    file: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Source {
    source: &'static str,
}

type Timed<L> = Family<L, Histogram, fn() -> Histogram>;

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    templates: Vec<&'static str>,
    requests: Family<Requests, Counter>,
    durations: Timed<Durations>,
    sessions: Family<Sessions, Counter>,
    appraisals: Timed<Appraisals>,
    connections: Family<Listener, Gauge>,
    audit_rows: Gauge,
    collateral_age: Family<Source, Gauge>,
    certificates: Family<Certificate, Gauge>,
}

/// How the commits of a store are timed.
pub fn commits() -> Histogram {
    Histogram::new(COMMIT)
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// Counts one more.
    pub fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Nothing counted yet; `templates` are those of all routes.
    pub fn new(templates: Vec<&'static str>, store: &SqliteStore, attestations: &Shares) -> Self {
        let durations: Timed<Durations> = Family::new_with_constructor(|| Histogram::new(REQUEST));
        let appraisals: Timed<Appraisals> = Family::new_with_constructor(|| Histogram::new(APPRAISAL));
        let mut metrics = Self {
            registry: Registry::with_prefix("ccnode"),
            templates,
            requests: Family::default(),
            durations,
            sessions: Family::default(),
            appraisals,
            connections: Family::default(),
            audit_rows: Gauge::default(),
            collateral_age: Family::default(),
            certificates: Family::default(),
        };
        let r = &mut metrics.registry;
        r.register("requests", "Requests answered, by route and status", metrics.requests.clone());
        r.register("request_duration_seconds", "From head to answer", metrics.durations.clone());
        r.register("sessions", "Steps of sessions, and refusals by code", metrics.sessions.clone());
        r.register("appraisal_duration_seconds", "Of one appraisal", metrics.appraisals.clone());
        r.register("connections_open", "Connections now", metrics.connections.clone());
        r.register("attestations_waiting", "Attestations that wait for a place", attestations.waiting());
        r.register("store_commit_duration_seconds", "Of one commit to the disk", store.commits());
        r.register("audit_rows", "Rows of the audit log", metrics.audit_rows.clone());
        r.register(
            "collateral_age_seconds",
            "Since the bundle in use was made",
            metrics.collateral_age.clone(),
        );
        r.register("certificate_not_after_seconds", "Ends, since 1970", metrics.certificates.clone());
        metrics
    }

    /// The route of a matched path.
    pub fn route(&self, path: Option<&MatchedPath>) -> Route {
        let known = path.and_then(|path| self.templates.iter().find(|known| **known == path.as_str()));
        Route(known.copied().unwrap_or(OTHER))
    }

    /// Counts a connection of this listener for as long as the answer lives.
    pub fn connection(&self, side: Side) -> Open {
        Open::new(self.connections.get_or_create_owned(&Listener { listener: side.as_str() }))
    }

    /// Counts an answered request; on the nodes' side also what it means for a session.
    pub fn answered(&self, of: &Answered) {
        let listener = of.side.as_str();
        let route = of.route.as_str();
        let (method, status) = (method(&of.method), u32::from(of.status));
        self.requests.get_or_create(&Requests { listener, method, route, status }).inc();
        self.durations.get_or_create(&Durations { listener, route }).observe(of.took.as_secs_f64());
        let outcome = match (of.side, of.code) {
            (Side::Admin, _) | (_, Some(Code::NotFound)) => return,
            (Side::Node, Some(_)) => "refused",
            (Side::Node, None) if of.status >= 300 => return,
            (Side::Node, None) => match route {
                AUTH => "challenged",
                ATTEST => "accepted",
                GRANTS => "granted",
                CERTIFICATE => "certified",
                REFUSALS => "refused-by-node",
                _ => return,
            },
        };
        let code = of.code.map_or("", Code::as_str);
        self.sessions.get_or_create(&Sessions { outcome, code }).inc();
    }

    /// Counts an appraisal.
    pub fn appraised(&self, kind: EvidenceKind, accepted: bool, took: Duration) {
        let verdict = if accepted { "accepted" } else { "refused" };
        let labels = Appraisals { tee: kind.as_str(), verdict };
        self.appraisals.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The page, in the text form of OpenMetrics; what is not counted but looked up is looked up now.
    pub async fn page<S: Store>(&self, service: &Service<S>) -> Result<String, PageError> {
        let end = service.store.read().await?.audit_end().await?;
        self.audit_rows.set(number(end.map_or(0, |(seq, _)| seq)));
        match service.collateral.age(UnixTime(service.now())) {
            Some(age) => _ = self.collateral_age.get_or_create(&Source { source: "bundle" }).set(number(age)),
            None => self.collateral_age.clear(),
        }
        for (file, end) in expiry::ends(&service.dir) {
            self.certificates.get_or_create(&Certificate { file }).set(end);
        }
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The audit log can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The text can't be written.
    #[error("metrics: {0}")]
    Text(#[from] std::fmt::Error),
}

/// What there is to count of a request.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Which listener.
    pub side: Side,
    /// As it was asked.
    pub method: Method,
    /// Where.
    pub route: Route,
    /// Of the answer.
    pub status: u16,
    /// Of the refusal, where it is one.
    pub code: Option<Code>,
    /// From the head to the answer.
    pub took: Duration,
}

/// Anybody can make up methods.
pub fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => OTHER,
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
