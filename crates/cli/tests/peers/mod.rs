//! Packages as peers write them, good ones and others: OCI layouts by hand, layers by tar, objects by clang.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use skep_spec::Digest;

use crate::support::{run, tool};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A program at a packet, one at a tracepoint with a ring, and one that no service attaches.
pub const SOURCE: &str = "#define SEC(x) __attribute__((section(x), used))\n\
    struct ring { int (*type)[27]; int (*max_entries)[4096]; };\n\
    struct event { unsigned pid; char comm[16]; }; const struct event *unused_event __attribute__((unused));\n\
    struct ring events SEC(\".maps\"); char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";\n\
    const volatile unsigned target_pid; int hits;\n\
    static long (*submit)(void *, void *, unsigned long, unsigned long) = (void *)130;\n\
    SEC(\"tp/sched/sched_process_exec\") int exec(void *c) {\n\
    struct event e = { target_pid }; hits++; return submit(&events, &e, sizeof(e), 0); }\n\
    SEC(\"xdp\") int pass(void *c) { return 2; }\n\
    SEC(\"sk_msg\") int message(void *c) { return 1; }\n";

/// The object that clang makes of a source.
pub fn object(folder: &Path, name: &str, source: &str) -> Vec<u8> {
    let (c, o) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.o")));
    fs::write(&c, source).unwrap();
    run(Command::new(tool("clang"))
        .args(["-target", "bpf", "-g", "-O2", "-c", "-o"])
        .args([&o, &c]));
    fs::read(o).unwrap()
}

/// A layer of files, by tar and gzip.
pub fn layer(folder: &Path, files: &[(&str, &[u8])], args: &[&str]) -> Vec<u8> {
    let within = folder.join("layer");
    let _ = fs::remove_dir_all(&within); // that of the layer before
    fs::create_dir_all(&within).unwrap();
    for (name, bytes) in files {
        fs::write(within.join(name), bytes).unwrap();
    }
    let mut tar = Command::new(tool("tar"));
    tar.arg("-C").arg(&within).args(["-czf", "layer.tar.gz"]).args(args).current_dir(folder);
    run(tar.args(files.iter().map(|(name, _)| name)));
    fs::read(folder.join("layer.tar.gz")).unwrap()
}

/// An OCI layout that is written by hand.
pub struct Layout {
    pub path: PathBuf,
    listed: Vec<Value>,
}

impl Layout {
    pub fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { path: path.to_owned(), listed: Vec::new() }
    }

    /// Keeps a blob, and describes it.
    pub fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.path.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    }

    pub fn document(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    pub fn manifest(&self, kind: &str, config: &Value, layers: &[Value]) -> Value {
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        self.document(kind, &manifest)
    }

    /// Lists it, under a name or without one.
    pub fn list(&mut self, entry: &Value, name: Option<&str>) {
        let mut entry = entry.clone();
        if let Some(name) = name {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        }
        self.listed.push(entry);
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.listed});
        fs::write(self.path.join("index.json"), index.to_string()).unwrap();
    }

    /// A bpfman image of one object, as docker or podman build it.
    pub fn bpfman(&self, types: [&str; 3], labels: &Value, layer: &[u8]) -> Value {
        let [manifest, config, kind] = types;
        let settings = json!({"architecture": "amd64", "os": "linux", "config": {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(layer).to_string()]}});
        let config = self.document(config, &settings);
        self.manifest(manifest, &config, &[self.blob(kind, layer)])
    }
}

/// What bpfman's image builders write.
pub fn labels(programs: &str) -> Value {
    json!({"io.ebpf.programs": programs, "io.ebpf.maps": r#"{"events":"ringbuf"}"#})
}

/// An entry of an index for a platform.
pub fn on(architecture: &str, entry: &Value) -> Value {
    let mut entry = entry.clone();
    entry["platform"] = json!({"architecture": architecture, "os": "linux"});
    entry
}

/// A `package.json` of eunomia's, with its meta.
pub fn package_json(object: &[u8], size: usize, meta: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("o");
    fs::write(&file, object).unwrap();
    let script = "import base64, sys, zlib; print(base64.b64encode(zlib.compress(open(sys.argv[1], 'rb').read())).decode())";
    let packed = run(Command::new(tool("python3")).args(["-c", script]).arg(&file));
    json!({"bpf_object": packed.trim(), "bpf_object_size": size, "meta": meta}).to_string()
}
