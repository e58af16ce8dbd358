//! Modes of a leg: shadow, shadow-refused, forced; and aliases.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{Command, CreateAccount, LimitChange, Move, MoveKind};
use engine_domain::{AccountId, AccountType, Answer, Body, Event, Fate, Mode, Money, Rejection, Status, TransactionId};

/// Alice with 10, and Bob, on the same shard or on two.
fn with_alice_and_bob(shards: u32) -> (Cluster, AccountId, AccountId) {
    let mut cluster = Cluster::new(shards);
    let (alice, bob) = (id_on("alice", 0, shards), id_on("bob", shards - 1, shards));
    for account in [&alice, &bob] {
        cluster.create(new_account(account, AccountType::User, Limits::default()));
    }
    cluster.fund(&alice, money("10"));
    (cluster, alice, bob)
}

fn dry(cluster: &mut Cluster, request: &Move, code: &str) -> Command {
    let mut command = cluster.command(Mode::ShadowRefused, Body::Move(request.clone()));
    command.refusal = Some(refusal(code));
    command
}

fn remembered(cluster: &Cluster, transaction: TransactionId) -> Option<Fate> {
    let shard = &cluster.shards[transaction.shard(cluster.count()) as usize];
    shard.transaction(transaction).map(|known| known.fate.clone())
}

#[test]
fn a_shadow_refused_for_a_reason_of_state_leaves_no_trace() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        cluster.set_status(&bob, Status::Frozen);
        let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "4");
        for _ in 0..2 {
            // Offered twice: each time the other shard is really asked, not answered from memory.
            let answer = cluster.ask_as(Mode::Shadow, Body::Move(request.clone()));
            assert!(matches!(answer, Answer::Refused { rejection: Rejection::AccountFrozen, .. }), "{answer:?}");
            assert_eq!(remembered(&cluster, transaction_of(&request)), None);
            assert_eq!(cluster.balance(&alice), money("10"));
        }
        cluster.set_status(&bob, Status::Active);
        let answer = cluster.ask_as(Mode::Shadow, Body::Move(request));
        assert_eq!(cluster.seen(&answer).code, None);
        assert_eq!(cluster.balance(&bob), money("4"));
    }
}

#[test]
fn a_shadow_refused_for_another_reason_is_final() {
    let (mut cluster, alice, bob) = with_alice_and_bob(3);
    let request = Move { currency: currency("USD"), ..a_move(MoveKind::Transfer, "key", &alice, &bob, "4") };
    let answer = cluster.ask_as(Mode::Shadow, Body::Move(request.clone()));
    assert!(matches!(answer, Answer::Final { replay: false, .. }), "{answer:?}");
    let again = cluster.ask_as(Mode::Shadow, Body::Move(request));
    assert!(cluster.seen(&again).replay);
}

#[test]
fn what_the_authority_refused_is_decided_dry_and_kept_under_its_key() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        for (key, sum, expected) in [("fits", "4", None), ("too much", "40", Some(Rejection::InsufficientBalance))] {
            let request = a_move(MoveKind::Transfer, key, &alice, &bob, sum);
            for _ in 0..2 {
                // A repeated leg is decided dry again; the refusal is kept once.
                let leg = dry(&mut cluster, &request, "BalanceLimitExceeded");
                let answer = cluster.ask(leg);
                assert!(matches!(answer, Answer::Dry { would_refuse, .. } if would_refuse == expected), "{answer:?}");
            }
            let kept = Fate::Refused { rejection: Rejection::BalanceLimitExceeded, elsewhere: true };
            assert_eq!(remembered(&cluster, transaction_of(&request)), Some(kept));
            // A retry after a change of authority meets the same refusal.
            let seen = cluster.ask_move(request);
            assert_eq!((seen.code, seen.replay), (Some(Rejection::BalanceLimitExceeded), true));
        }
        assert_eq!((cluster.balance(&alice), cluster.balance(&bob)), (money("10"), Money::ZERO));
    }
}

