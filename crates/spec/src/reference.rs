//! References to packages: `[registry[:port]/[path/]]publisher/name[:version][@sha256:hex | @channel]`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::VERSION_PATTERN;
use crate::{Channel, Digest, PackageName, Version};

/// A checked package reference.
///
/// The first component is a registry if it holds `.` or `:` or is `localhost`. After `@`, `alg:hex` is a
/// digest, anything else a channel. Without a registry the reference means the configured hub, never another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageRef {
    /// `host[:port]`, absent for a short name.
    pub registry: Option<String>,
    /// Path components between registry and publisher, without slashes at the ends; often empty.
    pub path: String,
    /// `publisher/name`.
    pub name: PackageName,
    /// The version after `:`.
    pub version: Option<Version>,
    /// The digest after `@`.
    pub digest: Option<Digest>,
    /// The channel after `@`.
    pub channel: Option<Channel>,
}

crate::text_schema!(PackageRef, "pattern": pattern());

/// A reference as a pattern of ECMA-262, whose groups are named as the parts.
pub(crate) fn pattern() -> String {
    let component = "[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?";
    let label = "[a-z0-9]+(?:-[a-z0-9]+)*";
    let name = "[A-Za-z0-9.][A-Za-z0-9.-]*";
    let host = format!(r"(?=localhost/|[^/]*[.:])(?:{name}|\[(?:{})\])", ipv6());
    let port =
        "0*(?:[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
    let version = VERSION_PATTERN.trim_matches(['^', '$']);
    format!(
        "^(?!localhost/[^/]*$)(?:(?<registry>{host}(?::{port})?)/(?:(?<path>{component}(?:/{component})*)/)?)?\
         (?<name>(?=[^/]{{1,64}}/[^/:@]{{1,64}}(?:[:@]|$)){label}/{label})\
         (?::(?<version>{version}))?\
         (?:@(?:(?<digest>sha256:[0-9a-f]{{64}})|(?<channel>[a-z][a-z0-9-]{{0,31}})))?$"
    )
}

/// An IPv6 address (RFC 3986, section 3.2.2).
fn ipv6() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let last = format!(r"(?:{group}:{group}|{byte}(?:\.{byte}){{3}})");
    let groups = |count: usize| format!("(?:{group}:){{{count}}}");
    // With `::` between so many groups at most and the rest, which leaves one or more for it to stand for.
    let cut = |before: usize| match before {
        0 => format!("::{}{last}", groups(5)),
        1..=5 => {
            format!("(?:(?:{group}:){{0,{}}}{group})?::{}{last}", before - 1, groups(5 - before))
        }
        6 => format!("(?:(?:{group}:){{0,5}}{group})?::{group}"),
        _ => format!("(?:(?:{group}:){{0,6}}{group})?::"),
    };
    let whole = format!("{}{last}", groups(6));
    std::iter::once(whole).chain((0..8).map(cut)).collect::<Vec<_>>().join("|")
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a package reference: {why}")]
pub struct ReferenceError {
    /// The text.
    pub text: String,
    /// What is wrong, with what was expected.
    pub why: String,
}

impl PackageRef {
    /// The repository within its registry: `[path/]publisher/name`.
    #[must_use]
    pub fn repository(&self) -> String {
        if self.path.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.path, self.name)
        }
    }

    /// The same reference at `digest`, which is then all that counts.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), channel: None, ..self.clone() }
    }

    /// Another package of the same registry and path.
    #[must_use]
    pub fn beside(&self, name: &PackageName, version: Option<&Version>) -> Self {
        let (name, version) = (name.clone(), version.cloned());
        Self { name, version, digest: None, channel: None, ..self.clone() }
    }

    /// The package alone: no version, digest or channel of it.
    #[must_use]
    pub fn alone(&self) -> Self {
        self.beside(&self.name, None)
    }

    /// A package without a registry: at the hub, or in a layout or archive.
    #[must_use]
    pub fn short(name: &PackageName, version: Option<&Version>) -> Self {
        let (name, version) = (name.clone(), version.cloned());
        Self { registry: None, path: String::new(), name, version, digest: None, channel: None }
    }

    /// The channel that it means: the one that it names, or `stable` where it names neither version nor digest.
    #[must_use]
    pub fn channel_meant(&self) -> Option<Channel> {
        match (&self.digest, &self.version, &self.channel) {
            (None, _, Some(channel)) => Some(channel.clone()),
            (None, None, None) => Some(Channel::stable()),
            _ => None,
        }
    }

    /// The same reference with `registry` filled in where it had none.
    #[must_use]
    pub fn or_registry(mut self, registry: &str) -> Self {
        self.registry.get_or_insert_with(|| registry.to_owned());
        self
    }
}

