//! What hubs owe the record.

use std::rc::Rc;

use dormouse_domain::delivery::Tally;
use dormouse_domain::id::UserId;
use worker::{Response, Result, console_error};

use super::Exchange;
use super::gathering::Waiter;
use super::reading::unavailable;
use crate::d1::{OwedDelivery, UserDelivery};
use crate::instruments::{FailPoint, reach};
use crate::metrics::{self, Point};
use crate::switchboard_rpc::Haste;
use crate::{bindings, clock};

/// Rows that are written with one statement, each about 400 bytes of it.
const ROWS: usize = 2_000;

/// How long what was counted may wait while more is being counted, in milliseconds.
const POINTS_INTERVAL_MS: u64 = 10_000;

/// What a hub owes.
pub(super) struct Debt {
    user: UserId,
    owed: Vec<OwedDelivery>,
}

impl Exchange {
    /// Answers when what a hub owes is written.
    pub(super) async fn settle(
        self: &Rc<Self>,
        user: UserId,
        owed: Vec<OwedDelivery>,
        tally: Tally,
    ) -> Result<Response> {
        let mut sum = self.tally.get();
        sum.add(tally);
        self.tally.set(sum);
        // While hubs go on coming, whoever writes for them comes to no end.
        if clock::now().since(self.written_at.get()) >= POINTS_INTERVAL_MS {
            self.write_points();
        }
        let written = self.debts.wait(Debt { user, owed }, Haste::Soon);
        self.write();
        match written.await {
            Ok(()) => Response::empty(),
            Err(_) => unavailable(),
        }
    }

    /// Sees to it that what is owed is written.
    fn write(self: &Rc<Self>) {
        if self.debts.is_open() {
            return;
        }
        let exchange = Rc::clone(self);
        self.state.wait_until(async move {
            let Some(opened) = exchange.debts.open() else {
                return;
            };
            while !exchange.debts.is_empty() {
                opened.gather().await;
                let mut rows = 0_usize;
                let debts = exchange.debts.take(|debt| {
                    rows = rows.saturating_add(debt.owed.len());
                    rows <= ROWS
                });
                match exchange.pay(&debts).await {
                    Ok(()) => debts.into_iter().for_each(|debt| debt.answer(())),
                    // Unanswered, the hubs keep owing.
                    Err(error) => console_error!("{} hubs keep owing the record: {error}", debts.len()),
                }
            }
            exchange.write_points();
        });
    }

    /// Writes what was counted of many hubs.
    fn write_points(&self) {
        self.written_at.set(clock::now());
        let tally = self.tally.take();
        let points = [
            (Point::Delivered, tally.delivered),
            (Point::Retried, tally.retried),
            (Point::FailedForGood, tally.failed_for_good),
            (Point::OutboxDepth, self.depth.take()),
        ];
        metrics::write(&self.env, &points);
    }

    async fn pay(&self, debts: &[Waiter<Debt, ()>]) -> Result<()> {
        reach(FailPoint::SettleBeforeWrite).await?;
        let rows = debts.iter().flat_map(|Waiter { question: debt, .. }| {
            debt.owed.iter().map(|owed| UserDelivery {
                user_id: &debt.user,
                owed,
            })
        });
        let rows: Vec<_> = rows.collect();
        let depth = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        self.depth.set(self.depth.get().max(depth));
        bindings::record(&self.env)?.write_deliveries(&rows).await?;
        for row in &rows {
            if let Some(id) = row.owed.failed_for_good() {
                self.report.borrow_mut().fail(id, row.user_id);
            }
        }
        reach(FailPoint::SettleWritten).await
    }
}
