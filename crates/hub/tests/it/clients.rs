//! Clients that others wrote.

use std::path::Path;
use std::process::Command;

use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, manifest::OciDescriptor};

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
