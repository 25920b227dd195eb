//! skepd's command line and `skepd.toml`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use serde::Deserialize;
use skep_oci::registry::Settings;
use skep_oci::regular;
use skep_spec::PackageRef;

/// The node's daemon for eBPF services
///
/// Runs as root. What it attached stays attached when it ends, however it ends; the next start goes on from there.
#[derive(Clone, Debug, Parser)]
#[command(name = "skepd", version, max_term_width = 100)]
pub struct Args {
    /// Where skepd.toml and trust.toml lie
    #[arg(long, value_name = "DIR", default_value = "/etc/skep")]
    pub config_dir: PathBuf,
    /// Where packages and the journal are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/skep")]
    pub state_dir: PathBuf,
    /// Where programs, maps and links are pinned; nothing else may lie there
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/skep")]
    pub bpffs_dir: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "PATH", default_value = "/run/skep/skepd.sock")]
    pub socket: PathBuf,
    /// The registry that short names mean, instead of skepd.toml's: host[:port]
    #[arg(long, value_name = "HOST")]
    pub hub: Option<String>,
    /// What to log, such as info or skep_agent=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Run one package or object for the process on the standard input, which `skep run` is
    #[arg(long, hide = true)]
    pub ephemeral: bool,
    /// Keep attachments that cannot be pinned, over the restarts of the daemon of this socket
    #[arg(long)]
    pub hold: bool,
    /// Say what this kernel and this node's files are like, as JSON, which `skep doctor` shows
    #[arg(long, hide = true)]
    pub doctor: bool,
    /// Die at a fault point, for tests
    #[arg(long, hide = true, value_name = "POINT")]
    pub fault: Option<String>,
    /// List the fault points
    #[arg(long, hide = true)]
    pub list_faults: bool,
}

/// `skepd.toml`. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The registry that short names mean: `host[:port]`.
    pub hub: Option<String>,
    /// Registries that are spoken to without TLS; loopback addresses always are.
    #[serde(default)]
    pub plain_http: Vec<String>,
    /// docker's `config.json` with the node's registry credentials.
    pub credentials: Option<PathBuf>,
    /// What `registries.toml` beside it says of registries.
    #[serde(skip)]
    pub registries: Settings,
}

impl Config {
    /// Reads `skepd.toml` in the config folder; no file is an empty one. The command line wins.
    ///
    /// # Errors
    /// It cannot be read, has unknown keys or wrong types, or names what is no registry or cannot be read.
    pub fn read(args: &Args) -> Result<Self> {
        let path = args.config_dir.join("skepd.toml");
        let text = match regular::text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("can't read {}", path.display()));
            }
        };
        let mut config: Self =
            toml::from_str(&text).with_context(|| format!("{} has a mistake", path.display()))?;
        config.hub = args.hub.clone().or(config.hub).filter(|hub| !hub.is_empty());
        config.hub.iter().chain(&config.plain_http).try_for_each(|host| check_registry(host))?;
        if let Some(credentials) = &config.credentials {
            regular::text(credentials).with_context(|| {
                let (path, credentials) = (path.display(), credentials.display());
                format!("{path} names credentials in {credentials}, which can't be read")
            })?;
        }
        config.registries = Settings::read(&args.config_dir.join("registries.toml"))?;
        Ok(config)
    }
}

/// That a host can be the registry of a reference.
fn check_registry(host: &str) -> Result<()> {
    let reference = format!("{host}/publisher/name").parse::<PackageRef>();
    match reference.is_ok_and(|reference| reference.registry.as_deref() == Some(host)) {
        true => Ok(()),
        false => bail!(
            "'{host}' is no registry: write host:port, or a host with a dot in it, without http:// and path"
        ),
    }
}
