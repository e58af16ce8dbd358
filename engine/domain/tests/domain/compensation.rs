//! Sagas over several shards: every step, every refusal, and everything undone.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{LimitChange, MoveKind};
use engine_domain::event::TransactionFailed;
use engine_domain::saga::Stage;
use engine_domain::{AccountId, AccountType, Body, Event, Fate, Mode, Money, Rejection, Status, TransactionId};

/// The stages that a saga went through since `from`, with whether each was refused.
fn stages(cluster: &Cluster, from: usize) -> Vec<(Stage, bool)> {
    let mut stages = Vec::new();
    for event in cluster.journal[from..].iter().flat_map(|outcome| &outcome.events) {
        let taken = match event {
            Event::SagaStarted(saga) => &saga.taken[..],
            Event::SagaStepCompleted(step) => std::slice::from_ref(&step.taken),
            Event::SagaStepFailed(step) => std::slice::from_ref(&step.taken),
            _ => &[],
        };
        stages.extend(taken.iter().map(|taken| (taken.stage, taken.answer.rejection().is_some())));
    }
    stages
}

/// Everything a test needs: two USERs and a limited EXTERNAL account, each on a shard of its own.
struct Apart {
    cluster: Cluster,
    alice: AccountId,
    bob: AccountId,
    capped: AccountId,
}

fn apart() -> Apart {
    let mut cluster = Cluster::new(3);
    let [alice, bob, capped] = [("alice", 0), ("bob", 1), ("capped", 2)].map(|(name, shard)| id_on(name, shard, 3));
    cluster.create(new_account(&alice, AccountType::User, Limits::default()));
    cluster.create(new_account(&bob, AccountType::User, Limits::default()));
    cluster.create(new_account(&capped, AccountType::External, limits(Some("-50"), Some("50"))));
    cluster.fund(&alice, money("20"));
    cluster.fund(&bob, money("20"));
    Apart { cluster, alice, bob, capped }
}

/// Makes one account refuse.
type Break = fn(&mut Cluster, &AccountId);
const FREEZE: Break = |cluster, account| drop(cluster.set_status(account, Status::Frozen));
const EMPTY: Break = |cluster, account| {
    let balance = cluster.balance(account);
    cluster.fund(account, balance.negated());
};
const FILL: Break = |cluster, account| {
    let full = LimitChange::Set(cluster.balance(account));
    cluster.ask_as(Mode::Authority, Body::ChangeAccount(limit_change(account, LimitChange::Keep, full)));
};
const SINK: Break = |cluster, account| {
    let deep = LimitChange::Set(cluster.balance(account));
    cluster.ask_as(Mode::Authority, Body::ChangeAccount(limit_change(account, deep, LimitChange::Keep)));
};
const CLOSE: Break = |cluster, account| {
    EMPTY(cluster, account);
    cluster.set_status(account, Status::Closed);
};

#[test]
fn moves_across_shards_complete_step_by_step() {
    use Stage::{Credit, Debit, Release, Reserve};
    let cases: [(MoveKind, fn(&Apart) -> (AccountId, AccountId), &[Stage]); 3] = [
        (MoveKind::Transfer, |all| (all.alice.clone(), all.bob.clone()), &[Reserve, Debit, Credit, Release]),
        (MoveKind::Withdraw, |all| (all.alice.clone(), all.capped.clone()), &[Debit, Credit]),
        (MoveKind::Topup, |all| (all.capped.clone(), all.alice.clone()), &[Debit, Credit, Release]),
    ];
    for (kind, sides, expected) in cases {
        let mut all = apart();
        let (source, destination) = sides(&all);
        let before = (all.cluster.balance(&source), all.cluster.balance(&destination));
        let from = all.cluster.journal.len();
        let seen = all.cluster.ask_move(a_move(kind, "key", &source, &destination, "7.5"));
        assert_eq!(seen.code, None);
        let expected: Vec<_> = expected.iter().map(|stage| (*stage, false)).collect();
        assert_eq!(stages(&all.cluster, from), expected, "{kind:?}");
        let names = all.cluster.names_since(from);
        assert!(names.contains(&"SagaStarted") && names.contains(&"SagaCompleted"), "{names:?}");
        assert_eq!(all.cluster.balance(&source), before.0.minus(money("7.5")));
        assert_eq!(all.cluster.balance(&destination), before.1.plus(money("7.5")));
        let completed = all.cluster.events().find_map(|event| match event {
            Event::TransactionCompleted(completed) => Some(completed.clone()),
            _ => None,
        });
        let home = if kind == MoveKind::Topup { &destination } else { &source };
        let position = completed.unwrap().position;
        assert_eq!(position[0].shard, home.shard(3), "the deciding account's position comes first");
        assert_eq!(position.len(), 2);
    }
}

