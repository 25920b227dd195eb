//! Signatures, by what they say of themselves: which key they name, and what they are for.
//!
//! The hub has no key to check them with and needs none: nodes check. It only leaves out what is plainly not
//! about the manifest that it is attached to.

use skep_spec::media;
use skep_trust::bundle::{BUNDLE_MAX, Bundle};

use crate::digest::Digest;
use crate::document::{Document, Parts};
use crate::name::Repository;
use crate::store::{Signed, Store, StoreError};

/// Who signed, if `document` is a signature bundle about its subject.
///
/// # Errors
/// When the store cannot be read.
pub async fn signed(
    store: &Store,
    repository: &Repository,
    document: &Document,
) -> Result<Option<Signed>, StoreError> {
    let (Some(subject), Parts::Blobs { layers, .. }) = (&document.subject, &document.parts) else {
        return Ok(None);
    };
    let [layer] = layers.as_slice() else { return Ok(None) };
    if document.artifact_type.as_deref() != Some(media::BUNDLE) {
        return Ok(None);
    }
    let Some(blob) = store.blob(repository, &layer.digest).await? else { return Ok(None) };
    let bytes = blob.read(BUNDLE_MAX as u64).await?;
    Ok(bytes.and_then(|bytes| said(&bytes, subject)))
}

fn said(bytes: &[u8], subject: &Digest) -> Option<Signed> {
    let bundle = Bundle::parse(bytes).ok()?;
    let statement = bundle.unchecked_statement().ok()?;
    let is_about = |s: &skep_trust::bundle::Subject| s.digest.to_string() == subject.as_str();
    if !statement.subjects.iter().any(is_about) {
        return None;
    }
    let key_id = bundle.signer().key_id()?.to_string();
    Some(Signed { key_id, predicate_type: statement.predicate_type })
}

#[cfg(test)]
mod tests {
    use skep_trust::SecretKey;
    use skep_trust::bundle::{Subject, sign};
    use skep_trust::key::KeyKind;

    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn a_bundle_counts_only_for_what_it_speaks_of() {
        let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
        let digest = skep_spec::Digest::of(b"index");
        let subjects = [Subject { name: "index".into(), digest }];
        let bundle = sign(&key, &subjects, media::PREDICATE_SIGN).unwrap();
        let signed = said(&bundle, &Algorithm::Sha256.digest(b"index")).unwrap();
        assert_eq!(signed.key_id, key.public().unwrap().id().to_string());
        assert_eq!(signed.predicate_type, media::PREDICATE_SIGN);
        assert_eq!(said(&bundle, &Algorithm::Sha256.digest(b"another")), None);
        assert_eq!(said(b"{}", &Algorithm::Sha256.digest(b"index")), None);
    }
}
