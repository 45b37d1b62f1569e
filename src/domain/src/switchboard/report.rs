//! What admins are told of the service: who is online, how much is pushed, what could not be delivered.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::roster::Roster;
use crate::event::{ADMIN_DELIVERY_FAILED, ADMIN_PRESENCE, ADMIN_PUSH};
use crate::id::{NotificationId, UserId};
use crate::room::SharedRoom;
use crate::time::{Timestamp, iso};

/// Most deliveries that are named in one report.
const MAX_NAMED: usize = 20;

/// What happened at a switchboard since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many users are online.
    pub online: u64,
    /// How many have come.
    pub joined: u64,
    /// How many have gone.
    pub left: u64,
    /// The first of the deliveries that failed for good.
    pub failed: Vec<(NotificationId, UserId)>,
    /// How many those are in all.
    pub failures: u64,
    /// How many admins are online here.
    pub admins: u64,
}

impl Report {
    /// Somebody has come.
    pub const fn join(&mut self) {
        self.joined = self.joined.saturating_add(1);
    }

    /// Somebody has gone.
    pub const fn leave(&mut self) {
        self.left = self.left.saturating_add(1);
    }

    /// A delivery has failed for good.
    pub fn fail(&mut self, id: NotificationId, user: &UserId) {
        self.failures = self.failures.saturating_add(1);
        if self.failed.len() < MAX_NAMED {
            self.failed.push((id, user.clone()));
        }
    }

    /// What happened so far, with who is there now; counting begins anew.
    #[must_use]
    pub fn take(&mut self, roster: &Roster) -> Self {
        let count = |users: usize| u64::try_from(users).unwrap_or(u64::MAX);
        Self {
            online: count(roster.online()),
            admins: count(roster.online_in(&SharedRoom::Admin)),
            ..std::mem::take(self)
        }
    }

    fn add(&mut self, other: &Self) {
        self.online = self.online.saturating_add(other.online);
        self.joined = self.joined.saturating_add(other.joined);
        self.left = self.left.saturating_add(other.left);
        self.failures = self.failures.saturating_add(other.failures);
        let room = MAX_NAMED.saturating_sub(self.failed.len());
        self.failed.extend(other.failed.iter().take(room).cloned());
    }
}

