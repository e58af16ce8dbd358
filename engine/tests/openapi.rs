//! The API document in the repository is the one that the engine serves.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::Path;

/// Set to write the document anew, after a deliberate change.
const WRITE: &str = "CROSSFADE_WRITE_GOLDEN";

#[test]
fn openapi_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let document = engine::api::document();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == document,
        "{} is not what the engine serves: run `./dev golden` and look at the difference",
        path.display()
    );
}

/// Every route of the contract that the engine has in this part, and no other.
#[test]
fn openapi_document_has_the_routes_of_the_contract() {
    let document: serde_json::Value = serde_json::from_str(&engine::api::document()).unwrap();
    let mut routes: Vec<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    routes.sort();
    assert_eq!(
        routes,
        [
            "get /accounts",
            "get /accounts/{id}",
            "get /accounts/{id}/balance",
            "get /accounts/{id}/events",
            "get /accounts/{id}/transactions",
            "get /analytics/daily",
            "get /analytics/trends",
            "get /transactions",
            "get /transactions/status/{trackingId}",
            "get /transactions/{id}",
            "get /transactions/{id}/saga",
            "patch /accounts/{id}",
            "post /accounts",
            "post /transactions/batch",
            "post /transactions/refund",
            "post /transactions/topup",
            "post /transactions/transfer",
            "post /transactions/withdraw",
        ]
    );
}

/// No reference leads nowhere.
#[test]
fn openapi_document_is_closed() {
    let text = engine::api::document();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let references = text.split(r##""$ref": "#"##).skip(1).filter_map(|rest| rest.split('"').next());
    let mut count = 0;
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
        count += 1;
    }
    assert!(count > 20, "{count} references");
}
