//! The API document, made from the handlers (`docs/openapi.json` is a copy; a test fails when they differ).

use std::collections::BTreeMap;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, ResponseBuilder, SchemaFormat};
use utoipa::{IntoParams, IntoResponses, OpenApi};
use wire::billing::Problem;

/// What the document says besides the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Crossfade engine: billing API",
        description = "Amounts and balances are strings. Errors are `application/problem+json` with a `code`; in \
            `errors[].pointer` a JSON pointer stands for the body, `?name` for a query parameter, `{name}` for a part \
            of the path, a header by its name. Fields that may differ between the engine and the legacy it replaces: \
            `transactionId`, `position`, `version` and all times.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "accounts", description = "made, changed, read"),
        (name = "transactions", description = "asked for, read"),
        (name = "analytics", description = "figures of all transactions"),
    ),
    components(schemas(Problem)),
)]
pub struct Document;

/// Problems of every write.
pub struct WriteProblems;

impl IntoResponses for WriteProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("400", "MalformedRequest: not as this document describes it; every flaw is listed"),
            ("413", "BodyTooLarge"),
            ("422", "InvalidAmount, or refused by a rule; of a transaction, `result` is the failed one"),
            ("503", "NotAppended: nothing was written; send the same again, with the same key, after Retry-After"),
        ])
    }
}

/// Problems of every read.
pub struct ReadProblems;

impl IntoResponses for ReadProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ("400", "MalformedRequest: not as this document describes it; every flaw is listed"),
            ("503", "NotReadable: cannot be read now; ask again after Retry-After"),
        ])
    }
}

/// What is asked for is not there: `AccountNotFound`, `OriginalNotFound` or `TransactionNotFound`.
pub struct NotFound;

impl IntoResponses for NotFound {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("404", "AccountNotFound, OriginalNotFound or TransactionNotFound")])
    }
}

/// Something that is there stands against it: `AccountExists` or `AmbiguousKey`.
pub struct Conflict;

impl IntoResponses for Conflict {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[("409", "AccountExists or AmbiguousKey")])
    }
}

fn problems(list: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let problem = |description: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new().description(description).content("application/problem+json", content).build()
    };
    list.iter().map(|(status, description)| ((*status).to_owned(), RefOr::T(problem(description)))).collect()
}

/// Headers of every write.
pub struct WriteHeaders;

impl IntoParams for WriteHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            parameter(ParameterIn::Header, "Idempotency-Key", Type::String, "1 to 255 printable ASCII characters"),
            parameter(ParameterIn::Header, "X-Tenant", Type::String, "scopes the key"),
            parameter(
                ParameterIn::Header,
                "X-Correlation-Id",
                Type::String,
                "taken, or made; returned, and follows the request",
            ),
            parameter(ParameterIn::Header, "Prefer", Type::String, "`respond-async`, `wait=<seconds>` (RFC 7240)"),
        ]
    }
}

/// The header that scopes keys.
pub struct Tenant;

impl IntoParams for Tenant {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(ParameterIn::Header, "X-Tenant", Type::String, "scopes the key")]
    }
}

/// Whether a read may miss what was just written.
pub struct Stale;

impl IntoParams for Stale {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(ParameterIn::Query, "stale", Type::Boolean, "`true`: do not wait for what was just written")]
    }
}

/// How much of a list.
pub struct Limit;

impl IntoParams for Limit {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(ParameterIn::Query, "limit", Type::Integer, "rows of the page: 1 to 1000, 100 when absent")]
    }
}

fn parameter(place: ParameterIn, name: &str, of: Type, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(of).format(None::<SchemaFormat>)))
        .build()
}
