//! What the hub makes of packages.

use serde_json::{Value, json};
use skep_spec::media;
use skep_trust::SecretKey;
use skep_trust::bundle::{Subject, sign};
use skep_trust::key::KeyKind;

use super::package::{Package, object};
use super::server::{Server, refusal, sha256, token};

#[tokio::test]
async fn a_package_is_taken_only_under_its_own_name_and_version() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let acme = server.pusher(&secret);
    let package = Package::new("acme/exec", "1.0.0");

    let index = package.push_parts(&acme, "acme/exec").await;
    let tagged = async |tag: &str| refusal(acme.manifest("acme/exec", tag, &index).await).await.2;
    let message = "the package is version 1.0.0: push it as 1.0.0, not as ";
    assert_eq!(tagged("1.0.1").await, format!("{message}1.0.1"));
    assert_eq!(tagged("latest").await, format!("{message}latest"));

    let elsewhere = package.push_parts(&acme, "acme/other").await;
    let answer = acme.manifest("acme/other", "1.0.0", &elsewhere).await;
    let (status, code, message) = refusal(answer).await;
    assert_eq!((status, code.as_str()), (400, "MANIFEST_INVALID"));
    assert_eq!(message, "the package is called acme/exec: push it to acme/exec, not to acme/other");

    let platform = index["manifests"][0]["digest"].as_str().unwrap();
    let path = format!("/v2/acme/exec/manifests/{platform}");
    let alone: Value = server.get(&path).await.json().await.unwrap();
    let answer = acme.manifest("acme/exec", "1.0.0", &alone).await;
    assert!(refusal(answer).await.2.starts_with("this is one platform of a package"));

    assert_eq!(server.get("/p/acme/exec").await.status(), 404, "nothing was listed");
    assert_eq!(acme.manifest("acme/exec", "1.0.0", &index).await.status(), 201);
    assert_eq!(server.get("/p/acme/exec").await.status(), 200);
}

#[tokio::test]
async fn a_package_whose_parts_contradict_each_other_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let acme = server.pusher(&secret);
    let push = async |package: &Package| {
        let index = package.push_parts(&acme, "acme/exec").await;
        refusal(acme.manifest("acme/exec", "1.0.0", &index).await).await.2
    };
    let with = |key: &str, value: Value| {
        let mut package = Package::new("acme/exec", "1.0.0");
        package.manifest.insert(key.into(), value);
        package
    };
    let hex = "0".repeat(64);
    let other = json!({"exec": {"sha256": {"x86_64": hex, "aarch64": hex}}});
    assert!(push(&with("objects", other)).await.contains("is none that the manifest lists"));
    assert!(push(&with("spec", json!("2.0"))).await.contains("version 2.0 of the standard"));
    assert!(push(&with("package", json!({"name": 7}))).await.contains("manifest.json"));
    let mut package = Package::new("acme/exec", "1.0.0");
    package.object = b"\x7fELF, they said".to_vec();
    assert!(push(&package).await.starts_with("the object 'bpf.o' for x86_64 is not readable"));
}

#[tokio::test]
async fn a_version_that_is_deleted_is_listed_no_more() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let acme = server.pusher(&secret);
    for version in ["1.0.0", "1.1.0+b1"] {
        Package::new("acme/exec", version).push(&acme).await;
    }
    assert_eq!(server.get("/p/acme/exec/1.1.0+b1").await.status(), 200);
    let path = "/v2/acme/exec/manifests/1.1.0_b1";
    assert_eq!(acme.request(reqwest::Method::DELETE, path).send().await.unwrap().status(), 202);
    let page = server.get("/p/acme/exec").await.text().await.unwrap();
    assert!(page.contains("acme/exec:1.0.0") && !page.contains("1.1.0"));
}

#[tokio::test]
async fn signatures_are_shown_by_their_key() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let acme = server.pusher(&secret);
    let pushed = Package::new("acme/exec", "1.0.0").push(&acme).await;
    let key = SecretKey::generate(KeyKind::P256).unwrap();
    let id = key.public().unwrap().id().to_string();
    let digest: skep_spec::Digest = pushed.digest.parse().unwrap();
    let subjects = [Subject { name: "index".into(), digest }];
    acme.blob("acme/exec", b"{}").await;
    for (predicate, shown) in [("https://cyclonedx.org/bom", false), (media::PREDICATE_SIGN, true)]
    {
        let bundle = sign(&key, &subjects, predicate).unwrap();
        let blob = acme.blob("acme/exec", &bundle).await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": media::BUNDLE,
            "config": {"mediaType": media::EMPTY, "digest": sha256(b"{}"), "size": 2},
            "layers": [{"mediaType": media::BUNDLE, "digest": blob, "size": bundle.len()}],
            "subject": {
                "mediaType": media::INDEX, "digest": pushed.digest,
                "size": pushed.index.to_string().len(),
            },
        });
        let reference = sha256(manifest.to_string().as_bytes());
        assert_eq!(acme.manifest("acme/exec", &reference, &manifest).await.status(), 201);
        let page = server.get("/p/acme/exec").await.text().await.unwrap();
        assert_eq!(page.contains(&id), shown, "{predicate}");
        let list = server.get("/api/v1/packages").await.json::<Value>().await.unwrap();
        assert_eq!(list["packages"][0]["signatures"], i32::from(shown));
    }
}

