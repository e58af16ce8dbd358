//! Every rejection of every operation, and that the more important one wins: each pair of defects is tried together.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{CreateAccount, LimitChange, MoveKind};
use engine_domain::{AccountId, AccountType, Answer, Body, Currency, Mode, Money, Rejection, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}
use Side::{Destination, Source};

/// What can be wrong, and how it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    Same,
    Missing(Side),
    WrongType(Side),
    Frozen(Side),
    Closed(Side),
    Currency(Side),
    TooLittle,
    TooMuch,
    Overflow(Side),
}

impl Defect {
    fn code(self) -> Rejection {
        match self {
            Defect::Same => Rejection::SameAccount,
            Defect::Missing(_) => Rejection::AccountNotFound,
            Defect::WrongType(_) => Rejection::AccountTypeNotAllowed,
            Defect::Frozen(_) => Rejection::AccountFrozen,
            Defect::Closed(_) => Rejection::AccountClosed,
            Defect::Currency(_) => Rejection::CurrencyMismatch,
            Defect::TooLittle => Rejection::InsufficientBalance,
            Defect::TooMuch => Rejection::BalanceLimitExceeded,
            Defect::Overflow(_) => Rejection::BalanceOverflow,
        }
    }

    /// All of them, in order of precedence.
    const ALL: [Defect; 15] = [
        Defect::Same,
        Defect::Missing(Source),
        Defect::WrongType(Source),
        Defect::Frozen(Source),
        Defect::Closed(Source),
        Defect::Currency(Source),
        Defect::TooLittle,
        Defect::Overflow(Source),
        Defect::Missing(Destination),
        Defect::WrongType(Destination),
        Defect::Frozen(Destination),
        Defect::Closed(Destination),
        Defect::Currency(Destination),
        Defect::TooMuch,
        Defect::Overflow(Destination),
    ];

    /// Whether an operation can have it, and have it together with another one.
    fn fits(self, kind: MoveKind, other: Defect) -> bool {
        let possible = match self {
            // A transfer goes to any type; only a limited shared account can have too few digits to be debited.
            Defect::WrongType(Destination) => kind != MoveKind::Transfer,
            Defect::Overflow(Source) => kind == MoveKind::Topup,
            _ => true,
        };
        let contradict = |one, two| (self, other) == (one, two) || (self, other) == (two, one);
        possible
            && ![Source, Destination].into_iter().any(|side| {
                contradict(Defect::Frozen(side), Defect::Closed(side))
                    || contradict(Defect::WrongType(side), Defect::Overflow(side))
                    || contradict(Defect::WrongType(side), Defect::TooMuch)
            })
            && !contradict(Defect::TooLittle, Defect::Overflow(Source))
    }
}

/// The 12 and the 19 digits that a USER's and a limited shared account's balance may have.
const FULL: &str = "999999999999.99999999";
const DEEP: &str = "-9999999999999999999";

/// An account that is in order but for the defects, ready for a movement of 10 EUR.
fn prepare(cluster: &mut Cluster, account: &AccountId, side: Side, usual: AccountType, defects: &[Defect]) {
    let has = |defect: Defect| defects.contains(&defect);
    if has(Defect::Missing(side)) || (side == Destination && has(Defect::Same)) {
        return;
    }
    let other = if usual == AccountType::User { AccountType::System } else { AccountType::User };
    let account_type = if has(Defect::WrongType(side)) { other } else { usual };
    let user = account_type == AccountType::User;
    let own = if user { Some("0") } else { None };
    let limits = match side {
        Source if has(Defect::TooLittle) => limits(Some("0"), None),
        Source if has(Defect::Overflow(Source)) => limits(None, Some("0")),
        Destination if has(Defect::TooMuch) => limits(own, Some("9")),
        Destination if has(Defect::Overflow(Destination)) => limits(Some("0"), None),
        _ => Limits::default(),
    };
    let funds = match side {
        Source if has(Defect::Overflow(Source)) => DEEP,
        Source if user && !has(Defect::TooLittle) && !has(Defect::Closed(Source)) => "10",
        Destination if has(Defect::Overflow(Destination)) && user => FULL,
        Destination if has(Defect::Overflow(Destination)) => "9999999999999999999",
        _ => "0",
    };
    let currency = Currency::new(if has(Defect::Currency(side)) { "USD" } else { "EUR" }).unwrap();
    cluster.create(CreateAccount { currency, ..new_account(account, account_type, limits) });
    for (defect, status) in [(Defect::Frozen(side), Status::Frozen), (Defect::Closed(side), Status::Closed)] {
        if has(defect) {
            assert!(matches!(cluster.set_status(account, status), Answer::Account { .. }));
        }
    }
    if funds != "0" {
        cluster.fund(account, money(funds));
    }
}