/// An event for the admins: its name and its payload.
pub type AdminEvent = (&'static str, Box<RawValue>);

/// What the admins are told when the switchboards report this and `pushes` were made in between.
/// Before `since` nobody listened: `None` for the first report, which only says who is online.
///
/// # Errors
/// When it can't be serialised, which no value of these types brings about.
pub fn admin_events(
    reports: &[Report],
    pushes: u64,
    since: Option<Timestamp>,
    until: Timestamp,
) -> serde_json::Result<Vec<AdminEvent>> {
    #[derive(Serialize)]
    struct AdminPresence {
        online: u64,
        joined: u64,
        left: u64,
        #[serde(flatten)]
        span: Span,
    }
    #[derive(Serialize)]
    struct AdminPush {
        pushes: u64,
        #[serde(flatten)]
        span: Span,
    }
    #[derive(Serialize)]
    struct AdminDeliveryFailed<'a> {
        failures: u64,
        deliveries: Vec<FailedDelivery<'a>>,
        #[serde(flatten)]
        span: Span,
    }
    #[derive(Serialize)]
    struct FailedDelivery<'a> {
        notification_id: NotificationId,
        user_id: &'a UserId,
    }
    #[derive(Clone, Copy, Serialize)]
    struct Span {
        #[serde(with = "iso")]
        since: Timestamp,
        #[serde(with = "iso")]
        until: Timestamp,
    }
    let mut all = Report::default();
    for report in reports {
        all.add(report);
    }
    let Some(since) = since else {
        let presence = AdminPresence {
            online: all.online,
            joined: 0,
            left: 0,
            span: Span { since: until, until },
        };
        return Ok(vec![(ADMIN_PRESENCE, to_raw_value(&presence)?)]);
    };
    let span = Span { since, until };
    let mut events = Vec::new();
    if all.joined > 0 || all.left > 0 {
        let presence = AdminPresence {
            online: all.online,
            joined: all.joined,
            left: all.left,
            span,
        };
        events.push((ADMIN_PRESENCE, to_raw_value(&presence)?));
    }
    if pushes > 0 {
        events.push((ADMIN_PUSH, to_raw_value(&AdminPush { pushes, span })?));
    }
    if all.failures > 0 {
        let named = all.failed.iter().map(|(id, user_id)| FailedDelivery {
            notification_id: *id,
            user_id,
        });
        let failed = AdminDeliveryFailed {
            failures: all.failures,
            deliveries: named.collect(),
            span,
        };
        events.push((ADMIN_DELIVERY_FAILED, to_raw_value(&failed)?));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at once")]

    use super::*;

    const UNTIL: Timestamp = Timestamp::from_ms(1_795_158_010_000);
    const SINCE: Option<Timestamp> = Some(Timestamp::from_ms(1_795_158_000_000));

    fn id(n: u64) -> NotificationId {
        NotificationId::generate(Timestamp::from_ms(n), [0; 10])
    }

    /// The events as text.
    fn events(reports: &[Report], pushes: u64, since: Option<Timestamp>) -> Vec<String> {
        let events = admin_events(reports, pushes, since, UNTIL).unwrap();
        events
            .iter()
            .map(|(name, data)| format!("{name} {data}"))
            .collect()
    }

    #[test]
    fn what_happened_anywhere_is_told_together() {
        let mut here = Report {
            online: 2,
            ..Report::default()
        };
        here.join();
        here.leave();
        here.fail(id(1), &UserId::parse("u1").unwrap());
        let mut there = Report {
            online: 3,
            ..Report::default()
        };
        there.join();
        let span = r#""since":"2026-11-20T07:00:00.000Z","until":"2026-11-20T07:00:10.000Z"}"#;
        assert_eq!(
            events(&[here, there], 4, SINCE),
            [
                format!(r#"admin:presence {{"online":5,"joined":2,"left":1,{span}"#),
                format!(r#"admin:push {{"pushes":4,{span}"#),
                format!(
                    r#"admin:delivery_failed {{"failures":1,"deliveries":[{{"notification_id":"{}","user_id":"u1"}}],{span}"#,
                    id(1)
                ),
            ]
        );
    }

    #[test]
    fn nothing_is_told_when_nothing_happened_but_at_first_who_is_online() {
        let quiet = Report {
            online: 7,
            ..Report::default()
        };
        assert_eq!(events(std::slice::from_ref(&quiet), 0, SINCE), [""; 0]);
        let mut earlier = quiet;
        earlier.join();
        assert_eq!(
            events(&[earlier], 9, None),
            [
                r#"admin:presence {"online":7,"joined":0,"left":0,"since":"2026-11-20T07:00:10.000Z","until":"2026-11-20T07:00:10.000Z"}"#
            ]
        );
    }

    #[test]
    fn only_some_of_what_failed_is_named() {
        let user = UserId::parse("u1").unwrap();
        let mut report = Report::default();
        for n in 0..50 {
            report.fail(id(n), &user);
        }
        assert_eq!((report.failed.len(), report.failures), (MAX_NAMED, 50));
        let mut sum = report.clone();
        sum.add(&report);
        assert_eq!((sum.failed.len(), sum.failures), (MAX_NAMED, 100));
        let taken = report.take(&Roster::default());
        assert_eq!((taken.failures, report), (50, Report::default()));
    }

    #[test]
    fn the_form_between_switchboards_is_as_it_was() {
        let json = r#"{"online":0,"joined":0,"left":0,"failed":[],"failures":0,"admins":0}"#;
        assert_eq!(serde_json::to_string(&Report::default()).unwrap(), json);
    }
}
