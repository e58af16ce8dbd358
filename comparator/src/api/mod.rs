//! The control API (CONTRACT): routes, tokens, errors, and the document that is made from them.
//!
//! | module | what |
//! |---|---|
//! | [`auth`] | bearer tokens and permissions |
//! | [`problem`] | errors, and reading requests so that every error is one of them |
//! | [`rollout`] | the dial |
//! | [`exchanges`] | the summary and the exchanges |
//! | [`discrepancies`] | what somebody has to settle |
//! | [`reconciliations`] | comparing balances, verifying chains |
//! | [`internal`] | what only parts of Crossfade call |
//!
//! One function lists the layers, top to bottom, with a why each: [`router`].

pub mod auth;
pub mod discrepancies;
pub mod exchanges;
pub mod internal;
pub mod problem;
pub mod reconciliations;
pub mod rollout;

pub use host::ops::Readiness;
use problem::Refused;

use crate::service::Parts;
use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::get;
use std::sync::Arc;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;

/// What a handler answers.
pub type Answer<T> = Result<Json<T>, Refused>;

/// Largest body that is taken: a front may name many unknown accounts, nobody else sends more than a reason.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The whole API with its document at `/openapi.json`.
pub fn router(parts: Arc<Parts>) -> axum::Router {
    let (routes, document) = documented().split_for_parts();
    let document = Arc::new(document);
    let log = internal::log_routes(&parts)
        // Bodies and keys are in the log: nobody reads it without a token.
        .layer(axum::middleware::from_fn_with_state(parts.clone(), auth::any_token));
    routes
        .route("/openapi.json", get(move || async move { Json(document.as_ref().clone()) }))
        .merge(log)
        .fallback(|uri: Uri| async move { Refused::not_found("NoSuchRoute", format!("there is no {}", uri.path())) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let detail = format!("{} cannot be asked with {method}", uri.path());
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", detail)
        })
        // A body is bounded before it is read.
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(parts)
}

/// What is served until the chains are read: the operators' routes; all else is to be asked again.
pub fn starting(readiness: Readiness) -> axum::Router {
    host::ops::router(readiness).fallback(|| async {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "Starting", "the comparator reads the log: ask again")
    })
}

/// The document, without serving anything.
pub fn document() -> OpenApi {
    documented().into_openapi()
}

fn documented() -> OpenApiRouter<Arc<Parts>> {
    let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let info = InfoBuilder::new()
        .title("Crossfade control API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("What operators and parts ask of the comparator. Errors are application/problem+json."))
        .build();
    let base = OpenApiBuilder::new()
        .info(info)
        .components(Some(ComponentsBuilder::new().security_scheme("token", token).build()))
        .build();
    OpenApiRouter::with_openapi(base)
        .merge(rollout::routes())
        .merge(exchanges::routes())
        .merge(discrepancies::routes())
        .merge(reconciliations::routes())
        .merge(internal::routes())
}
