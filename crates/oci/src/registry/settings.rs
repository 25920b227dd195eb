//! `registries.toml`: how single registries are spoken to - CAs, client certificates, mirrors, plain HTTP.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};
use serde::Deserialize;
use skep_spec::{PackageRef, chain};
use thiserror::Error;

use super::clients::Tls;
use crate::regular;

/// What is said of registries, by `host[:port]`.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The folder that paths begin at.
    folder: PathBuf,
    hosts: BTreeMap<String, Host>,
}

/// Why `registries.toml` does not count.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says what cannot be meant.
    #[error("{} has a mistake: {why}", path.display())]
    Mistake {
        /// The file.
        path: PathBuf,
        /// What.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default)]
    registry: BTreeMap<String, Host>,
}

/// What is said of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Host {
    /// Who else has its content, in the order in which they are asked: `host[:port][/path]`.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// CAs, in PEM.
    ca: Option<PathBuf>,
    /// This machine's certificate with those that vouch for it, in PEM.
    client_cert: Option<PathBuf>,
    /// Its key, in PEM.
    client_key: Option<PathBuf>,
    /// Speak HTTP without TLS.
    #[serde(default)]
    pub plain_http: bool,
}

impl Settings {
    /// Reads the file; none says nothing.
    ///
    /// # Errors
    /// It cannot be read, or has a mistake.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = match regular::text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(SettingsError::Read { path: path.to_owned(), source }),
        };
        let mistake = |why| SettingsError::Mistake { path: path.to_owned(), why };
        let form: Form = toml::from_str(&text).map_err(|error| mistake(error.to_string()))?;
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        for (name, host) in &form.registry {
            host.check(name).map_err(mistake)?;
        }
        Ok(Self { folder, hosts: form.registry })
    }

    /// What is said of a registry.
    pub(super) fn of(&self, registry: &str) -> Host {
        self.hosts.get(registry).cloned().unwrap_or_default()
    }

    /// What TLS needs for it.
    pub(super) fn tls(&self, host: &Host) -> Result<Tls, String> {
        let read = |path: &Path| {
            let path = self.folder.join(path);
            regular::bytes(&path).map_err(|error| format!("can't read {}: {error}", path.display()))
        };
        let mut tls = Tls::default();
        if let Some(ca) = &host.ca {
            let cas = Certificate::from_pem_bundle(&read(ca)?).ok().filter(|cas| !cas.is_empty());
            tls.cas = cas.ok_or_else(|| format!("{} holds no certificate in PEM", ca.display()))?;
        }
        if let (Some(cert), Some(key)) = (&host.client_cert, &host.client_key) {
            let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
            let wrong = |error| {
                let (cert, key) = (cert.display(), key.display());
                format!("{cert} and {key} are no certificate and key in PEM: {}", chain(&error))
            };
            tls.identity = Some(Identity::from_pem(&pem).map_err(wrong)?);
        }
        Ok(tls)
    }
}

impl Host {
    /// Whether it is said what TLS needs: then a registry on this machine has it too.
    pub(super) const fn has_tls(&self) -> bool {
        self.ca.is_some() || self.client_cert.is_some()
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let place = |text: &str| format!("{text}/publisher/name").parse::<PackageRef>().ok();
        if place(name).is_none_or(|found| found.registry.as_deref() != Some(name)) {
            return Err(format!("'{name}' is no registry: write host[:port]"));
        }
        let is_place = |mirror: &&String| place(mirror).is_some_and(|at| at.registry.is_some());
        if let Some(mirror) = self.mirrors.iter().find(|mirror| !is_place(mirror)) {
            return Err(format!("'{mirror}' is no mirror of {name}: write host[:port][/path]"));
        }
        match self.client_cert.is_some() == self.client_key.is_some() {
            true => Ok(()),
            false => Err(format!("{name} needs both client-cert and client-key, or neither")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registries.toml");
        std::fs::write(&file, text).unwrap();
        Settings::read(&file)
    }

    #[test]
    fn what_is_said_of_registries_is_read_and_mistakes_are_named() {
        let settings = read("[registry.\"hub.example:5000\"]\nmirrors = [\"m.example/hub\"]\n");
        assert_eq!(settings.unwrap().of("hub.example:5000").mirrors, ["m.example/hub"]);
        assert!(Settings::read(Path::new("/no/registries.toml")).unwrap().hosts.is_empty());
        for (text, why) in [
            ("[registry.\"https://hub\"]", "'https://hub' is no registry"),
            ("[registry.\"hub:1\"]\nmirrors = [\"nothing\"]", "'nothing' is no mirror of hub:1"),
            ("[registry.\"hub:1\"]\nclient-cert = \"a\"", "needs both client-cert and client-key"),
            ("[registry.\"hub:1\"]\nmirror = []", "unknown field `mirror`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_named_must_be_what_it_is_named_as() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registries.toml");
        std::fs::write(folder.path().join("x.pem"), "nothing").unwrap();
        for (keys, why) in [
            ("ca = \"none.pem\"", "none.pem: No such file"),
            ("ca = \"x.pem\"", "x.pem holds no certificate in PEM"),
            ("client-cert = \"x.pem\"\nclient-key = \"x.pem\"", "no certificate and key in PEM"),
        ] {
            std::fs::write(&file, format!("[registry.\"hub:1\"]\n{keys}")).unwrap();
            let settings = Settings::read(&file).unwrap();
            let error = settings.tls(&settings.of("hub:1")).err().unwrap();
            assert!(error.contains(why), "{keys}: {error}");
        }
    }
}
