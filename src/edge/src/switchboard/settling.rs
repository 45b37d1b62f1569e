//! What hubs owe the record.

use std::rc::Rc;

use dormouse_domain::id::UserId;
use worker::{Response, Result, console_error};

use super::Exchange;
use super::gathering::Waiter;
use super::reading::unavailable;
use crate::bindings;
use crate::d1::{OwedDelivery, UserDelivery};
use crate::instruments::{FailPoint, reach};
use crate::switchboard_rpc::Haste;

/// Rows that are written with one statement, each about 400 bytes of it.
const ROWS: usize = 2_000;

/// What a hub owes.
pub(super) struct Debt {
    user: UserId,
    owed: Vec<OwedDelivery>,
}

impl Exchange {
    /// Answers when what a hub owes is written.
    pub(super) async fn settle(self: &Rc<Self>, user: UserId, owed: Vec<OwedDelivery>) -> Result<Response> {
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
        });
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
        bindings::record(&self.env)?.write_deliveries(&rows).await?;
        for row in &rows {
            if let Some(id) = row.owed.failed_for_good() {
                self.report.borrow_mut().fail(id, row.user_id);
            }
        }
        reach(FailPoint::SettleWritten).await
    }
}
