//! The world around the rules: a hub with its storage, sockets and clients, the record, and a clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dormouse_domain::case::PayloadCase;
use dormouse_domain::command::{Command, Mark, Which};
use dormouse_domain::delivery::{AckMode, Delivery, DeliveryPolicy, Listeners, Via};
use dormouse_domain::event::ServerEvent;
use dormouse_domain::id::{NotificationId, UserId};
use dormouse_domain::inbox::{
    self, Emission, Entry, HasMore, Head, Known, Listening, MAX_BATCH, Outcome, Place, Store, Surroundings,
};
use dormouse_domain::item::Item;
use dormouse_domain::notification::{Content, Notification, Priority};
use dormouse_domain::preferences::Preferences;
use dormouse_domain::recovery::{CatchUp, Offset, Pid, Resume};
use dormouse_domain::room::Room;
use dormouse_domain::time::Timestamp;
use serde_json::Value;

use crate::client::{Client, Returns, Told, Twice};
use crate::dice::Dice;
use crate::record::{DeliveryRow, Record, Unreachable};
use crate::storage::Storage;

const THRESHOLD: usize = 3;
const CATEGORIES: [Option<&str>; 4] = [None, None, Some("a"), Some("b")];
const COLLAPSE_KEYS: [Option<&str>; 5] = [None, None, None, Some("k"), Some("l")];
const MARKS: [Mark; 5] = [
    Mark::Read,
    Mark::Unread,
    Mark::Archive,
    Mark::Unarchive,
    Mark::Delete,
];

#[derive(Clone, Copy)]
enum Happening {
    Push,
    Burst,
    Nudge,
    CatchUp,
    Acknowledge,
    Command,
    Fetch,
    Preferences,
    Retract,
    AnotherRound,
    Time,
    Connect,
    Leave,
    Evict,
    RecordFails,
    Flush,
}

/// What may happen, and how often as a rule.
const HAPPENINGS: [(Happening, usize); 16] = [
    (Happening::Push, 14),
    (Happening::Burst, 3),
    (Happening::Nudge, 10),
    (Happening::CatchUp, 6),
    (Happening::Acknowledge, 5),
    (Happening::Command, 17),
    (Happening::Fetch, 3),
    (Happening::Preferences, 2),
    (Happening::Retract, 5),
    (Happening::AnotherRound, 4),
    (Happening::Time, 7),
    (Happening::Connect, 10),
    (Happening::Leave, 5),
    (Happening::Evict, 2),
    (Happening::RecordFails, 2),
    (Happening::Flush, 5),
];

/// What happens in one history, as often as it is listed. Each leaves something out: what always ends
/// some course of events early would keep others from ever being seen.
fn habits(dice: &mut Dice) -> Vec<Happening> {
    let mut habits = vec![Happening::Push, Happening::Connect, Happening::Time];
    for (happening, weight) in HAPPENINGS {
        if dice.percent(70) {
            habits.extend(std::iter::repeat_n(happening, weight));
        }
    }
    habits
}

/// Why an operation went no further.
#[derive(Debug)]
enum Stopped {
    /// The process ended after it had stored something and before everybody was told.
    Crashed,
    Unreachable,
}

impl From<Unreachable> for Stopped {
    fn from(_: Unreachable) -> Self {
        Self::Unreachable
    }
}

type Done = Result<(), Stopped>;

/// An open socket, as the hub sees it.
#[derive(Clone, Copy)]
struct Socket {
    client: usize,
    acknowledging: bool,
    /// Whether anything still arrives.
    alive: bool,
}

