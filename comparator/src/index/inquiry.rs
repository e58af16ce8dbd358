//! Inquiries: both systems are asked for the keys on some accounts, and what their histories say.
//!
//! The index asks ([`Inquiry`]), the shell reads the histories and answers by a decision record, the fold of that
//! record judges on. How to answer one, in this order, so that nothing is called unknown that was only late:
//! 1. read the histories of all its accounts in both systems, newest first, until [`Inquiry::covered`];
//! 2. ask all fronts for a mark, and wait until the index has seen it from each of them;
//! 3. [`findings`] with [`Index::is_known_key`] as it stands then; append the findings, also when there are none.
//!
//! The mark is needed also when no key is unknown: an exchange that was shipped late may have run beside the one
//! that asked, and the index has to know of it before it judges again.

use super::Index;
use super::account::Account;
use crate::judge::{less, plus};
use std::collections::{BTreeMap, BTreeSet};
use wire::billing::TransactionResult;
use wire::decision::{BalanceDifference, Finding, Offset};
use wire::ids::ExchangeNumber;
use wire::scalar::{Money, Timestamp};
use wire::words::{Cause, System};

/// Histories are read this much further back than the clocks of fronts and systems say: reading a few rows more
/// costs little, and a row that is not read would be called lost.
const CLOCK_SLACK_MICROS: i64 = 60_000_000;

/// What the index wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// The exchange that does not fit; `None` for a reconciliation.
    pub exchange: Option<ExchangeNumber>,
    /// The accounts whose histories are to be read.
    pub accounts: Vec<String>,
    /// No effect in question was decided earlier, by the fronts' clocks.
    pub since: Option<Timestamp>,
    /// How far back the histories matter, per account.
    pub searched: Vec<Searched>,
    /// The effects in question: applied, and not proven equal by a later level.
    pub candidates: Vec<Candidate>,
    /// Of a reconciliation: legacy less engine as measured, less what discrepancies explain already.
    pub unexplained: Vec<Offset>,
    /// The system to name when nothing shows which one is wrong: the one that only follows on these accounts.
    pub suspect: System,
}

/// How far back the history of an account matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    /// The account.
    pub account: String,
    /// Key, type, source and destination of the last exchange before which both levels were equal: older rows are
    /// proven.
    pub proven: Option<[String; 4]>,
    /// Rows before this time are proven where that exchange has no row, or the account none such.
    pub proven_at: Timestamp,
    /// Rows up to this time have been looked at for writes that bypassed the front.
    pub looked_until: Option<Timestamp>,
}

/// One effect that both histories should show as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The exchange.
    pub exchange: ExchangeNumber,
    /// Its idempotency key.
    pub key: String,
    /// The type of the transaction, as results name it.
    pub kind: String,
    /// Where it came from.
    pub source: String,
    /// Where it went.
    pub destination: String,
    /// Its currency.
    pub currency: String,
    /// Movements of source and destination as the legacy answered them; `None`: it should not have applied it.
    pub legacy: Option<[Money; 2]>,
    /// The same of the engine.
    pub engine: Option<[Money; 2]>,
    /// The system whose answer cannot be read: nothing is expected of its history.
    pub unread: Option<System>,
    /// Whether source and destination may be apart because of it. An account whose levels were equal since is not: if
    /// this effect was lost there, another fault made up for it.
    pub unproven: [bool; 2],
}

/// What tells effects in histories apart: key, type, source, destination.
type Row = [String; 4];

impl Inquiry {
    /// Whether the rows read so far of one account (newest first) go back far enough.
    pub fn covered(&self, rows: &[TransactionResult]) -> bool {
        let Some(since) = self.since else { return false };
        rows.last().is_some_and(|row| row.created_at.0 < since.0 - CLOCK_SLACK_MICROS)
    }
}

