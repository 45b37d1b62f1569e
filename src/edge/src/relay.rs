//! WebSockets the Worker holds itself: of clients that say only in CONNECT who they are. Once that is
//! known, the Worker opens a WebSocket to the user's hub and passes everything on, both ways; the hub
//! hibernates as ever.

use std::rc::Rc;
use std::time::Duration;

use dormouse_domain::auth::AuthError;
use dormouse_domain::config::Config;
use dormouse_domain::handshake::offered_token;
use dormouse_domain::limit;
use dormouse_domain::polling::UPGRADE_TIMEOUT_MS;
use dormouse_domain::session::CloseReason;
use dormouse_domain::stranger::{Heard, Stranger, not_admitted};
use dormouse_domain::time::Timestamp;
use dormouse_domain::wishes::Wishes;
use dormouse_protocol::engine::{Frame, Packet};
use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt};
use worker::web_sys::BinaryType;
use worker::{
    Context, Delay, Env, Response, Result, WebSocket, WebSocketPair, WebsocketEvent, console_error, ws_events,
};

use crate::hub_rpc::{Greeting, HubCall, HubRequest, OpenCall};
use crate::lobby::{LobbyCall, LobbyReply, LobbyRequest};
use crate::{clock, keys, log};

/// A connection whose client is not known yet.
pub(crate) struct Relay {
    pub(crate) env: Env,
    pub(crate) config: Rc<Config>,
    /// The engine's id, which the client gets or has.
    pub(crate) sid: String,
    pub(crate) wishes: Wishes,
    /// Why the HTTP request itself proves no identity.
    pub(crate) refusal: AuthError,
    pub(crate) start: Start,
}

/// How the connection begins.
pub(crate) enum Start {
    /// Anew: the client is owed this packet.
    Open(String),
    /// As the upgrade of a polling session, opened at this time.
    Upgrade(Timestamp),
    /// Anew, of a client that is known. A runtime on a developer's machine ends the TCP connection of a
    /// socket that never received anything only ten seconds after a hub closed it; the Worker's at once.
    #[cfg(feature = "conformance")]
    Known(String, OpenCall),
}

/// Whom the client turned out to be, and the frame that said so, which the hub has to hear.
struct Introduction {
    call: HubCall,
    open: OpenCall,
    frame: Option<String>,
}

impl Relay {
    /// Takes the WebSocket, for as long as the client or the hub keeps it.
    ///
    /// # Errors
    /// When the platform makes none.
    pub(crate) fn accept(self, context: &Context) -> Result<Response> {
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        context.wait_until(async move {
            if let Err(error) = self.run(&server).await {
                console_error!("a relayed connection failed: {error}");
            }
            close(&server, None);
        });
        Response::from_websocket(client)
    }

    async fn run(self, client: &WebSocket) -> Result<()> {
        // Binary messages come as Blobs otherwise, which cannot be read at once.
        client.as_ref().set_binary_type(BinaryType::Arraybuffer);
        // Listen first, then accept: what arrives in between would be lost.
        let mut incoming = client.events()?;
        client.accept()?;
        let patience = Delay::from(Duration::from_millis(self.config.connect_timeout_ms));
        let introduction = match select(Box::pin(self.meet(client, &mut incoming)), patience).await {
            Either::Left((introduction, _)) => introduction,
            Either::Right(_) => Ok(None),
        };
        let Introduction { call, open, frame } = match introduction {
            Ok(Some(introduction)) => introduction,
            Ok(None) => return self.abandon().await,
            Err(error) => {
                self.abandon().await?;
                return Err(error);
            }
        };
        let Some(hub) = HubRequest::new(open.identity.user, call)
            .connect(&self.env)
            .await?
        else {
            let refused = frame.and_then(|frame| not_admitted(&frame, limit::NO_MORE_OPEN));
            return refused.map_or(Ok(()), |frame| client.send_with_str(frame));
        };
        hub.as_ref().set_binary_type(BinaryType::Arraybuffer);
        let outgoing = hub.events()?;
        hub.accept()?;
        if let Some(frame) = frame {
            hub.send_with_str(frame)?;
        }
        pipe(client, incoming, &hub, outgoing).await;
        Ok(())
    }

