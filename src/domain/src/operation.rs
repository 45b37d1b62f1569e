//! Every operation of the HTTP API: its method, path, name and who may call it (DESIGN 9).
//!
//! [`OPERATIONS`] is the one table: requests are parsed by it, and `docs/openapi.json` is checked
//! against it in both directions. `/socket.io/` is not in it; that is [`crate::engine_request`].

use crate::command::Mark;
use crate::id::{DeadLetterId, NotificationId};
use crate::service_key::{Caller, Scope, ServiceKeyError};

/// What a request asks for. A text parameter is the path's segment as it came, percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Something everybody may know.
    Public(PublicOperation),
    /// Something a service asks for.
    Service(ServiceOperation<'a>),
    /// Something a user asks for, about themselves.
    User(UserOperation),
}

/// What everybody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicOperation {
    /// Is it up.
    Health,
    /// The description of all these operations.
    OpenApi,
}

/// What a service may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceOperation<'a> {
    /// Push a notification.
    Push,
    /// Push several.
    PushBatch,
    /// What became of a notification.
    Status(NotificationId),
    /// What became of it for each recipient.
    Recipients(NotificationId),
    /// Begin again the deliveries that failed for good.
    Retry(NotificationId),
    /// Cancel or retract.
    Retract(NotificationId),
    /// Messages of the queue that were not carried out.
    DeadLetters,
    /// Carry one of them out.
    ReplayDeadLetter(DeadLetterId),
    /// Forget one of them.
    DeleteDeadLetter(DeadLetterId),
    /// Send an event to whoever is online.
    EmitEvent,
    /// Put a user into a room.
    PutMember {
        /// The room.
        room: &'a str,
        /// The user's id.
        user: &'a str,
    },
    /// Take them out.
    DeleteMember {
        /// The room.
        room: &'a str,
        /// The user's id.
        user: &'a str,
    },
    /// Put many into this room and take many out.
    ChangeMembers(&'a str),
    /// Whether the user of this id is online.
    PresenceOfUser(&'a str),
    /// Which of many users are.
    QueryPresence,
    /// Who is online in this room.
    PresenceInRoom(&'a str),
    /// How many users are online.
    CountPresence,
    /// What the service measures of itself.
    Metrics,
    /// Store the template of this key.
    PutTemplate(&'a str),
    /// Read it.
    Template(&'a str),
    /// Delete it.
    DeleteTemplate(&'a str),
    /// Fill it in.
    RenderTemplate(&'a str),
    /// Store the type of this id.
    PutType(&'a str),
    /// Close the connections of the user of this id.
    DisconnectUser(&'a str),
    /// Everything there is about the user of this id.
    ExportUser(&'a str),
    /// Erase the user of this id.
    EraseUser(&'a str),
}

/// What a user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserOperation {
    /// The caller's inbox.
    List,
    /// Its counts.
    Counts,
    /// Do something with one item.
    Mark(NotificationId, Mark),
    /// Read everything.
    ReadAll,
    /// See everything up to an item.
    Seen,
    /// What the caller does not want.
    Preferences,
    /// Change it.
    PutPreferences,
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// A service with this scope.
    Service(Scope),
    /// A service that may push to somebody; to whom it may, the push itself decides.
    Pusher,
    /// A user, for themselves.
    User,
}

impl Access {
    /// Whether a service may call the operation.
    ///
    /// # Errors
    /// [`ServiceKeyError::Scope`] with a scope that it lacks; `None` when the operation is not a service's.
    pub fn check(self, caller: &Caller) -> Result<(), Option<ServiceKeyError>> {
        match self {
            Self::Public | Self::User => Err(None),
            Self::Service(scope) => caller.allows(scope).map_err(Some),
            Self::Pusher => caller
                .allows(Scope::PushRoom)
                .or_else(|_| caller.allows(Scope::PushBroadcast))
                .or_else(|_| caller.allows(Scope::PushUser))
                .map_err(Some),
        }
    }
}

/// One row of [`OPERATIONS`].
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The HTTP method, in capitals.
    pub method: &'static str,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// The `operationId` in `docs/openapi.json`.
    pub id: &'static str,
    /// Who may call it.
    pub access: Access,
    /// The operation, of the path's parameters in order; `None` when one of them names nothing.
    operation: for<'a> fn(&[&'a str]) -> Option<Operation<'a>>,
}

/// An operation together with its row.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// What is asked for.
    pub operation: Operation<'a>,
    /// Its row in [`OPERATIONS`].
    pub endpoint: &'static Endpoint,
}

/// Why a request asks for nothing there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is no such path.
    #[error("there is no such resource")]
    NotFound,
    /// The path has other methods: these, for the header `Allow`.
    #[error("the resource takes {}", .0.join(", "))]
    MethodNotAllowed(Vec<&'static str>),
}

impl<'a> Operation<'a> {
    /// The operation of a request, with its row. `segments` is the path split at its slashes, without the first.
    ///
    /// ```
    /// # use dormouse_domain::operation::{Operation, PublicOperation, RouteError};
    /// assert_eq!(Operation::parse("GET", &["healthz"])?.operation, Operation::Public(PublicOperation::Health));
    /// let refused = Operation::parse("PUT", &["v1", "notifications"]).map(|route| route.operation);
    /// assert_eq!(refused, Err(RouteError::MethodNotAllowed(vec!["POST"])));
    /// # Ok::<(), RouteError>(())
    /// ```
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn parse(method: &str, segments: &[&'a str]) -> Result<Route<'a>, RouteError> {
        let mut allowed = Vec::new();
        for endpoint in OPERATIONS {
            let Some(operation) = endpoint.matches(segments) else {
                continue;
            };
            if endpoint.method == method {
                return Ok(Route { operation, endpoint });
            }
            allowed.push(endpoint.method);
        }
        if allowed.is_empty() {
            Err(RouteError::NotFound)
        } else {
            Err(RouteError::MethodNotAllowed(allowed))
        }
    }
}

impl Endpoint {
    /// The operation, when its path is this one.
    fn matches<'a>(&self, segments: &[&'a str]) -> Option<Operation<'a>> {
        let expected = self.path.split('/').skip(1);
        if expected.clone().count() != segments.len() {
            return None;
        }
        let mut parameters = Vec::new();
        for (expected, segment) in expected.zip(segments) {
            if expected.starts_with('{') {
                parameters.push(*segment);
            } else if expected != *segment {
                return None;
            }
        }
        (self.operation)(&parameters)
    }
}

fn text<'a>(parameters: &[&'a str]) -> Option<&'a str> {
    parameters.first().copied()
}

fn named<'a>(
    parameters: &[&'a str],
    operation: impl FnOnce(&'a str) -> ServiceOperation<'a>,
) -> Option<Operation<'a>> {
    text(parameters).map(operation).map(Operation::Service)
}

fn member<'a>(
    parameters: &[&'a str],
    operation: impl FnOnce(&'a str, &'a str) -> ServiceOperation<'a>,
) -> Option<Operation<'a>> {
    match parameters {
        [room, user] => Some(Operation::Service(operation(room, user))),
        _ => None,
    }
}