#[tokio::test]
async fn instructions_of_no_function_are_told() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    for (name, flags, count) in [("acme/none", &[][..], 0), ("acme/some", &["-DLOOSE"], 2)] {
        let package = Package { object: object(flags), ..Package::new(name, "1.0.0") };
        package.push(&server.pusher(&secret)).await;
        let answer = server.get(&format!("/api/v1/packages/{name}")).await;
        let answer = answer.json::<Value>().await.unwrap();
        let loose = answer["newest"]["objects"][0]["loose"].as_u64();
        assert_eq!(loose.unwrap_or_default(), count, "{answer}");
        let page = server.get(&format!("/p/{name}")).await.text().await.unwrap();
        assert_eq!(page.contains("belong to no function (2)"), count == 2, "{name}");
    }
}

#[tokio::test]
async fn what_the_manifest_says_is_held_against_the_bytecode() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let mut package = Package::new("acme/exec", "1.0.0");
    package
        .manifest
        .insert("permissions".into(), json!({"hooks": ["tracepoint"], "helpers": ["map_*"]}));
    let size = json!({"type": "uint", "default": 4096, "doc": "Most programs to count"});
    package.manifest.insert("param".into(), json!({"size": size}));
    package.manifest.insert(
        "map".into(),
        json!({"counts": {"max_entries": "${param.size}", "upgrade": "reset"}, "events": {"max_entries": "1MiB"}}),
    );
    package.push(&server.pusher(&secret)).await;
    let answer = server.get("/api/v1/packages/acme/exec").await.json::<Value>().await.unwrap();
    let object = &answer["newest"]["objects"][0];
    let undeclared = object["undeclared"].to_string();
    assert!(undeclared.contains("helpers lacks 'ringbuf_output'"), "{undeclared}");
    assert!(
        !undeclared.contains("tracepoint") && !undeclared.contains("map_lookup"),
        "{undeclared}"
    );
    let map = |name: &str| {
        let maps = object["maps"].as_array().unwrap();
        maps.iter().find(|map| map["name"] == name).unwrap().clone()
    };
    assert_eq!(map("counts")["max_entries"], 4096);
    assert_eq!(map("counts")["upgrade"], "reset");
    assert_eq!(map("events")["memory"], 1 << 20);
    let page = server.get("/p/acme/exec").await.text().await.unwrap();
    assert!(page.contains("The manifest does not declare all of this"));
}

#[tokio::test]
async fn programs_are_shown_wherever_the_manifest_attaches_them() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let mut package = Package::new("acme/exec", "1.0.0");
    let at = |target: &str| json!({"function": "handle_exec", "optional": false, "target": target});
    let programs = json!({"a": at("raw_tp/sched_process_exec"), "b": at("lsm/file_open")});
    package.manifest.insert("program".into(), programs);
    package.push(&server.pusher(&secret)).await;
    let answer = server.get("/api/v1/packages/acme/exec").await.json::<Value>().await.unwrap();
    let programs = answer["newest"]["objects"][0]["programs"].as_array().unwrap().clone();
    let targets: Vec<&str> = programs.iter().filter_map(|one| one["target"].as_str()).collect();
    assert_eq!(targets, ["raw_tp/sched_process_exec", "lsm/file_open"], "{programs:?}");
    assert!(server.get("/p/acme/exec").await.text().await.unwrap().contains("lsm/file_open"));
}

/// A manifest attaches a program that may write at a place that does not say so.
#[tokio::test]
async fn what_a_section_allows_is_told_wherever_the_manifest_attaches_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    let mut package = Package::new("acme/exec", "1.0.0");
    package.object = object(&["-DWITH_RAW"]);
    let at = |function: &str, target: &str| json!({"function": function, "optional": false, "target": target});
    let programs = json!({
        "a": at("request", "raw_tp/nbd_send_request"),
        "b": at("answer", "uprobe//bin/bash:readline"),
    });
    package.manifest.insert("program".into(), programs);
    package.manifest.insert(
        "permissions".into(),
        json!({"hooks": ["raw_tp/nbd_send_request", "uprobe//bin/bash:readline"], "helpers": ["*"]}),
    );
    package.push(&server.pusher(&secret)).await;
    let page = server.get("/p/acme/exec").await.text().await.unwrap();
    for told in [
        "Changes what the kernel hands it",
        "raw_tp.w/nbd_send_request",
        "Writes into the memory or registers of processes",
        "uprobe.w//bin/bash:readline",
        "The manifest does not declare all of this",
    ] {
        assert!(page.contains(told), "{told}: {page}");
    }
}

#[tokio::test]
async fn an_unsigned_package_is_told_as_what_only_a_person_can_let_in() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let secret = token(data.path(), "acme");
    Package::new("acme/exec", "1.0.0").push(&server.pusher(&secret)).await;
    let page = server.get("/p/acme/exec").await.text().await.unwrap();
    assert!(page.contains("--allow-unsigned") && !page.contains("allows unsigned"), "{page}");
}