    /// Hears the client until it is known; `None` when it goes away or is sent away.
    async fn meet(
        &self,
        client: &WebSocket,
        incoming: &mut (impl Stream<Item = Result<WebsocketEvent>> + Unpin),
    ) -> Result<Option<Introduction>> {
        match &self.start {
            Start::Open(packet) => client.send_with_str(packet)?,
            #[cfg(feature = "conformance")]
            Start::Known(packet, open) => {
                client.send_with_str(packet)?;
                return Ok(Some(self.introduce(open.clone(), None)));
            }
            Start::Upgrade(_) => {
                let patience = Delay::from(Duration::from_millis(UPGRADE_TIMEOUT_MS));
                let changed_over = match select(Box::pin(self.probe(client, incoming)), patience).await {
                    Either::Left((changed_over, _)) => changed_over?,
                    Either::Right(_) => false,
                };
                if !changed_over {
                    return Ok(None);
                }
                if let LobbyReply::Forward { open, .. } = self.lobby(LobbyCall::Claim).await? {
                    let call = HubCall::Move {
                        sid: self.sid.clone(),
                        open: open.clone(),
                    };
                    return Ok(Some(Introduction {
                        call,
                        open,
                        frame: None,
                    }));
                }
            }
        }
        let mut stranger = Stranger::new(self.refusal);
        while let Some(frame) = next_frame(incoming).await? {
            let text = match frame {
                Incoming::Text(text) => text,
                Incoming::Binary(bytes) => {
                    close(client, Stranger::on_binary(&bytes).code());
                    return Ok(None);
                }
            };
            let Ok(config) = keys::ready(&self.env, &offered_token(&text).unwrap_or_default()).await else {
                return Ok(None);
            };
            match stranger.on_text(clock::now(), &config.token_keys, &text) {
                Heard::Nothing => {}
                Heard::Answer(frame) => {
                    log::refused(&self.env, &self.sid);
                    client.send_with_str(frame)?;
                }
                Heard::Identified(identity) => {
                    let open = OpenCall {
                        identity,
                        wishes: self.wishes,
                    };
                    return Ok(Some(self.introduce(open, Some(text))));
                }
                Heard::Close(reason) => {
                    close(client, reason.code());
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// How the hub is to take a client that has had its open packet from here.
    fn introduce(&self, open: OpenCall, frame: Option<String>) -> Introduction {
        let greeting = Greeting::Given {
            sid: self.sid.clone(),
        };
        let call = HubCall::Open {
            open: open.clone(),
            greeting,
        };
        Introduction { call, open, frame }
    }

    /// Answers the probe of an upgrade; whether the client changed over.
    async fn probe(
        &self,
        client: &WebSocket,
        incoming: &mut (impl Stream<Item = Result<WebsocketEvent>> + Unpin),
    ) -> Result<bool> {
        while let Some(Incoming::Text(text)) = next_frame(incoming).await? {
            match Packet::parse_text(&text) {
                Ok(Packet::Ping(data)) if data == "probe" => {
                    if let Frame::Text(pong) = Packet::Pong(data).encode() {
                        client.send_with_str(pong)?;
                    }
                    if let LobbyReply::Forward { open, .. } = self.lobby(LobbyCall::Probed).await? {
                        let user = open.identity.user.clone();
                        let call = HubCall::Probed {
                            sid: self.sid.clone(),
                            open,
                        };
                        HubRequest::new(user, call).send(&self.env).await?;
                    }
                }
                Ok(Packet::Upgrade) => return Ok(true),
                Ok(_) | Err(_) => {
                    close(client, CloseReason::ForcedClose.code());
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// The client stays with polling, or is gone.
    async fn abandon(&self) -> Result<()> {
        match self.start {
            Start::Open(_) => Ok(()),
            #[cfg(feature = "conformance")]
            Start::Known(..) => Ok(()),
            Start::Upgrade(_) => {
                if let LobbyReply::Forward { open, .. } = self.lobby(LobbyCall::Abandon).await? {
                    let call = HubCall::ProbeGone {
                        sid: self.sid.clone(),
                    };
                    HubRequest::new(open.identity.user, call).send(&self.env).await?;
                }
                Ok(())
            }
        }
    }

    async fn lobby(&self, call: LobbyCall) -> Result<LobbyReply> {
        match self.start {
            Start::Open(_) => Ok(LobbyReply::Unknown),
            #[cfg(feature = "conformance")]
            Start::Known(..) => Ok(LobbyReply::Unknown),
            Start::Upgrade(opened_at) => {
                LobbyRequest {
                    sid: self.sid.clone(),
                    opened_at,
                    call,
                }
                .send(&self.env)
                .await
            }
        }
    }
}

/// A frame of a client.
enum Incoming {
    Text(String),
    Binary(Vec<u8>),
}

/// The next frame; `None` when the socket closes.
async fn next_frame(
    incoming: &mut (impl Stream<Item = Result<WebsocketEvent>> + Unpin),
) -> Result<Option<Incoming>> {
    match incoming.next().await.transpose()? {
        Some(WebsocketEvent::Message(message)) => Ok(Some(match message.text() {
            Some(text) => Incoming::Text(text),
            None => Incoming::Binary(message.bytes().unwrap_or_default()),
        })),
        Some(WebsocketEvent::Close(_)) | None => Ok(None),
    }
}

/// Passes messages on until either side closes; the other side hears of it.
async fn pipe(
    client: &WebSocket,
    mut incoming: impl Stream<Item = Result<WebsocketEvent>> + Unpin,
    hub: &WebSocket,
    mut outgoing: impl Stream<Item = Result<WebsocketEvent>> + Unpin,
) {
    loop {
        let (event, to) = match select(incoming.next(), outgoing.next()).await {
            Either::Left((event, _)) => (event, hub),
            Either::Right((event, _)) => (event, client),
        };
        match event {
            Some(Ok(WebsocketEvent::Message(message))) => {
                if pass_on(&message, to).is_err() {
                    break;
                }
            }
            Some(Ok(WebsocketEvent::Close(event))) => {
                // "No status" and "abnormal" may not be sent on.
                let code = Some(event.code()).filter(|code| !matches!(code, 1004..=1006 | 1015));
                close(to, code);
                break;
            }
            Some(Err(_)) | None => break,
        }
    }
    close(client, None);
    close(hub, None);
}

fn pass_on(message: &ws_events::MessageEvent, to: &WebSocket) -> Result<()> {
    match (message.text(), message.bytes()) {
        (Some(text), _) => to.send_with_str(text),
        (None, Some(bytes)) => to.send_with_bytes(bytes),
        (None, None) => Ok(()),
    }
}

fn close(ws: &WebSocket, code: Option<u16>) {
    // A socket that is closed already says so with an error; that is what is wanted.
    let _ = match code {
        Some(code) => ws.close(Some(code), Some("")),
        None => ws.close(None, None::<&str>),
    };
}