impl FromStr for PackageRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|why| ReferenceError { text: text.to_owned(), why })
    }
}

fn parse(text: &str) -> Result<PackageRef, String> {
    let (rest, pin) = match text.split_once('@') {
        Some((rest, pin)) => (rest, Some(pin)),
        None => (text, None),
    };
    let (digest, channel) = match pin {
        Some(pin) if pin.contains(':') => {
            (Some(pin.parse::<Digest>().map_err(|e| e.to_string())?), None)
        }
        Some(pin) => (None, Some(pin.parse::<Channel>().map_err(|e| e.to_string())?)),
        None => (None, None),
    };
    let (registry, rest) = match rest.split_once('/') {
        Some((first, rest)) if is_registry(first) => (Some(registry(first)?), rest),
        _ => (None, rest),
    };
    let (repository, version) = match rest.rsplit_once(':') {
        Some((repository, version)) => {
            (repository, Some(version.parse::<Version>().map_err(|e| e.to_string())?))
        }
        None => (rest, None),
    };
    let mut parts: Vec<&str> = repository.split('/').collect();
    if parts.len() < 2 {
        return Err("it should be publisher/name, with a registry before it if need be".into());
    }
    let name = parts
        .split_off(parts.len() - 2)
        .join("/")
        .parse::<PackageName>()
        .map_err(|e| e.to_string())?;
    if registry.is_none() && !parts.is_empty() {
        return Err(format!(
            "'{}' is no registry: a registry holds a dot or a port, or is localhost",
            parts[0]
        ));
    }
    if parts.iter().any(|part| !is_path_component(part)) {
        return Err("path components are a-z, 0-9 and single . _ - between them".into());
    }
    Ok(PackageRef { registry, path: parts.join("/"), name, version, digest, channel })
}

/// Whether the first component of a reference, of ours or any other to an OCI registry, is a registry.
#[must_use]
pub fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

/// A registry: `host[:port]`.
///
/// # Errors
/// It is none, in words.
pub fn registry(text: &str) -> Result<String, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, "443"),
    };
    let name = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
            && !host.starts_with('-')
    };
    let host_is_fine = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name(host),
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    if !host_is_fine || !digits || port.parse::<u16>().is_err() {
        return Err(format!("'{text}' is not host[:port]"));
    }
    Ok(text.to_owned())
}

/// Whether a text can be a component of a repository's name.
#[must_use]
pub fn is_path_component(part: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    part.bytes().all(|b| fine(b) || b"._-".contains(&b))
        && part.bytes().next().is_some_and(fine)
        && part.bytes().last().is_some_and(fine)
}

impl fmt::Display for PackageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.repository())?;
        if let Some(version) = &self.version {
            write!(f, ":{version}")?;
        }
        match (&self.digest, &self.channel) {
            (Some(digest), _) => write!(f, "@{digest}"),
            (None, Some(channel)) => write!(f, "@{channel}"),
            (None, None) => Ok(()),
        }
    }
}

impl TryFrom<String> for PackageRef {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<PackageRef> for String {
    fn from(reference: PackageRef) -> Self {
        reference.to_string()
    }
}
