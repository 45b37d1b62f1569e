//! The handshake: what the server tells a client in the first packet.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Deserialize;

use super::ParseError;
use crate::text::push_json_string;

/// The data of an open packet: always these five keys, in this order.
///
/// A stock client throws without `upgrades` and times out at once without `pingInterval` or
/// `pingTimeout`; the sum of the two must stay within 2,147,483,647 ms, the longest timer of
/// JavaScript.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open<'a> {
    /// The id of the session; a credential.
    #[serde(borrow)]
    pub sid: Cow<'a, str>,
    /// The transports that the client may move to from the present one.
    pub upgrades: Vec<Transport>,
    /// Time from a pong to the next ping.
    #[serde(rename = "pingInterval")]
    pub ping_interval_ms: u64,
    /// Time in which a ping has to be answered.
    #[serde(rename = "pingTimeout")]
    pub ping_timeout_ms: u64,
    /// The longest payload or frame that the server takes.
    #[serde(rename = "maxPayload")]
    pub max_payload_bytes: u64,
}

impl<'a> Open<'a> {
    /// Parses the data of an open packet.
    ///
    /// # Errors
    ///
    /// [`ParseError::Open`] if it is not a JSON object with exactly the five keys and their types.
    ///
    /// ```
    /// use dormouse_protocol::engine::{Open, Transport};
    ///
    /// let open = Open::parse(
    ///     r#"{"sid":"s1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#,
    /// )?;
    /// assert_eq!(open.sid, "s1");
    /// assert_eq!(open.upgrades, [Transport::Websocket]);
    /// # Ok::<(), dormouse_protocol::engine::ParseError>(())
    /// ```
    pub fn parse(json: &'a str) -> Result<Self, ParseError> {
        serde_json::from_str(json).map_err(|error| ParseError::Open {
            column: error.column(),
        })
    }

    /// Encodes the data of an open packet.
    ///
    /// ```
    /// use dormouse_protocol::engine::{Open, Transport};
    ///
    /// let open = Open {
    ///     sid: "s1".into(),
    ///     upgrades: vec![Transport::Websocket],
    ///     ping_interval_ms: 25_000,
    ///     ping_timeout_ms: 20_000,
    ///     max_payload_bytes: 100_000,
    /// };
    /// assert_eq!(
    ///     open.encode(),
    ///     r#"{"sid":"s1","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#,
    /// );
    /// ```
    #[must_use]
    pub fn encode(&self) -> String {
        let Self {
            sid,
            upgrades,
            ping_interval_ms,
            ping_timeout_ms,
            max_payload_bytes,
        } = self;
        let mut json = String::from(r#"{"sid":"#);
        push_json_string(&mut json, sid);
        json.push_str(r#","upgrades":["#);
        for (index, transport) in upgrades.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            push_json_string(&mut json, transport.as_str());
        }
        json.push(']');
        for (key, value) in [
            ("pingInterval", ping_interval_ms),
            ("pingTimeout", ping_timeout_ms),
            ("maxPayload", max_payload_bytes),
        ] {
            json.push(',');
            push_json_string(&mut json, key);
            json.push(':');
            json.push_str(&value.to_string());
        }
        json.push('}');
        json
    }
}

/// A way to carry frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// One WebSocket.
    Websocket,
    /// One WebTransport session; Dormouse does not serve it.
    Webtransport,
}

impl Transport {
    /// The name in the query parameter `transport` and in `upgrades`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::Websocket => "websocket",
            Self::Webtransport => "webtransport",
        }
    }
}

impl FromStr for Transport {
    type Err = ParseError;

    /// Parses the query parameter `transport`.
    ///
    /// # Errors
    ///
    /// [`ParseError::UnknownTransport`] for any other name; names are in lower case.
    fn from_str(name: &str) -> Result<Self, ParseError> {
        match name {
            "polling" => Ok(Self::Polling),
            "websocket" => Ok(Self::Websocket),
            "webtransport" => Ok(Self::Webtransport),
            unknown => Err(ParseError::unknown_transport(unknown)),
        }
    }
}
