//! A client for OCI registries (distribution-spec 1.1) that no registry can make do more than was asked.
//!
//! Every request is made and every answer read here, within limits of bytes and time (`docs/decisions/0006`). Nothing that comes from a registry is trusted: digests are checked, signatures are
//! `skep-trust`'s matter.

mod auth;
mod carry;
pub mod challenge;
mod clients;
mod credentials;
mod error;
mod helper;
mod http;
mod login;
mod looked;
mod mirrors;
mod progress;
mod pull;
mod push;
mod referrers;
mod settings;
mod tagged;
mod tags;
mod tries;

use std::sync::{Arc, Mutex};

use reqwest::{Method, StatusCode, Url};
use skep_spec::oci::MAX_DOCUMENT;
use skep_spec::{Digest, PackageRef, media};

use self::auth::{Access, Auth};
pub use self::carry::Carried;
use self::clients::Transport;
pub use self::credentials::Credentials;
pub use self::error::RegistryError;
pub use self::http::TimeLimits;
use self::http::{Answer, Body, Get, Http};
use self::looked::Looked;
use self::mirrors::{By, Mirror};

pub use self::login::{Login, LoginError};
pub use self::progress::Progress;
pub use self::pull::{Brought, Part};
pub use self::push::{Pushed, is_whole};
pub use self::settings::{Settings, SettingsError};
pub use self::tags::Tags;
use crate::store::Received;

/// What a registry says the digest of a manifest is (distribution-spec 1.1).
const CONTENT_DIGEST: &str = "docker-content-digest";

/// How to speak to a registry.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who asks.
    pub credentials: Credentials,
    /// Speak HTTP without TLS. Registries on a loopback address are always spoken to so.
    pub plain_http: bool,
    /// How long it may take.
    pub time: TimeLimits,
    /// What is said of this registry and others.
    pub settings: Settings,
}

/// A registry.
pub struct Registry {
    http: Http,
    auth: Arc<Auth>,
    mirrors: Vec<Mirror>,
    looked: Mutex<Looked>,
}

/// The media types of what packages are made of.
pub(crate) const OURS: [&str; 2] = [media::INDEX, media::MANIFEST];

/// A read of one repository, before credentials.
struct Read<'a> {
    action: &'a str,
    repository: &'a str,
    path: String,
    accept: &'a str,
    body: Body,
    method: Method,
    by: By,
}

impl Registry {
    /// The registry that `reference` names.
    ///
    /// # Errors
    /// When it names none, or no HTTP client can be made for it.
    pub fn of(reference: &PackageRef, options: Options) -> Result<Self, RegistryError> {
        let registry = reference.registry.as_deref();
        Self::new(
            registry.ok_or_else(|| RegistryError::NoRegistry(reference.to_string()))?,
            options,
        )
    }

    /// The registry at `host[:port]`.
    ///
    /// # Errors
    /// When no HTTP client can be made for it.
    pub fn new(registry: &str, options: Options) -> Result<Self, RegistryError> {
        let progress = Arc::default();
        let of = |mirror: &String| Mirror::of(mirror, &options, &progress);
        let host = options.settings.of(registry);
        let mirrors = host.mirrors.iter().map(of).collect::<Result<_, _>>()?;
        let registry = Self::alone(registry, &options, options.credentials.clone(), &progress)?;
        Ok(Self { mirrors, ..registry })
    }

    /// One whose mirrors are asked nothing.
    fn alone(
        registry: &str,
        options: &Options,
        credentials: Credentials,
        progress: &Arc<Progress>,
    ) -> Result<Self, RegistryError> {
        let host = options.settings.of(registry);
        let plain = options.plain_http || host.plain_http;
        let transport = Transport::of(registry, plain, host.has_tls());
        let tls = options.settings.tls(&host);
        let registry = registry.to_owned();
        let tls = tls.map_err(|why| RegistryError::Client { registry: registry.clone(), why })?;
        let http = Http::new(&registry, transport, options.time, tls, progress.clone())?;
        let auth = Arc::new(Auth::new(credentials));
        Ok(Self { http, auth, mirrors: Vec::new(), looked: Mutex::default() })
    }

    /// The same, which asks nobody else: for whoever changes what is there.
    #[must_use]
    pub fn without_mirrors(&self) -> Self {
        let (http, auth) = (self.http.clone(), self.auth.clone());
        Self { http, auth, mirrors: Vec::new(), looked: Mutex::default() }
    }

