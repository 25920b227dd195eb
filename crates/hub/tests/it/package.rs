//! Packages as the standard writes them, small.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use skep_spec::media;

use super::server::{Pusher, sha256};

/// The README that the packages carry.
pub const README: &str = "# exec\n\nEvery program that starts, *as it starts*.\n\n```sh\nskep run acme/exec:1.0.0 --some-rather-long-option=that-does-not-fit-a-phone --another-one=too\n```\n\n| Column | Meaning |\n|---|---|\n| `pid` | process id |\n| `comm` | name |\n\n<script>alert(1)</script>\n";

/// A package before it is pushed.
pub struct Package {
    /// `publisher/name` in the manifest.
    pub name: String,
    /// The version in the manifest.
    pub version: String,
    /// One line.
    pub summary: String,
    /// Markdown.
    pub readme: String,
    /// The ELF of the one object.
    pub object: Vec<u8>,
    /// Overrides of manifest.json, by key.
    pub manifest: BTreeMap<String, Value>,
}

/// The documents of a pushed package.
pub struct Pushed {
    /// The index.
    pub index: Value,
    /// Its digest.
    pub digest: String,
}

impl Package {
    /// A package that watches exec.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: "Every program that starts, with its arguments and who started it".into(),
            readme: README.into(),
            object: object(&[]),
            manifest: BTreeMap::new(),
        }
    }

    /// The bytes of manifest.json.
    pub fn manifest_json(&self) -> Vec<u8> {
        let digest = sha256(&self.object);
        let hex = digest.trim_start_matches("sha256:");
        let mut manifest = json!({
            "objects": {"exec": {"sha256": {"aarch64": hex, "x86_64": hex}}},
            "output": {"exec": {"kind": "event", "map": "events", "struct": "event"}},
            "package": {
                "license": "Apache-2.0",
                "name": self.name,
                "summary": self.summary,
                "version": self.version,
            },
            "program": {"handle_exec": {"function": "handle_exec", "optional": false}},
            "spec": "1.0",
        });
        for (key, value) in &self.manifest {
            manifest[key] = value.clone();
        }
        manifest.to_string().into_bytes()
    }

    /// Pushes blobs and platform manifests, and gives the index that is to be pushed.
    pub async fn push_parts(&self, pusher: &Pusher<'_>, repository: &str) -> Value {
        let mut layers = Vec::new();
        for (title, role, bytes) in [
            ("bpf.o", "object", self.object.clone()),
            ("manifest.json", "manifest", self.manifest_json()),
            ("README.md", "readme", self.readme.clone().into_bytes()),
        ] {
            let blob = skep_trust::layer::write(title, &bytes).expect("a small file");
            let digest = pusher.blob(repository, &blob).await;
            layers.push(json!({
                "mediaType": media::LAYER, "digest": digest, "size": blob.len(),
                "annotations": {media::TITLE: title, media::ROLE: role},
            }));
        }
        let mut manifests = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let config = json!({"architecture": architecture, "os": "linux"}).to_string();
            let digest = pusher.blob(repository, config.as_bytes()).await;
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": media::PACKAGE,
                "config": {"mediaType": media::CONFIG, "digest": digest, "size": config.len()},
                "layers": layers,
            });
            let digest = sha256(manifest.to_string().as_bytes());
            let answer = pusher.manifest(repository, &digest, &manifest).await;
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
            manifests.push(json!({
                "mediaType": media::MANIFEST, "digest": digest, "size": manifest.to_string().len(),
                "platform": {"architecture": architecture, "os": "linux"},
            }));
        }
        json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": manifests})
    }

    /// Pushes all of it under its own name and version.
    pub async fn push(&self, pusher: &Pusher<'_>) -> Pushed {
        let index = self.push_parts(pusher, &self.name).await;
        let tag = self.version.replace('+', "_");
        let answer = pusher.manifest(&self.name, &tag, &index).await;
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        Pushed { digest: sha256(index.to_string().as_bytes()), index }
    }
}

/// The fixture, compiled once for each set of flags.
pub fn object(flags: &[&str]) -> Vec<u8> {
    static PLAIN: OnceLock<Vec<u8>> = OnceLock::new();
    if flags.is_empty() {
        return PLAIN.get_or_init(|| compile(&[])).clone();
    }
    compile(flags)
}

fn compile(flags: &[&str]) -> Vec<u8> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/exec.bpf.c");
    let folder = tempfile::tempdir().expect("a folder");
    let object = folder.path().join("exec.o");
    let status = Command::new("clang")
        .args(["-g", "-O2", "-target", "bpf", "-Wno-unknown-attributes", "-c", source, "-o"])
        .arg(&object)
        .args(flags)
        .status()
        .expect("clang is installed");
    assert!(status.success());
    std::fs::read(object).expect("an object")
}
