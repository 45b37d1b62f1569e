//! What is asked of many switchboards at once: who is online, and to send them something.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dormouse_domain::custom_event::CustomEvent;
use dormouse_domain::id::UserId;
use dormouse_domain::presence::UserPresence;
use dormouse_domain::room::{Room, SharedRoom};
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::time::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use worker::{Env, Error, Result, console_error};

use crate::dispatch::HUBS_AT_ONCE;
use crate::switchboard_rpc::{
    CountReply, Emit, EmitReply, Known, RoomReply, RosterQuery, RosterReply, SwitchboardCall,
    SwitchboardRequest,
};
use crate::{bindings, clock, settings};

/// For how long the switchboards that the record names are not asked for again, in milliseconds. Those that
/// have members now are asked anyway; it names those of earlier generations.
const KNOWN_FOR_MS: u64 = 30_000;

/// Whether each of `users` is online, in that order: of those who share one of the rooms `sharing`, when
/// given.
///
/// # Errors
/// When a switchboard can't be reached: nobody is taken for offline because of that.
pub(crate) async fn presence_of(
    env: &Env,
    users: Vec<UserId>,
    sharing: Option<&[SharedRoom]>,
) -> Result<Vec<UserPresence>> {
    let count = generation(env)?;
    let mut questions: BTreeMap<SwitchboardName, BTreeSet<&UserId>> = BTreeMap::new();
    for user in &users {
        let name = SwitchboardName::of(user, count);
        questions.entry(name).or_default().insert(user);
    }
    let calls = questions.iter().map(|(name, asked)| {
        let query = RosterQuery {
            users: asked.iter().copied().cloned().collect(),
            sharing: sharing.map(<[SharedRoom]>::to_vec),
        };
        (*name, SwitchboardCall::Roster(query))
    });
    let replies: Vec<(SwitchboardName, RosterReply)> = ask(env, calls).await?;
    let mut known = BTreeMap::new();
    for (name, reply) in replies {
        let asked = questions.get(&name).into_iter().flatten();
        known.extend(asked.copied().zip(reply.users));
    }
    let now = clock::now();
    let presence = |user: &UserId| match known.get(user) {
        Some(known) => Ok(known.presence(user.clone(), now)),
        None => Err(Error::RustError("a switchboard left somebody out".to_owned())),
    };
    users.iter().map(presence).collect()
}

/// Those of `users` who are online, or may be: a switchboard that can't be reached says nothing of its own.
pub(crate) async fn maybe_online(env: &Env, users: Vec<UserId>) -> Result<Vec<UserId>> {
    let count = generation(env)?;
    let earlier = earlier_switchboards(env, count).await;
    let mut questions: BTreeMap<SwitchboardName, Vec<UserId>> = BTreeMap::new();
    for user in users {
        let theirs = |name: &&SwitchboardName| SwitchboardName::of(&user, name.count) == **name;
        let names: Vec<_> = earlier.iter().filter(theirs).copied().collect();
        for name in names.into_iter().chain([SwitchboardName::of(&user, count)]) {
            questions.entry(name).or_default().push(user.clone());
        }
    }
    let asking = questions.into_iter().map(|(name, users)| async move {
        let query = RosterQuery {
            users: users.clone(),
            sharing: None,
        };
        let request = SwitchboardRequest::new(name, SwitchboardCall::Roster(query));
        match request.send_for::<RosterReply>(env).await {
            Ok(reply) => {
                let known = users.into_iter().zip(reply.users);
                let online = known.filter(|(_, known)| matches!(known, Known::Online { .. }));
                online.map(|(user, _)| user).collect()
            }
            Err(error) => {
                console_error!("a switchboard could not say who is online: {error}");
                users
            }
        }
    });
    let found: Vec<Vec<UserId>> = stream::iter(asking)
        .buffer_unordered(HUBS_AT_ONCE)
        .collect()
        .await;
    let online: BTreeSet<UserId> = found.into_iter().flatten().collect();
    Ok(online.into_iter().collect())
}

/// Those who are online in a room, after `after`, in the order of their ids.
pub(crate) struct InRoom {
    /// How many there are in all.
    pub(crate) online: u64,
    /// At most as many as asked for.
    pub(crate) users: Vec<UserId>,
}

/// Who is online in `room`: at most `limit` of them.
///
/// # Errors
/// When a switchboard can't be reached.
pub(crate) async fn online_in(
    env: &Env,
    room: &SharedRoom,
    after: Option<&UserId>,
    limit: usize,
) -> Result<InRoom> {
    let calls = SwitchboardName::all(generation(env)?).map(|name| {
        let call = SwitchboardCall::Room {
            room: room.clone(),
            after: after.cloned(),
            limit,
        };
        (name, call)
    });
    let replies: Vec<(SwitchboardName, RoomReply)> = ask(env, calls).await?;
    let mut found = InRoom {
        online: 0,
        users: Vec::new(),
    };
    for (_, mut reply) in replies {
        found.online = found.online.saturating_add(reply.online);
        found.users.append(&mut reply.users);
    }
    found.users.sort_unstable();
    found.users.truncate(limit);
    Ok(found)
}

