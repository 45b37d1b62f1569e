//! `/socket.io/`: handshakes, polls and upgrades. A session whose user is known is the business of
//! their hub; for any other a lobby or the relay stands in, and no hub is touched.

use std::rc::Rc;

use dormouse_domain::auth::{AuthError, Identity};
use dormouse_domain::config::{Config, MAX_PAYLOAD_BYTES};
use dormouse_domain::engine_request::{EngineError, EngineQuery, EngineRequest, Method, Upgrade};
use dormouse_domain::engine_sid::EngineSid;
use dormouse_domain::heartbeat::Heartbeat;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::time::Timestamp;
use dormouse_domain::wishes::{Keepalive, Wishes};
use dormouse_protocol::engine;
use worker::{Context, Env, Request, Response, Result, WebSocketPair};

use crate::cors::Cors;
use crate::http::{Refusal, body_text, harden, header};
#[cfg(not(feature = "conformance"))]
use crate::hub_rpc::Greeting;
use crate::hub_rpc::{HubCall, HubRequest, OpenCall, SECOND_UPGRADE, TOO_MANY_OPEN};
use crate::lobby::{LobbyCall, LobbyReply, LobbyRequest};
use crate::log::{PREFLIGHT, Trace};
use crate::relay::{Relay, Start};
use crate::{clock, engine_http, entropy, limits, settings};

/// The longest time a client may be told to wait, in milliseconds: it waits for the sum of interval
/// and timeout, and JavaScript's timers overflow beyond this.
const LONGEST_WAIT_MS: u64 = (1 << 31) - 1;

/// Answers a request to `/socket.io/`.
pub(crate) async fn answer(
    request: Request,
    env: &Env,
    context: &Context,
    trace: &Trace,
) -> std::result::Result<Response, Refusal> {
    let config = settings::load(env)?;
    let cors = Cors::of(&request)?;
    if request.method() == worker::Method::Options {
        trace.operation(PREFLIGHT);
        return Ok(with_cors(cors.preflight("GET,POST")?, &config, &cors)?);
    }
    let query = EngineQuery::parse(request.url()?.query_pairs());
    let wishes = query.wishes(config.recovery, config.payload_case);
    #[cfg(feature = "conformance")]
    let wishes = crate::conformance::wishes(wishes, &request.path());
    let door = Door {
        env,
        context,
        config: &config,
        query: &query,
        wishes,
        trace,
    };
    let path = request.path();
    let response = match door.answer(request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(&path, trace.request_id())?,
    };
    Ok(with_cors(response, &config, &cors)?)
}

/// The packet that opens a connection.
pub(crate) fn open_packet(
    sid: &str,
    heartbeat: Heartbeat,
    upgrades: &[engine::Transport],
    config: &Config,
) -> String {
    let timeout_ms = config.heartbeat.timeout_ms;
    let open = engine::Open {
        sid: sid.into(),
        upgrades: upgrades.to_vec(),
        ping_interval_ms: match heartbeat {
            Heartbeat::Server { .. } => config.heartbeat.interval_ms,
            Heartbeat::Client { .. } => LONGEST_WAIT_MS.saturating_sub(timeout_ms),
        },
        ping_timeout_ms: timeout_ms,
        max_payload_bytes: MAX_PAYLOAD_BYTES as u64,
    };
    engine::Packet::Open(open.encode().into()).encode().into_text()
}

struct Door<'a> {
    env: &'a Env,
    context: &'a Context,
    config: &'a Rc<Config>,
    query: &'a EngineQuery,
    wishes: Wishes,
    trace: &'a Trace,
}

