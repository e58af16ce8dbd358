//! Golden files of the journal: every variant of every stored type of the engine, pinned.
//!
//! A failure here means that records written yesterday read differently today. A deliberate change is a new
//! version with a new file; `./dev golden` writes files that are not there yet.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use uuid::Uuid;
use wire::journal::command::{
    Alias, Body, ChangeAccount, Command, CreateAccount, LimitChange, Move, MoveKind, Original, Refund, Refusal, Step,
    StepDone,
};
use wire::journal::event::{
    AccountAggregate, AccountCreated, AccountKey, AccountLimitsChanged, AccountStatusChanged, AccountType, AliasLearnt,
    BalanceChanged, Event, FundsReserved, Guard, Kind, Limits, Reason, RefundHeld, RefundHoldReleased, Rejection,
    ReservationReleased, SagaEnded, SagaStepCompleted, SagaStepFailed, SagaStepTaken, Side, Status,
    TransactionCompleted, TransactionFailed, TransactionRequested,
};
use wire::journal::saga::{
    Action, Awaited, Movement, OriginalPlace, Place, Posting, Request, Saga, Stage, StepAnswer, Taken, Work,
};
use wire::journal::{Answer, Content, FollowUp, Outcome, Position};
use wire::scalar::{Digest, Money, Timestamp};
use wire::snapshot::{
    self, Applied, Change, Complete, Entry, Fate, Instead, Key, OpenSaga, Remembered, SnapshotBody, SnapshotRecord,
    State, Sum, TransactionRow,
};
use wire::stored::{self, DecodeError, Stored};
use wire::words::Mode;

/// Compares the bytes of `record` with `tests/golden/<name>.v<version>.hex`, and reads them back, as JSON too.
fn check<T: Stored + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned>(name: &str, record: &T) {
    let bytes = stored::encode(record);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.v{}.hex", T::VERSION));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if !path.exists() && std::env::var_os("CROSSFADE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{hex}\n")).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(golden.trim(), hex, "{name} is written differently than its golden file says");
    assert_eq!(&stored::decode::<T>(&bytes).unwrap(), record);
    for length in 0..bytes.len() {
        assert!(stored::decode::<T>(&bytes[..length]).is_err(), "{name}: {length} of {} bytes", bytes.len());
    }
    let mut newer = bytes.clone();
    newer[2] = newer[2].wrapping_add(1);
    assert!(matches!(stored::decode::<T>(&newer), Err(DecodeError::UnknownVersion { .. })), "{name}");
    let json = stored::to_json(&bytes).unwrap();
    assert_eq!(&serde_json::from_value::<T>(json).unwrap(), record, "{name} reads back from JSON");
}

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0xCF00_0000_0000_8000_8000_0000_0000_0000 + number)
}

const AT: Timestamp = Timestamp(1_790_000_000_000_000);
const HERE: Position = Position { shard: 3, offset: 70_000 };

fn create() -> CreateAccount {
    CreateAccount {
        key: Some("k-1".into()),
        account: "alice".into(),
        owner_id: "o-1".into(),
        owner_type: "person".into(),
        account_type: AccountType::User,
        currency: "EUR".into(),
        limits: Limits { min: None, max: Some(money("1000.5")) },
        metadata: Some("{}".into()),
    }
}

fn posting() -> Posting {
    Posting {
        transaction: uuid(1),
        kind: Kind::Transfer,
        account: "bob".into(),
        amount: money("0.00000001"),
        currency: "EUR".into(),
    }
}

fn side() -> Side {
    Side {
        account: "bob".into(),
        account_type: AccountType::System,
        balance_before: money("-9999999999999999999"),
        balance_after: money("0"),
        version: 300,
    }
}

