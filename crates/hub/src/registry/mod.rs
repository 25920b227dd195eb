//! The OCI distribution API, version 1.1, below `/v2/`.

mod auth;
mod blobs;
mod error;
mod manifests;
mod referrers;
mod route;
mod tags;
mod uploads;

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};

pub use error::{Code, OciError};
pub use route::Route;

use crate::Hub;
use crate::drain::drain;

/// The digest of what an answer carries or a push made.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// `/v2/…` and `/token`.
pub fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/v2", any(dispatch))
        .route("/v2/", any(dispatch))
        .route("/v2/{*path}", any(dispatch))
        .route("/token", get(auth::token))
}

async fn dispatch(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let mut response = match answer(&hub, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    let version = HeaderValue::from_static("registry/2.0"); // old clients look for it
    response.headers_mut().insert("docker-distribution-api-version", version);
    response
}

async fn answer(hub: &Hub, request: Request) -> Result<Response, OciError> {
    let (parts, body) = request.into_parts();
    let route = Route::parse(parts.uri.path())?;
    match parts.method {
        Method::GET | Method::HEAD => read(hub, route, &parts).await,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
            write(hub, route, &parts, body).await
        }
        _ => Err(unsupported()),
    }
}

async fn read(hub: &Hub, route: Route, parts: &Parts) -> Result<Response, OciError> {
    match route {
        Route::Ping => {
            auth::ping(hub, &parts.headers).await?;
            Ok(axum::Json(serde_json::json!({})).into_response())
        }
        Route::Blob(repository, digest) => blobs::read(hub, &repository, &digest, parts).await,
        Route::Manifest(repository, reference) => {
            manifests::read(hub, &repository, &reference).await
        }
        Route::Tags(repository) => tags::list(hub, &repository, parts).await,
        Route::Referrers(repository, subject) => {
            referrers::list(hub, &repository, &subject, parts).await
        }
        Route::Upload(repository, id) => {
            auth::may_push(hub, &parts.headers, &repository).await?;
            uploads::status(hub, &repository, &id)
        }
        Route::Uploads(_) => Err(unsupported()),
    }
}

async fn write(hub: &Hub, route: Route, parts: &Parts, body: Body) -> Result<Response, OciError> {
    let (Route::Blob(repository, _)
    | Route::Uploads(repository)
    | Route::Upload(repository, _)
    | Route::Manifest(repository, _)) = &route
    else {
        return Err(unsupported());
    };
    if let Err(refusal) = auth::may_push(hub, &parts.headers, repository).await {
        drain(body.into_data_stream()).await;
        return Err(refusal);
    }
    match (&parts.method, &route) {
        (&Method::POST, Route::Uploads(repository)) => {
            uploads::begin(hub, repository, parts, body).await
        }
        (&Method::PATCH, Route::Upload(repository, id)) => {
            uploads::append(hub, repository, id, parts, body).await
        }
        (&Method::PUT, Route::Upload(repository, id)) => {
            uploads::finish(hub, repository, id, parts, body).await
        }
        (&Method::DELETE, Route::Upload(repository, id)) => uploads::cancel(hub, repository, id),
        (&Method::DELETE, Route::Blob(repository, digest)) => {
            blobs::delete(hub, repository, digest).await
        }
        (&Method::PUT, Route::Manifest(repository, reference)) => {
            manifests::put(hub, repository, reference, parts, body).await
        }
        (&Method::DELETE, Route::Manifest(repository, reference)) => {
            manifests::delete(hub, repository, reference).await
        }
        _ => Err(unsupported()),
    }
}

fn unsupported() -> OciError {
    OciError::new(Code::Unsupported, "this method is not for this path")
}

/// An answer without a body.
fn empty(status: StatusCode) -> axum::http::response::Builder {
    Response::builder().status(status).header(header::CONTENT_LENGTH, 0)
}

/// Finishes an answer; a header that cannot be written is our fault.
fn build(
    builder: axum::http::response::Builder,
    body: axum::body::Body,
) -> Result<Response, OciError> {
    builder.body(body).map_err(|error| {
        tracing::error!(%error, "cannot write an answer");
        OciError::new(Code::Unknown, "the hub failed; its log says why")
    })
}

/// The value of `key` in a query, percent-decoded.
fn query(parts: &Parts, key: &str) -> Result<Option<String>, OciError> {
    let text = parts.uri.query().unwrap_or("");
    let pairs =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|_| {
            OciError::new(Code::Unsupported, format!("the query '{text}' is not readable"))
                .with_status(StatusCode::BAD_REQUEST)
        })?;
    Ok(pairs.0.into_iter().find_map(|(name, value)| (name == key).then_some(value)))
}

/// The same of a number.
fn number<N: FromStr>(parts: &Parts, key: &str) -> Result<Option<N>, OciError> {
    let number = |text: String| {
        text.parse().map_err(|_| {
            OciError::new(Code::Unsupported, format!("{key} is '{text}', it should be a number"))
                .with_status(StatusCode::BAD_REQUEST)
        })
    };
    query(parts, key)?.map(number).transpose()
}