/// What the histories say: effects that one system has and the other has not.
///
/// `legacy` and `engine` are the rows of all accounts of the inquiry, as read; `mark` is the id of the mark that was
/// asked for after reading them, and names rows of no exchange; `measured_at` is the mark at which a reconciliation
/// measured the difference, and names what no history explains; `is_known` says whether the index knows the key of a
/// row ([`Index::is_known_key`]); without a mark it must say yes to all.
pub fn findings(
    inquiry: &Inquiry,
    mark: &str,
    measured_at: &str,
    legacy: &[TransactionResult],
    engine: &[TransactionResult],
    is_known: &dyn Fn(&TransactionResult) -> bool,
) -> Vec<Finding> {
    let mut found = Found { inquiry, mark, measured_at, findings: BTreeMap::new() };
    let mut groups: BTreeMap<Row, Vec<&Candidate>> = BTreeMap::new();
    for candidate in &inquiry.candidates {
        groups.entry(candidate.row()).or_default().push(candidate);
    }
    for (system, rows) in [(System::Legacy, legacy), (System::Engine, engine)] {
        let mut shown = inquiry.rows(rows);
        for (row, candidates) in &groups {
            found.effects(system, candidates, &shown.remove(row).unwrap_or_default());
        }
        let strange = shown.into_values().flatten().filter(|row| !is_known(row));
        for row in strange {
            found.strange(system, row);
        }
    }
    found.rest();
    let findings = found.findings.into_values().map(Building::finish);
    findings.filter(|finding| !finding.offsets.is_empty()).collect()
}

impl Candidate {
    fn row(&self) -> Row {
        [self.key.clone(), self.kind.clone(), self.source.clone(), self.destination.clone()]
    }

    fn claimed(&self, system: System) -> Option<[Money; 2]> {
        match system {
            System::Legacy => self.legacy,
            System::Engine => self.engine,
        }
    }
}

fn row_of(row: &TransactionResult) -> Row {
    [row.tracking_id.clone(), row.kind.clone(), row.source.account_id.clone(), row.destination.account_id.clone()]
}

impl Inquiry {
    /// The completed rows of one system that are not proven yet, each once, the oldest first.
    fn rows<'a>(&self, rows: &'a [TransactionResult]) -> BTreeMap<Row, Vec<&'a TransactionResult>> {
        let completed: Vec<_> = rows.iter().filter(|row| row.status == "completed").collect();
        let begins: Vec<(&str, Timestamp)> = self
            .searched
            .iter()
            .map(|searched| {
                let proven = completed.iter().filter(|row| Some(row_of(row)) == searched.proven);
                // The row's own time, by its system's clock, is better than the front's.
                let begin = proven.map(|row| row.created_at).min().unwrap_or(searched.proven_at);
                (searched.account.as_str(), begin)
            })
            .collect();
        let matters = |row: &&&TransactionResult| {
            let names = |account: &str| row.source.account_id == account || row.destination.account_id == account;
            begins.iter().any(|(account, begin)| names(account) && row.created_at >= *begin)
                || self.candidates.iter().any(|candidate| candidate.row() == row_of(row))
        };
        let mut seen = BTreeSet::new();
        let mut shown: BTreeMap<Row, Vec<&TransactionResult>> = BTreeMap::new();
        for row in completed.iter().filter(matters) {
            if seen.insert(row.transaction_id.as_str()) {
                shown.entry(row_of(row)).or_default().push(row);
            }
        }
        for rows in shown.values_mut() {
            rows.sort_by_key(|row| row.created_at);
        }
        shown
    }

    /// The account in whose name a row of no exchange is reported; `None` when it was reported before.
    fn reports(&self, row: &TransactionResult) -> Option<&str> {
        let named = [row.source.account_id.as_str(), row.destination.account_id.as_str()];
        let searched = self.searched.iter().find(|searched| named.contains(&searched.account.as_str()))?;
        let looked = searched.looked_until.is_some_and(|until| row.created_at <= until);
        (!looked).then_some(searched.account.as_str())
    }
}

/// Findings in the making, by id.
struct Found<'a> {
    inquiry: &'a Inquiry,
    mark: &'a str,
    measured_at: &'a str,
    findings: BTreeMap<String, Building>,
}

struct Building {
    discrepancy: String,
    exchange: Option<ExchangeNumber>,
    cause: Cause,
    system: System,
    offsets: BTreeMap<(String, String), Money>,
}

