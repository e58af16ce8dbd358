//! The OpenAPI document in `docs/` is the one that is served.

use crate::world::World;
use http::Method;

#[tokio::test]
async fn the_document_in_docs_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi-comparator.json");
    let served = World::new().await.ask(Method::GET, "/openapi.json", None, None).await.1;
    let written = serde_json::to_string_pretty(&served).unwrap() + "\n";
    if std::env::var_os("CROSSFADE_WRITE_GOLDEN").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == written, "{path} has drifted: run `./dev golden` and look at the difference");
}
