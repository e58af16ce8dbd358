//! Keys: what a retry meets.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{CreateAccount, Move, MoveKind};
use engine_domain::{AccountId, AccountType, Answer, Body, Mode, Rejection, Status, TransactionId};

fn with_alice_and_bob(shards: u32) -> (Cluster, AccountId, AccountId) {
    let mut cluster = Cluster::new(shards);
    let (alice, bob) = (id_on("alice", 0, shards), id_on("bob", shards - 1, shards));
    for account in [&alice, &bob] {
        cluster.create(new_account(account, AccountType::User, Limits::default()));
        cluster.fund(account, money("10"));
    }
    (cluster, alice, bob)
}

#[test]
fn the_same_request_again_changes_nothing() {
    for shards in [1, 3] {
        let (mut cluster, alice, bob) = with_alice_and_bob(shards);
        for (key, sum) in [("done", "4"), ("refused", "40")] {
            let request = a_move(MoveKind::Transfer, key, &alice, &bob, sum);
            let first = cluster.ask_move(request.clone());
            let from = cluster.journal.len();
            // By value: 4 and 4.000 are the same amount.
            let same = Move { amount: amount(&format!("{sum}.000")), ..request };
            let again = cluster.ask_move(same);
            assert_eq!((&again.code, &again.sides, again.replay), (&first.code, &first.sides, true));
            assert_eq!(cluster.journal.len(), from + 1);
            assert!(cluster.names_since(from).is_empty());
        }
    }
}

#[test]
fn a_key_stands_for_everything_the_client_sent() {
    let (mut cluster, alice, bob) = with_alice_and_bob(3);
    let request = Move {
        reference: Some("rent".into()),
        metadata: Some("{}".into()),
        ..a_move(MoveKind::Transfer, "key", &alice, &bob, "4")
    };
    assert_eq!(cluster.ask_move(request.clone()).code, None);
    let others = [
        Move { kind: MoveKind::Withdraw, ..request.clone() },
        Move { destination: id("carol"), ..request.clone() },
        Move { amount: amount("4.1"), ..request.clone() },
        Move { currency: currency("USD"), ..request.clone() },
        Move { reference: None, ..request.clone() },
        Move { reference: Some("".into()), ..request.clone() },
        Move { metadata: Some("[]".into()), ..request.clone() },
    ];
    let from = cluster.journal.len();
    for other in others {
        let answer = cluster.ask_as(Mode::Authority, Body::Move(other.clone()));
        match answer {
            Answer::Refused { transaction, rejection: Rejection::DuplicateKey, .. } => {
                assert_eq!(transaction, Some(transaction_of(&request)), "the refusal names what the key stands for");
            }
            answer => panic!("{other:?}: {answer:?}"),
        }
    }
    let same = Move { destination: alice.clone(), ..request.clone() };
    assert_eq!(cluster.ask_move(same).code, Some(Rejection::SameAccount));
    assert!(cluster.names_since(from).is_empty(), "none of it is in the history");
    // Another scope: another tenant, another deciding account.
    let mut command = cluster.command(Mode::Authority, Body::Move(request.clone()));
    command.tenant = "other".into();
    let answer = cluster.ask(command);
    assert_eq!(cluster.seen(&answer).code, None);
    assert_eq!(cluster.ask_move(Move { source: bob, destination: alice, ..request }).code, None);
}

#[test]
fn a_retry_of_what_runs_waits_for_the_same_answer() {
    let (mut cluster, alice, bob) = with_alice_and_bob(3);
    let body = Body::Move(a_move(MoveKind::Transfer, "key", &alice, &bob, "4"));
    let commands = [(); 3].map(|()| cluster.command(Mode::Authority, body.clone()));
    commands.iter().for_each(|command| cluster.submit(command.clone()));
    for _ in 0..3 {
        let outcome = cluster.step(0);
        assert!(matches!(outcome.answer, Answer::Running { transaction: Some(_), .. }));
    }
    cluster.settle();
    let answers = commands.map(|command| cluster.answer_to(command.id));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(cluster.balance(&alice), money("6"));
}

