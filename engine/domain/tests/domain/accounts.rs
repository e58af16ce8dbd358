//! Accounts: made, frozen, limited, closed; in one piece or on every shard.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{ChangeAccount, CreateAccount, LimitChange, MoveKind};
use engine_domain::{AccountId, AccountType, Answer, Body, Event, Mode, Rejection, Status};

const SHARDS: [u32; 3] = [1, 3, 10];

fn change(cluster: &mut Cluster, change: ChangeAccount) -> Option<Rejection> {
    match cluster.ask_as(Mode::Authority, Body::ChangeAccount(change)) {
        Answer::Account { .. } => None,
        Answer::Refused { rejection, .. } => Some(rejection),
        other => panic!("{other:?}"),
    }
}

fn statuses(cluster: &Cluster, account: &AccountId) -> Vec<Status> {
    cluster.shards.iter().filter_map(|shard| shard.account(account)).map(|account| account.status).collect()
}

#[test]
fn a_shared_account_has_a_stripe_on_every_shard() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(shards);
        cluster.create(new_account(&id("bank"), AccountType::External, Limits::default()));
        assert_eq!(statuses(&cluster, &id("bank")).len(), shards as usize);
        let home = id("bank").shard(shards);
        let first = cluster.events().next().map(|event| event.aggregate().0.to_string());
        assert_eq!(first, Some(format!("bank#{home}")));
        // A limited one is kept in one piece.
        cluster.create(new_account(&id("capped"), AccountType::System, limits(None, Some("5"))));
        assert_eq!(statuses(&cluster, &id("capped")).len(), 1);
    }
}

#[test]
fn creations_are_refused() {
    let taken = new_account(&id("taken"), AccountType::User, Limits::default());
    let wrong = |account_type, limits| new_account(&id("new"), account_type, limits);
    for shards in SHARDS {
        let mut cluster = Cluster::new(shards);
        cluster.create(taken.clone());
        for (create, expected) in [
            (taken.clone(), Rejection::AccountExists),
            (CreateAccount { limits: limits(Some("-1"), None), ..taken.clone() }, Rejection::AccountExists),
            (new_account(&id("in-transit:EUR"), AccountType::System, Limits::default()), Rejection::AccountExists),
            (wrong(AccountType::User, limits(Some("-1"), None)), Rejection::InvalidLimits),
            (wrong(AccountType::User, limits(Some("2"), Some("1"))), Rejection::InvalidLimits),
            (wrong(AccountType::External, limits(Some("2"), Some("1"))), Rejection::InvalidLimits),
        ] {
            let before = cluster.journal.len();
            let answer = cluster.ask_as(Mode::Authority, Body::CreateAccount(create.clone()));
            assert!(matches!(answer, Answer::Refused { rejection, .. } if rejection == expected), "{create:?}");
            assert!(cluster.names_since(before).is_empty());
        }
        cluster.create(wrong(AccountType::External, limits(Some("-1"), None)));
    }
}

#[test]
fn changes_are_refused_by_the_most_important_rule() {
    use LimitChange::{Keep, Remove, Set};
    for shards in SHARDS {
        let mut cluster = Cluster::new(shards);
        for (name, account_type, limits) in [
            ("user", AccountType::User, Limits::default()),
            ("closed", AccountType::User, Limits::default()),
            ("shared", AccountType::External, Limits::default()),
            ("capped", AccountType::System, limits(None, Some("5"))),
        ] {
            cluster.create(new_account(&id(name), account_type, limits));
        }
        assert_eq!(change(&mut cluster, status_change(&id("closed"), Status::Closed)), None);
        cluster.fund(&id("user"), money("1"));
        let with = |name: &str, status, min, max| ChangeAccount { account: id(name), status, min, max };
        for (request, expected) in [
            (with("nobody", Some(Status::Closed), Set(money("-1")), Keep), Some(Rejection::AccountNotFound)),
            (with("in-transit:EUR", Some(Status::Frozen), Keep, Keep), Some(Rejection::AccountNotFound)),
            (with("closed", Some(Status::Active), Set(money("-1")), Keep), Some(Rejection::AccountClosed)),
            (with("closed", Some(Status::Closed), Keep, Keep), Some(Rejection::AccountClosed)),
            (with("user", Some(Status::Closed), Set(money("-1")), Keep), Some(Rejection::InvalidLimits)),
            (with("shared", None, Set(money("2")), Set(money("1"))), Some(Rejection::InvalidLimits)),
            (with("shared", Some(Status::Frozen), Set(money("2")), Keep), Some(Rejection::LimitsFixed)),
            (with("capped", None, Keep, Remove), Some(Rejection::LimitsFixed)),
            (with("capped", None, Set(money("-5")), Remove), None),
            (with("user", Some(Status::Closed), Keep, Set(money("9"))), Some(Rejection::AccountNotEmpty)),
            (with("user", Some(Status::Frozen), Keep, Set(money("9"))), None),
            (with("shared", None, Keep, Remove), None),
        ] {
            assert_eq!(change(&mut cluster, request.clone()), expected, "{request:?} on {shards} shards");
        }
        let number = id("user").shard(shards) as usize;
        let user = cluster.shards[number].account(&id("user")).unwrap();
        assert_eq!((user.status, user.limits), (Status::Frozen, limits(None, Some("9"))));
        assert_eq!(statuses(&cluster, &id("shared")), vec![Status::Active; shards as usize]);
    }
}

