//! What a pusher can learn of a push afterwards, from the record alone (DESIGN 7, 9).
//!
//! The record learns of a user's delivery from the user's object, which sleeps while nothing happens. What
//! is over, by time or because the push was retracted, is over for everybody who has not got it: nobody
//! is woken to say so.

use serde::Serialize;

use crate::delivery::DeliveryStatus;
use crate::id::{NotificationId, RecipientId, UserId};
use crate::page::{UserCursor, limit};
use crate::problem::Problem;
use crate::time::{Timestamp, iso};

/// A push as the record holds it, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRecord {
    /// Its id.
    pub id: NotificationId,
    /// When it was delivered; of one that is not delivered, when it was accepted.
    pub created_at: Timestamp,
    /// When it is over.
    pub expires_at: Option<Timestamp>,
    /// Until when it waits, or waited.
    pub deliver_at: Option<Timestamp>,
    /// What became of it.
    pub state: PushState,
    /// The rooms it is for.
    pub audience: Vec<String>,
}

/// What became of a push as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushState {
    /// It waits for its time.
    Scheduled,
    /// It was canceled while it waited, then.
    Canceled(Timestamp),
    /// It is in its recipients' lists.
    Sent,
    /// It was taken back, then.
    Retracted(Timestamp),
}

impl PushState {
    const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Canceled(_) => "canceled",
            Self::Sent => "sent",
            Self::Retracted(_) => "retracted",
        }
    }
}

/// What a delivery comes to at last, when nobody has confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may still be confirmed.
    Open,
    /// The push has expired.
    Expired,
    /// The push was retracted.
    Canceled,
}

impl PushRecord {
    /// What an unconfirmed delivery of it has come to at `now`.
    #[must_use]
    pub fn fate(&self, now: Timestamp) -> Fate {
        let retracted_at = match self.state {
            PushState::Retracted(at) => Some(at),
            PushState::Scheduled | PushState::Canceled(_) | PushState::Sent => None,
        };
        // Once retracted it is out of every list and does not expire any more.
        let open_until = retracted_at.unwrap_or(now);
        if self.expires_at.is_some_and(|at| at <= open_until) {
            Fate::Expired
        } else if retracted_at.is_some() {
            Fate::Canceled
        } else {
            Fate::Open
        }
    }

    /// The answer to `GET /v1/notifications/{id}` at `now`. `recorded` are the deliveries by the status
    /// that the record has of them, `read` how many users have read it.
    #[must_use]
    pub fn view(&self, now: Timestamp, recorded: &[(DeliveryStatus, u64)], read: u64) -> PushView<'_> {
        let fate = self.fate(now);
        let mut counts = DeliveryCounts::default();
        for (status, deliveries) in recorded {
            let count = counts.of(fate.settles(*status));
            *count = count.saturating_add(*deliveries);
        }
        let (canceled_at, retracted_at) = match self.state {
            PushState::Scheduled | PushState::Sent => (None, None),
            PushState::Canceled(at) => (Some(at), None),
            PushState::Retracted(at) => (None, Some(at)),
        };
        PushView {
            id: self.id,
            created_at: self.created_at,
            expires_at: self.expires_at,
            deliver_at: self.deliver_at,
            retracted_at,
            canceled_at,
            status: self.state.name(),
            audience: &self.audience,
            counts,
            read,
        }
    }
}

impl Fate {
    /// What a delivery counts as of which the record says `recorded`.
    #[must_use]
    pub const fn settles(self, recorded: DeliveryStatus) -> DeliveryStatus {
        match recorded {
            DeliveryStatus::Pending | DeliveryStatus::Failed | DeliveryStatus::PermanentFailure => match self
            {
                Self::Open => recorded,
                Self::Expired => DeliveryStatus::Expired,
                Self::Canceled => DeliveryStatus::Canceled,
            },
            DeliveryStatus::Delivered
            | DeliveryStatus::Suppressed
            | DeliveryStatus::Expired
            | DeliveryStatus::Canceled => recorded,
        }
    }

