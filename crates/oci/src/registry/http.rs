//! Requests whose every answer is capped: bytes, time, redirects, and where credentials go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE,
    RETRY_AFTER,
};
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;

use super::clients::{Clients, Tls, Transport, of_certificate, server};
use super::error::RegistryError;
use super::progress::Progress;
use super::tries::Tries;
use crate::store::{Received, StoreError};

/// Bytes a second that a registry sends at least.
const SLOWEST: u64 = 16 * 1024;
/// Most redirects that are followed for one request.
const REDIRECTS_MAX: usize = 5;
/// Bytes of an error's body that are looked at for what the registry says.
const SAID_MAX: u64 = 16 * 1024;
/// Characters of it that are shown.
const SAID_SHOWN: usize = 200;
/// How long those words are waited for: the status says enough.
const SAID_WITHIN: Duration = Duration::from_secs(2);

/// How long a registry may take.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// For a connection.
    pub connect: Duration,
    /// Before an answer begins.
    pub idle: Duration,
    /// Between two pieces of an answer that has begun.
    pub gap: Duration,
    /// For a list of tags, all of its pages; and for what lies under one tag beside versions, all of its bundles.
    pub list: Duration,
    /// For a whole request about a document: a manifest, a token, a list of referrers.
    pub document: Duration,
    /// For a whole request about a blob, at most: of a small one it is less, see [`Self::for_blob`].
    pub blob: Duration,
    /// Before the second try of what may pass (5xx, 429, no connection); doubles for the third, the last.
    pub back_off: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            gap: Duration::from_secs(10),
            list: Duration::from_secs(180),
            document: Duration::from_secs(60),
            blob: Duration::from_secs(900),
            back_off: Duration::from_millis(300),
        }
    }
}

impl TimeLimits {
    /// For a whole request about a blob of `size` bytes: a document's time and 16 KiB a second, so that nobody holds a pull for
    /// long by dripping a small one.
    pub(super) fn for_blob(&self, size: u64) -> Duration {
        (self.document + Duration::from_secs(size / SLOWEST)).min(self.blob)
    }
}

/// An HTTP client for one registry, without credentials of its own.
#[derive(Clone)]
pub(super) struct Http {
    clients: Arc<Clients>,
    registry: String,
    transport: Transport,
    limits: TimeLimits,
    progress: Arc<Progress>,
}

/// A request.
pub(super) struct Get<'a> {
    /// What is being done, on what: for errors.
    pub action: &'a str,
    /// Where.
    pub url: Url,
    /// `GET` or `HEAD`; with something to send `POST` or `PUT`.
    pub method: Method,
    /// Media types, or empty.
    pub accept: &'a str,
    /// The `Authorization` header, sent to the first host only.
    pub authorization: Option<&'a str>,
    /// What is sent, and its media type.
    pub content: Option<(&'a str, Bytes)>,
    /// Most bytes of the body.
    pub body: Body,
    /// For the whole request.
    pub time: Duration,
}

/// How many bytes an answer may have.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// At most so many.
    AtMost(u64),
    /// Exactly so many.
    Exactly(u64),
}