/// A refusal that the engine gave as authority is told to nobody: to the other system the key is free.
#[test]
fn a_key_refused_here_can_be_taken_by_the_authority_that_follows() {
    for shards in [1, 3] {
        for mode in [Mode::Shadow, Mode::Forced] {
            for sum in ["40", "4"] {
                let (mut cluster, alice, bob) = with_alice_and_bob(shards);
                let refused = a_move(MoveKind::Transfer, "key", &alice, &bob, "40");
                assert_eq!(cluster.ask_move(refused.clone()).code, Some(Rejection::InsufficientBalance));
                cluster.fund(&alice, money("90"));
                let applied = Move { amount: amount(sum), ..refused.clone() };
                let answer = cluster.ask_as(mode, Body::Move(applied.clone()));
                assert!(matches!(answer, Answer::Final { replay: false, .. }), "{answer:?}");
                assert_eq!(cluster.balance(&bob), money(sum));
                // From now on it stands for what was applied, for everybody.
                for (mode, request) in [(Mode::Shadow, &applied), (Mode::Authority, &applied)] {
                    let answer = cluster.ask_as(mode, Body::Move(request.clone()));
                    assert!(matches!(answer, Answer::Final { replay: true, .. }), "{answer:?}");
                }
                assert_eq!(cluster.balance(&bob), money(sum));
                let versions: Vec<u64> = cluster.events().filter_map(|event| version_of(event, &applied)).collect();
                assert_eq!(versions, [1, 2, 3, 4]);
            }
        }
    }
}

#[test]
fn a_refusal_by_the_authority_that_follows_takes_the_place_of_an_own_one() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "40");
        assert_eq!(cluster.ask_move(request.clone()).code, Some(Rejection::InsufficientBalance));
        cluster.fund(&alice, money("90"));
        for sum in ["40", "4"] {
            let other = Move { amount: amount(sum), ..request.clone() };
            let leg = dry(&mut cluster, &other, "AccountFrozen");
            let answer = cluster.ask(leg);
            // The other content comes second: by then the other system knows the key as well.
            let expected = (sum == "4").then_some(Rejection::DuplicateKey);
            assert!(matches!(answer, Answer::Dry { would_refuse, .. } if would_refuse == expected), "{answer:?}");
        }
        assert_eq!(cluster.ask_move(request).code, Some(Rejection::AccountFrozen));
        assert_eq!(cluster.balance(&bob), Money::ZERO);
    }
}

/// Also one that this system would give again, whatever the state: the authority has decided on the key now.
#[test]
fn a_refusal_by_the_authority_takes_the_place_of_one_for_good() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        let request = Move { currency: currency("USD"), ..a_move(MoveKind::Transfer, "key", &alice, &bob, "4") };
        assert_eq!(cluster.ask_move(request.clone()).code, Some(Rejection::CurrencyMismatch));
        let leg = dry(&mut cluster, &request, "AccountFrozen");
        let answer = cluster.ask(leg);
        let expected = Some(Rejection::CurrencyMismatch);
        assert!(matches!(answer, Answer::Dry { would_refuse, .. } if would_refuse == expected), "{answer:?}");
        let kept = Fate::Refused { rejection: Rejection::AccountFrozen, elsewhere: true };
        assert_eq!(remembered(&cluster, transaction_of(&request)), Some(kept));
        let other = Move { amount: amount("5"), ..request };
        let leg = dry(&mut cluster, &other, "DuplicateKey");
        let answer = cluster.ask(leg);
        assert!(matches!(answer, Answer::Dry { would_refuse: Some(Rejection::DuplicateKey), .. }), "{answer:?}");
    }
}

/// Bob is full: a leg that moves money to him is refused for a reason of state, on another shard after a while.
#[test]
fn a_leg_that_is_not_kept_leaves_what_the_key_stood_for() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        let full = limit_change(&bob, LimitChange::Keep, LimitChange::Set(money("1")));
        cluster.ask_as(Mode::Authority, Body::ChangeAccount(full));
        let refused = a_move(MoveKind::Transfer, "key", &alice, &bob, "40");
        assert_eq!(cluster.ask_move(refused.clone()).code, Some(Rejection::InsufficientBalance));
        let before = cluster.shards[0].transaction(transaction_of(&refused)).cloned().unwrap();
        let leg = Move { amount: amount("4"), ..refused.clone() };
        for _ in 0..2 {
            let mut command = cluster.command(Mode::Shadow, Body::Move(leg.clone()));
            command.alias = Some("L-1".into());
            let answer = cluster.ask(command);
            let full = matches!(answer, Answer::Refused { rejection: Rejection::BalanceLimitExceeded, .. });
            assert!(full, "{answer:?}");
            let after = cluster.shards[0].transaction(transaction_of(&refused)).cloned().unwrap();
            assert_eq!((after.fate, after.content, after.alias), (before.fate.clone(), before.content, None));
        }
        let again = cluster.ask_as(Mode::Authority, Body::Move(refused.clone()));
        assert!(matches!(again, Answer::Final { replay: true, .. }), "{again:?}");
        let versions: Vec<u64> = cluster.events().filter_map(|event| version_of(event, &refused)).collect();
        // On one shard the leg is refused at once and leaves no event.
        let expected = if shards == 1 { 2 } else { 6 };
        assert_eq!(versions, (1..=expected).collect::<Vec<u64>>());
    }
}