#[test]
fn a_change_to_what_is_already_so_changes_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.create(new_account(&id("user"), AccountType::User, limits(None, Some("9"))));
    cluster.create(new_account(&id("shared"), AccountType::External, Limits::default()));
    let before = cluster.journal.len();
    for account in ["user", "shared"] {
        assert_eq!(change(&mut cluster, status_change(&id(account), Status::Active)), None);
    }
    let same = limit_change(&id("user"), LimitChange::Remove, LimitChange::Set(money("9.00")));
    assert_eq!(change(&mut cluster, same), None);
    assert!(cluster.names_since(before).is_empty());
}

#[test]
fn a_shared_account_is_frozen_and_closed_on_every_shard() {
    for shards in SHARDS {
        let mut cluster = Cluster::new(shards);
        let bank = id("bank");
        cluster.create(new_account(&bank, AccountType::External, Limits::default()));
        let users: Vec<_> = (0..shards).map(|shard| id_on("user", shard, shards)).collect();
        for user in &users {
            cluster.create(new_account(user, AccountType::User, Limits::default()));
        }
        let all = |status| vec![status; shards as usize];

        assert_eq!(change(&mut cluster, status_change(&bank, Status::Frozen)), None);
        assert_eq!(statuses(&cluster, &bank), all(Status::Frozen));
        for user in &users {
            let topup = a_move(MoveKind::Topup, "frozen", &bank, user, "1");
            assert_eq!(cluster.ask_move(topup).code, Some(Rejection::AccountFrozen));
        }
        assert_eq!(change(&mut cluster, status_change(&bank, Status::Active)), None);
        let (first, last) = (&users[0], &users[users.len() - 1]);
        assert_eq!(cluster.ask_move(a_move(MoveKind::Topup, "in", &bank, first, "1")).code, None);

        // Not empty: every stripe is what it was before.
        assert_eq!(change(&mut cluster, status_change(&bank, Status::Closed)), Some(Rejection::AccountNotEmpty));
        assert_eq!(statuses(&cluster, &bank), all(Status::Active));

        // Out again on another shard: the stripes are at -1 and 1, the account is empty.
        if shards > 1 {
            assert_eq!(cluster.ask_move(a_move(MoveKind::Transfer, "over", first, last, "1")).code, None);
        }
        assert_eq!(cluster.ask_move(a_move(MoveKind::Withdraw, "out", last, &bank, "1")).code, None);
        assert_eq!(change(&mut cluster, status_change(&bank, Status::Frozen)), None);
        assert_eq!(change(&mut cluster, status_change(&bank, Status::Closed)), None);
        assert_eq!(statuses(&cluster, &bank), all(Status::Closed));
        let topup = a_move(MoveKind::Topup, "closed", &bank, first, "1");
        assert_eq!(cluster.ask_move(topup).code, Some(Rejection::AccountClosed));
    }
}

