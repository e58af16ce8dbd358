//! What follows from a verdict: roots, offsets, proven levels; and what inquiries and people add.

use super::Index;
use super::account::Proven;
use super::exchange::{Effect, Exchange, Inquired};
use super::roots::Root;
use crate::judge::diff::Difference;
use crate::judge::normalize::Leg;
use crate::judge::offsets::Place;
use crate::judge::verdict::{Judgement, Level, Ruling};
use wire::control::{DifferenceView, Settlement, Verdict};
use wire::decision::{DecisionBody, DecisionRecord, Finding};
use wire::ids::ExchangeNumber;
use wire::scalar::{Money, Timestamp};
use wire::words::{Cause, Mode, Operation, System, VerdictKind};

/// Unproven effects remembered per account: an account that is never quiet for so many exchanges is left to
/// reconciliation, which then cannot name the oldest of them.
const MAX_UNPROVEN: usize = 100_000;
/// The same of an account whose balance has no order: no level ever proves it, and half of all exchanges name it. A
/// reconciliation of it reads both histories so far back.
const MAX_UNPROVEN_SHARED: usize = 10_000;
/// Reconciliations kept whole.
const MAX_RECONCILIATIONS: usize = 1_000;

impl Index {
    /// Applies a judgement.
    pub(super) fn follow(&mut self, id: u64, judgement: Judgement, queued: &[String]) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let own = exchange.number.to_string();
        let is_account_match = judgement.ruling == Ruling::Match
            && matches!(exchange.operation, Operation::CreateAccount | Operation::ChangeAccount)
            && exchange.authority_bears_effect();
        let place: Place = (exchange.front, id);
        let (family, accounts) = (exchange.original, exchange.accounts.clone());
        // An account that all use would carry the differences of all: only what made or changed it is about it.
        let in_doubt = if exchange.changes_account() { accounts.clone() } else { queued.to_vec() };
        let roots = match &judgement.ruling {
            Ruling::Mismatch(cause) => {
                self.roots.add(&own, root(exchange, *cause, &judgement.differences, self.now));
                vec![own]
            }
            Ruling::Carried(roots) => roots.clone(),
            _ => Vec::new(),
        };
        for (suspect, account, currency, amount) in &judgement.blamed {
            self.blame(suspect);
            self.roots.explain(suspect, account, currency, *amount, self.place_of(suspect));
        }
        if let Some(first) = roots.first() {
            for (account, currency, amount) in &judgement.offsets {
                self.roots.explain(first, account, currency, *amount, Some(place));
            }
            if judgement.state_differs {
                for name in &in_doubt {
                    add_all(&mut self.accounts.entry(name.clone()).or_default().state_roots, &roots);
                }
            }
            self.taint(id, family, &roots);
        }
        if is_account_match {
            // Both show the account with the same status and limits.
            for name in &accounts {
                self.accounts.entry(name.clone()).or_default().state_roots.clear();
            }
        }
        self.count(&judgement.ruling, id);
        if let Ruling::Order { forced: true, .. } = judgement.ruling {
            for name in queued {
                self.accounts.entry(name.clone()).or_default().forced = Some(id);
            }
        }
        self.effect(id, &judgement.levels, queued);
        let differences = judgement.differences.into_iter().map(shown).collect();
        self.give(id, verdict(judgement.ruling), differences);
    }

    /// The transaction that an exchange made, and the one it refers to, are not what they should be in both systems.
    fn taint(&mut self, id: u64, original: Option<u64>, roots: &[String]) {
        for transaction in original.into_iter().chain([id]) {
            let transaction = self.original(transaction);
            add_all(self.families.entry(transaction).or_default(), roots);
        }
    }

    /// An exchange that was booked `forced` beside others turns out to be a root.
    fn blame(&mut self, suspect: &str) {
        let id = suspect.parse().ok().and_then(|number: ExchangeNumber| self.numbers.get(&number).copied());
        let Some(exchange) = id.and_then(|id| self.exchanges.get(&id)) else { return };
        if exchange.verdict.verdict != VerdictKind::Mismatch {
            let detail = vec![];
            self.roots.add(suspect, root(exchange, Cause::Forced, &detail, self.now));
            let differences = exchange.differences.clone();
            let (id, original) = (id.unwrap_or_default(), exchange.original);
            self.give(id, verdict(Ruling::Mismatch(Cause::Forced)), differences);
            self.taint(id, original, &[suspect.to_owned()]);
        }
    }

    fn place_of(&self, number: &str) -> Option<Place> {
        let id = self.numbers.get(&number.parse().ok()?)?;
        self.exchanges.get(id).map(|exchange| (exchange.front, *id))
    }

    fn count(&mut self, ruling: &Ruling, id: u64) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let forced = exchange.shadow.mode == Some(Mode::Forced);
        if let Ruling::Order { cross_cohort: true, .. } = ruling {
            self.counters.cross_cohort_refusals += 1;
        }
        if forced {
            self.counters.reoffered_forced += 1;
        } else if !exchange.shadow.state_refusals.is_empty() && matches!(ruling, Ruling::Order { .. }) {
            self.counters.reoffered_order += 1;
        }
        if let Ruling::Ignored(rule) = ruling
            && rule == crate::judge::rules::SHARED_ACCOUNT
        {
            self.counters.shared_levels += 1;
        }
    }

    /// Remembers what an exchange moved until a later equal level has proven it, and what its own levels prove.
    fn effect(&mut self, id: u64, levels: &[(String, Level)], queued: &[String]) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let repeats = self.repeats(exchange, id).is_some();
        let effect = effect_of(exchange).filter(|_| !repeats);
        if let (Some(scope), Some(_)) = (exchange.scope, &effect) {
            self.effects.insert(scope, id);
        }
        let row = |effect: &Effect| {
            [
                exchange.key.clone().unwrap_or_default(),
                effect.kind.clone(),
                effect.source.clone(),
                effect.destination.clone(),
            ]
        };
        let proven = Proven { at: exchange.intent_at, row: effect.as_ref().map(row) };
        for (name, level) in levels {
            match level {
                Level::Equal => self.prove(name, proven.clone()),
                Level::Deferred => self.counters.levels_deferred += 1,
            }
        }
        if let Some(effect) = &effect {
            for name in queued {
                self.await_proof(id, name, MAX_UNPROVEN);
            }
            for name in [&effect.source, &effect.destination].into_iter().filter(|name| !queued.contains(*name)) {
                self.await_proof(id, name, MAX_UNPROVEN_SHARED);
            }
        }
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.effect = effect;
        }
    }

    /// Remembers that no equal level of this account has proven an effect yet.
    fn await_proof(&mut self, id: u64, name: &str, most: usize) {
        let account = self.accounts.entry(name.to_owned()).or_default();
        account.unproven.push_back(id);
        let dropped = (account.unproven.len() > most).then(|| account.unproven.pop_front()).flatten();
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.pins += 1;
        }
        if let Some(dropped) = dropped {
            self.unpin(dropped);
        }
    }

    /// Both levels of an account were equal before an exchange: everything before is proven.
    fn prove(&mut self, name: &str, proven: Proven) {
        let account = self.accounts.entry(name.to_owned()).or_default();
        account.proven = Some(proven);
        account.forced = None;
        for id in std::mem::take(&mut account.unproven) {
            self.unpin(id);
        }
    }

    fn unpin(&mut self, id: u64) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.pins = exchange.pins.saturating_sub(1);
        if exchange.cut && exchange.pins == 0 {
            self.forget(id);
        }
    }

    /// Gives an exchange its verdict, or another one.
    pub(super) fn give(&mut self, id: u64, verdict: Verdict, differences: Vec<DifferenceView>) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        for root in &exchange.verdict.roots {
            self.roots.carry(root, false);
        }
        for root in &verdict.roots {
            self.roots.carry(root, true);
        }
        self.tally.count(exchange, false);
        exchange.verdict = verdict;
        exchange.differences = differences;
        self.tally.count(exchange, true);
    }

    /// An exchange is judged: it no longer runs on its accounts, and is kept only as long as it may be needed.
    pub(super) fn finish(&mut self, id: u64, ordered: &[String]) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.judged = true;
        exchange.queued = Vec::new();
        exchange.shadow.leg = None;
        if let Some(result) = exchange.result.as_mut() {
            result.leg = None;
        }
        let (span, bears_effect, authority) = (exchange.span(), exchange.bears_effect(), exchange.authority);
        let changes_account = exchange.changes_account();
        let clocks = self.fronts.clocks();
        for name in exchange.accounts.clone() {
            let account = self.accounts.entry(name.clone()).or_default();
            account.open[authority as usize].remove(&id);
            account.sent.remove(&id);
            account.changing.remove(&id);
            account.judged = Some(self.now);
            if bears_effect && (changes_account || ordered.contains(&name)) {
                account.spans.push_back(span);
            }
            account.prune(&self.exchanges, clocks);
        }
        self.judged.push_back(id);
        while self.judged.len() > self.keep
            && let Some(oldest) = self.judged.pop_front()
        {
            self.cut(oldest);
        }
    }

    /// Drops an old exchange, as far as nothing depends on it.
    fn cut(&mut self, id: u64) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        match exchange.verdict.verdict {
            VerdictKind::Mismatch | VerdictKind::Carried | VerdictKind::Unreadable => {}
            _ if exchange.pins > 0 => exchange.cut(),
            _ => self.forget(id),
        }
    }

    fn forget(&mut self, id: u64) {
        let Some(exchange) = self.exchanges.remove(&id) else { return };
        self.numbers.remove(&exchange.number);
        for transaction in exchange.transactions {
            self.transactions.remove(&transaction);
        }
    }

    /// Folds an accepted decision.
    pub(super) fn decision(&mut self, record: DecisionRecord) {
        let settlement = Settlement { actor: record.actor, reason: record.reason, at: record.at };
        match record.body {
            DecisionBody::Inquired { exchange, findings, .. } => self.inquired(exchange, findings),
            DecisionBody::Reconciled(reconciliation) => {
                self.reconciliations.push_back(reconciliation);
                if self.reconciliations.len() > MAX_RECONCILIATIONS {
                    self.reconciliations.pop_front();
                }
            }
            DecisionBody::Settled { discrepancy } => {
                if !self.roots.settle(&discrepancy, Some(settlement.clone())) {
                    self.fronts.settle(&discrepancy, true);
                }
                self.settlements.push(super::Settled { discrepancy, settled: true, by: settlement });
            }
            DecisionBody::Reopened { discrepancy } => {
                if !self.roots.settle(&discrepancy, None) {
                    self.fronts.settle(&discrepancy, false);
                }
                self.settlements.push(super::Settled { discrepancy, settled: false, by: settlement });
            }
            DecisionBody::Told { exchange, system, .. } => self.told(&exchange, system, settlement),
        }
    }

    /// The histories have been read: what they show becomes roots, and the exchange that asked is judged.
    fn inquired(&mut self, exchange: Option<ExchangeNumber>, findings: Vec<Finding>) {
        for finding in findings {
            match finding.exchange.as_ref().map(|number| self.numbers.get(number).copied()) {
                Some(Some(id)) => self.found(id, &finding),
                _ => self.found_elsewhere(&finding),
            }
        }
        let Some(id) = exchange.and_then(|number| self.numbers.get(&number).copied()) else { return };
        self.inquiries.remove(&id);
        self.taken.remove(&id);
        if self.exchanges.get(&id).is_some_and(|exchange| exchange.inquiry == Inquired::Asked) {
            self.update(id, |exchange| exchange.inquiry = Inquired::Answered);
            self.judge_from(id);
        }
    }

    /// A history shows another effect than an exchange answered. Two inquiries may find the same.
    fn found(&mut self, id: u64, finding: &Finding) {
        let Some(exchange) = self.exchanges.get_mut(&id).filter(|exchange| !exchange.found) else { return };
        exchange.found = true;
        let (place, original) = ((exchange.front, id), exchange.original);
        let known = exchange.verdict.verdict == VerdictKind::Mismatch;
        let root = Root {
            cause: finding.cause,
            found_at: Timestamp(self.now),
            key: exchange.key.clone(),
            system: Some(finding.system),
            detail: described(finding),
            carried: 0,
            settled: None,
        };
        let differences = exchange.differences.clone();
        self.roots.add(&finding.discrepancy, root);
        for offset in &finding.offsets {
            let id = &finding.discrepancy;
            self.roots.explain(id, &offset.account, &offset.currency, offset.amount, Some(place));
        }
        if !known {
            self.give(id, verdict(Ruling::Mismatch(finding.cause)), differences);
        }
        self.taint(id, original, std::slice::from_ref(&finding.discrepancy));
    }

    /// A history shows an effect of no exchange.
    fn found_elsewhere(&mut self, finding: &Finding) {
        if self.roots.has(&finding.discrepancy) {
            return;
        }
        let root = Root {
            cause: finding.cause,
            found_at: Timestamp(self.now),
            key: None,
            system: Some(finding.system),
            detail: described(finding),
            carried: 0,
            settled: None,
        };
        self.roots.add(&finding.discrepancy, root);
        let mark = finding.discrepancy.split_once('@').and_then(|(_, mark)| self.fronts.mark_log(mark));
        for offset in &finding.offsets {
            self.roots.explain(&finding.discrepancy, &offset.account, &offset.currency, offset.amount, None);
            let account = self.accounts.entry(offset.account.clone()).or_default();
            account.searched = Some(Timestamp(mark.unwrap_or(self.now)));
        }
    }
}

