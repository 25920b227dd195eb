//! A full disk: a small tmpfs stands for it, which needs root.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::json;

use super::package::Package;
use super::server::{Server, refusal, sha256, token};

/// A mounted tmpfs; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", &format!("size={size}"), "skep-hub-test"];
        assert!(Command::new("mount").args(mount).arg(folder.path()).status().unwrap().success());
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing_half_done() {
    let disk = SmallDisk::new("4m");
    let server = Server::start(disk.path());
    let secret = token(disk.path(), "acme");
    let acme = server.pusher(&secret);
    Package::new("acme/exec", "1.0.0").push(&acme).await;

    let large = vec![7; 5 << 20];
    let path = format!("/v2/acme/exec/blobs/uploads/?digest={}", sha256(&large));
    let answer = acme.request(Method::POST, &path).body(large.clone()).send().await.unwrap();
    let (status, _, message) = refusal(answer).await;
    assert_eq!((status, message.as_str()), (507, "the hub's disk is full: nothing was stored"));
    assert_eq!(std::fs::read_dir(disk.path().join("uploads")).unwrap().count(), 0);
    let blob = server.get(&format!("/v2/acme/exec/blobs/{}", sha256(&large))).await;
    assert_eq!(blob.status(), 404);

    assert_eq!(server.get("/p/acme/exec").await.status(), 200, "what was there still is");
    Package::new("acme/exec", "1.0.1").push(&acme).await;
}

#[tokio::test]
async fn a_disk_that_gets_full_within_a_change_is_no_lasting_fault() {
    let disk = SmallDisk::new("8m");
    let server = Server::start(disk.path());
    let secret = token(disk.path(), "acme");
    let acme = server.pusher(&secret);
    let package = Package::new("acme/exec", "1.0.0");
    let mut index = package.push_parts(&acme, "acme/exec").await;
    index["annotations"] = json!({"note": "x".repeat(2 << 20)}); // more than the database has room for beforehand

    let fill = disk.path().join("fill");
    let mut file = std::fs::File::create(&fill).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    file.set_len(file.metadata().unwrap().len() - (64 << 10)).unwrap(); // so that the change begins
    drop(file);
    let (status, _, message) = refusal(acme.manifest("acme/exec", "1.0.0", &index).await).await;
    assert_eq!((status, message.as_str()), (507, "the hub's disk is full: nothing was stored"));

    std::fs::remove_file(&fill).unwrap();
    let answer = acme.manifest("acme/exec", "1.0.0", &index).await;
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}
