//! Who else has a registry's content. What a digest names may come from anybody, and comes from mirrors first; what a name means
//! - a tag, what refers to a digest - the registry itself says, and a mirror only where that cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::StatusCode;
use reqwest::header::LINK;

use super::error::RegistryError;
use super::http::Answer;
use super::{Credentials, Options, Progress, Read, Registry};
use crate::store::Received;

/// Who may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Anybody: what comes is held against a digest.
    Digest,
    /// The registry.
    Tag,
    /// The registry; that there is nothing is an answer.
    Referrers,
}

/// Another registry with the same content, below a path.
pub(super) struct Mirror {
    registry: Registry,
    path: String,
    /// It failed, and is not asked again.
    away: AtomicBool,
}

impl Mirror {
    /// The one at `host[:port][/path]`. What was given to log in with was given for the registry alone.
    pub(super) fn of(
        mirror: &str,
        options: &Options,
        progress: &Arc<Progress>,
    ) -> Result<Self, RegistryError> {
        let (host, path) = mirror.split_once('/').unwrap_or((mirror, ""));
        let path = if path.is_empty() { String::new() } else { format!("{path}/") };
        let credentials = match &options.credentials {
            docker @ Credentials::DockerConfig(_) => docker.clone(),
            _ => Credentials::Anonymous,
        };
        let options = Options { plain_http: false, ..options.clone() };
        let registry = Registry::alone(host, &options, credentials, progress)?;
        Ok(Self { registry, path, away: AtomicBool::new(false) })
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    async fn read(
        &self,
        read: &Read<'_>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        let below = format!("{}{}", self.path, read.repository);
        let path = read.path.strip_prefix("/v2/").unwrap_or(&read.path);
        let read = Read {
            repository: &below,
            path: format!("/v2/{}{path}", self.path),
            method: read.method.clone(),
            ..*read
        };
        let answer = self.registry.read_here(&read, received).await;
        answer.inspect_err(|_| self.away.store(true, Ordering::Relaxed))
    }
}

impl Registry {
    /// Reads from whoever may answer.
    pub(super) async fn read_into(
        &self,
        read: Read<'_>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        match read.by {
            By::Digest => self.by_digest(&read, received).await,
            By::Tag | By::Referrers => self.by_name(&read, received).await,
        }
    }

    /// What a mirror has not, or does not give, the next one does, and the registry last.
    async fn by_digest(
        &self,
        read: &Read<'_>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        for mirror in self.mirrors.iter().filter(|mirror| !mirror.is_away()) {
            match mirror.read(read, received).await {
                Ok(answer) if answer.status != StatusCode::NOT_FOUND => return Ok(answer),
                Err(RegistryError::Store(error)) => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
        self.read_here(read, received).await
    }

    async fn by_name(
        &self,
        read: &Read<'_>,
        received: &mut Received,
    ) -> Result<Answer, RegistryError> {
        let error = match self.read_here(read, received).await {
            Err(error) if error.is_away() => error,
            answer => return answer,
        };
        for mirror in self.mirrors.iter().filter(|mirror| !mirror.is_away()) {
            let Ok(answer) = mirror.read(read, received).await else { continue };
            let counts = answer.status != StatusCode::NOT_FOUND || read.by == By::Referrers;
            // A list that goes on would go on at the registry.
            if counts && !answer.headers.contains_key(LINK) {
                return Ok(answer);
            }
        }
        Err(error)
    }

    /// Whether a mirror may have sent what is not as its digest says. None is asked from now on: what is asked for again comes
    /// from the registry.
    pub(super) fn is_mirrors_fault<T>(&self, came: &Result<T, RegistryError>) -> bool {
        let altered = matches!(came, Err(RegistryError::Digest { .. }));
        if altered {
            self.mirrors.iter().for_each(|mirror| mirror.away.store(true, Ordering::Relaxed));
        }
        altered && !self.mirrors.is_empty()
    }
}