    /// What the record says of deliveries that count as `wanted`.
    #[must_use]
    pub fn recorded_as(self, wanted: DeliveryStatus) -> Vec<DeliveryStatus> {
        DeliveryStatus::ALL
            .into_iter()
            .filter(|recorded| self.settles(*recorded) == wanted)
            .collect()
    }
}

/// How many deliveries there are of each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeliveryCounts {
    pending: u64,
    delivered: u64,
    failed: u64,
    permanent_failure: u64,
    expired: u64,
    canceled: u64,
    suppressed: u64,
}

impl DeliveryCounts {
    const fn of(&mut self, status: DeliveryStatus) -> &mut u64 {
        match status {
            DeliveryStatus::Pending => &mut self.pending,
            DeliveryStatus::Failed => &mut self.failed,
            DeliveryStatus::PermanentFailure => &mut self.permanent_failure,
            DeliveryStatus::Delivered => &mut self.delivered,
            DeliveryStatus::Suppressed => &mut self.suppressed,
            DeliveryStatus::Expired => &mut self.expired,
            DeliveryStatus::Canceled => &mut self.canceled,
        }
    }
}

/// The answer to `GET /v1/notifications/{id}`.
#[derive(Debug, Serialize)]
pub struct PushView<'a> {
    id: NotificationId,
    #[serde(with = "iso")]
    created_at: Timestamp,
    #[serde(with = "iso::option")]
    expires_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    deliver_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    retracted_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    canceled_at: Option<Timestamp>,
    status: &'static str,
    audience: &'a [String],
    counts: DeliveryCounts,
    read: u64,
}

/// Which recipients of a push are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientsRequest {
    /// Only those whose delivery counts as this.
    pub status: Option<DeliveryStatus>,
    /// Only those after this user.
    pub after: Option<UserId>,
    /// At most this many.
    pub limit: usize,
}

impl RecipientsRequest {
    /// Reads the query parameters `status`, `limit` and `cursor`.
    ///
    /// # Errors
    /// A [`Problem`] that names the first parameter that is wrong.
    pub fn parse(status: Option<&str>, size: Option<&str>, cursor: Option<&str>) -> Result<Self, Problem> {
        let status = status
            .map(|name| {
                DeliveryStatus::parse(name).ok_or_else(|| {
                    let names = DeliveryStatus::ALL.map(DeliveryStatus::name).join(", ");
                    Problem::parameter("status", format!("expected one of {names}"))
                })
            })
            .transpose()?;
        let parse = |text| UserCursor::parse(text).map(|cursor| cursor.after);
        Ok(Self {
            status,
            after: cursor.map(parse).transpose()?,
            limit: limit(size)?,
        })
    }
}

/// One delivery as the record holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Whose it is.
    pub user: UserId,
    /// What the record says.
    pub status: DeliveryStatus,
    /// How often it was sent to at least one open socket.
    pub attempts: u32,
    /// When it is sent again.
    pub next_retry_at: Option<Timestamp>,
    /// How it was confirmed, as the user's object names it.
    pub via: Option<String>,
    /// When it was confirmed.
    pub delivered_at: Option<Timestamp>,
    /// When the user saw it.
    pub seen_at: Option<Timestamp>,
    /// When the user read it.
    pub read_at: Option<Timestamp>,
    /// When the user archived it.
    pub archived_at: Option<Timestamp>,
    /// When it left the user's list.
    pub deleted_at: Option<Timestamp>,
}

