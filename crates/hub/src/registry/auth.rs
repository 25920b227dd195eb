//! Who may push: a token's publisher, below its name. Everybody may pull.
//!
//! Clients that know Docker's token flow ask `/token` with the token as password and come back with a
//! Bearer; it is the token itself, so that revoking it counts at once and no key is kept for signing others.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use serde_json::{Value, json};

use super::error::{Code, OciError};
use crate::Hub;
use crate::name::Repository;

/// What a client without a token gets from `/token`; it opens what is open anyway.
const ANONYMOUS: &str = "anonymous";

/// Refuses unless the request may push to `repository`.
///
/// # Errors
/// 401 with a challenge where the request carries no token or one that does not count; 403 where the token
/// is another publisher's.
pub async fn may_push(
    hub: &Hub,
    headers: &HeaderMap,
    repository: &Repository,
) -> Result<(), OciError> {
    let scope = format!("repository:{repository}:pull,push");
    let publisher = publisher(hub, headers)
        .await?
        .map_err(|why| unauthorized(hub, headers, Some(&scope), why))?;
    if publisher == repository.publisher() {
        return Ok(());
    }
    let message = format!("this token publishes below {publisher}/, and {repository} is not there");
    Err(OciError::new(Code::Denied, message))
}

/// `/v2/`: tells clients how to authenticate, and those that do whether it worked.
///
/// # Errors
/// 401 with a challenge, unless the request carries a token that counts or the anonymous one.
pub async fn ping(hub: &Hub, headers: &HeaderMap) -> Result<(), OciError> {
    if secret(headers).as_deref() == Some(ANONYMOUS) {
        return Ok(());
    }
    match publisher(hub, headers).await? {
        Ok(_) => Ok(()),
        Err(why) => Err(unauthorized(hub, headers, None, why)),
    }
}

/// `/token`: changes Basic credentials, or none, for a Bearer.
///
/// # Errors
/// 401 where the password is no token that counts.
pub async fn token(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
) -> Result<Json<Value>, OciError> {
    let answer = |token: &str| Json(json!({ "token": token, "expires_in": 3600 }));
    let Some(secret) = secret(&headers).filter(|secret| !secret.is_empty()) else {
        return Ok(answer(ANONYMOUS));
    };
    match publisher(&hub, &headers).await? {
        Ok(_) => Ok(answer(&secret)),
        Err(why) => Err(OciError::new(Code::Unauthorized, why)
            .with_challenge(Some(HeaderValue::from_static("Basic realm=\"skep-hub\"")))),
    }
}

/// The publisher that the request's token speaks for, or why there is none.
async fn publisher(
    hub: &Hub,
    headers: &HeaderMap,
) -> Result<Result<String, &'static str>, OciError> {
    match secret(headers).as_deref() {
        None | Some("" | ANONYMOUS) => {
            Ok(Err("pushing needs a token: log in with one that `skep-hub token new` printed"))
        }
        Some(secret) => {
            let known = hub.store.publisher_of(secret).await?;
            Ok(known.ok_or("this token is unknown or revoked"))
        }
    }
}

/// A Bearer, or the password of Basic credentials.
fn secret(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn unauthorized(hub: &Hub, headers: &HeaderMap, scope: Option<&str>, why: &str) -> OciError {
    let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
    let realm = hub.url(headers);
    let challenge = format!("Bearer realm=\"{realm}/token\",service=\"skep-hub\"{scope}");
    OciError::new(Code::Unauthorized, why).with_challenge(challenge.parse().ok())
}
