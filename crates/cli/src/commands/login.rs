//! `skep login` and `skep logout`.

use std::io::{IsTerminal as _, Read as _};

use clap::Args;
use serde::Serialize;
use skep_oci::Credentials;
use skep_oci::registry::{Login as Kept, Registry};

use crate::config::Config;
use crate::error::{Error, Result, failed};
use crate::options::Transport;
use crate::output::Output;
use crate::passing::interruptible;
use crate::place;

/// Longest password that is read, in bytes.
const PASSWORD_MAX: u64 = 64 * 1024;

/// Log in to a registry: check a token or password there, and keep it for push and pull
///
/// It is kept where docker, oras and skopeo look too: in docker's config.json, or by the credential helper that it names.
#[derive(Debug, Args)]
pub struct Login {
    /// host[:port]; the hub of SKEP_HUB if none is given
    registry: Option<String>,
    /// The name; a hub that knows tokens by themselves does not look at it
    #[arg(short, long, value_name = "NAME", default_value = "token")]
    username: String,
    /// Read the token or password from standard input
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    transport: Transport,
}

/// Log out of a registry: forget the token or password that login kept
#[derive(Debug, Args)]
pub struct Logout {
    /// host[:port]; the hub of SKEP_HUB if none is given
    registry: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    registry: &'a str,
    /// Whether the registry asks for credentials at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    checked: Option<bool>,
    /// Whether there was something to forget.
    #[serde(skip_serializing_if = "Option::is_none")]
    forgotten: Option<bool>,
}

impl Login {
    /// Runs it.
    ///
    /// # Errors
    /// The registry refuses the credentials, or they cannot be kept: nothing is kept then.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let host = registry(self.registry, config)?;
        let mut kept = kept(config)?;
        let password = password(&host, self.password_stdin)?;
        let credentials =
            Credentials::Basic { user: self.username.clone(), password: password.clone() };
        let options = place::options(credentials, self.transport, config)?;
        let checked = interruptible(async {
            let registry = Registry::new(&host, options).map_err(failed)?;
            registry.check_login().await.map_err(failed)
        })?;
        kept.keep(&host, &self.username, &password).map_err(failed)?;
        output.done(&Answer { registry: &host, checked: Some(checked), forgotten: None }, || {
            match checked {
                true => format!("Logged in to {host}"),
                false => {
                    format!("{host} asks nobody to log in; the credentials are kept unchecked")
                }
            }
        });
        Ok(())
    }
}

impl Logout {
    /// Runs it.
    ///
    /// # Errors
    /// What is kept cannot be read or changed.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let host = registry(self.registry, config)?;
        let forgotten = kept(config)?.forget(&host).map_err(failed)?;
        output.done(&Answer { registry: &host, checked: None, forgotten: Some(forgotten) }, || {
            match forgotten {
                true => format!("Logged out of {host}"),
                false => format!("Nothing is kept for {host}"),
            }
        });
        Ok(())
    }
}

/// A registry's name and nothing else, so that nothing is kept for a name that no command asks for.
fn registry(given: Option<String>, config: &Config) -> Result<String> {
    let host = given.or_else(|| config.hub.clone()).ok_or_else(|| {
        Error::usage("no registry is given, and no hub is set")
            .hint("write host[:port], or set SKEP_HUB=host[:port]")
    })?;
    // The grammar of references knows what a registry is.
    match format!("{host}/a/b").parse::<skep_spec::PackageRef>() {
        Ok(reference) if reference.registry.as_ref() == Some(&host) => Ok(host),
        _ => Err(Error::usage(format!("'{host}' is not a registry"))
            .hint("write host[:port], without https:// and without a path")),
    }
}

fn kept(config: &Config) -> Result<Kept> {
    let folder = config.docker_config.as_ref().ok_or_else(|| {
        Error::usage("there is no place for credentials: neither DOCKER_CONFIG nor HOME is set")
    })?;
    Kept::open(&folder.join("config.json")).map_err(failed)
}

fn password(host: &str, from_stdin: bool) -> Result<String> {
    let stdin = std::io::stdin();
    let password = if from_stdin {
        let mut text = String::new();
        stdin.lock().take(PASSWORD_MAX).read_to_string(&mut text).map_err(failed)?;
        text
    } else if stdin.is_terminal() {
        rpassword::prompt_password(format!("Token or password for {host}: ")).map_err(failed)?
    } else {
        return Err(Error::usage("there is no terminal to ask for a token or password")
            .hint("give it on standard input, with --password-stdin"));
    };
    match password.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::usage("the token or password is empty")),
        password => Ok(password.to_owned()),
    }
}
