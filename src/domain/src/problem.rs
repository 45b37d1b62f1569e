//! What a caller over HTTP is told when a request is refused: `application/problem+json` (RFC 9457).

use serde::Serialize;

use crate::auth::AuthError;
use crate::push::Mistake;
use crate::service_key::ServiceKeyError;

/// Most mistakes named in one problem.
pub const MAX_MISTAKES: usize = 100;

/// Every refusal of the HTTP API. The code is stable: clients branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The body is not JSON.
    MalformedJson,
    /// The body has a field this endpoint does not know.
    UnknownField,
    /// A field's value is not allowed.
    InvalidRequest,
    /// No recipient can be addressed.
    InvalidRecipient,
    /// No type has the id that is named.
    UnknownType,
    /// No template has the key or the version that is named.
    UnknownTemplate,
    /// The `Idempotency-Key` is not 1 to 255 visible ASCII characters.
    InvalidIdempotencyKey,
    /// The `Idempotency-Key` was used for another body.
    IdempotencyMismatch,
    /// A query parameter is not allowed.
    InvalidParameter,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The body is larger than is read.
    PayloadTooLarge,
    /// No credential was given.
    Unauthenticated,
    /// The credential is not valid.
    InvalidCredential,
    /// The credential lacks a scope.
    Forbidden,
    /// There is no such resource.
    NotFound,
    /// The resource has no such method.
    MethodNotAllowed,
    /// The service is not configured; the operator's log says what is wrong.
    Misconfigured,
    /// The record or a user's object could not be reached; nothing was done.
    Unavailable,
}

impl Code {
    /// HTTP status, stable code and title.
    #[must_use]
    pub const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (400, "malformed_json", "The body is not well-formed JSON"),
            Self::UnknownField => (400, "unknown_field", "The body has unknown fields"),
            Self::InvalidRequest => (422, "invalid_request", "The request is not valid"),
            Self::InvalidRecipient => (422, "invalid_recipient", "Invalid recipient"),
            Self::UnknownType => (422, "unknown_type", "There is no such notification type"),
            Self::UnknownTemplate => (422, "unknown_template", "There is no such template"),
            Self::InvalidIdempotencyKey => {
                (400, "invalid_idempotency_key", "The Idempotency-Key is not valid")
            }
            Self::IdempotencyMismatch => (
                422,
                "idempotency_mismatch",
                "This Idempotency-Key was used with another body",
            ),
            Self::InvalidParameter => (400, "invalid_parameter", "A query parameter is not valid"),
            Self::UnsupportedMediaType => {
                (415, "unsupported_media_type", "The body must be application/json")
            }
            Self::PayloadTooLarge => (413, "payload_too_large", "The body is too large"),
            Self::Unauthenticated => (401, "unauthenticated", "A credential is needed"),
            Self::InvalidCredential => (401, "invalid_credential", "The credential is not valid"),
            Self::Forbidden => (403, "forbidden", "The credential does not allow this"),
            Self::NotFound => (404, "not_found", "There is no such resource"),
            Self::MethodNotAllowed => (405, "method_not_allowed", "The resource has no such method"),
            Self::Misconfigured => (500, "misconfigured", "The service is not configured"),
            Self::Unavailable => (503, "unavailable", "The request could not be carried out"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.parts().0
    }
}

/// A problem body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `/problems/` and the code with hyphens.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    /// The stable code.
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Mistake>,
}

impl Problem {
    /// The problem of `code` alone.
    #[must_use]
    pub fn new(code: Code) -> Self {
        let (status, name, title) = code.parts();
        Self {
            kind: format!("/problems/{}", name.replace('_', "-")),
            title,
            status,
            code: name,
            detail: None,
            errors: Vec::new(),
        }
    }

    /// The same with a sentence about this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with every mistake named, up to [`MAX_MISTAKES`]: a body of nothing but mistakes is not
    /// answered with one many times its size.
    #[must_use]
    pub fn errors(mut self, mut errors: Vec<Mistake>) -> Self {
        errors.truncate(MAX_MISTAKES);
        self.errors = errors;
        self
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = match error {
            AuthError::Missing => Code::Unauthenticated,
            AuthError::TooLong(_)
            | AuthError::Malformed
            | AuthError::Algorithm
            | AuthError::Signature
            | AuthError::Expired
            | AuthError::NotYetValid
            | AuthError::Claim(_)
            | AuthError::UserMismatch => Code::InvalidCredential,
        };
        Self::new(code).detail(format!("{}: {error}", error.code()))
    }
}

impl From<ServiceKeyError> for Problem {
    fn from(error: ServiceKeyError) -> Self {
        let code = match error {
            ServiceKeyError::Missing => Code::Unauthenticated,
            ServiceKeyError::Unknown => Code::InvalidCredential,
            ServiceKeyError::Scope(_) => Code::Forbidden,
        };
        Self::new(code).detail(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    #[test]
    fn a_body_of_nothing_but_mistakes_has_the_first_hundred_named() {
        let mistake = Mistake {
            pointer: "/x".to_owned(),
            detail: "no".to_owned(),
        };
        let problem = Problem::new(Code::UnknownField).errors(vec![mistake; 1_000]);
        assert_eq!(problem.errors.len(), MAX_MISTAKES);
    }

    #[test]
    fn a_problem_has_the_documented_shape() {
        let problem = Problem::new(Code::InvalidRecipient).errors(vec![Mistake {
            pointer: "/to/0".to_owned(),
            detail: "expected user:ID".to_owned(),
        }]);
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"/problems/invalid-recipient","title":"Invalid recipient","status":422,"code":"invalid_recipient","errors":[{"pointer":"/to/0","detail":"expected user:ID"}]}"#
        );
    }
}
