//! Many random histories of one user's inbox: pushes, commands, retries, connections that come, break
//! and go, a hub that forgets, dies between storing and sending, and a record that can't be reached.
//! Whatever happens in whatever order, counts are exact, numbers have no gap, each client's list is the
//! hub's, and the record ends up with the hub's states.
//!
//! The rules are the crate's; [`storage`], [`record`] and [`hub`] stand in for the object's database, D1
//! and the object, [`client`] for a client that keeps to the documents. A failure prints its seed and
//! what happened last; `SEEDS` may then be narrowed to it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop at once"
)]

mod client;
mod dice;
mod hub;
mod record;
mod storage;

use std::ops::Range;

use hub::World;

const SEEDS: Range<u64> = 0..1_500;

#[test]
fn no_interleaving_breaks_the_inbox() {
    for seed in SEEDS {
        let mut world = World::new(seed);
        // Now and then long enough that a client misses more than is replayed.
        let steps = if seed % 20 == 0 { 400 } else { 60 };
        for _ in 0..steps {
            world.step();
            world.check();
        }
        world.settle();
        world.check();
    }
}
