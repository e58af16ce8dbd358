//! What dies in the middle: a restart finds it in the log and brings it to its end, once.

use crate::faulty::Fate;
use crate::support::*;
use engine::ledger::Submitted;
use engine::view::ByKey;
use engine_domain::{AccountType, Answer, Body, Limits};
use eventlog::{Log, NewRecord};
use futures_util::future::join_all;
use std::collections::HashMap;
use std::time::Duration;
use wire::journal::{COMMANDS, JOURNAL};

#[tokio::test]
async fn a_transfer_cut_off_at_any_message_completes_after_a_restart() {
    // Which append dies: the step's command on the other shard, its outcome there, the answer's command at home,
    // the last outcome at home.
    for (topic, partition, nth) in [(COMMANDS, 5, 1), (JOURNAL, 5, 1), (COMMANDS, 2, 2), (JOURNAL, 2, 2)] {
        let bed = Bed::new();
        let running = bed.start().await;
        let (from, to) = payer_and_payee(&running).await;
        let mut seen = 0;
        running.log.rule(move |at, number, _| {
            if (at, number) == (topic, partition) {
                seen += 1;
            }
            if seen >= nth && (at, number) == (topic, partition) { Fate::Hold } else { Fate::Pass }
        });
        pending(&running, transfer("t", &from, &to, "30")).await;
        saga_waits_for(&running, 5).await;
        running.kill().await;

        let running = bed.start().await;
        running.quiet().await;
        let ByKey::One(result) = running.ledger.view().by_key("", "t", Some(&from)) else { panic!("it is there") };
        assert_eq!(result.status, "completed", "{topic}/{partition} died");
        assert_eq!((running.balance(&from).await, running.balance(&to).await), ("70".to_owned(), "30".to_owned()));
        let again = running.answered(transfer("t", &from, &to, "30")).await;
        assert!(matches!(again.answer, Answer::Final { replay: true, .. }));
        assert_eq!(again.transaction, Some(*result));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_transfer_that_the_other_side_refuses_is_undone_after_a_restart() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (from, _) = payer_and_payee(&running).await;
    let limits = Limits { min: None, max: Some(money("10")) };
    let small = on_shard(8, "small");
    running.create(command(Body::CreateAccount(new_account(&small, AccountType::User, limits)))).await;
    running.log.rule(|topic, partition, _| if (topic, partition) == (JOURNAL, 8) { Fate::Hold } else { Fate::Pass });
    pending(&running, transfer("t", &from, &small, "30")).await;
    saga_waits_for(&running, 8).await;
    running.kill().await;
    let running = bed.start().await;
    running.quiet().await;
    let ByKey::One(result) = running.ledger.view().by_key("", "t", Some(&from)) else { panic!("it is there") };
    assert_eq!(result.error_code.as_deref(), Some("BalanceLimitExceeded"));
    assert_eq!((running.balance(&from).await, running.balance(&small).await), ("100".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn what_was_appended_is_decided_by_whoever_comes_next() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (from, to) = payer_and_payee(&running).await;
    running.kill().await;
    // The process died between the command's append and the outcome's: all that is left is the command.
    let orphan = engine::codec::encode_command(&transfer("orphan", &from, &to, "1"));
    bed.log.append(COMMANDS, 2, vec![NewRecord::of(orphan)]).await.expect("appended");
    let running = bed.start().await;
    running.quiet().await;
    assert!(matches!(running.ledger.view().by_key("", "orphan", None), ByKey::One(_)));
    assert_eq!(running.balance(&to).await, "1");
}

#[tokio::test]
async fn a_restart_shows_exactly_what_was_shown_before() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (from, to) = payer_and_payee(&running).await;
    for number in 0..20 {
        running.answered(transfer(&format!("t{number}"), &from, &to, "7")).await;
        running.answered(withdraw(&format!("w{number}"), &to, "world", "3.5")).await;
    }
    running.quiet().await;
    let everything = |running: &Running| {
        let view = running.ledger.view();
        (view.accounts(None, 1000), view.transactions(None, None, 1000), view.recount())
    };
    let before = everything(&running);
    assert!(before.1.transactions.iter().any(|result| result.status == "failed"));
    running.stop().await;
    let running = bed.start().await;
    assert_eq!(everything(&running), before);
}

#[tokio::test]
async fn lost_follow_ups_are_sent_again() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (from, to) = payer_and_payee(&running).await;
    // The first two attempts to reach the other shard, and the first answer, get lost.
    let (mut there, mut back) = (0, 0);
    running.log.rule(move |topic, partition, _| match (topic, partition) {
        (COMMANDS, 5) => {
            there += 1;
            if there <= 2 { Fate::Lose } else { Fate::Pass }
        }
        (COMMANDS, 2) => {
            back += 1;
            // The first is the client's own command.
            if back == 2 { Fate::Lose } else { Fate::Pass }
        }
        _ => Fate::Pass,
    });
    let result = running.transact(transfer("t", &from, &to, "30")).await;
    assert_eq!(result.status, "completed");
    running.quiet().await;
    assert_eq!(running.balance(&to).await, "30", "asked several times, done once");
}

#[tokio::test]
async fn an_append_that_certainly_failed_is_told_and_leaves_nothing() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (from, to) = payer_and_payee(&running).await;
    running.log.rule(|topic, _, _| if topic == COMMANDS { Fate::Refuse } else { Fate::Pass });
    let submitted = running.submit(transfer("t", &from, &to, "30")).await;
    assert!(matches!(submitted, Submitted::NotAppended(_)), "{submitted:?}");
    running.log.rule(|_, _, _| Fate::Pass);
    running.settle().await;
    assert_eq!(running.ledger.view().by_key("", "t", None), ByKey::Absent);
    assert_eq!(running.transact(transfer("t", &from, &to, "30")).await.status, "completed");
}

