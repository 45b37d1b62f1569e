//! What users and operators ask of a hub: commands, lists, counts, preferences, exports.

use std::rc::Rc;

use dormouse_domain::change::Change;
use dormouse_domain::command::Command;
use dormouse_domain::delivery::Via;
use dormouse_domain::event::ServerEvent;
use dormouse_domain::id::{RecipientId, UserId};
use dormouse_domain::inbox::{self, Counts, Emission, Head, Listening, Store};
use dormouse_domain::item::{Item, ListedItem};
use dormouse_domain::membership::Claims;
use dormouse_domain::page::{Cursor, PageRequest, entity_tag, matches_entity_tag};
use dormouse_domain::preferences::Preferences;
use dormouse_domain::presence::Presence;
use dormouse_domain::recovery::Offset;
use dormouse_domain::room::SharedRoom;
use dormouse_domain::time::{Timestamp, iso};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use worker::{Response, Result};

use super::Hub;
use crate::clock;
use crate::http::json;
use crate::hub_rpc::TokenTime;
use crate::sockets::broadcast;
use crate::switchboard_rpc::{Haste, PresenceSeen};

/// Items read at once for a list of one type or category, and at most for one page of it. Such a page may be
/// shorter than was asked for; its cursor leads on.
const SCAN_PAGE: usize = 100;
const SCAN_PAGES: usize = 5;

/// Items on a page of an export, and after how many bytes of them it ends.
const EXPORT_PAGE: usize = 500;
const EXPORT_BYTES: usize = 4 * 1_000 * 1_000;

impl Hub {
    // ---- what the user does ----

    /// Carries out a command and tells every device; `None` when the inbox has no such item.
    pub(super) fn command(&self, user: &UserId, command: Command) -> Result<Option<Change>> {
        self.expire()?;
        let now = clock::now();
        let head = self.head(user)?;
        let (change, outcome) = match command {
            Command::Mark { which, mark } => {
                let item = self.storage.item(which.recipient_id(user))?;
                let Some(item) = item.filter(|item| item.takes(mark)) else {
                    return Ok(None);
                };
                inbox::mark(&head, &item, mark, now)
            }
            Command::ReadAll { up_to } => {
                let up_to = up_to.unwrap_or(head.seq).min(head.seq);
                inbox::read_all(&head, up_to, self.storage.unread_up_to(up_to)?, now)
            }
            Command::Seen { up_to } => {
                let unseen = match head.unseen {
                    0 => 0,
                    _ => self
                        .storage
                        .unseen_between(head.seen_up_to, up_to.min(head.seq))?,
                };
                inbox::see(&head, up_to, unseen, now)
            }
        };
        self.carry_out(outcome)?;
        Ok(Some(change))
    }

    /// The same over HTTP.
    pub(super) fn command_over_http(self: &Rc<Self>, user: &UserId, command: Command) -> Result<Response> {
        let done = self.command(user, command)?;
        self.finish();
        match done {
            Some(change) => json(200, &change.payload()),
            None => Ok(Response::empty()?.with_status(404)),
        }
    }

    /// Notes that a device has these items; gives how many of them there are.
    pub(super) fn acknowledge(&self, user: &UserId, ids: &[RecipientId]) -> Result<usize> {
        let mut items = self.storage.bare_items(ids)?;
        // Another device may have deleted one meanwhile: that is no mistake of this one's.
        let known = items.len();
        items.retain(Item::is_listed);
        self.carry_out(inbox::confirm(&self.head(user)?, items, Via::Ack, clock::now()))?;
        Ok(known)
    }

