//! A large ledger is made in both systems, and they agree on it.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it saw and may stop where it stands")]

use crossfade::demo::site::Changes;
use host::http::Client;
use http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testbed_auditor::Money;
use testbed_e2e::checks;
use testbed_e2e::system::{Layout, System};
use testbed_loadgen::seed::{Plan, Transaction};

const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");
const BINARY: &str = env!("CARGO_BIN_EXE_crossfade-under-test");
const TIMEOUT: Duration = Duration::from_secs(10);

/// What `loadgen seed --accounts 500 --transactions 20000` makes: more than one batch of it.
fn plan() -> Plan {
    Plan {
        seed: 1,
        prefix: "seed".into(),
        currency: "EUR".into(),
        users: 500,
        externals: 5,
        topups: 15_000,
        spendings: 5_000,
    }
}

fn loadgen(config: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(LOADGEN);
    command.args(["seed", "--accounts", "500", "--transactions", "20000"]).args(arguments).arg("--config").arg(config);
    let ended = command.env_remove("CROSSFADE_ENGINE").output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

fn seed(system: &System, into: &str) -> (i32, String) {
    loadgen(&system.site.config, &["--into", into])
}

/// What one system says of an account's history: key, kind, amount, own balance after it.
async fn history(client: &Client, base: &str, account: &str) -> Vec<[Value; 4]> {
    let page = client.get(&format!("{base}/accounts/{account}/transactions?limit=1000"), None, TIMEOUT).await.unwrap();
    let page: Value = page.json().unwrap();
    let of = |row: &Value| {
        let side = if row["source"]["accountId"] == *account { &row["source"] } else { &row["destination"] };
        ["trackingId", "type", "amount"].map(|name| row[name].clone()).into_iter().chain([side["movement"].clone()])
    };
    let rows = page["transactions"].as_array().unwrap().iter();
    let mut rows: Vec<[Value; 4]> = rows.map(|row| Vec::from_iter(of(row)).try_into().unwrap()).collect();
    // Transactions of different accounts may be decided in any order.
    rows.sort_by_key(|row| row[0].to_string());
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn both_systems_are_filled_with_the_same() -> anyhow::Result<()> {
    let mut system = System::prepare(Path::new(BINARY), Layout::Four, &Changes::default()).await?;
    system.start_process("engine").await?;
    let (code, said) = seed(&system, "both");
    assert_eq!(code, 0, "{said}");
    println!("{said}");
    let (code, said) = seed(&system, "legacy");
    assert!(code == 1 && said.contains("holds data already"), "{code} {said}");
    let (code, said) = loadgen(&system.site.config, &["--into", "engine", "-o", "json"]);
    assert_eq!(code, 0, "what is there already stays: {said}");
    let made: Value = serde_json::from_str(&said)?;
    assert_eq!((&made["accounts"], &made["figures"][1]["count"]), (&json!(505), &json!(15_000)), "{made:#}");
    for name in ["legacy", "relay", "front"] {
        system.start_process(name).await?;
    }
    let balances = checks::equal_balances(&system).await?;
    let plan = plan();
    assert_eq!(balances.len(), plan.accounts_count());
    let mut expected: i128 = 0;
    let count = |transaction: Transaction| i128::from(transaction.hundredths);
    expected += plan.topups().map(count).sum::<i128>();
    expected -= plan.spendings().filter(|spending| spending.kind == "withdraw").map(count).sum::<i128>();
    let users = balances.iter().filter(|(id, _)| id.contains("-user-")).map(|(_, balance)| *balance);
    let text = format!("{}.{:02}", expected / 100, expected % 100);
    assert_eq!(users.fold(Money::default(), |sum, balance| sum + balance), Money::level(&text).unwrap());
    let client = Client::new(TIMEOUT, 64 << 20);
    for number in [0, 1, 499] {
        let (legacy, engine) = (system.site.legacy(), system.site.engine());
        let [legacy, engine] =
            [history(&client, &legacy, &plan.user(number)).await, history(&client, &engine, &plan.user(number)).await];
        assert!(legacy.len() >= 30 && legacy == engine, "{legacy:?} {engine:?}");
    }
    // Both know the keys, and go on behind what is there.
    let known = plan.topups().next().unwrap();
    for base in [system.site.legacy(), system.site.engine()] {
        let url = format!("{base}/transactions/topup");
        let mut body = known.body(&plan);
        for (key, replayed) in [(known.key.clone(), true), ("one-more".to_owned(), false)] {
            body["idempotencyKey"] = json!(key);
            let request = host::http::request(Method::POST, &url, None, body.to_string().into())?;
            let answer = client.send(request, TIMEOUT).await?;
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            assert_eq!(answer.headers.contains_key("idempotency-replayed"), replayed, "{url} {key}");
        }
    }
    system.dial("shadow", false).await?;
    let (_, reconciliation) = system.until_judged(Duration::from_secs(60)).await?;
    assert_eq!((reconciliation.equal, reconciliation.different), (505, 0), "{reconciliation:?}");
    system.stop().await
}

#[test]
fn what_cannot_be_made_is_said_before_anything_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("crossfade.toml");
    let legacy = format!("[legacy]\ndata_dir = \"{}/legacy\"\n", folder.path().display());
    let (longest, longer) = ("p".repeat(51), "p".repeat(52));
    let engine = ["--engine", "http://127.0.0.1:1"];
    let cases: [(&str, &[&str], i32, &str); 8] = [
        (&legacy, &["--prefix", &longest], 0, "505 accounts, 15000 topups, 5000 spendings"),
        (&legacy, &["--prefix", &longer], 2, "which is no account id"),
        (&legacy, &["--prefix", "a b/ü"], 2, "--prefix would make `a b/ü-user-0000000`"),
        (&legacy, &["--currency", "eur"], 2, "--currency `eur` is none: those are 3 to 10 capital letters"),
        (&legacy, &["--currency", "EU"], 2, "--currency `EU`"),
        ("", &[], 2, "has no section [legacy]"),
        ("", &["--into", "legacy"], 2, "has no section [legacy]"),
        ("", &["--into", "engine"], 0, "505 accounts"),
    ];
    for (sections, arguments, exit, expected) in cases {
        std::fs::write(&config, format!("ledger = \"a\"\n{sections}")).unwrap();
        let (code, said) = loadgen(&config, &[arguments, &engine, &["--dry-run"]].concat());
        assert!(code == exit && said.contains(expected), "{sections} {arguments:?}: {code} {said}");
    }
    let (code, said) = loadgen(&config, &["--into", "engine", "--dry-run"]);
    assert!(code == 2 && said.contains("where is the engine?"), "{code} {said}");
    std::fs::write(&config, format!("ledger = \"a\"\n{legacy}")).unwrap();
    let (code, said) = loadgen(&config, &["--into", "legacy", "--dry-run", "-o", "json"]);
    let made: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, made), (0, json!({"accounts": 505, "topups": 15_000, "spendings": 5_000, "figures": []})));
    assert!(!folder.path().join("legacy").exists(), "it was a dry run");
}
