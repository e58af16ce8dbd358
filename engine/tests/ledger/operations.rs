//! Every operation on ten shards: what is answered, and what is there afterwards.

use crate::support::*;
use engine_domain::command::{Alias, LimitChange};
use engine_domain::{AccountType, Answer, Body, Limits, Rejection, Status, TransactionId};
use futures_util::future::join_all;
use std::sync::Arc;

/// Users `u0` to `u9`, one per shard, each with 100; and the outside world.
async fn ten_users(running: &Running) -> Vec<String> {
    running.create(external("world")).await;
    let users: Vec<String> = (0..SHARDS).map(|shard| on_shard(shard, "user")).collect();
    for user_id in &users {
        running.create(user(user_id)).await;
        let result = running.transact(topup(&format!("first-{user_id}"), "world", user_id, "100")).await;
        assert_eq!(result.status, "completed");
    }
    users
}

#[tokio::test]
async fn topup_and_withdraw_show_levels_of_the_user_only() {
    let running = Bed::new().start_alone().await;
    let users = ten_users(&running).await;
    for (number, id) in users.iter().enumerate() {
        let result = running.transact(topup("again", "world", id, "0.50000000")).await;
        assert_eq!((result.kind.as_str(), result.status.as_str()), ("topup", "completed"));
        assert_eq!(result.amount.to_string(), "0.5");
        let side = &result.destination;
        assert_eq!(side.balance_before.map(|money| money.to_string()).as_deref(), Some("100"));
        assert_eq!(side.balance_after.map(|money| money.to_string()).as_deref(), Some("100.5"));
        assert_eq!((side.movement.to_string(), side.version.is_some()), ("0.5".to_owned(), true));
        let side = &result.source;
        assert_eq!((side.balance_before, side.balance_after, side.version), (None, None, None));
        assert_eq!((side.account_id.as_str(), side.movement.to_string()), ("world", "-0.5".to_owned()));
        assert_eq!(result.position.as_ref().map(Vec::len), Some(1), "one outcome, thanks to stripes");
        assert_eq!(TransactionId::parse(&result.transaction_id).map(|id| id.shard(SHARDS)), Some(number as u32));

        let result = running.transact(withdraw("out", id, "world", "20.5")).await;
        assert_eq!((result.kind.as_str(), result.status.as_str()), ("withdraw", "completed"));
        assert_eq!(result.source.movement.to_string(), "-20.5");
        assert_eq!(result.destination.balance_after, None);
    }
    assert_eq!(running.balance("world").await, "-800");
    running.quiet().await;
}

#[tokio::test]
async fn transfers_from_every_shard_to_every_shard() {
    let running = Bed::new().start_alone().await;
    let users = ten_users(&running).await;
    for from in &users {
        for to in &users {
            let result = running.answered(transfer(&format!("to-{to}"), from, to, "1.25")).await;
            if from == to {
                assert_eq!(rejection(&result), Some(Rejection::SameAccount));
                continue;
            }
            let result = result.transaction.expect("final");
            assert_eq!(result.status, "completed");
            assert_eq!(result.source.movement.to_string(), "-1.25");
            assert_eq!(result.destination.movement.to_string(), "1.25");
            assert!(result.destination.balance_after.is_some(), "levels of the other shard are shown");
            assert!(result.completed_at.is_some());
            assert!(result.position.expect("positions").len() >= 2);
        }
    }
    for id in &users {
        assert_eq!(running.balance(id).await, "100");
    }
    running.quiet().await;
}

#[tokio::test]
async fn limited_external_accounts_live_on_one_shard() {
    let running = Bed::new().start_alone().await;
    let users = ten_users(&running).await;
    let limits = Limits { min: Some(money("-30")), max: Some(money("40")) };
    let card = on_shard(7, "card");
    running.create(command(Body::CreateAccount(new_account(&card, AccountType::External, limits)))).await;
    // From the card to shard 2: a saga.
    let result = running.transact(topup("a", &card, &users[2], "25")).await;
    assert_eq!(result.status, "completed");
    assert_eq!(running.balance(&card).await, "-25");
    let refused = running.answered(topup("b", &card, &users[2], "5.01")).await;
    assert_eq!(rejection(&refused), Some(Rejection::InsufficientBalance));
    let result = refused.transaction.expect("kept under its key");
    assert_eq!((result.status.as_str(), result.error_code.as_deref()), ("failed", Some("InsufficientBalance")));
    for side in [&result.source, &result.destination] {
        assert_eq!((side.movement.to_string(), side.balance_before, side.balance_after), ("0".to_owned(), None, None));
    }
    let refused = running.answered(withdraw("c", &users[2], &card, "65.01")).await;
    assert_eq!(rejection(&refused), Some(Rejection::BalanceLimitExceeded));
    assert_eq!(running.balance(&users[2]).await, "125", "what was set aside is back");
    let balance = running.ledger.view().balance(&users[2]).expect("there");
    assert_eq!((balance.reserved.to_string(), balance.available.to_string()), ("0".to_owned(), "125".to_owned()));
    running.quiet().await;
}