impl Building {
    fn add(&mut self, account: &str, currency: &str, amount: Money) {
        let sum = self.offsets.entry((account.to_owned(), currency.to_owned())).or_default();
        *sum = plus(*sum, amount);
    }

    fn finish(self) -> Finding {
        let offsets = self.offsets.into_iter().filter(|(_, amount)| !amount.is_zero());
        Finding {
            discrepancy: self.discrepancy,
            exchange: self.exchange,
            cause: self.cause,
            system: self.system,
            offsets: offsets.map(|((account, currency), amount)| Offset { account, currency, amount }).collect(),
        }
    }
}

impl Found<'_> {
    /// Compares the effects of one key, type and pair of accounts with the rows of one system. More than one
    /// candidate means that tenants share the key: which of them is short cannot be told, the last one is named.
    fn effects(&mut self, system: System, candidates: &[&Candidate], rows: &[&TransactionResult]) {
        if candidates.iter().any(|candidate| candidate.unread == Some(system)) {
            return;
        }
        let expected: Vec<_> =
            candidates.iter().filter_map(|candidate| Some((*candidate, candidate.claimed(system)?))).collect();
        let movements = |row: &TransactionResult| [row.source.movement, row.destination.movement];
        for (index, (candidate, claimed)) in expected.iter().enumerate() {
            match rows.get(index) {
                None => self.exchange(system, candidate, Cause::Lost, claimed.map(Money::negated)),
                Some(row) if movements(row) != *claimed => {
                    let [source, destination] = movements(row);
                    let apart = [less(source, claimed[0]), less(destination, claimed[1])];
                    self.exchange(system, candidate, Cause::Amount, apart);
                }
                Some(_) => {}
            }
        }
        let named = expected.last().map(|(candidate, _)| *candidate).or(candidates.last().copied());
        for (row, candidate) in rows.iter().skip(expected.len()).zip(named.into_iter().cycle()) {
            let cause = if expected.is_empty() { Cause::Status } else { Cause::Double };
            self.exchange(system, candidate, cause, movements(row));
        }
    }

    fn exchange(&mut self, system: System, candidate: &Candidate, cause: Cause, apart: [Money; 2]) {
        let id = candidate.exchange.to_string();
        let building = self.building(id, Some(candidate.exchange.clone()), cause, system);
        let sides = [&candidate.source, &candidate.destination].into_iter().zip(candidate.unproven).zip(apart);
        for ((account, _), amount) in sides.filter(|((_, unproven), _)| *unproven) {
            building.add(account, &candidate.currency, signed(system, amount));
        }
    }

    /// A row of no exchange.
    fn strange(&mut self, system: System, row: &TransactionResult) {
        let Some(account) = self.inquiry.reports(row) else { return };
        let id = format!("{account}@{}", self.mark);
        let building = self.building(id, None, Cause::Bypass, system);
        for side in [&row.source, &row.destination] {
            building.add(&side.account_id, &row.currency, signed(system, side.movement));
        }
    }

    /// What was measured and nothing explains.
    fn rest(&mut self) {
        for unexplained in &self.inquiry.unexplained {
            let (account, currency) = (&unexplained.account, &unexplained.currency);
            let place = (account.clone(), currency.clone());
            let found = self.findings.values().filter_map(|building| building.offsets.get(&place));
            let rest = found.fold(unexplained.amount, |rest, amount| less(rest, *amount));
            if !rest.is_zero() {
                let id = format!("{account}@{}", self.measured_at);
                self.building(id, None, Cause::SourceBalance, self.inquiry.suspect).add(account, currency, rest);
            }
        }
    }

    fn building(
        &mut self,
        id: String,
        exchange: Option<ExchangeNumber>,
        cause: Cause,
        system: System,
    ) -> &mut Building {
        self.findings.entry(id.clone()).or_insert_with(|| Building {
            discrepancy: id,
            exchange,
            cause,
            system,
            offsets: BTreeMap::new(),
        })
    }
}

/// Legacy less engine.
fn signed(system: System, amount: Money) -> Money {
    match system {
        System::Legacy => amount,
        System::Engine => amount.negated(),
    }
}

