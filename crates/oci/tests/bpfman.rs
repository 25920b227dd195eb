//! Packages of ours in bpfman's hands: the calls and the bytes by which its releases read an image.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use oci_client::client::{ClientConfig, ClientProtocol, ImageLayer};
use oci_client::manifest::{IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::Value;
use skep_oci::flat;
use skep_spec::Arch;
use support::{DockerRegistry, Fixture, labels, objects, run, tool};

/// What bpfman makes of an image.
struct Image {
    programs: BTreeMap<String, String>,
    maps: BTreeMap<String, String>,
    object: Vec<u8>,
}

/// Which layer a client takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// The first that is listed: `platform/image/oci/puller.go`.
    Listed,
    /// Whichever comes first: the calls of `oci_utils/image_manager.rs`, with its library, which brings several at once.
    Come,
}

/// Labels are JSON in text; every layer must be a gzipped tar.
async fn read(image: &str, taken: Taken) -> Image {
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let client = Client::new(config);
    let (image, auth): (Reference, _) = (image.parse().unwrap(), RegistryAuth::Anonymous);
    let (manifest, _, config) = client.pull_manifest_and_config(&image, &auth).await.unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let labels = config["config"]["Labels"].as_object().unwrap();
    let label = |name: &str| serde_json::from_str(labels[name].as_str().unwrap()).unwrap();
    let kinds = vec![IMAGE_LAYER_GZIP_MEDIA_TYPE, IMAGE_DOCKER_LAYER_GZIP_MEDIA_TYPE];
    let pulled = client.pull(&image, &auth, kinds).await.unwrap();
    let first = &manifest.layers[0].digest;
    let is_it = |layer: &ImageLayer| taken == Taken::Come || layer.sha256_digest() == *first;
    let layer = pulled.layers.into_iter().find(is_it).unwrap();
    assert_eq!(layer.sha256_digest(), *first);
    let object = only_object(&layer.data);
    Image { programs: label("io.ebpf.programs"), maps: label("io.ebpf.maps"), object }
}

/// As `platform/image/oci/extract.go` does it: a file of the tar whose name ends in `.o` and does not lead out.
fn only_object(layer: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("layer");
    std::fs::write(&file, layer).unwrap();
    let names = run(Command::new(tool("tar")).arg("-tzf").arg(&file));
    let names: Vec<&str> = names.lines().collect();
    assert!(
        matches!(names.as_slice(), [one] if one.ends_with(".o") && !one.contains('/')),
        "{names:?}"
    );
    let output = Command::new(tool("tar")).arg("-xzOf").arg(&file).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn a_package_is_an_image_of_bpfmans() {
    let fixture = Fixture::new("1.0.0");
    let registry = DockerRegistry::start();
    let reference = registry.reference("1.0.0");
    registry.client().push(&fixture.store, fixture.index, &reference).await.unwrap();
    let image = read(&reference.to_string(), Taken::Listed).await;
    assert_eq!((image.programs, image.maps), (labels().programs, labels().maps));
    assert_eq!(image.object, objects()["exec"][&Arch::X86_64]);
}

#[tokio::test]
async fn an_exported_object_is_an_image_of_bpfmans() {
    let fixture = Fixture::new("1.0.0");
    let registry = DockerRegistry::start();
    for (name, arches) in [("both", &Arch::ALL[..2]), ("one", &[Arch::X86_64])] {
        let object: BTreeMap<Arch, Vec<u8>> =
            arches.iter().map(|arch| (*arch, objects()["exec"][arch].clone())).collect();
        flat(&fixture.store, name, &object, &labels()).unwrap();
        let image = format!("{}/a/{name}:latest", registry.host);
        let mut skopeo = Command::new(tool("skopeo"));
        let copy = ["--insecure-policy", "copy", "--all", "--dest-tls-verify=false"];
        skopeo.current_dir(fixture.folder.path()).args(copy);
        run(skopeo.args([format!("oci:layout:{name}"), format!("docker://{image}")]));
        for taken in [Taken::Listed, Taken::Come] {
            let image = read(&image, taken).await;
            assert_eq!((image.programs, image.maps), (labels().programs, labels().maps));
            assert_eq!(image.object, objects()["exec"][&Arch::X86_64]);
        }
    }
}
