//! Errors of the libraries, which say it all, as the command's: how it ends, and what to do next.

use skep_object::{ObjectError, Unfit};
use skep_oci::archive::BundleError;
use skep_oci::image::ImageError;
use skep_oci::registry::SettingsError;
use skep_oci::signatures::SignatureError;
use skep_oci::{FollowError, RegistryError, StoreError};
use skep_spec::dependency::Unresolved;
use skep_spec::oci::DocumentError;
use skep_spec::{causes_as, line};
use skep_trust::attestation::AttestationError;
use skep_trust::channel::ChannelError;
use skep_trust::layer::LayerError;
use skep_trust::policy::PolicyError;
use skep_trust::rotation::RotationError;
use skep_trust::{AdmitError, TrustError};

use super::{Error, Kind, errno};

/// A library's error as the command's.
pub fn failed(error: impl std::error::Error + 'static) -> Error {
    with_causes(kind(&error), &error)
}

/// The same of what the command line names.
pub fn misnamed(error: impl std::error::Error + 'static) -> Error {
    with_causes(Kind::Usage, &error)
}

/// A refusal by trust or by what a package holds.
pub fn refused(error: impl std::error::Error + 'static) -> Error {
    with_causes(Kind::Refused, &error)
}

/// A refusal by signatures.
pub fn untrusted(error: TrustError) -> Error {
    let hint = error.hint();
    hint.into_iter().fold(refused(error), Error::hint)
}

/// A package that does more than it says; skepd says the same.
pub fn unfit(error: &Unfit) -> Error {
    let converted = Error::new(super::daemon::kind(error.code()), said(error));
    let converted = converted.known_as(error.code());
    let causes = error.causes().into_iter().map(|cause| line(&cause));
    let converted = causes.fold(converted, Error::because);
    error.hint().into_iter().fold(converted, Error::hint)
}

/// Why a channel is not followed.
pub fn not_followed(error: FollowError) -> Error {
    let error = match error {
        FollowError::Channel(error) => error,
        FollowError::Memory { .. } => {
            return failed(error).hint("make it readable and writable for you; without it an old pointer could be played back");
        }
    };
    let reasons: Vec<String> =
        error.refusals().iter().map(|refusal| line(&refusal.to_string())).collect();
    let hint = match &error {
        ChannelError::NoRule(_) => Some("skep trust add PATTERN --key PUB adds one"),
        ChannelError::Unsigned(..) => {
            Some("skep tags lists the versions and channels that there are")
        }
        _ => None,
    };
    let converted = reasons.into_iter().fold(refused(error), Error::because);
    hint.into_iter().fold(converted, Error::hint)
}

/// Where no package, or none alone, is the one that is asked for.
pub fn not_chosen(error: StoreError) -> Error {
    let hint = match &error {
        StoreError::NoPackage { wanted: None, .. } => {
            Some("skep pack and skep pull put packages into layouts, and skep bundle into files")
        }
        StoreError::NoPackage { .. } => None,
        StoreError::Several { .. } => Some("say which with --package NAME:VERSION"),
        _ => return failed(error),
    };
    hint.into_iter().fold(Error::usage(said(&error)), Error::hint)
}

/// An image of others that is not read.
pub fn of_image(error: ImageError) -> Error {
    match error {
        ImageError::Registry(error) => failed(error),
        ImageError::Store(error) => failed(error),
        ImageError::Several { .. } => misnamed(error).hint("say which with --tag NAME"),
        ImageError::NoImage { .. } => misnamed(error),
        ImageError::Platforms { .. } => failed(error),
        _ => refused(error),
    }
}

/// A package that is not what its digests say is refused, wherever that was seen.
fn kind(error: &(dyn std::error::Error + 'static)) -> Kind {
    let store = error.downcast_ref().is_some_and(StoreError::is_altered);
    let registry = error.downcast_ref();
    let registry = registry.is_some_and(|e: &RegistryError| e.is_altered() || e.is_flooded());
    let signature = error.downcast_ref().is_some_and(SignatureError::is_altered);
    let bundle = error.downcast_ref().is_some_and(BundleError::is_altered);
    let document = error.is::<DocumentError>();
    if error.downcast_ref().is_some_and(RegistryError::is_no_place) {
        return Kind::Usage;
    }
    match store || registry || signature || bundle || document || error.is::<AdmitError>() {
        true => Kind::Refused,
        false => Kind::Failed,
    }
}

fn with_causes(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Error {
    let (causes, errno) = (causes_as(error, &said), errno(error));
    Error { causes, errno, ..Error::new(kind, said(error)) }.coded(standard(error))
}

/// What an error says, in one line: names in it may be a stranger's. Some say several of their own.
pub(super) fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let of_policy = || matches!(error.downcast_ref(), Some(PolicyError::Syntax(_)));
    let of_registries = || matches!(error.downcast_ref(), Some(SettingsError::Mistake { .. }));
    let text = error.to_string();
    if skep_kit::has_lines(error) || of_policy() || of_registries() { text } else { line(&text) }
}

/// The standard's code for an error, or for the first of those that caused it that has one.
pub(super) fn standard(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    of_package(error).or_else(|| of_trust(error)).or_else(|| error.source().and_then(standard))
}

/// Where a package is not what it should be.
fn of_package(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let document = || error.downcast_ref().map(DocumentError::code);
    let layer = || error.downcast_ref().map(LayerError::code);
    let archive = || error.downcast_ref().and_then(BundleError::code);
    error
        .downcast_ref()
        .and_then(RegistryError::code)
        .or_else(|| error.downcast_ref().and_then(StoreError::code))
        .or_else(|| error.downcast_ref().and_then(SignatureError::code))
        .or_else(|| error.downcast_ref().and_then(AdmitError::code))
        .or_else(archive)
        .or_else(document)
        .or_else(layer)
        .or_else(|| error.downcast_ref().map(ObjectError::code))
        .or_else(|| error.downcast_ref().map(Unresolved::code))
}

/// Where nobody who counts has signed it.
fn of_trust(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let followed = || match error.downcast_ref()? {
        FollowError::Channel(error) => Some(error.code()),
        FollowError::Memory { .. } => None,
    };
    error
        .downcast_ref()
        .map(TrustError::code)
        .or_else(followed)
        .or_else(|| error.downcast_ref().map(ChannelError::code))
        .or_else(|| error.downcast_ref().map(RotationError::code))
        .or_else(|| error.downcast_ref().map(PolicyError::code))
        .or_else(|| error.downcast_ref().map(AttestationError::code))
}

#[cfg(test)]
mod tests {
    use skep_spec::Manifest;

    use super::failed;

    #[test]
    fn no_name_in_a_manifest_adds_a_line() {
        for text in [
            r#"{"x\nFORGED\t":1,"x\nFORGED\t":2}"#,
            r#""spec":"x\nFORGED\t"}"#,
            r#""spec":"1.0","critical":["x\nFORGED\t"]}"#,
            r#""spec":"1.0","output":{"x\nFORGED\t":{}}}"#,
        ] {
            let package =
                r#"{"objects":{},"package":{"license":"MIT","name":"acme/a","version":"1.0.0"},"#;
            let text =
                if text.starts_with('{') { text.to_owned() } else { format!("{package}{text}") };
            let text = failed(Manifest::parse(text.as_bytes()).unwrap_err()).text();
            assert!(text.contains("x\\nFORGED\\t"), "{text}");
            assert!(!text.contains("\t") && !text.contains("x\n"), "{text}");
        }
    }
}