impl DeliveryRecord {
    /// One entry of `GET /v1/notifications/{id}/recipients`.
    #[must_use]
    pub fn view(self, id: NotificationId, fate: Fate) -> DeliveryView {
        let delivery_status = fate.settles(self.status);
        let receipts = match (&self.via, self.delivered_at) {
            (Some(via), Some(at)) => vec![ReceiptView { via: via.clone(), at }],
            (Some(_) | None, _) => Vec::new(),
        };
        DeliveryView {
            recipient_id: id.recipient(&self.user),
            user_id: self.user,
            delivery_status,
            attempts: self.attempts,
            next_retry_at: self
                .next_retry_at
                .filter(|_| delivery_status == DeliveryStatus::Failed),
            via: self.via,
            delivered_at: self.delivered_at,
            seen_at: self.seen_at,
            read_at: self.read_at,
            archived_at: self.archived_at,
            deleted_at: self.deleted_at,
            receipts,
        }
    }
}

/// One entry of `GET /v1/notifications/{id}/recipients`.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    user_id: UserId,
    recipient_id: RecipientId,
    delivery_status: DeliveryStatus,
    attempts: u32,
    #[serde(with = "iso::option")]
    next_retry_at: Option<Timestamp>,
    via: Option<String>,
    #[serde(with = "iso::option")]
    delivered_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    seen_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    read_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    archived_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    deleted_at: Option<Timestamp>,
    receipts: Vec<ReceiptView>,
}

#[derive(Debug, Serialize)]
struct ReceiptView {
    via: String,
    #[serde(with = "iso")]
    at: Timestamp,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use serde_json::json;

    use super::*;
    use DeliveryStatus::{Canceled, Delivered, Expired, Failed, Pending, PermanentFailure, Suppressed};

    const T1: Timestamp = Timestamp::from_ms(1_795_158_000_000);
    const T2: Timestamp = T1.after_ms(1);
    const T3: Timestamp = T1.after_ms(2);

    fn push(expires_at: Option<Timestamp>, state: PushState) -> PushRecord {
        PushRecord {
            id: NotificationId::parse("01929c3e-0000-7000-8000-000000000001").unwrap(),
            created_at: T1,
            expires_at,
            deliver_at: None,
            state,
            audience: vec!["user:41".to_owned()],
        }
    }

    #[test]
    fn what_comes_first_decides_what_becomes_of_the_unconfirmed() {
        for (expires_at, state, fate) in [
            (None, PushState::Sent, Fate::Open),
            (Some(T3), PushState::Sent, Fate::Open),
            (Some(T2), PushState::Sent, Fate::Expired),
            (Some(T1), PushState::Sent, Fate::Expired),
            (None, PushState::Retracted(T1), Fate::Canceled),
            (Some(T2), PushState::Retracted(T1), Fate::Canceled),
            (Some(T1), PushState::Retracted(T2), Fate::Expired),
            (Some(T3), PushState::Scheduled, Fate::Open),
            (Some(T3), PushState::Canceled(T1), Fate::Open),
        ] {
            assert_eq!(push(expires_at, state).fate(T2), fate, "{expires_at:?} {state:?}");
        }
    }

    #[test]
    fn only_the_unconfirmed_share_the_fate_of_the_push() {
        for (recorded, expired, canceled) in [
            (Pending, Expired, Canceled),
            (Failed, Expired, Canceled),
            (PermanentFailure, Expired, Canceled),
            (Delivered, Delivered, Delivered),
            (Suppressed, Suppressed, Suppressed),
            (Expired, Expired, Expired),
            (Canceled, Canceled, Canceled),
        ] {
            assert_eq!(Fate::Open.settles(recorded), recorded);
            assert_eq!(Fate::Expired.settles(recorded), expired);
            assert_eq!(Fate::Canceled.settles(recorded), canceled);
        }
    }

    #[test]
    fn every_delivery_is_found_under_what_it_counts_as_and_nowhere_else() {
        for fate in [Fate::Open, Fate::Expired, Fate::Canceled] {
            let mut found: Vec<_> = DeliveryStatus::ALL
                .into_iter()
                .flat_map(|wanted| fate.recorded_as(wanted))
                .map(DeliveryStatus::name)
                .collect();
            found.sort_unstable();
            let mut all = DeliveryStatus::ALL.map(DeliveryStatus::name);
            all.sort_unstable();
            assert_eq!(found, all, "{fate:?}");
        }
        assert_eq!(Fate::Expired.recorded_as(Pending), []);
        assert_eq!(
            Fate::Expired.recorded_as(Expired),
            [Pending, Failed, PermanentFailure, Expired]
        );
    }

