//! `skep install`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use skep_api::{Client, Detail, Install as Request, Member, Node, PackageSource};
use skep_spec::Manifest;
use skep_trust::attestation::Tried;

use super::show;
use crate::config::Config;
use crate::daemon;
use crate::error::{Error, Result, of_daemon};
use crate::options::Choice;
use crate::output::Output;
use crate::place;
use crate::subject::manifest_of;
use crate::tried;

/// Install a package as a service: load it, attach it, keep it attached
///
/// It is verified against this machine's trust.toml before anything of it is parsed. What it needs is installed first, each package
/// of it verified by itself: from where this one comes, or else from the node's hub. Where something fails half-way, everything is
/// undone.
#[derive(Debug, Args)]
pub struct Install {
    /// [registry/]publisher/name:version, the folder of an OCI layout, or a bundle
    #[arg(value_name = "PACKAGE")]
    what: OsString,
    #[command(flatten)]
    choice: Choice,
    /// The service's name, instead of the package's last component
    #[arg(long = "as", value_name = "NAME")]
    service: Option<String>,
    /// Set a parameter
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Say what would be installed, and install nothing
    #[arg(long)]
    dry_run: bool,
    /// Add to this file whether it runs on this kernel, for skep attest --report
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    report: Option<PathBuf>,
    /// Install even if no trusted key signed it; it stays marked in skep list. What it needs must be signed all the same
    #[arg(long)]
    allow_unsigned: bool,
}

impl Install {
    /// Runs it.
    ///
    /// # Errors
    /// No skepd, the package is refused or not there, the kernel refuses.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let clock = Instant::now();
        let request = Request {
            package: daemon::package(&self.what, self.choice, config)?,
            service: self.service.as_deref().map(daemon::service).transpose()?,
            params: daemon::pairs("--set", "NAME=VALUE", &self.set)?,
            allow_unsigned: self.allow_unsigned,
        };
        let client = daemon::client(config);
        if self.dry_run {
            let members = daemon::ask(client.plan_install(&request))?;
            output.answer(&members, || {
                let lines = ["Would install; nothing was touched.".to_owned()].into_iter();
                lines.chain(members.iter().map(show::member)).collect::<Vec<_>>().join("\n")
            });
            return Ok(());
        }
        let detail = installed(&client, &request, self.report.as_deref())?;
        let took = clock.elapsed().as_millis();
        output.done(&detail, || {
            let status = &detail.status;
            let mut lines = vec![format!(
                "Installed {} {} as {} in {took} ms, {}",
                status.package, status.version, status.service, status.origin
            )];
            lines.extend(detail.together.iter().map(show::member));
            lines.extend(detail.hooks.iter().map(show::hook));
            lines.extend(detail.report.changes.iter().map(|change| format!("  {change}")));
            lines.extend(show::unheeded(&detail));
            lines.join("\n")
        });
        Ok(())
    }
}

/// Installs it, and says in the report what came of that, if it came as far as the kernel.
fn installed(client: &Client, request: &Request, report: Option<&Path>) -> Result<Detail> {
    let Some(report) = report else { return daemon::ask(client.install(request)) };
    let about = about(client, request)?;
    if let Some((of, _)) = &about {
        tried::can_take(report, of)?;
    }
    let Node { kernel: release, arch, .. } = daemon::ask(client.node())?;
    let installed = daemon::ask(async { Ok(client.install(request).await) })?;
    let known = about.and_then(|(of, needs_others)| {
        tried::outcome(&installed, needs_others).map(|result| (of, result))
    });
    let unreported = match (known, &installed) {
        (Some((of, result)), _) => {
            tried::add(report, of, Tried { release, arch, result })?;
            None
        }
        (None, Ok(_)) => None,
        (None, Err(error)) => Some(tried::unreported(report, error)),
    };
    installed.map_err(|error| unreported.into_iter().fold(of_daemon(error), Error::hint))
}

/// Which package it is, and whether it needs others; none of a registry's that is refused before anything is loaded.
fn about(client: &Client, request: &Request) -> Result<Option<(tried::Of, bool)>> {
    if let PackageSource::Layout { path, package } = &request.package {
        let store = place::layout(path)?;
        let (reference, digest) = place::package(&store, package.as_ref())?;
        let Manifest { package, dependencies, .. } = manifest_of(&store, digest, &reference)?;
        let of = tried::Of { name: package.name, version: package.version };
        return Ok(Some((of, !dependencies.is_empty())));
    }
    let planned = daemon::ask(async { Ok(client.plan_install(request).await) })?;
    let Ok(mut members) = planned else { return Ok(None) }; // the install says why
    let root = members.pop();
    let of = |root: Member| tried::Of { name: root.package, version: root.version };
    Ok(root.map(|root| (of(root), !members.is_empty())))
}
