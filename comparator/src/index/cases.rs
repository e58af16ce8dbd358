//! Histories written by hand, record by record, where the order of two exchanges decides what is said of a third.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use super::Index;
use serde_json::{Value, json};
use wire::chain::genesis;
use wire::control::Verdict;
use wire::decision::{DecisionBody, DecisionRecord};
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, Intent};
use wire::ids::ExchangeNumber;
use wire::rollout::{FrontBoot, RolloutBody, RolloutRecord, Setting};
use wire::scalar::{Body, Digest, Percent, Timestamp};
use wire::shadow::{LegResult, ShadowBody, ShadowRecord};
use wire::stored::encode;
use wire::words::{Class, Mode, Operation, Stage, System, VerdictKind};

/// One front, one relay, one record every ten seconds: far more than clocks may be wrong by.
struct History {
    index: Index,
    now: i64,
    sequence: u64,
    offsets: [u64; 4],
    head: Digest,
    rollout: Digest,
    decisions: Digest,
}

const STEP_MICROS: i64 = 10_000_000;

impl History {
    fn new() -> Self {
        let topics = [wire::shadow::TOPIC, wire::rollout::TOPIC, wire::decision::TOPIC];
        let [head, rollout, decisions] = topics.map(|topic| genesis("ledger", topic));
        Self { index: Index::new("ledger"), now: STEP_MICROS, sequence: 0, offsets: [0; 4], head, rollout, decisions }
    }

    fn front(&mut self, body: ExchangeBody) -> ExchangeNumber {
        self.sequence += 1;
        let (boot, sequence) = (1, self.sequence);
        let record = ExchangeRecord { front: "a".into(), boot, sequence, at: Timestamp(self.now), body };
        self.fold(0, wire::exchange::TOPIC, &encode(&record));
        ExchangeNumber { front: "a".into(), boot, sequence }
    }

    fn relay(&mut self, body: ShadowBody) {
        let bytes = encode(&ShadowRecord { parent: self.head, at: Timestamp(self.now), body });
        self.head = Digest::of(&bytes);
        self.fold(1, wire::shadow::TOPIC, &bytes);
    }

    /// The histories of an exchange's accounts say nothing, if they are to be asked.
    fn asked(&mut self, exchange: &ExchangeNumber) {
        let body =
            DecisionBody::Inquired { exchange: Some(exchange.clone()), accounts: Vec::new(), findings: Vec::new() };
        let (actor, reason) = ("comparator".to_owned(), String::new());
        let record = DecisionRecord { parent: self.decisions, at: Timestamp(self.now), actor, reason, body };
        let bytes = encode(&record);
        self.decisions = Digest::of(&bytes);
        self.fold(3, wire::decision::TOPIC, &bytes);
    }

    fn dial(&mut self, body: RolloutBody) {
        let (actor, reason) = ("a".to_owned(), "r".to_owned());
        let bytes = encode(&RolloutRecord { parent: self.rollout, at: Timestamp(self.now), actor, reason, body });
        self.rollout = Digest::of(&bytes);
        self.fold(2, wire::rollout::TOPIC, &bytes);
    }

    fn fold(&mut self, log: usize, topic: &str, bytes: &[u8]) {
        self.index.fold(topic, self.offsets[log], self.now, bytes).unwrap();
        self.offsets[log] += 1;
        self.now += STEP_MICROS;
    }

    /// A record of another boot of the front, with its number.
    fn front_in(&mut self, boot: u64, sequence: u64, body: ExchangeBody) {
        let record = ExchangeRecord { front: "a".into(), boot, sequence, at: Timestamp(self.now), body };
        self.fold(0, wire::exchange::TOPIC, &encode(&record));
    }

    fn begin(&mut self, operation: Operation, authority: System, accounts: &[&str]) -> ExchangeNumber {
        let intent = self.intent(operation, authority, accounts);
        self.front(ExchangeBody::Intent(intent))
    }