    #[test]
    fn the_status_of_a_push_has_every_field_a_service_relies_on() {
        let record = push(Some(T2), PushState::Retracted(T3));
        let view = record.view(
            T3,
            &[
                (Pending, 1),
                (Failed, 2),
                (Delivered, 3),
                (Expired, 4),
                (Suppressed, 5),
            ],
            2,
        );
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            r#"{"id":"01929c3e-0000-7000-8000-000000000001","created_at":"2026-11-20T07:00:00.000Z","expires_at":"2026-11-20T07:00:00.001Z","deliver_at":null,"retracted_at":"2026-11-20T07:00:00.002Z","canceled_at":null,"status":"retracted","audience":["user:41"],"counts":{"pending":0,"delivered":3,"failed":0,"permanent_failure":0,"expired":7,"canceled":0,"suppressed":5},"read":2}"#
        );
        for (state, name) in [
            (PushState::Scheduled, "scheduled"),
            (PushState::Canceled(T1), "canceled"),
            (PushState::Sent, "sent"),
        ] {
            let view = serde_json::to_value(push(None, state).view(T3, &[], 0)).unwrap();
            assert_eq!(view["status"], name);
        }
    }

    #[test]
    fn a_recipient_has_every_field_a_service_relies_on() {
        let id = push(None, PushState::Sent).id;
        let record = DeliveryRecord {
            user: UserId::parse("u1").unwrap(),
            status: Failed,
            attempts: 2,
            next_retry_at: Some(T2),
            via: None,
            delivered_at: None,
            seen_at: Some(T1),
            read_at: None,
            archived_at: None,
            deleted_at: None,
        };
        assert_eq!(
            serde_json::to_string(&record.clone().view(id, Fate::Open)).unwrap(),
            r#"{"user_id":"u1","recipient_id":"470314a0-6846-569f-81e6-a8e84f826fc0","delivery_status":"failed","attempts":2,"next_retry_at":"2026-11-20T07:00:00.001Z","via":null,"delivered_at":null,"seen_at":"2026-11-20T07:00:00.000Z","read_at":null,"archived_at":null,"deleted_at":null,"receipts":[]}"#
        );
        let expired = serde_json::to_value(record.clone().view(id, Fate::Expired)).unwrap();
        assert_eq!(
            (&expired["delivery_status"], &expired["next_retry_at"]),
            (&json!("expired"), &json!(null))
        );
        let delivered = DeliveryRecord {
            status: Delivered,
            via: Some("ack".to_owned()),
            delivered_at: Some(T2),
            ..record
        };
        assert_eq!(
            serde_json::to_value(delivered.view(id, Fate::Expired)).unwrap()["receipts"],
            json!([{"via": "ack", "at": "2026-11-20T07:00:00.001Z"}])
        );
    }

    #[test]
    fn wrong_parameters_are_named() {
        let cursor = UserCursor {
            after: UserId::parse("u1").unwrap(),
        };
        assert_eq!(
            RecipientsRequest::parse(Some("permanent_failure"), Some("7"), Some(&cursor.encode())),
            Ok(RecipientsRequest {
                status: Some(PermanentFailure),
                after: Some(cursor.after),
                limit: 7,
            })
        );
        for (status, limit, cursor, parameter) in [
            (Some("Failed"), None, None, "status"),
            (Some(""), None, None, "status"),
            (None, Some("101"), None, "limit"),
            (None, None, Some("eyJiZWZvcmUiOjF9"), "cursor"),
        ] {
            let problem = RecipientsRequest::parse(status, limit, cursor).unwrap_err();
            let problem = serde_json::to_value(problem).unwrap();
            assert_eq!(problem["code"], "invalid_parameter");
            assert_eq!(problem["errors"][0]["parameter"], parameter);
        }
    }
}
