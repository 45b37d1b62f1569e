//! The Worker and its Durable Objects: the only crate that sees the platform. It loads what a rule
//! needs, calls the rule, stores what comes out, then sends.
//!
//! In reading order:
//!
//! 1. [`router`]: which request goes where; [`socket_io`], [`api`]: the two doors.
//! 2. [`lobby`], [`relay`]: those who have not said who they are; [`engine_http`]: what polls are answered.
//! 3. [`hub`]: the object of one user; [`hub_rpc`]: how it is called; [`sockets`], [`storage`]: what it holds.
//!    [`switchboard`]: the object between many hubs and the record; [`switchboard_rpc`]: how it is called.
//! 4. [`dispatch`]: a push's way to the record and to the hubs; [`pushes`]: those that come by a queue; [`cron`]:
//!    those that waited, and what is forgotten.
//! 5. [`record`], [`d1`]: the way to the record; [`nudges`]: the queue for hubs that could not be reached;
//!    [`mod@queue`]: what comes from a queue.
//! 6. [`switchboard_rpc`]: how switchboards are called, and call; [`roster`]: what is asked of many at once.
//! 7. [`identity`], [`keys`]: whom a request is from, and by which keys; [`log`], [`metrics`]: what operators
//!    see; [`settings`], [`bindings`], [`clock`], [`entropy`], [`http`], [`cors`], [`limits`]: small things everyone
//!    needs.
//! 8. [`instruments`]: fail points, planted faults and the ledger, empty in the production bundle; `conformance`: what
//!    differs in the build for the official protocol suites.

#![allow(
    rustdoc::private_intra_doc_links,
    reason = "a map for those who read the code; nobody calls this crate"
)]

mod router;

mod socket_io;

mod api;

mod lobby;

mod relay;

mod engine_http;

mod hub;

mod hub_rpc;

mod switchboard;

mod switchboard_rpc;

mod sockets;

mod storage;

mod alarm;

mod dispatch;

mod queue;

mod pushes;

mod cron;

mod roster;

mod record;

mod d1;

mod nudges;

mod log;

mod metrics;

mod settings;

mod bindings;

mod clock;

mod entropy;

mod identity;

mod keys;

mod http;

mod cors;

mod limits;

mod instruments;

#[cfg(feature = "conformance")]
mod conformance;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Context, Env, Request, Response, Result, ScheduleContext, ScheduledEvent, event, worker_sys};

/// Answers every HTTP request.
///
/// # Errors
/// Never: a refusal is a response.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
    router::route(request, env, context).await
}

/// Takes a batch of messages of a queue; each is settled by itself.
///
/// `#[event(queue)]` would do the same, but its messages do not say how often they have come.
#[wasm_bindgen(
    wasm_bindgen = worker::wasm_bindgen,
    wasm_bindgen_futures = worker::wasm_bindgen_futures,
    js_sys = worker::js_sys
)]
pub async fn queue(batch: worker_sys::MessageBatch, env: Env, _context: worker_sys::Context) {
    queue::consume(batch, &env).await;
}

/// Does what is due by the clock.
#[event(scheduled)]
async fn scheduled(event: ScheduledEvent, env: Env, _context: ScheduleContext) {
    cron::run(&event.cron(), &env).await;
}
