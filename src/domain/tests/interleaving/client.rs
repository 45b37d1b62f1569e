//! A client as the documents ask for it: absolute counts, of which a lower `seq` is ignored, and a list
//! made of nothing but events; the list is fetched anew where a client is told to.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_domain::id::NotificationId;
use dormouse_domain::time::Timestamp;
use serde_json::Value;

/// How a client comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    /// With the offset of the last event it got.
    Recovering,
    /// With the `seq` of the last `unread:count` it got: that one ends whatever is told.
    Since,
    /// As a new client, every time.
    Anew,
}

/// One item as a client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) seq: u64,
    pub(crate) read_at: Option<Timestamp>,
    pub(crate) archived_at: Option<Timestamp>,
}

pub(crate) type List = BTreeMap<NotificationId, Known>;

fn id_of(payload: &Value) -> NotificationId {
    NotificationId::parse(payload["id"].as_str().unwrap()).unwrap()
}

/// `None` where the payload has no such member, too: a new item is neither read nor archived.
fn moment(payload: &Value, key: &str) -> Option<Timestamp> {
    let text = payload[key].as_str()?;
    Some(Timestamp::parse_iso(text).unwrap())
}

/// Whether a client is being told what it missed, and from where on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    Missed { from: u64 },
    Live,
}

pub(crate) struct Client {
    pub(crate) returns: Returns,
    pub(crate) says_ack: bool,
    /// How far it came, for the next time.
    pub(crate) position: Option<u64>,
    pub(crate) unread: u64,
    pub(crate) unseen: Option<u64>,
    pub(crate) seq: u64,
    pub(crate) list: List,
    /// The latest change of the list.
    list_seq: u64,
    /// Whether its list has to be fetched.
    pub(crate) stale: bool,
    /// What it was sent by sessions of which no acknowledgement is awaited.
    taken_as_delivered: BTreeSet<NotificationId>,
    /// The offset of the last event on this connection.
    offset: u64,
    /// The latest item that was news on this connection.
    news: u64,
}

impl Client {
    pub(crate) const fn new(returns: Returns, says_ack: bool) -> Self {
        Self {
            returns,
            says_ack,
            position: None,
            unread: 0,
            unseen: None,
            seq: 0,
            list: List::new(),
            list_seq: 0,
            stale: true,
            taken_as_delivered: BTreeSet::new(),
            offset: 0,
            news: 0,
        }
    }

    /// Begins a connection.
    pub(crate) fn connect(&mut self) {
        if self.returns == Returns::Anew || self.position.is_none() {
            *self = Self::new(self.returns, self.says_ack);
        }
        self.offset = 0;
        self.news = 0;
    }

    /// Fetches the list.
    pub(crate) fn fetch(&mut self, list: List, seq: u64) {
        self.list = list;
        self.list_seq = seq;
        self.stale = false;
    }

    /// Takes an event with its offset. `twice` says whether this session may be sent an item again.
    pub(crate) fn hear(&mut self, name: &str, payload: &Value, offset: u64, told: Told, twice: Twice) {
        assert!(
            offset >= self.offset,
            "{name} leads back from {} to {offset}",
            self.offset
        );
        self.offset = offset;
        if self.returns == Returns::Recovering {
            self.position = Some(offset);
        }
        let number = |key: &str| payload[key].as_u64().unwrap();
        match name {
            "authenticated" => self.count(number("unread"), None, number("seq")),
            "unread:count" => {
                self.count(number("count"), Some(number("unseen")), number("seq"));
                if self.returns == Returns::Since {
                    self.position = Some(number("seq"));
                }
            }
            "notification:new" => {
                if !payload["redelivered"].as_bool().unwrap() {
                    assert!(number("seq") > self.news, "first deliveries come in order");
                    self.news = number("seq");
                }
                self.receive(payload, told, twice);
                self.count(number("unread"), None, number("seq"));
            }
            "notification:batch" => {
                let items = payload["notifications"].as_array().unwrap();
                for item in items {
                    self.receive(item, told, twice);
                }
                let newest_first = items.is_sorted_by(|a, b| a["seq"].as_u64() > b["seq"].as_u64());
                assert!(newest_first, "a batch is newest first");
                self.count(number("unread_count"), None, number("seq"));
                let missed = match told {
                    Told::Missed { .. } => true,
                    Told::Live => payload["has_more"].as_bool().unwrap(),
                };
                self.stale |= missed;
            }
            "notification:read"
            | "notification:unread"
            | "notification:archived"
            | "notification:unarchived" => {
                if self.is_news(number("seq"))
                    && let Some(known) = self.list.get_mut(&id_of(payload))
                {
                    known.read_at = moment(payload, "read_at");
                    known.archived_at = moment(payload, "archived_at");
                }
                self.count(number("unread"), None, number("seq"));
            }
            "notification:deleted" => {
                if self.is_news(number("seq")) {
                    self.list.remove(&id_of(payload));
                }
                self.count(number("unread"), None, number("seq"));
            }
            "notifications:read_all" => {
                if self.is_news(number("seq")) {
                    self.read_all(payload, told);
                }
                self.count(number("unread"), None, number("seq"));
            }
            "notifications:seen" => {
                if number("seq") >= self.seq {
                    self.unseen = Some(number("unseen"));
                }
                self.is_news(number("seq"));
            }
            other => assert_eq!(other, "", "an event nobody expects"),
        }
    }

    /// The event says how many were read, not up to where: the oldest, as long as the list is whole.
    fn read_all(&mut self, payload: &Value, told: Told) {
        let all = payload["unread"] == 0;
        let marked = match told {
            _ if all => usize::MAX,
            Told::Live => usize::try_from(payload["marked_count"].as_u64().unwrap()).unwrap(),
            // Some of those may be gone since and were never told.
            Told::Missed { .. } => {
                self.stale = true;
                return;
            }
        };
        let mut unread: Vec<&mut Known> = self
            .list
            .values_mut()
            .filter(|known| known.read_at.is_none() && known.archived_at.is_none())
            .collect();
        unread.sort_by_key(|known| known.seq);
        for known in unread.into_iter().take(marked) {
            known.read_at = moment(payload, "read_at");
        }
    }

    fn receive(&mut self, item: &Value, told: Told, twice: Twice) {
        let id = id_of(item);
        let seq = item["seq"].as_u64().unwrap();
        if self.taken_as_delivered.contains(&id) {
            let beyond = match told {
                Told::Missed { from } => seq > from,
                Told::Live => false,
            };
            assert!(
                beyond || twice == Twice::Allowed,
                "{id}, number {seq}, comes again: {told:?}"
            );
        }
        if twice == Twice::Never {
            self.taken_as_delivered.insert(id);
        }
        self.list_seq = self.list_seq.max(seq);
        self.list.entry(id).or_insert_with(|| Known {
            seq,
            read_at: moment(item, "read_at"),
            archived_at: moment(item, "archived_at"),
        });
    }

    /// Whether the list does not know of this change yet.
    fn is_news(&mut self, seq: u64) -> bool {
        let news = seq > self.list_seq;
        self.list_seq = self.list_seq.max(seq);
        news
    }

    fn count(&mut self, unread: u64, unseen: Option<u64>, seq: u64) {
        if seq >= self.seq {
            self.unread = unread;
            self.unseen = unseen.or(self.unseen);
            self.seq = seq;
        }
    }
}

/// Whether a session may be sent an item a second time: one that acknowledges may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    Allowed,
    Never,
}
