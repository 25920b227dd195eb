//! What packages of peers say of an object that is theirs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};
use skep_kit::import::peer::{Format, Peer, eunomia};
use skep_kit::import::{Object, Wanted, arches, describe};
use skep_object::Facts;
use skep_oci::image::{Image, ImagePlatform};
use skep_spec::oci::{Annotations, Descriptor, ImageManifest};
use skep_spec::{Arch, media, source};

/// The object that all of them are about.
const OBJECT: &[u8] = include_bytes!("../../spec/vectors/files/objects/touch.o");
const GADGET: [&str; 2] =
    ["application/vnd.gadget.config.v1+yaml", "application/vnd.gadget.ebpf.program.v1+binary"];

/// Where this target begins, beside the vectors: whose words they are, and the words.
pub(crate) const SEEDS: [(u8, &str); 3] = [
    (
        0,
        "name: x\ndescription: y\ndatasources:\n  events:\n    annotations:\n      cli.clear-screen: 'true'\n    fields:\n      \
         pid:\n        annotations:\n          description: of whom\n          columns.width: 7\nparams:\n  ebpf:\n    a:\n      \
         key: a\n      defaultValue: '1'\n      description: z\n",
    ),
    (
        1,
        "{\"architecture\":\"amd64\",\"config\":{\"Labels\":{\"io.ebpf.programs\":\"{\\\"on_packet\\\":\\\"xdp\\\"}\",\
         \"io.ebpf.maps\":\"{\\\"m\\\":\\\"hash\\\"}\"}}}",
    ),
    (
        2,
        "{\"bpf_skel\":{\"obj_name\":\"x_bpf\",\"doc\":{\"version\":\"0.1.0\",\"brief\":\"b\"},\"data_sections\":[{\"name\":\".rodata\",\
         \"variables\":[{\"name\":\"a\",\"type\":\"int\",\"cmdarg\":{\"default\":1,\"long\":\"a\"}}]}],\
         \"maps\":[{\"ident\":\"m\",\"name\":\"m\",\"mmaped\":false}],\"progs\":[{\"attach\":\"xdp\",\"link\":true,\"name\":\"on_packet\"}]},\
         \"export_types\":[{\"name\":\"e\",\"members\":[{\"name\":\"a\",\"type\":\"int\"}]}]}",
    ),
];

/// A byte says whose words they are, the rest is what they say.
pub(crate) fn peer(data: &[u8]) {
    let Some((whose, words)) = data.split_first() else { return };
    let Some(peer) = read(*whose, words) else { return };
    assert!(peer.unmapped.iter().all(|what| !what.contains('\n')), "each sentence is one line");
    let objects = peer.objects.iter().filter_map(|object| {
        let facts = Facts::parse(&object.bytes).ok()?;
        let (arches, _) = arches(&facts, Arch::X86_64);
        Some(Object { name: "x".to_owned(), file: "x.o".to_owned(), arches, facts })
    });
    let objects: Vec<Object> = objects.take(1).collect();
    let (Ok(name), Ok(version)) = ("acme/x".parse(), "1.0.0".parse()) else { return };
    let wanted = Wanted { name, version, license: peer.said.license.clone() };
    if let Ok(imported) = describe(&wanted, &objects, &peer.said) {
        let parsed = source::parse(&imported.source);
        assert!(parsed.is_ok(), "{parsed:?} of\n{}", imported.source);
    }
}

fn read(whose: u8, words: &[u8]) -> Option<Peer> {
    static LAYER: LazyLock<Vec<u8>> =
        LazyLock::new(|| skep_trust::layer::write("x.o", OBJECT).unwrap_or_default());
    let image = match whose % 3 {
        0 => image(GADGET[0], words, GADGET[1], OBJECT),
        1 => image(media::CONFIG, words, media::LAYER, &LAYER),
        _ => return eunomia::read(&package(words)?, "x").ok(),
    };
    Format::of(&image).ok()?.read(&image, "x").ok()
}

fn image(config: &str, words: &[u8], kind: &str, layer: &[u8]) -> Image {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: media::MANIFEST.to_owned(),
        artifact_type: None,
        config: Descriptor::of(config, words),
        layers: vec![Descriptor::of(kind, layer)],
        subject: None,
        annotations: Annotations::new(),
    };
    let platform = ImagePlatform::new(None, manifest, words.to_vec(), [layer.to_vec()]);
    Image { annotations: BTreeMap::new(), platforms: vec![platform] }
}

/// eunomia's `package.json`, with `words` as what it says of its object.
fn package(words: &[u8]) -> Option<Vec<u8>> {
    static PACKED: LazyLock<Option<String>> = LazyLock::new(|| {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(OBJECT).ok()?;
        Some(STANDARD.encode(packed.finish().ok()?))
    });
    let meta: Value = serde_json::from_slice(words).ok()?;
    let package =
        json!({"bpf_object": PACKED.as_ref()?, "bpf_object_size": OBJECT.len(), "meta": meta});
    serde_json::to_vec(&package).ok()
}
