//! `/socket.io/`: the handshake. A connection whose request proves an identity is forwarded to its
//! user's hub; any other is refused here and touches no object.

use std::time::Duration;

use dormouse_domain::config::{Config, MAX_PAYLOAD_BYTES};
use dormouse_domain::engine_request::{EngineError, EngineQuery, IsGet, Upgrade};
use dormouse_domain::handshake::{Credentials, identify};
use dormouse_domain::session::Output;
use dormouse_domain::stranger::Stranger;
use dormouse_protocol::engine;
use futures_util::{StreamExt, future};
use worker::{
    Context, Delay, Env, Method, Request, Response, ResponseBuilder, Result, WebSocket, WebSocketPair,
    WebsocketEvent, console_error,
};

use crate::http::{Refusal, header};
use crate::hub_rpc::{HubCall, HubRequest, OpenCall};
use crate::{clock, entropy, settings};

/// Answers a request to `/socket.io/`.
pub(crate) async fn handshake(
    request: Request,
    env: &Env,
    context: &Context,
) -> std::result::Result<Response, Refusal> {
    let config = settings::load(env)?;
    let url = request.url()?;
    let query = EngineQuery::parse(url.query_pairs());
    let is_get = if request.method() == Method::Get {
        IsGet::Yes
    } else {
        IsGet::No
    };
    let upgrade = match header(request.headers(), "upgrade")? {
        Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => Upgrade::WebSocket,
        Some(_) | None => Upgrade::None,
    };
    if let Err(error) = query.check(is_get, upgrade) {
        return Ok(refuse(error)?);
    }
    let authorization = header(request.headers(), "authorization")?;
    let cookie = header(request.headers(), "cookie")?;
    let origin = header(request.headers(), "origin")?;
    let credentials = Credentials {
        authorization: authorization.as_deref(),
        cookie: cookie.as_deref(),
        origin: origin.as_deref(),
        query_token: query.token.as_deref(),
    };
    match identify(clock::now(), &config.handshake, &config.token_key, &credentials) {
        Ok(identity) => {
            let user = identity.user.clone();
            let call = HubCall::Open(OpenCall {
                identity,
                acknowledging: query.acknowledging(),
            });
            Ok(HubRequest::new(user, call).forward(env, &request).await?)
        }
        Err(error) => Ok(receive_stranger(Stranger::new(error), &config, context)?),
    }
}

/// The packet that opens a connection.
pub(crate) fn open_packet(sid: &str, config: &Config) -> String {
    let open = engine::Open {
        sid: sid.into(),
        upgrades: Vec::new(),
        ping_interval_ms: config.heartbeat.interval_ms,
        ping_timeout_ms: config.heartbeat.timeout_ms,
        max_payload_bytes: MAX_PAYLOAD_BYTES as u64,
    };
    engine::Packet::Open(open.encode().into()).encode().into_text()
}

fn refuse(error: EngineError) -> Result<Response> {
    ResponseBuilder::new()
        .with_status(400)
        .with_header("content-type", "application/json")?
        .ok(error.body())
}

/// Takes the WebSocket in the Worker, for as long as it takes to say why it is refused.
fn receive_stranger(mut stranger: Stranger, config: &Config, context: &Context) -> Result<Response> {
    let WebSocketPair { client, server } = WebSocketPair::new()?;
    let open = open_packet(&entropy::sid()?, config);
    let patience = Duration::from_millis(config.connect_timeout_ms);
    context.wait_until(async move {
        let heard = hear(&server, &open, &mut stranger);
        if let future::Either::Left((Err(error), _)) =
            future::select(Box::pin(heard), Delay::from(patience)).await
        {
            console_error!("an unauthenticated connection failed: {error}");
        }
        // Closing a socket that is closed already says so with an error; that is what is wanted.
        let _ = server.close(None, None::<&str>);
    });
    Response::from_websocket(client)
}

async fn hear(server: &WebSocket, open: &str, stranger: &mut Stranger) -> Result<()> {
    // Listen first, then accept: what arrives in between would be lost.
    let mut events = server.events()?;
    server.accept()?;
    server.send_with_str(open)?;
    while let Some(event) = events.next().await {
        let text = match event? {
            WebsocketEvent::Message(message) => message.text(),
            WebsocketEvent::Close(_) => return Ok(()),
        };
        match text.and_then(|text| stranger.on_text(&text)) {
            Some(Output::Send(frame)) => server.send_with_str(frame)?,
            Some(Output::Close(reason)) => return server.close(reason.code(), None::<&str>),
            Some(Output::Joined(_) | Output::Left(_) | Output::Event { .. }) | None => {}
        }
    }
    Ok(())
}
