//! Tokens and the keys they are held against, from outside: what is accepted, what somebody might forge, and
//! what somebody might publish.
//!
//! [`keys`] signs with the private keys of `keys.json`, which are good for nothing else.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

mod forged;
mod genuine;
mod keys;
mod sets;