fn actions() -> Vec<Action> {
    let (original, refund, status) = (uuid(1), uuid(2), Status::Closed);
    let account = || "bank".to_owned();
    vec![
        Action::Hold { original, refund, amount: None },
        Action::Reserve(posting()),
        Action::Debit { posting: posting(), reserved: true },
        Action::Credit(posting()),
        Action::Release { transaction: original, account: account(), left: Some(money("0")) },
        Action::GiveBack { posting: posting(), reserved: false },
        Action::Unhold { original, refund, amount: money("2") },
        Action::OpenStripe(create()),
        Action::BlockStripe(account()),
        Action::SetStripe { account: account(), status },
        Action::UnblockStripe { account: account(), status },
        Action::AskStripe(account()),
    ]
}

const STAGES: [Stage; 12] = [
    Stage::Hold,
    Stage::Reserve,
    Stage::Debit,
    Stage::Credit,
    Stage::Release,
    Stage::GiveBack,
    Stage::Unhold,
    Stage::OpenStripe,
    Stage::BlockStripe,
    Stage::SetStripe,
    Stage::UnblockStripe,
    Stage::AskStripe,
];

const REJECTIONS: [Rejection; 18] = [
    Rejection::SameAccount,
    Rejection::DuplicateKey,
    Rejection::OriginalNotFound,
    Rejection::NotRefundable,
    Rejection::RefundExceedsOriginal,
    Rejection::AccountExists,
    Rejection::AccountNotFound,
    Rejection::AccountTypeNotAllowed,
    Rejection::AccountFrozen,
    Rejection::AccountClosed,
    Rejection::CurrencyMismatch,
    Rejection::InsufficientBalance,
    Rejection::BalanceLimitExceeded,
    Rejection::BalanceOverflow,
    Rejection::InvalidLimits,
    Rejection::LimitsFixed,
    Rejection::AccountNotEmpty,
    Rejection::OpenSteps,
];

fn answers() -> Vec<StepAnswer> {
    let would_refuse = Some(Rejection::AccountClosed);
    vec![
        StepAnswer::Done,
        StepAnswer::Refused(Rejection::InsufficientBalance),
        StepAnswer::Held { amount: money("5"), counted: true, would_refuse: None },
        StepAnswer::Reserved { would_refuse },
        StepAnswer::Moved { side: side(), would_refuse },
        StepAnswer::Blocked { balance: money("-1"), open: false },
    ]
}

fn command(body: Body) -> Command {
    Command {
        id: uuid(7),
        at: AT,
        correlation_id: "c-1".into(),
        actor: "anonymous".into(),
        mode: Mode::ShadowRefused,
        tenant: "t".into(),
        keeps_refusals: true,
        alias: Some("L-1".into()),
        refusal: Some(Refusal { status: 422, code: "InsufficientBalance".into(), body: "{}".into() }),
        body,
    }
}

#[test]
fn golden_commands() {
    let refund = |original| Refund {
        key: "k-2".into(),
        named: "L-1".into(),
        original,
        deciding_account: "bob".into(),
        amount: None,
        reason: Some("sorry".into()),
    };
    let original = Original { id: uuid(1), source: "alice".into(), destination: "bob".into(), currency: "EUR".into() };
    let change =
        |max| ChangeAccount { account: "alice".into(), status: Some(Status::Frozen), min: LimitChange::Keep, max };
    let a_move = |kind| Move {
        kind,
        key: "k-1".into(),
        source: "alice".into(),
        destination: "bob".into(),
        amount: money("10"),
        currency: "EUR".into(),
        reference: Some("rent".into()),
        metadata: None,
    };
    check("command-create-account", &command(Body::CreateAccount(create())));
    check("command-change-account", &command(Body::ChangeAccount(change(LimitChange::Set(money("5"))))));
    check("command-remove-limit", &command(Body::ChangeAccount(change(LimitChange::Remove))));
    check("command-topup", &command(Body::Move(a_move(MoveKind::Topup))));
    check("command-withdraw", &command(Body::Move(a_move(MoveKind::Withdraw))));
    check("command-transfer", &command(Body::Move(a_move(MoveKind::Transfer))));
    check("command-refund", &command(Body::Refund(refund(Some(original)))));
    check("command-refund-of-unknown", &command(Body::Refund(refund(None))));
    check("command-refund-taken", &command(Body::RefundTaken { refund: refund(None), taken: money("621.45136975") }));
    check("command-aliases", &command(Body::Aliases(vec![Alias { transaction: uuid(1), alias: "L-1".into() }])));
    check("command-unreadable", &command(Body::Unreadable { digest: Digest([9; 32]) }));
    for (action, stage) in actions().into_iter().zip(STAGES) {
        let name = format!("command-step-{}", serde_json::to_value(stage).unwrap().as_str().unwrap());
        check(&name, &command(Body::Step(Step { saga: HERE, action })));
    }
    for (answer, name) in answers().into_iter().zip(["done", "refused", "held", "reserved", "moved", "blocked"]) {
        let done = StepDone { saga: HERE, stage: Stage::Debit, done_at: HERE, answer };
        check(&format!("command-step-done-{name}"), &command(Body::StepDone(done)));
    }
}

