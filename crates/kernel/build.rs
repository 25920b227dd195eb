//! Embeds libbpf's BPF-side headers, so that `skep build` needs none on the machine and no copy lives in this repository.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs, io};

/// What BPF programs include as `<bpf/…>`; the rest of libbpf's headers are for user space.
const HEADERS: [&str; 6] = [
    "bpf_core_read.h",
    "bpf_endian.h",
    "bpf_helper_defs.h",
    "bpf_helpers.h",
    "bpf_tracing.h",
    "usdt.bpf.h",
];

fn main() -> io::Result<()> {
    let var = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or_else(|| io::Error::other(format!("{name} is not set")))
    };
    // libbpf-sys's build script installs libbpf's headers and says where (`links = "bpf"`).
    let folder = var("DEP_BPF_INCLUDE")?.join("bpf");
    let mut code = String::from("&[\n");
    for name in HEADERS {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(io::Error::other(format!("libbpf-sys has no {}", path.display())));
        }
        println!("cargo:rerun-if-changed={}", path.display());
        writeln!(code, "    ({name:?}, include_str!({path:?})),").map_err(io::Error::other)?;
    }
    code.push(']');
    println!("cargo:rerun-if-changed=build.rs");
    fs::write(var("OUT_DIR")?.join("headers.rs"), code)
}
