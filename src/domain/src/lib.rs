//! The rules of Dormouse. Time, randomness and configuration are arguments; nothing here waits,
//! stores or sends.
//!
//! In reading order:
//!
//! 1. [`time`], [`id`]: what instants, users and notifications are called.
//! 2. [`config`]: every setting.
//! 3. [`auth`], [`engine_request`], [`engine_sid`], [`handshake`], [`service_key`], [`signature`]: who is calling.
//! 4. [`push`], [`notification`], [`markdown`], [`idempotency`], [`json_object`]: what a service asks for;
//!    [`template`], [`placeholder`], [`notification_type`]: what it can define beforehand.
//! 5. [`inbox`], [`delivery`], [`alarm`]: what it does to a user's inbox.
//! 6. [`session`] with its [`namespace`], [`wishes`] and [`heartbeat`]; [`stranger`], [`polling`], [`recovery`], [`event`], [`presence`]: the connections that hear of it.
//! 7. `conformance`: what the official protocol suites expect, in a build of its own.
//! 8. [`page`], [`problem`]: what callers over HTTP get.

pub mod time;

pub mod id;

pub mod config;

pub mod auth;

pub mod engine_request;

pub mod engine_sid;

pub mod handshake;

pub mod service_key;

pub mod signature;

pub mod push;

pub mod json_object;

pub mod notification;

pub mod markdown;

pub mod idempotency;

pub mod template;

pub mod placeholder;

pub mod notification_type;

pub mod inbox;

pub mod delivery;

pub mod alarm;

pub mod session;

pub mod namespace;

pub mod wishes;

pub mod heartbeat;

pub mod stranger;

pub mod polling;

pub mod recovery;

pub mod event;

pub mod presence;

#[cfg(feature = "conformance")]
pub mod conformance;

pub mod page;

pub mod problem;