impl Index {
    /// Up to when rows have been looked at, as it stands now: another inquiry may have reported some since.
    pub fn looked_at_now(&self, inquiry: &Inquiry) -> Inquiry {
        let mut inquiry = inquiry.clone();
        for searched in &mut inquiry.searched {
            searched.looked_until = self.accounts.get(&searched.account).and_then(|account| account.searched);
        }
        inquiry
    }

    /// The inquiry for an exchange that does not fit.
    pub(super) fn inquiry(&self, id: u64) -> Option<Inquiry> {
        let exchange = self.exchanges.get(&id)?;
        let accounts = exchange.queued.clone();
        Some(self.inquire(Some((exchange.number.clone(), exchange.intent_at)), accounts, |_| true))
    }

    /// The inquiry for a difference that a reconciliation found on a comparable account and that is not explained.
    ///
    /// One account at a time, USER accounts first, each after the answer to the one before was folded and only if
    /// [`Index::account_state`] still does not explain the difference: one lost effect shows on two accounts.
    pub fn reconciliation_inquiry(&self, difference: &BalanceDifference, second: &str) -> Inquiry {
        let marks = self.fronts.mark_offsets(second);
        let before = |id: u64| {
            let front = self.exchanges.get(&id).map(|exchange| exchange.front);
            front.is_some_and(|front| marks.get(&front).is_none_or(|offset| id < *offset))
        };
        let account = &difference.account;
        let measured = less(difference.legacy.unwrap_or_default(), difference.engine.unwrap_or_default());
        let explained = self.explained(account, second);
        let explained = explained.iter().find(|offset| offset.currency == difference.currency);
        let amount = less(measured, explained.map_or(Money::ZERO, |offset| offset.amount));
        let offset = Offset { account: account.clone(), currency: difference.currency.clone(), amount };
        Inquiry { unexplained: vec![offset], ..self.inquire(None, vec![account.clone()], before) }
    }