#[test]
fn a_key_refused_here_can_make_an_account_there() {
    for mode in [Mode::Shadow, Mode::Forced, Mode::ShadowRefused, Mode::Authority] {
        let (mut cluster, alice, _) = with_alice_and_bob(3);
        let carol = id("carol");
        // The withdrawal's deciding account is the one that is not there yet: the same scope of keys.
        let withdraw = a_move(MoveKind::Withdraw, "key", &carol, &alice, "1");
        assert_eq!(cluster.ask_move(withdraw).code, Some(Rejection::AccountNotFound));
        let create =
            CreateAccount { key: Some("key".into()), ..new_account(&carol, AccountType::User, Limits::default()) };
        let answer = cluster.ask_as(mode, Body::CreateAccount(create.clone()));
        match mode {
            Mode::Authority => {
                assert!(matches!(answer, Answer::Refused { rejection: Rejection::DuplicateKey, .. }), "{answer:?}");
            }
            Mode::ShadowRefused => {
                assert!(matches!(answer, Answer::Dry { would_refuse: None, .. }), "{answer:?}");
            }
            Mode::Shadow | Mode::Forced => {
                assert!(matches!(answer, Answer::Account { replay: false, .. }), "{answer:?}");
                // Now it stands for the account.
                let again = cluster.ask_as(Mode::Authority, Body::CreateAccount(create));
                assert!(matches!(again, Answer::Account { replay: true, .. }), "{again:?}");
                let transaction = TransactionId::derive("", carol.as_str(), "key");
                let learnt = Body::Aliases(vec![alias(transaction, "L-1")]);
                cluster.ask_as(Mode::Authority, learnt);
            }
        }
    }
}

fn version_of(event: &Event, request: &Move) -> Option<u64> {
    let (transaction, version) = match event {
        Event::TransactionRequested(requested) => (requested.transaction, requested.version),
        Event::TransactionCompleted(completed) => (completed.transaction, completed.version),
        Event::TransactionFailed(failed) => (failed.transaction, failed.version),
        _ => return None,
    };
    (transaction == transaction_of(request)).then_some(version)
}

#[test]
fn a_dry_decision_finds_what_is_wrong_on_either_side() {
    type Break = fn(&mut Cluster, &AccountId, &AccountId);
    let cases: [(Break, Rejection); 4] = [
        (|cluster, alice, _| drop(cluster.set_status(alice, Status::Frozen)), Rejection::AccountFrozen),
        (|cluster, _, bob| drop(cluster.set_status(bob, Status::Closed)), Rejection::AccountClosed),
        (
            |cluster, _, bob| {
                let change = limit_change(bob, LimitChange::Keep, LimitChange::Set(money("1")));
                cluster.ask_as(Mode::Authority, Body::ChangeAccount(change));
            },
            Rejection::BalanceLimitExceeded,
        ),
        (|cluster, alice, _| cluster.fund(alice, money("-10")), Rejection::InsufficientBalance),
    ];
    for shards in [1, 3] {
        for (broken, expected) in cases {
            let (mut cluster, alice, bob) = with_alice_and_bob(shards);
            broken(&mut cluster, &alice, &bob);
            let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "4");
            let leg = dry(&mut cluster, &request, "AccountNotFound");
            let answer = cluster.ask(leg);
            assert!(matches!(answer, Answer::Dry { would_refuse: Some(code), .. } if code == expected), "{answer:?}");
        }
    }
}

#[test]
fn refusals_that_belong_to_no_key_are_not_kept() {
    let (mut cluster, alice, bob) = with_alice_and_bob(3);
    let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "4");
    for (code, keeps) in [("DuplicateKey", true), ("InvalidAmount", true), ("InsufficientBalance", false)] {
        let mut leg = dry(&mut cluster, &request, code);
        leg.keeps_refusals = keeps;
        cluster.ask(leg);
        assert_eq!(remembered(&cluster, transaction_of(&request)), None, "{code}");
    }
    assert_eq!(cluster.ask_move(request.clone()).code, None);
    // A key that stands for something else: dry, too, it is a duplicate.
    let leg = dry(&mut cluster, &Move { amount: amount("5"), ..request.clone() }, "DuplicateKey");
    let answer = cluster.ask(leg);
    assert!(matches!(answer, Answer::Dry { would_refuse: Some(Rejection::DuplicateKey), .. }), "{answer:?}");
    // What was applied here stays applied, whatever the authority says.
    let leg = dry(&mut cluster, &request, "InsufficientBalance");
    assert!(matches!(cluster.ask(leg), Answer::Final { replay: true, .. }));
}

