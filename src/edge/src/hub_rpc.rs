//! How the Worker calls a user's hub.
//!
//! Worker and hub may be of neighbouring versions while a deployment rolls out, so the shapes here
//! change only by addition; a test in the domain pins those that are its own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dormouse_domain::auth::Identity;
use dormouse_domain::command::Command;
use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::inbox::{Entry, EntryKind};
use dormouse_domain::item::Receipt;
use dormouse_domain::membership::Claims;
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::page::PageRequest;
use dormouse_domain::preferences::Preferences;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::time::Timestamp;
use dormouse_domain::wishes::Wishes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use worker::{Env, Error, Headers, Method, Request, RequestInit, Response, Result, WebSocket};

use crate::switchboard_rpc::{FanOut, PresenceSeen};
use crate::{bindings, instruments};

/// Carries the call; whatever a client sends under this name is replaced.
const CALL_HEADER: &str = "x-dormouse-call";

/// The status by which a hub refuses the second WebSocket of a session. The Worker then takes and closes it, as
/// the reference does: closed by the hub, a socket on which nothing was ever received keeps its TCP
/// connection for ten more seconds.
pub(crate) const SECOND_UPGRADE: u16 = 409;

/// The status by which a hub refuses a connection of a user who has too many. The Worker says it to the client
/// in its own words.
pub(crate) const TOO_MANY_OPEN: u16 = 429;

/// Objects have no address; requests to them need one.
const HUB_URL: &str = "https://object/";

/// A call and the user whose hub it is for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HubRequest {
    pub(crate) user: UserId,
    pub(crate) call: HubCall,
    /// The token that the user's own call was made with: a hub whose user was erased refuses old ones.
    #[serde(default)]
    pub(crate) token: Option<TokenTime>,
}

/// When a token was issued, as far as it says so, and the rooms it puts its user in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenTime {
    pub(crate) issued_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) rooms: Option<Vec<SharedRoom>>,
}

/// What a hub can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HubCall {
    /// Take the WebSocket this request upgrades to.
    Open { open: OpenCall, greeting: Greeting },
    /// Begin a polling session: answers the body for the client.
    OpenPolling { sid: String, open: OpenCall },
    /// Answer a GET of a polling session, which begins here if it is new and `open` is given.
    Poll { sid: String, open: Option<OpenCall> },
    /// Take a POST of a polling session.
    Post {
        sid: String,
        open: Option<OpenCall>,
        body: String,
    },
    /// Take a WebSocket that the polling session may move to.
    Probe { sid: String, open: Option<OpenCall> },
    /// A WebSocket elsewhere was probed: let the poll go.
    Probed { sid: String, open: OpenCall },
    /// That WebSocket went away: polling goes on.
    ProbeGone { sid: String },
    /// Move the polling session to the WebSocket this request upgrades to.
    Move { sid: String, open: OpenCall },
    /// Here is the next entry of the user's room: answers a [`NudgeReply`].
    Nudge(EntryRecord),
    /// The user's room may hold more than the hub knows.
    CatchUp,
    /// Here is an entry of shared rooms: answers a [`crate::switchboard_rpc::HubReply`].
    Deliver { from: SwitchboardName, fan_out: FanOut },
    /// An interval is over: answers a [`crate::switchboard_rpc::HubReply`].
    Tick { from: SwitchboardName },
    /// Send an event to the clients, if the user is in one of these rooms; without rooms it is for the user:
    /// answers a [`crate::switchboard_rpc::HubReply`].
    Emit {
        from: SwitchboardName,
        rooms: Option<Vec<SharedRoom>>,
        event: String,
        data: Box<RawValue>,
    },
    /// Others came or went: answers a [`crate::switchboard_rpc::HubReply`].
    PresenceUpdate {
        from: SwitchboardName,
        users: Vec<PresenceSeen>,
    },
    /// A page of the inbox.
    List {
        page: PageRequest,
        if_none_match: Option<String>,
    },
    /// The counts.
    Counts { if_none_match: Option<String> },
    /// The user does something with the inbox: answers the change, or a problem.
    Command(Command),
    /// What the user does not want to hear of.
    Preferences,
    /// What the user does not want to hear of from now on.
    SetPreferences(Preferences),
    /// End every connection.
    Disconnect,
    /// A page of all there is about the user, above this place.
    Export { above: Option<u64> },
    /// Who is connected.
    Presence,
    /// What the tests look at.
    #[cfg(feature = "instruments")]
    Info,
}

impl HubCall {
    /// Whether the answer shows what is in the inbox, so that nothing may be missing there.
    pub(crate) const fn shows_inbox(&self) -> bool {
        match self {
            Self::List { .. } | Self::Counts { .. } => true,
            Self::Open { .. }
            | Self::OpenPolling { .. }
            | Self::Poll { .. }
            | Self::Post { .. }
            | Self::Probe { .. }
            | Self::Probed { .. }
            | Self::ProbeGone { .. }
            | Self::Move { .. }
            | Self::Nudge(_)
            | Self::CatchUp
            | Self::Deliver { .. }
            | Self::Tick { .. }
            | Self::Emit { .. }
            | Self::PresenceUpdate { .. }
            | Self::Command(_)
            | Self::Preferences
            | Self::SetPreferences(_)
            | Self::Disconnect
            | Self::Export { .. }
            | Self::Presence => false,
            #[cfg(feature = "instruments")]
            Self::Info => false,
        }
    }
}