#[test]
fn a_refusal_takes_its_key_only_if_so_configured() {
    for shards in [1, 3] {
        for keeps in [true, false] {
            let (mut cluster, alice, bob) = with_alice_and_bob(shards);
            cluster.set_status(&bob, Status::Frozen);
            let request = a_move(MoveKind::Transfer, "key", &alice, &bob, "4");
            let mut command = cluster.command(Mode::Authority, Body::Move(request.clone()));
            command.keeps_refusals = keeps;
            let answer = cluster.ask(command);
            assert_eq!(cluster.seen(&answer).code, Some(Rejection::AccountFrozen));
            assert_eq!(matches!(answer, Answer::Final { .. }), keeps);
            cluster.set_status(&bob, Status::Active);
            let again = cluster.ask_move(request);
            assert_eq!((again.code.is_some(), again.replay), (keeps, keeps), "keeps: {keeps} on {shards} shards");
        }
    }
}

#[test]
fn a_keyed_creation_is_repeated() {
    for (account_type, shards) in [(AccountType::User, 1), (AccountType::User, 3), (AccountType::External, 3)] {
        let mut cluster = Cluster::new(shards);
        let create = CreateAccount {
            key: Some("key".into()),
            ..new_account(&id_on("new", 0, shards), account_type, Limits::default())
        };
        let body = Body::CreateAccount(create.clone());
        let commands = [(); 2].map(|()| cluster.command(Mode::Authority, body.clone()));
        commands.iter().for_each(|command| cluster.submit(command.clone()));
        cluster.step(0);
        cluster.step(0);
        cluster.settle();
        for command in commands {
            assert!(matches!(cluster.answer_to(command.id), Answer::Account { .. }));
        }
        let from = cluster.journal.len();
        let again = cluster.ask_as(Mode::Authority, body);
        assert!(matches!(again, Answer::Account { replay: true, .. }), "{again:?}");
        let other = CreateAccount { owner_id: "somebody else".into(), ..create };
        let answer = cluster.ask_as(Mode::Authority, Body::CreateAccount(other));
        assert!(matches!(answer, Answer::Refused { rejection: Rejection::DuplicateKey, .. }), "{answer:?}");
        assert!(cluster.names_since(from).is_empty());
    }
}

#[test]
fn a_retried_creation_does_not_wait_for_a_change_of_the_account() {
    let mut cluster = Cluster::new(3);
    let bank = id_on("bank", 0, 3);
    let create =
        CreateAccount { key: Some("key".into()), ..new_account(&bank, AccountType::External, Limits::default()) };
    cluster.create(create.clone());
    let change = status_change(&bank, Status::Frozen);
    let change = cluster.command(Mode::Authority, Body::ChangeAccount(change));
    let again = cluster.command(Mode::Authority, Body::CreateAccount(create));
    cluster.submit(change);
    cluster.submit(again);
    assert!(matches!(cluster.step(0).answer, Answer::Running { .. }));
    assert!(matches!(cluster.step(0).answer, Answer::Account { replay: true, .. }));
    cluster.settle();
}

#[test]
fn a_transaction_id_tells_its_shard_and_its_maker() {
    let request = a_move(MoveKind::Transfer, "key-1", &id("alice"), &id("bob"), "1");
    let transaction = transaction_of(&request);
    // Computed with python-xxhash (xxh3_64("alice") = 4da10dd61a0116b0) and hashlib, for users to recompute theirs.
    assert_eq!(transaction.to_string(), VECTOR);
    for shards in [1, 3, 10, 1000] {
        assert_eq!(transaction.shard(shards), id("alice").shard(shards));
    }
    assert_eq!(TransactionId::parse(VECTOR), Some(transaction));
    assert_eq!(TransactionId::parse("00000000-0000-4000-8000-000000000000"), None);
    assert_ne!(TransactionId::derive("a", "b", "cd"), TransactionId::derive("a", "bc", "d"));
    assert_ne!(TransactionId::derive("t", "alice", "key-1"), transaction);
}

const VECTOR: &str = "cf4da10d-d644-8710-825d-8b1d956b88f1";