#[tokio::test]
async fn refunds_go_back_in_parts_and_never_too_far() {
    let running = Bed::new().start_alone().await;
    let users = ten_users(&running).await;
    let original = running.transact(transfer("pay", &users[1], &users[8], "40")).await.transaction_id;
    let part = running.transact(refund(&running, "r1", &original, Some("15"))).await;
    assert_eq!(
        (part.kind.as_str(), part.status.as_str(), part.amount.to_string()),
        ("refund", "completed", "15".to_owned())
    );
    assert_eq!((part.source.account_id.as_str(), part.destination.account_id.as_str()), (&*users[8], &*users[1]));
    assert_eq!(part.original_transaction_id.as_deref(), Some(&*original));
    let too_much = running.answered(refund(&running, "r2", &original, Some("25.01"))).await;
    assert_eq!(rejection(&too_much), Some(Rejection::RefundExceedsOriginal));
    let rest = running.transact(refund(&running, "r3", &original, None)).await;
    assert_eq!(rest.amount.to_string(), "25");
    let nothing = running.answered(refund(&running, "r4", &original, None)).await;
    assert_eq!(rejection(&nothing), Some(Rejection::RefundExceedsOriginal));
    let of_a_refund = running.answered(refund(&running, "r5", &part.transaction_id, None)).await;
    assert_eq!(rejection(&of_a_refund), Some(Rejection::NotRefundable));
    let of_nothing = running.answered(refund(&running, "r6", "no-such-transaction", None)).await;
    assert_eq!(rejection(&of_nothing), Some(Rejection::OriginalNotFound));
    // Of a topup: decided by the user, credited to a stripe.
    let paid_in = running.transact(topup("in", "world", &users[3], "5")).await.transaction_id;
    assert_eq!(running.transact(refund(&running, "r7", &paid_in, None)).await.status, "completed");
    for id in [&users[1], &users[8], &users[3]] {
        assert_eq!(running.balance(id).await, "100");
    }
    running.quiet().await;
}

#[tokio::test]
async fn accounts_are_frozen_limited_and_closed() {
    let running = Bed::new().start_alone().await;
    let users = ten_users(&running).await;
    let again = running.answered(user(&users[0])).await;
    assert_eq!(rejection(&again), Some(Rejection::AccountExists));
    let mut asked = change(&users[0]);
    asked.status = Some(Status::Frozen);
    asked.max = LimitChange::Set(money("1000"));
    let changed = running.answered(command(Body::ChangeAccount(asked))).await.account.expect("the account");
    assert_eq!(
        (changed.status.as_str(), changed.max_balance.map(|m| m.to_string()).as_deref()),
        ("FROZEN", Some("1000"))
    );
    let refused = running.answered(topup("frozen", "world", &users[0], "1")).await;
    assert_eq!(rejection(&refused), Some(Rejection::AccountFrozen));
    let refused = running.answered(transfer("frozen", &users[4], &users[0], "1")).await;
    assert_eq!(rejection(&refused), Some(Rejection::AccountFrozen), "found out by another shard");
    // A shared account has a stripe everywhere, and all of them close.
    running.create(external("till")).await;
    let mut asked = change("till");
    asked.status = Some(Status::Closed);
    let closed = running.answered(command(Body::ChangeAccount(asked))).await.account.expect("the account");
    assert_eq!(closed.status, "CLOSED");
    for (number, id) in users.iter().enumerate().skip(1) {
        let refused = running.answered(topup(&format!("closed-{number}"), "till", id, "1")).await;
        assert_eq!(rejection(&refused), Some(Rejection::AccountClosed));
    }
    running.quiet().await;
}

