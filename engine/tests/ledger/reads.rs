//! What the view shows: linearizably, page by page, at a time.

use crate::support::*;
use engine::view::read_model::ReadModel;
use engine::view::{ByKey, HistoryFilter, Status};
use engine_domain::{Body, Kind, Limits, Rejection, Timestamp};
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::billing::TransactionPage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_shows_every_answered_write_to_every_reader() {
    let bed = Bed::new();
    let writer = Arc::new(bed.start().await);
    // Another process, as far as the ledger can tell: its own view, its own owners.
    let reader = Arc::new(bed.start().await);
    writer.create(external("world")).await;
    let tasks = (0..SHARDS).map(|shard| {
        let (writer, reader) = (Arc::clone(&writer), Arc::clone(&reader));
        tokio::spawn(async move {
            let id = on_shard(shard, "user");
            writer.create(user(&id)).await;
            for round in 1..=20 {
                let result = writer.transact(topup(&format!("k{round}"), "world", &id, "1")).await;
                let deadline = host::clock::now() + ANSWER;
                let position = reader.ledger.read_barrier(&[shard], deadline).await.expect("it catches up");
                let seen = reader.ledger.view().balance(&id).expect("there").balance.to_string();
                assert_eq!(seen, round.to_string(), "answered before, so it has to be seen");
                assert!(reader.ledger.view().transaction(&result.transaction_id).is_some());
                let decided: u64 =
                    result.position.expect("ours")[0].split(':').nth(1).expect("an offset").parse().expect("a number");
                assert!(position[0].shard == shard && position[0].offset >= decided);
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("no reader misses a write");
    }
    writer.quiet().await;
}

#[tokio::test]
async fn what_is_absent_behind_the_settled_barrier_is_absent() {
    let bed = Bed::new();
    let running = bed.start().await;
    running.create(external("world")).await;
    let id = on_shard(4, "user");
    running.create(user(&id)).await;
    for round in 0..30 {
        let key = format!("k{round}");
        let deadline = host::clock::now() + ANSWER;
        // In the log, but nobody waited for the outcome.
        running.ledger.submit_only(topup(&key, "world", &id, "1"), deadline).await;
        running.ledger.settled_barrier(&[4], deadline).await.expect("it catches up");
        assert!(matches!(running.ledger.view().by_key("", &key, Some(&id)), ByKey::One(_)));
    }
    assert_eq!(running.ledger.view().by_key("", "never", None), ByKey::Absent);
    assert_eq!(running.ledger.view().by_key("other tenant", "k1", None), ByKey::Absent);
}

#[tokio::test]
async fn a_key_of_several_accounts_is_ambiguous_unless_one_is_named() {
    let bed = Bed::new();
    let running = bed.start().await;
    running.create(external("world")).await;
    let ids = [on_shard(1, "user"), on_shard(2, "user")];
    for id in &ids {
        running.create(user(id)).await;
        running.transact(topup("shared", "world", id, "1")).await;
    }
    let view = running.ledger.view();
    assert_eq!(view.by_key("", "shared", None), ByKey::Ambiguous);
    for id in &ids {
        let ByKey::One(found) = view.by_key("", "shared", Some(id)) else { panic!("{id} has used the key") };
        assert_eq!(found.destination.account_id, *id);
    }
    assert_eq!(view.by_key("", "shared", Some("world")), ByKey::Absent, "the deciding account has to be named");
}

/// All pages, by the cursors.
fn pages(mut page: impl FnMut(Option<&str>) -> TransactionPage) -> Vec<TransactionPage> {
    let mut pages: Vec<TransactionPage> = Vec::new();
    loop {
        let next = pages.last().and_then(|page| page.next.clone());
        if !pages.is_empty() && next.is_none() {
            return pages;
        }
        pages.push(page(next.as_deref()));
        assert!(pages.len() < 1_000, "the pages come to an end");
    }
}

fn keys(pages: &[TransactionPage]) -> Vec<&str> {
    pages.iter().flat_map(|page| &page.transactions).map(|result| &*result.tracking_id).collect()
}

/// Twenty transactions of one user with everybody, `t0` to `t19`; every fifth is refused.
async fn twenty(running: &Running) -> String {
    running.create(external("world")).await;
    let id = on_shard(3, "user");
    running.create(user(&id)).await;
    for shard in 0..SHARDS {
        running.create(user(&on_shard(shard, "other"))).await;
    }
    for number in 0..20 {
        let (key, other) = (format!("t{number}"), on_shard(number % SHARDS, "other"));
        match number {
            _ if number % 5 == 4 => {
                let refused = running.answered(transfer(&key, &other, &id, "1000")).await;
                assert_eq!(rejection(&refused), Some(Rejection::InsufficientBalance));
            }
            _ if number % 2 == 0 => drop(running.transact(topup(&key, "world", &id, "10")).await),
            _ => drop(running.transact(transfer(&key, &id, &other, "1")).await),
        }
    }
    id
}

#[tokio::test]
async fn a_history_is_newest_first_whatever_the_page() {
    let bed = Bed::new();
    let running = bed.start().await;
    let id = twenty(&running).await;
    let view = running.ledger.view();
    let all = |limit: usize, filter: HistoryFilter| {
        pages(|before| {
            let before = before.map(|text| view.cursor(text).expect("our own cursor"));
            history(view, &id, before.as_ref(), limit, filter).expect("the account is there")
        })
    };
    let newest_first: Vec<String> = (0..20).rev().map(|number| format!("t{number}")).collect();
    for limit in [1, 3, 7, 20, 1000] {
        let pages = all(limit, HistoryFilter::default());
        assert_eq!(keys(&pages), newest_first, "limit {limit}");
        assert!(pages.iter().rev().skip(1).all(|page| page.transactions.len() == limit), "full but the last");
        assert!(!pages.last().expect("one at least").transactions.is_empty(), "no empty page at the end");
    }
    let failed = all(2, HistoryFilter { status: Some(Status::Failed), kind: None });
    assert_eq!(keys(&failed), ["t19", "t14", "t9", "t4"]);
    let paid_in = all(4, HistoryFilter { status: None, kind: Some(Kind::Topup) });
    assert_eq!(keys(&paid_in), ["t18", "t16", "t12", "t10", "t8", "t6", "t2", "t0"]);
    assert_eq!(history(view, "nobody", None, 10, HistoryFilter::default()), None);
    // What is written between two pages does not shift them.
    let first = history(view, &id, None, 5, HistoryFilter::default()).expect("there");
    running.transact(topup("in-between", "world", &id, "1")).await;
    let cursor = view.cursor(first.next.as_deref().expect("more")).expect("a cursor");
    let second = history(view, &id, Some(&cursor), 5, HistoryFilter::default()).expect("there");
    assert_eq!(keys(&[second]), ["t14", "t13", "t12", "t11", "t10"]);
}

#[tokio::test]
async fn the_list_of_all_transactions_is_oldest_first_and_misses_none() {
    let bed = Bed::new();
    let running = bed.start().await;
    twenty(&running).await;
    let view = running.ledger.view();
    let list = |since, limit| {
        pages(|after| {
            let after = after.map(|text| view.cursor(text).expect("our own cursor"));
            view.transactions(since, after.as_ref(), limit)
        })
    };
    for limit in [1, 6, 100] {
        let pages = list(None, limit);
        assert_eq!(keys(&pages), (0..20).map(|number| format!("t{number}")).collect::<Vec<_>>(), "limit {limit}");
    }
    let since = list(None, 100)[0].transactions[12].created_at;
    assert_eq!(
        keys(&list(Some(Timestamp(since.0)), 3)),
        (12..20).map(|number| format!("t{number}")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn accounts_are_listed_in_order_each_once() {
    let bed = Bed::new();
    let running = bed.start().await;
    twenty(&running).await;
    let view = running.ledger.view();
    let all = view.accounts(None, 1000);
    assert_eq!(all.next, None);
    let ids: Vec<&str> = all.accounts.iter().map(|account| &*account.account_id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert_eq!(ids.len(), 13, "the user, ten others, the world and what is in transit");
    let transit = all.accounts.iter().find(|account| account.account_id == "in-transit:EUR").expect("listed");
    assert_eq!((transit.account_type.as_str(), transit.balance.to_string()), ("SYSTEM", "0".to_owned()));
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = view.accounts(after.as_deref(), 5);
        paged.extend(page.accounts.into_iter().map(|account| account.account_id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, ids);
    running.quiet().await;
}

#[tokio::test]
async fn a_balance_is_shown_as_it_was() {
    let bed = Bed::new();
    let running = bed.start().await;
    running.create(external("world")).await;
    let id = on_shard(6, "user");
    running.create(user(&id)).await;
    let mut then = Vec::new();
    for round in 1..=5 {
        let result = running.transact(topup(&format!("k{round}"), "world", &id, "2")).await;
        then.push((result.completed_at.expect("completed"), (2 * round).to_string()));
    }
    let view = running.ledger.view();
    let created_at = view.account(&id).expect("there").created_at;
    let balance_at = |id: &str, at: wire::scalar::Timestamp| {
        let id = account(id);
        let shards = view.shards_of(&id)?;
        let stood = view.standings_at(&id, &shards, Timestamp(at.0)).now_or_never()?.expect("it is in memory");
        view.balance_of(&id, &stood, at).map(|balance| balance.balance.to_string())
    };
    assert_eq!(balance_at(&id, wire::scalar::Timestamp(created_at.0 - 1)), None, "not there yet");
    assert_eq!(balance_at(&id, created_at).as_deref(), Some("0"));
    for (at, expected) in then {
        assert_eq!(balance_at(&id, at), Some(expected.clone()));
        assert_eq!(balance_at("world", at), Some(format!("-{expected}")), "stripes as well");
        let before: u64 = expected.parse().expect("whole");
        assert_eq!(balance_at(&id, wire::scalar::Timestamp(at.0 - 1)), Some((before - 2).to_string()));
    }
    assert_eq!(balance_at("nobody", created_at), None);
}

#[tokio::test]
async fn the_audit_trail_is_complete_and_in_order() {
    let bed = Bed::new();
    let running = bed.start().await;
    let id = twenty(&running).await;
    let mut asked = change(&id);
    asked.max = engine_domain::command::LimitChange::Set(money("5000"));
    running.answered(command(Body::ChangeAccount(asked))).await;
    for (account, striped) in [(&*id, false), ("world", true)] {
        let mut events = Vec::new();
        let mut from = Some(0);
        while let Some(version) = from {
            let page = running.ledger.account_events(account, version, 4).await.expect("readable").expect("there");
            assert!(!page.events.is_empty());
            from = page.next;
            events.extend(page.events);
        }
        let whole = running.ledger.account_events(account, 0, 1000).await.expect("readable").expect("there");
        assert_eq!(whole.events, events, "paging changes nothing");
        assert_eq!(whole.next, None);
        let ids: BTreeSet<&str> = events.iter().map(|event| &*event.event_id).collect();
        assert_eq!(ids.len(), events.len(), "every event has an id of its own");
        let aggregates: BTreeSet<&str> = events.iter().map(|event| &*event.aggregate_id).collect();
        assert_eq!(aggregates.len(), if striped { 10 } else { 1 });
        for aggregate in aggregates {
            let versions = events.iter().filter(|event| event.aggregate_id == aggregate);
            let versions: Vec<u64> = versions.map(|event| event.aggregate_version).collect();
            assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "{aggregate}: no version is missing");
        }
        // The trail alone gives the balance.
        let changes = events.iter().filter(|event| event.event_type == "BalanceChanged");
        let number = |event: &wire::billing::AccountEvent, field: &str| {
            event.data[field].as_str().expect("text").parse::<wire::scalar::Money>().expect("money").0
        };
        let sum = changes.fold(Default::default(), |sum, event| {
            sum + number(event, "balanceAfter") - number(event, "balanceBefore")
        });
        assert_eq!(wire::scalar::Money(sum).to_string(), running.balance(account).await);
    }
    let first = running.ledger.account_events(&id, 0, 1).await.expect("readable").expect("there");
    assert_eq!((first.events[0].event_type.as_str(), first.events[0].actor_id.as_str()), ("AccountCreated", "tester"));
    assert_eq!(running.ledger.account_events("nobody", 0, 1).await, Ok(None));
}

#[tokio::test]
async fn a_refusal_is_in_the_histories_of_the_accounts_that_were_there() {
    let bed = Bed::new();
    let running = bed.start().await;
    let (from, to) = (on_shard(0, "from"), on_shard(9, "to"));
    running.create(user(&from)).await;
    let refused = running.answered(transfer("k", &from, &to, "1")).await;
    assert!(rejection(&refused).is_some());
    let limits = Limits::default();
    running.create(command(Body::CreateAccount(new_account(&to, engine_domain::AccountType::User, limits)))).await;
    let refused = running.answered(transfer("l", &from, &to, "1")).await;
    assert_eq!(rejection(&refused), Some(Rejection::InsufficientBalance));
    let view = running.ledger.view();
    let shown = |id: &str| history(view, id, None, 10, HistoryFilter::default()).expect("there");
    assert_eq!(keys(&[shown(&from)]), ["l", "k"]);
    assert_eq!(keys(&[shown(&to)]), ["l"], "not what was refused before the account was made");
}
