//! Credentials for a registry: given, or from docker's config file and its helpers.

use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde_json::Value;

use super::error::RegistryError;
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
    match docker_credential::get_credential_from_reader(config.as_bytes(), registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Some((user, password))),
        Ok(DockerCredential::IdentityToken(_)) => Err(format!(
            "{show} holds an identity token, which is not supported yet: log in with a name and an access token"
        )),
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound,
        ) => Ok(None),
        // Helpers write their words for "nothing here" to stdout, and docker knows them by this text.
        Err(CredentialRetrievalError::HelperFailure { ref stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(None)
        }
        Err(error) => Err(explained(&error, path, &config, registry)),
    }
}

/// What is wrong with the config or its helper, by name. What a helper puts out may hold a secret, and is not shown.
fn explained(
    error: &CredentialRetrievalError,
    path: &Path,
    config: &str,
    registry: &str,
) -> String {
    use CredentialRetrievalError as Why;
    let show = path.display();
    let json = serde_json::from_str::<Value>(config);
    let config = match json {
        Ok(config) => config,
        Err(error) => return format!("{show} is not docker's JSON: {error}"),
    };
    let helper = config["credHelpers"][registry].as_str().or(config["credsStore"].as_str());
    let helper = format!("docker-credential-{}", helper.unwrap_or_default());
    match error {
        Why::HelperCommunicationError => {
            format!(
                "the helper '{helper}' that {show} names cannot be run, or ends before it is asked: install it in the PATH"
            )
        }
        Why::MalformedHelperResponse => {
            format!("the helper '{helper}' that {show} names answers with what are no credentials")
        }
        Why::HelperFailure { .. } => {
            format!("the helper '{helper}' that {show} names failed; run 'skep login' again")
        }
        Why::CredentialDecodingError => {
            format!("{show}: the 'auth' of {registry} is not NAME:PASSWORD in base64; log in again")
        }
        Why::ConfigReadError => format!("{show} has not the form of docker's config.json"),
        other => format!("{show}: {other}"),
    }
}
