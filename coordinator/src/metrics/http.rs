//! Requests to the HTTP API.

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use hyper::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use super::{OTHER, SHORT};

/// Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct HttpMetrics {
    requests: Family<Answered, Counter>,
    took: Family<Route, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    /// `2xx` and so on.
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self { requests: Family::default(), took: Family::new_with_constructor(|| Histogram::new(SHORT)) }
    }
}

impl HttpMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests that were answered, by route", self.requests.clone());
        registry.register_with_unit(
            "http_answer",
            "From a request's headers to those of its answer; bodies take their own time",
            Unit::Seconds,
            self.took.clone(),
        );
    }
}

/// A layer that counts.
pub(crate) async fn observe(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = method(request.method());
    // As it is in the router, with the names of its parts: whatever is asked for, there are as many as routes.
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| OTHER.to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = match response.status().as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics.requests.get_or_create(&Answered { method, route: route.clone(), status }).inc();
    metrics.took.get_or_create(&Route { method, route }).observe(began.elapsed().as_secs_f64());
    response
}

/// Anybody may send a word of their own as method.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}