#[test]
fn moves_are_refused_by_the_most_important_rule() {
    for shards in [1, 3] {
        for (kind, source_type, destination_type) in MOVES {
            for (rank, defect) in Defect::ALL.into_iter().enumerate() {
                for other in &Defect::ALL[rank..] {
                    if !defect.fits(kind, *other) || !other.fits(kind, defect) {
                        continue;
                    }
                    let mut cluster = Cluster::new(shards);
                    let source = id_on("source", 0, shards);
                    let target = id_on("destination", shards - 1, shards);
                    let defects = [defect, *other];
                    prepare(&mut cluster, &source, Source, source_type, &defects);
                    prepare(&mut cluster, &target, Destination, destination_type, &defects);
                    let to = if defects.contains(&Defect::Same) { &source } else { &target };
                    let before = (cluster.balance(&source), cluster.balance(&target));
                    let seen = cluster.ask_move(a_move(kind, "key", &source, to, "10"));
                    let what = format!("{kind:?} with {defects:?} on {shards} shards");
                    assert_eq!(seen.code, Some(defect.code()), "{what}");
                    assert_eq!((cluster.balance(&source), cluster.balance(&target)), before, "{what}");
                }
            }
        }
    }
}

#[test]
fn moves_at_the_very_limit_are_done() {
    for shards in [1, 3] {
        for (kind, source_type, destination_type) in MOVES {
            let mut cluster = Cluster::new(shards);
            let source = id_on("source", 0, shards);
            let target = id_on("destination", shards - 1, shards);
            for (account, account_type) in [(&source, source_type), (&target, destination_type)] {
                cluster.create(new_account(account, account_type, limits(Some("5"), Some("15"))));
            }
            cluster.fund(&source, money("15"));
            cluster.fund(&target, money("5"));
            let seen = cluster.ask_move(a_move(kind, "key", &source, &target, "10"));
            assert_eq!(seen.code, None, "{kind:?} on {shards} shards");
            assert_eq!((cluster.balance(&source), cluster.balance(&target)), (money("5"), money("15")));
            let seen = cluster.ask_move(a_move(kind, "next", &source, &target, "0.00000001"));
            assert_eq!(seen.code, Some(Rejection::InsufficientBalance));
        }
    }
}

/// Three shards apart: a transfer from one USER to another that can be refunded.
fn transferred(shards: u32) -> (Cluster, AccountId, AccountId) {
    let mut cluster = Cluster::new(shards);
    let (alice, bob) = (id_on("alice", 0, shards), id_on("bob", shards - 1, shards));
    for account in [&alice, &bob] {
        cluster.create(new_account(account, AccountType::User, Limits::default()));
    }
    cluster.fund(&alice, money("10"));
    assert_eq!(cluster.ask_move(a_move(MoveKind::Transfer, "original", &alice, &bob, "10")).code, None);
    (cluster, alice, bob)
}

