//! Why the service refuses, however it was asked (DESIGN 11). Here stands what a client is told of each error, in a
//! CONNECT_ERROR, an acknowledgement or `error` event, and a problem document; the texts are those of the errors.

use dormouse_protocol::socket::{Json, Namespace, connect_error_frame};
use serde::Serialize;

use crate::auth::AuthError;
use crate::event::EventError;
use crate::limit::AdmissionError;
use crate::page::PageError;
use crate::problem::{Code, Problem};
use crate::service_key::ServiceKeyError;

/// Why the service refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketNotificationError {
    /// A user is not known to be who they say.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A service is not known, or may not do what it asks for.
    #[error(transparent)]
    Service(#[from] ServiceKeyError),
    /// A user has too many connections.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// A client's event is not carried out.
    #[error(transparent)]
    Event(#[from] EventError),
    /// There is no such page of a list.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// What is told of an error, besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The `message` of a CONNECT_ERROR, by which clients branch.
    pub class: &'static str,
    /// The code in a CONNECT_ERROR's `data`, an acknowledgement and an `error` event.
    pub code: &'static str,
    /// The code of a problem document, with its HTTP status.
    pub problem: Code,
    /// Seconds after which it may be tried again, where that is known.
    pub retry_after_s: Option<u64>,
}

impl SocketNotificationError {
    /// What is told of it: the one mapping from errors to answers.
    #[must_use]
    pub const fn told(&self) -> Told {
        match self {
            Self::Auth(error)
            | Self::Service(ServiceKeyError::Token(error))
            | Self::Event(EventError::Token(error)) => Told {
                class: "Authentication failed",
                code: error.code(),
                problem: match error {
                    AuthError::Missing => Code::Unauthenticated,
                    AuthError::KeysUnavailable => Code::Unavailable,
                    AuthError::TooLong(_)
                    | AuthError::Malformed
                    | AuthError::Algorithm
                    | AuthError::Critical
                    | AuthError::UnknownKey
                    | AuthError::Signature
                    | AuthError::Expired
                    | AuthError::NotYetValid
                    | AuthError::Claim(_)
                    | AuthError::Revoked
                    | AuthError::UserMismatch => Code::InvalidCredential,
                },
                retry_after_s: None,
            },
            Self::Service(error) => {
                let (code, problem) = match error {
                    ServiceKeyError::Missing => ("MISSING_TOKEN", Code::Unauthenticated),
                    ServiceKeyError::Scope(_) => ("FORBIDDEN", Code::Forbidden),
                    ServiceKeyError::Unknown | ServiceKeyError::Invalid | ServiceKeyError::Token(_) => {
                        ("INVALID_TOKEN", Code::InvalidCredential)
                    }
                };
                Told {
                    class: "Authentication failed",
                    code,
                    problem,
                    retry_after_s: None,
                }
            }
            Self::Admission(error) => Told {
                class: "Too many connections",
                code: error.code(),
                problem: Code::RateLimited,
                retry_after_s: Some(error.retry_after_s()),
            },
            Self::Event(error) => Told {
                class: "Server error",
                code: error.code(),
                problem: match error {
                    EventError::Unknown(_) | EventError::Payload { .. } => Code::InvalidRequest,
                    EventError::Forbidden => Code::Forbidden,
                    EventError::NotFound => Code::NotFound,
                    EventError::RateLimited { .. } => Code::RateLimited,
                    EventError::Token(_) => Code::InvalidCredential,
                    EventError::Server => Code::Unavailable,
                },
                retry_after_s: match error {
                    EventError::RateLimited { retry_after_s } => Some(*retry_after_s),
                    EventError::Unknown(_)
                    | EventError::Payload { .. }
                    | EventError::Forbidden
                    | EventError::NotFound
                    | EventError::Token(_)
                    | EventError::Server => None,
                },
            },
            Self::Page(_) => Told {
                class: "Server error",
                code: "INVALID_PAYLOAD",
                problem: Code::InvalidParameter,
                retry_after_s: None,
            },
        }
    }

    /// The CONNECT_ERROR that a client gets instead of a namespace (DESIGN 3.4).
    #[must_use]
    pub fn connect_error(&self, namespace: &Namespace<'_>) -> String {
        #[derive(Serialize)]
        struct Data {
            code: &'static str,
            message: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_after: Option<u64>,
        }
        let Told {
            class,
            code,
            retry_after_s,
            ..
        } = self.told();
        let data = Json::encode(&Data {
            code,
            message: self.to_string(),
            retry_after: retry_after_s,
        });
        connect_error_frame(namespace, class, data.ok().as_ref())
    }

    /// The problem document that a caller over HTTP gets.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let Told { code, problem, .. } = self.told();
        match self {
            Self::Page(error) => Problem::parameter(error.parameter(), error.to_string()),
            Self::Auth(_) | Self::Service(ServiceKeyError::Token(_)) => {
                Problem::new(problem).detail(format!("{code}: {self}"))
            }
            Self::Service(_) | Self::Admission(_) | Self::Event(_) => {
                Problem::new(problem).detail(self.to_string())
            }
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        SocketNotificationError::from(error).problem()
    }
}

impl From<ServiceKeyError> for Problem {
    fn from(error: ServiceKeyError) -> Self {
        SocketNotificationError::from(error).problem()
    }
}

impl From<AdmissionError> for Problem {
    fn from(error: AdmissionError) -> Self {
        SocketNotificationError::from(error).problem()
    }
}

impl From<PageError> for Problem {
    fn from(error: PageError) -> Self {
        SocketNotificationError::from(error).problem()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_asking_is_told_the_same() {
        let namespace = crate::namespace::Namespace::Notifications.wire();
        let cases: [(SocketNotificationError, &str, u16); 8] = [
            (
                AuthError::Missing.into(),
                r#"44/notifications,{"message":"Authentication failed","data":{"code":"MISSING_TOKEN","message":"no token was given"}}"#,
                401,
            ),
            (
                AuthError::Expired.into(),
                r#"44/notifications,{"message":"Authentication failed","data":{"code":"EXPIRED_TOKEN","message":"the token has expired"}}"#,
                401,
            ),
            (
                ServiceKeyError::Token(AuthError::KeysUnavailable).into(),
                r#"44/notifications,{"message":"Authentication failed","data":{"code":"SERVER_ERROR","message":"the issuer's keys can't be had at the moment"}}"#,
                503,
            ),
            (
                ServiceKeyError::Unknown.into(),
                r#"44/notifications,{"message":"Authentication failed","data":{"code":"INVALID_TOKEN","message":"the service key is not known"}}"#,
                401,
            ),
            (
                AdmissionError::Banned { retry_after_s: 7 }.into(),
                r#"44/notifications,{"message":"Too many connections","data":{"code":"BANNED","message":"the user has tried to open too many connections","retry_after":7}}"#,
                429,
            ),
            (
                EventError::RateLimited { retry_after_s: 9 }.into(),
                r#"44/notifications,{"message":"Server error","data":{"code":"RATE_LIMITED","message":"at most 1000 events a minute are taken","retry_after":9}}"#,
                429,
            ),
            (
                EventError::Token(AuthError::UserMismatch).into(),
                r#"44/notifications,{"message":"Authentication failed","data":{"code":"USER_MISMATCH","message":"the connection's tokens name different users"}}"#,
                401,
            ),
            (
                EventError::NotFound.into(),
                r#"44/notifications,{"message":"Server error","data":{"code":"NOT_FOUND","message":"no such notification"}}"#,
                404,
            ),
        ];
        for (error, frame, status) in cases {
            assert_eq!(error.connect_error(&namespace), frame);
            assert_eq!(error.problem().status(), status, "{error}");
        }
    }
}
