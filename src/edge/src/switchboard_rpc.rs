//! How switchboards are called, and what they ask of hubs.
//!
//! Worker, hubs and switchboards may be of neighbouring versions while a deployment rolls out, so the
//! shapes here change only by addition; tests in the domain pin those that are its own.

use dormouse_domain::delivery::Tally;
use dormouse_domain::id::UserId;
use dormouse_domain::inbox::EntryKind;
use dormouse_domain::membership::Start;
pub(crate) use dormouse_domain::open_metrics::SwitchboardFigures;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::SwitchboardName;
pub(crate) use dormouse_domain::switchboard::catch_up::{Missed, More, Wanted};
pub(crate) use dormouse_domain::switchboard::presence::{Known, PresenceChange, PresenceSeen};
pub(crate) use dormouse_domain::switchboard::report::Report;
pub(crate) use dormouse_domain::switchboard::roster::{Attendance, HubReply, Needs, Who, Wish};
use dormouse_domain::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use worker::{Env, Error, Response, Result};

use crate::d1::OwedDelivery;
use crate::hub_rpc::post;
use crate::{bindings, instruments};

/// A call and the switchboard it is for: an object does not know its own name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SwitchboardRequest {
    pub(crate) to: SwitchboardName,
    pub(crate) call: SwitchboardCall,
}

/// What a switchboard can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SwitchboardCall {
    /// A hub asks what it missed, and says who is there: answers a [`Missed`].
    Attend(Attend),
    /// The last socket of a hub has closed.
    Leave { user: UserId, at: Timestamp },
    /// Write what a hub owes the record: answers when it is written.
    Settle {
        user: UserId,
        owed: Vec<OwedDelivery>,
        /// What became of deliveries since the hub last said so.
        #[serde(default)]
        tally: Tally,
    },
    /// Bring an entry of shared rooms to the members who are online: answers a [`FanOutReply`] once it will.
    FanOut(FanOut),
    /// Send a volatile event to those who are online: answers an [`EmitReply`].
    Emit(Emit),
    /// Who of these is online: answers a [`RosterReply`].
    Roster(RosterQuery),
    /// A page of the users who are online in a room: answers a [`RoomReply`].
    Room {
        room: SharedRoom,
        after: Option<UserId>,
        limit: usize,
    },
    /// How many users are online: answers a [`CountReply`].
    Count,
    /// What it measures of itself: answers [`SwitchboardFigures`].
    Figures,
    /// The user was erased: forget that there was one until `at`.
    Forget { user: UserId, at: Timestamp },
    /// What passes between switchboards of a generation.
    Peer(PeerCall),
    /// What the tests look at.
    #[cfg(feature = "instruments")]
    Info,
}

// ---- what hubs ask ----

/// A hub's question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attend {
    pub(crate) user: UserId,
    /// Who is there; `None` when nobody is and the hub only asks.
    pub(crate) attendance: Option<Attendance>,
    /// The logs the hub follows, its user's own first.
    pub(crate) wanted: Vec<Wanted>,
    /// The rooms the user's token puts them in, all of them, when the record has to be told.
    pub(crate) claims: Option<Vec<Claim>>,
    /// Whether somebody waits for the answer.
    pub(crate) haste: Haste,
}

/// How soon an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Haste {
    /// Somebody waits for it.
    Now,
    /// Within little more than a second: when very many come at once, that spares the record.
    Soon,
}

impl Attend {
    /// Whether nothing would be new to the switchboard, and nothing of the answer to `asked` is missing: all
    /// that may have changed is how far the logs are applied.
    pub(crate) fn is_answered_by(&self, asked: &Self) -> bool {
        let knows = |wanted: &Wanted| asked.wanted.iter().any(|other| other.room == wanted.room);
        let rooms = |attend: &Self| {
            attend
                .attendance
                .as_ref()
                .map(|attendance| attendance.rooms.clone())
        };
        let same_rooms = self.attendance.is_none() || rooms(self) == rooms(asked);
        self.wanted.iter().all(knows) && same_rooms && self.claims.is_none()
    }
}

