//! Errors on their way out: converted once, from each crate's own into the API's.

use std::error::Error as StdError;

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use skep_api::{ErrorBody, MAX_BODY};
use skep_object::Unfit;
use skep_oci::archive::BundleError;
use skep_oci::{FollowError, RegistryError, StoreError};
use skep_runtime::RuntimeError;
use skep_spec::causes;
use skep_trust::channel::ChannelError;
use skep_trust::{AdmitError, TrustError};

/// An error and its HTTP status.
#[derive(Debug)]
pub struct Error {
    /// The status.
    pub status: StatusCode,
    /// What is sent.
    pub body: ErrorBody,
}

impl Error {
    /// An error of the daemon's own.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody {
            code: code.to_owned(),
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        };
        Self { status, body }
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.body.hint = Some(hint.into());
        self
    }

    /// All of it in one line: what failed, why, what to do next.
    #[must_use]
    pub fn text(&self) -> String {
        let ErrorBody { message, causes, hint, .. } = &self.body;
        let whole = std::iter::once(message).chain(causes).cloned().collect::<Vec<_>>().join(": ");
        hint.iter().fold(whole, |text, hint| format!("{text}; {hint}"))
    }

    fn rejected(status: StatusCode, why: String) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the request has more than {MAX_BODY} bytes");
                Self::new(status, "too-large", message)
            }
            _ => Self::new(status, "request", format!("the request is not as it should be: {why}")),
        }
    }

    /// A package that is not what its digests say.
    fn not_admitted(error: &dyn StdError) -> Self {
        Self::of(StatusCode::FORBIDDEN, "not-admitted", error)
    }

    fn of(status: StatusCode, code: &str, error: &dyn StdError) -> Self {
        let mut converted = Self::new(status, code, error.to_string());
        converted.body.causes = causes(error);
        converted
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Self {
        let status = match error {
            RuntimeError::NoService { .. } | RuntimeError::NoSuch { .. } => StatusCode::NOT_FOUND,
            RuntimeError::Exists { .. } => StatusCode::CONFLICT,
            RuntimeError::File { .. } | RuntimeError::Journal(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let converted = Self::of(status, error.code(), &error);
        match error.hint() {
            Some(hint) => converted.hint(hint),
            None => converted,
        }
    }
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        let status = match unfit {
            Unfit::Permissions { .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut error = Self::new(status, unfit.code(), unfit.to_string());
        error.body.causes = unfit.causes();
        error.body.hint = unfit.hint();
        error
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        match error.is_altered() {
            true => Self::not_admitted(&error),
            false => Self::of(StatusCode::BAD_GATEWAY, "registry", &error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            _ if error.is_altered() => Self::not_admitted(&error),
            StoreError::NoPackage { .. } => Self::of(StatusCode::BAD_REQUEST, "layout", &error),
            StoreError::Several { .. } => Self::of(StatusCode::BAD_REQUEST, "layout", &error)
                .hint("say which with --package NAME:VERSION"),
            _ => Self::of(StatusCode::INTERNAL_SERVER_ERROR, "store", &error),
        }
    }
}

impl From<BundleError> for Error {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Store(error) => error.into(),
            error if error.is_altered() => Self::not_admitted(&error),
            error => Self::of(StatusCode::INTERNAL_SERVER_ERROR, "file", &error),
        }
    }
}

impl From<skep_oci::signatures::SignatureError> for Error {
    fn from(error: skep_oci::signatures::SignatureError) -> Self {
        match error.is_altered() {
            true => Self::not_admitted(&error),
            false => Self::of(StatusCode::UNPROCESSABLE_ENTITY, "signature", &error),
        }
    }
}

impl From<TrustError> for Error {
    fn from(error: TrustError) -> Self {
        let converted = Self::of(StatusCode::FORBIDDEN, "refused", &error);
        error.hint().into_iter().fold(converted, Self::hint)
    }
}

impl From<FollowError> for Error {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Channel(error) => {
                let mut converted = Self::of(StatusCode::FORBIDDEN, "refused-channel", &error);
                converted.body.causes.extend(error.refusals().iter().map(ToString::to_string));
                match error {
                    ChannelError::NoRule(_) => converted.hint("trust its key in skepd's trust.toml (/etc/skep, or its --config-dir): skep trust add PATTERN --key PUB"),
                    ChannelError::Unsigned(..) => converted.hint("skep tags lists the versions and channels that there are"),
                    _ => converted,
                }
            }
            FollowError::Memory { .. } => {
                Self::of(StatusCode::INTERNAL_SERVER_ERROR, "file", &error)
            }
        }
    }
}

impl From<AdmitError> for Error {
    fn from(error: AdmitError) -> Self {
        Self::not_admitted(&error)
    }
}

/// What axum could not take from a request; its own answer would be plain text.
macro_rules! from_rejection {
    ($($rejection:ident),*) => {$(
        impl From<$rejection> for Error {
            fn from(rejection: $rejection) -> Self {
                Self::rejected(rejection.status(), rejection.body_text())
            }
        }
    )*};
}

from_rejection!(BytesRejection, PathRejection, QueryRejection);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_why_and_what_next() {
        let mut error = Error::new(StatusCode::NOT_FOUND, "file", "cannot read x").hint("make one");
        error.body.causes.push("no such file".to_owned());
        assert_eq!(error.text(), "cannot read x: no such file; make one");
    }
}
