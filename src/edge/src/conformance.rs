//! What differs in the build for the official protocol suites: nobody is asked who they are, and
//! `/engine.io/` sends every message back.

use dormouse_domain::auth::{AuthError, Identity};
use dormouse_domain::conformance::{Layer, auth_frame, stranger};
use dormouse_domain::namespace::Namespace;
use dormouse_domain::wishes::Wishes;
use worker::Result;

use crate::sockets::Connection;
use crate::{clock, entropy};

/// A user of this connection alone.
pub(crate) fn identify() -> Result<std::result::Result<Identity, AuthError>> {
    Ok(stranger(clock::now(), &entropy::sid()?).ok_or(AuthError::Missing))
}

/// The wishes of a connection to this path.
pub(crate) fn wishes(wishes: Wishes, path: &str) -> Wishes {
    let layer = if path.starts_with("/engine.io/") {
        Layer::Engine
    } else {
        Layer::Socket
    };
    Wishes { layer, ..wishes }
}

/// Sends back what a client said in CONNECT.
pub(crate) fn greet(connection: &Connection, namespace: Namespace, auth: &str) {
    if let Some(frame) = auth_frame(namespace, auth) {
        connection.send(&frame);
    }
}
