//! Our implementation of the standard, asked through the protocol.

mod archives;
mod dependencies;
mod documents;
mod kernels;
mod life;
mod manifests;
mod names;
mod objects;
mod trust;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::run::{Answer, Implementation};
use crate::vectors::Data as Bytes;

/// Our own code.
pub struct Ours;

impl Implementation for Ours {
    fn answer(&mut self, op: &str, input: &Value) -> Result<Answer, String> {
        match answer(op, input) {
            Ok(value) => Ok(Answer::Ok(value)),
            Err(Failure::Refused { code, message, at }) => {
                Ok(Answer::Refused { code: code.to_owned(), message, at })
            }
            Err(Failure::Unsupported) => Ok(Answer::Unsupported),
            Err(Failure::Question(why)) => Ok(unread(why)),
        }
    }
}

/// The answer to what is no question of its operation.
#[must_use]
pub fn unread(why: String) -> Answer {
    let message = format!("the question cannot be read: {why}");
    Answer::Refused { code: "question.malformed".to_owned(), message, at: None }
}

/// Why there is nothing to accept.
enum Failure {
    Refused {
        code: &'static str,
        message: String,
        at: Option<[usize; 2]>,
    },
    Unsupported,
    /// It is no question of the operation.
    Question(String),
}

type Answered = Result<Value, Failure>;

fn answer(op: &str, input: &Value) -> Answered {
    match op {
        "name" => names::name(input),
        "tag" => names::tag(input),
        "version" => names::version(input),
        "reference" => names::reference(input),
        "source.resolve" => manifests::resolve(input),
        "manifest.read" => manifests::read(input),
        "param.encode" => manifests::encode(input),
        "param.substitute" => manifests::substitute(input),
        "license.check" => manifests::license(input),
        "document.read" => documents::read(input),
        "document.write" => documents::write(input),
        "layer.read" => documents::read_layer(input),
        "layer.write" => documents::write_layer(input),
        "package.read" => documents::read_package(input),
        "object.facts" => objects::facts(input),
        "layout.compare" => objects::compare(input),
        "loose.compare" => objects::loose(input),
        "event.decode" => objects::decode(input),
        "feature" => kernels::feature(input),
        "requirements.derive" => kernels::derive(input),
        "requirements.evaluate" => kernels::evaluate(input),
        "permissions.check" => kernels::check(input),
        "permissions.hooks" => kernels::hooks(input),
        "permissions.powers" => kernels::powers(input),
        "permissions.compare" => kernels::compare(input),
        "dependencies.resolve" => dependencies::resolve(input),
        "dependencies.shared" => dependencies::shared(input),
        "generation.read" => life::generation(input),
        "journal.read" => life::journal(input),
        "journal.cuts" => life::cuts(input),
        "life.recover" => life::recover(input),
        "life.reboot" => life::reboot(input),
        "life.exactness" => life::exactness(input),
        "life.version" => life::version(input),
        "life.entries" => life::entries(input),
        "key.read" => trust::key(input),
        "policy.read" => trust::policy(input),
        "signature.verify" => trust::verify(input),
        "rotation.follow" => trust::rotation(input),
        "channel.follow" => trust::channel(input),
        "attestation.read" => trust::attestation(input),
        "archive.read" => archives::read(input),
        "archive.write" => archives::write(input),
        _ => Err(Failure::Unsupported),
    }
}

/// The members of a question.
fn question<T: DeserializeOwned>(input: &Value) -> Result<T, Failure> {
    // A list is no object, whatever its order.
    if !input.is_object() {
        return Err(Failure::Question("its input is no object".to_owned()));
    }
    T::deserialize(input).map_err(|error| Failure::Question(error.to_string()))
}

fn unreadable(why: impl std::fmt::Display) -> Failure {
    Failure::Question(why.to_string())
}

fn refused(code: &'static str, error: &dyn std::error::Error) -> Failure {
    Failure::Refused { code, message: skep_spec::chain(error), at: None }
}

/// Errors that know their code.
macro_rules! coded {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                refused(error.code(), &error)
            }
        })*
    };
}

coded!(
    skep_spec::name::NameError,
    skep_spec::dependency::RangeError,
    skep_spec::manifest::ManifestError,
    skep_spec::param::ParamError,
    skep_spec::license::LicenseError,
    skep_spec::permission::Uncovered,
    skep_spec::oci::DocumentError,
    skep_trust::layer::LayerError,
    skep_trust::policy::PolicyError,
    skep_trust::TrustError,
    skep_trust::rotation::RotationError,
    skep_trust::channel::ChannelError,
    skep_trust::attestation::AttestationError,
    skep_trust::archive::ArchiveError,
);
