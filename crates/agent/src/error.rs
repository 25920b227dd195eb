//! What skepd cannot do, or will not: one enum, each with its code, its status and what to do next. Only the server knows HTTP.

mod hint;

use std::io;
use std::path::PathBuf;

use skep_api::{ErrorBody, MAX_BODY};
use skep_object::Unfit;
use skep_object::event::FilterError;
use skep_oci::archive::BundleError;
use skep_oci::signatures::SignatureError;
use skep_oci::{FollowError, RegistryError, StoreError};
use skep_runtime::RuntimeError;
use skep_runtime::maps::EntryError;
use skep_spec::dependency::ResolveError;
use skep_spec::name::NameError;
use skep_spec::{Digest, PackageName, PackageRef, ServiceName, Version, causes, line};
use skep_trust::rotation::RotationError;
use skep_trust::{AdmitError, TrustError};

/// Why a request is refused, or was not done.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The request cannot be read.
    #[error("the request is not as it should be: {0}")]
    Request(String),
    /// The request is too long.
    #[error("the request has more than {MAX_BODY} bytes")]
    TooLarge,
    /// Nothing is at the path.
    #[error("skepd has no such path")]
    NoPath,
    /// The path has other methods.
    #[error("skepd does something else at that path: see its methods")]
    NoMethod,
    /// Who asks may only look.
    #[error("only root may {0}")]
    NotRoot(&'static str),
    /// There is no such operation, or it is forgotten.
    #[error("there is no operation {0}")]
    NoOperation(u64),
    /// A service cannot have that name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A short name, where nothing says which hub it means.
    #[error("'{0}' names no registry, and this node has no hub")]
    NoHub(PackageRef),
    /// The service is of another package.
    #[error("{service} runs {runs}, and {other} is another package")]
    OtherPackage {
        /// The service.
        service: ServiceName,
        /// Its package.
        runs: PackageName,
        /// What it was to be upgraded to.
        other: PackageName,
    },
    /// The version is lower.
    #[error("{service} runs {runs}, and {older} is older")]
    Downgrade {
        /// The service.
        service: ServiceName,
        /// Its version.
        runs: Version,
        /// What it was to be upgraded to.
        older: Version,
    },
    /// What was desired is not what somebody took it for.
    #[error(
        "what this node is to be has revision {there}, and not {asked}: somebody else changed it meanwhile"
    )]
    Stale {
        /// The revision that was to be replaced.
        asked: u64,
        /// The one that there is.
        there: u64,
    },
    /// What would be done is not what somebody agreed to.
    #[error("the plan is another one now than the one that was agreed to, and nothing was done")]
    PlanChanged,
    /// A package is not the one of the plan that somebody agreed to.
    #[error(
        "its package is {found} now, and not {agreed}, which was agreed to: its channel or tag moved, or its file was replaced"
    )]
    OtherThanAgreed {
        /// What was planned.
        agreed: Digest,
        /// What goes by that name now.
        found: Digest,
    },
    /// What was desired cannot be known.
    #[error("{} says what this node is to be, and cannot be read: {why}", path.display())]
    DesiredFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// skepd ends.
    #[error("skepd ends, and {0}: ask again when it runs")]
    Ends(&'static str),
    /// A thread cannot be made.
    #[error("cannot start a thread for the answer")]
    Thread(#[source] io::Error),
    /// skep has no name for this machine's architecture.
    #[error("skep does not know this architecture")]
    Architecture,
    /// Nothing says how a package was let in.
    #[error("{digest} was never let in here ({why})")]
    NeverLetIn {
        /// The package's index.
        digest: Digest,
        /// What is wrong with the note.
        why: String,
    },
    /// The rules cannot be read.
    #[error("{}: {why}", path.display())]
    TrustFile {
        /// `trust.toml`.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What was followed of a publisher's keys counts no more.
    #[error(
        "nobody knows whose keys count for {publisher}, which its rule in trust.toml follows: {source}"
    )]
    Keys {
        /// Whose.
        publisher: String,
        /// Why.
        source: RotationError,
    },
    /// A file of skepd's own cannot be written.
    #[error("can't write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of skepd's own cannot be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// skepd's own store cannot be opened.
    #[error(transparent)]
    OwnStore(StoreError),
    /// A layout or skepd's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file of a bundle.
    #[error(transparent)]
    Bundle(BundleError),
    /// A registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A registry wants to know who asks.
    #[error("{message}")]
    Unauthorized {
        /// What it refused, and whether it was told who asks.
        message: String,
        /// Where skepd's credentials come from.
        hint: String,
    },
    /// Signatures of a layout cannot be read.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Nobody who is trusted signed it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Something has expired, by a moment that is later than the clock.
    #[error("{source}")]
    Behind {
        /// What.
        source: Box<NodeError>,
        /// Which moment, and what to do.
        hint: String,
    },
    /// A channel is not followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// A package is not what its digests or its name say.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// There is no set of packages that does.
    #[error("what {package} needs cannot be had: {why}")]
    Unresolved {
        /// The package.
        package: PackageName,
        /// The chains of packages and ranges that show it.
        why: String,
        /// The standard's code for it.
        code: &'static str,
    },
    /// Two packages of a set, and one name for the service of each.
    #[error("both {} and {} would run as the service {service}", packages[0], packages[1])]
    OneName {
        /// The name.
        service: ServiceName,
        /// The packages.
        packages: Box<[PackageName; 2]>,
    },
    /// A package that another one needs.
    #[error("{of} needs {package}, which is not to be had")]
    Dependency {
        /// Who needs it.
        of: String,
        /// It.
        package: String,
        /// Why.
        source: Box<NodeError>,
    },
    /// A service that would go back with another one.
    #[error("{companion} goes back with {service}, and is not let in")]
    Companion {
        /// It.
        companion: ServiceName,
        /// The one that was named.
        service: ServiceName,
        /// Why.
        source: Box<NodeError>,
    },
    /// A package's manifest, objects and permissions do not fit each other.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// What the runtime cannot do.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A condition on events, or fields of theirs, that say nothing of them.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// An entry of a map that is not read or written.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl NodeError {
    /// A stable word for programs, as `docs/reference/api.md` lists them.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            _ if self.is_altered() => "not-admitted",
            Self::Request(_) => "request",
            Self::TooLarge => "too-large",
            Self::NoPath => "no-such-path",
            Self::NoMethod => "no-such-method",
            Self::NotRoot(_) => "not-root",
            Self::NoOperation(_) => "no-operation",
            Self::Name(_) => "name",
            Self::NoHub(_) => "no-hub",
            Self::OtherPackage { .. } => "other-package",
            Self::Downgrade { .. } => "downgrade",
            Self::Stale { .. } => "stale",
            Self::PlanChanged | Self::OtherThanAgreed { .. } => "plan-changed",
            Self::Ends(_) => "ends",
            Self::Thread(_) => "internal",
            Self::Architecture => "architecture",
            Self::NeverLetIn { .. } => "package-gone",
            Self::TrustFile { .. } => "trust-file",
            Self::Store(StoreError::NoPackage { .. } | StoreError::Several { .. }) => "layout",
            Self::Store(_) | Self::OwnStore(_) => "store",
            Self::Registry(error) if error.is_flooded() => "refused",
            Self::Registry(_) | Self::Unauthorized { .. } => "registry",
            Self::Signature(_) => "signature",
            Self::Trust(_) | Self::Keys { .. } => "refused",
            Self::Follow(FollowError::Channel(_)) => "refused-channel",
            Self::Follow(FollowError::Memory { .. })
            | Self::Write { .. }
            | Self::Read { .. }
            | Self::DesiredFile { .. }
            | Self::Bundle(_) => "file",
            Self::Admit(_) => "not-admitted",
            Self::Unresolved { .. } | Self::OneName { .. } => "dependencies",
            Self::Dependency { source, .. }
            | Self::Companion { source, .. }
            | Self::Behind { source, .. } => source.code(),
            Self::Unfit(unfit) => unfit.code(),
            Self::Runtime(error) => error.code(),
            Self::Entry(error) => error.code(),
            Self::Filter(_) => "filter",
        }
    }

    /// The standard's code, where it has one for that.
    #[must_use]
    pub fn standard(&self) -> Option<&'static str> {
        match self {
            Self::Store(error) => error.code(),
            Self::Bundle(error) => error.code(),
            Self::Registry(error) => error.code(),
            Self::Signature(error) => error.code(),
            Self::Trust(error) => Some(error.code()),
            Self::Keys { source, .. } => Some(source.code()),
            Self::Follow(FollowError::Channel(error)) => Some(error.code()),
            Self::Admit(error) => error.code(),
            Self::Unresolved { code, .. } => Some(code),
            Self::Dependency { source, .. }
            | Self::Companion { source, .. }
            | Self::Behind { source, .. } => source.standard(),
            _ => None,
        }
    }

    /// HTTP's number for it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            _ if self.is_altered() => 403,
            Self::Request(_) | Self::Name(_) | Self::NoHub(_) => 400,
            Self::Store(StoreError::NoPackage { .. } | StoreError::Several { .. }) => 400,
            Self::Registry(error) if error.is_flooded() => 403,
            Self::NotRoot(_)
            | Self::Trust(_)
            | Self::Keys { .. }
            | Self::Follow(FollowError::Channel(_))
            | Self::Admit(_)
            | Self::Unfit(Unfit::Permissions { .. }) => 403,
            Self::NoPath | Self::NoOperation(_) | Self::NeverLetIn { .. } => 404,
            Self::Runtime(
                RuntimeError::NoService { .. }
                | RuntimeError::NoSuch { .. }
                | RuntimeError::NoId { .. },
            ) => 404,
            Self::Entry(EntryError::NoEntry { .. }) => 404,
            Self::NoMethod => 405,
            Self::Unresolved { .. } | Self::OneName { .. } => 409,
            Self::Dependency { source, .. }
            | Self::Companion { source, .. }
            | Self::Behind { source, .. } => source.status(),
            Self::OtherPackage { .. } | Self::Downgrade { .. } => 409,
            Self::Stale { .. } | Self::PlanChanged | Self::OtherThanAgreed { .. } => 409,
            Self::Runtime(
                RuntimeError::Exists { .. }
                | RuntimeError::Changed { .. }
                | RuntimeError::Needed { .. }
                | RuntimeError::RunsOn { .. }
                | RuntimeError::Held { .. }
                | RuntimeError::Stopped { .. }
                | RuntimeError::NeedsStopped { .. }
                | RuntimeError::InUse { .. }
                | RuntimeError::Missing { .. },
            ) => 409,
            Self::TooLarge => 413,
            Self::Entry(EntryError::Own { .. }) => 403,
            Self::Entry(_) | Self::Filter(_) | Self::Signature(_) | Self::Unfit(_) => 422,
            Self::Runtime(
                RuntimeError::File { .. } | RuntimeError::Thread { .. } | RuntimeError::Journal(_),
            ) => 500,
            Self::Runtime(_) => 422,
            Self::Thread(_) | Self::TrustFile { .. } | Self::Write { .. } | Self::Read { .. } => {
                500
            }
            Self::Bundle(_) | Self::DesiredFile { .. } => 500,
            Self::Store(_) | Self::OwnStore(_) | Self::Follow(FollowError::Memory { .. }) => 500,
            Self::Architecture => 501,
            Self::Registry(_) | Self::Unauthorized { .. } => 502,
            Self::Ends(_) => 503,
        }
    }

    /// What failed. Where packages and registries have a hand in it, in one line: names in it are a stranger's.
    fn message(&self) -> String {
        let text = self.to_string();
        if self.has_lines() { text } else { line(&text) }
    }

    /// Whether what it says may have several lines: a verifier's log, or what is wrong with a file of this node.
    fn has_lines(&self) -> bool {
        match self {
            Self::Runtime(_) | Self::TrustFile { .. } | Self::DesiredFile { .. } => true,
            Self::Behind { source, .. } => source.has_lines(),
            _ => false,
        }
    }

    /// Why, from the outside in.
    fn causes(&self) -> Vec<String> {
        match self {
            Self::Dependency { source, .. } | Self::Companion { source, .. } => {
                std::iter::once(source.message()).chain(source.causes()).collect()
            }
            Self::Behind { source, .. } => source.causes(),
            error if error.has_lines() => causes(error),
            error => error.raw_causes().iter().map(|cause| line(cause)).collect(),
        }
    }

    fn raw_causes(&self) -> Vec<String> {
        match self {
            Self::Unfit(unfit) => unfit.causes(),
            Self::Follow(FollowError::Channel(error)) => {
                let refusals = error.refusals().iter().map(ToString::to_string);
                causes(error).into_iter().chain(refusals).collect()
            }
            error => causes(error),
        }
    }

    /// As it is sent.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code().to_owned(),
            standard: self.standard().map(str::to_owned),
            message: self.message(),
            causes: self.causes(),
            hint: self.hint(),
        }
    }

    /// Why a package is not to be had that `of` needs.
    pub(crate) fn dependency(of: &str, package: impl ToString, source: Self) -> Self {
        let (of, package) = (of.to_owned(), package.to_string());
        Self::Dependency { of, package, source: Box::new(source) }
    }

    /// The same of a service that goes back with the one that was named.
    pub(crate) fn of_companion(self, companion: &ServiceName, service: &ServiceName) -> Self {
        if companion == service {
            return self;
        }
        let (companion, service) = (companion.clone(), service.clone());
        Self::Companion { companion, service, source: Box::new(self) }
    }

    /// Why there is no set for a package.
    pub(crate) fn unresolved(package: &PackageName, error: ResolveError<Self>) -> Self {
        match error {
            ResolveError::Versions(error) => error,
            ResolveError::Unresolved(error) => {
                let (package, why) = (package.clone(), error.to_string());
                Self::Unresolved { package, why, code: error.code() }
            }
        }
    }

    /// What became of other services than the one that was spoken of, where it failed: why each is not what it was to be.
    pub(crate) fn others(&self) -> Vec<(ServiceName, Option<String>)> {
        match self {
            Self::Runtime(error) => error.others(),
            _ => Vec::new(),
        }
    }

    /// All of it in one line: what failed, why, what to do next.
    #[must_use]
    pub fn text(&self) -> String {
        let whole: Vec<String> = std::iter::once(self.message()).chain(self.causes()).collect();
        self.hint().iter().fold(whole.join(": "), |text, hint| format!("{text}; {hint}"))
    }

    /// Whether it would be let in if it were earlier.
    pub(crate) fn is_expired(&self) -> bool {
        match self {
            Self::Trust(error) => error.is_expired(),
            Self::Follow(FollowError::Channel(error)) => error.is_expired(),
            _ => false,
        }
    }

    /// Whether bytes are not what their digest says.
    fn is_altered(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_altered(),
            Self::Store(error) => error.is_altered(),
            Self::Bundle(error) => error.is_altered(),
            Self::Signature(error) => error.is_altered(),
            Self::Dependency { source, .. } | Self::Companion { source, .. } => source.is_altered(),
            _ => false,
        }
    }
}

impl From<BundleError> for NodeError {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Store(error) => Self::Store(error),
            error => Self::Bundle(error),
        }
    }
}

#[cfg(test)]
mod tests;
