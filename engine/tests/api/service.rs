//! Starting, refusing to start, stopping.

use crate::support::{Engine, config, header, movement, text};
use engine::config::DefaultAnswer;
use engine::{Config, Error};
use host::task::Shutdown;
use serde_json::Value;

/// Why an engine with this configuration does not start.
async fn refusal(config: Config) -> Error {
    refusal_of(config, "test").await
}

async fn refusal_of(config: Config, ledger: &str) -> Error {
    match engine::bind(config, ledger, None, None).await {
        Ok(bound) => bound.run(Shutdown::new()).await.expect_err("it started"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    std::fs::write(&file, b"in the way").unwrap();
    let inside = file.join("data");
    let error = refusal(config(&inside)).await;
    assert!(matches!(error, Error::Log(_)), "{error}");
    assert!(error.to_string().contains(inside.to_str().unwrap()), "{error}");
    // Root may write anywhere, except where nothing can be written.
    let nowhere = refusal(config(std::path::Path::new("/proc/crossfade"))).await;
    assert!(nowhere.to_string().contains("/proc/crossfade"), "{nowhere}");
}

#[tokio::test]
async fn a_second_engine_on_one_directory_does_not_start_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let engine = Engine::start_in(dir, |config| config).await.with_users(&[("alice", "1")]).await;
    let error = refusal(config(&path)).await;
    let line = error.to_string();
    assert!(line.contains("another process uses") && line.contains(path.to_str().unwrap()), "{line}");
    assert_eq!(engine.balance_of("alice").await, "1");
    engine.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let engine = Engine::start().await;
    let dir = tempfile::tempdir().unwrap();
    for (taken, control) in [(engine.address(), false), (engine.control_address(), true)] {
        let mut config = config(dir.path());
        *if control { &mut config.control_listen } else { &mut config.listen } = taken;
        let error = refusal(config).await.to_string();
        assert!(error.contains(&taken.to_string()), "{error}");
    }
    engine.stop().await;
}

#[tokio::test]
async fn a_log_of_another_ledger_or_shape_is_refused() {
    let engine = Engine::start_with(|config| Config { shards: 3, ..config }).await.with_users(&[("alice", "1")]).await;
    let dir = engine.stop().await;
    for shards in [2, 4] {
        let error = refusal(Config { shards, ..config(dir.path()) }).await;
        assert!(matches!(error, Error::Ledger(_)), "{shards}: {error}");
    }
    let error = refusal_of(Config { shards: 3, ..config(dir.path()) }, "another").await;
    assert!(matches!(error, Error::Ledger(_)), "{error}");
    let engine = Engine::start_in(dir, |config| Config { shards: 3, ..config }).await;
    assert_eq!(engine.balance_of("alice").await, "1");
    engine.stop().await;
}

#[tokio::test]
async fn values_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let base = || config(dir.path());
    for (config, key) in [
        (Config { shards: 0, ..base() }, "engine.shards"),
        (Config { shards: 100_000, ..base() }, "engine.shards"),
        (Config { answer_wait_ms: 0, ..base() }, "engine.answer_wait_ms"),
        (Config { max_body_bytes: 0, ..base() }, "engine.max_body_bytes"),
        (Config { max_body_bytes: (1 << 20) + 1, ..base() }, "engine.max_body_bytes"),
        (Config { actor_header: Some("X Actor".into()), ..base() }, "engine.actor_header"),
    ] {
        let error = refusal(config).await;
        assert!(matches!(error, Error::Config { .. }) && error.to_string().starts_with(key), "{error}");
    }
}

