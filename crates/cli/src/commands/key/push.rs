//! A publisher's keys beside a package: `skep key rotate --push`.

use std::path::Path;
use std::{fs, io};

use skep_oci::{Registry, durable, regular};
use skep_spec::PackageRef;
use skep_trust::bundle::Bundle;
use skep_trust::{PublicKey, ways};

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::keys_and_channels::{self, By};
use crate::moment;
use crate::named;
use crate::options::Transport;
use crate::output::Output;
use crate::place::{self, Lying};
use crate::rotation::Chain;
use crate::rules;

/// Keys that go beside a package.
pub(super) struct Push<'a> {
    pub(super) file: &'a Path,
    /// What the file holds.
    pub(super) chain: &'a Chain,
    /// Which signatures the newest version still needs.
    pub(super) missing: Option<&'a String>,
    /// The package, as it was typed.
    pub(super) to: &'a str,
    pub(super) transport: Transport,
}

/// Keys that nothing holds back from their place, as far as this machine can tell.
pub(super) struct Ready<'a> {
    push: &'a Push<'a>,
    reference: PackageRef,
    registry: Registry,
    lying: Lying,
}

impl Push<'_> {
    /// That all versions may go there: newer ones are not, nor another one of a number.
    pub(super) fn ready(&self, config: &Config) -> Result<Ready<'_>> {
        let (_, newest) = self.chain.newest().ok_or_else(|| Error::usage("there are no keys"))?;
        let (publisher, version) = (&newest.keys.publisher, newest.keys.version);
        if let Some(missing) = self.missing {
            let error = Error::usage(format!("version {version} of the keys is not complete"));
            return Err(error.because(missing.clone()).hint("sign it first; then push it"));
        }
        let reference = place::reference(self.to, config)?;
        if reference.name.publisher() != publisher {
            let name = &reference.name;
            return Err(Error::usage(format!(
                "{name} is no package of {publisher}, whose keys these are"
            )));
        }
        let reference = reference.alone();
        let registry = place::registry(&reference, self.transport, config)?.without_mirrors();
        has_package(&registry, &reference)?;
        let lying = place::lying(registry.keys(&reference))?;
        let by = (&rules::of_machine(config)?, moment::now(config)?);
        self.is_no_step_back(&lying.bundles, &reference, by)?;
        self.is_no_fork(&lying.bundles, &reference, by)?;
        Ok(Ready { push: self, reference, registry, lying })
    }

    /// A newer version may be there already: to which the newest here leads, or which this machine's rules bear out. Anybody may
    /// have put there what says a higher number.
    fn is_no_step_back(
        &self,
        theirs: &[Vec<u8>],
        reference: &PackageRef,
        by: By<'_>,
    ) -> Result<()> {
        let Some((_, newest)) = self.chain.newest() else { return Ok(()) };
        let ours = newest.keys.version;
        let leads = ways::leads_on(&newest.keys, theirs, by.0.revoked_keys());
        let borne_out = keys_and_channels::borne_out(theirs, reference, by).map(|out| out.version);
        match leads.max(borne_out).filter(|version| *version > ours) {
            None => Ok(()),
            Some(version) => Err(Error::new(
                Kind::Refused,
                format!("version {version} of the keys is beside {reference} already, and {ours} would be put there"),
            )
            .hint("keys never go back: take the newest file")),
        }
    }

    /// Nor may another one be there under a number that the file has, whoever of those that count has signed it: who follows comes
    /// to one of the two, and never to the other.
    fn is_no_fork(
        &self,
        theirs: &[Vec<u8>],
        reference: &PackageRef,
        (policy, now): By<'_>,
    ) -> Result<()> {
        let (ours, publisher) = (self.chain.bundles(), reference.name.publisher());
        let file = self.file.display();
        let led = ways::forked(publisher, &ours, theirs, policy.revoked_keys());
        let led = led.map(|version| {
            (version, format!("the keys before it have signed both, that and the one in '{file}'"))
        });
        let borne_out = || {
            let theirs = keys_and_channels::borne_out(theirs, reference, (policy, now))?.bundles;
            let version = ways::differs(publisher, &ours, &theirs)?;
            Some((version, "this machine's rules bear out the one that is there".to_owned()))
        };
        let has_rule = keys_and_channels::has_keys(reference, policy);
        let nobody_says = || {
            let version = ways::differs(publisher, &ours, theirs).filter(|_| !has_rule)?;
            Some((
                version,
                format!("no rule of this machine says whose keys count for {publisher}"),
            ))
        };
        let Some((version, why)) = led.or_else(borne_out).or_else(nobody_says) else {
            return Ok(());
        };
        let what = format!(
            "version {version} of the keys is beside {reference} already, and is another one than in '{file}'"
        );
        let refused = Error::new(Kind::Refused, what).because(why).hint(format!(
            "a version never changes: take the file that was put there and go on from it; it lies under the tag skep-keys, and skep trust rotate {reference} follows it"
        ));
        Err(match has_rule {
            true => refused.hint("where a stolen key signed what is there, put that key's id under [revoked] in trust.toml: then it is replaced"),
            false => refused.hint(format!("where it is a stranger's, skep trust add '{publisher}/*' --key PUB says whose keys count here: then it is replaced")),
        })
    }

    /// Whether a key of any version in the file has signed a bundle.
    fn has_signed(&self, bundle: &[u8]) -> bool {
        let bundle = Bundle::parse(bundle);
        let is_by = |key: &PublicKey| bundle.as_ref().is_ok_and(|bundle| bundle.is_signed_by(key));
        self.chain.all_keys().any(is_by)
    }
}

