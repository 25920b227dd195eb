//! Where the command line's settings come from. The only place that reads the environment; docs/reference/environment.md
//! lists it all.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::passphrase::Passphrase;

/// Settings of this run.
#[derive(Clone, Debug)]
pub struct Config {
    /// `SKEP_SOCKET`, or `/run/skep/skepd.sock`: where skepd listens.
    pub socket: PathBuf,
    /// `SKEP_HUB`: the registry that short names mean, `host[:port]`.
    pub hub: Option<String>,
    /// `SKEP_CONFIG_DIR`, or `/etc/skep`: where trust.toml lies.
    pub config_dir: PathBuf,
    /// `DOCKER_CONFIG`, or `~/.docker`: where registry credentials lie.
    pub docker_config: Option<PathBuf>,
    /// `XDG_STATE_HOME/skep`, or `~/.local/state/skep`: what was seen of channels.
    pub state_dir: PathBuf,
    /// `XDG_CACHE_HOME/skep`, or `~/.cache/skep`: packages, kernel types and other downloads.
    pub cache_dir: PathBuf,
    /// `SKEP_KEY`: the key that signs where no `--key` names one.
    pub key: Option<KeyGiven>,
    /// `SKEP_KEY_PASSPHRASE`: of the private key that signs, is made or is carried.
    pub key_passphrase: Option<Passphrase>,
}

/// A key that the environment gives. Its text never shows in `Debug`.
#[derive(Clone)]
pub enum KeyGiven {
    /// A file.
    File(PathBuf),
    /// The key itself, as secrets of CI come.
    Pem(String),
}

impl KeyGiven {
    fn new(value: OsString) -> Option<Self> {
        match value.to_str() {
            Some("") => None,
            Some(text) if text.contains("-----BEGIN ") => Some(Self::Pem(text.to_owned())),
            _ => Some(Self::File(value.into())),
        }
    }
}

impl fmt::Debug for KeyGiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({path:?})"),
            Self::Pem(_) => f.write_str("Pem(…)"),
        }
    }
}

impl Config {
    /// Reads the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let path = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = path("HOME");
        let cache =
            path("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache")));
        let state =
            path("XDG_STATE_HOME").or_else(|| home.as_ref().map(|home| home.join(".local/state")));
        Self {
            // Without a home: not where skepd has its own.
            state_dir: state
                .map_or_else(|| "/var/lib/skep-commands".into(), |state| state.join("skep")),
            socket: path("SKEP_SOCKET").unwrap_or_else(|| "/run/skep/skepd.sock".into()),
            hub: std::env::var("SKEP_HUB").ok().filter(|hub| !hub.is_empty()),
            config_dir: path("SKEP_CONFIG_DIR").unwrap_or_else(|| "/etc/skep".into()),
            docker_config: path("DOCKER_CONFIG").or_else(|| home.map(|home| home.join(".docker"))),
            key: std::env::var_os("SKEP_KEY").and_then(KeyGiven::new),
            key_passphrase: std::env::var("SKEP_KEY_PASSPHRASE").ok().and_then(Passphrase::new),
            cache_dir: cache.unwrap_or_else(|| "/var/cache".into()).join("skep"),
        }
    }
}
