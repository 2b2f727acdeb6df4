//! Refusals: the specification's error codes, each with the status that goes with it, as a document.

use http::StatusCode;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::storage::StorageError;

/// What is wrong, as the specification names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The repository does not hold the blob.
    BlobUnknown,
    /// An upload cannot go on as asked.
    BlobUploadInvalid,
    /// No such upload.
    BlobUploadUnknown,
    /// No digest, or not that of the bytes.
    DigestInvalid,
    /// A manifest is made of something that the repository does not hold.
    ManifestBlobUnknown,
    /// What was sent as a manifest is none.
    ManifestInvalid,
    /// No such manifest.
    ManifestUnknown,
    /// No name of a repository.
    NameInvalid,
    /// The repository never held anything.
    NameUnknown,
    /// A length is not what was said.
    SizeInvalid,
    /// Who asks must say who it is.
    Unauthorized,
    /// Who asks may not.
    Denied,
    /// The registry does not do that.
    Unsupported,
    /// Too much at once.
    TooManyRequests,
    /// The registry failed.
    Unknown,
}

/// A refusal.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    code: Code,
    message: String,
    /// What it is about; an error for each is told.
    details: Vec<Value>,
}

impl Code {
    /// As the specification writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::BlobUnknown => "BLOB_UNKNOWN",
            Code::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Code::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Code::DigestInvalid => "DIGEST_INVALID",
            Code::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Code::ManifestInvalid => "MANIFEST_INVALID",
            Code::ManifestUnknown => "MANIFEST_UNKNOWN",
            Code::NameInvalid => "NAME_INVALID",
            Code::NameUnknown => "NAME_UNKNOWN",
            Code::SizeInvalid => "SIZE_INVALID",
            Code::Unauthorized => "UNAUTHORIZED",
            Code::Denied => "DENIED",
            Code::Unsupported => "UNSUPPORTED",
            Code::TooManyRequests => "TOOMANYREQUESTS",
            Code::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Code::BlobUnknown | Code::BlobUploadUnknown | Code::ManifestUnknown | Code::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Code::BlobUploadInvalid
            | Code::DigestInvalid
            | Code::ManifestBlobUnknown
            | Code::ManifestInvalid
            | Code::NameInvalid
            | Code::SizeInvalid => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::Denied => StatusCode::FORBIDDEN,
            Code::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Code::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Code::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Refusal {
    /// A refusal with the code's usual status.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { status: code.status(), code, message: message.into(), details: Vec::new() }
    }

    /// The same with another status.
    pub fn with_status(self, status: StatusCode) -> Self {
        Refusal { status, ..self }
    }

    /// The same with something that it is about.
    pub fn about(mut self, detail: impl std::fmt::Display) -> Self {
        self.details.push(Value::String(detail.to_string()));
        self
    }

    /// As an answer.
    pub fn into_answer(self) -> Answer {
        let error = json!({"code": self.code.as_str(), "message": self.message});
        let about = |detail| {
            let mut error = error.clone();
            error["detail"] = detail;
            error
        };
        let errors: Vec<Value> = match self.details.is_empty() {
            true => vec![error],
            false => self.details.into_iter().map(about).collect(),
        };
        answer::json(self.status, &json!({"errors": errors}))
    }
}

/// Without the storage's words: they name files.
impl From<&StorageError> for Refusal {
    fn from(error: &StorageError) -> Self {
        match error.is_full {
            true => {
                Refusal::new(Code::Unknown, "the registry's disk is full").with_status(StatusCode::INSUFFICIENT_STORAGE)
            }
            false => Refusal::new(Code::Unknown, "the registry's storage failed"),
        }
    }
}
