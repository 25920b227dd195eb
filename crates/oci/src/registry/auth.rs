//! Who asks: the distribution spec's challenges, and Docker's token flow under our own limits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::clients::Transport;
use super::credentials::Credentials;
use super::error::RegistryError;
use super::http::{Answer, Body, Get, Http};

/// Largest answer with a token, in bytes.
const TOKEN_MAX: u64 = 64 * 1024;

/// What a request is for: the actions of a token's scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// An answer to a challenge.
#[derive(Clone)]
pub(super) enum Authorization {
    /// Name and password on each request.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

/// The credentials for one registry and the tokens that they gave so far.
pub(super) struct Auth {
    credentials: Credentials,
    known: Mutex<HashMap<(String, Access), Authorization>>,
    /// Whether there were credentials to answer a challenge with.
    named: AtomicBool,
}

impl Authorization {
    /// The header's value.
    pub(super) fn header(&self) -> String {
        match self {
            Self::Basic(user, password) => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            Self::Bearer(token) => format!("Bearer {token}"),
        }
    }
}

impl Auth {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, known: Mutex::new(HashMap::new()), named: AtomicBool::new(false) }
    }

    /// The error for a 401 that no more can be answered to.
    pub(super) fn refused(&self, http: &Http, action: &str, body: &[u8]) -> RegistryError {
        let mut error = http.refused(action, StatusCode::UNAUTHORIZED, body);
        if let RegistryError::Unauthorized { named, .. } = &mut error {
            *named = self.named.load(Ordering::Relaxed);
        }
        error
    }

    /// What earlier challenges for this repository were answered with.
    pub(super) fn known(&self, repository: &str, access: Access) -> Option<Authorization> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(repository.to_owned(), access)).cloned()
    }

    /// Asks `/v2/` whether it challenges, and answers: what a push needs before its first request.
    pub(super) async fn before_push(
        &self,
        http: &Http,
        repository: &str,
        action: &str,
    ) -> Result<Option<Authorization>, RegistryError> {
        if let Some(known) = self.known(repository, Access::Push) {
            return Ok(Some(known));
        }
        let answer = ping(http, action, None).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => {
                self.answer(http, repository, Access::Push, action, &answer).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Answers the challenge of `/v2/` and asks it again: whether the registry takes the credentials. Says whether it challenges.
    pub(super) async fn check(&self, http: &Http, action: &str) -> Result<bool, RegistryError> {
        let first = ping(http, action, None).await?;
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(false);
        }
        let answer = self.challenge(http, None, action, &first).await?;
        let second = ping(http, action, Some(&answer.header())).await?;
        match second.status {
            StatusCode::UNAUTHORIZED => Err(self.refused(http, action, &second.body)),
            _ => Ok(true),
        }
    }

    /// Answers the challenge of a 401.
    pub(super) async fn answer(
        &self,
        http: &Http,
        repository: &str,
        access: Access,
        action: &str,
        refused: &Answer,
    ) -> Result<Authorization, RegistryError> {
        let authorization =
            self.challenge(http, Some((repository, access)), action, refused).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((repository.to_owned(), access), authorization.clone());
        Ok(authorization)
    }

    async fn challenge(
        &self,
        http: &Http,
        scope: Option<(&str, Access)>,
        action: &str,
        refused: &Answer,
    ) -> Result<Authorization, RegistryError> {
        let credentials = self.credentials.for_registry(http.registry()).await?;
        self.named.store(credentials.is_some(), Ordering::Relaxed);
        Ok(match (Challenge::find(&refused.headers), credentials) {
            (Some(Challenge::Bearer { realm, service }), credentials) => {
                let url = token_url(http, action, &realm, &service, scope)?;
                Authorization::Bearer(self.token(http, action, url, credentials).await?)
            }
            (Some(Challenge::Basic), Some((user, password))) => {
                Authorization::Basic(user, password)
            }
            _ => return Err(self.refused(http, action, &refused.body)),
        })
    }

    /// What fails here, the token server is to blame for: the registry only names it.
    async fn token(
        &self,
        http: &Http,
        action: &str,
        url: Url,
        credentials: Option<(String, String)>,
    ) -> Result<String, RegistryError> {
        let server = http.at(&url);
        let basic =
            credentials.map(|(user, password)| Authorization::Basic(user, password).header());
        let action = format!("{action}: ask {} for a token", server.registry());
        let get = Get {
            action: &action,
            url,
            method: Method::GET,
            accept: "application/json",
            authorization: basic.as_deref(),
            content: None,
            body: Body::AtMost(TOKEN_MAX),
            time: http.limits().document,
        };
        let answer = server.get(&get).await?;
        match answer.status {
            // One logs in to the registry, whoever looks at the password.
            StatusCode::UNAUTHORIZED => return Err(self.refused(http, &action, &answer.body)),
            StatusCode::NOT_FOUND => {
                let why = format!("{} says that its tokens are there (404)", http.registry());
                return Err(server.misbehaves(&action, why));
            }
            _ => {}
        }
        let token: Token = serde_json::from_slice(&answer.body).map_err(|_| {
            server.misbehaves(&action, "its token is not JSON as it should be".into())
        })?;
        let token = token.token.or(token.access_token).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(server.misbehaves(&action, "it gives no token".into()));
        }
        Ok(token)
    }
}

