//! What a client asks of its connection at the handshake, in the query or in `auth`.

use serde::{Deserialize, Serialize};

use crate::case::PayloadCase;

/// What a client asks for at the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// `ack=on`.
    pub acknowledging: Acknowledging,
    /// `recovery=off`, or the service's own setting.
    pub recovery: Recovery,
    /// `keepalive=client`.
    pub keepalive: Keepalive,
    /// `b64=1`.
    pub binary: Binary,
    /// `case=camel`, or the service's own setting.
    #[serde(default)]
    pub case: PayloadCase,
    /// Which protocol it speaks.
    #[cfg(feature = "conformance")]
    pub layer: crate::conformance::Layer,
}

/// Whether the session answers `notification:new` with `notification:acknowledge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledging {
    /// It said `ack=on`, or has acknowledged before.
    Yes,
    /// Nothing is known.
    Unknown,
}

/// Whether a client takes part in connection state recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// It gets a `pid`, and every event ends with an offset.
    On,
    /// It gets neither.
    Off,
}

/// How a client takes binary packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binary {
    /// In binary frames, where the transport has them.
    Frames,
    /// As base64 text on every transport.
    Base64,
}

/// Who is to keep a connection alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keepalive {
    /// The server, by pings.
    Server,
    /// The client, by the event `ping`.
    Client,
}
