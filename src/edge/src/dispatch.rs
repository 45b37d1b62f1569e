//! A push's way once it is checked: commit to the record, nudge the hubs, say what became of it
//! (DESIGN 7). One push or many, it is the same way.

use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::inbox::EntryKind;
use dormouse_domain::item::Receipt;
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::push::{Push, Recipient, rejection};
use dormouse_domain::room::{Room, SharedRoom};
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::template::Found;
use dormouse_domain::time::{Timestamp, iso};
use futures_util::{StreamExt, future, stream};
use serde::Serialize;
use worker::{Env, Result};

use crate::d1::{Claim, Commit, Commits, Committed, Order, Origin, When};
use crate::hub_rpc::{EntryRecord, HubCall, HubRequest, NudgeReply};
use crate::instruments::{FailPoint, reach};
use crate::metrics::{self, Point};
use crate::switchboard_rpc::{FanOut, FanOutReply};
use crate::{bindings, entropy, nudges};

/// Hubs that are told at the same time.
pub(crate) const HUBS_AT_ONCE: usize = 100;

/// A push that somebody asks for.
pub(crate) struct Asked {
    pub(crate) push: Push,
    pub(crate) claim: Option<Claim>,
}

/// What became of it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Body,
    pub(crate) origin: Origin,
}

/// What the pusher is told.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Body {
    Sent {
        id: NotificationId,
        #[serde(with = "iso")]
        created_at: Timestamp,
        counts: SentCounts,
        results: Vec<Outcome>,
    },
    Scheduled {
        id: NotificationId,
        #[serde(with = "iso")]
        deliver_at: Timestamp,
        counts: ScheduledCounts,
        results: Vec<Outcome>,
    },
}

#[derive(Default, Serialize)]
pub(crate) struct SentCounts {
    created: usize,
    /// Shared rooms, whose members are told by and by.
    #[serde(skip_serializing_if = "is_zero")]
    accepted: usize,
    suppressed: usize,
    rejected: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Default, Serialize)]
pub(crate) struct ScheduledCounts {
    scheduled: usize,
    rejected: usize,
}

