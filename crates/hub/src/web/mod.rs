//! The pages: server-rendered, without scripts, without anything from elsewhere.

mod answer;
mod package;
mod packages;
mod readme;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use answer::{Failure, security_headers};

use crate::Hub;

/// What every page shows around its content.
struct Frame {
    /// What is in the search box.
    query: String,
    /// How clients name this hub in references.
    host: String,
}

impl Frame {
    fn new(hub: &Hub, headers: &HeaderMap) -> Self {
        Self { query: String::new(), host: hub.host(headers) }
    }
}

/// `/`, `/p/…`, the assets and `/healthz`.
pub fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/", get(packages::show))
        .route("/p/{publisher}/{name}", get(package::newest))
        .route("/p/{publisher}/{name}/{version}", get(package::version))
        .route("/style.css", get(|| asset("text/css", include_str!("../../assets/style.css"))))
        .route("/icon.svg", get(|| asset("image/svg+xml", include_str!("../../assets/icon.svg"))))
        .route(
            "/favicon.ico",
            get(|| asset("image/svg+xml", include_str!("../../assets/icon.svg"))),
        )
        .route("/robots.txt", get(|| asset("text/plain", "User-agent: *\nDisallow: /v2/\n")))
        .route("/healthz", get(health))
        .fallback(nowhere)
}

async fn asset(kind: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=3600")], content)
}

/// 200 while the database answers.
async fn health(State(hub): State<Arc<Hub>>) -> Result<&'static str, Failure> {
    hub.store.ping().await?;
    Ok("ok\n")
}

async fn nowhere(State(hub): State<Arc<Hub>>, headers: HeaderMap, uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return Failure::NotFound("there is no such path in the API".into()).into_response();
    }
    answer::not_found(
        &hub,
        &headers,
        "This page is not in the hive",
        "The address may be mistyped.",
    )
}