    fn intent(&self, operation: Operation, authority: System, accounts: &[&str]) -> Intent {
        Intent {
            route: operation.to_string(),
            operation,
            method: "POST".into(),
            path: "/".into(),
            headers: Vec::new(),
            body: Body(b"{}".to_vec()),
            tenant: String::new(),
            key: Some(format!("key-{}", self.sequence)),
            account: Some(accounts[0].into()),
            accounts: accounts.iter().map(|name| (*name).into()).collect(),
            original: None,
            authority,
            stage: Stage::Ramp,
            percent: Percent::whole(37),
            version: 1,
            cross_cohort: false,
            overtaken: false,
        }
    }

    fn answer(&mut self, exchange: &ExchangeNumber, class: Class, status: u16, body: &Value) {
        self.front(ExchangeBody::Result(AuthorityResult {
            intent: exchange.sequence,
            class,
            status,
            headers: Vec::new(),
            body: Body(body.to_string().into_bytes()),
            duration_micros: 1,
            replayed: false,
            failure: None,
        }));
    }

    fn leg(&mut self, exchange: &ExchangeNumber, system: System, mode: Mode, status: u16, body: &Value) {
        let class = if status < 300 { Class::Applied } else { Class::Refused };
        self.relay(ShadowBody::Sending { exchange: exchange.clone(), system, mode, attempt: 1 });
        self.relay(ShadowBody::Result(LegResult {
            exchange: exchange.clone(),
            system,
            mode,
            attempt: 1,
            class,
            status,
            headers: Vec::new(),
            body: Body(body.to_string().into_bytes()),
            duration_micros: 1,
            replayed: false,
            last: true,
        }));
    }

    /// A transfer of this amount turns out to have been applied by the legacy.
    fn turns_out_applied(&mut self, exchange: &ExchangeNumber, amount: &str) {
        self.relay(ShadowBody::Resolved(wire::shadow::Resolution {
            exchange: exchange.clone(),
            system: System::Legacy,
            class: Class::Applied,
            status: 200,
            body: Body(transfer(amount).to_string().into_bytes()),
            by: wire::shadow::ResolvedBy::Key,
        }));
    }

    /// The legacy does not know an account that a top-up names; the engine, asked dry, would have booked it. The verdict as
    /// long as the histories were not asked.
    fn topup_not_found(&mut self, begun: &ExchangeNumber) -> Verdict {
        self.answer(begun, Class::Refused, 404, &json!({"code": "AccountNotFound"}));
        self.leg(begun, System::Engine, Mode::ShadowRefused, 200, &json!({}));
        self.verdict(begun)
    }

    fn verdict(&self, exchange: &ExchangeNumber) -> Verdict {
        self.index.exchange(exchange).unwrap().verdict
    }
}

/// The engine makes an EXTERNAL account that the legacy does not have yet.
fn outside_account() -> Value {
    json!({
        "accountId": "bank", "ownerId": "o", "ownerType": "bank", "accountType": "EXTERNAL", "currency": "EUR",
        "status": "ACTIVE", "balance": "0", "reserved": "0", "available": "0", "version": 1,
        "createdAt": "2026-01-01T00:00:00Z",
    })
}

#[test]
fn a_topup_from_an_account_that_is_still_on_its_way_from_the_other_cohort_is_a_matter_of_order() {
    for delivered_first in [false, true] {
        let mut history = History::new();
        let made = history.begin(Operation::CreateAccount, System::Engine, &["bank"]);
        history.answer(&made, Class::Applied, 201, &outside_account());
        let topup = history.begin(Operation::Topup, System::Legacy, &["alice", "bank"]);
        let deliver = |history: &mut History| history.leg(&made, System::Legacy, Mode::Shadow, 201, &outside_account());
        if delivered_first {
            // The legacy had refused by then: the result stands behind the leg in the log.
            deliver(&mut history);
        }
        let verdict = history.topup_not_found(&topup);
        assert_eq!(verdict.verdict, VerdictKind::Order, "{verdict:?}");
        if !delivered_first {
            deliver(&mut history);
        }
        assert_eq!(history.verdict(&made).verdict, VerdictKind::Match);
        assert_eq!(history.index.counters().cross_cohort_refusals, 1);
    }
}