fn add_all(to: &mut Vec<String>, roots: &[String]) {
    for root in roots {
        if !to.contains(root) {
            to.push(root.clone());
        }
    }
}

/// The verdict as it is written.
fn verdict(ruling: Ruling) -> Verdict {
    match ruling {
        Ruling::Match => Verdict::of(VerdictKind::Match),
        Ruling::Order { .. } => Verdict::of(VerdictKind::Order),
        Ruling::Mismatch(cause) => Verdict { cause: Some(cause), ..Verdict::of(VerdictKind::Mismatch) },
        Ruling::Carried(roots) => Verdict { roots, ..Verdict::of(VerdictKind::Carried) },
        Ruling::Ignored(rule) => Verdict { rule: Some(rule), ..Verdict::of(VerdictKind::Ignored) },
        Ruling::Unreadable(system) => Verdict { system: Some(system), ..Verdict::of(VerdictKind::Unreadable) },
    }
}

fn shown(difference: Difference) -> DifferenceView {
    DifferenceView { field: difference.field, legacy: difference.legacy, engine: difference.engine }
}

fn root(exchange: &Exchange, cause: Cause, differences: &[Difference], now: i64) -> Root {
    let texts = differences
        .iter()
        .map(|difference| format!("{}: legacy {}, engine {}", difference.field, difference.legacy, difference.engine));
    let mut detail = texts.collect::<Vec<_>>().join("; ");
    if detail.is_empty() {
        detail = format!("the shadow would have refused it: {}", exchange.shadow.state_refusals.join(", "));
    }
    Root {
        cause,
        found_at: Timestamp(now),
        key: exchange.key.clone(),
        system: suspect(exchange, cause),
        detail,
        carried: 0,
        settled: None,
    }
}

