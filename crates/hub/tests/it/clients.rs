//! Clients that others wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, manifest::OciDescriptor};

use skep_oci::pack::{Input, Labels, pack};
use skep_oci::registry::{Credentials, Options, Part, Registry};
use skep_oci::{Store, signatures};
use skep_spec::{Arch, Manifest, PackageRef};
use skep_trust::bundle::sign;
use skep_trust::key::KeyKind;
use skep_trust::{Asked, Policy, SecretKey, admit, verify};

use super::package::Package;
use super::server::{Server, refusal, token};

fn skopeo(arguments: &[&str], home: &Path) -> String {
    let out = Command::new("skopeo")
        .args(arguments)
        .env("HOME", home)
        .env_remove("REGISTRY_AUTH_FILE")
        .output()
        .expect("skopeo is installed");
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

#[tokio::test]
async fn skopeo_copies_a_package_out_and_in_with_equal_digests() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = Server::start(here.path());
    let target = Server::start(there.path());
    let secret = token(here.path(), "acme");
    let pushed = Package::new("acme/exec", "1.0.0").push(&source.pusher(&secret)).await;
    let secret = token(there.path(), "acme");
    let home = tempfile::tempdir().unwrap();

    let layout = format!("oci:{}:1.0.0", home.path().join("layout").display());
    let from = format!("docker://{}/acme/exec:1.0.0", source.address);
    let to = format!("docker://{}/acme/exec:1.0.0", target.address);
    let copy = ["copy", "--all", "--preserve-digests"];
    skopeo(&[&copy[..], &["--src-tls-verify=false", &from, &layout]].concat(), home.path());
    let credentials = format!("--dest-creds=acme:{secret}");
    let push = ["--dest-tls-verify=false", &credentials, &layout, &to];
    skopeo(&[&copy[..], &push].concat(), home.path());

    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &to], home.path());
    assert_eq!(super::server::sha256(raw.as_bytes()), pushed.digest);
    assert_eq!(target.get("/p/acme/exec/1.0.0").await.status(), 200, "and it is in the catalogue");
}

#[tokio::test]
async fn skopeo_without_a_token_is_told_why() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    Package::new("acme/exec", "1.0.0").push(&server.pusher(&secret)).await;
    let from = format!("docker://{}/acme/exec:1.0.0", server.address);
    let to = format!("docker://{}/acme/copy:1.0.0", server.address);
    let copy = ["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", &from, &to];
    let out = Command::new("skopeo").args(copy).env("HOME", data.path()).output().unwrap();
    assert!(!out.status.success());
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(message.contains("unauthorized") || message.contains("needs a token"), "{message}");
}

#[tokio::test]
async fn oci_client_pushes_by_the_token_flow_and_pulls() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let client = Client::new(config);
    let reference: Reference = format!("{}/acme/blob:x", server.address).parse().unwrap();
    let auth = RegistryAuth::Basic("acme".into(), secret.clone());
    client.auth(&reference, &auth, oci_client::RegistryOperation::Push).await.unwrap();
    let digest = super::server::sha256(b"hello");
    client.push_blob(&reference, b"hello".to_vec(), &digest).await.unwrap();

    let anonymous =
        Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let operation = oci_client::RegistryOperation::Pull;
    anonymous.auth(&reference, &RegistryAuth::Anonymous, operation).await.unwrap();
    let descriptor = OciDescriptor { digest, size: 5, ..OciDescriptor::default() };
    let mut bytes = Vec::new();
    anonymous.pull_blob(&reference, &descriptor, &mut bytes).await.unwrap();
    assert_eq!(bytes, b"hello");

    let wrong = RegistryAuth::Basic("acme".into(), "skep_wrong".into());
    assert!(client.auth(&reference, &wrong, oci_client::RegistryOperation::Push).await.is_err());
    let answer = server.pusher("skep_wrong").request(reqwest::Method::GET, "/token").send().await;
    assert_eq!(refusal(answer.unwrap()).await.2, "this token is unknown or revoked");
}

#[tokio::test]
async fn skeps_own_client_publishes_a_signed_package_that_a_node_admits() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let package = Package::new("acme/exec", "1.0.0");
    let layout = Store::create(&data.path().join("layout")).unwrap();
    let manifest = Manifest::parse(&package.manifest_json()).unwrap();
    let builds = [Arch::X86_64, Arch::Aarch64].map(|arch| (arch, package.object.clone()));
    let objects = BTreeMap::from([("exec".to_owned(), BTreeMap::from(builds))]);
    let readme = Some(package.readme.as_str());
    let input =
        Input { manifest: &manifest, objects: &objects, readme, labels: &Labels::default() };
    let index = pack(&layout, &input).unwrap();
    let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
    let subjects = signatures::subjects(&layout, index).unwrap();
    let bundle = sign(&key, &subjects, skep_spec::media::PREDICATE_SIGN).unwrap();
    signatures::attach(&layout, index, &bundle).unwrap();

    let reference: PackageRef = format!("{}/acme/exec:1.0.0", server.address).parse().unwrap();
    let credentials = Credentials::Basic { user: "acme".into(), password: secret };
    let options = Options { credentials, plain_http: true, ..Options::default() };
    let pushed = Registry::of(&reference, options).unwrap().push(&layout, index, &reference).await;
    assert_eq!(pushed.unwrap().signatures, 1);
    let public = key.public().unwrap();
    let page = server.get("/p/acme/exec/1.0.0").await.text().await.unwrap();
    assert!(page.contains(&format!("Signed by key <code>{}</code>", public.id())), "{page}");

    let options = Options { plain_http: true, ..Options::default() };
    let client = Registry::of(&reference, options).unwrap();
    let resolved = client.resolve(&reference).await.unwrap();
    assert_eq!(resolved, index);
    let bundles = client.bundles(&reference, index).await.unwrap();
    let policy = Policy::of_keys(vec![public], 1);
    let asked = Asked { name: &reference.name, registry: None, digest: index };
    let verified = verify(&asked, &bundles, &policy, SystemTime::now()).unwrap();
    let node = Store::create(&data.path().join("node")).unwrap();
    client.pull(&reference, index, Part::Node(Arch::X86_64), &node).await.unwrap();
    let admitted = admit(verified, &node, Arch::X86_64, &reference).unwrap();
    assert_eq!(admitted.objects["exec"], package.object);
}