    pub(super) fn list(
        self: &Rc<Self>,
        user: &UserId,
        page: &PageRequest,
        if_none_match: Option<&str>,
    ) -> Result<Response> {
        #[derive(Serialize)]
        struct Page<'a> {
            items: Vec<ListedItem<'a>>,
            next_cursor: Option<String>,
            #[serde(flatten)]
            counts: Counts,
        }
        if self.expire()? || self.may_be_behind() {
            self.finish();
        }
        let head = self.head(user)?;
        if let Some(response) = not_modified(&head, if_none_match)? {
            return Ok(response);
        }
        let (mut items, next) = self.page(page)?;
        let now = clock::now();
        let outcome = inbox::confirm(&head, items.clone(), Via::Http, now);
        let is_news = !outcome.stores.is_empty();
        self.carry_out(outcome)?;
        if is_news {
            self.finish();
        }
        for item in &mut items {
            item.delivery = item.delivery.confirmed(Via::Http, now);
        }
        let mut response = json(
            200,
            &Page {
                items: items.iter().map(Item::listed).collect(),
                next_cursor: next.map(|before| Cursor { before }.encode()),
                counts: head.counts(),
            },
        )?;
        tag(&mut response, &head)?;
        Ok(response)
    }

    /// The items of a page, and the number below which the next one begins.
    fn page(&self, page: &PageRequest) -> Result<(Vec<Item>, Option<u64>)> {
        let wanted = page.limit.saturating_add(1);
        let mut items = Vec::new();
        let mut before = page.before;
        if page.is_selective() {
            for _ in 0..SCAN_PAGES {
                let scanned = self.storage.page(page.filter, before, SCAN_PAGE)?;
                let last = scanned.len() < SCAN_PAGE;
                before = scanned.last().map(|item| item.seq).or(before);
                items.extend(
                    scanned
                        .into_iter()
                        .filter(|item| page.selects(&item.notification.content)),
                );
                if last {
                    before = None;
                    break;
                }
                if items.len() >= wanted {
                    break;
                }
            }
        } else {
            items = self.storage.page(page.filter, before, wanted)?;
            before = None;
        }
        if items.len() > page.limit {
            items.truncate(page.limit);
            before = items.last().map(|item| item.seq);
        }
        Ok((items, before))
    }

    pub(super) fn counts(self: &Rc<Self>, user: &UserId, if_none_match: Option<&str>) -> Result<Response> {
        if self.expire()? {
            self.finish();
        }
        let head = self.head(user)?;
        if let Some(response) = not_modified(&head, if_none_match)? {
            return Ok(response);
        }
        let mut response = json(200, &head.counts())?;
        tag(&mut response, &head)?;
        Ok(response)
    }

    pub(super) fn preferences(&self, user: &UserId) -> Result<Response> {
        json(200, &self.head(user)?.preferences)
    }

    pub(super) fn set_preferences(&self, user: &UserId, preferences: Preferences) -> Result<Response> {
        let head = self.head(user)?;
        let response = json(200, &preferences)?;
        if head.preferences != preferences {
            self.storage
                .apply(vec![Store::Head(Head { preferences, ..head })])?;
        }
        Ok(response)
    }

    /// The user looks into their inbox over HTTP. Who is not online gets nothing of shared rooms by themselves:
    /// it is fetched now. When the record can't be read they see what came before.
    pub(super) async fn visit(&self, user: &UserId, token: TokenTime) -> Result<()> {
        if let Some(rooms) = token.rooms {
            let claims = Claims {
                issued_at: token.issued_at,
                rooms,
            };
            self.meet(self.head(user)?, &claims)?;
        }
        if self.needs()?.is_some() {
            return Ok(());
        }
        self.catch_up_again(user, Haste::Now).await
    }

    // ---- what services and others do ----

    /// Sends an event of a service's own, if the user is in one of these rooms; without rooms it is for the
    /// user.
    pub(super) async fn emit_custom(
        &self,
        user: &UserId,
        rooms: Option<&[SharedRoom]>,
        name: String,
        data: Box<RawValue>,
    ) -> Result<()> {
        if rooms.is_some() {
            self.catch_up_first(user).await?;
        }
        let head = self.head(user)?;
        let is_in = |rooms: &[SharedRoom]| head.memberships.present().any(|room| rooms.contains(room));
        if rooms.is_none_or(is_in) {
            self.tell_all(&head, ServerEvent::Custom { name, data })?;
        }
        Ok(())
    }

    /// Tells those who follow it who came and went.
    pub(super) fn tell_presence(&self, user: &UserId, users: Vec<PresenceSeen>) -> Result<()> {
        let now = clock::now();
        let seen = users.into_iter().map(|seen| seen.known.presence(seen.user, now));
        let users = seen.collect();
        self.tell_all(&self.head(user)?, ServerEvent::PresenceUpdate { users })
    }

    /// Sends an event that changes nothing.
    fn tell_all(&self, head: &Head, event: ServerEvent) -> Result<()> {
        let emission = Emission {
            event,
            offset: Offset(head.seq),
            to: Listening::All,
        };
        broadcast(&self.connections()?, &[emission]);
        Ok(())
    }

    // ---- what operators do ----

    /// A page of all there is about the user.
    pub(super) fn export(self: &Rc<Self>, user: &UserId, above: Option<u64>) -> Result<Response> {
        #[derive(Serialize)]
        struct Export<'a> {
            user_id: &'a UserId,
            #[serde(with = "iso")]
            exported_at: Timestamp,
            preferences: &'a Preferences,
            rooms: Vec<&'a SharedRoom>,
            presence: Presence<'a>,
            #[serde(flatten)]
            counts: Counts,
            items: Vec<Box<RawValue>>,
            next_cursor: Option<String>,
        }
        if self.expire()? {
            self.finish();
        }
        let head = self.head(user)?;
        let sessions = self.sessions()?;
        let rows = self.storage.everything(above, EXPORT_PAGE.saturating_add(1))?;
        let mut items: Vec<Box<RawValue>> = Vec::new();
        let mut room = EXPORT_BYTES;
        let mut next = None;
        let total = rows.len();
        for (place, item) in rows {
            let json = to_raw_value(&item.exported())?;
            room = room.saturating_sub(json.get().len());
            items.push(json);
            if items.len() == EXPORT_PAGE || room == 0 {
                next = (items.len() < total).then_some(place);
                break;
            }
        }
        let now = clock::now();
        json(
            200,
            &Export {
                user_id: user,
                exported_at: now,
                preferences: &head.preferences,
                rooms: head.memberships.present().collect(),
                presence: Presence::of(user, Some(&head), &sessions, now),
                counts: head.counts(),
                items,
                next_cursor: next.map(|before| Cursor { before }.encode()),
            },
        )
    }
}

fn not_modified(head: &Head, if_none_match: Option<&str>) -> Result<Option<Response>> {
    if !if_none_match.is_some_and(|header| matches_entity_tag(header, head.seq)) {
        return Ok(None);
    }
    let mut response = Response::empty()?.with_status(304);
    tag(&mut response, head)?;
    Ok(Some(response))
}

fn tag(response: &mut Response, head: &Head) -> Result<()> {
    let headers = response.headers_mut();
    headers.set("etag", &entity_tag(head.seq))?;
    headers.set("cache-control", "private, no-cache")
}