fn outcome(events: Vec<Event>, answer: Answer) -> Outcome {
    Outcome {
        parent: Digest([7; 32]),
        shard: 3,
        source_offset: 70_000,
        command: uuid(7),
        correlation_id: "c-1".into(),
        actor: "anonymous".into(),
        mode: Mode::Authority,
        at: AT,
        feature: 1,
        events,
        sends: vec![],
        answer,
    }
}

#[test]
fn golden_answers() {
    let (to, transaction, account) = (uuid(7), Some(uuid(1)), "alice".to_owned());
    let (rejection, would_refuse) = (Rejection::DuplicateKey, Some(Rejection::AccountFrozen));
    for (name, answer) in [
        ("none", Answer::None),
        ("final", Answer::Final { to, transaction: uuid(1), replay: true }),
        ("running", Answer::Running { to, transaction: None }),
        ("refused", Answer::Refused { to, transaction, rejection }),
        ("dry", Answer::Dry { to, transaction, would_refuse }),
        ("account", Answer::Account { to, transaction, account, replay: false, would_refuse }),
        ("noted", Answer::Noted { to }),
        ("unreadable", Answer::Unreadable),
    ] {
        check(&format!("outcome-answer-{name}"), &outcome(vec![], answer));
    }
    let step = Body::Step(Step { saga: HERE, action: Action::Credit(posting()) });
    let sends = vec![FollowUp { shard: 1, command: command(step) }];
    check("outcome-sends", &Outcome { sends, ..outcome(vec![], Answer::None) });
}

