//! `skep release`.

mod changelog;
mod plan;
mod prepare;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use skep_kit::attest::Origin;
use skep_oci::signatures;
use skep_spec::{Channel, media};
use skep_trust::bundle;
use skep_trust::key::SigningKey;

use self::plan::Plan;
use self::prepare::Prepared;
use super::channel::elsewhere;
use super::lint::Allowed;
use crate::config::Config;
use crate::error::{Error, Kind, Result, failed};
use crate::keys::SignOptions;
use crate::moment::moment;
use crate::options::Transport;
use crate::output::Output;
use crate::place;
use crate::progress::shown;

/// Release a version: check, build, lint, pack, sign, attest, push, and move a channel to it
///
/// First everything that changes nothing outside; then the plan is shown, and carried out. What is done already is left as it is:
/// a release that broke off is run again.
#[derive(Debug, Args)]
pub struct Release {
    /// The folder with skep.toml
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The registry: host[:port][/path]. Without it SKEP_HUB
    #[arg(long, value_name = "REGISTRY")]
    to: Option<String>,
    /// Show the plan, and sign and send nothing; needs no key
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    key: SignOptions,
    /// The channel to move. Without it stable, and for a version such as 1.0.0-rc.1 or with --older none
    #[arg(long, value_name = "CHANNEL", conflicts_with = "no_channel")]
    channel: Option<Channel>,
    /// Move no channel
    #[arg(long)]
    no_channel: bool,
    /// Another registry that has the channel, host[:port][/path]: its sequence goes on above that, too; may be given several times
    #[arg(long, value_name = "REGISTRY")]
    also: Vec<String>,
    /// When the channel ends to install it: after so many days, or at a moment such as 2027-12-31T00:00:00Z
    #[arg(long, value_name = "DAYS|TIME", default_value = "90d")]
    expires: String,
    /// The file that must have a heading for the version, in FOLDER
    #[arg(long, value_name = "FILE", default_value = "CHANGELOG.md")]
    changelog: PathBuf,
    /// Ask for no changelog
    #[arg(long, conflicts_with = "changelog")]
    no_changelog: bool,
    /// Take a version that is lower than the newest in the registry: a mend of an older one
    #[arg(long)]
    older: bool,
    #[command(flatten)]
    allowed: Allowed,
    /// Sign no attestations
    #[arg(long)]
    no_attest: bool,
    /// Who built it, as provenance has it: a URI
    #[arg(long, value_name = "URI", default_value = "urn:skep:builder:local")]
    builder: String,
    /// This clang instead of the newest in PATH
    #[arg(long, value_name = "PATH")]
    clang: Option<PathBuf>,
    /// Build into this folder instead of FOLDER/build
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    transport: Transport,
}

impl Release {
    /// Runs it.
    ///
    /// # Errors
    /// A check fails, it does not build, no key, or the registry does not take something. What was done till then stays.
    pub fn run(self, output: &Output, config: &Config) -> Result<()> {
        let expires = moment(&self.expires, SystemTime::now())?;
        let key = match self.dry_run && !self.key.is_given(config) {
            true => None,
            false => Some(self.key.key(config)?),
        };
        let keys: Vec<Box<dyn SigningKey>> = key.into_iter().collect();
        let prepared = self.prepare(&keys, output, config)?;
        let mut plan = self.plan(&prepared, &keys, expires, config)?;
        let heading = format!("Release of {}", prepared.reference);
        if self.dry_run {
            output.packaged(&plan, &[plan.digest()], || {
                format!("{heading}\n{}\nnothing was signed or sent", plan.text())
            });
            return Ok(());
        }
        output.note(&format!("{heading}\n{}", plan.text()));
        for key in &keys {
            self.sign(&prepared, &**key, &mut plan)?;
        }
        self.push(&prepared, &mut plan, output)?;
        self.move_channel(&prepared, &keys, expires, &mut plan, (output, config))?;
        output.packaged(&plan, &[plan.digest()], || {
            format!("Released {}\n{}\n{}", prepared.reference, plan.digest(), plan.text())
        });
        Ok(())
    }

    /// The channel that is moved.
    fn channel(&self, prepared: &Prepared) -> Option<Channel> {
        let version = prepared.reference.version.as_ref();
        let is_newest = !self.older && !prepared.is_older;
        let is_usual = is_newest && version.is_some_and(|version| !version.is_prerelease());
        let usual = (is_usual && !self.no_channel).then(Channel::stable);
        self.channel.clone().or(usual)
    }

    /// Signature and attestations, into the layout.
    fn sign(&self, prepared: &Prepared, key: &dyn SigningKey, plan: &mut Plan) -> Result<()> {
        let Prepared { project, packed, store, .. } = prepared;
        let subjects = signatures::subjects(store, packed.digest).map_err(failed)?;
        let attach =
            |bundle: &[u8]| signatures::attach(store, packed.digest, bundle).map_err(failed);
        let id = key.public().map_err(failed)?.id();
        if plan.is_next("sign") {
            let signed = bundle::sign(key, &subjects, media::PREDICATE_SIGN).map_err(failed)?;
            attach(&signed)?;
            plan.done("sign", format!("by key {id}"));
        }
        if plan.is_next("attest") {
            let origin = Origin::of(project, &packed.manifest).map_err(|error| {
                Error::caused(Kind::Failed, "can't attest what was built", &error)
            })?;
            let said = |kind: &str| match kind {
                media::PREDICATE_SBOM => origin.sbom(),
                _ => origin.provenance(&self.builder),
            };
            for kind in prepare::ATTESTED.iter().filter(|kind| !prepared.said.contains(**kind)) {
                let signed = bundle::sign_predicate(key, &subjects, kind, &said(kind));
                attach(&signed.map_err(failed)?)?;
            }
            plan.done("attest", prepare::ATTESTED.join(", "));
        }
        Ok(())
    }

    fn push(&self, prepared: &Prepared, plan: &mut Plan, output: &Output) -> Result<()> {
        if !plan.is_next("push") {
            return Ok(());
        }
        let Prepared { reference, packed, store, registry, .. } = prepared;
        let what = format!("Pushing {reference}");
        let push = registry.push(store, packed.digest, reference);
        let pushed = place::ask(shown(output, registry.progress(), &what, push)).map_err(again)?;
        let came = place::came_along(pushed.signatures, pushed.others);
        plan.done("push", format!("{} new blobs, {came}", pushed.blobs));
        Ok(())
    }

    fn move_channel(
        &self,
        prepared: &Prepared,
        keys: &[Box<dyn SigningKey>],
        expires: SystemTime,
        plan: &mut Plan,
        (output, config): (&Output, &Config),
    ) -> Result<()> {
        let Some(channel) = self.channel(prepared).filter(|_| plan.is_next("channel")) else {
            return Ok(());
        };
        let also = elsewhere(&self.also, &prepared.reference, self.transport, config)?;
        let moving = prepared.moving(&channel, keys, expires, &also);
        let moved = moving.done(SystemTime::now(), output, config).map_err(again)?;
        plan.done("channel", moved.line());
        Ok(())
    }
}

/// What broke off goes on.
fn again(error: Error) -> Error {
    error.hint("what was done stays: run skep release again, and it goes on from there")
}
