//! The wire codec: bytes to packets and back, for Engine.IO v4 and Socket.IO v5.
//!
//! In reading order, from the wire inwards:
//!
//! 1. [`payload`]: the body of an HTTP long-polling request, several text frames in one text.
//! 2. [`engine`]: one frame of the transport, text or binary, and the handshake.
//! 3. [`socket`]: the packets inside Engine.IO messages: namespaces, events, acks, binary
//!    attachments.
//!
//! What comes in is parsed as strictly as the reference implementation (`engine.io-parser` 5.2.3
//! and `socket.io-parser` 4.2.7) parses it; the few places where this crate is stricter are named
//! in the module documentation. No clock, randomness, configuration, I/O or async. Nothing here
//! panics on any input, recurses as deep as the input nests, or allocates more than a small
//! multiple of its input.
//!
//! ```
//! use dormouse_protocol::{engine, socket};
//!
//! let frame = r#"42/notifications,7["mark:all:read",{}]"#;
//! let engine::Packet::Message(text) = engine::Packet::parse_text(frame)? else {
//!     return Err("not a message".into());
//! };
//! let mut decoder = socket::Decoder::default();
//! let socket::Progress::Packet(packet) = decoder.text(&text)? else {
//!     return Err("attachments are due".into());
//! };
//! assert_eq!(packet.namespace.as_str(), "/notifications");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod payload;

pub mod engine;

pub mod socket;

mod text;