#[test]
fn a_topup_from_an_account_that_was_there_long_before_is_not() {
    let mut history = History::new();
    let made = history.begin(Operation::CreateAccount, System::Engine, &["bank"]);
    history.answer(&made, Class::Applied, 201, &outside_account());
    history.leg(&made, System::Legacy, Mode::Shadow, 201, &outside_account());
    // A top-up beside it changes nothing of the account but its balance.
    history.begin(Operation::Topup, System::Engine, &["bob", "bank"]);
    let topup = history.begin(Operation::Topup, System::Legacy, &["alice", "bank"]);
    let verdict = history.topup_not_found(&topup);
    assert_eq!(verdict.verdict, VerdictKind::Open, "the histories are asked: {verdict:?}");
    assert_eq!(history.index.take_inquiries().len(), 1);
}

/// Two transfers with one key that the legacy refuses, the second one because of the key. The engine, asked dry, refuses both
/// for the balance. Answers the second.
fn one_key_twice(beside: bool) -> (History, ExchangeNumber) {
    let mut history = History::new();
    let poor = json!({"code": "InsufficientBalance"});
    let intent = history.intent(Operation::Transfer, System::Legacy, &["alice", "bank"]);
    let begin = |history: &mut History| history.front(ExchangeBody::Intent(intent.clone()));
    let refused_first = |history: &mut History, first: &ExchangeNumber| {
        history.answer(first, Class::Refused, 422, &poor);
        history.leg(first, System::Engine, Mode::ShadowRefused, 422, &poor);
    };
    let first = begin(&mut history);
    if !beside {
        refused_first(&mut history, &first);
    }
    let second = begin(&mut history);
    history.answer(&second, Class::Refused, 422, &json!({"code": "DuplicateKey"}));
    history.leg(&second, System::Engine, Mode::ShadowRefused, 422, &poor);
    if beside {
        refused_first(&mut history, &first);
    }
    assert_eq!(history.verdict(&first).verdict, VerdictKind::Match);
    (history, second)
}

#[test]
fn a_key_that_another_request_used_beside_it_is_a_matter_of_order() {
    let (history, second) = one_key_twice(true);
    assert_eq!(history.verdict(&second).verdict, VerdictKind::Order);
}

#[test]
fn a_key_that_was_used_long_before_is_not() {
    let (mut history, second) = one_key_twice(false);
    assert_eq!(history.verdict(&second).verdict, VerdictKind::Open, "the histories are asked");
    assert_eq!(history.index.take_inquiries().len(), 1);
}

fn overruled(on: bool, reason: &str, since: i64) -> ExchangeBody {
    ExchangeBody::Override { on, reason: reason.into(), since: Timestamp(since) }
}

#[test]
fn an_override_is_known_from_the_fronts_own_record_and_told_once() {
    let mut history = History::new();
    let front = |boot| FrontBoot { front: "a".into(), boot };
    let in_force = |history: &History, boot| history.index.overridden(&front(boot)).map(|by| by.reason);
    let told = |history: &History| {
        let line = |change: &wire::control::RolloutChange| {
            assert_eq!((change.change.as_str(), change.actor.as_str()), ("override", "front a"));
            (change.evidence["on"] == true, change.reason.clone(), change.at.0)
        };
        history.index.overrides().iter().map(line).collect::<Vec<_>>()
    };
    history.front(ExchangeBody::Mark { id: "m".into() });
    assert_eq!(in_force(&history, 1), None);
    let logged = history.now;
    history.front(overruled(true, "it burns", 5));
    assert_eq!(in_force(&history, 1).as_deref(), Some("it burns"));
    assert_eq!(told(&history), [(true, "it burns".into(), logged)], "when the log had it");
    // The next boot begins with it: nothing new.
    history.front(ExchangeBody::Ended { clean: true });
    history.front_in(2, 1, overruled(true, "it burns", 5));
    assert_eq!(in_force(&history, 2).as_deref(), Some("it burns"));
    assert_eq!(told(&history).len(), 1);
    history.front_in(2, 2, overruled(false, "put out", 9));
    assert_eq!(in_force(&history, 2), None);
    assert_eq!(told(&history).last().map(|(on, reason, _)| (*on, reason.as_str())), Some((false, "put out")));
    // A boot whose first record says nothing of it goes by the dial, whatever was said before.
    history.front_in(2, 3, overruled(true, "again", 12));
    history.front_in(2, 4, ExchangeBody::Ended { clean: true });
    history.front_in(3, 1, ExchangeBody::Mark { id: "m".into() });
    assert_eq!(in_force(&history, 3), None);
    assert_eq!(told(&history).len(), 3);
    assert_eq!(history.index.gates_inputs().gaps, [], "the records are none");
}

