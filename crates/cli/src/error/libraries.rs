//! Errors of the libraries, which say it all, as the command's: how it ends, and what to do next.

use skep_object::Unfit;
use skep_oci::archive::BundleError;
use skep_oci::image::ImageError;
use skep_oci::signatures::SignatureError;
use skep_oci::{FollowError, RegistryError, StoreError};
use skep_spec::causes;
use skep_spec::oci::DocumentError;
use skep_trust::channel::ChannelError;
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
    let converted = Error::new(super::daemon::kind(error.code()), error.to_string());
    let converted = error.causes().into_iter().fold(converted, Error::because);
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
    let reasons: Vec<String> = error.refusals().iter().map(ToString::to_string).collect();
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
    hint.into_iter().fold(Error::usage(error.to_string()), Error::hint)
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
    let registry = error.downcast_ref().is_some_and(RegistryError::is_altered);
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
    Error { causes: causes(error), errno: errno(error), ..Error::new(kind, error.to_string()) }
}