/// As long as nothing says that the account can be closed, nobody is kept off it.
#[test]
fn a_close_that_is_refused_hinders_nobody() {
    let mut cluster = Cluster::new(3);
    let bank = id_on("bank", 0, 3);
    let users = [1, 2].map(|shard| id_on("user", shard, 3));
    cluster.create(new_account(&bank, AccountType::External, Limits::default()));
    for user in &users {
        cluster.create(new_account(user, AccountType::User, Limits::default()));
    }
    assert_eq!(cluster.ask_move(a_move(MoveKind::Topup, "before", &bank, &users[1], "5")).code, None);
    let from = cluster.journal.len();
    let close = cluster.command(Mode::Authority, Body::ChangeAccount(status_change(&bank, Status::Closed)));
    cluster.submit(close.clone());
    // Home asks itself, then shard 1.
    for shard in [0, 1] {
        cluster.step(shard);
    }
    let topup =
        cluster.command(Mode::Authority, Body::Move(a_move(MoveKind::Topup, "meanwhile", &bank, &users[0], "1")));
    cluster.submit(topup.clone());
    cluster.step(1);
    assert_eq!(cluster.seen(&cluster.answer_to(topup.id)).code, None);
    cluster.settle();
    let answer = cluster.answer_to(close.id);
    assert!(matches!(answer, Answer::Refused { rejection: Rejection::AccountNotEmpty, .. }), "{answer:?}");
    let names = cluster.names_since(from);
    assert!(!names.contains(&"AccountStatusChanged"), "{names:?}");
}

/// The first round found it empty, the second one does not: what moved in between is found, and everything undone.
#[test]
fn what_moves_between_asking_and_blocking_refuses_a_close() {
    let mut cluster = Cluster::new(3);
    let (bank, user) = (id_on("bank", 0, 3), id_on("user", 2, 3));
    cluster.create(new_account(&bank, AccountType::External, Limits::default()));
    cluster.create(new_account(&user, AccountType::User, Limits::default()));
    let close = cluster.command(Mode::Authority, Body::ChangeAccount(status_change(&bank, Status::Closed)));
    cluster.submit(close.clone());
    // Home and 1 are asked, then 2; all are empty.
    for shard in [0, 1, 0, 2] {
        cluster.step(shard);
    }
    let topup = a_move(MoveKind::Topup, "key", &bank, &user, "1");
    let request = cluster.command(Mode::Authority, Body::Move(topup));
    cluster.submit(request.clone());
    cluster.step(2);
    assert_eq!(cluster.seen(&cluster.answer_to(request.id)).code, None);
    cluster.settle();
    let answer = cluster.answer_to(close.id);
    assert!(matches!(answer, Answer::Refused { rejection: Rejection::AccountNotEmpty, .. }), "{answer:?}");
    assert_eq!(statuses(&cluster, &bank), [Status::Active; 3]);
}

/// Above the digits that an account can show there is a way back, and it is the only one.
#[test]
fn what_is_beyond_its_digits_can_come_back() {
    for shards in [1, 3] {
        let mut cluster = Cluster::new(shards);
        let (bank, user) = (id("bank"), id("user"));
        let (low, high) = ("-10000000000000000001", "9999999999999999999.5");
        cluster.create(new_account(&bank, AccountType::External, limits(Some("-9999999999999999999"), None)));
        cluster.create(new_account(&user, AccountType::User, Limits::default()));
        cluster.fund(&user, money("1000000000001"));
        let mut number = 0;
        let mut ask = |cluster: &mut Cluster, kind, source: &AccountId, destination: &AccountId| {
            number += 1;
            cluster.ask_move(a_move(kind, &number.to_string(), source, destination, "0.5")).code
        };
        assert_eq!(ask(&mut cluster, MoveKind::Topup, &bank, &user), Some(Rejection::BalanceOverflow));
        assert_eq!(ask(&mut cluster, MoveKind::Withdraw, &user, &bank), None);
        cluster.fund(&bank, money(high));
        assert_eq!(ask(&mut cluster, MoveKind::Withdraw, &user, &bank), Some(Rejection::BalanceOverflow));
        cluster.fund(&user, money("-2000"));
        assert_eq!(ask(&mut cluster, MoveKind::Topup, &bank, &user), None);
        // And from below.
        let back = cluster.balance(&bank).negated().plus(money(low));
        cluster.fund(&bank, back);
        assert_eq!(ask(&mut cluster, MoveKind::Withdraw, &user, &bank), None);
    }
}

#[test]
fn a_change_meets_one_that_is_under_way() {
    let mut cluster = Cluster::new(3);
    let bank = id_on("bank", 0, 3);
    let create = new_account(&bank, AccountType::External, Limits::default());
    let first = cluster.command(Mode::Authority, Body::CreateAccount(create.clone()));
    let again = cluster.command(Mode::Authority, Body::CreateAccount(create));
    let freeze = cluster.command(Mode::Authority, Body::ChangeAccount(status_change(&bank, Status::Frozen)));
    for command in [&first, &again, &freeze] {
        cluster.submit(command.clone());
    }
    // All three are decided at home before any other shard has its stripe.
    for _ in 0..3 {
        cluster.step(0);
    }
    cluster.settle();
    assert!(matches!(cluster.answer_to(first.id), Answer::Account { .. }));
    for (command, expected) in [(again, Rejection::AccountExists), (freeze, Rejection::OpenSteps)] {
        let answer = cluster.answer_to(command.id);
        assert!(matches!(answer, Answer::Refused { rejection, .. } if rejection == expected), "{answer:?}");
    }
}