impl Ready<'_> {
    /// Writes the file first, if it `changed`, and puts the keys there. Says where. What the registry does not take is in the file
    /// neither.
    pub(super) fn put(&self, changed: bool, output: &Output) -> Result<String> {
        let Push { file, chain, .. } = self.push;
        let before = changed.then(|| named::read_if_there(file, regular::bytes)).transpose()?;
        if changed {
            chain.write(file)?;
        }
        self.note(output);
        let bundles = chain.bundles();
        let put = self.registry.change_keys(&self.reference, self.lying.before(), &bundles);
        match (place::ask(put), before) {
            (Ok(()), _) => Ok(self.reference.to_string()),
            (Err(error), None) => Err(error),
            (Err(error), Some(before)) => self.not_put(before.as_deref(), error),
        }
    }

    /// Takes the file back where the registry does not have the keys. An answer can be lost after it took them.
    fn not_put(&self, before: Option<&[u8]>, error: Error) -> Result<String> {
        let (file, to) = (self.push.file, self.push.to);
        let shown = file.display();
        match place::lying(self.registry.keys(&self.reference)) {
            Ok(there) if there.bundles == self.push.chain.bundles() => {
                Ok(self.reference.to_string())
            }
            Ok(_) => Err(match back(file, before) {
                Ok(()) => error.hint(format!("nothing was signed: '{shown}' is as it was")),
                Err(why) => error.hint(format!("'{shown}' could not be taken back ({why}): it has what was signed")),
            }),
            Err(_) => Err(error.hint(format!("nobody can tell whether the registry took them, so '{shown}' has what was signed: put it there with skep key rotate {shown} --push {to}"))),
        }
    }

    /// Says what gives way.
    fn note(&self, output: &Output) {
        let Self { push, reference, lying, .. } = self;
        if let Some(why) = &lying.junk {
            output.note(&format!(
                "note: what lay under the tag skep-keys beside {reference} is replaced: it {why}"
            ));
        }
        let bundles = push.chain.bundles();
        let others = lying.bundles.iter().filter(|bundle| !bundles.contains(bundle));
        let (signed, others): (Vec<_>, Vec<_>) = others.partition(|one| push.has_signed(one));
        if !others.is_empty() {
            let count = others.len();
            output.note(&format!("note: {count} of the bundles beside {reference} are not in this file, and no keys of it lead to them: they are replaced"));
        }
        if !signed.is_empty() {
            let count = signed.len();
            output.note(&format!("note: {count} of the bundles beside {reference} are not in this file, though keys of it have signed them: they are replaced, since nobody could follow them to another version"));
        }
    }
}

/// That there is a package beside which the keys would lie: nobody looks for them anywhere else.
fn has_package(registry: &Registry, reference: &PackageRef) -> Result<()> {
    if !place::ask(registry.versions(reference))?.is_empty() {
        return Ok(());
    }
    let error = Error::new(Kind::Failed, format!("there is no version of a package {reference}"));
    Err(error.hint("nothing was put there: look at its path, or push the package first; skep key rotate --push is for each package of a publisher"))
}

/// Makes a file what it was.
fn back(file: &Path, before: Option<&[u8]>) -> io::Result<()> {
    match before {
        Some(bytes) => durable::replace(file, bytes, 0o644),
        None => fs::remove_file(file),
    }
}