impl Door<'_> {
    async fn answer(&self, request: Request) -> std::result::Result<Response, Refusal> {
        let method = if request.method() == worker::Method::Get {
            Method::Get
        } else if request.method() == worker::Method::Post {
            Method::Post
        } else {
            Method::Other
        };
        let upgrade = match header(request.headers(), "upgrade")? {
            Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => Upgrade::WebSocket,
            Some(_) | None => Upgrade::None,
        };
        match self.query.check(method, upgrade) {
            Ok(EngineRequest::OpenPolling) => {
                self.trace.operation("handshake.polling");
                limits::handshake(self.env, &request).await?;
                self.open_polling(&request).await
            }
            Ok(EngineRequest::OpenWebSocket) => {
                self.trace.operation("handshake.websocket");
                limits::handshake(self.env, &request).await?;
                self.open_websocket(&request).await
            }
            Ok(EngineRequest::Get(sid)) => {
                self.trace.operation("poll");
                self.poll(sid).await
            }
            Ok(EngineRequest::Post(sid)) => {
                self.trace.operation("post");
                self.post(sid, request).await
            }
            Ok(EngineRequest::Upgrade(sid)) => {
                self.trace.operation("upgrade");
                self.upgrade(sid, &request).await
            }
            Ok(EngineRequest::Misfit(sid)) => Ok(engine_http::refusal(match self.place(sid) {
                Some(_) => EngineError::BadRequest,
                None => EngineError::UnknownSid,
            })?),
            Err(error) => Ok(engine_http::refusal(error)?),
        }
    }

    async fn open_polling(&self, request: &Request) -> std::result::Result<Response, Refusal> {
        let nonce = entropy::sid()?;
        match self.identify(request).await? {
            Ok(identity) => {
                let user = identity.user.clone();
                let sid = EngineSid::Hub {
                    user: user.clone(),
                    nonce,
                }
                .encode(&self.config.signer);
                let call = HubCall::OpenPolling {
                    sid,
                    open: self.open_call(identity),
                };
                admitted(HubRequest::new(user, call).exchange(self.env).await?)
            }
            Err(_) => {
                // Nothing is created for it before it says something.
                let now = clock::now();
                let sid = EngineSid::Lobby {
                    opened_at: now,
                    nonce,
                }
                .encode(&self.config.signer);
                let packet = open_packet(
                    &sid,
                    self.heartbeat(now),
                    &[engine::Transport::Websocket],
                    self.config,
                );
                Ok(engine_http::payload(&packet)?)
            }
        }
    }

    async fn open_websocket(&self, request: &Request) -> std::result::Result<Response, Refusal> {
        match self.identify(request).await? {
            #[cfg(feature = "conformance")]
            Ok(identity) => {
                let sid = entropy::sid()?;
                let packet = open_packet(&sid, self.heartbeat(clock::now()), &[], self.config);
                Ok(self.relay(
                    sid,
                    AuthError::Missing,
                    Start::Known(packet, self.open_call(identity)),
                )?)
            }
            #[cfg(not(feature = "conformance"))]
            Ok(identity) => {
                let user = identity.user.clone();
                let call = HubCall::Open {
                    open: self.open_call(identity),
                    greeting: Greeting::Owed,
                };
                admitted(HubRequest::new(user, call).forward(self.env, request).await?)
            }
            Err(refusal) => {
                let sid = entropy::sid()?;
                let packet = open_packet(&sid, self.heartbeat(clock::now()), &[], self.config);
                Ok(self.relay(sid, refusal, Start::Open(packet))?)
            }
        }
    }

    async fn poll(&self, sid: &str) -> std::result::Result<Response, Refusal> {
        let (user, open) = match self.place(sid) {
            None => return Ok(engine_http::refusal(EngineError::UnknownSid)?),
            Some(EngineSid::Hub { user, .. }) => (user, None),
            Some(EngineSid::Lobby { opened_at, .. }) => {
                match self.by_lobby(self.lobby(sid, opened_at, LobbyCall::Poll).await?)? {
                    ByLobby::Forward(open, _) => (open.identity.user.clone(), Some(open)),
                    ByLobby::Answer(answer) => return Ok(answer),
                    ByLobby::Relay => return Ok(engine_http::refusal(EngineError::BadRequest)?),
                }
            }
        };
        let call = HubCall::Poll {
            sid: sid.to_owned(),
            open,
        };
        admitted(HubRequest::new(user, call).exchange(self.env).await?)
    }

    async fn post(&self, sid: &str, mut request: Request) -> std::result::Result<Response, Refusal> {
        let Some(place) = self.place(sid) else {
            return Ok(engine_http::refusal(EngineError::UnknownSid)?);
        };
        let content_type = header(request.headers(), "content-type")?.unwrap_or_default();
        let body = if content_type == "application/octet-stream" {
            // Protocol 3 had payloads of octets. An empty one is no payload either, and ends the session.
            String::new()
        } else if let Some(body) = body_text(&mut request, MAX_PAYLOAD_BYTES).await? {
            body
        } else {
            return Ok(engine_http::broken(413));
        };
        let (user, open, body) = match place {
            EngineSid::Hub { user, .. } => (user, None, body),
            EngineSid::Lobby { opened_at, .. } => {
                let refusal = self.identify(&request).await?;
                let refusal = refusal.err().unwrap_or(AuthError::Missing);
                let wishes = self.wishes;
                let call = LobbyCall::Post {
                    body,
                    refusal: refusal.into(),
                    wishes,
                };
                match self.by_lobby(self.lobby(sid, opened_at, call).await?)? {
                    ByLobby::Forward(open, body) => {
                        (open.identity.user.clone(), Some(open), body.unwrap_or_default())
                    }
                    ByLobby::Answer(answer) => return Ok(answer),
                    ByLobby::Relay => return Ok(engine_http::refusal(EngineError::BadRequest)?),
                }
            }
        };
        let call = HubCall::Post {
            sid: sid.to_owned(),
            open,
            body,
        };
        admitted(HubRequest::new(user, call).exchange(self.env).await?)
    }

    async fn upgrade(&self, sid: &str, request: &Request) -> std::result::Result<Response, Refusal> {
        let (user, open) = match self.place(sid) {
            None => return Ok(engine_http::refusal(EngineError::UnknownSid)?),
            Some(EngineSid::Hub { user, .. }) => (user, None),
            Some(EngineSid::Lobby { opened_at, .. }) => {
                match self.by_lobby(self.lobby(sid, opened_at, LobbyCall::Upgrade).await?)? {
                    ByLobby::Forward(open, _) => (open.identity.user.clone(), Some(open)),
                    ByLobby::Relay => {
                        let refusal = self.identify(request).await?;
                        let refusal = refusal.err().unwrap_or(AuthError::Missing);
                        return Ok(self.relay(sid.to_owned(), refusal, Start::Upgrade(opened_at))?);
                    }
                    ByLobby::Answer(answer) => return Ok(answer),
                }
            }
        };
        let call = HubCall::Probe {
            sid: sid.to_owned(),
            open,
        };
        let response = HubRequest::new(user, call).forward(self.env, request).await?;
        if response.status_code() == SECOND_UPGRADE {
            return Ok(second_upgrade()?);
        }
        admitted(response)
    }

    fn relay(&self, sid: String, refusal: AuthError, start: Start) -> Result<Response> {
        let relay = Relay {
            env: self.env.clone(),
            config: Rc::clone(self.config),
            sid,
            wishes: self.wishes,
            refusal,
            start,
        };
        relay.accept(self.context)
    }

    async fn lobby(&self, sid: &str, opened_at: Timestamp, call: LobbyCall) -> Result<LobbyReply> {
        LobbyRequest {
            sid: sid.to_owned(),
            opened_at,
            call,
        }
        .send(self.env)
        .await
    }

    fn by_lobby(&self, reply: LobbyReply) -> Result<ByLobby> {
        let answer = match reply {
            LobbyReply::Forward { open, body } => {
                self.trace.user(&open.identity.user);
                return Ok(ByLobby::Forward(open, body));
            }
            LobbyReply::Relay => return Ok(ByLobby::Relay),
            LobbyReply::Payload(body) => engine_http::payload(&body),
            LobbyReply::Taken => engine_http::taken(),
            LobbyReply::Refused(error) => engine_http::refusal(error),
            LobbyReply::Broken => Ok(engine_http::broken(400)),
            LobbyReply::Moved => second_upgrade(),
            LobbyReply::Unknown => engine_http::refusal(EngineError::BadRequest),
        };
        answer.map(ByLobby::Answer)
    }

    fn place(&self, sid: &str) -> Option<EngineSid> {
        let place = EngineSid::parse(sid, &self.config.signer);
        if let Some(EngineSid::Hub { user, .. }) = &place {
            self.trace.user(user);
        }
        place
    }

    fn open_call(&self, identity: Identity) -> OpenCall {
        self.trace.user(&identity.user);
        OpenCall {
            identity,
            wishes: self.wishes,
        }
    }

    /// What a session that begins now would be told of its heartbeat.
    fn heartbeat(&self, now: Timestamp) -> Heartbeat {
        match self.wishes.keepalive {
            Keepalive::Client => Heartbeat::Client { heard_at: now },
            Keepalive::Server => Heartbeat::Server {
                ping_at: now,
                unanswered_since: None,
            },
        }
    }

    #[cfg(feature = "conformance")]
    #[expect(clippy::unused_async, reason = "the product's own looks at the request")]
    async fn identify(
        &self,
        _request: &Request,
    ) -> std::result::Result<std::result::Result<Identity, AuthError>, Refusal> {
        Ok(crate::conformance::identify()?)
    }

    #[cfg(not(feature = "conformance"))]
    async fn identify(
        &self,
        request: &Request,
    ) -> std::result::Result<std::result::Result<Identity, AuthError>, Refusal> {
        crate::identity::of_request(request, self.env, self.query.token.as_deref()).await
    }
}