/// Asks `/v2/`, which every OCI registry has.
async fn ping(
    http: &Http,
    action: &str,
    authorization: Option<&str>,
) -> Result<Answer, RegistryError> {
    let get = Get {
        action,
        url: http.url("/v2/")?,
        method: Method::GET,
        accept: "",
        authorization,
        content: None,
        body: Body::AtMost(TOKEN_MAX),
        time: http.limits().document,
    };
    let answer = http.get(&get).await?;
    if answer.status == StatusCode::NOT_FOUND {
        let why = "there is no /v2/: this is not an OCI registry".into();
        return Err(http.misbehaves(action, why));
    }
    Ok(answer)
}

/// The token server's address with the scope that is needed. It gets the password, so it must speak https too,
/// or be on this machine where the registry is spoken to without TLS because it is.
fn token_url(
    http: &Http,
    action: &str,
    realm: &str,
    service: &str,
    scope: Option<(&str, Access)>,
) -> Result<Url, RegistryError> {
    let mut url = Url::parse(realm)
        .map_err(|e| http.misbehaves(action, format!("its token server has no address: {e}")))?;
    if !http.transport().may_tell(&url) {
        let why = match (http.transport(), url.scheme()) {
            (Transport::Near, "http") => {
                "it sends us to a token server without https and beyond this machine, where a password would be read; --plain-http allows it, as does plain-http = true in registries.toml"
            }
            _ => "it sends us to a token server without https, where a password would be read",
        };
        return Err(http.misbehaves(action, why.to_owned()));
    }
    let mut query = url.query_pairs_mut();
    if !service.is_empty() {
        query.append_pair("service", service);
    }
    if let Some((repository, access)) = scope {
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        query.append_pair("scope", &format!("repository:{repository}:{actions}"));
    }
    drop(query);
    Ok(url)
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::clients::Tls;
    use super::super::http::TimeLimits;
    use super::*;

    #[test]
    fn a_password_goes_to_no_token_server_without_tls() {
        for (transport, realm, goes) in [
            (Transport::Tls, "https://tokens.test/get?a=b", true),
            (Transport::Tls, "http://tokens.test/get", false),
            (Transport::Tls, "file:///etc/passwd", false),
            (Transport::Tls, "tokens", false),
            (Transport::Plain, "http://tokens.test/get", true),
            (Transport::Plain, "ftp://tokens.test/get", false),
            (Transport::Near, "https://tokens.test/get", true),
            (Transport::Near, "http://127.0.0.1:5001/get", true),
            (Transport::Near, "http://localhost/get", true),
            (Transport::Near, "http://[::1]:5001/get", true),
            (Transport::Near, "http://192.0.2.99:5001/get", false),
            (Transport::Near, "http://tokens.test/get", false),
        ] {
            let (limits, tls) = (TimeLimits::default(), Tls::default());
            let http = Http::new("hub.test", transport, limits, tls, Arc::default()).unwrap();
            let scope = Some(("acme/exec", Access::Pull));
            let url = token_url(&http, "pull", realm, "hub & more", scope);
            assert_eq!(url.is_ok(), goes, "{realm}");
            let query = "service=hub+%26+more&scope=repository%3Aacme%2Fexec%3Apull";
            assert!(url.iter().all(|url| url.as_str().ends_with(query)), "{url:?}");
        }
    }
}
