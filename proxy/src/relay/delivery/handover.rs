//! Handovers: when everything that was decided on accounts which move is delivered.
//!
//! Everything decided under an older version counts, so it does not matter whether its records are folded before
//! or after the move. Accounts that a front named as unknown stay behind and are not waited for.
//!
//! What a front still has running, or in its journal, is not known here: it is drained only when every front has
//! said that nothing of it is, as of a record that was folded. In two phases the rollout names the fronts; in one
//! phase it is every front that may be serving, out of reach or not. A move that another one follows before it is
//! drained is answered all the same: its accounts wait for it.

use super::exchanges::{Exchange, ExchangeId};
use super::{Action, Delivery};
use crate::planted::{Mistake, planted};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::rollout::{Rollout, RolloutBody, RolloutRecord};
use wire::scalar::Timestamp;

/// Who writes into the rollout here.
const ACTOR: &str = "relay";
/// Moves whose answer is owed at most; of more, the oldest is not answered, as no front waits for it by then.
const MAX_UNANSWERED: usize = 8;
/// After its start the relay knows the fronts of the log only: one of which it has no record, or whose last boot has ended,
/// may be serving. Fronts try to connect once a second at least. Of a move that is made later, it waits for those alone that
/// it knows.
pub(super) const CONNECTED_WITHIN_MICROS: i64 = 2_000_000;
/// After an append that failed, or of which nobody knows whether it did, before the next attempt.
const PAUSE_MICROS: i64 = 20_000;

/// A move of the dial that takes accounts along.
#[derive(Debug)]
pub(super) struct Handover {
    /// The version that it makes.
    pub version: u64,
    /// The rollout before it.
    before: Rollout,
    /// The rollout after it, if it is made and leaves nobody behind.
    after: Rollout,
    /// Whether fronts hold and answer before it holds.
    two_phase: bool,
    /// Whether the relay was there when it was made.
    of_the_present: bool,
    /// What is not delivered of accounts that move, with the account.
    undelivered: BTreeMap<ExchangeId, Arc<str>>,
    request: Request,
}

/// How far the answer was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// Not yet, and not before this point.
    After(Timestamp),
    /// It was handed over.
    UnderWay,
    /// It stands at this offset, and was not read back.
    Written(u64),
}

impl Handover {
    /// The move from `before` to `after`.
    pub(super) fn new(version: u64, before: Rollout, after: Rollout, two_phase: bool) -> Self {
        let request = Request::After(Timestamp(i64::MIN));
        Self { version, before, after, two_phase, of_the_present: false, undelivered: BTreeMap::new(), request }
    }

    /// Whether any account changes its authority.
    pub(super) fn moves_any(&self) -> bool {
        self.before.may_differ(&self.after)
    }

    /// An exchange is known that is not concluded.
    pub(super) fn began(&mut self, id: ExchangeId, exchange: &Exchange) {
        if let Some(account) = &exchange.account
            && exchange.intent.version < self.version
            && self.before.authority(account) != self.after.authority(account)
        {
            self.undelivered.insert(id, Arc::clone(account));
        }
    }

    /// An exchange is concluded.
    pub(super) fn concluded(&mut self, id: ExchangeId) {
        self.undelivered.remove(&id);
    }

    /// Whether another move calls it off.
    pub(super) fn can_be_called_off(&self) -> bool {
        self.two_phase
    }

    /// The rollout was read up to and with this offset, and the answer was not accepted there.
    pub(super) fn read_back(&mut self, offset: u64) {
        if matches!(self.request, Request::Written(written) if written <= offset) {
            self.request = Request::After(Timestamp(i64::MIN));
        }
    }
}

impl Delivery {
    /// A move begins, which is answered once it is drained.
    pub(super) fn begin_handover(&mut self, mut handover: Handover) {
        handover.of_the_present = self.present_since > Timestamp(i64::MIN);
        self.exchanges.iter().for_each(|(id, exchange)| handover.began(id, exchange));
        self.handovers.push(handover);
        if self.handovers.len() > MAX_UNANSWERED {
            self.handovers.remove(0);
        }
    }

    /// Says `drained` as soon as it is true: of one move at a time, for each answer extends the one before.
    pub(super) fn answer_handover(&mut self, now: Timestamp) {
        let is_free = |handover: &Handover| matches!(handover.request, Request::After(at) if at <= now);
        if !self.handovers.iter().all(is_free) {
            return;
        }
        let Some(index) = self.handovers.iter().position(|handover| self.is_drained(handover, now)) else { return };
        let handover = &mut self.handovers[index];
        handover.request = Request::UnderWay;
        let record = RolloutRecord {
            parent: self.rollout.head,
            at: now,
            actor: ACTOR.to_owned(),
            reason: "everything decided on accounts that move is delivered".to_owned(),
            body: RolloutBody::Drained { version: handover.version },
        };
        self.outbox.push(Action::Drained(record));
    }

    fn is_drained(&self, handover: &Handover, now: Timestamp) -> bool {
        let unasked = planted(Mistake::NoBarrier);
        if !handover.two_phase {
            let waited = now.since_micros(self.present_since) > CONNECTED_WITHIN_MICROS;
            let all_heard = waited || (handover.of_the_present && self.fronts.all_are_connected());
            let left_behind = all_heard && self.fronts.all_left_behind(handover.version);
            return handover.undelivered.is_empty() && (unasked || left_behind);
        }
        let Some(pending) = self.rollout.pending.as_ref().filter(|pending| pending.version == handover.version) else {
            return false;
        };
        let shipped = pending.fronts.iter().all(|front| {
            let mark = pending.prepared.get(&front.front);
            mark.is_some_and(|mark| self.fronts.reached(&front.front, front.boot, *mark))
        });
        (shipped || unasked)
            && handover.undelivered.values().all(|account| pending.unknown_accounts.contains(&**account))
    }

    /// What came of an [`Action::Drained`]: the offset it got, or `None` when it failed or nobody knows.
    pub fn drained_written(&mut self, version: u64, offset: Option<u64>, now: Timestamp) {
        let Some(handover) = self.handovers.iter_mut().find(|handover| handover.version == version) else { return };
        if handover.request == Request::UnderWay {
            handover.request = match offset {
                // It was folded before this was reported, and did not extend the chain.
                Some(offset) if offset < self.rollout_folded => Request::After(now),
                Some(offset) => Request::Written(offset),
                None => Request::After(Timestamp(now.0.saturating_add(PAUSE_MICROS))),
            };
        }
    }
}
