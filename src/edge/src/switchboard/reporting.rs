//! What admins are told of the service: the first switchboard of a generation asks all others every few
//! seconds, for as long as an admin is online anywhere.

use std::collections::BTreeSet;
use std::rc::Rc;

use dormouse_domain::room::SharedRoom;
use dormouse_domain::switchboard::SwitchboardName;
use dormouse_domain::switchboard::board::Reporting;
use dormouse_domain::switchboard::report::{AdminEvent, admin_events};
use dormouse_domain::time::Timestamp;
use worker::{Result, console_error};

use super::Exchange;
use crate::switchboard_rpc::{Emit, PeerCall, Report, SwitchboardCall};
use crate::{bindings, clock};

/// How long after a push it may not be stored yet, in milliseconds: what is counted ends so long ago.
const STORED_MS: u64 = 1_000;

impl Exchange {
    /// Tells the first switchboard that there are admins here.
    pub(super) fn announce_admins(self: &Rc<Self>) -> Result<()> {
        let SwitchboardName { count, index } = self.name()?;
        if index == 0 {
            return self.note_admins(0);
        }
        let exchange = Rc::clone(self);
        self.later("it could not be said that there are admins", async move {
            let first = SwitchboardName { count, index: 0 };
            let call = || SwitchboardCall::Peer(PeerCall::Admins { index });
            exchange.tell(&[first], call).await;
            Ok(())
        });
        Ok(())
    }

    /// There are admins at a switchboard.
    pub(super) fn note_admins(self: &Rc<Self>, index: u32) -> Result<()> {
        self.change_board(|board, _| board.note_admins(index, clock::now()))?;
        self.arm_later();
        Ok(())
    }

    /// Reports when it is time.
    pub(super) fn report_when_due(self: &Rc<Self>) -> Result<()> {
        let reporting = self.board(|board| board.reporting)?;
        let due = reporting.filter(|reporting| reporting.due_at <= clock::now());
        let Some(Reporting { since, .. }) = due else {
            return Ok(());
        };
        if !self.reporting.replace(true) {
            let exchange = Rc::clone(self);
            self.later("the admins could not be reported to", async move {
                let reported = exchange.report_all(since).await;
                exchange.reporting.set(false);
                exchange.arm().await?;
                reported
            });
        }
        Ok(())
    }

    async fn report_all(self: &Rc<Self>, since: Option<Timestamp>) -> Result<()> {
        let now = clock::now();
        let until = Timestamp::from_ms(now.as_ms().saturating_sub(STORED_MS));
        let own = self.name()?;
        let others = self.others()?;
        let before = self.change_board(|board, _| board.begin_report())?;
        let ask = || SwitchboardCall::Peer(PeerCall::Report);
        let mut reports: Vec<(SwitchboardName, Report)> = self.ask(&others, ask).await;
        reports.push((own, self.roster(|roster| self.report.borrow_mut().take(roster))?));
        let heard: BTreeSet<u32> = reports.iter().map(|(name, _)| name.index).collect();
        // Who did not answer may have admins still.
        let mut admins: BTreeSet<u32> = before.difference(&heard).copied().collect();
        let with_admins = reports.iter().filter(|(_, report)| report.admins > 0);
        admins.extend(with_admins.map(|(name, _)| name.index));
        // First, so that whatever fails after it is not repeated at once.
        self.change_board(|board, _| board.note_report(admins.clone(), until, now))?;
        if admins.is_empty() {
            return Ok(());
        }
        let pushes = match since {
            Some(since) => bindings::record(&self.env)?.count_pushes(since, until).await,
            None => Ok(0),
        };
        let pushes = pushes.unwrap_or_else(|error| {
            console_error!("pushes could not be counted for the admins: {error}");
            0
        });
        let reports: Vec<Report> = reports.into_iter().map(|(_, report)| report).collect();
        let mut names: Vec<_> = SwitchboardName::all(own.count).collect();
        names.retain(|name| admins.contains(&name.index));
        for event in admin_events(&reports, pushes, since, until)? {
            self.tell_admins(&names, &event).await?;
        }
        Ok(())
    }

    async fn tell_admins(
        self: &Rc<Self>,
        names: &[SwitchboardName],
        (event, data): &AdminEvent,
    ) -> Result<()> {
        let emit = || Emit {
            users: Vec::new(),
            rooms: vec![SharedRoom::Admin],
            event: (*event).to_owned(),
            data: data.clone(),
        };
        let own = self.name()?;
        let others: Vec<_> = names.iter().copied().filter(|name| *name != own).collect();
        if others.len() < names.len() {
            self.emit(emit())?;
        }
        self.tell(&others, || SwitchboardCall::Emit(emit())).await;
        Ok(())
    }
}