/// The system that is wrong as far as can be seen: of amounts, the one that did not move what was asked for; of a
/// refusal, the shadow that did not follow.
fn suspect(exchange: &Exchange, cause: Cause) -> Option<System> {
    let wrong = |leg| {
        let (transaction, movements) = Index::claimed(leg)?;
        Some(movements.iter().any(|movement| movement.0.abs() != transaction.amount.0))
    };
    match cause {
        Cause::Amount => {
            let authority = wrong(&exchange.result.as_ref()?.leg)?;
            let shadow = wrong(&exchange.shadow.leg)?;
            (authority != shadow).then_some(if authority { exchange.authority } else { exchange.authority.other() })
        }
        Cause::Status | Cause::ErrorCode | Cause::CrossCohort | Cause::Forced => Some(exchange.authority.other()),
        _ => None,
    }
}

/// What an exchange moved, if a leg of it moved money.
fn effect_of(exchange: &Exchange) -> Option<Effect> {
    let authority = exchange.result.as_ref().and_then(|result| Index::claimed(&result.leg));
    let shadow = match exchange.shadow.mode {
        Some(Mode::ShadowRefused) => None,
        _ => Index::claimed(&exchange.shadow.leg),
    };
    let (transaction, _) = authority.or(shadow)?;
    let movements = |claimed: Option<(_, [Money; 2])>| claimed.map(|(_, movements)| movements);
    let [legacy, engine] = match exchange.authority {
        System::Legacy => [movements(authority), movements(shadow)],
        System::Engine => [movements(shadow), movements(authority)],
    };
    let cannot_be_read = |leg: &Option<std::result::Result<Leg, String>>| matches!(leg, Some(Err(_)));
    let unread = if exchange.result.as_ref().is_some_and(|result| cannot_be_read(&result.leg)) {
        Some(exchange.authority)
    } else {
        cannot_be_read(&exchange.shadow.leg).then_some(exchange.authority.other())
    };
    Some(Effect {
        unread,
        kind: transaction.kind.clone(),
        currency: transaction.currency.clone(),
        source: transaction.sides[0].account.clone(),
        destination: transaction.sides[1].account.clone(),
        legacy,
        engine,
    })
}

/// A finding in words.
fn described(finding: &Finding) -> String {
    let what = match finding.cause {
        Cause::Lost => "answered as applied, but its history does not have it",
        Cause::Double => "its history has it more than once",
        Cause::Amount => "its history has another movement than the answer",
        Cause::Bypass => "its history has what never passed the front",
        _ => "its balance differs by what no history explains",
    };
    format!("{}: {what}", finding.system)
}
