//! Questions that wait to be put together.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use dormouse_domain::switchboard::pace::Pace;
use futures_channel::oneshot;
use worker::Delay;

use crate::clock;

/// Questions of many hubs, which are put to the record together.
pub(super) struct Gathering<Q, A> {
    waiting: RefCell<VecDeque<Waiter<Q, A>>>,
    pace: Cell<Pace>,
    open: Cell<bool>,
}

/// Somebody who waits for an answer; dropped, there is none.
pub(super) struct Waiter<Q, A> {
    pub(super) question: Q,
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
    pub(super) fn wait(&self, question: Q) -> oneshot::Receiver<A> {
        let (answer, answered) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiter { question, answer });
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
}

/// Who sees to it that questions are answered, until this is dropped.
pub(super) struct Opened<'a, Q, A>(&'a Gathering<Q, A>);

impl<Q, A> Opened<'_, Q, A> {
    /// Gathers for as long as it is not too early for the next query.
    pub(super) async fn gather(&self) {
        let now = clock::now();
        let at = self.0.pace.get().query_at(now);
        Delay::from(Duration::from_millis(at.since(now))).await;
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
