//! Credentials at rest: docker's config file, or the helper that it names.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::helper;
use crate::{durable, regular};

/// Where docker, oras, skopeo and skep find credentials: a `config.json` and what it names.
pub struct Login {
    file: PathBuf,
    config: Map<String, Value>,
}

/// Why credentials were not kept or forgotten. Nothing was changed.
#[derive(Debug, Error)]
pub enum LoginError {
    /// A file.
    #[error("cannot {action} {path}")]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What docker would not write.
    #[error("{path} is not the JSON object that docker writes; mend it or move it away")]
    Config {
        /// The file.
        path: String,
    },
    /// A helper.
    #[error("the credential helper '{program}' that {path} names failed: {why}")]
    Helper {
        /// `docker-credential-NAME`.
        program: String,
        /// The file.
        path: String,
        /// What became of it.
        why: String,
    },
}

impl Login {
    /// Reads the file; none is an empty one.
    ///
    /// # Errors
    /// When it cannot be read, or is not a JSON object.
    pub fn open(file: &Path) -> Result<Self, LoginError> {
        let config = match regular::bytes(file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|_| LoginError::Config { path: file.display().to_string() })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(source) => return Err(io("read", file, source)),
        };
        Ok(Self { file: file.to_owned(), config })
    }

    /// The helper that keeps the credentials of `registry`; none: the file does, readable by its owner alone.
    #[must_use]
    pub fn helper(&self, registry: &str) -> Option<String> {
        let own = self.config.get("credHelpers").and_then(|helpers| helpers.get(registry));
        let name = own.or_else(|| self.config.get("credsStore"))?.as_str()?;
        (!name.is_empty()).then(|| format!("docker-credential-{name}"))
    }

    /// Keeps a name and a password for `registry`.
    ///
    /// # Errors
    /// When the file cannot be written, or the helper fails.
    pub fn keep(&mut self, registry: &str, user: &str, password: &str) -> Result<(), LoginError> {
        if let Some(helper) = self.helper(registry) {
            let entry = json!({ "ServerURL": registry, "Username": user, "Secret": password });
            return self.ask(&helper, "store", &entry.to_string());
        }
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let auths = self.config.entry("auths").or_insert_with(|| json!({}));
        let auths = auths
            .as_object_mut()
            .ok_or_else(|| LoginError::Config { path: self.file.display().to_string() })?;
        auths.insert(registry.to_owned(), json!({ "auth": auth }));
        self.write()
    }

    /// Forgets what is kept for `registry`; says whether anything was in the file, or a helper was asked.
    ///
    /// # Errors
    /// When the file cannot be written, or the helper fails.
    pub fn forget(&mut self, registry: &str) -> Result<bool, LoginError> {
        let auths = self.config.get_mut("auths").and_then(Value::as_object_mut);
        let was = auths.is_some_and(|auths| auths.remove(registry).is_some());
        if was {
            self.write()?;
        }
        match self.helper(registry) {
            Some(helper) => self.ask(&helper, "erase", registry).map(|()| true),
            None => Ok(was),
        }
    }

    /// Whole or not at all, and never readable by others.
    fn write(&self) -> Result<(), LoginError> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let text = format!("{:#}\n", Value::Object(self.config.clone()));
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| durable::replace(&self.file, text.as_bytes(), 0o600));
        written.map_err(|source| io("write", &self.file, source))
    }

    /// Runs a helper with `input`; what it prints may hold secrets and is not shown.
    fn ask(&self, program: &str, verb: &str, input: &str) -> Result<(), LoginError> {
        let failed = |why: String| LoginError::Helper {
            program: program.to_owned(),
            path: self.file.display().to_string(),
            why,
        };
        let answer = helper::ask(program, verb, input).map_err(|e| failed(e.to_string()))?;
        match answer.status.success() {
            true => Ok(()),
            false => Err(failed(answer.status.to_string())),
        }
    }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> LoginError {
    LoginError::File { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_others_wrote_stays_and_only_the_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("docker/config.json");
        let mut login = Login::open(&file).unwrap();
        login.keep("hub.example:5000", "ci", "secret").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let with_more = r#"{"detachKeys":"ctrl-e","auths":{"a":{"auth":"eA=="},"b":{}}}"#;
        std::fs::write(&file, with_more).unwrap();
        let mut login = Login::open(&file).unwrap();
        login.keep("hub.example:5000", "ci", "secret").unwrap();
        assert!(login.forget("b").unwrap());
        assert!(!login.forget("b").unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        let wanted = json!({
            "detachKeys": "ctrl-e",
            "auths": { "a": { "auth": "eA==" }, "hub.example:5000": { "auth": "Y2k6c2VjcmV0" } },
        });
        assert_eq!(kept, wanted);
    }

    #[test]
    fn a_file_that_docker_would_not_write_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        for text in ["[]", "{", r#"{"auths": 1}"#] {
            std::fs::write(&file, text).unwrap();
            let kept = Login::open(&file).and_then(|mut login| login.keep("hub", "ci", "secret"));
            assert!(matches!(kept, Err(LoginError::Config { .. })), "{text}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn a_helper_is_asked_where_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, r#"{"credsStore":"x","credHelpers":{"hub":"none-such"}}"#).unwrap();
        let mut login = Login::open(&file).unwrap();
        assert_eq!(login.helper("other").as_deref(), Some("docker-credential-x"));
        let error = login.keep("hub", "ci", "secret").unwrap_err().to_string();
        assert!(error.contains("docker-credential-none-such"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