#[test]
fn golden_events() {
    let one = |name: &str, event| check(&format!("event-{name}"), &outcome(vec![event], Answer::None));
    let aggregate = AccountAggregate { id: "bank".into(), stripe: Some(3) };
    let (version, transaction, refund) = (300, uuid(1), uuid(2));
    let content = Content([0xAB; 16]);
    one(
        "account-created",
        Event::AccountCreated(AccountCreated {
            aggregate: aggregate.clone(),
            version,
            owner_id: "o-1".into(),
            owner_type: "bank".into(),
            account_type: AccountType::External,
            currency: "EUR".into(),
            limits: Limits { min: None, max: None },
            metadata: None,
            key: Some(AccountKey { tenant: "t".into(), key: "k-1".into(), transaction, content }),
        }),
    );
    let (from, to) = (Status::Active, Status::Frozen);
    one(
        "account-status-changed",
        Event::AccountStatusChanged(AccountStatusChanged { aggregate: aggregate.clone(), version, from, to }),
    );
    let (from, to) = (Limits { min: None, max: Some(money("1")) }, Limits { min: Some(money("-1")), max: None });
    one(
        "account-limits-changed",
        Event::AccountLimitsChanged(AccountLimitsChanged { aggregate: aggregate.clone(), version, from, to }),
    );
    for reason in [Reason::Debit, Reason::Credit, Reason::Compensation, Reason::InTransit] {
        let name = serde_json::to_value(reason).unwrap();
        one(
            &format!("balance-changed-{}", name.as_str().unwrap()),
            Event::BalanceChanged(BalanceChanged {
                aggregate: aggregate.clone(),
                version,
                currency: "EUR".into(),
                balance_before: money("1.5"),
                balance_after: money("-1.5"),
                reserved_after: money("0"),
                reason,
                transaction,
            }),
        );
    }
    let (amount, reserved_after, refunded_after) = (money("5"), money("6"), money("7"));
    one(
        "funds-reserved",
        Event::FundsReserved(FundsReserved {
            aggregate: aggregate.clone(),
            version,
            transaction,
            amount,
            reserved_after,
        }),
    );
    one(
        "reservation-released",
        Event::ReservationReleased(ReservationReleased { aggregate, version, transaction, amount, reserved_after }),
    );
    one("refund-held", Event::RefundHeld(RefundHeld { transaction, version, refund, amount, refunded_after }));
    one(
        "refund-hold-released",
        Event::RefundHoldReleased(RefundHoldReleased { transaction, version, refund, amount, refunded_after }),
    );
    one("alias-learnt", Event::AliasLearnt(AliasLearnt { transaction, version, alias: "L-1".into() }));
}

#[test]
fn golden_transaction_events() {
    let one = |name: &str, event| check(&format!("event-{name}"), &outcome(vec![event], Answer::None));
    let transaction = uuid(1);
    for (kind, name) in
        [(Kind::Topup, "topup"), (Kind::Withdraw, "withdraw"), (Kind::Transfer, "transfer"), (Kind::Refund, "refund")]
    {
        one(
            &format!("{name}-requested"),
            Event::TransactionRequested(Box::new(TransactionRequested {
                transaction,
                version: 1,
                kind,
                tenant: "t".into(),
                deciding_account: "alice".into(),
                key: "k-1".into(),
                content: Content([0xAB; 16]),
                source: Some("alice".into()),
                destination: Some("bob".into()),
                amount: Some(money("10")),
                currency: Some("EUR".into()),
                reference: Some("rent".into()),
                metadata: Some("{}".into()),
                original_named: Some("L-1".into()),
                original: Some(uuid(2)),
                reason: Some("sorry".into()),
                alias: Some("L-2".into()),
            })),
        );
    }
    one(
        "transaction-completed",
        Event::TransactionCompleted(Box::new(TransactionCompleted {
            transaction,
            version: 2,
            kind: Kind::Transfer,
            amount: money("10"),
            currency: "EUR".into(),
            source: side(),
            destination: side(),
            original: None,
            would_refuse: Some(Rejection::InsufficientBalance),
            position: vec![HERE, Position { shard: 0, offset: 0 }],
            completed_at: AT,
        })),
    );
    let failed = |rejection| {
        Event::TransactionFailed(TransactionFailed {
            transaction,
            version: 2,
            kind: Kind::Transfer,
            rejection,
            kept: true,
            elsewhere: Some(Refusal { status: 422, code: "AccountFrozen".into(), body: "{}".into() }),
            position: vec![HERE],
            completed_at: AT,
        })
    };
    check("event-transaction-failed", &outcome(REJECTIONS.map(failed).to_vec(), Answer::None));
}

