//! Who may ask what, and how the API says no.

use crate::world::{APPROVER, OPERATOR, SERVICE, VIEWER, World, code};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use wire::words::Permission;

const TOKENS: [(Permission, &str); 4] = [
    (Permission::Viewer, VIEWER),
    (Permission::Operator, OPERATOR),
    (Permission::Approver, APPROVER),
    (Permission::Service, SERVICE),
];

/// Every route with what it takes. The stream is tested where fronts are.
fn routes() -> Vec<(Method, &'static str, Permission, Option<Value>)> {
    let (get, post) = (Method::GET, Method::POST);
    let reason = || Some(json!({ "reason": "test" }));
    vec![
        (get.clone(), "/api/rollout", Permission::Viewer, None),
        (get.clone(), "/api/rollout/history", Permission::Viewer, None),
        (get.clone(), "/api/rollout/gates", Permission::Viewer, None),
        (get.clone(), "/api/summary", Permission::Viewer, None),
        (get.clone(), "/api/exchanges", Permission::Viewer, None),
        (get.clone(), "/api/exchanges/a.1.1", Permission::Viewer, None),
        (get.clone(), "/api/discrepancies", Permission::Viewer, None),
        (get.clone(), "/api/discrepancies/a.1.1", Permission::Viewer, None),
        (get.clone(), "/api/reconciliations", Permission::Viewer, None),
        (get.clone(), "/api/reconciliations/x", Permission::Viewer, None),
        (get, "/api/audit", Permission::Viewer, None),
        (post.clone(), "/api/rollout/set", Permission::Operator, Some(json!({ "to": "25", "reason": "test" }))),
        (post.clone(), "/api/rollout/rollback", Permission::Operator, reason()),
        (post.clone(), "/api/rollout/freeze", Permission::Operator, reason()),
        (post.clone(), "/api/rollout/unfreeze", Permission::Operator, reason()),
        (
            post.clone(),
            "/api/rollout/pin",
            Permission::Operator,
            Some(json!({ "account": "alice", "system": null, "reason": "test" })),
        ),
        (post.clone(), "/api/discrepancies/a.1.1/settle", Permission::Operator, reason()),
        (post.clone(), "/api/discrepancies/a.1.1/reopen", Permission::Operator, reason()),
        (post.clone(), "/api/reconciliations", Permission::Operator, reason()),
        (post.clone(), "/internal/rollout/hears", Permission::Service, Some(json!({ "front": "a", "boot": 1 }))),
        (
            post,
            "/internal/rollout/prepared",
            Permission::Service,
            Some(json!({ "version": 9, "front": "a", "boot": 1, "mark": 0, "unknownAccounts": [] })),
        ),
    ]
}

#[tokio::test]
async fn each_route_asks_for_its_permission() {
    let world = World::new().await;
    world.caught_up().await;
    for (method, path, wanted, body) in routes() {
        for token in [None, Some("wrong-secret"), Some("")] {
            let (status, problem) = world.ask(method.clone(), path, token, body.clone()).await;
            assert_eq!((status, code(&problem)), (StatusCode::UNAUTHORIZED, "NotAuthenticated"), "{method} {path}");
        }
        for (permission, token) in TOKENS {
            let allowed = match (permission, wanted) {
                (Permission::Service, wanted) => wanted == Permission::Service,
                (_, Permission::Service) => false,
                (has, wanted) => has >= wanted,
            };
            let (status, problem) = world.ask(method.clone(), path, Some(token), body.clone()).await;
            assert_eq!(status != StatusCode::FORBIDDEN, allowed, "{method} {path} as {permission}: {problem}");
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{method} {path} as {permission}");
            assert!(status != StatusCode::BAD_REQUEST, "{method} {path} as {permission}: {problem}");
        }
    }
}

