//! Every stored form survives the way through the domain; what the domain excludes is not let in.

use super::*;
use std::path::Path;
use wire::stored::{self, Stored};
use wire::words::{REASONS_OF_STATE, REFUSAL_CODES};

/// The golden files of the journal hold every variant of every type.
fn golden_files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ["command-", "outcome-", "event-"].iter().any(|of_journal| name.starts_with(of_journal)) {
            let hex = std::fs::read_to_string(&path).unwrap();
            let bytes = hex.trim().as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            files.push((name, bytes.map(byte).collect()));
        }
    }
    assert!(files.len() > 50, "only {} golden files found", files.len());
    files
}

#[test]
fn every_golden_record_comes_back_the_same() {
    // What an older version wrote is written anew as the newest; `wire` has both pinned.
    for (name, bytes) in golden_files() {
        if bytes[..2] == command::Command::TYPE.to_le_bytes() {
            let command = decode_command(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let newest = stored::encode(&stored::decode::<command::Command>(&bytes).unwrap());
            assert_eq!(encode_command(&command), newest, "{name}");
        } else {
            let stored: journal::Outcome = stored::decode(&bytes).unwrap();
            let (parent, newest) = (stored.parent, stored::encode(&stored));
            let outcome = outcome_from_wire(stored).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(encode_outcome(&outcome, parent), newest, "{name}");
        }
    }
}

fn a_move() -> command::Command {
    let (_, bytes) = golden_files().into_iter().find(|(name, _)| name.starts_with("command-topup")).unwrap();
    stored::decode(&bytes).unwrap()
}

#[test]
fn what_the_domain_excludes_is_not_let_in() {
    type Break = fn(&mut command::Command, &mut command::Move);
    let cases: [(&str, Break); 6] = [
        ("account id ``", |_, request| request.source.clear()),
        ("account id `a b`", |_, request| request.destination = "a b".into()),
        ("currency `eur`", |_, request| request.currency = "eur".into()),
        ("amount `0`", |_, request| request.amount = wire::scalar::Money::ZERO),
        ("amount `-1`", |_, request| request.amount = "-1".parse().unwrap()),
        ("mode `import`", |command, _| command.mode = wire::words::Mode::Import),
    ];
    for (expected, broken) in cases {
        let mut command = a_move();
        let command::Body::Move(mut request) = command.body.clone() else { panic!("no move") };
        broken(&mut command, &mut request);
        command.body = command::Body::Move(request);
        let error = decode_command(&stored::encode(&command)).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    assert!(matches!(decode_command(&[1]), Err(Error::Decode(DecodeError::TooShort(1)))));
}

#[test]
fn unreadable_bytes_make_the_same_command_for_everybody() {
    let one = unreadable(b"garbage", 3, 7);
    assert_eq!(one, unreadable(b"garbage", 3, 7));
    assert_ne!(one.id, unreadable(b"garbage", 3, 8).id);
    assert_eq!(decode_command(&encode_command(&one)).unwrap(), one);
}

#[test]
fn both_sides_use_the_same_words() {
    for rejection in Rejection::ALL {
        let code = rejection.code();
        assert!(REFUSAL_CODES.contains(&code), "{code}");
        assert_eq!(REASONS_OF_STATE.contains(&code), rejection.is_reason_of_state(), "{code}");
        assert_eq!(serde_json::to_value(rejection.to_wire()).unwrap(), code);
    }
    for account_type in [AccountType::User, AccountType::External, AccountType::System] {
        assert_eq!(serde_json::to_value(account_type.to_wire()).unwrap(), account_type.as_str());
    }
    for status in [Status::Active, Status::Frozen, Status::Closed] {
        assert_eq!(serde_json::to_value(status.to_wire()).unwrap(), status.as_str());
    }
    for kind in [Kind::Topup, Kind::Withdraw, Kind::Transfer, Kind::Refund] {
        assert_eq!(serde_json::to_value(kind.to_wire()).unwrap(), kind.as_str());
    }
    let transaction = TransactionId::derive("", "alice", "key");
    assert!(wire::ids::is_engine_transaction_id(&transaction.to_string()));
    for id in ["alice", "a.b_c:d-E9", "", "a b", "ä", &"x".repeat(64), &"x".repeat(65)] {
        assert_eq!(AccountId::new(id).is_some(), wire::ids::is_account_id(id), "{id}");
    }
}
