//! `/v1/rooms/{room}/members`: who is in a department or a room besides those whose tokens say so.

use std::collections::BTreeSet;

use dormouse_domain::id::UserId;
use dormouse_domain::json_object::Mistake;
use dormouse_domain::member_changes::{MemberChanges, changeable_room};
use dormouse_domain::membership::MAX_ROOMS;
use dormouse_domain::problem::{Code, Problem};
use dormouse_domain::user_list::MAX_BODY_BYTES;
use serde::Serialize;
use worker::{Env, Request, Response};

use super::{room_name, user_in};
use crate::d1::{MemberChange, MembersChanged};
use crate::http::{Refusal, json, json_body, no_content};
use crate::{bindings, clock, nudges, roster};

/// `PUT /v1/rooms/{room}/members/{user}`: what is pushed to the room from now on is theirs.
pub(crate) async fn put_member(env: &Env, room: &str, user: &str) -> Result<Response, Refusal> {
    let user = user_in(user, "user")?;
    let changes = MemberChanges {
        add: BTreeSet::from([user.clone()]),
        remove: BTreeSet::new(),
    };
    change_one(env, room, user, &changes).await
}

/// `DELETE /v1/rooms/{room}/members/{user}`: what was pushed to the room until now is still theirs. A token from
/// before does not bring them back.
pub(crate) async fn delete_member(env: &Env, room: &str, user: &str) -> Result<Response, Refusal> {
    let user = user_in(user, "user")?;
    let changes = MemberChanges {
        add: BTreeSet::new(),
        remove: BTreeSet::from([user.clone()]),
    };
    change_one(env, room, user, &changes).await
}

/// Who is online is told whether or not anything is new: a repetition may mean that they were not, the first time.
async fn change_one(
    env: &Env,
    room: &str,
    user: UserId,
    changes: &MemberChanges,
) -> Result<Response, Refusal> {
    change(env, room, changes).await?;
    tell(env, vec![user]).await?;
    Ok(no_content()?)
}

/// `POST /v1/rooms/{room}/members`: all or nothing.
pub(crate) async fn change_members(mut request: Request, env: &Env, room: &str) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Changed {
        added: usize,
        removed: usize,
    }
    let changes = MemberChanges::parse(&json_body(&mut request, MAX_BODY_BYTES).await?)?;
    let MembersChanged {
        added,
        removed,
        users,
    } = change(env, room, &changes).await?;
    tell(env, users).await?;
    Ok(json(200, &Changed { added, removed })?)
}

/// Tells those who are online. The others read it when they connect, before anything of the room comes to
/// them: their hubs are not woken, and those who were never seen get none.
async fn tell(env: &Env, users: Vec<UserId>) -> Result<(), Refusal> {
    let online = roster::maybe_online(env, users).await?;
    nudges::catch_up(env, online).await;
    Ok(())
}

async fn change(env: &Env, room: &str, changes: &MemberChanges) -> Result<MembersChanged, Refusal> {
    let room = changeable_room(&room_name(room)?)?;
    let record = bindings::record(env)?;
    match record.change_members(&room, changes, clock::now()).await? {
        MemberChange::Done(done) => Ok(done),
        MemberChange::Full(users) => Err(too_many_rooms(&users).into()),
    }
}

fn too_many_rooms(users: &[UserId]) -> Problem {
    let full = users.iter().map(|user| Mistake {
        pointer: String::new(),
        detail: format!("{user} is in {MAX_ROOMS} rooms"),
    });
    Problem::new(Code::TooManyRooms)
        .detail(format!(
            "the membership API puts nobody into more than {MAX_ROOMS} rooms"
        ))
        .errors(full.collect())
}
