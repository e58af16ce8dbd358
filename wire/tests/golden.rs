//! Golden files: the stored bytes of every type of the cutover, pinned.
//!
//! A failure here means that records written yesterday read differently today. A deliberate change is a new
//! version with a new file; `./dev golden` writes files that are not there yet.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::PathBuf;
use wire::dead_letter::{DeadLetter, DeadLetterEvent, Origin};
use wire::decision::{BalanceDifference, DecisionBody, DecisionRecord, Finding, Offset, Reconciliation, Variance};
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, GapReason, Intent};
use wire::ids::ExchangeNumber;
use wire::ingest::IngestFrame;
use wire::order::OrderMark;
use wire::rollout::{FrontBoot, GateReading, Pending, Rollout, RolloutBody, RolloutRecord, Setting};
use wire::scalar::{Body, Digest, Percent, Timestamp};
use wire::shadow::{LegResult, Resolution, ResolvedBy, ShadowBody, ShadowRecord};
use wire::stored::{self, DecodeError, Stored};
use wire::words::{Cause, Class, Mode, Operation, Single, Stage, System};

/// Compares the bytes of `record` with `tests/golden/<name>.v<version>.hex`, and reads them back.
fn check<T: Stored + PartialEq + std::fmt::Debug>(name: &str, record: &T) {
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
}

fn at(seconds: i64) -> Timestamp {
    Timestamp(1_790_000_000_000_000 + seconds * 1_000_000)
}

fn number(sequence: u64) -> ExchangeNumber {
    ExchangeNumber { front: "front-a".into(), boot: 3, sequence }
}

fn percent(text: &str) -> Percent {
    text.parse().unwrap()
}