#[test]
fn dry_decisions_about_accounts_change_nothing() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let (bank, user) = (id("bank"), id("user"));
        cluster.create(new_account(&bank, AccountType::External, Limits::default()));
        cluster.create(new_account(&user, AccountType::User, Limits::default()));
        let ask = |cluster: &mut Cluster, body| match cluster.ask_as(Mode::ShadowRefused, body) {
            Answer::Dry { would_refuse, .. } => would_refuse,
            other => panic!("{other:?}"),
        };
        let close = |account: &AccountId| Body::ChangeAccount(status_change(account, Status::Closed));
        let make = |name, account_type| Body::CreateAccount(new_account(&id(name), account_type, Limits::default()));
        assert_eq!(ask(&mut cluster, close(&bank)), None);
        assert_eq!(ask(&mut cluster, close(&user)), None);
        assert_eq!(ask(&mut cluster, make("user", AccountType::User)), Some(Rejection::AccountExists));
        assert_eq!(ask(&mut cluster, make("new", AccountType::External)), None);
        assert_eq!(ask(&mut cluster, close(&id("new"))), Some(Rejection::AccountNotFound));
        assert_eq!(cluster.ask_move(a_move(MoveKind::Topup, "key", &bank, &user, "1")).code, None);
        assert_eq!(ask(&mut cluster, close(&bank)), Some(Rejection::AccountNotEmpty));
        assert_eq!(ask(&mut cluster, close(&user)), Some(Rejection::AccountNotEmpty));
        let balances = |cluster: &Cluster| (cluster.balance(&bank), cluster.balance(&user));
        assert_eq!(balances(&cluster), (money("-1"), money("1")));
    }
}

#[test]
fn a_forced_leg_is_booked_and_names_the_rule() {
    type Break = fn(&mut Cluster, &AccountId, &AccountId);
    let cases: [(Break, Option<Rejection>); 6] = [
        (|_, _, _| {}, None),
        (|cluster, alice, _| cluster.fund(alice, money("-8")), Some(Rejection::InsufficientBalance)),
        (|cluster, alice, _| drop(cluster.set_status(alice, Status::Frozen)), Some(Rejection::AccountFrozen)),
        (|cluster, _, bob| drop(cluster.set_status(bob, Status::Closed)), Some(Rejection::AccountClosed)),
        (|cluster, _, bob| cluster.fund(bob, money("999999999999")), Some(Rejection::BalanceOverflow)),
        (
            |cluster, alice, bob| {
                cluster.set_status(bob, Status::Frozen);
                cluster.set_status(alice, Status::Frozen);
            },
            Some(Rejection::AccountFrozen),
        ),
    ];
    for shards in [1, 3] {
        for (broken, expected) in cases {
            let (mut cluster, alice, bob) = with_alice_and_bob(shards);
            broken(&mut cluster, &alice, &bob);
            let before = (cluster.balance(&alice), cluster.balance(&bob));
            let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "4");
            let answer = cluster.ask_as(Mode::Forced, Body::Move(request));
            let seen = cluster.seen(&answer);
            assert_eq!((seen.code, seen.would_refuse), (None, expected));
            assert_eq!(cluster.balance(&alice), before.0.minus(money("4")));
            assert_eq!(cluster.balance(&bob), before.1.plus(money("4")));
        }
    }
}

#[test]
fn force_does_not_overrule_everything() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        cluster.set_status(&alice, Status::Frozen);
        cluster.create(new_account(&id("bank"), AccountType::External, Limits::default()));
        let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "4");
        for (request, expected) in [
            (Move { destination: id("nobody"), ..request.clone() }, Rejection::AccountNotFound),
            (Move { destination: alice.clone(), ..request.clone() }, Rejection::SameAccount),
            (Move { source: id("bank"), ..request.clone() }, Rejection::AccountTypeNotAllowed),
            // Frozen could be overruled, the currency behind it cannot.
            (Move { currency: currency("USD"), ..request.clone() }, Rejection::CurrencyMismatch),
        ] {
            let request = Move { key: expected.code().into(), ..request };
            let answer = cluster.ask_as(Mode::Forced, Body::Move(request));
            assert_eq!(cluster.seen(&answer).code, Some(expected));
        }
        assert_eq!(cluster.balance(&alice), money("10"));
    }
}