/// A room that a token puts its user in, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) room: SharedRoom,
    pub(crate) from: Start,
}

// ---- what the Worker asks ----

/// An entry of one or more shared rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FanOut {
    /// The rooms and the entry's number in each.
    pub(crate) places: Vec<(SharedRoom, u64)>,
    /// What the entry says: the same in all.
    pub(crate) kind: EntryKind,
}

/// What a switchboard will do about an entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FanOutReply {
    /// How many of its users are online in each of the rooms, in the order of the call.
    pub(crate) online: Vec<u64>,
}

/// A volatile event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Emit {
    /// For these users of the switchboard's own; others are passed over.
    pub(crate) users: Vec<UserId>,
    /// And for everybody in these rooms.
    pub(crate) rooms: Vec<SharedRoom>,
    pub(crate) event: String,
    pub(crate) data: Box<RawValue>,
}

/// To whom a volatile event will be sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EmitReply {
    /// Which of the named users are online.
    pub(crate) users: Vec<UserId>,
    /// How many users are online in each of the rooms, in the order of the call.
    pub(crate) rooms: Vec<u64>,
}

/// A question about users.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RosterQuery {
    pub(crate) users: Vec<UserId>,
    /// Only about those who share one of these rooms; `None`: about all.
    pub(crate) sharing: Option<Vec<SharedRoom>>,
}

/// What is known of the users asked for, in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RosterReply {
    pub(crate) users: Vec<Known>,
}

/// A page of the users online in a room.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RoomReply {
    /// How many there are in all.
    pub(crate) online: u64,
    /// In the order of their ids.
    pub(crate) users: Vec<UserId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CountReply {
    pub(crate) online: u64,
}

// ---- what switchboards ask each other ----

/// What passes between switchboards of a generation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PeerCall {
    /// Hubs of this switchboard follow presence, or none does any more.
    Watching { index: u32, presence: Wish },
    /// How many users are online in these rooms, and whether any follows presence: answers an [`AudienceReply`].
    Audience { rooms: Vec<SharedRoom> },
    /// Tell those who follow presence.
    Changes(PresenceChanges),
    /// Admins are online at this switchboard: they want reports.
    Admins { index: u32 },
    /// What happened since the last report: answers a [`Report`].
    Report,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AudienceReply {
    /// How many users are online in each room, in the order of the call.
    pub(crate) online: Vec<u64>,
    /// Whether anybody follows presence.
    pub(crate) presence: Wish,
}

/// Users who came or went, and the rooms whose members may know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PresenceChanges {
    pub(crate) users: Vec<PresenceChange>,
}

impl SwitchboardRequest {
    pub(crate) const fn new(to: SwitchboardName, call: SwitchboardCall) -> Self {
        Self { to, call }
    }

    /// Calls the switchboard.
    ///
    /// # Errors
    /// When it can't be reached or does not answer 2xx.
    pub(crate) async fn send(&self, env: &Env) -> Result<Response> {
        instruments::count(instruments::Unit::ObjectRequests, 1);
        let response = bindings::switchboards(env)?
            .get_by_name(&self.to.to_string())?
            .fetch_with_request(post(self)?)
            .await?;
        let status = response.status_code();
        if (200..300).contains(&status) {
            Ok(response)
        } else {
            Err(Error::RustError(format!(
                "switchboard {} answered {status}",
                self.to
            )))
        }
    }

    /// Calls the switchboard and reads its answer.
    ///
    /// # Errors
    /// As [`SwitchboardRequest::send`], or when the answer is of another shape.
    pub(crate) async fn send_for<T: DeserializeOwned>(&self, env: &Env) -> Result<T> {
        self.send(env).await?.json().await
    }
}