#[test]
fn refunds_are_refused_by_the_most_important_rule() {
    type Break = fn(&mut Cluster, &AccountId);
    const LIMIT: Break = |cluster, account| {
        let change = limit_change(account, LimitChange::Keep, LimitChange::Set(money("9.99999999")));
        cluster.ask_as(Mode::Authority, Body::ChangeAccount(change));
    };
    const FREEZE: Break = |cluster, account| drop(cluster.set_status(account, Status::Frozen));
    const CLOSE: Break = |cluster, account| {
        let balance = cluster.balance(account);
        cluster.fund(account, balance.negated());
        assert!(matches!(cluster.set_status(account, Status::Closed), Answer::Account { .. }));
    };
    const EMPTY: Break = |cluster, account| {
        let balance = cluster.balance(account);
        cluster.fund(account, balance.negated());
    };
    const FILL: Break = |cluster, account| cluster.fund(account, money(FULL));
    /// In order of precedence; the number says what has to be done first, so that the one does not keep the other
    /// from being done. The account debited is Bob, the one credited Alice.
    const DEFECTS: [(Rejection, &str, u8, Break); 7] = [
        (Rejection::AccountFrozen, "bob", 2, FREEZE),
        (Rejection::AccountClosed, "bob", 2, CLOSE),
        (Rejection::InsufficientBalance, "bob", 3, EMPTY),
        (Rejection::AccountFrozen, "alice", 2, FREEZE),
        (Rejection::AccountClosed, "alice", 2, CLOSE),
        (Rejection::BalanceLimitExceeded, "alice", 1, LIMIT),
        (Rejection::BalanceOverflow, "alice", 3, FILL),
    ];
    for shards in [1, 3] {
        for (rank, first) in DEFECTS.iter().enumerate() {
            for second in &DEFECTS[rank..] {
                if (first.0, second.0, first.1) == (Rejection::AccountFrozen, Rejection::AccountClosed, second.1) {
                    continue;
                }
                for (sum, expected) in [("10", first.0), ("10.1", Rejection::RefundExceedsOriginal)] {
                    let (mut cluster, alice, bob) = transferred(shards);
                    let mut defects = vec![first, second];
                    defects.sort_by_key(|defect| defect.2);
                    defects.dedup_by_key(|defect| (defect.0, defect.1));
                    for (_, who, _, broken) in defects {
                        broken(&mut cluster, if *who == "bob" { &bob } else { &alice });
                    }
                    let original = transaction_of(&a_move(MoveKind::Transfer, "original", &alice, &bob, "10"));
                    let before = (cluster.balance(&alice), cluster.balance(&bob));
                    let seen = cluster.ask_refund(original, "refund", Some(sum));
                    let what = format!("{} with {} on {shards} shards", first.0, second.0);
                    assert_eq!(seen.code, Some(expected), "{what}");
                    assert_eq!((cluster.balance(&alice), cluster.balance(&bob)), before, "{what}");
                }
            }
        }
    }
}

#[test]
fn refunds_are_refused_for_what_they_refer_to() {
    for shards in [1, 3, 10] {
        let (mut cluster, alice, bob) = transferred(shards);
        let original = transaction_of(&a_move(MoveKind::Transfer, "original", &alice, &bob, "10"));
        let refused = a_move(MoveKind::Transfer, "refused", &alice, &bob, "10");
        assert_eq!(cluster.ask_move(refused.clone()).code, Some(Rejection::InsufficientBalance));

        let code = |cluster: &mut Cluster, of, key: &str, sum| cluster.ask_refund(of, key, sum).code;
        let nowhere = transaction_of(&a_move(MoveKind::Transfer, "nowhere", &alice, &bob, "10"));
        assert_eq!(code(&mut cluster, nowhere, "1", None), Some(Rejection::OriginalNotFound));
        assert_eq!(code(&mut cluster, transaction_of(&refused), "2", None), Some(Rejection::NotRefundable));
        assert_eq!(code(&mut cluster, original, "3", Some("10.00000001")), Some(Rejection::RefundExceedsOriginal));
        assert_eq!(code(&mut cluster, original, "4", Some("4")), None);
        assert_eq!(code(&mut cluster, original, "5", Some("6.1")), Some(Rejection::RefundExceedsOriginal));
        // Without an amount: everything that is left, and then nothing is.
        let rest = cluster.ask_refund(original, "6", None);
        assert_eq!(rest.sides[0].1, money("-6"));
        assert_eq!(code(&mut cluster, original, "7", None), Some(Rejection::RefundExceedsOriginal));
        let refund = cluster.refund_of(original, "6", None);
        let refund = engine_domain::TransactionId::derive("", &refund.deciding_account, "6");
        assert_eq!(code(&mut cluster, refund, "8", None), Some(Rejection::NotRefundable));
        assert_eq!((cluster.balance(&alice), cluster.balance(&bob)), (money("10"), Money::ZERO));
    }
}

#[test]
fn codes_and_statuses_are_those_of_the_contract() {
    for rejection in Rejection::ALL {
        assert_eq!(Rejection::from_code(rejection.code()), Some(rejection));
        let status = match rejection.code() {
            "AccountNotFound" | "OriginalNotFound" => 404,
            "AccountExists" => 409,
            _ => 422,
        };
        assert_eq!(rejection.status(), status);
    }
    assert_eq!(Rejection::from_code("NoSuchRule"), None);
    assert!(Rejection::ALL.is_sorted());
}
