//! What the official Engine.IO and Socket.IO protocol suites expect of a server: no authentication, two
//! namespaces, events that come back, short heartbeats. Only in a build for those suites.

use dormouse_protocol::engine::{Frame, Packet};
use dormouse_protocol::socket::{self, AckData, EventData, EventName, Json, Kind};
use serde::{Deserialize, Serialize};

use crate::auth::{Identity, Role};
use crate::config::{Config, Timing};
use crate::id::UserId;
use crate::namespace::Namespace;
use crate::time::Timestamp;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Socket.IO, at `/socket.io/`.
    Socket,
    /// Engine.IO alone, at `/engine.io/`: every message comes back.
    Engine,
}

/// What no setting says: a client that does not answer a ping in time is closed at once.
pub fn configure(config: &mut Config) {
    config.heartbeat.timing = Timing::Exact;
}

/// A user of this connection alone; `nonce` makes it unique.
#[must_use]
pub fn stranger(now: Timestamp, nonce: &str) -> Option<Identity> {
    Some(Identity {
        user: UserId::parse(nonce).ok()?,
        issued_at: None,
        expires_at: now.after_ms(24 * 60 * 60 * 1_000),
        departments: Vec::new(),
        role: Role::User,
    })
}

/// `message` comes back as `message-back`, `message-with-ack` as its ack, with the same arguments.
#[must_use]
pub fn echo(
    namespace: Namespace,
    ack_id: Option<u64>,
    data: &EventData<'_>,
    attachments: Vec<Vec<u8>>,
) -> Vec<Frame> {
    let EventName::Text(name) = data.name() else {
        return Vec::new();
    };
    let kind = match (name.as_ref(), ack_id) {
        ("message", _) => match EventData::new("message-back") {
            Ok(event) => Kind::Event {
                ack_id: None,
                data: Some(event.json_args(data.args())),
                attachments,
            },
            Err(_) => return Vec::new(),
        },
        ("message-with-ack", Some(_)) => Kind::Ack {
            ack_id,
            data: AckData::new().json_args(data.args()),
            attachments,
        },
        _ => return Vec::new(),
    };
    socket::Packet {
        namespace: namespace.wire(),
        kind,
    }
    .into_frames()
}

/// The event `auth` with the payload of CONNECT, sent after a namespace was joined.
#[must_use]
pub fn auth_frame(namespace: Namespace, payload: &str) -> Option<String> {
    let event = EventData::new("auth").ok()?.json_arg(&Json::new(payload).ok()?);
    Some(event.frame(&namespace.wire(), None))
}

/// What comes back on a connection that speaks Engine.IO alone.
#[must_use]
pub fn engine_echo(layer: Layer, packet: &Packet<'_>) -> Option<Frame> {
    match (layer, packet) {
        (Layer::Engine, Packet::Message(_) | Packet::Binary(_)) => Some(packet.clone().encode()),
        (Layer::Engine | Layer::Socket, _) => None,
    }
}
