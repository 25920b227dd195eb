//! Signatures by certificate, as `cosign sign` makes them without a key: an authority says for ten minutes that a key is of an
//! identity, a log says that the signature was made in these. Checked offline by `sigstore-verify`, against the authorities and
//! logs of a trusted root that the operator has given.

use std::fmt;
use std::time::SystemTime;

use sigstore_verify::crypto::{CertificateInfo, parse_certificate_info};
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{Bundle, Sha256Hash, SignatureContent};
use sigstore_verify::{SubjectAltName, VerificationPolicy, Verifier};
use skep_spec::Digest;

use crate::key::KeyId;
use crate::policy::Identity;
use crate::time;

/// The authorities and logs of a trusted root, ready to hold bundles against.
pub(crate) struct Root {
    verifier: Verifier,
    /// Of its text.
    digest: Digest,
}

impl Root {
    /// Reads a trusted root that somebody can be held against.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let root = TrustedRoot::from_json(text).map_err(|error| error.to_string())?;
        if root.certificate_authorities.is_empty() || root.tlogs.is_empty() {
            return Err("it names no authority, or no log".to_owned());
        }
        let verifier = Verifier::new(&root).map_err(|error| error.to_string())?;
        Ok(Self { verifier, digest: Digest::of(text.as_bytes()) })
    }
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Root {}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({})", self.digest)
    }
}

/// A bundle that was signed by certificate, of which nobody has checked anything yet.
pub(crate) struct Certified {
    bundle: Bundle,
    claims: CertificateInfo,
}

impl Certified {
    /// Reads the certificate of a bundle whose statement is `payload`.
    pub(crate) fn read(bytes: &[u8], payload: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let bundle = Bundle::from_json(text).map_err(|error| error.to_string())?;
        // What was signed is what we read, whatever else the bundle has.
        match &bundle.content {
            SignatureContent::DsseEnvelope(envelope) if envelope.payload.as_bytes() == payload => {}
            _ => return Err("what it signs is not the statement that it shows".to_owned()),
        }
        let certificate = bundle.signing_certificate().ok_or("it has no certificate")?;
        let claims = parse_certificate_info(certificate).map_err(|error| error.to_string())?;
        Ok(Self { bundle, claims })
    }

    /// The key that the certificate is of.
    pub(crate) fn key(&self) -> KeyId {
        KeyId::of_spki(self.claims.public_key.as_bytes())
    }

    /// The identity of these that signed the bundle, which is about `subject`. The narrowest that has the certificate's name is
    /// asked alone, in whatever order they stand: a wider one neither counts in its place nor lends it a longer time.
    pub(crate) fn signer<'i>(
        &self,
        subject: Digest,
        identities: &'i [Identity],
        now: SystemTime,
    ) -> Result<&'i Identity, String> {
        let named = || identities.iter().filter(|identity| self.names(identity));
        let Some(narrowest) = named().map(Identity::weight).max() else {
            return Err(self.stranger(subject, identities, now));
        };
        let mut asked: Vec<_> = named().filter(|one| one.weight() == narrowest).collect();
        // One may be there with several trusted roots.
        asked.sort_by_key(|identity| (identity.is_over(now), &identity.trusted_root));
        let refused = |identity: &&Identity| self.is_borne_out(subject, identity, now).err();
        let refusals: Vec<_> =
            asked.iter().map(|identity| (*identity, refused(identity))).collect();
        match refusals.iter().find(|(_, refusal)| refusal.is_none()) {
            Some((identity, _)) => Ok(identity),
            None => Err(told(refusals.into_iter().filter_map(|(_, refusal)| refusal))),
        }
    }

    /// Whether the certificate says that it is of an identity.
    fn names(&self, identity: &Identity) -> bool {
        let Some(claimed) = &self.claims.identity else { return false };
        // An address is no URI, whatever it begins with.
        let is_address = matches!(claimed, SubjectAltName::Email(_));
        if is_address && identity.identity.contains("://") {
            return false;
        }
        let is_named = match identity.identity.strip_suffix('*') {
            Some(beginning) => claimed.as_str().starts_with(beginning),
            None => claimed.as_str() == identity.identity,
        };
        is_named && self.claims.issuer.as_ref() == Some(&identity.issuer)
    }

    /// Why a certificate of nobody in the rule does not count. A name that nobody has borne out is not even told.
    fn stranger(&self, subject: Digest, identities: &[Identity], now: SystemTime) -> String {
        let why = |identity: &Identity| match self.is_borne_out(subject, identity, now) {
            Err(why) => why,
            Ok(()) => {
                let found = self.claims.identity.as_ref().map(ToString::to_string);
                let (found, issuer) = (found.unwrap_or_default(), self.claims.issuer.as_deref());
                let issuer = issuer.unwrap_or_default().escape_debug();
                format!("it is by {} of {issuer}, not by {identity}", found.escape_debug())
            }
        };
        match identities {
            [] => "its rule names no identities".to_owned(),
            some => told(some.iter().map(why)),
        }
    }

    fn is_borne_out(
        &self,
        subject: Digest,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<(), String> {
        let root = match &identity.root {
            Some(Ok(root)) => root,
            Some(Err(why)) => return Err(format!("the identity {identity}: {why}")),
            None => return Err(format!("the identity {identity} has no trusted_root")),
        };
        let subject = Sha256Hash::from_hex(&subject.hex()).map_err(|error| error.to_string())?;
        let policy = VerificationPolicy::any_identity();
        let result = root.verifier.verify(subject, &self.bundle, &policy);
        result.map(drop).map_err(|error| clock_told(error.to_string(), now))
    }
}

/// Why a certificate is refused, with what the clock may have to do with it: what is borne out is held against the clock itself,
/// which may be behind the last moment that was seen.
fn clock_told(why: String, now: SystemTime) -> String {
    let clock = SystemTime::now();
    match (time::format(clock), time::format(now)) {
        (Some(says), Some(last)) if clock < now => format!(
            "{why} (the clock says {says}, which is before {last}, the last moment that was seen here: set it right)"
        ),
        _ => why,
    }
}

fn told(refusals: impl Iterator<Item = String>) -> String {
    let mut refusals: Vec<String> = refusals.collect();
    refusals.dedup();
    refusals.join("; ")
}
