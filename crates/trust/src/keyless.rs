//! Signatures by certificate, as `cosign sign` makes them without a key: an authority says for ten minutes that a key is of an
//! identity, a log says that the signature was made in these. Checked offline by `sigstore-verify`, against the authorities and
//! logs of a trusted root that the operator has given.

use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::{Bundle, Sha256Hash, SignatureContent};
use sigstore_verify::{VerificationPolicy, Verifier};
use skep_spec::Digest;

use crate::policy::Identity;

/// Whether a text is a trusted root that somebody can be held against.
pub(crate) fn holds(root: &str) -> Result<(), String> {
    verifier(root).map(drop)
}

/// The identity of these that signed the bundle, whose statement is `payload` and is about `subject`.
pub(crate) fn signer<'i>(
    bytes: &[u8],
    payload: &[u8],
    subject: Digest,
    identities: &'i [Identity],
) -> Result<&'i Identity, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let bundle = Bundle::from_json(text).map_err(|error| error.to_string())?;
    // What was signed is what we read, whatever else the bundle has.
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) if envelope.payload.as_bytes() == payload => {}
        _ => return Err("what it signs is not the statement that it shows".to_owned()),
    }
    let mut refusals = Vec::new();
    for identity in identities {
        match is_by(&bundle, subject, identity) {
            Ok(()) => return Ok(identity),
            Err(why) => refusals.push(why),
        }
    }
    refusals.dedup();
    match refusals.is_empty() {
        true => Err("its rule names no identities".to_owned()),
        false => Err(refusals.join("; ")),
    }
}

fn is_by(bundle: &Bundle, subject: Digest, identity: &Identity) -> Result<(), String> {
    let root = match &identity.root {
        Some(Ok(root)) => root,
        Some(Err(why)) => return Err(format!("the identity {identity}: {why}")),
        None => return Err(format!("the identity {identity} has no trusted_root")),
    };
    let subject = Sha256Hash::from_hex(&subject.hex()).map_err(|error| error.to_string())?;
    // Who it is comes last: a name that nobody has borne out is not even told.
    let policy = VerificationPolicy::any_identity();
    let result = verifier(root)?.verify(subject, bundle, &policy).map_err(|e| e.to_string())?;
    let found = result.identity().map(ToString::to_string).unwrap_or_default();
    let issuer = result.issuer().unwrap_or_default();
    let is_named = match identity.identity.strip_suffix('*') {
        Some(beginning) => found.starts_with(beginning),
        None => found == identity.identity,
    };
    if is_named && issuer == identity.issuer {
        return Ok(());
    }
    Err(format!(
        "it is by {} of {}, not by {identity}",
        found.escape_debug(),
        issuer.escape_debug()
    ))
}

fn verifier(root: &str) -> Result<Verifier, String> {
    let root = TrustedRoot::from_json(root).map_err(|error| error.to_string())?;
    if root.certificate_authorities.is_empty() || root.tlogs.is_empty() {
        return Err("it names no authority, or no log".to_owned());
    }
    Verifier::new(&root).map_err(|error| error.to_string())
}
