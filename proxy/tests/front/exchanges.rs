//! A dual write from the client to the log: what is sent, what is answered, what is recorded.

use crate::support::system::{Reply, applied};
use crate::support::{Front, World, account, chain, code, eventually, intent, result, topup};
use http::{Method, StatusCode};
use proxy::front::Config;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;
use wire::exchange::ExchangeBody;
use wire::words::{Class, Operation, Stage, System};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_is_recorded_as_it_happened() {
    let world = World::new().await;
    let front = world.front().await;
    let body = topup("alice", "k-1").to_string();
    let headers = [
        ("content-type", "application/json"),
        ("x-tenant", "t1"),
        ("x-correlation-id", "c1"),
        ("traceparent", "00-1-2-01"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("x-other", "passes"),
    ];
    let answer = front.send(front.request(Method::POST, "/transactions/topup?x=1", &headers, body.clone())).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json::<Value>().unwrap()["system"], "legacy");

    let sent = &world.legacy.writes()[0];
    assert_eq!((sent.path.as_str(), &sent.body[..]), ("/transactions/topup?x=1", body.as_bytes()));
    for (name, value) in headers {
        assert_eq!(sent.header(name), Some(value), "{name}");
    }

    eventually("both records are shipped", || world.ingest.count() == 2).await;
    let records = world.ingest.records();
    let recorded = intent(&records[0]).unwrap();
    assert_eq!((recorded.route.as_str(), recorded.operation), ("topup", Operation::Topup));
    assert_eq!((recorded.method.as_str(), recorded.path.as_str()), ("POST", "/transactions/topup?x=1"));
    assert_eq!(recorded.body.0, body.as_bytes());
    assert_eq!((recorded.tenant.as_str(), recorded.key.as_deref()), ("t1", Some("k-1")));
    assert_eq!(
        (recorded.account.as_deref(), &recorded.accounts[..]),
        (Some("alice"), &["alice".into(), "bank".into()][..])
    );
    assert_eq!((recorded.authority, recorded.stage, recorded.version), (System::Legacy, Stage::Capture, 0));
    assert_eq!((recorded.cross_cohort, recorded.overtaken, &recorded.original), (false, false, &None));
    let names: Vec<&str> = recorded.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-type", "x-tenant", "x-correlation-id", "traceparent"]);
    let outcome = result(&records[1]).unwrap();
    assert_eq!((outcome.intent, outcome.class, outcome.status), (1, Class::Applied, 200));
    assert_eq!(outcome.body.0, answer.body);
    assert!(outcome.failure.is_none() && !outcome.replayed);
    let bytes = format!("{records:?}");
    assert!(!bytes.contains("secret"), "credentials are recorded");
    front.stop().await;
    eventually("the end is shipped", || world.ingest.count() == 3).await;
    assert_eq!(world.ingest.records()[2].body, ExchangeBody::Ended { clean: true });
    world.ingest.assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_each_recorded_once() {
    let world = World::new().await;
    let front = Arc::new(world.front().await);
    let clients = (0..16).map(|client| {
        let front = front.clone();
        tokio::spawn(async move {
            for number in 0..25 {
                let answer = front.post("/transactions/topup", &topup("alice", &format!("{client}-{number}"))).await;
                assert_eq!(answer.status, StatusCode::OK);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    eventually("everything is shipped", || world.ingest.count() == 800).await;
    world.ingest.assert_whole();
    let records = world.ingest.records();
    let mut keys: Vec<_> = records.iter().filter_map(|record| intent(record)?.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 400);
    for record in &records {
        if let Some(outcome) = result(record) {
            let of = intent(&records[outcome.intent as usize - 1]).unwrap();
            let body: Value = serde_json::from_slice(&outcome.body.0).unwrap();
            assert_eq!(body["trackingId"], of.key.clone().unwrap());
        }
    }
    assert_eq!(world.legacy.count(), 400);
    assert_eq!(world.ingest.repeats(), 0);
}

/// What the authority does; what the client gets (status, code); what is recorded (class, status).
struct Case(&'static str, Reply, (u16, Option<&'static str>), (Class, u16));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_answer_is_passed_on_and_classified() {
    use Class::{Applied, NotExecuted, Refused, Unknown};
    let cases = [
        Case("created", Reply::json(201, &json!({})), (201, None), (Applied, 201)),
        Case("accepted", Reply::json(202, &json!({})), (202, None), (Unknown, 202)),
        Case("moved", Reply::json(302, &json!({})), (302, None), (Unknown, 302)),
        Case("malformed", Reply::code(400, "MalformedRequest"), (400, Some("MalformedRequest")), (NotExecuted, 400)),
        Case("unauthorised", Reply::code(401, "X"), (401, Some("X")), (NotExecuted, 401)),
        Case("busy", Reply::code(429, "X"), (429, Some("X")), (NotExecuted, 429)),
        Case("not found", Reply::code(404, "AccountNotFound"), (404, Some("AccountNotFound")), (Refused, 404)),
        Case("no route", Reply::code(404, "NoSuchRoute"), (404, Some("NoSuchRoute")), (Unknown, 404)),
        Case("exists", Reply::code(409, "AccountExists"), (409, Some("AccountExists")), (Refused, 409)),
        Case("refused", Reply::code(422, "InsufficientBalance"), (422, Some("InsufficientBalance")), (Refused, 422)),
        Case("no code", Reply::json(422, &json!({})), (422, None), (Unknown, 422)),
        Case("broken down", Reply::code(500, "X"), (500, Some("X")), (Unknown, 500)),
        Case("unavailable", Reply::code(503, "X"), (503, Some("X")), (Unknown, 503)),
        Case("broken off", Reply::Break, (502, Some("AuthorityBroken")), (Unknown, 0)),
        Case("silent", Reply::Hang, (504, Some("AuthorityTimeout")), (Unknown, 0)),
    ];
    let world = World::new().await;
    let front = Front::start(Config { authority_timeout_ms: 1_500, ..world.config() }).await;
    for (index, Case(what, reply, (status, expected), recorded)) in cases.into_iter().enumerate() {
        world.legacy.always(reply);
        let answer = front.post("/transactions/topup", &topup("alice", what)).await;
        assert_eq!(answer.status.as_u16(), status, "{what}");
        if let Some(expected) = expected {
            assert_eq!(code(&answer), expected, "{what}");
        }
        eventually(what, || world.ingest.count() == 2 * (index + 1)).await;
        let records = world.ingest.records();
        let outcome = result(&records[2 * index + 1]).unwrap();
        assert_eq!((outcome.class, outcome.status), recorded, "{what}");
        assert_eq!(outcome.failure.is_some(), outcome.status == 0, "{what}");
    }
    assert_eq!(world.legacy.count(), 15, "nothing was sent twice");
    assert_eq!(world.engine.count(), 0, "nobody else was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_cannot_be_reached_has_not_executed_anything() {
    let world = World::new().await;
    // A port that is taken, and on which nobody listens.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = taken.local_addr().unwrap();
    let front = Front::start(Config { legacy: format!("http://{nobody}"), ..world.config() }).await;
    let answer = front.post("/transactions/topup", &topup("alice", "k")).await;
    assert_eq!((answer.status.as_u16(), code(&answer).as_str()), (502, "AuthorityUnreachable"));
    eventually("it is recorded", || world.ingest.count() == 2).await;
    assert_eq!(result(&world.ingest.records()[1]).unwrap().class, Class::NotExecuted);
    let read = front.get("/accounts/alice").await;
    assert_eq!((read.status.as_u16(), code(&read).as_str()), (502, "AuthorityUnreachable"));
    assert_eq!(world.engine.count(), 0, "there is no fallback to the other system");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_cancels_nothing() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    world.legacy.waits_for(&gate);
    let front = world.front().await;
    let request = front.request(Method::POST, "/transactions/topup", &[], topup("alice", "k").to_string());
    let impatient = host::http::Client::new(crate::support::PATIENCE, 1024);
    let answer = impatient.send(request, std::time::Duration::from_millis(100)).await;
    assert_eq!(answer.err(), Some(host::http::SendError::TimedOut));
    drop(impatient);
    eventually("it is at the authority", || world.legacy.count() == 1).await;
    gate.add_permits(1);
    eventually("the result is recorded", || world.ingest.count() == 2).await;
    assert_eq!(result(&world.ingest.records()[1]).unwrap().class, Class::Applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_left_out_is_added_for_both_legs() {
    let world = World::new().await;
    let front = world.front().await;
    let without_key = json!({ "sourceAccountId": "bank", "destinationAccountId": "alice", "amount": "1" });
    assert_eq!(front.post("/transactions/topup", &without_key).await.status, StatusCode::OK);
    let account = json!({ "ownerId": "o", "metadata": { "n": 1.10 } });
    let headers = [("idempotency-key", "mine")];
    for _ in 0..2 {
        let request = front.request(Method::POST, "/accounts", &headers, account.to_string());
        assert_eq!(front.send(request).await.status, StatusCode::CREATED);
    }
    eventually("all is recorded", || world.ingest.count() == 6).await;
    let records = world.ingest.records();
    let intents: Vec<_> = records.iter().filter_map(intent).collect();
    let sent = world.legacy.writes();
    let added = intents[0].key.clone().unwrap();
    assert_eq!(added.len(), 36);
    assert_eq!(sent[0].header("idempotency-key"), Some(added.as_str()));
    assert!(intents[0].headers.contains(&("idempotency-key".into(), added)), "the other leg gets it from the record");
    assert!(sent[0].header("x-correlation-id").is_some(), "a correlation id is made");
    let id = proxy::routes::account_id("", "mine");
    for index in [1, 2] {
        assert_eq!(sent[index].json()["accountId"], id.as_str());
        assert_eq!(&sent[index].body[..], intents[index].body.0);
        assert_eq!(intents[index].account.as_deref(), Some(id.as_str()));
        assert_eq!(sent[index].header("content-length"), Some(sent[index].body.len().to_string().as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_answer_and_coded_requests_are_recorded_readably() {
    let world = World::new().await;
    world.legacy.answers(|asked| match applied("legacy", asked) {
        Reply::Answer { status, mut headers, body } => {
            headers.extend([
                ("idempotency-replayed".to_owned(), "true".to_owned()),
                ("connection".to_owned(), "x-hop".to_owned()),
                ("x-hop".to_owned(), "1".to_owned()),
                ("set-cookie".to_owned(), "s=secret".to_owned()),
            ]);
            Reply::Answer { status, headers, body }
        }
        other => other,
    });
    let front = world.front().await;
    let headers =
        [("accept-encoding", "gzip"), ("x-crossfade-mode", "forced"), ("connection", "x-once"), ("x-once", "1")];
    let body = topup("alice", "k").to_string();
    let answer = front.send(front.request(Method::POST, "/transactions/topup", &headers, body)).await;
    assert!(answer.headers.contains_key("set-cookie") && answer.headers.contains_key("idempotency-replayed"));
    assert!(!answer.headers.contains_key("x-hop"));
    let sent = &world.legacy.writes()[0];
    for name in ["accept-encoding", "x-crossfade-mode", "x-once"] {
        assert_eq!(sent.header(name), None, "{name}");
    }
    eventually("it is recorded", || world.ingest.count() == 2).await;
    let records = world.ingest.records();
    let outcome = result(&records[1]).unwrap();
    assert!(outcome.replayed);
    let names: Vec<&str> = outcome.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-type", "idempotency-replayed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_the_cohort_is_decided_by_the_engine() {
    let world = World::new().await;
    world.comparator.append(chain::moved(1, chain::at(37)));
    world.comparator.append(wire::rollout::RolloutBody::Drained { version: 1 });
    let front = world.front().await;
    let (engine, legacy) = (account(0, 37), account(37, 100));
    for (source, destination, authority) in [(&engine, &legacy, System::Engine), (&legacy, &engine, System::Legacy)] {
        let body = json!({ "idempotencyKey": source, "sourceAccountId": source, "destinationAccountId": destination });
        let answer = front.post("/transactions/transfer", &body).await;
        assert_eq!(answer.json::<Value>().unwrap()["system"], authority.as_str());
        let read = front.get(&format!("/accounts/{source}/balance")).await;
        assert_eq!(read.json::<Value>().unwrap()["system"], authority.as_str());
    }
    let sent = &world.engine.writes()[0];
    assert!(sent.headers.keys().all(|name| !name.as_str().starts_with("x-crossfade")), "{:?}", sent.headers);
    eventually("it is recorded", || world.ingest.count() == 4).await;
    let records = world.ingest.records();
    for recorded in records.iter().filter_map(intent) {
        assert_eq!((recorded.stage, recorded.percent.to_string().as_str()), (Stage::Ramp, "37"));
        assert!(recorded.cross_cohort && !recorded.overtaken);
        assert_eq!(recorded.version, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passthrough_records_nothing() {
    let world = World::new().await;
    let stage = wire::rollout::Setting { stage: Stage::Passthrough, ..chain::at(0) };
    world.comparator.append(chain::moved(1, stage));
    let front = world.front().await;
    assert_eq!(front.post("/transactions/topup", &topup("alice", "k")).await.status, StatusCode::OK);
    assert_eq!(front.get("/accounts/alice").await.status, StatusCode::OK);
    front.stop().await;
    eventually("the end is shipped", || world.ingest.count() == 1).await;
    assert_eq!(world.ingest.records()[0].body, ExchangeBody::Ended { clean: true });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_stream_through() {
    let world = World::new().await;
    let body = bytes::Bytes::from(vec![b'x'; 20 * 1024 * 1024]);
    world.legacy.always(Reply::Answer { status: 200, headers: Vec::new(), body: body.clone() });
    let front = world.front().await;
    let answer = front.get("/transactions").await;
    assert_eq!(answer.body.len(), body.len());
    // The same to a dual write is more than can be recorded: whether it was executed is not known.
    let write = front.post("/transactions/topup", &topup("alice", "k")).await;
    assert_eq!((write.status.as_u16(), code(&write).as_str()), (502, "AuthorityBroken"));
}
