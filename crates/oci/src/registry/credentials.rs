//! Credentials for a registry: given, or from docker's config file and its helpers.

use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::Deserialize;
use serde_json::Value;

use super::error::RegistryError;
use super::helper;
use crate::regular;

/// Where credentials come from. They never show in `Debug`.
#[derive(Clone, Default)]
pub enum Credentials {
    /// None: ask as anybody.
    #[default]
    Anonymous,
    /// A name and a password, or a token as the password.
    Basic {
        /// The name; many registries ignore it beside a token.
        user: String,
        /// The password or token.
        password: String,
    },
    /// Docker's `config.json`, at this path, and the credential helpers that it names. No such file: nobody.
    DockerConfig(PathBuf),
}

impl Credentials {
    /// The name and password for `registry`, if there are any.
    ///
    /// # Errors
    /// When the config or a helper's answer cannot be read, or it holds an identity token, which is not supported.
    pub(super) async fn for_registry(
        &self,
        registry: &str,
    ) -> Result<Option<(String, String)>, RegistryError> {
        match self {
            Self::Anonymous => Ok(None),
            Self::Basic { user, password } => Ok(Some((user.clone(), password.clone()))),
            Self::DockerConfig(path) => {
                let (path, asked) = (path.clone(), registry.to_owned());
                // A helper is a program that is waited for.
                let found = tokio::task::spawn_blocking(move || from_docker(&path, &asked)).await;
                let found = found.unwrap_or_else(|e| Err(e.to_string()));
                found.map_err(|why| RegistryError::Credentials { registry: registry.into(), why })
            }
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { user, .. } => write!(f, "Basic({user:?}, …)"),
            Self::DockerConfig(path) => write!(f, "DockerConfig({path:?})"),
        }
    }
}

fn from_docker(path: &Path, registry: &str) -> Result<Option<(String, String)>, String> {
    let show = path.display();
    let config = match regular::text(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        config => config.map_err(|e| format!("{show}: {e}"))?,
    };
    let config: Value =
        serde_json::from_str(&config).map_err(|e| format!("{show} is not docker's JSON: {e}"))?;
    let helper = |name: &Value| name.as_str().filter(|name| !name.is_empty()).map(helped);
    let (own, store) = (helper(&config["credHelpers"][registry]), helper(&config["credsStore"]));
    if let Some(own) = own {
        return from_helper(&own, path, registry);
    }
    match (in_file(config, path, registry)?, store) {
        (None, Some(store)) => from_helper(&store, path, registry),
        (found, _) => Ok(found),
    }
}

fn helped(name: &str) -> String {
    format!("docker-credential-{name}")
}

/// What a helper keeps. What it puts out may hold a secret, and is not shown.
fn from_helper(
    helper: &str,
    path: &Path,
    registry: &str,
) -> Result<Option<(String, String)>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Kept {
        username: String,
        secret: String,
    }
    let named = format!("the helper '{helper}' that {} names", path.display());
    let answer = helper::ask(helper, "get", registry)
        .map_err(|e| format!("{named} cannot be asked: {e}; is it in the PATH?"))?;
    if !answer.status.success() {
        // Helpers write their words for "nothing here" to stdout, and docker knows them by this text.
        let nothing = String::from_utf8_lossy(&answer.said).contains("credentials not found");
        let failed = || format!("{named} failed; run 'skep login' again");
        return if nothing { Ok(None) } else { Err(failed()) };
    }
    match serde_json::from_slice(&answer.said) {
        Ok(Kept { username, .. }) if username == "<token>" => Err(no_tokens(path)),
        Ok(Kept { username, secret }) => Ok(Some((username, secret))),
        Err(_) => Err(format!("{named} answers with what are no credentials")),
    }
}

/// What the config itself keeps.
fn in_file(
    mut config: Value,
    path: &Path,
    registry: &str,
) -> Result<Option<(String, String)>, String> {
    use CredentialRetrievalError as Why;
    if let Some(config) = config.as_object_mut() {
        config.retain(|key, _| key == "auths");
    }
    let show = path.display();
    match docker_credential::get_credential_from_reader(config.to_string().as_bytes(), registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Some((user, password))),
        Ok(DockerCredential::IdentityToken(_)) => Err(no_tokens(path)),
        Err(Why::NoCredentialConfigured | Why::ConfigNotFound) => Ok(None),
        Err(Why::CredentialDecodingError) => Err(format!(
            "{show}: the 'auth' of {registry} is not NAME:PASSWORD in base64; log in again"
        )),
        Err(Why::ConfigReadError) => {
            Err(format!("{show} has not the form of docker's config.json"))
        }
        Err(other) => Err(format!("{show}: {other}")),
    }
}

fn no_tokens(path: &Path) -> String {
    format!(
        "{} holds an identity token, which is not supported yet: log in with a name and an access token",
        path.display()
    )
}
