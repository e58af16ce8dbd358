//! What survives a restart, and what keeps a legacy from starting.

use crate::client::{Legacy, config};
use serde_json::json;
use testbed_legacy::{Config, bind};

#[tokio::test]
async fn everything_answered_is_there_after_a_restart() {
    let legacy = Legacy::start().await.with_people().await;
    let transfer = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    legacy.fault("wrong-fee").await;
    let fault = legacy.transact("topup", "f", "bank", "bob", "1").await;
    let log = legacy.fault_log().await;
    let legacy = legacy.restart().await;
    assert_eq!([legacy.balance("alice").await, legacy.balance("bob").await], ["90", "10.99"]);
    let again = legacy.transact("transfer", "k", "alice", "bob", "10").await;
    assert_eq!((again.replayed, &again.text), (true, &transfer.text));
    assert_eq!(legacy.history("bob").await, [fault.body, transfer.body]);
    assert_eq!(legacy.fault_log().await, log, "the ledger survives");
    assert_eq!(legacy.get("/faults").await.body, json!({"faults": []}), "the switch does not");
    let next = legacy.transact("topup", "n", "bank", "bob", "1").await;
    assert_eq!(next.id(), "L-000000000004");
}

#[tokio::test]
async fn a_second_process_on_one_store_is_told_so() {
    let legacy = Legacy::start().await;
    let error = bind(legacy.config.clone()).await.unwrap_err().to_string();
    if legacy.database.is_some() {
        assert!(error.contains("another process uses the schema `legacy` of this database"), "{error}");
    } else {
        assert!(error.contains("another process uses the data directory"), "{error}");
        assert!(error.contains(legacy.config.data_dir.to_str().unwrap()), "{error}");
    }
    assert_eq!(legacy.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let data_dir = file.join("legacy");
    let error = bind(Config { data_dir: data_dir.clone(), ..config() }).await.unwrap_err().to_string();
    assert!(error.contains("cannot create the directory") && error.contains(data_dir.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let legacy = Legacy::start().await;
    let directory = tempfile::tempdir().unwrap();
    let address = legacy.url.strip_prefix("http://").unwrap().parse().unwrap();
    let error =
        bind(Config { listen: address, data_dir: directory.path().join("other"), ..config() }).await.unwrap_err();
    assert!(error.to_string().contains(&format!("cannot listen on {address}")), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_store_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("legacy.redb"), "nonsense".repeat(1000)).unwrap();
    let error = bind(Config { data_dir: directory.path().into(), ..config() }).await.unwrap_err().to_string();
    assert!(error.contains("the legacy's store"), "{error}");
}

#[test]
fn unknown_settings_are_errors() {
    assert!(serde_json::from_value::<Config>(json!({"data_dir": "x", "listen": "127.0.0.1:1"})).is_ok());
    assert!(serde_json::from_value::<Config>(json!({"data_dri": "x"})).is_err());
    let database = |postgres| serde_json::from_value::<Config>(json!({ "postgres": postgres }));
    let config = database(json!({"url": {"env": "PATH"}})).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap()["postgres"], json!({"url": "(hidden)"}));
    assert!(database(json!({"url": {"env": "PATH"}, "connections": 1})).is_err());
    let error = database(json!({"url": "postgres://me:a-secret@there"})).unwrap_err().to_string();
    assert!(!error.contains("a-secret"), "{error}");
}