    /// Its `host[:port]`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.http.registry()
    }

    /// How far the transfers with it are.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        self.http.progress()
    }

    /// Whether the registry takes the credentials; says whether it asks for any.
    ///
    /// # Errors
    /// When it refuses them, or is no OCI registry.
    pub async fn check_login(&self) -> Result<bool, RegistryError> {
        self.auth.check(&self.http, &format!("log in to {}", self.host())).await
    }

    /// The digest that a reference means: the one that it pins, or that of what its version's tag points at.
    ///
    /// # Errors
    /// When the reference has neither version nor digest, or the registry does not have it.
    pub async fn resolve(&self, reference: &PackageRef) -> Result<Digest, RegistryError> {
        let bytes = self.index(reference).await?;
        let digest = Digest::of(&bytes);
        self.looks_at(digest, bytes);
        Ok(digest)
    }

    /// The bytes of the index that a reference means. Nobody parsed them, let alone trusts them.
    ///
    /// # Errors
    /// When the reference has neither version nor digest, or the registry does not give it.
    pub async fn index(&self, reference: &PackageRef) -> Result<Vec<u8>, RegistryError> {
        let action = format!("look up {reference}");
        let repository = reference.repository();
        let version = reference.version.as_ref().filter(|_| reference.channel.is_none());
        let found = match (&reference.digest, version) {
            (Some(digest), _) => {
                self.manifest_by_digest(&action, &repository, digest, &OURS).await?
            }
            (None, Some(version)) => {
                self.manifest(&action, &repository, &version.tag(), By::Tag).await?
            }
            (None, None) if reference.channel.is_some() => {
                return Err(RegistryError::Channel(reference.to_string()));
            }
            (None, None) => return Err(RegistryError::NoVersion(reference.to_string())),
        };
        found.ok_or_else(|| self.not_found(&action))
    }

    /// A manifest or index by tag or digest; `None` where the registry has none.
    async fn manifest(
        &self,
        action: &str,
        repository: &str,
        tag_or_digest: &str,
        by: By,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        self.manifest_by(action, repository, tag_or_digest, &OURS, by).await
    }

    /// What a tag means, of one of these media types.
    pub(crate) async fn manifest_tagged(
        &self,
        action: &str,
        repository: &str,
        tag: &str,
        accept: &[&str],
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        self.manifest_by(action, repository, tag, accept, By::Tag).await
    }

    async fn manifest_by(
        &self,
        action: &str,
        repository: &str,
        tag_or_digest: &str,
        accept: &[&str],
        by: By,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let accept = accept.join(", ");
        let answer = self.read(Read {
            action,
            repository,
            path: format!("/v2/{repository}/manifests/{tag_or_digest}"),
            accept: &accept,
            body: Body::AtMost(MAX_DOCUMENT as u64),
            method: Method::GET,
            by,
        });
        let answer = answer.await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        // What is asked for by its digest is held against that, whatever is said beside it.
        if by != By::Digest {
            self.is_as_announced(action, &answer)?;
        }
        Ok(Some(answer.body))
    }

    /// Holds a manifest against the digest that its own answer names: under a tag, no other digest is known.
    fn is_as_announced(&self, action: &str, answer: &Answer) -> Result<(), RegistryError> {
        let found = Digest::of(&answer.body);
        match announced(answer).filter(|announced| *announced != found) {
            None => Ok(()),
            Some(announced) => Err(RegistryError::NotAsAnnounced {
                action: action.to_owned(),
                registry: self.host().to_owned(),
                announced,
                found,
            }),
        }
    }

    /// A manifest or index of one of these media types, whose bytes are what `digest` says.
    pub(crate) async fn manifest_by_digest(
        &self,
        action: &str,
        repository: &str,
        digest: &Digest,
        accept: &[&str],
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let first = self.held_manifest(action, repository, digest, accept).await;
        if self.is_mirrors_fault(&first) {
            return self.held_manifest(action, repository, digest, accept).await;
        }
        first
    }

    async fn held_manifest(
        &self,
        action: &str,
        repository: &str,
        digest: &Digest,
        accept: &[&str],
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let (digest_text, by) = (digest.to_string(), By::Digest);
        let came = self.manifest_by(action, repository, &digest_text, accept, by).await?;
        came.map(|bytes| self.has_digest(action, digest, bytes)).transpose()
    }

    /// A blob of exactly `size` bytes whose bytes are what `digest` says.
    pub(crate) async fn blob(
        &self,
        action: &str,
        repository: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let first = self.held_blob(action, repository, digest, size).await;
        if self.is_mirrors_fault(&first) {
            return self.held_blob(action, repository, digest, size).await;
        }
        first
    }

    async fn held_blob(
        &self,
        action: &str,
        repository: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let mut received = Received::default();
        match self.receive(action, repository, digest, size, &mut received).await? {
            true => self.has_digest(action, digest, received.into_bytes()).map(Some),
            false => Ok(None),
        }
    }

    /// Brings the rest of a blob of which some has come already; says whether the registry has it. What came is unchecked.
    async fn receive(
        &self,
        action: &str,
        repository: &str,
        digest: &Digest,
        size: u64,
        received: &mut Received,
    ) -> Result<bool, RegistryError> {
        if size > 0 && received.len() == size {
            return Ok(true);
        }
        let read = Read {
            action,
            repository,
            path: format!("/v2/{repository}/blobs/{digest}"),
            accept: "",
            body: Body::Exactly(size),
            method: Method::GET,
            by: By::Digest,
        };
        let answer = self.read_into(read, received).await?;
        Ok(answer.status != StatusCode::NOT_FOUND)
    }

    async fn has_blob(
        &self,
        action: &str,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let answer = self.read(Read {
            action,
            repository,
            path: format!("/v2/{repository}/blobs/{digest}"),
            accept: "",
            body: Body::AtMost(0),
            method: Method::HEAD,
            by: By::Digest,
        });
        Ok(answer.await?.status != StatusCode::NOT_FOUND)
    }

    fn has_digest(
        &self,
        action: &str,
        digest: &Digest,
        bytes: Vec<u8>,
    ) -> Result<Vec<u8>, RegistryError> {
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        let registry = self.host().to_owned();
        Err(RegistryError::Digest { action: action.to_owned(), registry, found })
    }

    /// Reads; a challenge is answered once. Success and 404 come back.
    async fn read(&self, read: Read<'_>) -> Result<Answer, RegistryError> {
        let mut received = Received::default();
        let answer = self.read_into(read, &mut received).await?;
        Ok(match answer.status.is_success() {
            true => Answer { body: received.into_bytes(), ..answer },
            false => answer,
        })
    }

    /// The same of the registry itself.
    async fn read_here(
        &self,
        read: &Read<'_>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        let known = self.auth.known(read.repository, Access::Push);
        let known = known.or_else(|| self.auth.known(read.repository, Access::Pull));
        let known = known.map(|known| known.header());
        let first = self.read_as(read, known, received).await?;
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        let (http, repository) = (&self.http, read.repository);
        let answer = self.auth.answer(http, repository, Access::Pull, read.action, &first).await?;
        let second = self.read_as(read, Some(answer.header()), received).await?;
        if second.status == StatusCode::UNAUTHORIZED {
            return Err(self.auth.refused(&self.http, read.action, &second.body));
        }
        Ok(second)
    }

    async fn read_as(
        &self,
        read: &Read<'_>,
        authorization: Option<String>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        let limits = self.http.limits();
        let get = Get {
            action: read.action,
            url: self.http.url(&read.path)?,
            method: read.method.clone(),
            accept: read.accept,
            authorization: authorization.as_deref(),
            content: None,
            body: read.body,
            time: match read.body {
                Body::Exactly(size) => limits.for_blob(size),
                Body::AtMost(_) => limits.document,
            },
        };
        self.http.get_into(&get, received).await
    }

    pub(crate) fn not_found(&self, action: &str) -> RegistryError {
        let registry = self.host().to_owned();
        RegistryError::NotFound { action: action.to_owned(), registry }
    }
}

/// Whether a server can be called `host[:port]`.
///
/// # Errors
/// Why not.
pub fn can_be_asked(registry: &str) -> Result<(), String> {
    Url::parse(&format!("https://{registry}/")).map(drop).map_err(|error| error.to_string())
}

/// The digest that an answer names. One of another algorithm says nothing to us.
fn announced(answer: &Answer) -> Option<Digest> {
    answer.headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// Whether a registry is on this machine, where nobody is in between.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "127.0.0.1.example.com:5000", "10.0.0.1", "[::2]:1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[tokio::test]
    async fn what_names_no_version_is_asked_of_nobody() {
        let registry = Registry::new("127.0.0.1:1", Options::default()).unwrap();
        let index = async |text: &str| registry.index(&text.parse().unwrap()).await.unwrap_err();
        assert!(matches!(index("acme/exec").await, RegistryError::NoVersion(_)));
        assert!(matches!(index("acme/exec@stable").await, RegistryError::Channel(_)));
    }
}