pub(crate) struct World {
    seed: u64,
    dice: Dice,
    habits: Vec<Happening>,
    now: Timestamp,
    user: UserId,
    /// The user's own.
    room: Room,
    policy: DeliveryPolicy,
    record: Record,
    storage: Storage,
    /// Entries that came before those they follow: lost with the hub's memory.
    held: BTreeMap<u64, Entry>,
    /// Nudges under way.
    nudges: Vec<Entry>,
    clients: Vec<Client>,
    sockets: Vec<Socket>,
    pushed: Vec<NotificationId>,
    /// What the pusher asked another round for.
    again: BTreeSet<NotificationId>,
    /// Whether the next thing that is sent is cut off by the end of the process.
    crash: bool,
    /// The client whose connection breaks within the next thing that is sent.
    cut: Option<usize>,
    trace: VecDeque<String>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} in mode {:?}", self.seed, self.policy.mode);
            for line in &self.trace {
                eprintln!("  {line}");
            }
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let user = UserId::parse("u1").unwrap();
        let mode = dice.pick(&[AckMode::Auto, AckMode::Auto, AckMode::Required, AckMode::Off]);
        let clients = (0..4)
            .map(|_| {
                let returns = dice.pick(&[
                    Returns::Recovering,
                    Returns::Recovering,
                    Returns::Since,
                    Returns::Anew,
                ]);
                let says_ack = dice.percent(40);
                Client::new(returns, says_ack)
            })
            .collect();
        Self {
            seed,
            habits: habits(&mut dice),
            dice,
            now: Timestamp::from_ms(1_800_000_000_000),
            policy: DeliveryPolicy {
                mode,
                ack_timeout_ms: 30_000,
                retry_delays_ms: vec![60_000, 300_000, 900_000],
            },
            record: Record::new(),
            storage: Storage::new(Head::new(user.clone())),
            room: Room::User(user.clone()),
            user,
            held: BTreeMap::new(),
            nudges: Vec::new(),
            clients,
            sockets: Vec::new(),
            pushed: Vec::new(),
            again: BTreeSet::new(),
            crash: false,
            cut: None,
            trace: VecDeque::new(),
        }
    }

    fn note(&mut self, line: impl std::fmt::Display) {
        if self.trace.len() > 60 {
            self.trace.pop_front();
        }
        self.trace
            .push_back(format!("{} {line}", self.now.as_ms() - 1_800_000_000_000));
    }

    // ---- what may happen ----

    pub(crate) fn step(&mut self) {
        self.crash = self.dice.percent(4);
        self.cut = if self.dice.percent(5) {
            Some(self.dice.below(self.clients.len()))
        } else {
            None
        };
        let jump = self.dice.pick(&[0, 1, 1, 20, 1_000, 1_000, 10_000]);
        self.now = self.now.after_ms(jump);
        let done = self.something();
        if let Err(stopped) = &done {
            self.note(format!("  {stopped:?}"));
        }
        // What was armed and met nothing to cut off does no harm.
        self.crash = false;
        self.cut = None;
        for client in 0..self.clients.len() {
            if self.clients[client].stale && self.is_connected(client) {
                self.fetch_list(client);
            }
        }
    }

    fn something(&mut self) -> Done {
        match self.dice.pick(&self.habits) {
            Happening::Push => self.push(1),
            Happening::Burst => {
                let burst = self.dice.pick(&[4, 6, 12, 40]);
                self.push(burst)
            }
            Happening::Nudge => self.some_nudge(),
            Happening::CatchUp => {
                self.note("catch up");
                self.catch_up()
            }
            Happening::Acknowledge => self.acknowledge(),
            Happening::Command => self.some_command(),
            Happening::Fetch => self.fetch_page(),
            Happening::Preferences => {
                self.set_preferences();
                Ok(())
            }
            Happening::Retract => self.retract(),
            Happening::AnotherRound => self.another_round(),
            Happening::Time => self.pass_time(),
            Happening::Connect => self.some_connect(),
            Happening::Leave => {
                self.leave();
                Ok(())
            }
            Happening::Evict => {
                self.note("evicted");
                self.held.clear();
                Ok(())
            }
            Happening::RecordFails => {
                self.record.reachable = !self.record.reachable;
                self.note(format!("record reachable: {}", self.record.reachable));
                Ok(())
            }
            Happening::Flush => self.flush(),
        }
    }

    fn push(&mut self, count: usize) -> Done {
        let told = self.dice.percent(80);
        for _ in 0..count {
            let mut entropy = [0; 10];
            entropy[..8].copy_from_slice(&self.dice.roll().to_le_bytes());
            let id = NotificationId::generate(self.now, entropy);
            let ttl_ms = self.dice.pick(&[
                None,
                None,
                None,
                None,
                Some(5_000),
                Some(120_000),
                Some(3_600_000),
            ]);
            let notification = Notification {
                id,
                created_at: self.now,
                content: Content {
                    title: "t".to_owned(),
                    content: String::new(),
                    kind: None,
                    sender: None,
                    action: None,
                    data: None,
                    category: self.dice.pick(&CATEGORIES).map(str::to_owned),
                    priority: Priority::Normal,
                    expires_at: ttl_ms.map(|ms| self.now.after_ms(ms)),
                    collapse_key: self.dice.pick(&COLLAPSE_KEYS).map(str::to_owned),
                },
            };
            self.note(format!(
                "push {id} {ttl_ms:?} {:?}",
                notification.content.collapse_key
            ));
            self.pushed.push(id);
            let entry = self.record.push(notification);
            if told && count == 1 {
                self.nudges.push(entry);
            }
        }
        if told && count == 1 && self.dice.percent(70) {
            return self.some_nudge();
        }
        if told { self.catch_up() } else { Ok(()) }
    }

    /// One of the nudges under way arrives, in any order, or is lost.
    fn some_nudge(&mut self) -> Done {
        if self.nudges.is_empty() {
            return Ok(());
        }
        let which = self.dice.below(self.nudges.len());
        let entry = self.nudges.swap_remove(which);
        if self.dice.percent(15) {
            self.note(format!("nudge {} is lost", entry.n));
            return Ok(());
        }
        self.note(format!("nudge {} {:?}", entry.n, entry.kind.notification_id()));
        let n = entry.n;
        self.held.insert(n, entry);
        self.apply_held()?;
        if self.storage.head().place(&self.room, n) == Place::Gap && self.dice.percent(50) {
            // Patience is over.
            self.catch_up()?;
        }
        Ok(())
    }

    fn retract(&mut self) -> Done {
        let Some(id) = self.some_id() else {
            return Ok(());
        };
        self.note(format!("retract {id}"));
        match self.record.retract(id) {
            Some(entry) if self.dice.percent(50) => {
                self.nudges.push(entry);
                self.some_nudge()
            }
            Some(_) => self.catch_up(),
            None => Ok(()),
        }
    }

    fn another_round(&mut self) -> Done {
        if self.dice.percent(50) {
            let outbox = self.storage.outbox();
            self.record.settle(&outbox.owed)?;
            self.storage.strike_off(&outbox);
        }
        let failed = self.record.failed_for_good();
        if failed.is_empty() {
            return Ok(());
        }
        let id = self.dice.pick(&failed);
        self.note(format!("another round of {id}"));
        let entry = self.record.retry(id);
        self.again.insert(id);
        match entry {
            Some(entry) if self.dice.percent(50) => {
                self.nudges.push(entry);
                self.some_nudge()
            }
            Some(_) | None => self.catch_up(),
        }
    }

    fn some_id(&mut self) -> Option<NotificationId> {
        if self.pushed.is_empty() {
            return None;
        }
        // The latest are the ones things happen to.
        let reach = self.dice.pick(&[3, 10, self.pushed.len()]).min(self.pushed.len());
        Some(self.pushed[self.pushed.len() - 1 - self.dice.below(reach)])
    }

    fn some_command(&mut self) -> Done {
        let seq = usize::try_from(self.storage.head().seq).unwrap();
        let command = match self.dice.below(10) {
            0 => Command::ReadAll { up_to: None },
            1 => Command::ReadAll {
                up_to: Some(u64::try_from(self.dice.below(seq + 2)).unwrap()),
            },
            2 | 3 => Command::Seen {
                up_to: u64::try_from(self.dice.below(seq + 2)).unwrap(),
            },
            _ => match self.some_id() {
                Some(id) => Command::Mark {
                    which: Which::Notification(id),
                    mark: self.dice.pick(&MARKS),
                },
                None => return Ok(()),
            },
        };
        self.note(format!("{command:?}"));
        self.command(command)
    }

    fn acknowledge(&mut self) -> Done {
        let alive: Vec<usize> = (0..self.sockets.len())
            .filter(|i| self.sockets[*i].alive)
            .collect();
        if alive.is_empty() {
            return Ok(());
        }
        let socket = self.dice.pick(&alive);
        let Some(id) = self.some_id() else {
            return Ok(());
        };
        self.note(format!(
            "client {} acknowledges {id}",
            self.sockets[socket].client
        ));
        self.sockets[socket].acknowledging = true;
        let mut items = self
            .storage
            .bare_items(&[id.recipient(&self.user), id.recipient(&self.user)]);
        items.retain(Item::is_listed);
        let outcome = inbox::confirm(self.storage.head(), items, Via::Ack, self.now);
        self.carry_out(outcome)
    }

    /// A page of the list over HTTP.
    fn fetch_page(&mut self) -> Done {
        self.expire()?;
        let limit = self.dice.pick(&[1, 3, 20]);
        self.note(format!("fetch {limit}"));
        let items = self.storage.page(u64::MAX, limit);
        let outcome = inbox::confirm(self.storage.head(), items, Via::Http, self.now);
        self.carry_out(outcome)
    }

    fn set_preferences(&mut self) {
        let body = self
            .dice
            .pick(&[r#"{"muted":[]}"#, r#"{"muted":["a"]}"#, r#"{"muted":["a","b"]}"#]);
        self.note(format!("preferences {body}"));
        let preferences = Preferences::parse(body).unwrap();
        let head = Head {
            preferences,
            ..self.storage.head().clone()
        };
        self.storage.apply(vec![Store::Head(head)]);
    }

    /// Time passes; the alarm rings when something is due, sooner or later.
    fn pass_time(&mut self) -> Done {
        let ms = self
            .dice
            .pick(&[10_000, 30_000, 60_000, 300_000, 3_600_000, 3_600_000, 86_400_000]);
        let end = self.now.after_ms(ms);
        self.note(format!("{ms} ms pass"));
        if self.dice.percent(30) {
            self.now = end;
            return self.tick();
        }
        while let Some(at) = self.storage.next_due().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tick()?;
        }
        self.now = end;
        Ok(())
    }

    fn leave(&mut self) {
        if self.sockets.is_empty() {
            return;
        }
        let which = self.dice.below(self.sockets.len());
        let seen = self.dice.percent(70);
        self.note(format!(
            "client {} leaves, seen: {seen}",
            self.sockets[which].client
        ));
        if seen {
            self.sockets.remove(which);
        } else {
            self.sockets[which].alive = false;
        }
    }

    // ---- the hub ----

    fn apply_held(&mut self) -> Done {
        self.held
            .retain(|n, _| self.storage.head().place(&self.room, *n) != Place::Applied);
        loop {
            let next = self.storage.head().cursor + 1;
            let Some(entry) = self.held.remove(&next) else {
                return Ok(());
            };
            let emissions = self.apply(entry);
            self.emit(&emissions)?;
        }
    }

    fn catch_up(&mut self) -> Done {
        loop {
            let entries = self.record.pull(self.storage.head().cursor)?;
            if entries.is_empty() {
                return self.apply_held();
            }
            let mut emissions = Vec::new();
            for entry in entries {
                if self.storage.head().place(&self.room, entry.n) != Place::Applied {
                    emissions.extend(self.apply(entry));
                }
            }
            let gathered = inbox::gather(self.storage.head(), emissions, THRESHOLD);
            self.emit(&gathered)?;
        }
    }

    fn apply(&mut self, entry: Entry) -> Vec<Emission> {
        assert_eq!(self.storage.head().place(&self.room, entry.n), Place::Next);
        let item = entry
            .kind
            .notification_id()
            .and_then(|id| self.storage.item(id.recipient(&self.user)));
        let collapse_key = entry.kind.collapse_key();
        let collapsing = collapse_key.map_or_else(Vec::new, |key| self.storage.collapsing(key));
        let known = Known { item, collapsing };
        let outcome = inbox::apply(self.storage.head(), &self.room, entry, known, &self.around());
        self.storage.apply(outcome.stores);
        outcome.emissions
    }

    fn command(&mut self, command: Command) -> Done {
        self.expire()?;
        let head = self.storage.head();
        let (change, outcome) = match command {
            Command::Mark { which, mark } => {
                let item = self.storage.item(which.recipient_id(&self.user));
                let Some(item) = item.filter(|item| item.takes(mark)) else {
                    return Ok(());
                };
                inbox::mark(head, &item, mark, self.now)
            }
            Command::ReadAll { up_to } => {
                let up_to = up_to.unwrap_or(head.seq).min(head.seq);
                inbox::read_all(head, up_to, self.storage.unread_up_to(up_to), self.now)
            }
            Command::Seen { up_to } => {
                let unseen = self.storage.unseen_between(head.seen_up_to, up_to.min(head.seq));
                inbox::see(head, up_to, unseen, self.now)
            }
        };
        let happened = outcome.emissions.is_empty();
        let before = head.seq;
        assert_eq!(
            change.seq(),
            if happened { before } else { before + 1 },
            "the answer carries the number of the change"
        );
        self.carry_out(outcome)
    }

    fn tick(&mut self) -> Done {
        let due = self.storage.due(self.now);
        if !due.is_empty() {
            let head = self.storage.head();
            let outcome = inbox::on_timer(head, due, Vec::new(), head.expires_at, &self.around());
            self.carry_out(outcome)?;
            assert!(
                self.storage.next_due().is_none_or(|at| at > self.now),
                "the clock has moved on all that was due"
            );
        }
        self.expire()
    }

    fn expire(&mut self) -> Done {
        let head = self.storage.head();
        if head.expires_at.is_none_or(|at| at > self.now) {
            return Ok(());
        }
        let expired = self.storage.expired(self.now);
        let next = self.storage.next_expiry(self.now);
        let outcome = inbox::on_timer(head, Vec::new(), expired, next, &self.around());
        self.carry_out(outcome)
    }

    fn flush(&mut self) -> Done {
        let outbox = self.storage.outbox();
        self.note(format!("flush {}", outbox.owed.len()));
        if self.dice.percent(30) {
            // While the record is written, something else happens.
            self.some_command()?;
        }
        self.record.settle(&outbox.owed)?;
        if !self.dice.percent(10) {
            self.storage.strike_off(&outbox);
        }
        Ok(())
    }

    fn around(&self) -> Surroundings<'_> {
        self.around_sockets(&self.sockets)
    }

    fn around_sockets(&self, sockets: &[Socket]) -> Surroundings<'_> {
        let acknowledging = sockets.iter().filter(|socket| socket.acknowledging).count();
        Surroundings {
            policy: &self.policy,
            listeners: Listeners {
                acknowledging,
                silent: sockets.len() - acknowledging,
            },
            now: self.now,
        }
    }

    fn carry_out(&mut self, outcome: Outcome) -> Done {
        self.storage.apply(outcome.stores);
        self.emit(&outcome.emissions)
    }

    /// Sends events to every socket they are for. A socket that breaks and a process that ends let a
    /// beginning of them through.
    fn emit(&mut self, emissions: &[Emission]) -> Done {
        for i in 0..self.sockets.len() {
            let socket = self.sockets[i];
            let cut = self.crash || self.cut == Some(socket.client);
            let through = if cut {
                self.dice.below(emissions.len() + 1)
            } else {
                emissions.len()
            };
            for emission in &emissions[..through] {
                let wanted = match emission.to {
                    Listening::All => true,
                    Listening::Acknowledging => socket.acknowledging,
                };
                if wanted {
                    self.deliver(socket, emission, Told::Live);
                }
            }
            if cut {
                self.sockets[i].alive = false;
            }
        }
        if self.crash {
            self.die();
            return Err(Stopped::Crashed);
        }
        Ok(())
    }

    fn die(&mut self) {
        self.crash = false;
        self.sockets.clear();
        self.held.clear();
    }

    fn deliver(&mut self, socket: Socket, emission: &Emission, told: Told) {
        assert!(
            emission.offset.0 <= self.storage.head().seq,
            "an offset that is not reached"
        );
        if !socket.alive {
            return;
        }
        let encoded = emission.event.encode(PayloadCase::Snake).unwrap();
        let (name, payload): (String, Value) = serde_json::from_str(encoded.as_str()).unwrap();
        let twice = if self.policy.mode == AckMode::Auto && !socket.acknowledging {
            Twice::Never
        } else {
            Twice::Allowed
        };
        self.clients[socket.client].hear(&name, &payload, emission.offset.0, told, twice);
    }

    // ---- connections ----

    fn is_connected(&self, client: usize) -> bool {
        self.sockets
            .iter()
            .any(|socket| socket.client == client && socket.alive)
    }

    fn some_connect(&mut self) -> Done {
        let away: Vec<usize> = (0..self.clients.len())
            .filter(|i| !self.is_connected(*i))
            .collect();
        if away.is_empty() {
            return Ok(());
        }
        let client = self.dice.pick(&away);
        self.connect(client)
    }

    fn connect(&mut self, client: usize) -> Done {
        self.tick()?;
        let head = self.storage.head().clone();
        self.clients[client].connect();
        let resume = match (self.clients[client].returns, self.clients[client].position) {
            (Returns::Anew, _) | (_, None) => Resume::Fresh,
            (Returns::Since, Some(from)) => Resume::Since(Offset(from)),
            (Returns::Recovering, Some(from)) => Resume::Recover {
                pid: Pid {
                    sid: client.to_string(),
                    began_at: Offset(0),
                },
                from: Offset(from),
            },
        };
        self.note(format!("client {client} connects: {resume:?}"));
        let (kept, catch_up) = resume.decide(&head);
        if kept.is_some() {
            self.sockets.retain(|socket| socket.client != client);
        }
        let waiting = self.storage.waiting(MAX_BATCH + 1);
        let position = match catch_up {
            CatchUp::Replay(from) | CatchUp::Batch(from) => from,
            CatchUp::Nothing if waiting.len() > THRESHOLD => Offset(head.seq),
            CatchUp::Nothing => waiting
                .iter()
                .rev()
                .find(|item| item.delivery.attempts() == 0)
                .map_or(Offset(head.seq), |first| Offset(first.seq - 1)),
        };
        let socket = Socket {
            client,
            acknowledging: self.clients[client].says_ack,
            alive: true,
        };
        let mut emissions = vec![Emission {
            event: ServerEvent::Authenticated {
                user: self.user.clone(),
                connected_at: self.now,
                counts: head.counts(),
            },
            offset: position,
            to: Listening::All,
        }];
        let outcome = self.missed(socket, catch_up, waiting, position);
        self.storage.apply(outcome.stores);
        emissions.extend(outcome.emissions);
        let told = Told::Missed {
            from: match catch_up {
                CatchUp::Replay(from) | CatchUp::Batch(from) => from.0,
                CatchUp::Nothing => 0,
            },
        };
        let cut = self.crash || self.cut == Some(client);
        let through = if cut {
            self.dice.below(emissions.len() + 1)
        } else {
            emissions.len()
        };
        for emission in &emissions[..through] {
            self.deliver(socket, emission, told);
        }
        if self.crash {
            self.die();
            return Err(Stopped::Crashed);
        }
        self.sockets.push(Socket {
            alive: !cut,
            ..socket
        });
        self.catch_up()
    }

    /// What a client that connects is sent besides `authenticated`.
    fn missed(&self, socket: Socket, catch_up: CatchUp, mut waiting: Vec<Item>, position: Offset) -> Outcome {
        let head = self.storage.head();
        let only = [socket];
        let around = self.around_sockets(&only);
        match catch_up {
            CatchUp::Nothing if waiting.is_empty() => Outcome::default(),
            CatchUp::Nothing if waiting.len() > THRESHOLD => {
                inbox::batch(head, waiting, HasMore::No, &around)
            }
            CatchUp::Nothing => {
                waiting.reverse();
                inbox::replay(head, position, waiting, Vec::new(), &around)
            }
            CatchUp::Replay(from) => {
                waiting.retain(|item| item.seq <= from.0);
                waiting.truncate(THRESHOLD);
                waiting.reverse();
                waiting.extend(self.storage.items_after(from.0));
                let changes = self.storage.changes_after(from.0);
                inbox::replay(head, position, waiting, changes, &around)
            }
            CatchUp::Batch(from) => {
                let mut items = self.storage.page(u64::MAX, MAX_BATCH + 1);
                items.retain(|item| item.seq > from.0);
                inbox::batch(head, items, HasMore::No, &around)
            }
        }
    }

    fn fetch_list(&mut self, client: usize) {
        let seq = self.storage.head().seq;
        let list = self.storage.list();
        self.clients[client].fetch(list, seq);
    }

    // ---- what always holds ----

    pub(crate) fn check(&self) {
        self.storage.check();
        let head = self.storage.head();
        let list = self.storage.list();
        let counted = self.storage.unread_up_to(head.seq);
        assert_eq!(
            inbox::drift(head, counted),
            0,
            "counts that nobody has to put right"
        );
        for socket in self.sockets.iter().filter(|socket| socket.alive) {
            let client = &self.clients[socket.client];
            let who = socket.client;
            assert_eq!(
                (client.unread, client.seq),
                (head.unread, head.seq),
                "client {who} counts"
            );
            assert!(
                client.unseen.is_none_or(|unseen| unseen == head.unseen),
                "client {who} counts unseen {:?}, not {}",
                client.unseen,
                head.unseen
            );
            if client.list != list {
                let differs = |id: &&NotificationId| client.list.get(*id) != list.get(*id);
                let ids: BTreeSet<&NotificationId> =
                    client.list.keys().chain(list.keys()).filter(differs).collect();
                let pairs: Vec<_> = ids
                    .into_iter()
                    .map(|id| (id, client.list.get(id), list.get(id)))
                    .collect();
                assert!(pairs.is_empty(), "client {who} lists this, not that: {pairs:?}");
            }
        }
    }

    /// Everything works again and comes to rest: all is applied, told, and known to the record.
    pub(crate) fn settle(&mut self) {
        self.note("settle");
        self.record.reachable = true;
        self.catch_up().unwrap();
        assert_eq!(self.storage.head().cursor, self.record.last());
        for client in 0..self.clients.len() {
            if !self.is_connected(client) {
                self.connect(client).unwrap();
                if self.clients[client].stale {
                    self.fetch_list(client);
                }
            }
        }
        self.check_record();
        while let Some(at) = self.storage.next_due() {
            self.now = self.now.max(at);
            self.tick().unwrap();
        }
        self.expire().unwrap();
        for item in self.storage.everything() {
            assert!(
                !matches!(item.delivery, Delivery::Sent { .. }),
                "an attempt is over some time"
            );
        }
        self.check_record();
    }

    fn check_record(&mut self) {
        let outbox = self.storage.outbox();
        self.record.settle(&outbox.owed).unwrap();
        self.storage.strike_off(&outbox);
        assert!(self.storage.outbox().owed.is_empty());
        for item in self.storage.everything() {
            let expected = DeliveryRow::of(&item);
            let recorded = &self.record.deliveries[&item.notification.id];
            if matches!(item.delivery, Delivery::Sent { .. }) {
                assert_eq!(recorded.under_way(), expected.under_way(), "{item:?}");
            } else {
                assert_eq!(*recorded, expected, "{item:?}");
            }
        }
    }
}
