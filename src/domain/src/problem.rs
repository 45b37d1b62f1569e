//! What a caller over HTTP is told when a request is refused: `application/problem+json` (RFC 9457).

use serde::{Serialize, Serializer};

use crate::json_object::Mistake;

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
    /// The path names no room, or one that this can't be done with.
    InvalidRoom,
    /// Somebody is in as many rooms as one can be.
    TooManyRooms,
    /// The event has a name that services may not use.
    ReservedEvent,
    /// No type has this id.
    UnknownType,
    /// No template has this key, or not this version of it.
    UnknownTemplate,
    /// The `Idempotency-Key` is not 1 to 255 visible ASCII characters.
    InvalidIdempotencyKey,
    /// The `Idempotency-Key` was used for another body.
    IdempotencyMismatch,
    /// The `Idempotency-Key` stands for a push that was erased since.
    Gone,
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
    /// Too many requests came; after a minute some are taken again.
    RateLimited,
    /// The service is not configured; the operator's log says what is wrong.
    Misconfigured,
    /// The record or a user's object could not be reached; nothing was done.
    Unavailable,
    /// A push of the queue could not be carried out in any of its attempts.
    RetriesExhausted,
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
            Self::InvalidRoom => (422, "invalid_room", "Invalid room"),
            Self::TooManyRooms => (422, "too_many_rooms", "Nobody is in so many rooms"),
            Self::ReservedEvent => (422, "reserved_event", "The name of the event is reserved"),
            Self::UnknownType => (422, "unknown_type", "There is no such type"),
            Self::UnknownTemplate => (422, "unknown_template", "There is no such template"),
            Self::InvalidIdempotencyKey => {
                (400, "invalid_idempotency_key", "The Idempotency-Key is not valid")
            }
            Self::IdempotencyMismatch => (
                422,
                "idempotency_mismatch",
                "This Idempotency-Key was used with another body",
            ),
            Self::Gone => (410, "gone", "What this Idempotency-Key stands for was erased"),
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
            Self::RateLimited => (429, "rate_limited", "Too many requests"),
            Self::Misconfigured => (500, "misconfigured", "The service is not configured"),
            Self::Unavailable => (503, "unavailable", "The request could not be carried out"),
            Self::RetriesExhausted => (
                503,
                "retries_exhausted",
                "No attempt to carry it out was successful",
            ),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.parts().0
    }
}

/// A problem body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
    /// The path of the request.
    instance: Option<String>,
    /// Names the request in the service's log.
    request_id: Option<String>,
    errors: Vec<Fault>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            /// `/problems/` and the code with hyphens.
            #[serde(rename = "type")]
            kind: String,
            title: &'static str,
            status: u16,
            code: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            instance: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'a str>,
            #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
            errors: &'a [Fault],
        }
        let (status, code, title) = self.code.parts();
        let body = Body {
            kind: format!("/problems/{}", code.replace('_', "-")),
            title,
            status,
            code,
            detail: self.detail.as_deref(),
            instance: self.instance.as_deref(),
            request_id: self.request_id.as_deref(),
            errors: &self.errors,
        };
        body.serialize(serializer)
    }
}

/// One thing that is wrong, by its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Fault {
    Body(Mistake),
    Parameter { parameter: &'static str, detail: String },
}

impl Problem {
    /// The problem of `code` alone.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            instance: None,
            request_id: None,
            errors: Vec::new(),
        }
    }

    /// The same as the answer to one request: its path and its id.
    #[must_use]
    pub fn of_request(mut self, path: &str, request_id: &str) -> Self {
        self.instance = Some(path.to_owned());
        self.request_id = Some(request_id.to_owned());
        self
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
        self.errors = errors.into_iter().map(Fault::Body).collect();
        self
    }

    /// [`Code::InvalidParameter`], naming the parameter and what was expected of it.
    #[must_use]
    pub fn parameter(parameter: &'static str, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(Code::InvalidParameter);
        problem.errors.push(Fault::Parameter {
            parameter,
            detail: detail.into(),
        });
        problem
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.code.status()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use serde_json::Value;

    use super::*;

    /// The code after `code`, in the order they are declared; `None` after the last.
    fn next(code: Code) -> Option<Code> {
        Some(match code {
            Code::MalformedJson => Code::UnknownField,
            Code::UnknownField => Code::InvalidRequest,
            Code::InvalidRequest => Code::InvalidRecipient,
            Code::InvalidRecipient => Code::InvalidRoom,
            Code::InvalidRoom => Code::TooManyRooms,
            Code::TooManyRooms => Code::ReservedEvent,
            Code::ReservedEvent => Code::UnknownType,
            Code::UnknownType => Code::UnknownTemplate,
            Code::UnknownTemplate => Code::InvalidIdempotencyKey,
            Code::InvalidIdempotencyKey => Code::IdempotencyMismatch,
            Code::IdempotencyMismatch => Code::Gone,
            Code::Gone => Code::InvalidParameter,
            Code::InvalidParameter => Code::UnsupportedMediaType,
            Code::UnsupportedMediaType => Code::PayloadTooLarge,
            Code::PayloadTooLarge => Code::Unauthenticated,
            Code::Unauthenticated => Code::InvalidCredential,
            Code::InvalidCredential => Code::Forbidden,
            Code::Forbidden => Code::NotFound,
            Code::NotFound => Code::MethodNotAllowed,
            Code::MethodNotAllowed => Code::RateLimited,
            Code::RateLimited => Code::Misconfigured,
            Code::Misconfigured => Code::Unavailable,
            Code::Unavailable => Code::RetriesExhausted,
            Code::RetriesExhausted => return None,
        })
    }

    #[test]
    fn every_code_is_documented_and_no_other() {
        let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
        let components = &document["components"];
        let listed = components["schemas"]["ProblemCode"]["enum"].as_array().unwrap();
        let mut documented: Vec<&str> = listed.iter().map(|code| code.as_str().unwrap()).collect();
        let codes: Vec<Code> = std::iter::successors(Some(Code::MalformedJson), |code| next(*code)).collect();
        let mut known: Vec<&str> = codes.iter().map(|code| code.parts().1).collect();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known);
    }

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
    fn a_wrong_parameter_is_named() {
        assert_eq!(
            serde_json::to_string(&Problem::from(crate::page::PageError::Limit)).unwrap(),
            r#"{"type":"/problems/invalid-parameter","title":"A query parameter is not valid","status":400,"code":"invalid_parameter","errors":[{"parameter":"limit","detail":"limit must be a whole number from 1 to 100"}]}"#
        );
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