/// What a lobby's reply means for the request.
enum ByLobby {
    /// It is for this user's hub; of a POST, this much of it.
    Forward(OpenCall, Option<String>),
    /// The lobby itself has the answer.
    Answer(Response),
    /// The Worker takes the WebSocket.
    Relay,
}

/// What a hub answers, unless it takes no further connection of the user.
fn admitted(answer: Response) -> std::result::Result<Response, Refusal> {
    if answer.status_code() == TOO_MANY_OPEN {
        return Err(Problem::new(Code::RateLimited)
            .detail("the user has too many open connections")
            .into());
    }
    Ok(answer)
}

/// A session has one WebSocket: a further one is taken and closed, as the reference does.
fn second_upgrade() -> Result<Response> {
    let WebSocketPair { client, server } = WebSocketPair::new()?;
    server.accept()?;
    server.close(None, None::<&str>)?;
    Response::from_websocket(client)
}

/// The same answer with the headers that let a page of an allowed origin read it. The answer to an upgrade
/// stays as it is: CORS does not apply to it.
fn with_cors(response: Response, config: &Config, cors: &Cors) -> Result<Response> {
    if response.status_code() == 101 {
        return Ok(response);
    }
    // What an object answered can't be changed: its headers are copied.
    let headers = response.headers().clone();
    cors.allow(&headers, &config.handshake)?;
    harden(&headers)?;
    Ok(response.with_headers(headers))
}