/// How many users are online.
///
/// # Errors
/// When a switchboard can't be reached.
pub(crate) async fn online_count(env: &Env) -> Result<u64> {
    let calls = SwitchboardName::all(generation(env)?).map(|name| (name, SwitchboardCall::Count));
    let replies: Vec<(SwitchboardName, CountReply)> = ask(env, calls).await?;
    Ok(replies
        .iter()
        .fold(0, |sum, (_, reply)| sum.saturating_add(reply.online)))
}

/// To whom an event was sent.
#[derive(Default)]
pub(crate) struct Reached {
    /// The users named who are online.
    pub(crate) users: BTreeSet<UserId>,
    /// How many users are online in each of the shared rooms.
    pub(crate) rooms: BTreeMap<SharedRoom, u64>,
}

/// Sends an event to whoever it is for and is online. What a switchboard that can't be reached would have sent
/// is lost, as it is for those who are offline.
///
/// # Errors
/// When no switchboard can be reached.
pub(crate) async fn emit(env: &Env, event: &CustomEvent) -> Result<Reached> {
    let count = generation(env)?;
    let earlier = earlier_switchboards(env, count).await;
    let mut rooms = Vec::new();
    let mut targets: BTreeMap<SwitchboardName, Vec<UserId>> = BTreeMap::new();
    for room in event.rooms() {
        match room {
            Room::Shared(room) => rooms.push(room.clone()),
            Room::User(user) => {
                let theirs = |name: &&SwitchboardName| SwitchboardName::of(user, name.count) == **name;
                let names = earlier.iter().filter(theirs).copied();
                for name in names.chain([SwitchboardName::of(user, count)]) {
                    targets.entry(name).or_default().push(user.clone());
                }
            }
        }
    }
    if !rooms.is_empty() {
        for name in earlier.iter().copied().chain(SwitchboardName::all(count)) {
            targets.entry(name).or_default();
        }
    }
    let calls = targets.into_iter().map(|(name, users)| {
        let emit = Emit {
            users,
            rooms: rooms.clone(),
            event: event.name.clone(),
            data: event.data.clone(),
        };
        SwitchboardRequest::new(name, SwitchboardCall::Emit(emit))
    });
    let replies = calls.map(|request| async move { request.send_for::<EmitReply>(env).await });
    let replies: Vec<_> = stream::iter(replies)
        .buffer_unordered(HUBS_AT_ONCE)
        .collect()
        .await;
    let mut reached = None;
    let mut failed = None;
    for reply in replies {
        match reply {
            Ok(reply) => {
                let reached = reached.get_or_insert_with(Reached::default);
                reached.users.extend(reply.users);
                for (room, online) in rooms.iter().zip(reply.rooms) {
                    let sum = reached.rooms.entry(room.clone()).or_default();
                    *sum = sum.saturating_add(online);
                }
            }
            Err(error) => {
                console_error!(
                    "a switchboard could not be reached, and what it was to send is lost: {error}"
                );
                failed = Some(error);
            }
        }
    }
    match (reached, failed) {
        (Some(reached), _) => Ok(reached),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(Reached::default()),
    }
}

/// How many switchboards there are.
fn generation(env: &Env) -> Result<u32> {
    let config = settings::load(env);
    let config = config.map_err(|_| Error::RustError("the service is not configured".to_owned()))?;
    Ok(config.switchboards)
}

/// Asks switchboards, many at the same time.
async fn ask<T: DeserializeOwned>(
    env: &Env,
    calls: impl Iterator<Item = (SwitchboardName, SwitchboardCall)>,
) -> Result<Vec<(SwitchboardName, T)>> {
    let asking = calls.map(|(name, call)| async move {
        let reply = SwitchboardRequest::new(name, call).send_for(env).await?;
        Ok((name, reply))
    });
    stream::iter(asking)
        .buffer_unordered(HUBS_AT_ONCE)
        .try_collect()
        .await
}

thread_local! {
    static KNOWN: RefCell<Option<(Timestamp, Rc<[SwitchboardName]>)>> = const { RefCell::new(None) };
}

/// The switchboards of other generations that may still have members. When the record can't be read there
/// are none, as far as a volatile event is concerned.
async fn earlier_switchboards(env: &Env, count: u32) -> Rc<[SwitchboardName]> {
    let now = clock::now();
    let known = KNOWN.with_borrow(Clone::clone);
    if let Some((at, names)) = known
        && now.since(at) < KNOWN_FOR_MS
    {
        return names;
    }
    match read_switchboards(env).await {
        Ok(mut names) => {
            names.retain(|name| name.count != count);
            let names = Rc::from(names);
            KNOWN.with_borrow_mut(|known| *known = Some((now, Rc::clone(&names))));
            names
        }
        Err(error) => {
            console_error!("the record did not say which switchboards there are: {error}");
            Rc::from([])
        }
    }
}

async fn read_switchboards(env: &Env) -> Result<Vec<SwitchboardName>> {
    bindings::record(env)?.switchboards().await
}