#[derive(Serialize)]
pub(crate) struct Outcome {
    to: String,
    #[serde(flatten)]
    status: Status,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Status {
    Created(Receipt),
    Accepted {
        seq: Option<u64>,
    },
    #[serde(rename = "accepted")]
    FanningOut {
        online_users: u64,
    },
    Suppressed {
        reason: &'static str,
    },
    Scheduled,
    Rejected {
        problem: Problem,
    },
}

/// Stores the pushes and tells the hubs; what became of each, in the same order.
///
/// # Errors
/// When the record could not be written: then none of them is stored, or, if only the answer was lost, all
/// of them.
pub(crate) async fn dispatch(
    env: &Env,
    asked: Vec<Asked>,
    now: Timestamp,
) -> Result<Vec<std::result::Result<Answer, Problem>>> {
    let record = bindings::record(env)?;
    let lookups: Vec<_> = asked
        .iter()
        .filter_map(|asked| asked.push.draft.lookup())
        .collect();
    let mut found = record.look_up(&lookups).await?.into_iter();
    let (mut orders, mut answers) = (Vec::new(), Vec::new());
    for Asked { push, claim } in asked {
        let found = match push.draft.lookup() {
            Some(_) => found.next().unwrap_or_default(),
            None => Found::default(),
        };
        let rooms = push.rooms().cloned().collect();
        let (content, lapsed) = match (push.draft.resolve(found), push.lapsed) {
            (Ok(content), lapsed) => (content, lapsed),
            // It may be repeated when its template has gone or wants other data.
            (Err(problem), _) => (Content::default(), Some(problem)),
        };
        if let (Some(problem), None) = (&lapsed, &claim) {
            answers.push(Waiting::Refused(problem.clone()));
            continue;
        }
        orders.push(Order {
            notification: Notification {
                id: NotificationId::generate(now, entropy::bytes()?),
                created_at: now,
                content,
            },
            rooms,
            claim,
            when: match (&lapsed, push.deliver_at) {
                (Some(_), deliver_at) => When::Lapsed(deliver_at),
                (None, Some(deliver_at)) => When::Later(deliver_at),
                (None, None) => When::Now,
            },
        });
        answers.push(Waiting::Ordered(push.recipients, lapsed));
    }
    #[cfg(feature = "instruments")]
    crate::instruments::tell_too_early(env, &orders).await?;
    reach(FailPoint::PushBeforeCommit).await?;
    let commits = record.commit(&orders, now).await?;
    metrics::write(env, &[(Point::Push, stored(&commits))]);
    reach(FailPoint::PushCommitted).await?;
    let told = nudge(env, &commits).await;
    reach(FailPoint::PushNudged).await?;
    let mut settled = commits.commits.into_iter().zip(told);
    let mut settle = |answer| {
        let (recipients, lapsed) = match answer {
            Waiting::Refused(problem) => return Err(problem),
            Waiting::Ordered(recipients, lapsed) => (recipients, lapsed),
        };
        match settled.next() {
            Some((Commit::Stored(committed), told)) => Ok(Answer::sent(&recipients, &committed, &told)),
            Some((
                Commit::Scheduled {
                    id,
                    deliver_at,
                    origin,
                },
                _,
            )) => Ok(Answer::scheduled(&recipients, id, deliver_at, origin)),
            Some((Commit::Mismatch, _)) => Err(Problem::new(Code::IdempotencyMismatch)),
            Some((Commit::Gone, _)) => Err(Problem::new(Code::Gone)),
            Some((Commit::Nothing, _)) | None => {
                Err(lapsed.unwrap_or_else(|| Problem::new(Code::Unavailable)))
            }
        }
    };
    Ok(answers.into_iter().map(&mut settle).collect())
}

/// How many notifications were stored, without those that are there since earlier.
pub(crate) fn stored(commits: &Commits) -> u64 {
    let own = commits.commits.iter().filter(|commit| match commit {
        Commit::Stored(committed) => committed.origin == Origin::Own,
        Commit::Scheduled { .. } | Commit::Mismatch | Commit::Gone | Commit::Nothing => false,
    });
    u64::try_from(own.count()).unwrap_or(u64::MAX)
}

/// A push on its way.
enum Waiting {
    /// It can't be done, and there is no earlier one it could stand for.
    Refused(Problem),
    /// The record decides; why it can't be done any more, if so.
    Ordered(Vec<Recipient>, Option<Problem>),
}

/// What those who were told of a push have said.
#[derive(Default)]
pub(crate) struct Told {
    /// Each user's hub.
    users: Vec<(UserId, Reply)>,
    /// How many users are online in each of the shared rooms, by what the switchboards say.
    rooms: Vec<(SharedRoom, u64)>,
    requests: usize,
}

impl Told {
    /// How many objects were asked.
    pub(crate) const fn requests(&self) -> usize {
        self.requests
    }

    fn said(&mut self, switchboard: Option<FanOutReply>, fan_out: &FanOut) {
        self.requests = self.requests.saturating_add(1);
        let online = switchboard.map(|reply| reply.online).unwrap_or_default();
        let online = online.into_iter().chain(std::iter::repeat(0));
        for ((room, _), count) in fan_out.places.iter().zip(online) {
            match self.rooms.iter_mut().find(|(known, _)| known == room) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => self.rooms.push((room.clone(), count)),
            }
        }
    }
}

/// What a hub has said to an entry.
#[derive(Clone, Copy)]
enum Reply {
    /// It is in the inbox.
    Created(Receipt),
    /// The user wants to hear nothing of its kind.
    Suppressed,
    /// Nothing yet, or it has been there and is gone.
    Nothing,
}

impl From<NudgeReply> for Reply {
    fn from(reply: NudgeReply) -> Self {
        match reply {
            NudgeReply::Applied(receipt) => Self::Created(receipt),
            NudgeReply::Suppressed => Self::Suppressed,
            NudgeReply::Gone => Self::Nothing,
        }
    }
}

