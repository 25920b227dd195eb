//! What can go wrong with a registry, said so that a person knows what to do next.

use std::time::Duration;

use skep_spec::Digest;

use crate::signatures::REFERRERS_MAX;
use crate::store::StoreError;

/// Why a registry did not give, or did not take, what it should.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The reference names no registry.
    #[error("'{0}' names no registry: write host[:port]/publisher/name, or configure a hub")]
    NoRegistry(String),
    /// The reference names neither version nor digest.
    #[error("'{0}' names no version: write publisher/name:VERSION or @sha256:DIGEST")]
    NoVersion(String),
    /// The reference names a channel.
    #[error(
        "'{0}' names a channel, which is not followed here: write publisher/name:VERSION or @sha256:DIGEST"
    )]
    Channel(String),
    /// The HTTP client could not be built.
    #[error("cannot prepare an HTTP client for {registry}: {why}")]
    Client {
        /// `host[:port]`.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// No connection.
    #[error(
        "cannot {action}: no connection to {registry}: {why}; check the name, the network and whether the registry runs"
    )]
    Connect {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// A certificate that does not say that it is the one asked for.
    #[error(
        "cannot {action}: {registry} shows a certificate that does not count: {why}; a CA of your own goes into the system's store, or into a file that SSL_CERT_FILE names"
    )]
    Certificate {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// A connection, but no whole answer in HTTP on it.
    #[error(
        "cannot {action}: {registry} broke off or does not speak HTTP: {why}; try again, and check that it is a registry"
    )]
    Broken {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// The registry answered too slowly or not at all.
    #[error("cannot {action}: {registry} did not answer within {limit:?}; try again later")]
    Hangs {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// The time limit that passed.
        limit: Duration,
    },
    /// 401, and there are no credentials or they do not count.
    #[error("{}; {} 'skep login {registry}'", unauthorized(action, registry, *named, said.as_ref()), log_in(*named))]
    Unauthorized {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// Whether it was told who asks.
        named: bool,
        /// What the registry said.
        said: Option<String>,
    },
    /// 403.
    #[error("cannot {action}: {registry} does not allow it (403){}; use credentials that may", quoted(.said.as_ref()))]
    Forbidden {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// What the registry said.
        said: Option<String>,
    },
    /// 404.
    #[error("cannot {action}: {registry} does not have it (404); check the name and the version")]
    NotFound {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
    },
    /// 429.
    #[error("cannot {action}: {registry} is asked too often (429); try again {}", later(*.after))]
    TooMany {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// When it may be asked again (`Retry-After`).
        after: Option<Duration>,
    },
    /// Any other status.
    #[error("cannot {action}: {registry} answered {status}{}; {}", quoted(.said.as_ref()), next(*.status, *.after))]
    Status {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// What the registry said.
        said: Option<String>,
        /// When it may be asked again (`Retry-After`).
        after: Option<Duration>,
    },
    /// More bytes than a document of this kind may have.
    #[error(
        "cannot {action}: {registry} sends more than the {limit} bytes allowed; nothing was kept: check the address, and tell whoever runs the registry or publishes the package"
    )]
    TooLarge {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// Most bytes.
        limit: u64,
    },
    /// Another length than the descriptor or the header said.
    #[error(
        "cannot {action}: {registry} lies about its length: {expected} bytes were announced, {found} came; nothing was kept: try again, and if that does not help, tell whoever runs it"
    )]
    Length {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// Bytes announced.
        expected: u64,
        /// Bytes that came (or were about to).
        found: u64,
    },
    /// Other bytes than the digest says.
    #[error(
        "cannot {action}: {registry} sent other bytes, whose digest is {found}; nothing was kept: the package was altered on the way or in the registry"
    )]
    Digest {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// The digest of what came.
        found: Digest,
    },
    /// Other bytes than the answer itself says.
    #[error(
        "cannot {action}: {registry} sends what has the digest {found}, and calls it {announced} (Docker-Content-Digest); nothing was kept: it was altered on the way, or the registry is wrong about it: ask for @sha256:DIGEST by what you know from elsewhere, and tell whoever runs it"
    )]
    NotAsAnnounced {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// The digest in the answer's head.
        announced: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// What was sent is kept under another digest, as the answer says.
    #[error(
        "cannot {action}: {registry} says that it keeps as {announced} (Docker-Content-Digest) what was sent, which has the digest {sent}: it was altered on the way, or the registry is wrong about it; look at what it has there with skep verify, and tell whoever runs it"
    )]
    NotAsSent {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// The digest in the answer's head.
        announced: Digest,
        /// The digest of what was sent.
        sent: Digest,
    },
    /// An answer that the distribution spec does not allow, or that we refuse to follow.
    #[error(
        "cannot {action}: {registry} answers what it should not: {why}; check that this is the right address, and tell whoever runs it"
    )]
    Misbehaves {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// What it did.
        why: String,
    },
    /// Others wrote the same tag at the same time, which no registry locks, and what was written did not stay.
    #[error(
        "cannot {action}: others write {what} in {registry} at the same time, and ours did not stay; look at what is there when they are done, and try again"
    )]
    Overwritten {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// What the tag says.
        what: &'static str,
    },
    /// Others wrote the same tag after it was looked at.
    #[error(
        "cannot {action}: others have written its tag in {registry} since it was looked at; nothing was put there: look at what is there when they are done, and try again"
    )]
    Changed {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
    },
    /// Under a tag of bundles lies something else, as whoever may write there can put it.
    #[error(
        "cannot {action}: what {registry} has under the tag {tag} {why}; whoever may write there put it: tell who keeps the package there"
    )]
    Junk {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// The tag.
        tag: String,
        /// Why nobody reads it.
        why: String,
    },
    /// Bundles that readers would not take together.
    #[error(
        "cannot {action}: what would be put there {why}, and nobody would read it; leave out the oldest that nobody needs any more"
    )]
    Bundles {
        /// What was being done, on what.
        action: String,
        /// What is wrong with them.
        why: String,
    },
    /// The package in the layout is not the one that the reference names.
    #[error("cannot push as {reference}: the layout holds {found}; a push never renames")]
    AnotherPackage {
        /// The reference.
        reference: String,
        /// The package's own name and version.
        found: String,
    },
    /// Some of the package's platforms are not in the layout.
    #[error(
        "cannot {action}: what is here of it is for {} only, and a registry takes a package whole: get it with all its platforms, with skep pull or skep bundle without --arch", here.join(", ")
    )]
    Partial {
        /// What was being done, on what.
        action: String,
        /// The platforms that are there.
        here: Vec<String>,
    },
    /// The layout holds something that is no package.
    #[error(
        "cannot {action}: the layout is not a package's: {why}; make it anew with 'skep pack' or 'skep pull'"
    )]
    Layout {
        /// What was being done, on what.
        action: String,
        /// What is wrong.
        why: String,
    },
    /// Credentials that cannot be read.
    #[error("cannot read the credentials for {registry}: {why}")]
    Credentials {
        /// `host[:port]`.
        registry: String,
        /// What is wrong.
        why: String,
    },
    /// What the digest names is no package of ours.
    #[error("cannot {action}: what {registry} has there is no package: {why}")]
    NotAPackage {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
        /// What is wrong with it.
        why: String,
        /// The standard's code for that.
        code: &'static str,
    },
    /// A part of a package, which the package names, is not there.
    #[error(
        "cannot {action}: {registry} does not have it (404), though the package names it: what is there of the package is not whole; tell whoever runs it or publishes the package"
    )]
    Missing {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
    },
    /// More is listed than anybody looks at, and nothing of what was looked at is a signature.
    #[error(
        "cannot {action}: {registry} lists more that refers to it than the {} that are looked at, and none of those is a signature that is there: nobody can tell whether it is signed; ask whoever runs the registry to remove what does not belong there",
        REFERRERS_MAX
    )]
    Flooded {
        /// What was being done, on what.
        action: String,
        /// `host[:port]`.
        registry: String,
    },
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// As [`StoreError::is_altered`].
    #[must_use]
    pub const fn is_altered(&self) -> bool {
        match self {
            Self::Digest { .. }
            | Self::NotAsAnnounced { .. }
            | Self::NotAsSent { .. }
            | Self::Length { .. }
            | Self::TooLarge { .. }
            | Self::Missing { .. }
            | Self::NotAPackage { .. } => true,
            Self::Store(error) => error.is_altered(),
            _ => false,
        }
    }

    /// Whether nobody can tell who signed the package.
    #[must_use]
    pub const fn is_flooded(&self) -> bool {
        matches!(self, Self::Flooded { .. })
    }

    /// The standard's code, where a package is not what its digests or descriptors say, or its signatures are out of reach.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Flooded { .. } => Some("trust.not-enough"),
            Self::Digest { .. } | Self::NotAsAnnounced { .. } | Self::NotAsSent { .. } => {
                Some("oci.altered")
            }
            Self::Length { .. } => Some("oci.size"),
            Self::TooLarge { .. } => Some("oci.too-large"),
            Self::Missing { .. } => Some("oci.missing"),
            Self::NotAPackage { code, .. } => Some(code),
            Self::Store(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the reference says too little to ask anybody.
    #[must_use]
    pub const fn is_no_place(&self) -> bool {
        matches!(self, Self::NoRegistry(_) | Self::NoVersion(_) | Self::Channel(_))
    }

    /// What a 401 says, and whether the registry was told who asks, for those whom `skep login` does not help.
    #[must_use]
    pub fn unauthorized(&self) -> Option<(String, bool)> {
        let Self::Unauthorized { action, registry, named, said } = self else { return None };
        Some((unauthorized(action, registry, *named, said.as_ref()), *named))
    }

    /// Whether an answer broke off in its middle.
    pub(super) fn is_cut(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Hangs { .. } => true,
            Self::Length { expected, found, .. } => found < expected,
            _ => false,
        }
    }

    /// Whether nothing was said, by whatever was asked.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Hangs { .. }) || self.is_passing()
    }

    /// When the registry wants to be asked again.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { after, .. } | Self::Status { after, .. } => *after,
            _ => None,
        }
    }

    /// The same, where an answer's `Retry-After` is so many seconds.
    pub(super) fn asked_later(mut self, seconds: Option<u64>) -> Self {
        if let Self::TooMany { after, .. } | Self::Status { after, .. } = &mut self {
            *after = seconds.map(Duration::from_secs);
        }
        self
    }

    /// Whether trying again soon may help.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::TooMany { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

fn unauthorized(action: &str, registry: &str, named: bool, said: Option<&String>) -> String {
    let does = match named {
        false => "wants to know who asks",
        true => "refuses the token or password that it was given",
    };
    format!("cannot {action}: {registry} {does} (401){}", quoted(said))
}

fn log_in(named: bool) -> &'static str {
    match named {
        false => "log in with",
        true => "it may be mistyped, expired or revoked: get a new one and log in again with",
    }
}

fn quoted(said: Option<&String>) -> String {
    said.map(|said| format!(", saying '{said}'")).unwrap_or_default()
}

fn next(status: u16, after: Option<Duration>) -> String {
    if status >= 500 {
        format!("the fault is on its side: try again {}", later(after))
    } else {
        "check the reference, and that this is an OCI registry".to_owned()
    }
}

fn later(after: Option<Duration>) -> String {
    after.map_or_else(|| "later".to_owned(), |after| format!("in {} s", after.as_secs()))
}
