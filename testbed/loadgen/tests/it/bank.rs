//! The bank's year: read, mapped, audited, replayed.

use crate::legacy::Legacy;
use flate2::Compression;
use flate2::write::GzEncoder;
use host::task::Shutdown;
use std::io::Write;
use std::path::PathBuf;
use testbed_auditor::Money;
use testbed_auditor::request::Ask;
use testbed_legacy::Config;
use testbed_loadgen::bank::{Bank, Error};
use testbed_loadgen::replay::{Options, Replay};

const HEADER: &str =
    "transaction_id,date,account_id,direction,operation,amount,balance_after,counterparty_bank,counterparty_account\n";

fn gzipped(rows: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(HEADER.as_bytes()).unwrap();
    encoder.write_all(rows.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

const ROWS: &str = "\
1,1993-01-01,7,credit,cash-in,700.00,700.00,,
2,1993-01-02,7,debit,card-out,100.10,599.90,,
3,1993-01-03,7,debit,transfer-out,500.00,99.90,AB,123
4,1993-01-03,8,credit,transfer-in,5.50,5.50,CD,9
5,1993-01-04,7,debit,cash-out,100.00,-0.10,,
6,1993-01-05,8,credit,interest,0.10,5.60,,
";

/// The real data, or `None`, said loudly, where it is not.
fn real() -> Option<Bank> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/bank-1993.csv.gz");
    let path = std::env::var_os("CROSSFADE_BANK_DATA").map_or(beside, PathBuf::from);
    match Bank::read(&path) {
        Ok(bank) => Some(bank),
        Err(Error::Absent(path)) => {
            eprintln!("NOT TESTED with real data: there is no {} (set CROSSFADE_BANK_DATA)", path.display());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn rows_become_requests() {
    let bank = Bank::parse(&gzipped(ROWS)).unwrap();
    let asked = bank.entries().iter().map(|entry| match entry.call.read().unwrap() {
        request if request.key.as_deref() != Some(entry.transaction.as_str()) => panic!("{request:?}"),
        request => match request.ask {
            Ask::Move(asked) => {
                format!("{} {} {} {}", asked.kind.as_str(), asked.source, asked.destination, asked.amount)
            }
            other => panic!("{other:?}"),
        },
    });
    let expected = [
        "topup bank account-7 700",
        "withdraw account-7 bank 100.1",
        "transfer account-7 cp-AB-123 500",
        "topup cp-CD-9 account-8 5.5",
        "withdraw account-7 bank 100",
        "topup bank account-8 0.1",
    ];
    assert_eq!(asked.collect::<Vec<_>>(), expected);
    assert_eq!(bank.accounts().len(), 5, "the bank, two counterparties, two users");
    assert_eq!(bank.lanes()["account-7"].len(), 4);
    let audit = bank.audit();
    assert_eq!(audit.refused, ["5"]);
    assert_eq!(audit.balances["account-7"], Money::level("99.9").unwrap());
    assert_eq!(audit.balances["bank"], Money::level("-600").unwrap());
}

#[test]
fn other_data_is_refused_with_its_place() {
    for (rows, text) in [
        ("1,1993-01-01,7,credit,loan,1.00,1.00,,\n", "transaction 1: a credit by loan"),
        ("1,1993-01-01,7,debit,cash-in,1.00,1.00,,\n", "transaction 1: a debit by cash-in"),
        ("1,1993-01-01,7,credit,transfer-in,1.00,1.00,,\n", "transaction 1: a transfer without counterparty"),
        ("1,1993-01-01,7,credit,cash-in,-1.00,1.00,,\n", "transaction 1: amount is not in the grammar"),
        ("1,1993-01-01,7\n", "CSV error"),
    ] {
        let error = Bank::parse(&gzipped(rows)).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(Bank::parse(b"no gzip").is_err());
    assert!(matches!(Bank::read("/nowhere/bank.csv.gz".as_ref()), Err(Error::Absent(_))));
}

#[test]
fn fourteen_rows_of_the_real_year_are_refused() {
    let Some(bank) = real() else { return };
    assert_eq!(bank.entries().len(), 28_205);
    let audit = bank.audit();
    let expected = [
        "332732", "136153", "1176458", "1693860", "1730747", "452791", "764211", "2592512", "2780592", "649504",
        "2969309", "14443", "1602815", "860979",
    ];
    assert_eq!(audit.refused, expected);
    assert_eq!(audit.balances.values().copied().sum::<Money>(), Money::ZERO);
    let overdrawn = audit.balances.iter().filter(|(id, balance)| id.starts_with("account-") && **balance < Money::ZERO);
    assert_eq!(overdrawn.count(), 0);
}

async fn replay(bank: &Bank) {
    let legacy = Legacy::start(Config::default()).await;
    let replay = Replay::new(Options { base_url: legacy.url.clone(), ..Options::default() });
    let report = replay.run(bank, &Shutdown::new()).await;
    let audit = bank.audit();
    assert_eq!(report.differences, Vec::<String>::new());
    assert_eq!((report.answered, report.unanswered), (bank.entries().len(), 0));
    assert_eq!(report.refused, audit.refused);
    assert_eq!(legacy.system.balances().await.unwrap(), audit.balances);
    assert_eq!(replay.expected_balances(), audit.balances);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_as_predicted() {
    replay(&Bank::parse(&gzipped(ROWS)).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beginning_of_the_real_year_replays() {
    // A request is one fsync, so the whole year has its place in a run of its own (`./dev replay`).
    if let Some(bank) = real() {
        replay(&bank.shortened(2_000)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_finds_what_is_wrong() {
    let legacy = Legacy::start(Config::default()).await;
    legacy.put_faults(serde_json::json!([{"kind": "wrong-fee", "rate": 1}])).await;
    let replay = Replay::new(Options { base_url: legacy.url.clone(), ..Options::default() });
    let report = replay.run(&Bank::parse(&gzipped(ROWS)).unwrap(), &Shutdown::new()).await;
    let found = report
        .differences
        .iter()
        .any(|text| text.contains("transaction 1: destination movement should be 700, is 699.99"));
    assert!(found, "{:#?}", report.differences);
}
