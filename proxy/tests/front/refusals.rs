//! Bad input, and what the front itself refuses: nothing is sent then, and nothing recorded.

use crate::support::{Front, World, chain, code, eventually, intent, result, topup};
use http::{Method, StatusCode};
use proxy::front::{Config, WhenFull};
use serde_json::json;
use std::io::{Read, Write};
use wire::exchange::{ExchangeBody, GapReason};
use wire::words::{Class, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_system_can_read_goes_to_the_default_authority_and_is_recorded() {
    let world = World::new().await;
    let front = world.front().await;
    let bodies = ["no json", "", "[]", "{\"idempotencyKey\":\"k\"}", "{\"destinationAccountId\":5}"];
    world.legacy.always(crate::support::system::Reply::code(400, "MalformedRequest"));
    for body in bodies {
        let answer = front.send(front.request(Method::POST, "/transactions/topup", &[], body)).await;
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (400, "MalformedRequest"), "{body}");
    }
    eventually("all is recorded", || world.ingest.count() == 2 * bodies.len()).await;
    let records = world.ingest.records();
    for (index, body) in bodies.into_iter().enumerate() {
        let recorded = intent(&records[2 * index]).unwrap();
        assert_eq!((&recorded.account, recorded.authority), (&None, System::Legacy));
        assert_eq!(recorded.body.0, body.as_bytes());
        assert_eq!(result(&records[2 * index + 1]).unwrap().class, Class::NotExecuted);
    }
    assert_eq!(world.legacy.writes().last().unwrap().body, bodies[4].as_bytes(), "it is passed on as it came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_front_refuses_is_neither_sent_nor_recorded() {
    let world = World::new().await;
    let front = world.front().await;
    let large = vec![b' '; 1024 * 1024 + 1];
    for (method, path, body, status, expected) in [
        (Method::POST, "/transactions/topup", large.clone(), 413, "BodyTooLarge"),
        (Method::GET, "/accounts/alice", large, 413, "BodyTooLarge"),
        (Method::GET, "/nothing/here", Vec::new(), 404, "NoSuchRoute"),
        (Method::DELETE, "/accounts", Vec::new(), 405, "MethodNotAllowed"),
        (Method::POST, "/transactions/payment", b"{}".to_vec(), 409, "NotYetMoved"),
        (Method::POST, "/transactions/batch", b"{}".to_vec(), 409, "NotYetMoved"),
        (Method::POST, "/transactions/x/capture", b"{}".to_vec(), 409, "NotYetMoved"),
    ] {
        let headers = [("x-correlation-id", "mine")];
        let answer = front.send(front.request(method, path, &headers, body)).await;
        assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (status, expected), "{path}");
        assert_eq!(answer.headers["x-correlation-id"], "mine");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json::<serde_json::Value>().unwrap()["correlationId"], "mine");
        let allow = answer.headers.get("allow").map(|allow| allow.to_str().unwrap());
        assert_eq!(allow, (status == 405).then_some("GET, POST"), "{path}");
    }
    let largest = json!({ "destinationAccountId": "alice", "x": "x".repeat(1024 * 1024 - 100) });
    assert_eq!(front.post("/transactions/topup", &largest).await.status, StatusCode::OK);
    eventually("only that is recorded", || world.ingest.count() == 2).await;
    assert_eq!(world.legacy.count() + world.engine.count(), 1);
}