/// A transfer of an amount, as a system shows it.
fn transfer(amount: &str) -> Value {
    json!({
        "transactionId": "t", "trackingId": "k", "type": "transfer", "status": "completed", "amount": amount,
        "currency": "EUR", "source": {"accountId": "alice", "movement": format!("-{amount}")},
        "destination": {"accountId": "bob", "movement": amount}, "correlationId": "c",
        "createdAt": "2026-01-01T00:00:00Z",
    })
}

#[test]
fn what_was_decided_is_counted_once_its_result_is_known() {
    let mut history = History::new();
    let transfer_by = |history: &mut History, authority, cross_cohort, overtaken| {
        let intent = history.intent(Operation::Transfer, authority, &["alice", "bob"]);
        history.front(ExchangeBody::Intent(Intent { cross_cohort, overtaken, ..intent }))
    };
    let applied = transfer_by(&mut history, System::Engine, false, false);
    history.answer(&applied, Class::Applied, 200, &transfer("30"));
    let refused = transfer_by(&mut history, System::Legacy, true, false);
    history.answer(&refused, Class::Refused, 422, &json!({"code": "InsufficientBalance"}));
    let not_executed = transfer_by(&mut history, System::Engine, true, true);
    history.answer(&not_executed, Class::NotExecuted, 400, &json!({}));
    let unknown = transfer_by(&mut history, System::Legacy, true, true);
    history.answer(&unknown, Class::Unknown, 0, &json!({}));
    let effective = history.index.effective();
    assert_eq!((effective.exchanges, effective.engine, effective.engine_percent), (2, 1, Percent::whole(50)));
    assert_eq!(history.index.cross_cohort().exchanges, 1);
    history.turns_out_applied(&unknown, "10");
    let effective = history.index.effective();
    let money: Vec<_> = effective.money.iter().map(|one| (one.total.to_string(), one.engine.to_string())).collect();
    assert_eq!((effective.exchanges, money), (3, vec![("40".to_owned(), "30".to_owned())]));
    let cross = history.index.cross_cohort();
    assert_eq!((cross.exchanges, cross.overtaken, cross.percent.to_string().as_str()), (2, 1, "66.66"));
    assert_eq!((cross.money[0].amount.to_string(), cross.money[0].percent), ("10".to_owned(), Percent::whole(25)));
    assert_eq!(history.index.front_version(&FrontBoot { front: "a".into(), boot: 1 }), Some(1));
    assert_eq!(history.index.front_version(&FrontBoot { front: "a".into(), boot: 2 }), None);
}

#[test]
fn a_result_whose_record_is_lost_is_unknown_until_the_relay_finds_it_out() {
    let mut history = History::new();
    let lost = history.begin(Operation::Transfer, System::Legacy, &["alice", "bob"]);
    let next = history.begin(Operation::Transfer, System::Legacy, &["alice", "bob"]);
    history.answer(&next, Class::Applied, 200, &transfer("30"));
    assert_eq!(history.verdict(&lost).verdict, VerdictKind::Open);
    history.relay(ShadowBody::Asking { exchange: lost.clone() });
    assert_eq!(history.verdict(&lost).verdict, VerdictKind::Unknown);
    assert_eq!(history.index.gates_inputs().unknown_authority, 1, "it holds the dial back");
    history.turns_out_applied(&lost, "10");
    history.leg(&lost, System::Engine, Mode::Shadow, 200, &transfer("10"));
    history.leg(&next, System::Engine, Mode::Shadow, 200, &transfer("30"));
    for exchange in [&lost, &next] {
        assert_eq!(history.verdict(exchange).verdict, VerdictKind::Match);
    }
    // The record comes after all, too late to matter.
    history.answer(&lost, Class::Applied, 200, &transfer("10"));
    let inputs = history.index.gates_inputs();
    assert_eq!((inputs.unknown_authority, inputs.oldest_undelivered, inputs.oldest_captured), (0, None, None));
}