/// Who opens a connection, and what they ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenCall {
    pub(crate) identity: Identity,
    pub(crate) wishes: Wishes,
}

/// The packet that opens a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Greeting {
    /// The hub has to send it.
    Owed,
    /// The client has it already, with this engine sid.
    Given { sid: String },
}

/// The answer to a nudge.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NudgeReply {
    /// The entry is in the inbox, now or since earlier.
    Applied(Receipt),
    /// The entry was in the inbox and is not any more.
    Gone,
    /// The user has muted the entry's category: it never comes into the inbox.
    Suppressed,
}

/// An [`Entry`] between objects.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EntryRecord {
    n: u64,
    id: NotificationId,
    created_at: Timestamp,
    content: Content,
}

impl EntryRecord {
    pub(crate) fn new(n: u64, notification: &Notification) -> Self {
        Self {
            n,
            id: notification.id,
            created_at: notification.created_at,
            content: notification.content.clone(),
        }
    }
}

impl From<EntryRecord> for Entry {
    fn from(record: EntryRecord) -> Self {
        Self {
            n: record.n,
            kind: EntryKind::Push(Some(Box::new(Notification {
                id: record.id,
                created_at: record.created_at,
                content: record.content,
            }))),
        }
    }
}

impl HubRequest {
    pub(crate) const fn new(user: UserId, call: HubCall) -> Self {
        Self {
            user,
            call,
            token: None,
        }
    }

    /// The call of a user themselves.
    pub(crate) fn of_user(identity: Identity, call: HubCall) -> Self {
        let Claims { issued_at, rooms } = Claims::of(&identity);
        Self {
            user: identity.user,
            call,
            token: Some(TokenTime {
                issued_at,
                rooms: Some(rooms),
            }),
        }
    }

    /// Calls the hub.
    ///
    /// # Errors
    /// When it can't be reached or does not answer 2xx.
    pub(crate) async fn send(&self, env: &Env) -> Result<Response> {
        let response = self.exchange(env).await?;
        if (200..300).contains(&response.status_code()) {
            Ok(response)
        } else {
            Err(Error::RustError(format!(
                "hub answered {}",
                response.status_code()
            )))
        }
    }

    /// Calls the hub and reads its answer.
    ///
    /// # Errors
    /// As [`HubRequest::send`], or when the answer is of another shape.
    pub(crate) async fn send_for<T: DeserializeOwned>(&self, env: &Env) -> Result<T> {
        self.send(env).await?.json().await
    }

    /// Calls the hub; whatever it answers is for the client.
    ///
    /// # Errors
    /// When it can't be reached.
    pub(crate) async fn exchange(&self, env: &Env) -> Result<Response> {
        self.fetch(env, post(self)?).await
    }

    /// Forwards a client's upgrade; the answer goes back to the client as it is, and no code of the
    /// Worker stays between the two.
    ///
    /// # Errors
    /// When the hub can't be reached.
    pub(crate) async fn forward(&self, env: &Env, upgrade: &Request) -> Result<Response> {
        let mut forwarded = upgrade.clone_mut()?;
        self.sign(&mut forwarded)?;
        self.fetch(env, forwarded).await
    }

    /// Opens a WebSocket of the Worker's own to the hub; `None` when the user has too many connections.
    ///
    /// # Errors
    /// When the hub can't be reached or does not take it.
    pub(crate) async fn connect(&self, env: &Env) -> Result<Option<WebSocket>> {
        let mut request = Request::new(HUB_URL, Method::Get)?;
        request.headers_mut()?.set("upgrade", "websocket")?;
        self.sign(&mut request)?;
        let response = self.fetch(env, request).await?;
        let status = response.status_code();
        match response.websocket() {
            None if status == TOO_MANY_OPEN => Ok(None),
            None => Err(Error::RustError(format!("hub answered {status} to an upgrade"))),
            taken => Ok(taken),
        }
    }

    fn sign(&self, request: &mut Request) -> Result<()> {
        let call = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self)?);
        request.headers_mut()?.set(CALL_HEADER, &call)
    }

    async fn fetch(&self, env: &Env, request: Request) -> Result<Response> {
        instruments::count(instruments::Unit::ObjectRequests, 1);
        bindings::user_hubs(env)?
            .get_by_name(self.user.as_str())?
            .fetch_with_request(request)
            .await
    }

    /// Reads a call, in the hub.
    ///
    /// # Errors
    /// When it is of another shape.
    pub(crate) async fn receive(request: &mut Request) -> Result<Self> {
        match call_header(request.headers())? {
            Some(json) => Ok(serde_json::from_slice(&json)?),
            None => Ok(serde_json::from_slice(&request.bytes().await?)?),
        }
    }
}

/// A request to an object with `body` as JSON.
///
/// # Errors
/// When it can't be made.
pub(crate) fn post<T: Serialize>(body: &T) -> Result<Request> {
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_body(Some(serde_json::to_string(body)?.into()));
    Request::new_with_init(HUB_URL, &init)
}

fn call_header(headers: &Headers) -> Result<Option<Vec<u8>>> {
    headers
        .get(CALL_HEADER)?
        .map(|text| {
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| Error::RustError("the call header is not base64url".to_owned()))
        })
        .transpose()
}
