//! The HTTP API (DESIGN 9): the service plane for other services, the user plane for a user's own inbox.

pub(crate) mod dead_letters;
pub(crate) mod events;
pub(crate) mod me;
pub(crate) mod metrics;
pub(crate) mod notifications;
pub(crate) mod openapi;
pub(crate) mod presence;
pub(crate) mod rooms;
pub(crate) mod templates;
pub(crate) mod users;

use dormouse_domain::id::UserId;
use dormouse_domain::problem::{Code, Problem};
use worker::Url;

/// A query parameter's value, the first of the name.
fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

/// The user that a path names.
fn user_id(segment: &str) -> Result<UserId, Problem> {
    user_in(segment, "id")
}

/// The user that a path names in the place of `parameter`.
fn user_in(segment: &str, parameter: &'static str) -> Result<UserId, Problem> {
    percent_decoded(segment)
        .ok_or_else(|| EXPECTED_ENCODING.to_owned())
        .and_then(|text| UserId::parse(&text).map_err(|error| error.to_string()))
        .map_err(|reason| Problem::parameter(parameter, reason))
}

/// The name of a room in a path.
fn room_name(segment: &str) -> Result<String, Problem> {
    percent_decoded(segment).ok_or_else(|| Problem::new(Code::InvalidRoom).detail(EXPECTED_ENCODING))
}

const EXPECTED_ENCODING: &str = "expected percent-encoded UTF-8";

/// A path segment as the client meant it; `None` when it is not percent-encoded UTF-8.
pub(crate) fn percent_decoded(segment: &str) -> Option<String> {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}