#[test]
fn the_configuration_has_defaults_and_no_unknown_keys() {
    let least = "listen = \"127.0.0.1:8081\"\ncontrol_listen = \"127.0.0.1:8082\"\ndata_dir = \"data\"\n";
    let config: Config = toml::from_str(least).unwrap();
    assert_eq!((config.shards, config.answer_wait_ms, config.max_body_bytes), (10, 5000, 1 << 20));
    assert_eq!((config.default_answer, config.refusal_keeps_key), (DefaultAnswer::Final, true));
    assert!(config.actor_header.is_none() && config.service_token.is_none());
    let changed: Config = toml::from_str(&format!("{least}default_answer = \"async\"\nshards = 4\n")).unwrap();
    assert_eq!((changed.default_answer, changed.shards), (DefaultAnswer::Async, 4));
    for (more, names) in [
        ("shard = 4", "unknown field `shard`"),
        ("shards = \"4\"", "invalid type"),
        ("default_answer = \"never\"", "unknown variant `never`"),
        ("service_token = \"secret\"", "service_token"),
        ("service_token = { env = \"CROSSFADE_TEST_UNSET\" }", "CROSSFADE_TEST_UNSET is not set"),
    ] {
        let error = toml::from_str::<Config>(&format!("{least}{more}\n")).unwrap_err().to_string();
        assert!(error.contains(names) && error.contains("line 4"), "{more}: {error}");
    }
    let error = toml::from_str::<Config>("listen = \"127.0.0.1:8081\"\n").unwrap_err().to_string();
    assert!(error.contains("missing field"), "{error}");
}

#[tokio::test]
async fn what_is_in_flight_is_finished_before_the_stop() {
    let engine = Engine::start().await.with_users(&[("alice", "100"), ("bob", "0")]).await;
    let address = engine.address();
    let requests: Vec<_> = (0..50)
        .map(|index| {
            let body = movement(&format!("k-{index}"), "alice", "bob", "1").to_string();
            tokio::spawn(async move {
                let client = host::http::Client::new(std::time::Duration::from_secs(30), 1 << 20);
                let url = format!("http://{address}/transactions/transfer");
                let request = host::http::request(http::Method::POST, &url, None, body.into()).unwrap();
                client.send(request, std::time::Duration::from_secs(30)).await
            })
        })
        .collect();
    let dir = engine.stop().await;
    let mut acknowledged = 0;
    for request in requests {
        // A connection that came too late is refused or closed; whoever was answered, was answered finally.
        if let Ok(answer) = request.await.unwrap() {
            assert_eq!(
                (answer.status.as_u16(), header(&answer, "idempotency-replayed")),
                (200, None),
                "{}",
                text(&answer)
            );
            acknowledged += 1;
        }
    }
    let engine = Engine::start_in(dir, |config| config).await;
    let booked: u64 = engine.balance_of("bob").await.parse().unwrap();
    assert!(booked >= acknowledged, "{booked} of {acknowledged} acknowledged");
    let history: Value = engine.read("/accounts/bob/transactions?limit=1000").await;
    assert_eq!(history["transactions"].as_array().unwrap().len() as u64, booked);
    engine.stop().await;
}

/// Alarms go by it: a database that was never there is behind by all of the journal.
#[tokio::test]
async fn a_database_that_was_never_there_is_behind() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody listens on port 1.
    let database = engine::postgres::Config {
        url: host::secret::Secret::new("postgres://user@127.0.0.1:1/database"),
        connections: 10,
        statement_timeout_ms: 1_000,
    };
    let bound = engine::bind(config(dir.path()), "test", None, Some(database)).await.unwrap();
    let url = format!("http://{}", bound.address().unwrap());
    let shutdown = Shutdown::new();
    let running = host::task::spawn(bound.run(shutdown.clone()));
    let client = host::http::Client::new(std::time::Duration::from_secs(30), 64 << 20);
    let get = async |path: &str| client.get(&format!("{url}{path}"), None, std::time::Duration::from_secs(30)).await;
    let is_behind = |metrics: &str| {
        let lag = metrics.lines().filter(|line| line.starts_with("crossfade_projection_lag_records"));
        lag.filter(|line| line.contains("history")).any(|line| line.ends_with(" 1"))
    };
    let account = r#"{"accountId":"alice","ownerId":"o","ownerType":"person","accountType":"USER","currency":"EUR"}"#;
    let behind = async {
        let made = async || {
            let url = format!("{url}/accounts");
            let request = host::http::request(http::Method::POST, &url, None, account.into()).unwrap();
            client.send(request, std::time::Duration::from_secs(30)).await.is_ok_and(|answer| answer.status == 201)
        };
        while !made().await {
            tokio::task::yield_now().await;
        }
        while !get("/metrics").await.is_ok_and(|answer| is_behind(&String::from_utf8_lossy(&answer.body))) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), behind).await.expect("how far it is behind is shown");
    shutdown.stop();
    running.await.unwrap().unwrap();
}