#[tokio::test]
async fn the_document_lists_exactly_these_routes() {
    let documented = serde_json::to_value(comparator::api::document()).unwrap();
    let mut documented: Vec<String> = documented["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    let named = |path: &str| path.replace("/a.1.1", "/{id}").replace("reconciliations/x", "reconciliations/{id}");
    let mut tested: Vec<String> = routes()
        .into_iter()
        .map(|(method, path, _, _)| format!("{} {}", method.as_str().to_lowercase(), named(path)))
        .chain(["get /api/rollout/stream".to_owned()])
        .collect();
    documented.sort();
    tested.sort();
    assert_eq!(documented, tested);
}

#[tokio::test]
async fn what_everybody_may_see() {
    let world = World::new().await;
    world.caught_up().await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(world.ask(Method::GET, path, None, None).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn the_log_takes_any_token_and_none_is_refused() {
    let world = World::new().await;
    let path = "/internal/log/cutover.rollout/0";
    for (_, token) in TOKENS {
        assert_eq!(world.ask(Method::GET, path, Some(token), None).await.0, StatusCode::OK);
    }
    let (status, problem) = world.ask(Method::GET, path, None, None).await;
    assert_eq!((status, code(&problem)), (StatusCode::UNAUTHORIZED, "NotAuthenticated"));
    let other = world.ask(Method::GET, "/internal/log/billing.journal/0", Some(VIEWER), None).await;
    assert_eq!(other.0, StatusCode::NOT_FOUND, "the engine's topics are the engine's");
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_told_where() {
    let world = World::new().await;
    let long = "x".repeat(501);
    for (body, pointer) in [
        (json!({ "to": "25" }), ""),
        (json!({ "to": "25", "reason": "  " }), "/reason"),
        (json!({ "to": "25", "reason": long }), "/reason"),
        (json!({ "to": "much", "reason": "test" }), "/to"),
        (json!({ "to": "complete", "reason": "test" }), "/to"),
        (json!({ "to": 25, "reason": "test" }), ""),
        (json!({ "to": "25", "reason": "test", "extra": 1 }), ""),
        (json!([]), ""),
    ] {
        let (status, problem) = world.post(APPROVER, "/api/rollout/set", body.clone()).await;
        assert_eq!((status, code(&problem)), (StatusCode::BAD_REQUEST, "MalformedRequest"), "{body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}: {problem}");
    }
    for path in [
        "/api/exchanges?limit=0",
        "/api/exchanges?verdict=fine",
        "/api/exchanges?colour=red",
        "/api/discrepancies?status=odd",
        "/api/exchanges/not-a-number",
    ] {
        let (status, problem) = world.get(path).await;
        assert_eq!((status, code(&problem)), (StatusCode::BAD_REQUEST, "MalformedRequest"), "{path}: {problem}");
    }
    assert!(world.bodies().await.is_empty(), "nothing was moved by any of them");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let world = World::new().await;
    for (method, path, expected) in [
        (Method::GET, "/api/rollout/plan", (StatusCode::NOT_FOUND, "NoSuchRoute")),
        (Method::GET, "/", (StatusCode::NOT_FOUND, "NoSuchRoute")),
        (Method::DELETE, "/api/rollout", (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        (Method::GET, "/api/rollout/set", (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        (Method::GET, "/api/exchanges/a.1.1", (StatusCode::NOT_FOUND, "ExchangeNotFound")),
        (Method::GET, "/api/discrepancies/a.1.1", (StatusCode::NOT_FOUND, "DiscrepancyNotFound")),
        (Method::GET, "/api/reconciliations/x", (StatusCode::NOT_FOUND, "ReconciliationNotFound")),
    ] {
        let (status, problem) = world.ask(method.clone(), path, Some(VIEWER), None).await;
        assert_eq!((status, code(&problem)), expected, "{method} {path}");
        assert_eq!(problem["type"], format!("urn:crossfade:problem:{}", expected.1));
    }
    let reason = json!({ "reason": "test" });
    for verb in ["settle", "reopen"] {
        let (status, problem) = world.post(OPERATOR, &format!("/api/discrepancies/a.1.1/{verb}"), reason.clone()).await;
        assert_eq!((status, code(&problem)), (StatusCode::NOT_FOUND, "DiscrepancyNotFound"));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read() {
    let world = World::new().await;
    let body = json!({ "reason": "x".repeat(2 * 1024 * 1024) });
    let (status, problem) = world.post(OPERATOR, "/api/rollout/freeze", body).await;
    assert_eq!((status, code(&problem)), (StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge"));
}

#[tokio::test]
async fn a_token_is_asked_for_before_the_body_is_looked_at() {
    let world = World::new().await;
    let (status, _) = world.ask(Method::POST, "/api/rollout/set", None, Some(json!("nonsense"))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = world.ask(Method::POST, "/api/rollout/set", Some(VIEWER), Some(json!("nonsense"))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_anything_is_opened() {
    let world = World::without_comparator(|config| config.handover_ms = 0).await;
    let refused = comparator::bind("test", world.config.clone(), world.place()).await.err().unwrap();
    assert!(refused.to_string().contains("handover_ms"), "{refused}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let mut world = World::new().await;
    let taken = world.comparator.as_ref().unwrap().address;
    world.config.listen = taken;
    let refused = comparator::bind("test", world.config.clone(), world.place()).await.err().unwrap();
    assert!(refused.to_string().contains(&taken.to_string()), "{refused}");
}
