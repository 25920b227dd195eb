//! What the tests of this folder share: a small package, real tools, a real registry.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // each test uses a part of it

pub mod server;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use skep_oci::pack::{Input, Labels, pack};
use skep_oci::registry::{Options, Registry};
use skep_oci::{Store, signatures};
use skep_spec::oci::{Descriptor, ImageManifest, Index};
use skep_spec::{Arch, Digest, Manifest, PackageRef, media};
use skep_trust::{SecretKey, bundle};

/// A package for two architectures in a layout of its own.
pub struct Fixture {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub index: Digest,
}

pub fn objects() -> BTreeMap<String, BTreeMap<Arch, Vec<u8>>> {
    let object = |arch: Arch| {
        let mut bytes = format!("\x7fELF for {arch}: ").into_bytes();
        bytes.resize(70_000, 7); // more than one deflate block
        (arch, bytes)
    };
    BTreeMap::from([("exec".into(), BTreeMap::from([object(Arch::X86_64), object(Arch::Aarch64)]))])
}

pub fn manifest(version: &str, objects: &BTreeMap<String, BTreeMap<Arch, Vec<u8>>>) -> Manifest {
    let digests = |object: &BTreeMap<Arch, Vec<u8>>| -> serde_json::Value {
        let hex =
            |(arch, bytes): (&Arch, &Vec<u8>)| (arch.to_string(), Digest::of(bytes).hex().into());
        serde_json::Value::Object(object.iter().map(hex).collect())
    };
    let objects: serde_json::Map<_, _> = objects
        .iter()
        .map(|(name, object)| (name.clone(), serde_json::json!({ "sha256": digests(object) })))
        .collect();
    let manifest = serde_json::json!({
        "spec": "1.0",
        "package": {"name": "acme/exec", "version": version, "license": "Apache-2.0"},
        "objects": objects,
    });
    Manifest::parse(manifest.to_string().as_bytes()).unwrap()
}

pub fn labels() -> Labels {
    Labels {
        programs: BTreeMap::from([("handle".into(), "tracepoint".into())]),
        maps: BTreeMap::from([("events".into(), "ring_buf".into())]),
    }
}

impl Fixture {
    pub fn new(version: &str) -> Self {
        Self::of(version, &objects())
    }

    /// One that holds these objects.
    pub fn of(version: &str, objects: &BTreeMap<String, BTreeMap<Arch, Vec<u8>>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("layout")).unwrap();
        let manifest = manifest(version, objects);
        let labels = labels();
        let readme = Some("# exec\n");
        let input = Input { manifest: &manifest, objects, readme, labels: &labels };
        let index = pack(&store, &input).unwrap();
        Self { folder, store, index }
    }

    /// Signs the package in its layout.
    pub fn sign(&self, key: &SecretKey, predicate_type: &str) -> Vec<u8> {
        let subjects = signatures::subjects(&self.store, self.index).unwrap();
        let bundle = bundle::sign(key, &subjects, predicate_type).unwrap();
        signatures::attach(&self.store, self.index, &bundle).unwrap();
        bundle
    }

    pub fn sign_well(&self, key: &SecretKey) -> Vec<u8> {
        self.sign(key, media::PREDICATE_SIGN)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// What an identity signs by certificate: the bundle, and in `folder` it and the trusted root that bears it out.
pub fn keyless(folder: &Path, index: Digest, predicate: &str, told: &[&str]) -> Vec<u8> {
    let subject = bundle::Subject { name: "index".into(), digest: index };
    let said = bundle::statement(&[subject], predicate, &serde_json::json!({})).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../oci/tests/support/keyless.py");
    let mut python = Command::new(tool("python3"));
    python.arg(script).arg(folder).args(told);
    let mut python = python.stdin(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&said).unwrap();
    assert!(python.wait().unwrap().success());
    std::fs::read(folder.join("bundle.json")).unwrap()
}

/// A program that a test needs. Its absence is a failure, never a skip.
pub fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let more = [cache.join("skep"), cache.join("skep/bin"), home.join("go/bin")];
    std::env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("'{name}' is needed by this test and is not installed: run 'make test', which installs it"))
}

/// Runs a program that must succeed, and gives what it printed to stdout and stderr.
pub fn run(command: &mut Command) -> String {
    let (ok, text) = try_run(command);
    assert!(ok, "{command:?} failed:\n{text}");
    text
}

pub fn try_run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Debian's docker-registry on a free loopback port. It has no referrers API.
pub struct DockerRegistry {
    child: Child,
    pub host: String,
    _folder: tempfile::TempDir,
}

impl DockerRegistry {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// One that speaks TLS, with a certificate and its key in PEM.
    pub fn start_tls(certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        Self::start_with(&format!("  tls:\n    certificate: {certificate}\n    key: {key}\n"))
    }

    /// The same, for those alone who show a certificate by the CA in `clients`.
    pub fn start_tls_for(certificate: &Path, key: &Path, clients: &Path) -> Self {
        let (certificate, key, clients) = (certificate.display(), key.display(), clients.display());
        Self::start_with(&format!(
            "  tls:\n    certificate: {certificate}\n    key: {key}\n    clientcas:\n      - {clients}\n"
        ))
    }

    fn start_with(http: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{http}",
            folder.path().join("data").display()
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(tool("docker-registry"))
            .arg("serve")
            .arg(&file)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let host = loop {
            let line = lines.next().expect("docker-registry ended before it listened").unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ',']).next().unwrap().to_owned();
            }
        };
        // Its log is read on, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, host, _folder: folder }
    }

    pub fn reference(&self, version: &str) -> PackageRef {
        format!("{}/acme/exec:{version}", self.host).parse().unwrap()
    }

    pub fn client(&self) -> Registry {
        Registry::new(&self.host, Options::default()).unwrap()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A registry that is not ours and has the referrers API (`scripts/registry`), on a free loopback port.
pub struct OciRegistry {
    child: Child,
    pub host: String,
}

impl OciRegistry {
    pub fn start() -> Self {
        let mut child = Command::new(tool("ociregistry"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let host = line.trim().strip_prefix("listening on ").expect("it ended before it listened");
        Self { child, host: host.to_owned() }
    }

    pub fn reference(&self, version: &str) -> String {
        format!("{}/acme/exec:{version}", self.host)
    }
}

impl Drop for OciRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The list under the fallback tag.
pub fn fallback(store: &Store, tag: &str) -> Option<Vec<u8>> {
    let subject: Digest = tag.replacen("sha256-", "sha256:", 1).parse().ok()?;
    let refers = |entry: &Descriptor| {
        let manifest = ImageManifest::parse(&store.require(&entry.digest, 1 << 20).unwrap());
        manifest.ok().and_then(|one| one.subject).is_some_and(|one| one.digest == subject)
    };
    let listed = store.index().unwrap().manifests.into_iter().filter(refers).collect();
    tag.starts_with("sha256-").then(|| Index::new(listed, Default::default()).to_bytes())
}

/// The names of all blobs in a layout.
pub fn blobs(layout: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
