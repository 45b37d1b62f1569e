//! A push's way once it is checked: commit to the record, nudge the hubs, say what became of it
//! (DESIGN 7). One push or many, it is the same way.

use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::item::Receipt;
use dormouse_domain::notification::{Content, Notification};
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::push::{Mistake, Push, Recipient};
use dormouse_domain::template::Found;
use dormouse_domain::time::{Timestamp, iso};
use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use worker::{Env, Result};

use crate::d1::{Claim, Commit, Committed, Order, Origin, When};
use crate::hub_rpc::{EntryRecord, HubCall, HubRequest, NudgeReply};
use crate::instruments::{FailPoint, reach};
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
    suppressed: usize,
    rejected: usize,
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
    Accepted { seq: Option<u64> },
    Suppressed { reason: &'static str },
    Scheduled,
    Rejected { problem: Problem },
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
        let users = push.users().cloned().collect();
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
            users,
            claim,
            when: match (&lapsed, push.deliver_at) {
                (Some(_), deliver_at) => When::Lapsed(deliver_at),
                (None, Some(deliver_at)) => When::Later(deliver_at),
                (None, None) => When::Now,
            },
        });
        answers.push(Waiting::Ordered(push.recipients, lapsed));
    }
    reach(FailPoint::PushBeforeCommit).await?;
    let commits = record.commit(&orders, now).await?;
    reach(FailPoint::PushCommitted).await?;
    let told = nudge(env, &commits).await;
    reach(FailPoint::PushNudged).await?;
    let mut settled = commits.into_iter().zip(told);
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

/// A push on its way.
enum Waiting {
    /// It can't be done, and there is no earlier one it could stand for.
    Refused(Problem),
    /// The record decides; why it can't be done any more, if so.
    Ordered(Vec<Recipient>, Option<Problem>),
}

/// What a hub has said to an entry.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    /// It is in the inbox.
    Created(Receipt),
    /// The user wants to hear nothing of its kind.
    Suppressed,
    /// Nothing yet, or it has been there and is gone.
    Nothing,
}

impl From<NudgeReply> for Told {
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

/// What each user's hub has said to one push.
pub(crate) type ToldUsers = Vec<(UserId, Told)>;

/// Brings what was stored to the hubs of its users: many users at a time, each user's entries in order.
/// What their hubs have said, for each commit.
pub(crate) async fn nudge(env: &Env, commits: &[Commit]) -> Vec<ToldUsers> {
    let mut hubs: Vec<(&UserId, Vec<StoredEntry<'_>>)> = Vec::new();
    for (at, commit) in commits.iter().enumerate() {
        let Commit::Stored(Committed {
            notification,
            entries,
            ..
        }) = commit
        else {
            continue;
        };
        for (user, n) in entries {
            let entry = StoredEntry {
                at,
                n: *n,
                notification,
            };
            match hubs.iter_mut().find(|(known, _)| *known == user) {
                Some((_, entries)) => entries.push(entry),
                None => hubs.push((user, vec![entry])),
            }
        }
    }
    let hubs = hubs.into_iter().map(|(user, entries)| async move {
        let mut told = Vec::with_capacity(entries.len());
        for entry in entries {
            let call = HubCall::Nudge(EntryRecord::new(entry.n, entry.notification));
            told.push((entry.at, user, nudge_one(env, user.clone(), call).await));
        }
        told
    });
    let answers: Vec<_> = stream::iter(hubs).buffer_unordered(HUBS_AT_ONCE).collect().await;
    let mut by_commit: Vec<ToldUsers> = commits.iter().map(|_| Vec::new()).collect();
    for (at, user, told) in answers.into_iter().flatten() {
        if let Some(users) = by_commit.get_mut(at) {
            users.push((user.clone(), told));
        }
    }
    by_commit
}

/// Brings an entry to its user's hub. The push is stored by now: a hub that can't be reached gets the
/// nudge by the queue, and failing that by its own cursor when it next hears of anything.
async fn nudge_one(env: &Env, user: UserId, call: HubCall) -> Told {
    match HubRequest::new(user.clone(), call)
        .send_for::<NudgeReply>(env)
        .await
    {
        Ok(reply) => reply.into(),
        Err(error) => {
            nudges::tell_later(env, user, &error).await;
            Told::Nothing
        }
    }
}

impl Answer {
    fn sent(recipients: &[Recipient], committed: &Committed, told: &ToldUsers) -> Self {
        let results = outcomes(recipients, |user| {
            let found = told.iter().find(|(known, _)| known == user);
            match found.map_or(Told::Nothing, |(_, told)| *told) {
                Told::Created(receipt) => Status::Created(receipt),
                Told::Suppressed => Status::Suppressed {
                    reason: "muted_category",
                },
                Told::Nothing => Status::Accepted { seq: None },
            }
        });
        let mut counts = SentCounts::default();
        for outcome in &results {
            let count = match outcome.status {
                Status::Created(_) | Status::Accepted { .. } | Status::Scheduled => &mut counts.created,
                Status::Suppressed { .. } => &mut counts.suppressed,
                Status::Rejected { .. } => &mut counts.rejected,
            };
            *count = count.saturating_add(1);
        }
        Self {
            status: if counts.rejected == 0 { 201 } else { 207 },
            body: Body::Sent {
                id: committed.notification.id,
                created_at: committed.notification.created_at,
                counts,
                results,
            },
            origin: committed.origin,
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

fn outcomes(recipients: &[Recipient], of_user: impl Fn(&UserId) -> Status) -> Vec<Outcome> {
    let outcome = |recipient: &Recipient| match recipient {
        Recipient::User(user) => Outcome {
            to: format!("user:{user}"),
            status: of_user(user),
        },
        Recipient::Rejected { to, reason } => Outcome {
            to: to.clone(),
            status: Status::Rejected {
                problem: Problem::new(Code::InvalidRecipient).errors(vec![Mistake {
                    pointer: String::new(),
                    detail: reason.clone(),
                }]),
            },
        },
    };
    recipients.iter().map(outcome).collect()
}