#[test]
fn golden_exchange_records() {
    let record = |sequence, body| ExchangeRecord { front: "front-a".into(), boot: 3, sequence, at: at(1), body };
    let intent = Intent {
        route: "transfer".into(),
        operation: Operation::Transfer,
        method: "POST".into(),
        path: "/transactions/transfer".into(),
        headers: vec![("idempotency-key".into(), "k-1".into())],
        body: Body(br#"{"amount":"10.00"}"#.to_vec()),
        tenant: "t".into(),
        key: Some("k-1".into()),
        account: Some("alice".into()),
        accounts: vec!["alice".into(), "bob".into()],
        original: None,
        authority: System::Legacy,
        stage: Stage::Ramp,
        percent: percent("37"),
        version: 9,
        cross_cohort: true,
        overtaken: false,
    };
    check("exchange-intent", &record(71, ExchangeBody::Intent(intent)));
    let result = AuthorityResult {
        intent: 71,
        class: Class::Unknown,
        status: 0,
        headers: vec![],
        body: Body::default(),
        duration_micros: 2_000_000,
        replayed: false,
        failure: Some("no answer in time".into()),
    };
    check("exchange-result", &record(72, ExchangeBody::Result(result)));
    check("exchange-gap", &record(73, ExchangeBody::Gap { exchanges: 2, reason: GapReason::Slow }));
    check("exchange-mark", &record(74, ExchangeBody::Mark { id: "m-1".into() }));
    check("exchange-ended", &record(75, ExchangeBody::Ended { clean: false }));
    let overruled = ExchangeBody::Override { on: true, reason: "the engine burns".into(), since: at(0) };
    check("exchange-override", &record(76, overruled));
}

/// What fronts of before wrote, and what is in logs for ever.
#[test]
fn exchange_records_of_version_1_are_read() {
    for name in ["exchange-intent", "exchange-result", "exchange-gap", "exchange-mark", "exchange-ended"] {
        let read = |version: u16| {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.v{version}.hex"));
            let hex = std::fs::read_to_string(path).unwrap();
            let bytes: Vec<u8> = (0..hex.trim().len() / 2)
                .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
                .collect();
            stored::decode::<ExchangeRecord>(&bytes).unwrap()
        };
        assert_eq!(read(1), read(2), "{name}");
    }
}

#[test]
fn golden_shadow_records() {
    let record = |body| ShadowRecord { parent: Digest([7; 32]), at: at(2), body };
    let sending = ShadowBody::Sending { exchange: number(71), system: System::Engine, mode: Mode::Forced, attempt: 3 };
    check("shadow-sending", &record(sending));
    let result = LegResult {
        exchange: number(71),
        system: System::Engine,
        mode: Mode::Shadow,
        attempt: 1,
        class: Class::Refused,
        status: 422,
        headers: vec![("content-type".into(), "application/problem+json".into())],
        body: Body(b"{}".to_vec()),
        duration_micros: 1_234,
        replayed: false,
        last: false,
    };
    check("shadow-result", &record(ShadowBody::Result(result)));
    check("shadow-skipped", &record(ShadowBody::Skipped { exchange: number(72), reason: Single::Repeat }));
    check("shadow-asking", &record(ShadowBody::Asking { exchange: number(73) }));
    let resolution = |by| Resolution {
        exchange: number(73),
        system: System::Legacy,
        class: Class::Applied,
        status: 200,
        body: Body(b"{}".to_vec()),
        by,
    };
    check("shadow-resolved", &record(ShadowBody::Resolved(resolution(ResolvedBy::Key))));
    let person = ResolvedBy::Person { actor: "ops".into(), reason: "asked the bank".into() };
    check("shadow-resolved-by-person", &record(ShadowBody::Resolved(resolution(person))));
    check("shadow-cursor", &record(ShadowBody::Cursor { offset: 400 }));
}

#[test]
fn golden_rollout_records() {
    let setting = Setting { stage: Stage::Ramp, percent: percent("0.5") };
    let front = FrontBoot { front: "front-a".into(), boot: 3 };
    let gate = GateReading { gate: "unknown".into(), open: true, seen: "0 unresolved".into() };
    let bodies = [
        ("rollout-moved", RolloutBody::Moved { version: 1, to: setting, forced: true, evidence: vec![gate.clone()] }),
        (
            "rollout-prepare",
            RolloutBody::Prepare {
                version: 2,
                to: setting,
                forced: false,
                evidence: vec![gate],
                fronts: vec![front.clone()],
            },
        ),
        (
            "rollout-prepared",
            RolloutBody::Prepared { version: 2, front, mark: 80, unknown_accounts: vec!["alice".into()] },
        ),
        ("rollout-drained", RolloutBody::Drained { version: 2 }),
        ("rollout-commit", RolloutBody::Commit { version: 2, held_back: vec!["alice".into()] }),
        ("rollout-abort", RolloutBody::Abort { version: 2, late: vec!["front-b".into()] }),
        ("rollout-freeze", RolloutBody::Freeze),
        ("rollout-unfreeze", RolloutBody::Unfreeze),
        ("rollout-pin", RolloutBody::Pin { version: 3, account: "alice".into(), system: Some(System::Engine) }),
    ];
    for (name, body) in bodies {
        let record =
            RolloutRecord { parent: Digest([9; 32]), at: at(3), actor: "ops".into(), reason: "why".into(), body };
        check(name, &record);
    }
}

#[test]
fn golden_rollout_state() {
    let mut state = Rollout::genesis("demo");
    state.pins.insert("alice".into(), System::Legacy);
    state.held_back.insert("bob".into(), System::Engine);
    state.pending = Some(Pending {
        version: 4,
        to: Setting { stage: Stage::Engine, percent: Percent::ALL },
        fronts: vec![FrontBoot { front: "front-a".into(), boot: 3 }],
        prepared: [("front-a".to_owned(), 80)].into(),
        unknown_accounts: ["carol".to_owned()].into(),
        drained: false,
    });
    check("rollout-state", &state);
}

#[test]
fn golden_decision_records() {
    let offset = Offset { account: "alice".into(), currency: "EUR".into(), amount: "-0.01".parse().unwrap() };
    let finding = Finding {
        discrepancy: number(71).to_string(),
        exchange: Some(number(71)),
        cause: Cause::Lost,
        system: System::Legacy,
        offsets: vec![offset],
    };
    let reconciliation = Reconciliation {
        id: "r-1".into(),
        started_at: at(4),
        ended_at: at(5),
        compared: 100,
        equal: 99,
        different: 1,
        explained: 1,
        only_legacy: 0,
        only_engine: 0,
        not_comparable: 3,
        not_comparable_because: None,
        variance: vec![Variance {
            currency: "EUR".into(),
            total: "0.01".parse().unwrap(),
            unexplained: "0".parse().unwrap(),
        }],
        differences: vec![BalanceDifference {
            account: "alice".into(),
            currency: "EUR".into(),
            legacy: Some("9.99".parse().unwrap()),
            engine: Some("10".parse().unwrap()),
            explained: "-0.01".parse().unwrap(),
        }],
    };
    let bodies = [
        (
            "decision-inquired",
            DecisionBody::Inquired {
                exchange: Some(number(80)),
                accounts: vec!["alice".into()],
                findings: vec![finding],
            },
        ),
        ("decision-reconciled", DecisionBody::Reconciled(reconciliation)),
        ("decision-settled", DecisionBody::Settled { discrepancy: "front-a.3.71".into() }),
        ("decision-reopened", DecisionBody::Reopened { discrepancy: "front-a.3.71".into() }),
        ("decision-told", DecisionBody::Told { exchange: number(71), system: System::Legacy, applied: true }),
    ];
    for (name, body) in bodies {
        let record =
            DecisionRecord { parent: Digest([8; 32]), at: at(6), actor: "ops".into(), reason: "why".into(), body };
        check(name, &record);
    }
}

#[test]
fn golden_dead_letters() {
    let origin = Origin { topic: "billing.commands".into(), partition: 3, offset: 70_000 };
    let letter = |event| DeadLetter { origin: origin.clone(), event };
    let (actor, reason) = ("ops".to_owned(), "a bug was mended".to_owned());
    let found = |bytes| DeadLetterEvent::Found { reason: "record body is damaged".into(), bytes };
    check("dead-letter-found", &letter(found(Some(Body(b"abc".to_vec())))));
    check("dead-letter-found-gone", &letter(found(None)));
    check(
        "dead-letter-redriven",
        &letter(DeadLetterEvent::Redriven { actor: actor.clone(), reason: reason.clone(), offset: 70_123 }),
    );
    check("dead-letter-dropped", &letter(DeadLetterEvent::Dropped { actor, reason }));
}

#[test]
fn golden_order_marks() {
    check("order-mark", &OrderMark { exchanges: 1_000_000, shadows: 300, rollout: 7, decisions: 0 });
}

#[test]
fn golden_ingest_frames() {
    let frames = [
        ("ingest-hello", IngestFrame::Hello { front: "front-a".into(), boot: 3, instance: 42, token: "secret".into() }),
        ("ingest-welcome", IngestFrame::Welcome { durable: 70 }),
        ("ingest-refused", IngestFrame::Refused { reason: "wrong token".into() }),
        ("ingest-records", IngestFrame::Records { records: vec![Body(vec![1, 2, 3])] }),
        ("ingest-heartbeat", IngestFrame::Heartbeat { at: at(7), sequence: 71 }),
        ("ingest-ack", IngestFrame::Ack { durable: 71 }),
    ];
    for (name, frame) in frames {
        check(name, &frame);
    }
}

#[test]
fn every_golden_file_is_checked() {
    // A file whose test went away would pin nothing. The journal's own tests name theirs in parts.
    let source = include_str!("golden.rs");
    for entry in std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.split('.').next().unwrap();
        let of_the_journal =
            ["command-", "outcome-", "event-", "snapshot-"].iter().any(|prefix| stem.starts_with(prefix));
        assert!(of_the_journal || source.contains(&format!("\"{stem}\"")), "{name} belongs to no test");
    }
}
