//! Socket.IO messages.

use dormouse_protocol::engine::Frame;
use dormouse_protocol::socket::{
    self, AckData, ConnectErrorPayload, Decoder, EventData, EventName, Json, Kind, Namespace, Object, Packet,
    Progress,
};
use serde::Deserialize;

use super::{Wire, bytes, check, same};

#[derive(Deserialize)]
struct Vectors {
    accepted: Vec<AcceptedRow>,
    refused: Vec<RefusedRow>,
}

#[derive(Deserialize)]
struct AcceptedRow {
    name: String,
    messages: Vec<Wire>,
    packet: PacketVector,
    #[serde(default)]
    one_way: bool,
}

#[derive(Deserialize)]
struct RefusedRow {
    name: String,
    messages: Vec<Wire>,
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
enum PacketVector {
    Connect {
        namespace: String,
        payload: Option<String>,
    },
    Disconnect {
        namespace: String,
    },
    Event {
        namespace: String,
        ack_id: Option<String>,
        event: Option<String>,
        number: Option<String>,
        #[serde(default)]
        args: Vec<String>,
        attachments: Vec<String>,
    },
    Ack {
        namespace: String,
        ack_id: Option<String>,
        args: Vec<String>,
        attachments: Vec<String>,
    },
    ConnectError {
        namespace: String,
        payload: Option<String>,
    },
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../../tests/vectors/socket.json")).unwrap()
}

fn kind(error: &socket::ParseError) -> &'static str {
    match error {
        socket::ParseError::Empty => "empty",
        socket::ParseError::UnknownType(_) => "unknown_type",
        socket::ParseError::IllegalAttachments(_) => "illegal_attachments",
        socket::ParseError::TooManyAttachments { .. } => "too_many_attachments",
        socket::ParseError::IllegalAckId(_) => "illegal_ack_id",
        socket::ParseError::NotJson { .. } => "not_json",
        socket::ParseError::WrongPayload { .. } => "wrong_payload",
        socket::ParseError::ReservedEvent(_) => "reserved_event",
        socket::ParseError::UnexpectedText { .. } => "unexpected_text",
        socket::ParseError::UnexpectedBinary { .. } => "unexpected_binary",
        socket::ParseError::IllegalPlaceholder { .. } => "illegal_placeholder",
    }
}

fn take<'a>(decoder: &mut Decoder, message: &'a Frame) -> Result<Progress<'a>, String> {
    match message {
        Frame::Text(text) => decoder.text(text),
        Frame::Binary(data) => decoder.binary(data.as_slice()),
    }
    .map_err(|error| kind(&error).to_owned())
}

fn texts<'j>(args: impl Iterator<Item = Json<'j>>) -> Vec<String> {
    args.map(|json| json.as_str().to_owned()).collect()
}

fn check_packet(packet: &Packet<'_>, wanted: &PacketVector) -> Result<(), String> {
    let (PacketVector::Connect { namespace, .. }
    | PacketVector::Disconnect { namespace }
    | PacketVector::Event { namespace, .. }
    | PacketVector::Ack { namespace, .. }
    | PacketVector::ConnectError { namespace, .. }) = wanted;
    same("namespace", &packet.namespace.as_str(), &namespace.as_str())?;
    match (&packet.kind, wanted) {
        (Kind::Connect { payload }, PacketVector::Connect { payload: wanted, .. }) => same(
            "payload",
            &payload.as_ref().map(Object::as_str),
            &wanted.as_deref(),
        ),
        (Kind::Disconnect, PacketVector::Disconnect { .. }) => Ok(()),
        (Kind::Event { .. }, PacketVector::Event { .. }) | (Kind::Ack { .. }, PacketVector::Ack { .. }) => {
            check_data(&packet.kind, wanted)
        }
        (Kind::ConnectError { payload }, PacketVector::ConnectError { payload: wanted, .. }) => {
            let payload = payload.as_ref().map(ConnectErrorPayload::as_str);
            same("payload", &payload, &wanted.as_deref())
        }
        (kind, _) => Err(format!("is {kind:?}")),
    }
}