fn about<'a>(
    parameters: &[&'a str],
    operation: impl FnOnce(NotificationId) -> ServiceOperation<'a>,
) -> Option<Operation<'a>> {
    notification(parameters).map(operation).map(Operation::Service)
}

fn dead<'a>(
    parameters: &[&'a str],
    operation: impl FnOnce(DeadLetterId) -> ServiceOperation<'a>,
) -> Option<Operation<'a>> {
    let id = DeadLetterId::parse(text(parameters)?).ok()?;
    Some(Operation::Service(operation(id)))
}

fn marking<'a>(parameters: &[&'a str], mark: Mark) -> Option<Operation<'a>> {
    let id = notification(parameters)?;
    Some(Operation::User(UserOperation::Mark(id, mark)))
}

fn notification(parameters: &[&str]) -> Option<NotificationId> {
    NotificationId::parse(text(parameters)?).ok()
}

/// All of them.
pub const OPERATIONS: &[Endpoint] = &[
    Endpoint {
        method: "GET",
        path: "/healthz",
        id: "getHealth",
        access: Access::Public,
        operation: |_| Some(Operation::Public(PublicOperation::Health)),
    },
    Endpoint {
        method: "GET",
        path: "/openapi.json",
        id: "getOpenApi",
        access: Access::Public,
        operation: |_| Some(Operation::Public(PublicOperation::OpenApi)),
    },
    Endpoint {
        method: "POST",
        path: "/v1/notifications",
        id: "pushNotification",
        access: Access::Pusher,
        operation: |_| Some(Operation::Service(ServiceOperation::Push)),
    },
    Endpoint {
        method: "POST",
        path: "/v1/notifications/batch",
        id: "pushNotificationBatch",
        access: Access::Pusher,
        operation: |_| Some(Operation::Service(ServiceOperation::PushBatch)),
    },
    Endpoint {
        method: "GET",
        path: "/v1/notifications/{id}",
        id: "getNotification",
        access: Access::Service(Scope::StatusRead),
        operation: |parameters| about(parameters, ServiceOperation::Status),
    },
    Endpoint {
        method: "DELETE",
        path: "/v1/notifications/{id}",
        id: "retractNotification",
        access: Access::Pusher,
        operation: |parameters| about(parameters, ServiceOperation::Retract),
    },
    Endpoint {
        method: "GET",
        path: "/v1/notifications/{id}/recipients",
        id: "listRecipients",
        access: Access::Service(Scope::StatusRead),
        operation: |parameters| about(parameters, ServiceOperation::Recipients),
    },
    Endpoint {
        method: "POST",
        path: "/v1/notifications/{id}/retry",
        id: "retryNotification",
        access: Access::Pusher,
        operation: |parameters| about(parameters, ServiceOperation::Retry),
    },
    Endpoint {
        method: "POST",
        path: "/v1/events",
        id: "emitEvent",
        access: Access::Service(Scope::EventsEmit),
        operation: |_| Some(Operation::Service(ServiceOperation::EmitEvent)),
    },
    Endpoint {
        method: "PUT",
        path: "/v1/rooms/{room}/members/{user}",
        id: "putMember",
        access: Access::Service(Scope::RoomsWrite),
        operation: |parameters| {
            member(parameters, |room, user| ServiceOperation::PutMember {
                room,
                user,
            })
        },
    },
    Endpoint {
        method: "DELETE",
        path: "/v1/rooms/{room}/members/{user}",
        id: "deleteMember",
        access: Access::Service(Scope::RoomsWrite),
        operation: |parameters| {
            member(parameters, |room, user| ServiceOperation::DeleteMember {
                room,
                user,
            })
        },
    },
    Endpoint {
        method: "POST",
        path: "/v1/rooms/{room}/members",
        id: "changeMembers",
        access: Access::Service(Scope::RoomsWrite),
        operation: |parameters| named(parameters, ServiceOperation::ChangeMembers),
    },
    Endpoint {
        method: "POST",
        path: "/v1/presence/query",
        id: "queryPresence",
        access: Access::Service(Scope::PresenceRead),
        operation: |_| Some(Operation::Service(ServiceOperation::QueryPresence)),
    },
    Endpoint {
        method: "GET",
        path: "/v1/presence/rooms/{room}",
        id: "listRoomPresence",
        access: Access::Service(Scope::PresenceRead),
        operation: |parameters| named(parameters, ServiceOperation::PresenceInRoom),
    },
    Endpoint {
        method: "GET",
        path: "/v1/presence/count",
        id: "countPresence",
        access: Access::Service(Scope::PresenceRead),
        operation: |_| Some(Operation::Service(ServiceOperation::CountPresence)),
    },
    Endpoint {
        method: "GET",
        path: "/v1/metrics",
        id: "getMetrics",
        access: Access::Service(Scope::StatusRead),
        operation: |_| Some(Operation::Service(ServiceOperation::Metrics)),
    },
    Endpoint {
        method: "GET",
        path: "/v1/dead-letters",
        id: "listDeadLetters",
        access: Access::Service(Scope::StatusRead),
        operation: |_| Some(Operation::Service(ServiceOperation::DeadLetters)),
    },
    Endpoint {
        method: "POST",
        path: "/v1/dead-letters/{id}/replay",
        id: "replayDeadLetter",
        access: Access::Pusher,
        operation: |parameters| dead(parameters, ServiceOperation::ReplayDeadLetter),
    },
    Endpoint {
        method: "DELETE",
        path: "/v1/dead-letters/{id}",
        id: "deleteDeadLetter",
        access: Access::Pusher,
        operation: |parameters| dead(parameters, ServiceOperation::DeleteDeadLetter),
    },
    Endpoint {
        method: "GET",
        path: "/v1/presence/users/{id}",
        id: "getUserPresence",
        access: Access::Service(Scope::PresenceRead),
        operation: |parameters| named(parameters, ServiceOperation::PresenceOfUser),
    },
    Endpoint {
        method: "PUT",
        path: "/v1/templates/{key}",
        id: "putTemplate",
        access: Access::Service(Scope::TemplatesWrite),
        operation: |parameters| named(parameters, ServiceOperation::PutTemplate),
    },
    Endpoint {
        method: "GET",
        path: "/v1/templates/{key}",
        id: "getTemplate",
        access: Access::Service(Scope::TemplatesWrite),
        operation: |parameters| named(parameters, ServiceOperation::Template),
    },
    Endpoint {
        method: "DELETE",
        path: "/v1/templates/{key}",
        id: "deleteTemplate",
        access: Access::Service(Scope::TemplatesWrite),
        operation: |parameters| named(parameters, ServiceOperation::DeleteTemplate),
    },
    Endpoint {
        method: "POST",
        path: "/v1/templates/{key}/render",
        id: "renderTemplate",
        access: Access::Service(Scope::TemplatesWrite),
        operation: |parameters| named(parameters, ServiceOperation::RenderTemplate),
    },
    Endpoint {
        method: "PUT",
        path: "/v1/types/{id}",
        id: "putType",
        access: Access::Service(Scope::TemplatesWrite),
        operation: |parameters| named(parameters, ServiceOperation::PutType),
    },
    Endpoint {
        method: "POST",
        path: "/v1/users/{id}/disconnect",
        id: "disconnectUser",
        access: Access::Service(Scope::UsersAdmin),
        operation: |parameters| named(parameters, ServiceOperation::DisconnectUser),
    },
    Endpoint {
        method: "GET",
        path: "/v1/users/{id}/export",
        id: "exportUser",
        access: Access::Service(Scope::UsersAdmin),
        operation: |parameters| named(parameters, ServiceOperation::ExportUser),
    },
    Endpoint {
        method: "DELETE",
        path: "/v1/users/{id}",
        id: "eraseUser",
        access: Access::Service(Scope::UsersAdmin),
        operation: |parameters| named(parameters, ServiceOperation::EraseUser),
    },
    Endpoint {
        method: "GET",
        path: "/v1/me/notifications",
        id: "listNotifications",
        access: Access::User,
        operation: |_| Some(Operation::User(UserOperation::List)),
    },
    Endpoint {
        method: "GET",
        path: "/v1/me/notifications/unread-count",
        id: "getCounts",
        access: Access::User,
        operation: |_| Some(Operation::User(UserOperation::Counts)),
    },
    Endpoint {
        method: "POST",
        path: "/v1/me/notifications/read-all",
        id: "readAllNotifications",
        access: Access::User,
        operation: |_| Some(Operation::User(UserOperation::ReadAll)),
    },
    Endpoint {
        method: "POST",
        path: "/v1/me/notifications/seen",
        id: "markNotificationsSeen",
        access: Access::User,
        operation: |_| Some(Operation::User(UserOperation::Seen)),
    },
    Endpoint {
        method: "DELETE",
        path: "/v1/me/notifications/{id}",
        id: "deleteNotification",
        access: Access::User,
        operation: |parameters| marking(parameters, Mark::Delete),
    },
    Endpoint {
        method: "POST",
        path: "/v1/me/notifications/{id}/read",
        id: "readNotification",
        access: Access::User,
        operation: |parameters| marking(parameters, Mark::Read),
    },
    Endpoint {
        method: "POST",
        path: "/v1/me/notifications/{id}/unread",
        id: "unreadNotification",
        access: Access::User,
        operation: |parameters| marking(parameters, Mark::Unread),
    },
    Endpoint {
        method: "POST",
        path: "/v1/me/notifications/{id}/archive",
        id: "archiveNotification",
        access: Access::User,
        operation: |parameters| marking(parameters, Mark::Archive),
    },
    Endpoint {
        method: "POST",
        path: "/v1/me/notifications/{id}/unarchive",
        id: "unarchiveNotification",
        access: Access::User,
        operation: |parameters| marking(parameters, Mark::Unarchive),
    },
    Endpoint {
        method: "GET",
        path: "/v1/me/preferences",
        id: "getPreferences",
        access: Access::User,
        operation: |_| Some(Operation::User(UserOperation::Preferences)),
    },
    Endpoint {
        method: "PUT",
        path: "/v1/me/preferences",
        id: "putPreferences",
        access: Access::User,
        operation: |_| Some(Operation::User(UserOperation::PutPreferences)),
    },
];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use serde_json::Value;

    use super::*;

    const ID: &str = "01929c3e-0000-7000-8000-000000000001";

    /// The path of an endpoint with a valid value for each parameter.
    fn sample(endpoint: &Endpoint) -> Vec<&'static str> {
        let segments = endpoint.path.split('/').skip(1);
        segments
            .map(|segment| if segment.starts_with('{') { ID } else { segment })
            .collect()
    }

    fn parse<'a>(method: &str, path: &'a str) -> Result<Operation<'a>, RouteError> {
        let segments: Vec<&'a str> = path.split('/').skip(1).collect();
        Operation::parse(method, &segments).map(|route| route.operation)
    }

    /// The plane and scope of an operation as `docs/openapi.json` says them.
    fn documented_access(access: Access) -> (&'static str, Option<&'static str>) {
        match access {
            Access::Public => ("public", None),
            Access::Service(scope) => ("service", Some(scope.name())),
            Access::Pusher => ("service", Some("push:user, push:room or push:broadcast")),
            Access::User => ("user", None),
        }
    }

    #[test]
    fn the_document_and_the_table_name_the_same_operations() {
        let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
        let mut documented = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                documented.push((
                    path.clone(),
                    method.to_uppercase(),
                    operation["operationId"].as_str().unwrap().to_owned(),
                    operation["x-plane"].as_str().unwrap().to_owned(),
                    operation["x-scope"].as_str().map(str::to_owned),
                ));
            }
        }
        let mut known: Vec<_> = OPERATIONS
            .iter()
            .map(|endpoint| {
                let (plane, scope) = documented_access(endpoint.access);
                (
                    endpoint.path.to_owned(),
                    endpoint.method.to_owned(),
                    endpoint.id.to_owned(),
                    plane.to_owned(),
                    scope.map(str::to_owned),
                )
            })
            .collect();
        documented.sort();
        known.sort();
        assert_eq!(documented, known);
    }

    #[test]
    fn each_row_is_parsed_to_an_operation_of_its_own() {
        let mut found: Vec<Operation<'_>> = Vec::new();
        for endpoint in OPERATIONS {
            let route = Operation::parse(endpoint.method, &sample(endpoint)).unwrap();
            assert_eq!(route.endpoint.id, endpoint.id);
            assert!(!found.contains(&route.operation), "{}", endpoint.id);
            found.push(route.operation);
        }
    }

    #[test]
    fn any_other_method_is_refused_and_the_ones_there_are_named() {
        for endpoint in OPERATIONS {
            let segments = sample(endpoint);
            let allowed: Vec<_> = OPERATIONS
                .iter()
                .filter(|other| other.path == endpoint.path)
                .map(|other| other.method)
                .collect();
            for method in [
                "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "",
            ] {
                let refused = Operation::parse(method, &segments).map(|route| route.operation);
                if !allowed.contains(&method) {
                    assert_eq!(refused, Err(RouteError::MethodNotAllowed(allowed.clone())));
                }
            }
        }
    }

    #[test]
    fn parameters_are_what_stands_in_their_place() {
        let id = NotificationId::parse(ID).unwrap();
        for (method, path, expected) in [
            ("GET", "/healthz", Ok(Operation::Public(PublicOperation::Health))),
            (
                "GET",
                "/v1/notifications/01929c3e-0000-7000-8000-000000000001",
                Ok(Operation::Service(ServiceOperation::Status(id))),
            ),
            (
                "GET",
                "/v1/users/u%201/export",
                Ok(Operation::Service(ServiceOperation::ExportUser("u%201"))),
            ),
            (
                "GET",
                "/v1/presence/users/",
                Ok(Operation::Service(ServiceOperation::PresenceOfUser(""))),
            ),
            (
                "PUT",
                "/v1/rooms/dept:a%20b/members/u1",
                Ok(Operation::Service(ServiceOperation::PutMember {
                    room: "dept:a%20b",
                    user: "u1",
                })),
            ),
            (
                "DELETE",
                "/v1/rooms/a/members",
                Err(RouteError::MethodNotAllowed(vec!["POST"])),
            ),
            (
                "POST",
                "/v1/templates/a/render",
                Ok(Operation::Service(ServiceOperation::RenderTemplate("a"))),
            ),
            ("GET", "/v1/notifications/x", Err(RouteError::NotFound)),
            ("POST", "/v1/notifications/x/retry", Err(RouteError::NotFound)),
            ("DELETE", "/v1/me/notifications/{id}", Err(RouteError::NotFound)),
            ("GET", "/", Err(RouteError::NotFound)),
            ("GET", "/v1/notifications/", Err(RouteError::NotFound)),
            ("GET", "/v1//notifications", Err(RouteError::NotFound)),
            ("GET", "/healthz/", Err(RouteError::NotFound)),
            ("GET", "/V1/me/notifications", Err(RouteError::NotFound)),
            (
                "GET",
                "/v1/notifications/batch",
                Err(RouteError::MethodNotAllowed(vec!["POST"])),
            ),
            (
                "PATCH",
                "/v1/templates/a",
                Err(RouteError::MethodNotAllowed(vec!["PUT", "GET", "DELETE"])),
            ),
        ] {
            assert_eq!(parse(method, path), expected, "{method} {path}");
        }
    }
}
