//! How pages and their failures are sent.

use askama::Template;
use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;
use skep_spec::chain;

use super::Frame;
use crate::Hub;
use crate::store::StoreError;

/// Why there is no page.
#[derive(Debug)]
pub enum Failure {
    /// The store failed; its log entry is written.
    Internal,
    /// There is no such thing, said so.
    NotFound(String),
    /// What was asked cannot be read, said so.
    BadRequest(String),
    /// This path is only read.
    Method,
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    frame: Frame,
    title: &'a str,
    text: &'a str,
}

/// Renders a page.
pub fn page(template: &impl Template) -> Result<Response, Failure> {
    match template.render() {
        Ok(html) => Ok(Html(html).into_response()),
        Err(error) => {
            tracing::error!(%error, "cannot render a page");
            Err(Failure::Internal)
        }
    }
}

/// The page for what is not there.
pub fn not_found(hub: &Hub, headers: &HeaderMap, title: &str, text: &str) -> Response {
    let message = Message { frame: Frame::new(hub, headers), title, text };
    match page(&message) {
        Ok(page) => (StatusCode::NOT_FOUND, page).into_response(),
        Err(failure) => failure.into_response(),
    }
}

/// Tells browsers to run and load nothing but what this hub serves, whatever a package puts on a page.
pub async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    );
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    response
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %chain(&error), "the store failed");
        Self::Internal
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the hub failed; its log says why".to_owned(),
            ),
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "not-found", message),
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, "bad-request", message),
            Self::Method => {
                let message = "this path is only read: GET it".to_owned();
                (StatusCode::METHOD_NOT_ALLOWED, "no-such-method", message)
            }
        };
        (status, Json(json!({ "code": code, "message": message }))).into_response()
    }
}