fn check_data(kind: &Kind<'_>, wanted: &PacketVector) -> Result<(), String> {
    let (got, wanted) = (facts(kind), wanted_facts(wanted)?);
    same("ack id", &got.ack_id, &wanted.ack_id)?;
    same("name", &got.name, &wanted.name)?;
    same("args", &got.args, &wanted.args)?;
    same("args by index", &got.args_by_index, &wanted.args_by_index)?;
    same("attachments", &got.attachments, &wanted.attachments)
}

/// What an event or ack says.
#[derive(Default)]
struct Facts<'a> {
    ack_id: Option<String>,
    name: Option<EventName<'a>>,
    args: Vec<String>,
    args_by_index: Vec<String>,
    attachments: Vec<Vec<u8>>,
}

fn facts<'k>(kind: &'k Kind<'_>) -> Facts<'k> {
    match kind {
        Kind::Event {
            ack_id,
            data,
            attachments,
        } => Facts {
            ack_id: ack_id.map(|id| id.to_string()),
            name: data.as_ref().map(EventData::name),
            args: data.as_ref().map(|data| texts(data.args())).unwrap_or_default(),
            args_by_index: texts((0..).map_while(|at| data.as_ref()?.arg_at(at))),
            attachments: attachments.clone(),
        },
        Kind::Ack {
            ack_id,
            data,
            attachments,
        } => Facts {
            ack_id: ack_id.map(|id| id.to_string()),
            name: None,
            args: texts(data.args()),
            args_by_index: texts((0..).map_while(|at| data.arg_at(at))),
            attachments: attachments.clone(),
        },
        Kind::Connect { .. } | Kind::Disconnect | Kind::ConnectError { .. } => Facts::default(),
    }
}

fn wanted_facts(vector: &PacketVector) -> Result<Facts<'_>, String> {
    let (ack_id, name, args, attachments) = match vector {
        PacketVector::Event {
            ack_id,
            event,
            number,
            args,
            attachments,
            ..
        } => {
            let name = match (event, number) {
                (Some(text), None) => Some(EventName::Text(text.into())),
                (None, Some(number)) => Some(EventName::Number(number)),
                (None, None) => None,
                (Some(_), Some(_)) => return Err("row has two names".to_owned()),
            };
            (ack_id, name, args, attachments)
        }
        PacketVector::Ack {
            ack_id,
            args,
            attachments,
            ..
        } => (ack_id, None, args, attachments),
        PacketVector::Connect { .. }
        | PacketVector::Disconnect { .. }
        | PacketVector::ConnectError { .. } => return Err("row has no data".to_owned()),
    };
    Ok(Facts {
        ack_id: ack_id.clone(),
        name,
        args: args.clone(),
        args_by_index: args.clone(),
        attachments: attachments.iter().map(|data| bytes(data)).collect(),
    })
}

/// The frames without the Engine.IO type.
fn messages(packet: Packet<'_>) -> Vec<Frame> {
    packet
        .into_frames()
        .into_iter()
        .map(|frame| match frame {
            Frame::Text(text) => Frame::Text(text.strip_prefix('4').unwrap().to_owned()),
            Frame::Binary(data) => Frame::Binary(data),
        })
        .collect()
}

