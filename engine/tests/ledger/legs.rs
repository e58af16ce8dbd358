//! What the view shows under a key that one system refused and the other one used.

use crate::support::*;
use engine::view::{ByKey, HistoryFilter};
use engine_domain::command::{CreateAccount, LimitChange};
use engine_domain::{AccountType, Answer, Body, Command, Limits, Mode, Rejection};

fn leg(mode: Mode, command: Command) -> Command {
    Command { mode, ..command }
}

/// What the view shows under the key `k`: status and amount by key and by id, and once more in each history.
fn shown(running: &Running, accounts: [&str; 2]) -> (String, String) {
    let view = running.ledger.view();
    let ByKey::One(by_key) = view.by_key("", "k", None) else { panic!("one transaction has the key") };
    let by_id = view.transaction(&by_key.transaction_id).expect("there by its id too");
    assert_eq!(by_id, *by_key);
    for account in accounts {
        let history = history(view, account, None, 10, HistoryFilter::default()).expect("there").transactions;
        let under_key: Vec<_> = history.into_iter().filter(|result| result.tracking_id == "k").collect();
        assert_eq!(under_key, std::slice::from_ref(&by_id));
    }
    (by_id.status, by_id.amount.to_string())
}

#[tokio::test]
async fn a_leg_that_is_not_kept_leaves_the_first_refusal_shown() {
    let running = Bed::new().start_alone().await;
    running.create(external("world")).await;
    let (alice, bob) = (on_shard(0, "alice"), on_shard(1, "bob"));
    running.create(user(&alice)).await;
    let full = Limits { min: None, max: Some(money("1")) };
    running.create(command(Body::CreateAccount(new_account(&bob, AccountType::User, full)))).await;
    running.transact(topup("first", "world", &alice, "10")).await;
    let refused = running.answered(transfer("k", &alice, &bob, "40")).await;
    assert_eq!(rejection(&refused), Some(Rejection::InsufficientBalance));
    let sides = [alice.as_str(), bob.as_str()];
    assert_eq!(shown(&running, sides), ("failed".to_owned(), "40".to_owned()));
    for _ in 0..2 {
        // Bob's shard says no, after a while.
        let answered = running.answered(leg(Mode::Shadow, transfer("k", &alice, &bob, "4"))).await;
        assert!(matches!(answered.answer, Answer::Refused { rejection: Rejection::BalanceLimitExceeded, .. }));
        assert_eq!(shown(&running, sides), ("failed".to_owned(), "40".to_owned()));
    }
    let mut wider = change(&bob);
    wider.max = LimitChange::Remove;
    running.answered(command(Body::ChangeAccount(wider))).await;
    running.transact(leg(Mode::Shadow, transfer("k", &alice, &bob, "4"))).await;
    assert_eq!(shown(&running, sides), ("completed".to_owned(), "4".to_owned()));
    running.quiet().await;
}

#[tokio::test]
async fn an_account_made_under_a_key_hides_the_refusal_that_had_it() {
    let running = Bed::new().start_alone().await;
    running.create(external("world")).await;
    let carol = on_shard(2, "carol");
    let refused = running.answered(withdraw("k", &carol, "world", "1")).await;
    assert_eq!(rejection(&refused), Some(Rejection::AccountNotFound));
    let id = refused.transaction.expect("kept").transaction_id;
    assert!(running.ledger.view().transaction(&id).is_some());
    let made = CreateAccount { key: Some("k".into()), ..new_account(&carol, AccountType::User, Limits::default()) };
    running.create(leg(Mode::Shadow, command(Body::CreateAccount(made)))).await;
    assert_eq!(running.ledger.view().transaction(&id), None);
    assert_eq!(running.ledger.view().by_key("", "k", None), ByKey::Absent);
}