/// Sends bytes as they are; answers what comes back until the front closes the connection.
fn raw(front: &Front, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(front.address).unwrap();
    stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_be_read_in_two_ways_is_answered_400_and_the_connection_closed() {
    let world = World::new().await;
    let front = world.front().await;
    for head in [
        "GET /accounts HTTP/1.1\r\n\r\n",
        "GET /accounts HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST /accounts HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{",
        "POST /accounts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /accounts HTTP/1.1\r\nHost: a\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 0\r\n\r\n",
        "POST /accounts HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        let answer = raw(&front, head);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
    assert_eq!(world.legacy.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_is_given_up() {
    let world = World::new().await;
    let front = Front::start(Config { body_timeout_ms: 100, ..world.config() }).await;
    let answer = raw(&front, "POST /accounts HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let chunks = "fffff\r\n".to_owned() + &"x".repeat(0xfffff) + "\r\nff\r\n" + &"x".repeat(0xff) + "\r\n0\r\n\r\n";
    let answer =
        raw(&front, &format!("POST /accounts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(world.legacy.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_is_a_counted_gap() {
    let world = World::new().await;
    world.ingest.is(crate::support::ingest::Mood::Down);
    let front = Front::start(Config { journal_max_bytes: 8_000, ..world.config() }).await;
    for number in 0..30 {
        let answer = front.post("/transactions/topup", &topup("alice", &number.to_string())).await;
        assert_eq!(answer.status, StatusCode::OK, "the client does not notice");
    }
    assert_eq!(world.legacy.count(), 30);
    world.ingest.is(crate::support::ingest::Mood::Well);
    eventually("the gap is told", || {
        let records = world.ingest.records();
        let recorded = records.iter().filter(|record| intent(record).is_some()).count() as u64;
        let missed: u64 = records
            .iter()
            .map(|record| match record.body {
                ExchangeBody::Gap { exchanges, reason: GapReason::Full } => exchanges,
                _ => 0,
            })
            .sum();
        recorded < 30 && recorded + missed == 30
    })
    .await;
    world.ingest.assert_whole();
    let metrics = front.admin(Method::GET, "/metrics", None, "").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for name in
        ["capture_gaps_total", "journal_bytes", "journal_unshipped", "leg_duration_seconds", "front_added_seconds"]
    {
        assert!(metrics.contains(&format!("crossfade_{name}")), "{name} is not exported");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_refuses_where_it_was_told_to() {
    let world = World::new().await;
    world.ingest.is(crate::support::ingest::Mood::Down);
    let config = Config { journal_max_bytes: 8_000, journal_when_full: WhenFull::Refuse, ..world.config() };
    let front = Front::start(config).await;
    let mut refused = None;
    for number in 0..30 {
        let answer = front.post("/transactions/topup", &topup("alice", &number.to_string())).await;
        if answer.status != StatusCode::OK {
            refused = Some((number, answer));
            break;
        }
    }
    let (number, answer) = refused.expect("it was never full");
    assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (503, "JournalFull"));
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(world.legacy.count(), number, "what was refused was not sent");
    assert_eq!(front.get("/accounts/alice").await.status, StatusCode::OK, "reads go on");
    world.ingest.is(crate::support::ingest::Mood::Well);
    eventually("there is room again", || world.ingest.count() == 2 * number).await;
    let body = topup("alice", "again");
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while front.post("/transactions/topup", &body).await.status != StatusCode::OK {
        assert!(std::time::Instant::now() < deadline, "it stays full");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_anything_is_opened() {
    let world = World::new().await;
    let config = world.config();
    for (what, config) in [
        ("name:", Config { name: "Front A".into(), ..config.clone() }),
        ("legacy:", Config { legacy: "127.0.0.1:80".into(), ..config.clone() }),
        ("engine:", Config { engine: "https://engine".into(), ..config.clone() }),
        ("comparator:", Config { comparator: "http://c/path".into(), ..config.clone() }),
        ("relay:", Config { relay: "http://user@relay".into(), ..config.clone() }),
        ("ingest:", Config { ingest: "relay".into(), ..config.clone() }),
        ("handover_ms:", Config { handover_ms: 0, ..config.clone() }),
        ("recorded_headers:", Config { recorded_headers: vec!["Authorization".into()], ..config.clone() }),
        ("recorded_headers:", Config { actor_header: Some("Cookie".into()), ..config.clone() }),
    ] {
        let error = proxy::front::bind(config, crate::support::LEDGER).await.err().expect(what);
        assert!(error.to_string().starts_with(&format!("[front] {what}")), "{error}");
    }
    assert!(!world.dir.path().join("front").exists(), "the directory was opened");
    let file = world.dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let unwritable = Config { data_dir: file.join("data"), ..config.clone() };
    let error = proxy::front::bind(unwritable, crate::support::LEDGER).await.err().unwrap();
    assert!(error.to_string().contains("file/data"), "{error}");
    let taken = Config { listen: world.comparator.url()["http://".len()..].parse().unwrap(), ..config };
    let error = proxy::front::bind(taken, crate::support::LEDGER).await.err().unwrap();
    assert!(error.to_string().contains("cannot listen on 127.0.0.1:"), "{error}");
}

#[test]
fn a_configuration_says_what_it_means_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("token");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let least = json!({
        "listen": "127.0.0.1:1", "admin_listen": "127.0.0.1:2", "data_dir": "/d", "legacy": "http://l:1",
        "engine": "http://e:1", "comparator": "http://c:1", "relay": "http://r:1", "ingest": "r:2",
        "service_token": { "file": secret },
    });
    let parse = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut config = least.clone();
        change(&mut config);
        serde_json::from_value::<Config>(config)
    };
    let config = parse(&|_| {}).unwrap();
    assert_eq!((config.handover_ms, config.journal_wait_ms, config.max_body_bytes), (250, 50, 1024 * 1024));
    assert_eq!(config.service_token.reveal(), "s3cret");
    let checked = config.check().unwrap();
    assert_eq!(checked.routes.iter().count(), 18);
    assert!(!serde_json::to_string(&config).unwrap().contains("s3cret"), "a printed configuration shows the token");
    let routes = json!([
        { "name": "pay", "method": "POST", "path": "/pay/{id}", "kind": "dual-write", "operation": "withdraw",
          "account": { "path": "id" }, "accounts": ["/to"], "key": "/key" },
        { "name": "old", "method": "GET", "path": "/old", "kind": "legacy-only" },
    ]);
    let config = parse(&|config| config["routes"] = routes.clone()).unwrap();
    assert_eq!(config.check().unwrap().routes.iter().count(), 2);
    for (key, value) in [
        ("speed", json!(1)),
        ("journal_when_full", json!("block")),
        ("fsync", json!("sometimes")),
        ("handover_ms", json!(-1)),
        ("service_token", json!("in the open")),
        ("routes", json!([{ "name": "x", "method": "GET", "path": "/", "kind": "passthrough", "colour": 1 }])),
    ] {
        assert!(parse(&|config| config[key] = value.clone()).is_err(), "{key} = {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_front_on_one_directory_is_refused() {
    let world = World::new().await;
    let _front = world.front().await;
    let error = proxy::front::bind(world.config(), crate::support::LEDGER).await.err().unwrap();
    assert!(error.to_string().contains("another process uses the data directory"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_is_looked_up_where_it_may_be() {
    use crate::support::system::Reply;
    let world = World::new().await;
    let front = world.front().await;
    let unknown = Reply::code(404, "TransactionNotFound");
    world.legacy.always(unknown.clone());
    let answer = front.get("/transactions/status/k").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(world.engine.count(), 0, "a shadow is not asked");

    world.comparator.append(chain::moved(1, chain::at(37)));
    front.hears_version(1).await;
    let answer = front.get("/transactions/status/k").await;
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["system"], "engine", "the legacy first, then the engine");
    assert_eq!(world.legacy.count(), 2);
    world.legacy.always(Reply::json(200, &json!({ "system": "legacy" })));
    let answer = front.get("/transactions/status/k").await;
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["system"], "legacy");
    assert_eq!(world.engine.count(), 1);
    world.legacy.always(unknown.clone());
    world.engine.always(unknown);
    assert_eq!(front.get("/transactions/status/k").await.status, StatusCode::NOT_FOUND);
    world.engine.always(Reply::Break);
    let answer = front.get("/transactions/status/k").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "that nobody has it is not known");
}