#[test]
fn golden_saga_events() {
    let one = |name: &str, event| check(&format!("event-{name}"), &outcome(vec![event], Answer::None));
    let place = |account: &str, shard| Place { account: account.into(), shard };
    let movement = Movement {
        transaction: uuid(1),
        kind: Kind::Refund,
        source: place("bob", 1),
        destination: place("alice", 3),
        amount: None,
        currency: "EUR".into(),
        original: Some(OriginalPlace { transaction: uuid(2), shard: 3 }),
    };
    let key = AccountKey { tenant: "t".into(), key: "k-1".into(), transaction: uuid(1), content: Content([0xAB; 16]) };
    let taken = |answer| Taken { stage: Stage::Debit, done_at: HERE, answer };
    for (name, work) in [
        ("transaction", Work::Transaction(movement)),
        ("open-stripes", Work::OpenStripes { account: create(), key: Some(key) }),
        (
            "set-stripes",
            Work::SetStripes {
                account: "bank".into(),
                from: Status::Closed,
                to: Status::Active,
                would_refuse: Some(Rejection::AccountClosed),
            },
        ),
    ] {
        let request = Request {
            command: uuid(7),
            correlation_id: "c-1".into(),
            actor: "anonymous".into(),
            mode: Mode::Forced,
            keeps_refusals: false,
        };
        let saga = Saga {
            id: HERE,
            version: 1,
            request,
            work,
            guarded: vec!["alice".into()],
            taken: answers().into_iter().map(taken).collect(),
            awaited: Awaited { shard: 1, action: Action::Credit(posting()) },
        };
        one(&format!("saga-started-{name}"), Event::SagaStarted(Box::new(saga)));
    }
    let (saga, version) = (HERE, 2);
    let awaited = Some(Awaited { shard: 1, action: Action::BlockStripe("bank".into()) });
    let done = SagaStepCompleted { saga, version, taken: taken(StepAnswer::Done), awaited: awaited.clone() };
    one("saga-step-completed", Event::SagaStepCompleted(done));
    let refused = taken(StepAnswer::Refused(Rejection::AccountFrozen));
    one("saga-step-failed", Event::SagaStepFailed(SagaStepFailed { saga, version, taken: refused, awaited }));
    one("saga-compensated", Event::SagaCompensated(SagaEnded { saga, version, transaction: None }));
    one("saga-completed", Event::SagaCompleted(SagaEnded { saga, version, transaction: Some(uuid(1)) }));
    for (name, guard) in [
        ("raised", Some(Guard::Raised("bob".into()))),
        ("lowered", Some(Guard::Lowered("bob".into()))),
        ("plain", None),
    ] {
        let (stage, done_at, answer) = (Stage::GiveBack, HERE, StepAnswer::Done);
        let taken = SagaStepTaken { saga, stage, done_at, answer, guard };
        one(&format!("saga-step-taken-{name}"), Event::SagaStepTaken(taken));
    }
}