#[tokio::test]
async fn a_creation_is_answered_the_same_however_often_it_is_asked_for() {
    let running = Bed::new().start_alone().await;
    running.create(external("world")).await;
    for (id, account_type) in [("keyed", AccountType::User), ("keyed-striped", AccountType::External)] {
        let mut asked = new_account(id, account_type, Limits::default());
        asked.key = Some("creation".into());
        asked.metadata = Some(r#"{"tier":"gold"}"#.into());
        let first = running.answered(command(Body::CreateAccount(asked.clone()))).await;
        assert!(matches!(first.answer, Answer::Account { replay: false, .. }));
        if account_type == AccountType::User {
            running.transact(topup("later", "world", id, "3")).await;
        }
        let again = running.answered(command(Body::CreateAccount(asked))).await;
        assert!(matches!(again.answer, Answer::Account { replay: true, .. }), "{:?}", again.answer);
        assert_eq!(again.account, first.account);
        assert_eq!(first.account.expect("shown").version, 1);
    }
}

#[tokio::test]
async fn concurrent_duplicates_of_one_key_have_one_effect_and_one_answer() {
    let running = Arc::new(Bed::new().start_alone().await);
    let users = ten_users(&running).await;
    // Within a shard, across shards, and refused.
    for (round, (from, to, how_much)) in
        [("world", &users[1], "7"), (&users[1], &users[6], "7"), (&users[1], &users[6], "1000")].into_iter().enumerate()
    {
        let key = format!("dup-{round}");
        let make =
            || if from == "world" { topup(&key, from, to, how_much) } else { transfer(&key, from, to, how_much) };
        let answers = join_all((0..40).map(|_| running.answered(make()))).await;
        let first = answers.iter().filter(|answered| matches!(answered.answer, Answer::Final { replay: false, .. }));
        assert_eq!(first.count(), 1, "one is the first, all others repeat it");
        let results: Vec<_> = answers.iter().map(|answered| answered.transaction.clone().expect("final")).collect();
        assert!(results.iter().all(|result| *result == results[0]), "the same answer for all");
    }
    assert_eq!(running.balance(&users[1]).await, "100");
    assert_eq!(running.balance(&users[6]).await, "107");
    running.quiet().await;
}

#[tokio::test]
async fn another_request_under_a_used_key_is_refused_and_leaves_no_trace() {
    let running = Bed::new().start_alone().await;
    let users = ten_users(&running).await;
    let first = running.transact(transfer("key", &users[2], &users[5], "10")).await;
    let (same, other) = futures_util::join!(
        running.answered(transfer("key", &users[2], &users[5], "10.00")),
        running.answered(transfer("key", &users[2], &users[5], "11")),
    );
    assert!(matches!(same.answer, Answer::Final { replay: true, .. }));
    assert_eq!(same.transaction.as_ref(), Some(&first));
    assert_eq!(rejection(&other), Some(Rejection::DuplicateKey));
    assert_eq!(other.transaction, Some(first), "it names what holds the key");
    assert_eq!(running.balance(&users[2]).await, "90");
    let history = history(running.ledger.view(), &users[2], None, 100, Default::default()).expect("there");
    assert_eq!(history.transactions.len(), 2);
}

#[tokio::test]
async fn a_transaction_is_found_by_the_id_of_the_other_system() {
    let running = Bed::new().start_alone().await;
    let users = ten_users(&running).await;
    let mut with_alias = transfer("leg", &users[2], &users[5], "10");
    with_alias.alias = Some("L-17".into());
    let result = running.transact(with_alias).await;
    assert_eq!(running.ledger.view().transaction("L-17"), Some(result));
    let later = running.transact(transfer("engine-first", &users[2], &users[5], "10")).await;
    let id = TransactionId::parse(&later.transaction_id).expect("ours");
    let aliases = vec![Alias { transaction: id, alias: "L-18".into() }];
    let noted = running.answered(command(Body::Aliases(aliases))).await;
    assert!(matches!(noted.answer, Answer::Noted { .. }));
    assert_eq!(running.ledger.view().transaction("L-18"), Some(later));
    assert_eq!(running.ledger.view().transaction("L-19"), None);
    let back = running.transact(refund(&running, "back", "L-18", None)).await;
    assert_eq!(back.original_transaction_id, Some(id.to_string()));
}