#[tokio::test]
async fn a_command_that_is_perhaps_in_the_log_is_answered_if_it_is() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (from, to) = payer_and_payee(&running).await;
    running.log.rule(|topic, _, _| if topic == COMMANDS { Fate::Hide } else { Fate::Pass });
    assert_eq!(running.transact(transfer("t", &from, &to, "30")).await.status, "completed");
    running.log.rule(|topic, _, _| if topic == COMMANDS { Fate::Lose } else { Fate::Pass });
    pending(&running, transfer("u", &from, &to, "30")).await;
    running.log.rule(|_, _, _| Fate::Pass);
    assert_eq!(running.balance(&to).await, "30");
}

/// Appends fail in every way, the process dies again and again, clients repeat what was not answered: every key has
/// one effect, and no cent is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_has_one_effect_whatever_fails() {
    let seed = host::random::u64();
    println!("seed {seed}: fastrand::Rng::with_seed({seed})");
    let mut random = fastrand::Rng::with_seed(seed);
    let bed = Bed::new();
    let mut running = bed.start().await;
    running.create(external("world")).await;
    let users: Vec<String> = (0..SHARDS).map(|shard| on_shard(shard, "user")).collect();
    let mut expected: HashMap<String, i64> = HashMap::new();
    for id in &users {
        running.create(user(id)).await;
        running.transact(topup("first", "world", id, "1000")).await;
        expected.insert(id.clone(), 1000);
    }
    let mut open: Vec<(String, usize, usize, i64)> = (0..240)
        .map(|number| (format!("k{number}"), random.usize(0..10), random.usize(0..10), random.i64(1..200)))
        .filter(|(_, from, to, _)| from != to)
        .collect();
    let mut results = HashMap::new();
    for life in 0.. {
        assert!(life < 200, "it comes to an end");
        let mut faults = random.fork();
        // The later, the fewer: towards the end everything comes through.
        let share = 0.3_f64.min(0.3 * f64::from(20_i32.saturating_sub(life).max(0)) / 20.0);
        running.log.rule(move |_, _, _| match faults.f64() {
            chance if chance > share => Fate::Pass,
            _ => faults.choice([Fate::Refuse, Fate::Lose, Fate::Hide, Fate::Delay]).expect("four"),
        });
        let batch: Vec<_> = open.iter().take(40).cloned().collect();
        let deadline = host::clock::now() + Duration::from_millis(150);
        let asked = batch.iter().map(|(key, from, to, how_much)| {
            running.ledger.submit(transfer(key, &users[*from], &users[*to], &how_much.to_string()), deadline)
        });
        for ((key, from, to, how_much), submitted) in batch.iter().zip(join_all(asked).await) {
            let Submitted::Answered(answered) = submitted else { continue };
            let result = answered.transaction.expect("final");
            if result.status == "completed" {
                *expected.get_mut(&users[*from]).expect("a user") -= how_much;
                *expected.get_mut(&users[*to]).expect("a user") += how_much;
            }
            results.insert(key.clone(), result);
            open.retain(|(other, ..)| other != key);
        }
        if open.is_empty() {
            break;
        }
        if random.bool() {
            running.kill().await;
            running = bed.start().await;
        }
    }
    running.log.rule(|_, _, _| Fate::Pass);
    running.quiet().await;
    for (key, result) in &results {
        let now = running.ledger.view().transaction(&result.transaction_id);
        assert_eq!(now.as_ref(), Some(result), "seed {seed}: {key} was answered differently before");
    }
    for (id, balance) in &expected {
        assert_eq!(running.balance(id).await, balance.to_string(), "seed {seed}: {id}");
    }
    // Whoever folds the journal anew sees the same.
    let accounts = running.ledger.view().accounts(None, 1000);
    running.stop().await;
    let again = bed.start().await;
    assert_eq!(again.ledger.view().accounts(None, 1000), accounts, "seed {seed}");
}