#[test]
fn an_account_that_a_saga_may_come_back_to_is_not_closed() {
    // A transfer whose destination is on another shard, and a topup whose limited source is: both keep the debited
    // account open until they are over.
    let (user, other) = (id_on("user", 0, 2), id_on("other", 1, 2));
    let capped = id_on("capped", 1, 2);
    for (kind, source, destination) in [(MoveKind::Transfer, &user, &other), (MoveKind::Topup, &capped, &user)] {
        let mut cluster = Cluster::new(2);
        cluster.create(new_account(&user, AccountType::User, Limits::default()));
        cluster.create(new_account(&other, AccountType::User, limits(None, Some("0"))));
        cluster.create(new_account(&capped, AccountType::External, limits(Some("0"), None)));
        cluster.fund(source, money("5"));
        let body = Body::Move(a_move(kind, "key", source, destination, "5"));
        let request = cluster.command(Mode::Authority, body);
        cluster.submit(request);
        cluster.step(0);
        if kind == MoveKind::Topup {
            cluster.step(1);
        }
        let number = source.shard(2);
        assert!(cluster.shards[number as usize].account(source).unwrap().balance.is_zero());
        let close = cluster.command(Mode::Authority, Body::ChangeAccount(status_change(source, Status::Closed)));
        let to = close.id;
        cluster.submit(close);
        while !cluster.journal.iter().any(|outcome| outcome.answer.to() == Some(to)) {
            // The saga does not move on meanwhile: its answer waits in the other shard's queue.
            cluster.step(number);
        }
        let answer = cluster.answer_to(to);
        let open = matches!(answer, Answer::Refused { rejection: Rejection::OpenSteps, .. });
        assert!(open, "{kind:?}: {answer:?}");
        cluster.settle();
    }
}

#[test]
fn a_shared_account_that_a_saga_may_come_back_to_is_not_closed() {
    // A topup meets a shared account that is just being made, and debits the stripe at its home from afar.
    let mut cluster = Cluster::new(2);
    let (bank, user, other) = (id_on("bank", 0, 2), id_on("user", 1, 2), id_on("other", 0, 2));
    for account in [&user, &other] {
        cluster.create(new_account(account, AccountType::User, Limits::default()));
    }
    cluster.fund(&other, money("5"));
    let create = Body::CreateAccount(new_account(&bank, AccountType::External, Limits::default()));
    let topup = Body::Move(a_move(MoveKind::Topup, "in", &bank, &user, "5"));
    let withdraw = Body::Move(a_move(MoveKind::Withdraw, "out", &other, &bank, "5"));
    let close = Body::ChangeAccount(status_change(&bank, Status::Closed));
    let [create, topup, withdraw, close] =
        [create, topup, withdraw, close].map(|body| cluster.command(Mode::Authority, body));
    cluster.submit(topup.clone());
    cluster.submit(create);
    // Made at home; topup asks home; home debits; the other stripe is made; home knows.
    for shard in [0, 1, 0, 1, 0] {
        cluster.step(shard);
    }
    cluster.submit(withdraw);
    cluster.submit(close.clone());
    cluster.settle();
    let answer = cluster.answer_to(close.id);
    assert!(matches!(answer, Answer::Refused { rejection: Rejection::OpenSteps, .. }), "{answer:?}");
    assert_eq!(cluster.seen(&cluster.answer_to(topup.id)).code, None);
    assert_eq!(statuses(&cluster, &bank), [Status::Active; 2]);
    assert_eq!(change(&mut cluster, status_change(&bank, Status::Closed)), None);
}

#[test]
fn events_carry_what_was_asked_for() {
    let mut cluster = Cluster::new(3);
    let create = CreateAccount {
        metadata: Some(r#"{"tier":"gold"}"#.into()),
        ..new_account(&id("bank"), AccountType::External, Limits::default())
    };
    cluster.create(create);
    for event in cluster.events() {
        if let Event::AccountCreated(created) = event {
            assert_eq!(created.metadata.as_deref(), Some(r#"{"tier":"gold"}"#));
            assert_eq!((&*created.owner_id, &*created.owner_type), ("owner", "person"));
        }
    }
}