#[test]
fn a_transfer_reserves_draws_and_releases() {
    let mut all = apart();
    let from = all.cluster.journal.len();
    all.cluster.ask_move(a_move(MoveKind::Transfer, "key", &all.alice, &all.bob, "5"));
    let of_alice: Vec<_> = all.cluster.journal[from..]
        .iter()
        .flat_map(|outcome| &outcome.events)
        .filter(|event| event.account() == Some(&all.alice))
        .collect();
    match of_alice[..] {
        [Event::FundsReserved(reserved), Event::BalanceChanged(drawn), Event::ReservationReleased(released)] => {
            assert_eq!((reserved.amount, reserved.reserved_after), (amount("5"), money("5")));
            assert_eq!((drawn.balance_after, drawn.reserved_after), (money("15"), Money::ZERO));
            assert_eq!((released.amount, released.reserved_after), (Money::ZERO, Money::ZERO));
        }
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn every_step_of_a_move_can_be_refused_and_everything_is_undone() {
    use Stage::{Credit, Debit, GiveBack, Release, Reserve};
    type Case = (MoveKind, bool, Break, Rejection, &'static [(Stage, bool)]);
    /// What is asked, whether the source refuses (else the destination), how, and the stages of the saga: none when
    /// home refuses before anybody else is asked.
    const CASES: [Case; 18] = [
        (MoveKind::Transfer, true, FREEZE, Rejection::AccountFrozen, &[]),
        (MoveKind::Transfer, true, CLOSE, Rejection::AccountClosed, &[]),
        (MoveKind::Transfer, true, EMPTY, Rejection::InsufficientBalance, &[]),
        (MoveKind::Transfer, false, FREEZE, Rejection::AccountFrozen, TRANSFER_BACK),
        (MoveKind::Transfer, false, CLOSE, Rejection::AccountClosed, TRANSFER_BACK),
        (MoveKind::Transfer, false, FILL, Rejection::BalanceLimitExceeded, TRANSFER_BACK),
        (MoveKind::Withdraw, true, FREEZE, Rejection::AccountFrozen, &[]),
        (MoveKind::Withdraw, true, CLOSE, Rejection::AccountClosed, &[]),
        (MoveKind::Withdraw, true, EMPTY, Rejection::InsufficientBalance, &[]),
        (MoveKind::Withdraw, false, FREEZE, Rejection::AccountFrozen, BACK),
        (MoveKind::Withdraw, false, CLOSE, Rejection::AccountClosed, BACK),
        (MoveKind::Withdraw, false, FILL, Rejection::BalanceLimitExceeded, BACK),
        (MoveKind::Topup, true, FREEZE, Rejection::AccountFrozen, &[(Debit, true)]),
        (MoveKind::Topup, true, CLOSE, Rejection::AccountClosed, &[(Debit, true)]),
        (MoveKind::Topup, true, SINK, Rejection::InsufficientBalance, &[(Debit, true)]),
        (MoveKind::Topup, false, FREEZE, Rejection::AccountFrozen, BACK),
        (MoveKind::Topup, false, CLOSE, Rejection::AccountClosed, BACK),
        (MoveKind::Topup, false, FILL, Rejection::BalanceLimitExceeded, BACK),
    ];
    const BACK: &[(Stage, bool)] = &[(Debit, false), (Credit, true), (GiveBack, false)];
    const TRANSFER_BACK: &[(Stage, bool)] =
        &[(Reserve, false), (Debit, false), (Credit, true), (GiveBack, false), (Release, false)];
    for (kind, at_source, broken, code, expected) in CASES {
        let mut all = apart();
        let (source, destination) = match kind {
            MoveKind::Transfer => (all.alice, all.bob),
            MoveKind::Withdraw => (all.alice, all.capped),
            MoveKind::Topup => (all.capped, all.alice),
        };
        broken(&mut all.cluster, if at_source { &source } else { &destination });
        let before = (all.cluster.balance(&source), all.cluster.balance(&destination));
        let from = all.cluster.journal.len();
        let seen = all.cluster.ask_move(a_move(kind, "key", &source, &destination, "5"));
        let what = format!("{kind:?} refused with {code} at the source: {at_source}");
        assert_eq!(seen.code, Some(code), "{what}");
        assert_eq!(stages(&all.cluster, from), expected, "{what}");
        assert_eq!((all.cluster.balance(&source), all.cluster.balance(&destination)), before, "{what}");
        let names = all.cluster.names_since(from);
        assert_eq!(names.contains(&"SagaCompensated"), !expected.is_empty(), "{what}: {names:?}");
    }
}

/// What is refunded or held of an original.
fn refunded(cluster: &Cluster, original: TransactionId) -> Money {
    let shard = &cluster.shards[original.shard(cluster.count()) as usize];
    match &shard.transaction(original).unwrap().fate {
        Fate::Applied(applied) => applied.refunded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_step_of_a_refund_can_be_refused_and_everything_is_undone() {
    use Stage::{Credit, Debit, GiveBack, Hold, Unhold};
    // The original went from Alice to Bob: the refund's home is Bob's shard, the hold and the credit are on Alice's.
    const BEFORE: &[(Stage, bool)] = &[(Hold, true)];
    const DEBIT: &[(Stage, bool)] = &[(Hold, false), (Debit, true), (Unhold, false)];
    const CREDIT: &[(Stage, bool)] =
        &[(Hold, false), (Debit, false), (Credit, true), (GiveBack, false), (Unhold, false)];
    const NOTHING: Break = |_, _| {};
    type Case = (&'static str, &'static str, Break, Rejection, &'static [(Stage, bool)]);
    let cases: [Case; 7] = [
        ("10.1", "bob", NOTHING, Rejection::RefundExceedsOriginal, BEFORE),
        ("10", "bob", FREEZE, Rejection::AccountFrozen, DEBIT),
        ("10", "bob", CLOSE, Rejection::AccountClosed, DEBIT),
        ("10", "bob", EMPTY, Rejection::InsufficientBalance, DEBIT),
        ("10", "alice", FREEZE, Rejection::AccountFrozen, CREDIT),
        ("10", "alice", CLOSE, Rejection::AccountClosed, CREDIT),
        ("10", "alice", FILL, Rejection::BalanceLimitExceeded, CREDIT),
    ];
    for (sum, who, broken, code, expected) in cases {
        let mut all = apart();
        let original = a_move(MoveKind::Transfer, "original", &all.alice, &all.bob, "10");
        let transaction = transaction_of(&original);
        assert_eq!(all.cluster.ask_move(original).code, None);
        broken(&mut all.cluster, if who == "bob" { &all.bob } else { &all.alice });
        let before = (all.cluster.balance(&all.alice), all.cluster.balance(&all.bob));
        let from = all.cluster.journal.len();
        let seen = all.cluster.ask_refund(transaction, "refund", Some(sum));
        assert_eq!(seen.code, Some(code));
        assert_eq!(stages(&all.cluster, from), expected, "{code} by {who}");
        assert_eq!((all.cluster.balance(&all.alice), all.cluster.balance(&all.bob)), before, "{code} by {who}");
        assert_eq!(refunded(&all.cluster, transaction), Money::ZERO);
    }
}

#[test]
fn a_refund_completes_over_shards_and_is_counted_at_the_original() {
    let mut all = apart();
    let original = a_move(MoveKind::Transfer, "original", &all.alice, &all.bob, "10");
    let transaction = transaction_of(&original);
    all.cluster.ask_move(original);
    let from = all.cluster.journal.len();
    let seen = all.cluster.ask_refund(transaction, "refund", Some("4"));
    assert_eq!(seen.sides[0], (all.bob.clone(), money("-4"), Some((money("30"), money("26")))));
    assert_eq!(seen.sides[1], (all.alice.clone(), money("4"), Some((money("10"), money("14")))));
    assert_eq!(stages(&all.cluster, from), [(Stage::Hold, false), (Stage::Debit, false), (Stage::Credit, false)],);
    assert_eq!(refunded(&all.cluster, transaction), money("4"));
}

#[test]
fn a_refund_of_a_withdrawal_to_a_limited_account_is_decided_by_that_account() {
    let mut all = apart();
    let original = a_move(MoveKind::Withdraw, "original", &all.alice, &all.capped, "10");
    let transaction = transaction_of(&original);
    assert_eq!(all.cluster.ask_move(original).code, None);
    let refund = all.cluster.refund_of(transaction, "refund", None);
    assert_eq!(&*refund.deciding_account, all.capped.as_str());
    assert_eq!(all.cluster.ask_refund(transaction, "refund", None).code, None);
    assert_eq!(all.cluster.balance(&all.alice), money("20"));
    assert_eq!(all.cluster.balance(&all.capped), Money::ZERO);
}

#[test]
fn two_refunds_at_once_never_exceed_the_original() {
    let mut all = apart();
    let original = a_move(MoveKind::Transfer, "original", &all.alice, &all.bob, "10");
    let transaction = transaction_of(&original);
    all.cluster.ask_move(original);
    let mut commands = Vec::new();
    for key in ["one", "two"] {
        let refund = all.cluster.refund_of(transaction, key, Some("6"));
        commands.push(all.cluster.command(Mode::Authority, Body::Refund(refund)));
    }
    commands.iter().for_each(|command| all.cluster.submit(command.clone()));
    all.cluster.settle();
    let codes: Vec<_> =
        commands.iter().map(|command| all.cluster.seen(&all.cluster.answer_to(command.id)).code).collect();
    assert_eq!(codes, [None, Some(Rejection::RefundExceedsOriginal)]);
}

#[test]
fn undoing_is_never_refused() {
    // Between the debit and the refused credit the source is frozen and its limit filled: the money comes back.
    let mut all = apart();
    FREEZE(&mut all.cluster, &all.bob);
    let transfer = a_move(MoveKind::Transfer, "key", &all.alice, &all.bob, "5");
    let request = all.cluster.command(Mode::Authority, Body::Move(transfer));
    let change = engine_domain::command::ChangeAccount {
        account: all.alice.clone(),
        status: Some(Status::Frozen),
        min: LimitChange::Keep,
        max: LimitChange::Set(money("15")),
    };
    let change = all.cluster.command(Mode::Authority, Body::ChangeAccount(change));
    all.cluster.submit(request.clone());
    all.cluster.submit(change);
    all.cluster.step(0);
    all.cluster.step(0);
    all.cluster.settle();
    let answer = all.cluster.answer_to(request.id);
    assert_eq!(all.cluster.seen(&answer).code, Some(Rejection::AccountFrozen));
    assert_eq!(all.cluster.balance(&all.alice), money("20"));
}

#[test]
fn what_needs_one_shard_only_is_one_outcome_without_a_saga() {
    let mut cluster = Cluster::new(3);
    let (bank, user) = (id("bank"), id("user"));
    cluster.create(new_account(&bank, AccountType::External, Limits::default()));
    cluster.create(new_account(&user, AccountType::User, limits(None, Some("10"))));
    for (kind, source, destination, sum, expected) in [
        (
            MoveKind::Topup,
            &bank,
            &user,
            "10",
            vec!["TopupRequested", "BalanceChanged", "BalanceChanged", "TopupCompleted"],
        ),
        (MoveKind::Topup, &bank, &user, "1", vec!["TopupRequested", "TopupFailed"]),
        (
            MoveKind::Withdraw,
            &user,
            &bank,
            "4",
            vec!["WithdrawalRequested", "BalanceChanged", "BalanceChanged", "WithdrawalCompleted"],
        ),
        (
            MoveKind::Transfer,
            &user,
            &bank,
            "4",
            vec!["TransferRequested", "BalanceChanged", "BalanceChanged", "TransferCompleted"],
        ),
        (MoveKind::Transfer, &user, &bank, "4", vec!["TransferRequested", "TransferFailed"]),
    ] {
        let from = cluster.journal.len();
        let key = format!("key-{from}");
        cluster.ask_move(a_move(kind, &key, source, destination, sum));
        assert_eq!(cluster.journal.len(), from + 1);
        assert_eq!(cluster.names_since(from), expected);
    }
    let failed = cluster.events().find_map(|event| match event {
        Event::TransactionFailed(TransactionFailed { kept, rejection, .. }) => Some((*kept, *rejection)),
        _ => None,
    });
    assert_eq!(failed, Some((true, Rejection::BalanceLimitExceeded)));
}
