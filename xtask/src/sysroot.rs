//! libelf.a, libz.a and the kernel's headers for musl, from the sources in the libbpf-sys package, without autotools.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const ZLIB: [&str; 15] = [
    "adler32", "compress", "crc32", "deflate", "gzclose", "gzlib", "gzread", "gzwrite", "infback",
    "inffast", "inflate", "inftrees", "trees", "uncompr", "zutil",
];

/// What elfutils' configure would find for musl, as far as libelf asks.
const CONFIG: &str = r#"#define _GNU_SOURCE 1
#define PACKAGE "elfutils"
#define PACKAGE_NAME "elfutils"
#define PACKAGE_VERSION "0"
#define VERSION "0"
#define HAVE_CONFIG_H 1
#define HAVE_GCC_STRUCT 1
#define HAVE_FALLTHROUGH 1
#define HAVE_VISIBILITY 1
#define HAVE_DECL_MMAP64 0
#define HAVE_DECL_MEMPCPY 1
#define HAVE_DECL_MEMRCHR 1
#define HAVE_DECL_RAWMEMCHR 0
#define HAVE_DECL_POWEROF2 0
#define HAVE_DECL_REALLOCARRAY 1
#define HAVE_DECL_STRERROR_R 1
#define HAVE_ERR_H 1
#include <eu-config.h>
"#;

/// Makes `target/sysroot/x86_64`, which `.cargo/config.toml` names.
pub fn make() -> Result<()> {
    let root = std::env::current_dir()?.join("target/sysroot/x86_64");
    let sources = libbpf_sys()?;
    let build = Build { root: &root, sources: &sources };
    build.headers()?;
    build.zlib()?;
    build.libelf()?;
    std::fs::write(root.join("done"), "")?;
    println!("sysroot: {}", root.display());
    Ok(())
}

/// The folder of the libbpf-sys package that Cargo.lock names; cargo fetches it if need be.
fn libbpf_sys() -> Result<PathBuf> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .context("run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let package =
        packages.iter().find(|package| package["name"] == "libbpf-sys").context("no libbpf-sys")?;
    let manifest = Path::new(package["manifest_path"].as_str().context("no manifest_path")?);
    Ok(manifest.parent().context("a manifest in no folder")?.to_owned())
}

struct Build<'a> {
    root: &'a Path,
    sources: &'a Path,
}

impl Build<'_> {
    /// The kernel's headers beside musl's, and a compiler that sees both.
    fn headers(&self) -> Result<()> {
        let include = self.root.join("include");
        for folder in [&include, &self.root.join("obj"), &self.root.join("compat/sys")] {
            std::fs::create_dir_all(folder)?;
        }
        let links = [
            ("linux", "/usr/include/linux"),
            ("asm-generic", "/usr/include/asm-generic"),
            ("asm", "/usr/include/x86_64-linux-gnu/asm"),
        ];
        for (name, to) in links {
            let link = include.join(name);
            if link.is_symlink() {
                std::fs::remove_file(&link)?;
            }
            std::os::unix::fs::symlink(to, &link)
                .with_context(|| format!("link {}", link.display()))?;
        }
        let compiler = self.root.join("cc");
        let text = "#!/bin/sh\nexec musl-gcc -isystem \"$(dirname \"$(readlink -f \"$0\")\")/include\" \"$@\"\n";
        std::fs::write(&compiler, text)?;
        std::fs::set_permissions(&compiler, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(())
    }

    fn zlib(&self) -> Result<()> {
        let folder = self.sources.join("zlib");
        let mut objects = Vec::new();
        for name in ZLIB {
            let flags = ["-O2", "-fPIC", "-D_LARGEFILE64_SOURCE=1", "-DHAVE_UNISTD_H"];
            objects.push(self.compile(
                &folder.join(format!("{name}.c")),
                &format!("z_{name}.o"),
                &flags,
                &[],
            )?);
        }
        self.archive("libz.a", &objects)?;
        self.install(&folder, &["zlib.h", "zconf.h"])
    }

    fn libelf(&self) -> Result<()> {
        // libelf asks for headers that musl lacks and does not need what is in them.
        let compat = self.root.join("compat");
        std::fs::write(compat.join("error.h"), "")?;
        std::fs::write(compat.join("sys/cdefs.h"), "#define __BEGIN_DECLS\n#define __END_DECLS\n")?;
        std::fs::write(compat.join("config.h"), CONFIG)?;
        let elfutils = self.sources.join("elfutils");
        let folder = elfutils.join("libelf");
        let include = [compat, elfutils.join("lib"), folder.clone(), self.root.join("include")];
        let mut objects = Vec::new();
        for name in libelf_sources(&folder)? {
            let flags = [
                "-std=gnu99",
                "-O2",
                "-fPIC",
                "-w",
                "-D_GNU_SOURCE",
                "-DHAVE_CONFIG_H",
                "-D_FILE_OFFSET_BITS=64",
            ];
            objects.push(self.compile(
                &folder.join(&name),
                &format!("elf_{name}.o"),
                &flags,
                &include,
            )?);
        }
        self.archive("libelf.a", &objects)?;
        self.install(&folder, &["libelf.h", "gelf.h", "nlist.h", "elf.h"])
    }

    fn compile(
        &self,
        source: &Path,
        object: &str,
        flags: &[&str],
        include: &[PathBuf],
    ) -> Result<PathBuf> {
        let object = self.root.join("obj").join(object);
        let mut command = Command::new(self.root.join("cc"));
        command.args(flags);
        for folder in include {
            command.arg("-I").arg(folder);
        }
        succeed(command.arg("-c").arg(source).arg("-o").arg(&object))?;
        Ok(object)
    }

    fn archive(&self, name: &str, objects: &[PathBuf]) -> Result<()> {
        let path = self.root.join(name);
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        succeed(Command::new("ar").arg("rcs").arg(path).args(objects))
    }

    fn install(&self, folder: &Path, headers: &[&str]) -> Result<()> {
        for header in headers.iter().filter(|header| folder.join(header).exists()) {
            std::fs::copy(folder.join(header), self.root.join("include").join(header))?;
        }
        Ok(())
    }
}

/// The sources of libelf, as its Makefile.am lists them.
fn libelf_sources(folder: &Path) -> Result<Vec<String>> {
    let makefile =
        std::fs::read_to_string(folder.join("Makefile.am")).context("read libelf's Makefile.am")?;
    let (_, list) = makefile
        .split_once("libelf_a_SOURCES =")
        .context("libelf's Makefile.am lists no sources")?;
    let list = list.split("\n\n").next().unwrap_or_default();
    Ok(list.split_whitespace().filter(|word| word.ends_with(".c")).map(str::to_owned).collect())
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
