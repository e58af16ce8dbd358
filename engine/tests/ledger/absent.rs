//! What the API says of accounts while commands about them are in the log and not decided.

use crate::faulty::Fate;
use crate::support::*;
use bytes::Bytes;
use engine::api::caller::Trust;
use engine::api::{self, Api};
use engine::config::DefaultAnswer;
use host::http::{Answer, Client};
use host::ops::Readiness;
use host::secret::Secret;
use host::task::Shutdown;
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use wire::journal::JOURNAL;

const TOKEN: &str = "service-token";
/// What is held back is waited for as long as this: long enough that everything else is done by then.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// The billing API of a running ledger.
struct Served {
    url: String,
    client: Client,
    shutdown: Shutdown,
}

impl Served {
    async fn start(running: &Running) -> Self {
        let look_back = Arc::new(running.ledger.view().clone());
        let api = Arc::new(Api {
            look_back,
            jobs: None,
            ledger: running.ledger.clone(),
            trust: Trust { actor_header: None, service_token: Some(Secret::new(TOKEN)) },
            answer_wait: ANSWER_WAIT,
            default_answer: DefaultAnswer::Async,
            refusal_keeps_key: true,
            max_body_bytes: 1 << 20,
        });
        let listener = host::net::listen(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shutdown = Shutdown::new();
        let router = api::router(api, Readiness::new());
        host::task::spawn(host::http::serve_router(listener, router, shutdown.clone()));
        Self { url, client: Client::new(ANSWER, 1 << 20), shutdown }
    }

    async fn send(&self, method: Method, path: &str, token: Option<&str>, body: &'static str) -> Answer {
        let url = format!("{}{path}", self.url);
        let request = host::http::request(method, &url, token, Bytes::from_static(body.as_bytes()));
        self.client.send(request.expect("a request"), ANSWER).await.expect("an answer")
    }

    async fn get(&self, path: &str, token: Option<&str>) -> StatusCode {
        self.send(Method::GET, path, token, "").await.status
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

#[tokio::test]
async fn an_account_that_will_be_made_is_not_said_to_be_absent() {
    let running = Bed::new().start_alone().await;
    let served = Served::start(&running).await;
    let id = on_shard(4, "user");
    let paths = ["", "/balance", "/transactions", "/events"].map(|rest| format!("/accounts/{id}{rest}"));
    for path in &paths {
        assert_eq!(served.get(path, None).await, StatusCode::NOT_FOUND, "nobody asked for it: {path}");
    }
    running.log.rule(|topic, shard, _| if (topic, shard) == (JOURNAL, 4) { Fate::Hold } else { Fate::Pass });
    let body = r#"{"accountId":"ID","ownerId":"o","ownerType":"t","accountType":"USER","currency":"EUR"}"#;
    let body: &'static str = body.replace("ID", &id).leak();
    let made = served.send(Method::POST, "/accounts", None, body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED);
    for path in &paths {
        for token in [None, Some(TOKEN)] {
            assert_eq!(served.get(path, token).await, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
    }
    running.log.release();
    for path in &paths {
        assert_eq!(served.get(path, None).await, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn other_parts_see_what_a_change_that_is_in_the_log_will_lead_to() {
    let running = Bed::new().start_alone().await;
    let served = Served::start(&running).await;
    let id = on_shard(4, "user");
    running.create(user(&id)).await;
    running.log.rule(|topic, shard, _| if (topic, shard) == (JOURNAL, 4) { Fate::Hold } else { Fate::Pass });
    let path = format!("/accounts/{id}");
    let changed = served.send(Method::PATCH, &path, None, r#"{"status":"FROZEN"}"#).await;
    assert_eq!(changed.status, StatusCode::ACCEPTED);
    // For clients a read is linearizable: nobody was told yet that it is frozen.
    assert_eq!(served.get(&path, None).await, StatusCode::OK);
    assert_eq!(served.get(&path, Some(TOKEN)).await, StatusCode::SERVICE_UNAVAILABLE);
    running.log.release();
    let answer = served.send(Method::GET, &path, Some(TOKEN), "").await;
    let account: wire::billing::Account = answer.json().expect("an account");
    assert_eq!(account.status, "FROZEN");
}