#[test]
fn a_forced_refund_is_booked_beyond_what_is_left() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        let original = a_move(MoveKind::Transfer, "original", &alice, &bob, "4");
        let refused = a_move(MoveKind::Transfer, "refused", &alice, &bob, "40");
        cluster.ask_move(original.clone());
        cluster.ask_move(refused.clone());
        for (of, key, sum, would_refuse, code) in [
            (&original, "1", Some("5"), Some(Rejection::RefundExceedsOriginal), None),
            (&original, "2", None, None, Some(Rejection::RefundExceedsOriginal)),
            (&refused, "3", Some("2"), Some(Rejection::NotRefundable), None),
            (&refused, "4", None, None, Some(Rejection::NotRefundable)),
        ] {
            let refund = cluster.refund_of(transaction_of(of), key, sum);
            let answer = cluster.ask_as(Mode::Forced, Body::Refund(refund));
            let seen = cluster.seen(&answer);
            assert_eq!((seen.would_refuse, seen.code), (would_refuse, code), "refund {key} on {shards} shards");
        }
        assert_eq!(cluster.balance(&alice), money("13"));
        // A hold that the original keeps no count of is not given back to it either.
        cluster.set_status(&alice, Status::Frozen);
        let refund = cluster.refund_of(transaction_of(&original), "5", Some("1"));
        let answer = cluster.ask_as(Mode::Shadow, Body::Refund(refund));
        assert_eq!(cluster.seen(&answer).code, Some(Rejection::RefundExceedsOriginal));
    }
}

#[test]
fn a_forced_change_wakes_a_closed_account() {
    let mut cluster = Cluster::new(3);
    for (name, account_type) in [("user", AccountType::User), ("bank", AccountType::External)] {
        let account = id(name);
        cluster.create(new_account(&account, account_type, Limits::default()));
        cluster.set_status(&account, Status::Closed);
        let change = Body::ChangeAccount(status_change(&account, Status::Frozen));
        let answer = cluster.ask_as(Mode::Forced, change);
        let named = matches!(answer, Answer::Account { would_refuse: Some(Rejection::AccountClosed), .. });
        assert!(named, "{answer:?}");
    }
}

#[test]
fn the_first_alias_of_a_transaction_stands() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "4");
        let transaction = transaction_of(&request);
        cluster.ask_move(request.clone());
        let from = cluster.journal.len();
        for name in ["L-1", "L-2"] {
            let unknown = TransactionId::derive("", alice.as_str(), "unknown");
            let aliases = vec![alias(transaction, name), alias(transaction, "L-3"), alias(unknown, "L-4")];
            let answer = cluster.ask_as(Mode::Authority, Body::Aliases(aliases));
            assert!(matches!(answer, Answer::Noted { .. }));
        }
        assert_eq!(cluster.names_since(from), ["AliasLearnt"]);
        let shard = &cluster.shards[transaction.shard(shards) as usize];
        assert_eq!(shard.transaction(transaction).unwrap().alias.as_deref(), Some("L-1"));

        // With the leg: the request carries it.
        let mut leg = cluster.command(Mode::Shadow, Body::Move(Move { key: "leg".into(), ..request }));
        leg.alias = Some("L-9".into());
        cluster.ask(leg);
        let carried = cluster.events().any(|event| {
            matches!(event, Event::TransactionRequested(requested) if requested.alias.as_deref() == Some("L-9"))
        });
        assert!(carried);
    }
}

/// The authority refunded a part and then the rest; the legs come the other way round.
#[test]
fn a_refund_of_the_rest_takes_what_the_authority_took_in_any_order() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "8");
        assert_eq!(cluster.ask_move(request.clone()).code, None);
        let original = transaction_of(&request);
        let part = cluster.refund_of(original, "part", Some("1.5"));
        let mut rest = cluster.refund_of(original, "rest", None);
        rest.taken = Some(amount("6.5"));
        for (refund, left) in [(&rest, "1.5"), (&part, "0")] {
            let answer = cluster.ask_as(Mode::Shadow, Body::Refund(refund.clone()));
            assert_eq!(cluster.seen(&answer).code, None, "{refund:?}");
            assert_eq!(cluster.balance(&bob), money(left));
        }
        // A client that repeats itself after a change of authority left the amount open, as it did before.
        let seen = cluster.ask_refund(original, "rest", None);
        assert_eq!((seen.code, seen.replay), (None, true));
        assert_eq!(cluster.ask_refund(original, "rest", Some("6.5")).code, Some(Rejection::DuplicateKey));
        assert_eq!(cluster.balance(&alice), money("10"));
        cluster.check_quiet();
    }
}
