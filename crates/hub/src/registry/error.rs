//! Errors as the OCI distribution-spec has them: a code for programs, a message for people.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use skep_spec::chain;

use crate::catalogue::Refusal;
use crate::digest::DigestError;
use crate::document::DocumentError;
use crate::name::NameError;
use crate::store::{DeleteError, PushError, StoreError, UploadError};

/// What the registry answers when it does not do what was asked.
#[derive(Debug)]
pub struct OciError {
    status: StatusCode,
    code: Code,
    message: String,
    challenge: Option<HeaderValue>,
}

/// The error codes of the distribution-spec that this registry uses.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the distribution-spec's table says what each means")]
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    /// Not in the spec's table: what Docker's registry says when the fault is its own.
    Unknown,
}

impl OciError {
    /// An answer with `code` and the status that belongs to it.
    pub fn new(code: Code, message: impl ToString) -> Self {
        Self { status: code.status(), code, message: message.to_string(), challenge: None }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same, telling how to authenticate.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Option<HeaderValue>) -> Self {
        self.challenge = challenge;
        self
    }
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown
            | Self::ManifestBlobUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::SizeInvalid => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for OciError {
    fn into_response(self) -> Response {
        let error = serde_json::json!({ "code": self.code.as_str(), "message": self.message });
        let body = serde_json::json!({ "errors": [error] });
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<StoreError> for OciError {
    /// The client learns that the hub failed; the log says at what.
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %chain(&error), "the store failed");
        if error.is_disk_full() {
            return Self::new(Code::Unknown, "the hub's disk is full: nothing was stored")
                .with_status(StatusCode::INSUFFICIENT_STORAGE);
        }
        Self::new(Code::Unknown, "the hub failed; its log says why")
    }
}

impl From<UploadError> for OciError {
    fn from(error: UploadError) -> Self {
        let code = match error {
            UploadError::Store(error) => return error.into(),
            UploadError::Unknown => Code::BlobUploadUnknown,
            UploadError::TooMany(_) => Code::TooManyRequests,
            UploadError::Digest { .. } => Code::DigestInvalid,
            UploadError::Busy | UploadError::Body(_) => Code::BlobUploadInvalid,
            UploadError::Length { .. } => Code::SizeInvalid,
            UploadError::TooLarge(_) => {
                return Self::new(Code::SizeInvalid, error)
                    .with_status(StatusCode::PAYLOAD_TOO_LARGE);
            }
        };
        Self::new(code, error)
    }
}

impl From<PushError> for OciError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Store(error) => error.into(),
            PushError::Missing(_) => Self::new(Code::ManifestBlobUnknown, error),
            PushError::VersionTaken { .. } => {
                Self::new(Code::Denied, error).with_status(StatusCode::CONFLICT)
            }
        }
    }
}

impl From<Refusal> for OciError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(error) => error.into(),
            refusal => Self::new(Code::ManifestInvalid, refusal),
        }
    }
}

impl From<DeleteError> for OciError {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::Store(error) => error.into(),
            DeleteError::InUse { .. } => {
                Self::new(Code::Denied, error).with_status(StatusCode::CONFLICT)
            }
        }
    }
}

impl From<DocumentError> for OciError {
    fn from(error: DocumentError) -> Self {
        Self::new(Code::ManifestInvalid, error)
    }
}

impl From<NameError> for OciError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Repository(_) => Self::new(Code::NameInvalid, error),
            NameError::Tag(_) => Self::new(Code::ManifestInvalid, error),
        }
    }
}

impl From<DigestError> for OciError {
    fn from(error: DigestError) -> Self {
        Self::new(Code::DigestInvalid, error)
    }
}
