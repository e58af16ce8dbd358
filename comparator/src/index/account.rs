//! What is known of an account: what runs on it, what ran lately, what of it is not proven yet.

use super::exchange::Exchange;
use crate::judge::overlap::{Overlap, Span, View, overlap};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::scalar::{Money, Timestamp};
use wire::words::{Operation, System};

/// Spans of judged exchanges kept per account at most. Later exchanges that overlap with one this far back would
/// have had to begin more than 4,000 exchanges of the account earlier.
const MAX_SPANS: usize = 4_096;

/// An account.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) kind: Option<Kind>,
    /// Its least and its greatest balance, as its authority last showed them.
    pub(super) limits: Option<[Option<Money>; 2]>,
    /// Exchanges that name it and are not judged, by authority (legacy, engine).
    pub(super) open: [BTreeSet<u64>; 2],
    /// Of these, the ones whose shadow leg has been sent.
    pub(super) sent: BTreeSet<u64>,
    /// Of these, the ones that make or change it.
    pub(super) changing: BTreeSet<u64>,
    /// Concluded exchanges that wait to be judged, in the order in which they concluded.
    pub(super) queue: VecDeque<u64>,
    /// When judged exchanges with an effect ran, as long as a later one may overlap with them. Of an account whose
    /// balance has no order: those that made or changed it.
    pub(super) spans: VecDeque<Span>,
    /// When the last exchange on it was judged (log time).
    pub(super) judged: Option<i64>,
    /// Exchanges whose effect no equal level has proven yet, in the order in which they were judged.
    pub(super) unproven: VecDeque<u64>,
    /// The last exchange before which both levels were equal.
    pub(super) proven: Option<Proven>,
    /// Rows up to this time have been looked at for writes that bypassed the front.
    pub(super) searched: Option<Timestamp>,
    /// The last exchange that was booked `forced` beside others since the last equal level.
    pub(super) forced: Option<u64>,
    /// Discrepancies by which its status or limits differ.
    pub(super) state_roots: Vec<String>,
}

/// An account's type, as far as it matters for order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    /// EXTERNAL or SYSTEM with a min or a max.
    Limited,
    /// EXTERNAL or SYSTEM that takes whatever comes.
    Shared,
}

/// An exchange before which both levels were equal (but for what discrepancies explain).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proven {
    /// When the front wrote its intent.
    pub(super) at: Timestamp,
    /// What its row in the histories looks like: key, type, source, destination; `None`: it has none.
    pub(super) row: Option<[String; 4]>,
}

impl Account {
    /// Whether exchanges on it have an order: it has a rule that may refuse, or its type is not known.
    ///
    /// An unknown account on the far side of a topup or withdrawal is EXTERNAL or SYSTEM by its role.
    pub(super) fn is_ordered(&self, exchange: &Exchange, name: &str) -> bool {
        match self.kind {
            Some(Kind::User | Kind::Limited) => true,
            Some(Kind::Shared) => false,
            None => match exchange.operation {
                Operation::Topup | Operation::Withdraw => exchange.account.as_deref() == Some(name),
                Operation::Transfer | Operation::Refund | Operation::CreateAccount | Operation::ChangeAccount => true,
            },
        }
    }

    /// The effects that no equal level has proven; `None` where no levels are compared.
    pub(super) fn levels_open(&self) -> Option<BTreeSet<u64>> {
        match self.kind {
            Some(Kind::User | Kind::Limited) => Some(self.unproven.iter().copied().collect()),
            Some(Kind::Shared) | None => None,
        }
    }

    /// With what an exchange overlapped on this account. With one front, what began after the exchange ended stands
    /// behind it in the log; with several, only their clocks tell.
    pub(super) fn overlap(
        &self,
        id: u64,
        exchanges: &BTreeMap<u64, Exchange>,
        view: View,
        several_fronts: bool,
    ) -> Overlap {
        let Some(one) = exchanges.get(&id) else { return Overlap::default() };
        let span = one.span();
        let mut found = Overlap::default();
        for other in self.spans.iter().rev() {
            found = found.and(overlap(&span, other, view));
            if found.same_cohort && found.cross_cohort {
                return found;
            }
        }
        let running = |other: &u64| exchanges.get(other).filter(|exchange| *other != id && exchange.bears_effect());
        let (same, other) = match one.authority {
            System::Legacy => (&self.open[0], &self.open[1]),
            System::Engine => (&self.open[1], &self.open[0]),
        };
        // Of one cohort: what began before it ended, and what was sent. What did neither cannot have overlapped, and
        // while the shadow is down there is a lot of it.
        let end = if several_fronts { i64::MAX } else { span.end.unwrap_or(i64::MAX) };
        let began = same.iter().filter_map(running).take_while(|exchange| exchange.intent <= end);
        let sent = self.sent.iter().filter_map(running);
        let last = match view {
            View::Narrow => span.last.unwrap_or(i64::MAX),
            View::Wide => i64::MAX,
        };
        let across = other.iter().filter_map(running).take_while(|exchange| exchange.intent <= last);
        for exchange in began.chain(sent).chain(across) {
            found = found.and(overlap(&span, &exchange.span(), view));
            if found.same_cohort && found.cross_cohort {
                break;
            }
        }
        found
    }

    /// With what an exchange overlapped that made or changed this account, whose balance has no order: whether it is there,
    /// and open, has one.
    pub(super) fn overlap_with_changes(&self, id: u64, exchanges: &BTreeMap<u64, Exchange>, view: View) -> Overlap {
        let Some(one) = exchanges.get(&id).map(Exchange::span) else { return Overlap::default() };
        let running = self.changing.iter().filter(|other| **other != id).filter_map(|other| exchanges.get(other));
        let running = running.filter(|exchange| exchange.bears_effect()).map(Exchange::span);
        let spans = self.spans.iter().copied().chain(running);
        spans.fold(Overlap::default(), |found, other| found.and(overlap(&one, &other, view)))
    }

    /// Drops spans that nothing still to come can overlap with. `clocks` is the earliest time that a front may still
    /// write, by the fronts' clocks, as far as they are known.
    pub(super) fn prune(&mut self, exchanges: &BTreeMap<u64, Exchange>, clocks: Option<i64>) {
        let oldest = self.open.iter().filter_map(BTreeSet::first).filter_map(|id| exchanges.get(id));
        let oldest = oldest.map(|exchange| exchange.span().earliest()).min().unwrap_or(i64::MAX);
        let needed = oldest.min(clocks.unwrap_or(i64::MIN));
        while let Some(span) = self.spans.front()
            && (self.spans.len() > MAX_SPANS || span.latest().is_some_and(|latest| latest < needed))
        {
            self.spans.pop_front();
        }
    }
}
