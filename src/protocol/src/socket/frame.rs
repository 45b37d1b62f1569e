//! What a server sends, as whole Engine.IO text frames: one allocation each, the data copied once.

use super::head::{PacketType, Parts};
use super::{AckData, EventData, Json, Namespace};
use crate::text::push_json_string;

impl EventData<'_> {
    /// Makes the frame of the event for a namespace; with an ack id, the receiver is asked to
    /// answer.
    ///
    /// For an event with attachments, see [`Packet::into_frames`](super::Packet::into_frames).
    #[must_use]
    pub fn frame(&self, namespace: &Namespace<'_>, ack_id: Option<u64>) -> String {
        frame(PacketType::Event, namespace, ack_id, self.as_str())
    }
}

impl AckData<'_> {
    /// Makes the frame that answers the event with this ack id.
    ///
    /// For an ack with attachments, see [`Packet::into_frames`](super::Packet::into_frames).
    #[must_use]
    pub fn frame(&self, namespace: &Namespace<'_>, ack_id: u64) -> String {
        frame(PacketType::Ack, namespace, Some(ack_id), self.as_str())
    }
}

/// Makes the frame that tells a client it joined the namespace.
///
/// `sid` is the id of the Socket.IO session, which is public: never the one of the Engine.IO
/// session. `pid`, a credential, lets a stock client ask for recovery.
///
/// ```
/// use dormouse_protocol::socket::{Namespace, connect_frame};
///
/// assert_eq!(connect_frame(&Namespace::ROOT, "s1", None), r#"40{"sid":"s1"}"#);
/// let chat = Namespace::new("/chat")?;
/// assert_eq!(connect_frame(&chat, "s1", Some("p1")), r#"40/chat,{"sid":"s1","pid":"p1"}"#);
/// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
/// ```
#[must_use]
pub fn connect_frame(namespace: &Namespace<'_>, sid: &str, pid: Option<&str>) -> String {
    let mut payload = String::from(r#"{"sid":"#);
    push_json_string(&mut payload, sid);
    if let Some(pid) = pid {
        payload.push_str(r#","pid":"#);
        push_json_string(&mut payload, pid);
    }
    payload.push('}');
    frame(PacketType::Connect, namespace, None, &payload)
}

/// Makes the frame that refuses a namespace; a stock client then gives this namespace up for good.
///
/// ```
/// use dormouse_protocol::socket::{Namespace, connect_error_frame};
///
/// assert_eq!(
///     connect_error_frame(&Namespace::new("/x")?, "Invalid namespace", None),
///     r#"44/x,{"message":"Invalid namespace"}"#,
/// );
/// # Ok::<(), dormouse_protocol::socket::EncodeError>(())
/// ```
#[must_use]
pub fn connect_error_frame(namespace: &Namespace<'_>, message: &str, data: Option<&Json<'_>>) -> String {
    let mut payload = String::from(r#"{"message":"#);
    push_json_string(&mut payload, message);
    if let Some(data) = data {
        payload.push_str(r#","data":"#);
        payload.push_str(data.as_str());
    }
    payload.push('}');
    frame(PacketType::ConnectError, namespace, None, &payload)
}

/// Makes the frame with which the server leaves the namespace; a stock client does not come back by
/// itself.
///
/// ```
/// use dormouse_protocol::socket::{Namespace, disconnect_frame};
///
/// assert_eq!(disconnect_frame(&Namespace::ROOT), "41");
/// ```
#[must_use]
pub fn disconnect_frame(namespace: &Namespace<'_>) -> String {
    frame(PacketType::Disconnect, namespace, None, "")
}

fn frame(packet_type: PacketType, namespace: &Namespace<'_>, ack_id: Option<u64>, json: &str) -> String {
    Parts {
        packet_type,
        attachments: 0,
        namespace,
        ack_id,
        json,
    }
    .frame()
}