/// An entry of a user's room, and the place of its commit.
struct StoredEntry<'a> {
    at: usize,
    n: u64,
    notification: &'a Notification,
}

/// Brings what was stored to the hubs of its users, and to the switchboards when it is for shared rooms: many
/// at a time, each one's entries in order. What they have said, for each commit.
pub(crate) async fn nudge(env: &Env, stored: &Commits) -> Vec<Told> {
    let mut hubs: Vec<(&UserId, Vec<StoredEntry<'_>>)> = Vec::new();
    let mut fan_outs = Vec::new();
    for (at, commit) in stored.commits.iter().enumerate() {
        let Commit::Stored(Committed {
            notification, places, ..
        }) = commit
        else {
            continue;
        };
        let mut shared = Vec::new();
        for (room, n) in places {
            let entry = StoredEntry {
                at,
                n: *n,
                notification,
            };
            match room {
                Room::Shared(room) => shared.push((room.clone(), *n)),
                Room::User(user) => match hubs.iter_mut().find(|(known, _)| *known == user) {
                    Some((_, entries)) => entries.push(entry),
                    None => hubs.push((user, vec![entry])),
                },
            }
        }
        if !shared.is_empty() {
            let kind = EntryKind::Push(Some(Box::new(notification.clone())));
            fan_outs.push((at, FanOut { places: shared, kind }));
        }
    }
    let (users, rooms) = future::join(
        nudge_users(env, hubs),
        tell_switchboards(env, &stored.switchboards, &fan_outs),
    )
    .await;
    let mut told: Vec<Told> = stored.commits.iter().map(|_| Told::default()).collect();
    for (at, user, reply) in users {
        if let Some(told) = told.get_mut(at) {
            told.requests = told.requests.saturating_add(1);
            told.users.push((user, reply));
        }
    }
    for (at, fan_out) in &fan_outs {
        for (_, reply) in rooms.iter().filter(|(asked, _)| asked == at) {
            if let Some(told) = told.get_mut(*at) {
                told.said(reply.clone(), fan_out);
            }
        }
    }
    told
}

async fn nudge_users(env: &Env, hubs: Vec<(&UserId, Vec<StoredEntry<'_>>)>) -> Vec<(usize, UserId, Reply)> {
    let hubs = hubs.into_iter().map(|(user, entries)| async move {
        let mut told = Vec::with_capacity(entries.len());
        for entry in entries {
            let call = HubCall::Nudge(EntryRecord::new(entry.n, entry.notification));
            told.push((entry.at, user.clone(), nudge_one(env, user.clone(), call).await));
        }
        told
    });
    let answers: Vec<_> = stream::iter(hubs).buffer_unordered(HUBS_AT_ONCE).collect().await;
    answers.into_iter().flatten().collect()
}

/// Brings an entry to its user's hub. The push is stored by now: a hub that can't be reached gets the
/// nudge by the queue, and failing that by its own cursor when it next hears of anything.
async fn nudge_one(env: &Env, user: UserId, call: HubCall) -> Reply {
    match HubRequest::new(user.clone(), call)
        .send_for::<NudgeReply>(env)
        .await
    {
        Ok(reply) => reply.into(),
        Err(error) => {
            nudges::tell_later(env, user, &error).await;
            Reply::Nothing
        }
    }
}

/// Brings entries of shared rooms to the switchboards, each of which gets them in order. What each has said to
/// each; one that can't be reached gets it by the queue.
async fn tell_switchboards(
    env: &Env,
    switchboards: &[SwitchboardName],
    fan_outs: &[(usize, FanOut)],
) -> Vec<(usize, Option<FanOutReply>)> {
    let telling = switchboards.iter().map(|switchboard| async move {
        let mut replies = Vec::with_capacity(fan_outs.len());
        for (at, fan_out) in fan_outs {
            replies.push((*at, nudges::fan_out(env, *switchboard, fan_out).await));
        }
        replies
    });
    let replies: Vec<_> = stream::iter(telling)
        .buffer_unordered(HUBS_AT_ONCE)
        .collect()
        .await;
    replies.into_iter().flatten().collect()
}

/// Tells everybody whom it concerns that an entry was appended to these rooms.
pub(crate) async fn tell(
    env: &Env,
    switchboards: &[SwitchboardName],
    places: Vec<(Room, u64)>,
    kind: EntryKind,
) {
    let (mut users, mut shared) = (Vec::new(), Vec::new());
    for (room, n) in places {
        match room {
            Room::User(user) => users.push(user),
            Room::Shared(room) => shared.push((room, n)),
        }
    }
    nudges::catch_up(env, users).await;
    if !shared.is_empty() {
        let fan_out = FanOut { places: shared, kind };
        tell_switchboards(env, switchboards, &[(0, fan_out)]).await;
    }
}

impl Answer {
    fn sent(recipients: &[Recipient], committed: &Committed, told: &Told) -> Self {
        let results = outcomes(recipients, |room| match room {
            Room::User(user) => {
                let found = told.users.iter().find(|(known, _)| known == user);
                match found.map_or(Reply::Nothing, |(_, reply)| *reply) {
                    Reply::Created(receipt) => Status::Created(receipt),
                    Reply::Suppressed => Status::Suppressed {
                        reason: "muted_category",
                    },
                    Reply::Nothing => Status::Accepted { seq: None },
                }
            }
            Room::Shared(room) => {
                let found = told.rooms.iter().find(|(known, _)| known == room);
                Status::FanningOut {
                    online_users: found.map_or(0, |(_, online)| *online),
                }
            }
        });
        let mut counts = SentCounts::default();
        for outcome in &results {
            let count = match outcome.status {
                Status::Created(_) | Status::Accepted { .. } | Status::Scheduled => &mut counts.created,
                Status::FanningOut { .. } => &mut counts.accepted,
                Status::Suppressed { .. } => &mut counts.suppressed,
                Status::Rejected { .. } => &mut counts.rejected,
            };
            *count = count.saturating_add(1);
        }
        Self {
            status: match (counts.rejected, counts.accepted) {
                (0, 0) => 201,
                (0, _) => 202,
                _ => 207,
            },
            body: Body::Sent {
                id: committed.notification.id,
                created_at: committed.notification.created_at,
                counts,
                results,
            },
            origin: committed.origin,
        }
    }

    /// The push, when it is not done with by this answer: its pusher can look how it goes on.
    pub(crate) const fn goes_on(&self) -> Option<NotificationId> {
        match &self.body {
            Body::Scheduled { id, .. } => Some(*id),
            Body::Sent { id, counts, .. } if counts.accepted > 0 => Some(*id),
            Body::Sent { .. } => None,
        }
    }

    fn scheduled(
        recipients: &[Recipient],
        id: NotificationId,
        deliver_at: Timestamp,
        origin: Origin,
    ) -> Self {
        let results = outcomes(recipients, |_| Status::Scheduled);
        let rejected = results
            .iter()
            .filter(|outcome| matches!(outcome.status, Status::Rejected { .. }))
            .count();
        Self {
            status: 202,
            body: Body::Scheduled {
                id,
                deliver_at,
                counts: ScheduledCounts {
                    scheduled: results.len().saturating_sub(rejected),
                    rejected,
                },
                results,
            },
            origin,
        }
    }
}

fn outcomes(recipients: &[Recipient], of_room: impl Fn(&Room) -> Status) -> Vec<Outcome> {
    let outcome = |recipient: &Recipient| match recipient {
        Recipient::Room(room) => Outcome {
            to: room.to_string(),
            status: of_room(room),
        },
        Recipient::Rejected { to, reason } => Outcome {
            to: to.clone(),
            status: Status::Rejected {
                problem: rejection(reason),
            },
        },
    };
    recipients.iter().map(outcome).collect()
}
