//! Killed, told to stop, started twice.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::Method;

use super::package::Package;
use super::server::{HUB, Server, command, token};

/// Requests of a push: three layers, then for two platforms a config and a manifest, then the index.
const REQUESTS: usize = 8;

#[tokio::test]
async fn what_was_acknowledged_outlives_kill_9_and_what_was_not_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let secret = token(data.path(), "acme");
    for round in 0..5_u32 {
        let mut server = Server::start(data.path());
        let acme = server.pusher(&secret);
        let version = format!("1.{round}.0");
        let pushed = Package::new("acme/exec", &version).push(&acme).await;
        let session = acme.begin("acme/exec").await;
        let half = acme.request(Method::PATCH, &session).body(vec![1; 100_000]);
        assert_eq!(half.send().await.unwrap().status(), 202);
        server.kill();

        let server = Server::start(data.path());
        let path = format!("/v2/acme/exec/manifests/{version}");
        let kept = server.get(&path).await;
        assert_eq!(kept.headers()["docker-content-digest"], pushed.digest.as_str());
        for child in pushed.index["manifests"].as_array().unwrap() {
            pull(&server, child["digest"].as_str().unwrap()).await;
        }
        let gone = server.pusher(&secret).request(Method::GET, &session).send().await.unwrap();
        assert_eq!(gone.status(), 404, "the half upload is gone");
        assert_eq!(std::fs::read_dir(data.path().join("uploads")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn killed_at_any_moment_the_hub_shows_whole_packages_only() {
    let data = tempfile::tempdir().unwrap();
    let secret = token(data.path(), "acme");
    for round in 0..REQUESTS {
        let server = Server::start(data.path());
        let package = Package::new("acme/exec", &format!("0.{round}.0"));
        let acme = server.pusher_until(&secret, round);
        let push = std::panic::AssertUnwindSafe(package.push(&acme));
        let acknowledged = futures_util::FutureExt::catch_unwind(push).await.is_ok();
        drop(server);

        let server = Server::start(data.path());
        let path = format!("/v2/acme/exec/manifests/0.{round}.0");
        let answer = server.get(&path).await;
        assert!(answer.status() == 200 || !acknowledged, "an acknowledged push is there");
        let listed = server.get(&format!("/p/acme/exec/0.{round}.0")).await.status();
        assert_eq!(listed, answer.status(), "listed exactly if it is there");
        if answer.status() == 200 {
            let index: serde_json::Value = answer.json().await.unwrap();
            for child in index["manifests"].as_array().unwrap() {
                pull(&server, child["digest"].as_str().unwrap()).await;
            }
        }
    }
}

#[tokio::test]
async fn a_second_hub_on_the_same_folder_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let second = command(&["serve", "--listen", "127.0.0.1:0"], data.path());
    assert!(!second.status.success());
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(message.contains("is in use by another skep-hub"), "{message}");
    assert!(server.terminate(), "told to stop, it ends well");
    assert!(!data.path().join("hub.sqlite-wal").exists(), "and leaves its log folded in");
}

#[tokio::test]
async fn processes_that_meet_in_a_new_folder_do_not_stumble() {
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let mut hub = Command::new(HUB);
        hub.args(["serve", "--log", "warn", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        hub.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut hubs: Vec<_> = (0..6).map(|_| start()).collect();
    // Each says that it listens, or ends.
    let listens = |hub: &mut Child| {
        let mut line = String::new();
        BufReader::new(hub.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.contains("listens")
    };
    let (mut serving, refused): (Vec<_>, Vec<_>) =
        hubs.drain(..).map(|mut hub| (listens(&mut hub), hub)).partition(|(listens, _)| *listens);
    for (_, hub) in &mut serving {
        hub.kill().unwrap();
        hub.wait().unwrap();
    }
    assert_eq!((serving.len(), refused.len()), (1, 5));
    for (_, hub) in refused {
        let message = String::from_utf8(hub.wait_with_output().unwrap().stderr).unwrap();
        assert!(message.contains("is in use by another skep-hub"), "{message}");
    }
}

#[tokio::test]
async fn tokens_that_are_made_at_once_are_all_there() {
    let data = tempfile::tempdir().unwrap();
    token(data.path(), "other");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| token(data.path(), "acme"));
        }
    });
    let listed = command(&["token", "list"], data.path());
    assert_eq!(String::from_utf8(listed.stdout).unwrap().matches("acme").count(), 6);
}

#[tokio::test]
async fn tokens_of_no_hub_are_refused_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let typo = folder.path().join("skep-hbu");
    for arguments in [
        &["token", "new", "--publisher", "acme"][..],
        &["token", "list"],
        &["token", "revoke", "1"],
    ] {
        let out = command(arguments, &typo);
        let message = String::from_utf8(out.stderr).unwrap();
        assert!(!out.status.success() && out.stdout.is_empty(), "{message}");
        let said = format!("there is no hub in {}", typo.display());
        assert!(message.contains(&said) && message.contains("skep-hub serve"), "{message}");
        assert!(!typo.exists());
        assert!(!command(arguments, folder.path()).status.success());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_database_of_a_newer_hub_is_refused() {
    let data = tempfile::tempdir().unwrap();
    token(data.path(), "acme");
    let database = format!("{}/hub.sqlite", data.path().display());
    let row =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
               VALUES (9999, 'later', TRUE, x'00', 0)";
    assert!(Command::new("sqlite3").args([&database, row]).status().unwrap().success());
    let out = command(&["token", "list"], data.path());
    let message = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && message.contains("made by a newer skep-hub"), "{message}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = command(&["serve"], file.path());
    let message = String::from_utf8(out.stderr).unwrap();
    assert!(message.starts_with("skep-hub: cannot create"), "{message}");
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("hub.sqlite"), "not a database, but long enough to be read")
        .unwrap();
    let out = command(&["token", "list"], data.path());
    let message = String::from_utf8(out.stderr).unwrap();
    assert!(message.contains("hub.sqlite") && message.contains("not a database"), "{message}");
}

/// Reads a platform manifest with all of its blobs; each must have its digest.
async fn pull(server: &Server, digest: &str) {
    let manifest = server.get(&format!("/v2/acme/exec/manifests/{digest}")).await;
    let manifest: serde_json::Value = manifest.json().await.unwrap();
    for layer in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let digest = layer["digest"].as_str().unwrap();
        let blob = server.get(&format!("/v2/acme/exec/blobs/{digest}")).await;
        assert_eq!(super::server::sha256(&blob.bytes().await.unwrap()), digest);
    }
}
