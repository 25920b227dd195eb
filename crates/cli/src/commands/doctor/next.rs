//! `skep doctor --kernel`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use skep_api::{NextKernel, ServiceOutlook, WillRun};
use skep_kit::build::kernel_types;
use skep_kit::kernels;
use skep_oci::KernelTypes;
use skep_spec::Arch;

use crate::config::Config;
use crate::daemon;
use crate::error::{Context as _, Error, Kind, Result};
use crate::output::{Output, table};

/// Says which services here will run on a kernel that does not run here.
///
/// # Errors
/// It is no kernel whose types are here, no skepd, or one of the services will not run.
pub(super) fn run(next: &str, output: &Output, config: &Config) -> Result<()> {
    let arch = Arch::host()
        .ok_or_else(|| Error::usage("skep does not know this machine's architecture"))?;
    let (release, file) = found(next, arch, config)?;
    let types = types_in(&file, arch, config)?;
    let mut kept = tempfile::NamedTempFile::new().context(|| "can't make a temporary file")?;
    kept.write_all(&types).context(|| "can't write a temporary file")?;
    let asked = NextKernel { release, btf: kept.path().to_owned() };
    let services = daemon::ask(daemon::client(config).on_kernel(&asked))?;
    output.answer(&services, || text(&asked.release, &services));
    match services.iter().filter(|one| one.runs != WillRun::Yes).count() {
        0 => Ok(()),
        count => {
            let what =
                format!("of {} services {count} will not run there, or may not", services.len());
            Err(Error::new(Kind::Failed, what))
        }
    }
}

/// Where the types of a kernel are: the file that was named, or those that belong to a release.
fn found(next: &str, arch: Arch, config: &Config) -> Result<(String, PathBuf)> {
    let named = Path::new(next);
    if named.is_file() {
        let name = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = fs::canonicalize(named).context(|| format!("can't find {next}"))?;
        return Ok((name, file));
    }
    let places = [
        config.config_dir.join("btf").join(KernelTypes::file_name(next, arch)),
        format!("/boot/vmlinux-{next}").into(),
        format!("/usr/lib/debug/boot/vmlinux-{next}").into(),
        format!("/usr/lib/debug/lib/modules/{next}/vmlinux").into(),
        format!("/lib/modules/{next}/vmlinux").into(),
        format!("/lib/modules/{next}/build/vmlinux").into(),
        format!("/boot/vmlinuz-{next}").into(),
        format!("/lib/modules/{next}/vmlinuz").into(),
    ];
    if next.contains('/') {
        return Err(Error::usage(format!("there is no file '{next}'")));
    }
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok((next.to_owned(), place.clone())),
        None => {
            let looked = places.iter().map(|place| place.display().to_string());
            let looked = looked.collect::<Vec<_>>().join(", ");
            Err(Error::usage(format!("the types of the kernel {next} are not here"))
                .because(format!("none of these is there: {looked}"))
                .hint("install its image, name a file with its BTF, or bring its types: skep bundle --btf, skep unbundle --btf"))
        }
    }
}

/// The types in a file: as they are, or in an image.
fn types_in(file: &Path, arch: Arch, config: &Config) -> Result<Vec<u8>> {
    let what = || format!("can't read the kernel types in {}", file.display());
    let is_image =
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"));
    if is_image {
        let types = kernels::btf(file);
        return types.map_err(|error| Error::caused(Kind::Failed, what(), &error));
    }
    let types = kernel_types(Path::new("."), arch, &file.to_string_lossy(), &config.cache_dir);
    Ok(types.map_err(|error| Error::caused(Kind::Failed, what(), &error))?.0)
}

fn text(release: &str, services: &[ServiceOutlook]) -> String {
    if services.is_empty() {
        return "No services. skep install PACKAGE makes one.".to_owned();
    }
    let rows = services.iter().map(|one| {
        let runs = match one.runs {
            WillRun::Yes => "yes",
            WillRun::No => "NO",
            WillRun::Unknown => "cannot be said",
        };
        let adapted = if one.adapted.is_empty() { "" } else { ", adapted" };
        let (service, version) = (one.service.to_string(), one.version.to_string());
        [service, one.package.to_string(), version, format!("{runs}{adapted}")]
    });
    let heading = format!("On {release}, by its types alone:");
    let table = table(["SERVICE", "PACKAGE", "VERSION", "RUNS"], rows);
    let more = services.iter().flat_map(|one| {
        let why = one.why.iter().map(|why| format!("{}: {why}", one.service));
        why.chain(one.adapted.iter().map(|how| format!("{}, adapted: {how}", one.service)))
    });
    [heading, table].into_iter().chain(more).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_answers_with_their_reasons() {
        let services: Vec<ServiceOutlook> = serde_json::from_str(
            r#"[
                {"service":"a","package":"x/a","version":"1.0.0","runs":"yes","adapted":["attach:tc in place of attach:tcx"]},
                {"service":"b","package":"x/b","version":"1.0.0","runs":"no","why":["the kernel has no task_struct.old"]},
                {"service":"c","package":"x/c","version":"1.0.0","runs":"unknown","why":["it is not known"]}
            ]"#,
        )
        .unwrap();
        insta::assert_snapshot!(text("7.3.0", &services), @"
        On 7.3.0, by its types alone:
        SERVICE  PACKAGE  VERSION  RUNS
        a        x/a      1.0.0    yes, adapted
        b        x/b      1.0.0    NO
        c        x/c      1.0.0    cannot be said
        a, adapted: attach:tc in place of attach:tcx
        b: the kernel has no task_struct.old
        c: it is not known
        ");
    }
}