#[test]
fn messages_parse_to_packets_and_packets_encode_to_messages() {
    check(
        &vectors().accepted,
        |row| &row.name,
        |row| {
            let wire: Vec<Frame> = row.messages.iter().map(Wire::frame).collect();
            let (last, before) = wire.split_last().unwrap();
            let mut decoder = Decoder::default();
            for (index, message) in before.iter().enumerate() {
                let remaining = before.len() - index;
                same(
                    "due",
                    &take(&mut decoder, message)?,
                    &Progress::NeedAttachments { remaining },
                )?;
                same("due", &decoder.attachments_due(), &remaining)?;
            }
            let Progress::Packet(packet) = take(&mut decoder, last)? else {
                return Err("needs more".to_owned());
            };
            same("due", &decoder.attachments_due(), &0)?;
            check_packet(&packet, &row.packet)?;
            same("owned packet", &packet.clone().into_owned(), &packet)?;
            same(
                "head",
                &Frame::Text(packet.encode_head()),
                messages(packet.clone()).first().unwrap(),
            )?;
            same("canonical", &(messages(packet) == wire), &!row.one_way)
        },
    );
}

#[test]
fn bad_messages_are_refused() {
    check(
        &vectors().refused,
        |row| &row.name,
        |row| {
            let wire: Vec<Frame> = row.messages.iter().map(Wire::frame).collect();
            let (last, before) = wire.split_last().unwrap();
            let mut decoder = Decoder::default();
            for message in before {
                take(&mut decoder, message)?;
            }
            same("outcome", &take(&mut decoder, last), &Err(row.error.clone()))
        },
    );
}

#[test]
fn half_received_packets_survive_in_a_new_decoder() {
    check(
        &vectors().accepted,
        |row| &row.name,
        |row| {
            let wire: Vec<Frame> = row.messages.iter().map(Wire::frame).collect();
            let (last, before) = wire.split_last().unwrap();
            let mut decoder = Decoder::default();
            for message in before {
                take(&mut decoder, message)?;
                let half = decoder.half_received().ok_or("holds nothing")?;
                let mut woken = Decoder::default();
                woken.text(&half.head).map_err(|error| error.to_string())?;
                for attachment in half.attachments {
                    woken
                        .binary(attachment.clone())
                        .map_err(|error| error.to_string())?;
                }
                same("due", &woken.attachments_due(), &decoder.attachments_due())?;
                same("half", &woken.half_received(), &decoder.half_received())?;
                decoder = woken;
            }
            let Progress::Packet(packet) = take(&mut decoder, last)? else {
                return Err("needs more".to_owned());
            };
            same("half", &decoder.half_received(), &None)?;
            check_packet(&packet, &row.packet)
        },
    );
}

#[test]
fn frames_of_a_server_are_frames_of_packets() {
    let namespaces = ["/", "/chat"].map(|name| Namespace::new(name).unwrap());
    for namespace in &namespaces {
        let data = EventData::new("a\"").unwrap().arg(&["\u{1}"]).unwrap();
        let acked = AckData::new().arg(&1).unwrap().json_arg(&Json::string("b"));
        let error = Json::new(r#"{"code":"X"}"#).unwrap();
        let sid = Object::new(r#"{"sid":"s","pid":"p"}"#).unwrap();
        let refusal = Object::new(r#"{"message":"m","data":{"code":"X"}}"#).unwrap();
        let refusal = Some(ConnectErrorPayload::Object(refusal));
        let event = |ack_id| Kind::Event {
            ack_id,
            data: Some(data.clone()),
            attachments: vec![],
        };
        let rows = [
            (
                socket::connect_frame(namespace, "s", Some("p")),
                Kind::Connect { payload: Some(sid) },
            ),
            (
                socket::connect_error_frame(namespace, "m", Some(&error)),
                Kind::ConnectError { payload: refusal },
            ),
            (socket::disconnect_frame(namespace), Kind::Disconnect),
            (data.frame(namespace, None), event(None)),
            (data.frame(namespace, Some(9)), event(Some(9))),
            (
                acked.frame(namespace, 9),
                Kind::Ack {
                    ack_id: Some(9),
                    data: acked.clone(),
                    attachments: vec![],
                },
            ),
        ];
        for (frame, kind) in rows {
            let packet = Packet {
                namespace: namespace.clone(),
                kind,
            };
            assert_eq!(packet.into_frames(), [Frame::Text(frame)]);
        }
    }
}