#[test]
fn golden_snapshots() {
    let record = |number, body| SnapshotRecord { generation: uuid(9), number, body };
    let limits = Limits { min: Some(money("-5")), max: None };
    let account = snapshot::Account {
        id: "till".into(),
        account_type: AccountType::External,
        currency: "EUR".into(),
        status: Status::Frozen,
        limits,
        balance: money("-1.5"),
        reserved: money("0"),
        open_steps: 2,
        version: 7,
        owner_id: "o-1".into(),
        owner_type: "person".into(),
        metadata: Some("{}".into()),
        first_limits: limits,
        created_at: AT,
        changes: vec![Change { at: AT, offset: 3, version: 7, balance: money("-1.5"), reserved: money("0") }],
    };
    let failed = snapshot::Failed {
        rejection: Rejection::AccountFrozen,
        elsewhere: Some(Refusal { status: 422, code: "AccountFrozen".into(), body: "{}".into() }),
        position: vec![HERE],
        at: AT,
    };
    let completed = snapshot::Completed {
        source: side(),
        destination: side(),
        would_refuse: Some(Rejection::InsufficientBalance),
        position: vec![HERE],
        at: AT,
    };
    let row = |state, instead_of| TransactionRow {
        id: uuid(1),
        kind: Kind::Refund,
        tenant: "t".into(),
        deciding_account: "alice".into(),
        key: "k-1".into(),
        source: Some("alice".into()),
        destination: None,
        currency: Some("EUR".into()),
        amount: Some(money("1")),
        reference: Some("r".into()),
        metadata: None,
        original: Some(uuid(2)),
        original_named: Some("77".into()),
        client_reason: Some("why".into()),
        alias: Some("77".into()),
        correlation_id: "c".into(),
        created_at: AT,
        requested_in: HERE,
        saga: vec![3, 70_000],
        instead_of,
        state,
    };
    let instead = Some(Box::new(Instead { number: 4, state: State::Failed(Box::new(failed)) }));
    let remembered = |fate| Remembered { content: Content([7; 16]), version: 3, alias: Some("77".into()), fate };
    let refused = Fate::Refused { rejection: Rejection::AccountClosed, elsewhere: true };
    let applied = Fate::Applied(Applied { kind: Kind::Topup, amount: money("2"), refunded: money("0.5") });
    let key = |fate| Entry::Key(Key { transaction: uuid(1), remembered: remembered(fate) });
    let request = Request {
        command: uuid(3),
        correlation_id: "c".into(),
        actor: "a".into(),
        mode: Mode::Authority,
        keeps_refusals: true,
    };
    let saga = Saga {
        id: HERE,
        version: 1,
        request,
        work: Work::OpenStripes { account: create(), key: None },
        guarded: vec!["alice".into()],
        taken: vec![],
        awaited: Awaited { shard: 1, action: Action::Credit(posting()) },
    };
    let step = snapshot::Step { saga: HERE, stage: Stage::Debit, done_at: HERE, answer: StepAnswer::Done };
    let entries = vec![
        Entry::Account(Box::new(account)),
        Entry::Transaction(Box::new(row(State::Completed(Box::new(completed)), instead))),
        Entry::Transaction(Box::new(row(State::Processing, None))),
        Entry::Transaction(Box::new(row(State::Forgotten, None))),
        key(Fate::Running { instead_of: Some(Box::new(remembered(refused))) }),
        key(applied),
        key(Fate::AccountCreated("alice".into())),
        key(Fate::Free),
        Entry::Saga(Box::new(OpenSaga { saga, since: AT })),
        Entry::Step(step),
    ];
    check("snapshot-part", &record(0, SnapshotBody::Part(entries)));
    let complete = Complete {
        ledger: "demo".into(),
        shard: 3,
        shards: 10,
        begins_at: 12,
        outcome_offset: 70_001,
        outcome_hash: Digest([3; 32]),
        next_source: 70_001,
        at: AT,
        feature: 1,
        entries: 10,
        digest: Digest([0; 32]),
        sums: vec![Sum { currency: "EUR".into(), users: money("1.5"), all: money("0") }],
        events: 9,
        complete_events: 8,
    };
    let sealed = complete.clone().sealed(Complete::chained(Digest([0; 32]), b"part"));
    assert_ne!(sealed.digest, Complete { at: Timestamp(0), ..complete }.sealed(Digest([0; 32])).digest);
    check("snapshot-complete", &record(u32::MAX, SnapshotBody::Complete(Box::new(sealed))));
}

#[test]
fn readable_by_people() {
    let json = stored::to_json(&stored::encode(&outcome(vec![], Answer::None))).unwrap();
    assert_eq!(json["mode"], "authority");
    assert_eq!(serde_json::to_value(HERE).unwrap(), "3:70000");
    assert_eq!(serde_json::to_value(Content([0xAB; 16])).unwrap(), "ab".repeat(16));
    assert!(serde_json::from_value::<Position>("3-7".into()).is_err());
    assert_ne!(wire::journal::genesis("demo", 0, 10), wire::journal::genesis("demo", 1, 10));
    assert_ne!(wire::journal::genesis("demo", 0, 10), wire::journal::genesis("demo", 0, 3));
}