#[test]
fn a_front_that_has_not_heard_of_a_move_up_is_overtaken_whether_it_knows_or_not() {
    let mut history = History::new();
    let to = |percent| Setting { stage: Stage::Ramp, percent: Percent::whole(percent) };
    history.dial(RolloutBody::Moved { version: 1, to: to(0), forced: false, evidence: Vec::new() });
    let fronts = Vec::new();
    history.dial(RolloutBody::Prepare { version: 2, to: to(100), forced: true, evidence: Vec::new(), fronts });
    let by_legacy = |history: &mut History| history.begin(Operation::Transfer, System::Legacy, &["alice", "bob"]);
    by_legacy(&mut history);
    history.dial(RolloutBody::Drained { version: 2 });
    history.dial(RolloutBody::Commit { version: 2, held_back: Vec::new() });
    assert_eq!(history.index.counters().overtaken, 0, "it was in time");
    by_legacy(&mut history);
    assert_eq!(history.index.counters().overtaken, 1);
    let heard = history.intent(Operation::Transfer, System::Engine, &["alice", "bob"]);
    history.front(ExchangeBody::Intent(Intent { version: 2, ..heard }));
    assert_eq!(history.index.counters().overtaken, 1);
    // What happens to other accounts changes nothing of that.
    history.dial(RolloutBody::Pin { version: 3, account: "carol".into(), system: Some(System::Legacy) });
    by_legacy(&mut history);
    assert_eq!(history.index.counters().overtaken, 2);
    // Down it is not held either: whoever goes by the new version says what is overtaken.
    history.dial(RolloutBody::Moved { version: 4, to: to(0), forced: false, evidence: Vec::new() });
    by_legacy(&mut history);
    history.begin(Operation::Transfer, System::Engine, &["alice", "bob"]);
    assert_eq!(history.index.counters().overtaken, 2);
}

/// Exchanges of two users with one bank: one system says of each that something is not there. The verdicts.
fn two_users_of_one_bank(first_is_about_the_bank: bool) -> [VerdictKind; 2] {
    let mut history = History::new();
    let not_found = json!({"code": "AccountNotFound"});
    let made = history.begin(Operation::CreateAccount, System::Legacy, &["bank"]);
    history.answer(&made, Class::Applied, 201, &outside_account());
    let status = if first_is_about_the_bank { 422 } else { 201 };
    let shown = if first_is_about_the_bank { json!({"code": "CurrencyMismatch"}) } else { outside_account() };
    history.leg(&made, System::Engine, Mode::Shadow, status, &shown);
    history.asked(&made);
    let mut verdicts = Vec::new();
    for user in ["alice", "bob"] {
        let topup = history.begin(Operation::Topup, System::Legacy, &[user, "bank"]);
        history.answer(&topup, Class::Refused, 404, &not_found);
        history.leg(&topup, System::Engine, Mode::ShadowRefused, 200, &json!({}));
        history.asked(&topup);
        verdicts.push(history.verdict(&topup).verdict);
    }
    verdicts.try_into().unwrap()
}

#[test]
fn an_account_that_all_use_carries_what_is_about_itself_and_nothing_of_its_users() {
    assert_eq!(two_users_of_one_bank(false), [VerdictKind::Mismatch; 2], "alice is not there, and neither is bob");
    assert_eq!(two_users_of_one_bank(true), [VerdictKind::Carried; 2], "the bank is not there");
}

#[test]
fn the_refund_of_a_withdrawal_is_refused_for_the_limit_of_whoever_decides_it() {
    let mut history = History::new();
    let beside = history.begin(Operation::Topup, System::Legacy, &["alice", "bank"]);
    let refund = history.begin(Operation::Refund, System::Legacy, &["alice", "bank"]);
    history.answer(&beside, Class::Applied, 200, &transfer("10"));
    history.answer(&refund, Class::Refused, 422, &json!({"code": "BalanceLimitExceeded"}));
    history.leg(&refund, System::Engine, Mode::ShadowRefused, 200, &json!({}));
    assert_eq!(history.verdict(&refund).verdict, VerdictKind::Order);
}
