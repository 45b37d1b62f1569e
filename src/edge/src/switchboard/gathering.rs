//! Questions that wait to be put together.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use dormouse_domain::switchboard::pace::{Pace, WINDOW_MS};
use futures_channel::oneshot;
use worker::Delay;

use crate::clock;
use crate::switchboard_rpc::Haste;

/// Questions of many hubs, which are put to the record together.
pub(super) struct Gathering<Q, A> {
    waiting: RefCell<VecDeque<Waiter<Q, A>>>,
    pace: Cell<Pace>,
    open: Cell<bool>,
}

/// Somebody who waits for an answer; dropped, there is none.
pub(super) struct Waiter<Q, A> {
    pub(super) question: Q,
    haste: Haste,
    answer: oneshot::Sender<A>,
}

impl<Q, A> Default for Gathering<Q, A> {
    fn default() -> Self {
        Self {
            waiting: RefCell::default(),
            pace: Cell::default(),
            open: Cell::default(),
        }
    }
}

impl<Q, A> Gathering<Q, A> {
    /// Waits with a question. Somebody has to see to it that questions are answered: see
    /// [`Gathering::open`].
    pub(super) fn wait(&self, question: Q, haste: Haste) -> oneshot::Receiver<A> {
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter {
            question,
            haste,
            answer,
        };
        self.waiting.borrow_mut().push_back(waiter);
        answered
    }

    /// Whether the caller is the one who has to see to it: `None` when somebody does already.
    pub(super) fn open(&self) -> Option<Opened<'_, Q, A>> {
        (!self.open.replace(true)).then_some(Opened(self))
    }

    /// The questions that can be put together: the first, and those after it that fit.
    pub(super) fn take(&self, mut fits: impl FnMut(&Q) -> bool) -> Vec<Waiter<Q, A>> {
        let mut waiting = self.waiting.borrow_mut();
        let mut taken = Vec::new();
        while waiting
            .front()
            .is_some_and(|waiter| fits(&waiter.question) || taken.is_empty())
        {
            taken.extend(waiting.pop_front());
        }
        taken
    }

    /// Whether somebody sees to it.
    pub(super) const fn is_open(&self) -> bool {
        self.open.get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }

    fn is_hasty(&self) -> bool {
        let waiting = self.waiting.borrow();
        waiting.iter().any(|waiter| waiter.haste == Haste::Now)
    }
}

/// Who sees to it that questions are answered, until this is dropped.
pub(super) struct Opened<'a, Q, A>(&'a Gathering<Q, A>);

impl<Q, A> Opened<'_, Q, A> {
    /// Gathers for as long as it is not too early for the next query and everybody has patience.
    pub(super) async fn gather(&self) {
        let at = self.0.pace.get().query_at(clock::now());
        loop {
            Delay::from(Duration::from_millis(WINDOW_MS)).await;
            if clock::now() >= at || self.0.is_hasty() {
                break;
            }
        }
        let mut pace = self.0.pace.get();
        pace.query(clock::now());
        self.0.pace.set(pace);
    }
}

impl<Q, A> Drop for Opened<'_, Q, A> {
    fn drop(&mut self) {
        self.0.open.set(false);
    }
}

impl<Q, A> Waiter<Q, A> {
    /// Answers; nobody minds when the one who asked has gone.
    pub(super) fn answer(self, answer: A) {
        let _ = self.answer.send(answer);
    }
}