    /// `counts` says which exchanges are in question.
    fn inquire(
        &self,
        exchange: Option<(ExchangeNumber, Timestamp)>,
        accounts: Vec<String>,
        counts: impl Fn(u64) -> bool,
    ) -> Inquiry {
        let known: Vec<(&String, &Account)> =
            accounts.iter().filter_map(|name| Some((name, self.accounts.get(name)?))).collect();
        let ids: BTreeSet<u64> = known.iter().flat_map(|(_, account)| account.unproven.iter().copied()).collect();
        let candidates = || ids.iter().copied().filter(|id| counts(*id)).filter_map(|id| self.exchanges.get(&id));
        let begun = candidates().map(|candidate| candidate.intent_at);
        let begun = begun.chain(exchange.iter().map(|(_, at)| *at)).min();
        let searched: Vec<Searched> = known
            .iter()
            .map(|(name, account)| Searched {
                account: (*name).clone(),
                proven: account.proven.as_ref().and_then(|proven| proven.row.clone()),
                // Of an account never proven equal, what was there before the first known exchange is not ours.
                proven_at: account.proven.as_ref().map(|proven| proven.at).or(begun).unwrap_or(Timestamp(self.now)),
                looked_until: account.searched,
            })
            .collect();
        let since = searched.iter().map(|searched| searched.proven_at).chain(begun).min();
        let suspect = accounts.first().map_or(System::Engine, |account| self.rollout.authority(account).other());
        let mut open: BTreeMap<&str, Option<BTreeSet<u64>>> = BTreeMap::new();
        let candidates = ids.iter().copied().filter(|id| counts(*id)).filter_map(|id| {
            let candidate = self.exchanges.get(&id).filter(|candidate| !candidate.found)?;
            let effect = candidate.effect.as_ref()?;
            let unproven = [&effect.source, &effect.destination].map(|name| {
                let open = open.entry(name).or_insert_with(|| self.accounts.get(name).and_then(Account::levels_open));
                open.as_ref().is_none_or(|open| open.contains(&id))
            });
            Some(Candidate {
                exchange: candidate.number.clone(),
                key: candidate.key.clone()?,
                kind: effect.kind.clone(),
                source: effect.source.clone(),
                destination: effect.destination.clone(),
                currency: effect.currency.clone(),
                legacy: effect.legacy,
                engine: effect.engine,
                unread: effect.unread,
                unproven,
            })
        });
        Inquiry {
            exchange: exchange.map(|(number, _)| number),
            candidates: candidates.collect(),
            accounts,
            since,
            searched,
            unexplained: Vec::new(),
            suspect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(system: &str, key: &str, amount: &str) -> TransactionResult {
        serde_json::from_value(serde_json::json!({
            "transactionId": format!("{system}-{key}"), "trackingId": key, "type": "topup", "status": "completed",
            "amount": amount, "currency": "EUR", "correlationId": "c", "createdAt": "2026-11-01T00:00:00Z",
            "source": { "accountId": "bank", "movement": format!("-{amount}") },
            "destination": { "accountId": "alice", "movement": amount },
        }))
        .unwrap()
    }

    fn inquiry(unread: Option<System>) -> Inquiry {
        let movements = || Some(["-10".parse().unwrap(), "10".parse().unwrap()]);
        let applied = |system| if unread == Some(system) { None } else { movements() };
        Inquiry {
            exchange: None,
            accounts: vec!["alice".into()],
            since: Some(Timestamp(0)),
            searched: vec![Searched {
                account: "alice".into(),
                proven: None,
                proven_at: Timestamp(0),
                looked_until: None,
            }],
            candidates: vec![Candidate {
                exchange: "front-1.1.7".parse().unwrap(),
                key: "k".into(),
                kind: "topup".into(),
                source: "bank".into(),
                destination: "alice".into(),
                currency: "EUR".into(),
                legacy: applied(System::Legacy),
                engine: applied(System::Engine),
                unread,
                unproven: [true; 2],
            }],
            unexplained: Vec::new(),
            suspect: System::Engine,
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_says_nothing_of_the_history() {
        let legacy = [row("legacy", "k", "10")];
        for (unread, engine, found) in [
            (Some(System::Engine), vec![row("engine", "k", "10")], 0),
            (Some(System::Engine), vec![], 0),
            (None, vec![row("engine", "k", "10")], 0),
            (None, vec![], 1),
        ] {
            let findings = findings(&inquiry(unread), "m", "m", &legacy, &engine, &|_| true);
            assert_eq!(findings.len(), found, "{unread:?} {findings:?}");
        }
    }

    #[test]
    fn an_account_that_was_proven_since_is_not_apart() {
        let mut inquiry = inquiry(None);
        inquiry.candidates[0].unproven = [true, false];
        let findings = findings(&inquiry, "m", "m", &[], &[row("engine", "k", "10")], &|_| true);
        let offsets: Vec<_> = findings.iter().flat_map(|finding| &finding.offsets).collect();
        let lost = Offset { account: "bank".into(), currency: "EUR".into(), amount: "10".parse().unwrap() };
        assert_eq!(offsets, [&lost], "another fault made up for it on alice's account");
    }

    #[test]
    fn what_no_history_explains_is_kept_apart_from_what_bypassed_the_front() {
        let offset = Offset { account: "alice".into(), currency: "EUR".into(), amount: "7".parse().unwrap() };
        let inquiry = Inquiry { unexplained: vec![offset], ..inquiry(None) };
        let legacy = [row("legacy", "k", "10"), row("legacy", "strange", "5")];
        let engine = [row("engine", "k", "10")];
        let is_known = |row: &TransactionResult| row.tracking_id == "k";
        let findings = findings(&inquiry, "mark", "run", &legacy, &engine, &is_known);
        let of_alice = |finding: &Finding| {
            let offset = finding.offsets.iter().find(|offset| offset.account == "alice");
            (finding.discrepancy.clone(), finding.cause, offset.map(|offset| offset.amount.to_string()))
        };
        assert_eq!(
            findings.iter().map(of_alice).collect::<Vec<_>>(),
            [
                ("alice@mark".to_owned(), Cause::Bypass, Some("5".to_owned())),
                ("alice@run".to_owned(), Cause::SourceBalance, Some("2".to_owned())),
            ]
        );
    }
}