/// A whole answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Http {
    pub(super) fn new(
        registry: &str,
        transport: Transport,
        limits: TimeLimits,
        tls: Tls,
        progress: Arc<Progress>,
    ) -> Result<Self, RegistryError> {
        let clients = Arc::new(Clients::new(registry, limits, tls));
        let http = Self { clients, registry: registry.to_owned(), transport, limits, progress };
        http.clients.at(&http.url("/")?, false)?; // whatever is wrong with it is said at once
        Ok(http)
    }

    pub(super) fn limits(&self) -> &TimeLimits {
        &self.limits
    }

    pub(super) fn tries(&self) -> Tries {
        Tries::new(self.limits.back_off)
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    /// The same client, whose errors name the server at `url`.
    pub(super) fn at(&self, url: &Url) -> Self {
        Self { registry: server(url), ..self.clone() }
    }

    /// How the registry is spoken to.
    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// A URL at the registry. `path` begins with a slash.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let scheme = if self.transport.is_plain() { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{}{path}", self.registry)).map_err(|e| {
            RegistryError::Client { registry: self.registry.clone(), why: e.to_string() }
        })
    }

    /// Sends a request, tries again what may pass, and reads the answer whole within its limits.
    ///
    /// 401 and 404 come back as answers: what they mean depends on the question.
    pub(super) async fn get(&self, get: &Get<'_>) -> Result<Answer, RegistryError> {
        let mut received = Received::default();
        let answer = self.get_into(get, &mut received).await?;
        Ok(match answer.status.is_success() {
            true => Answer { body: received.into_bytes(), ..answer },
            false => answer,
        })
    }

    /// The same of a body of which some has come already. One that breaks off after more has come is gone on with, within the
    /// time of the whole; what came stays in `received`.
    pub(super) async fn get_into(
        &self,
        get: &Get<'_>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        let (begun, mut tries) = (Instant::now(), self.tries());
        let mut most = received.len();
        loop {
            let from = match get.body {
                Body::Exactly(_) => begun,
                Body::AtMost(_) => Instant::now(),
            };
            let answer = tokio::time::timeout_at(from + get.time, self.follow(get, received)).await;
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => return Err(self.hangs(get.action, get.time)),
            };
            let more = received.len().saturating_sub(most);
            match matches!(get.body, Body::Exactly(_)) && error.is_cut() && more > 0 {
                true => tries.go_on(error, more).await?,
                false => tries.again(error).await?,
            }
            most += more;
        }
    }

    /// Sends a request once, what it sends with it; 401 and 404 come back as answers.
    pub(super) async fn send(&self, get: &Get<'_>) -> Result<Answer, RegistryError> {
        let mut received = Received::default();
        let answer = tokio::time::timeout(get.time, self.follow(get, &mut received)).await;
        answer.unwrap_or_else(|_| Err(self.hangs(get.action, get.time)))
    }

    async fn follow(
        &self,
        get: &Get<'_>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        let mut url = get.url.clone();
        for hop in 0..=REDIRECTS_MAX {
            let authorization = get.authorization.filter(|_| hop == 0);
            let client = self.clients.at(&url, get.content.is_some())?;
            let mut request = client.request(get.method.clone(), url.clone());
            if let Some((media_type, content)) = &get.content {
                request = request.header(CONTENT_TYPE, *media_type).body(content.clone());
            }
            if !get.accept.is_empty() {
                request = request.header(ACCEPT, get.accept);
            }
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            if received.len() > 0 {
                request = request.header(RANGE, format!("bytes={}-", received.len()));
            }
            let answer = request.send().await.map_err(|e| self.failed(get.action, &e))?;
            let leads_on = match get.content {
                None => answer.status().is_redirection(),
                // The others mean another method.
                Some(_) => matches!(answer.status().as_u16(), 307 | 308),
            };
            if !leads_on || !answer.headers().contains_key(LOCATION) {
                return self.read(get, answer, received).await;
            }
            url = self.next_hop(get.action, &url, answer.headers())?;
        }
        Err(self.misbehaves(get.action, format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    fn next_hop(&self, action: &str, from: &Url, to: &HeaderMap) -> Result<Url, RegistryError> {
        let location = to.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let url = from.join(location);
        let url =
            url.map_err(|e| self.misbehaves(action, format!("a redirect to nowhere: {e}")))?;
        self.is_safe(action, "a redirect to", url)
    }

    /// Where a registry without TLS, and no other, may send us without TLS.
    pub(super) fn is_safe(&self, action: &str, what: &str, url: Url) -> Result<Url, RegistryError> {
        match (url.scheme(), self.transport.is_plain()) {
            ("https", _) | ("http", true) => Ok(url),
            (scheme, _) => {
                let why = format!("{what} {}:, which is not https", scheme.escape_debug());
                Err(self.misbehaves(action, why))
            }
        }
    }

    async fn read(
        &self,
        get: &Get<'_>,
        answer: reqwest::Response,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        let status = answer.status();
        let headers = answer.headers().clone();
        if status == StatusCode::RANGE_NOT_SATISFIABLE && received.len() > 0 {
            self.restart(get, received).await?;
            let why = "it does not go on in the middle".to_owned();
            return Err(self.broken(get.action, why));
        }
        if !status.is_success() {
            // Only words for people are in it: a broken or endless one is no error of its own.
            let mut words = Received::default();
            let said = self.capped(get, answer, Body::AtMost(SAID_MAX), &mut words);
            let said = tokio::time::timeout(SAID_WITHIN, said).await;
            let body = said.ok().and_then(Result::ok).map(|()| words.into_bytes());
            let body = body.unwrap_or_default();
            if status == StatusCode::UNAUTHORIZED || status == StatusCode::NOT_FOUND {
                return Ok(Answer { status, headers, body });
            }
            return Err(self.refused(get.action, status, &body).asked_later(retry_after(&headers)));
        }
        if get.method == Method::HEAD {
            return Ok(Answer { status, headers, body: Vec::new() });
        }
        if status != StatusCode::PARTIAL_CONTENT {
            self.restart(get, received).await?; // all of it comes
        } else if received.len() == 0 || begins_at(&headers) != Some(received.len()) {
            return Err(self
                .misbehaves(get.action, "it sends another part than it was asked for".to_owned()));
        }
        self.capped(get, answer, get.body, received).await?;
        Ok(Answer { status, headers, body: Vec::new() })
    }

    async fn restart(&self, get: &Get<'_>, received: &mut Received) -> Result<(), StoreError> {
        if matches!(get.body, Body::Exactly(_)) {
            self.progress.go_back(received.len());
        }
        received.restart().await
    }

    async fn capped(
        &self,
        get: &Get<'_>,
        answer: reqwest::Response,
        limit: Body,
        received: &mut Received,
    ) -> Result<(), RegistryError> {
        let announced = announced(answer.headers()).map(|rest| received.len().saturating_add(rest));
        if let Some(announced) = announced {
            self.fits(get.action, announced, limit)?;
        }
        let mut stream = answer.bytes_stream();
        let gap = self.limits.gap;
        let late = |_| self.hangs(get.action, gap);
        while let Some(piece) = tokio::time::timeout(gap, stream.next()).await.map_err(late)? {
            let piece = piece.map_err(|e| match announced {
                // The connection ended before the announced length: hyper's own check.
                Some(expected) if !e.is_timeout() => {
                    self.lies(get.action, expected, received.len())
                }
                _ => self.failed(get.action, &e),
            })?;
            let size = received.len() + piece.len() as u64;
            match limit {
                Body::AtMost(limit) if size > limit => {
                    return Err(self.too_large(get.action, limit));
                }
                Body::Exactly(expected) if size > expected => {
                    return Err(self.lies(get.action, expected, size));
                }
                _ => {
                    let came = piece.len() as u64;
                    received.push(piece).await?;
                    if matches!(limit, Body::Exactly(_)) {
                        self.progress.advance(came);
                    }
                }
            }
        }
        if let Body::Exactly(expected) = limit {
            self.fits(get.action, received.len(), Body::Exactly(expected))?;
        }
        Ok(())
    }

    fn fits(&self, action: &str, size: u64, limit: Body) -> Result<(), RegistryError> {
        match limit {
            Body::AtMost(limit) if size > limit => Err(self.too_large(action, limit)),
            Body::Exactly(expected) if size != expected => Err(self.lies(action, expected, size)),
            _ => Ok(()),
        }
    }

    /// Work of several requests, which together take no longer than a list may.
    pub(super) async fn within_list<T>(
        &self,
        action: &str,
        work: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let limit = self.limits.list;
        let done = tokio::time::timeout(limit, work).await;
        done.unwrap_or_else(|_| Err(self.hangs(action, limit)))
    }

    fn hangs(&self, action: &str, limit: Duration) -> RegistryError {
        RegistryError::Hangs { action: action.into(), registry: self.registry.clone(), limit }
    }

    fn too_large(&self, action: &str, limit: u64) -> RegistryError {
        RegistryError::TooLarge { action: action.into(), registry: self.registry.clone(), limit }
    }

    fn lies(&self, action: &str, expected: u64, found: u64) -> RegistryError {
        let registry = self.registry.clone();
        RegistryError::Length { action: action.into(), registry, expected, found }
    }

    fn broken(&self, action: &str, why: String) -> RegistryError {
        RegistryError::Broken { action: action.into(), registry: self.registry.clone(), why }
    }

    /// Others write `what` at the same time: nobody's lie.
    pub(super) fn overwritten(&self, action: &str, what: &'static str) -> RegistryError {
        RegistryError::Overwritten { action: action.into(), registry: self.registry.clone(), what }
    }

    pub(super) fn misbehaves(&self, action: &str, why: String) -> RegistryError {
        RegistryError::Misbehaves { action: action.into(), registry: self.registry.clone(), why }
    }

    /// The error for a status that is no success.
    pub(super) fn refused(&self, action: &str, status: StatusCode, body: &[u8]) -> RegistryError {
        let action = action.to_owned();
        let registry = self.registry.clone();
        let said = what_it_says(body);
        match status {
            StatusCode::UNAUTHORIZED => {
                RegistryError::Unauthorized { action, registry, named: false, said }
            }
            StatusCode::FORBIDDEN => RegistryError::Forbidden { action, registry, said },
            StatusCode::NOT_FOUND => RegistryError::NotFound { action, registry },
            StatusCode::TOO_MANY_REQUESTS => {
                RegistryError::TooMany { action, registry, after: None }
            }
            _ => {
                let status = status.as_u16();
                RegistryError::Status { action, registry, status, said, after: None }
            }
        }
    }

    /// The error for a request that got no answer.
    pub(super) fn failed(&self, action: &str, error: &reqwest::Error) -> RegistryError {
        let action = action.to_owned();
        // A redirect may have led elsewhere.
        let registry = error.url().map_or_else(|| self.registry.clone(), server);
        if error.is_timeout() {
            let limit = if error.is_connect() { self.limits.connect } else { self.limits.idle };
            return RegistryError::Hangs { action, registry, limit };
        }
        // What reqwest and hyper wrap around it only repeats what was being done.
        let why = innermost(error).to_string();
        if let Some(why) = why.strip_prefix("invalid peer certificate: ") {
            return RegistryError::Certificate { action, registry, why: of_certificate(why) };
        }
        if error.is_connect() {
            return RegistryError::Connect { action, registry, why };
        }
        RegistryError::Broken { action, registry, why }
    }
}

fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    error.source().map_or(error, innermost)
}

/// Where a part begins: of `Content-Range: bytes 5-9/10` 5.
fn begins_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// The seconds of `Retry-After`. One that is a date counts for nothing.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The message of an OCI error document, or nothing: on one line, without control characters, cut.
fn what_it_says(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let message = document.pointer("/errors/0/message")?.as_str()?;
    let message: String = message.chars().filter(|c| !c.is_control()).take(SAID_SHOWN).collect();
    (!message.is_empty()).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registry_without_tls_may_send_us_where_there_is_none() {
        for (transport, url, safe) in [
            (Transport::Tls, "https://elsewhere.test/", true),
            (Transport::Tls, "http://hub.test/", false),
            (Transport::Plain, "http://elsewhere.test/", true),
            (Transport::Plain, "file:///etc/passwd", false),
        ] {
            let (limits, tls) = (TimeLimits::default(), Tls::default());
            let http = Http::new("hub.test", transport, limits, tls, Arc::default()).unwrap();
            let sent = http.is_safe("push", "an upload goes on at", url.parse().unwrap());
            assert_eq!(sent.is_ok(), safe, "{url}");
        }
    }

    #[test]
    fn a_small_blob_is_not_waited_for_as_a_large_one() {
        let limits = TimeLimits::default();
        assert_eq!(limits.for_blob(1000), limits.document);
        assert_eq!(limits.for_blob(1 << 20), limits.document + Duration::from_secs(64));
        assert_eq!(limits.for_blob(u64::MAX / 2), limits.blob);
    }
}
