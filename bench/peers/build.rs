//! Compiles the C consumer against libbpf's own headers, which the libbpf-sys package says where to find.

fn main() {
    println!("cargo::rerun-if-changed=src/ring.c");
    let mut build = cc::Build::new();
    if let Some(include) = std::env::var_os("DEP_BPF_INCLUDE") {
        build.include(include);
    }
    build.file("src/ring.c").opt_level(2).compile("bare_ring");
}
