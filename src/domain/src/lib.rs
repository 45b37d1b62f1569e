//! The rules of Dormouse. Time, randomness and configuration are arguments; nothing here waits,
//! stores or sends.
//!
//! In reading order:
//!
//! 1. [`time`], [`id`]: what instants, users and notifications are called.
//! 2. [`config`]: every setting.
//! 3. [`auth`]: who is calling, by [`token_keys`] made of single [`token_key`]s, [`jwk`] sets and those that are
//!    [fetched](remote_keys); [`handshake`], [`service_key`], [`engine_request`], [`engine_sid`], [`signature`].
//! 4. [`room`], [`membership`], [`member_changes`], [`switchboard`]: who is where.
//! 5. [`push`], [`batch`], [`custom_event`], [`queued_push`], [`dead_letter`], [`notification`], [`markdown`], [`idempotency`], [`json_object`]: what a service asks for; [`status`]: what it can learn of it afterwards.
//! 6. [`inbox`] with its [`item`]s and [`change`]s, [`command`], [`preferences`], [`delivery`], [`alarm`]: what becomes of it.
//! 7. [`session`] with its [`namespace`], [`wishes`] and [`heartbeat`]; [`stranger`], [`polling`], [`recovery`], [`event`], [`case`], [`presence`]: the connections that hear of it.
//! 8. `conformance`: what the official protocol suites expect, in a build of its own.
//! 9. [`operation`], [`page`], [`user_list`], [`problem`], [`open_metrics`]: what callers over HTTP ask for and get.

pub mod time;

pub mod id;

pub mod room;

pub mod membership;

pub mod member_changes;

pub mod switchboard;

pub mod config;

pub mod auth;

pub mod token_key;

pub mod jwk;

pub mod remote_keys;

pub mod token_keys;

pub mod engine_request;

pub mod engine_sid;

pub mod handshake;

pub mod service_key;

pub mod signature;

pub mod push;

pub mod batch;

pub mod custom_event;

pub mod queued_push;

pub mod dead_letter;

pub mod json_object;

pub mod notification;

pub mod markdown;

pub mod idempotency;

pub mod status;
pub mod template;

pub mod placeholder;

pub mod notification_type;

pub mod inbox;

pub mod item;

pub mod change;

pub mod command;

pub mod preferences;

pub mod delivery;

pub mod alarm;

pub mod limit;

pub mod session;

pub mod namespace;

pub mod wishes;

pub mod heartbeat;

pub mod stranger;

pub mod polling;

pub mod recovery;

pub mod event;

pub mod case;

pub mod presence;

#[cfg(feature = "conformance")]
pub mod conformance;

pub mod operation;

pub mod open_metrics;

pub mod page;

pub mod user_list;

pub mod problem;
