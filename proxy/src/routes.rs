//! Which request goes where, and which account decides. Pure: `route(head, body, routes, rollout) -> Decision`.
//!
//! Routes are configuration ([`RouteConfig`]); without any, [`Routes::standard`] are those of the billing API.
//! A request is first routed by its head alone; a dual write then says [`Decision::ReadBody`] and is routed again
//! with its body, because the deciding account may stand there.

mod path;
pub mod standard;

use crate::json::{Found, Object, quoted};
use http::{HeaderMap, Method};
use path::{Pattern, query_parameter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wire::ids::{is_account_id, is_engine_transaction_id};
use wire::rollout::Rollout;
use wire::words::{Operation, Stage, System};

/// The header that carries the idempotency key.
pub const KEY_HEADER: &str = "idempotency-key";
/// The header that scopes the key.
pub const TENANT_HEADER: &str = "x-tenant";
/// Longer keys are refused by either system.
const MAX_KEY: usize = 255;
/// Ids of transactions longer than this belong to neither system.
const MAX_TRANSACTION_ID: usize = 255;
/// Scopes the ids that are made for accounts without one: UUIDv5 of this, the tenant, a zero byte, and the key.
/// Random, drawn once; part of what clients may rely on, so it never changes.
const ACCOUNT_NAMESPACE: uuid::Uuid = uuid::uuid!("3e0f57a6-5b6c-4d57-9d0e-6a1f9a4b7c21");

/// A route as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Names it in records, metrics and reports: `[a-z0-9-]{1,32}`.
    pub name: String,
    /// The HTTP method; a `GET` route takes `HEAD` too.
    pub method: String,
    /// The path; `{name}` stands for one segment.
    pub path: String,
    /// What is done with a request.
    pub kind: Kind,
    /// Of a dual write: what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// What decides where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<DecidedBy>,
    /// JSON pointers to every account that the body names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// JSON pointer to the idempotency key, where the body may carry it; the header always may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether an absent deciding account is made up from tenant and key, and added to the body.
    #[serde(default)]
    pub add_account: bool,
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The authority answers; both systems execute it.
    DualWrite,
    /// The authority answers; nothing is recorded.
    Passthrough,
    /// The legacy answers.
    LegacyOnly,
    /// The engine answers, once there is no way back; until then 409 `NotYetMoved`.
    EngineOnly,
}

/// What decides where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecidedBy {
    /// The account at this JSON pointer of the body.
    Body(String),
    /// The account that is this segment of the path.
    Path(String),
    /// The account in this header.
    Header(String),
    /// A dual write that refers to the transaction at this JSON pointer: the account that it takes money back from.
    Transaction(String),
    /// The system that made the transaction id that is this segment of the path.
    Maker(String),
    /// The account in this query parameter; without it every system that decides about anything is asked in turn.
    Tracking(String),
}

/// Why configured routes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route `{route}`: {problem}")]
pub struct BadRoute {
    /// Its name.
    pub route: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A route, checked.
#[derive(Debug)]
pub struct Route {
    /// As configured.
    pub config: RouteConfig,
    /// Its place among all routes.
    pub index: usize,
    method: Method,
    pattern: Pattern,
}

/// All routes.
#[derive(Debug)]
pub struct Routes(Vec<Route>);

/// The head of a request, with the headers that are passed on.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, as it came.
    pub path: &'a str,
    /// The query, as it came.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Decision<'r> {
    /// It cannot be decided without the body.
    ReadBody(&'r Route),
    /// Write it down, send it to the authority of an account, write down the result.
    DualWrite(Write<'r>),
    /// Pass it on.
    Passthrough(&'r Route, Target),
    /// Answer it here.
    Refuse(Refusal),
}

/// Where a request goes that is only passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the authority of an account.
    Account(String),
    /// To a system.
    System(System),
    /// To the first; on 404 to the other.
    InTurn(System, System),
}

/// A dual write.
#[derive(Debug)]
pub struct Write<'r> {
    /// Its route.
    pub route: &'r Route,
    /// What it does.
    pub operation: Operation,
    /// Which account decides.
    pub deciding: Deciding,
    /// Every account that the request names, each once.
    pub accounts: Vec<String>,
    /// Its idempotency key.
    pub key: Key,
}

/// Which account decides about a dual write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deciding {
    /// This one.
    Account(String),
    /// One of the two of an earlier transaction.
    Original(String),
    /// One whose id is still to be made.
    ToBeMade,
    /// None that can be told: any authority refuses it.
    Unknown,
}

/// The idempotency key of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The client gave this one.
    Given(String),
    /// The client gave none.
    Absent,
    /// The client gave one that no system takes.
    Unusable,
}

/// Why the front itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No route has this path.
    NoSuchRoute,
    /// Routes have this path, for other methods.
    MethodNotAllowed,
    /// Only the engine has it, and the way back is still open.
    NotYetMoved,
}

/// What was added to a dual write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Added {
    /// The key, to be sent as a header.
    pub key: Option<String>,
    /// The whole body, with the id of a new account.
    pub body: Option<Vec<u8>>,
}

/// Routes a request: by its head, and once that said [`Decision::ReadBody`] with its body.
pub fn route<'r>(head: &Head<'_>, body: Option<&[u8]>, routes: &'r Routes, rollout: &Rollout) -> Decision<'r> {
    let route = match routes.find(head.method, head.path) {
        Ok(route) => route,
        Err(refusal) => return Decision::Refuse(refusal),
    };
    match (route.config.kind, body) {
        (Kind::DualWrite, None) => Decision::ReadBody(route),
        (Kind::DualWrite, Some(body)) => Decision::DualWrite(dual_write(route, head, body)),
        (Kind::Passthrough, _) => Decision::Passthrough(route, target(route, head, rollout)),
        (Kind::LegacyOnly, _) => Decision::Passthrough(route, Target::System(System::Legacy)),
        (Kind::EngineOnly, _) if rollout.setting.stage == Stage::Complete => {
            Decision::Passthrough(route, Target::System(System::Engine))
        }
        (Kind::EngineOnly, _) => Decision::Refuse(Refusal::NotYetMoved),
    }
}

fn target(route: &Route, head: &Head<'_>, rollout: &Rollout) -> Target {
    let by_default = || Target::System(rollout.default_authority());
    let account = |id: Option<String>| id.filter(|id| is_account_id(id)).map_or_else(by_default, Target::Account);
    match &route.config.account {
        Some(DecidedBy::Path(name)) => account(route.pattern.parameter(head.path, name)),
        Some(DecidedBy::Header(name)) => account(header(head.headers, name)),
        Some(DecidedBy::Maker(name)) => match route.pattern.parameter(head.path, name) {
            Some(id) if is_engine_transaction_id(&id) => Target::System(System::Engine),
            _ if rollout.setting.stage == Stage::Complete => Target::System(System::Engine),
            _ => Target::System(System::Legacy),
        },
        Some(DecidedBy::Tracking(name)) => match query_parameter(head.query, name).filter(|id| is_account_id(id)) {
            Some(id) => Target::Account(id),
            None => in_turn(rollout),
        },
        Some(DecidedBy::Body(_) | DecidedBy::Transaction(_)) | None => by_default(),
    }
}

/// Every system that decides about anything: a shadow is not asked, because no answer may depend on it.
fn in_turn(rollout: &Rollout) -> Target {
    let first = rollout.default_authority();
    let other = first.other();
    let mut named = rollout.pins.keys().chain(rollout.held_back.keys());
    let other_decides = rollout.setting.stage == Stage::Ramp || named.any(|name| rollout.authority(name) == other);
    if other_decides { Target::InTurn(first, other) } else { Target::System(first) }
}

fn dual_write<'r>(route: &'r Route, head: &Head<'_>, body: &[u8]) -> Write<'r> {
    let object = Object::parse(body);
    let in_body = |pointer: &str| object.and_then(|object| object.text_at(pointer)).map(|text| text.into_owned());
    let account = |id: Option<String>| id.filter(|id| is_account_id(id)).map_or(Deciding::Unknown, Deciding::Account);
    let deciding = match &route.config.account {
        Some(DecidedBy::Body(pointer)) if route.config.add_account && may_be_added(object, pointer) => {
            Deciding::ToBeMade
        }
        Some(DecidedBy::Body(pointer)) => account(in_body(pointer)),
        Some(DecidedBy::Path(name)) => account(route.pattern.parameter(head.path, name)),
        Some(DecidedBy::Header(name)) => account(header(head.headers, name)),
        Some(DecidedBy::Transaction(pointer)) => in_body(pointer)
            .filter(|id| (1..=MAX_TRANSACTION_ID).contains(&id.len()))
            .map_or(Deciding::Unknown, Deciding::Original),
        Some(DecidedBy::Maker(_) | DecidedBy::Tracking(_)) | None => Deciding::Unknown,
    };
    let mut accounts: Vec<String> = Vec::with_capacity(2);
    let decides = match &deciding {
        Deciding::Account(id) => Some(id.clone()),
        Deciding::Original(_) | Deciding::ToBeMade | Deciding::Unknown => None,
    };
    let named = route.config.accounts.iter().filter_map(|pointer| in_body(pointer)).filter(|id| is_account_id(id));
    for id in decides.into_iter().chain(named) {
        if !accounts.contains(&id) {
            accounts.push(id);
        }
    }
    let operation = route.config.operation.unwrap_or(Operation::ChangeAccount);
    Write { route, operation, deciding, accounts, key: key(route, head, object) }
}

/// Whether the id of a new account is missing from a body that could take one.
fn may_be_added(object: Option<Object<'_>>, pointer: &str) -> bool {
    object.is_some_and(|object| object.find(pointer) == Found::Absent || object.is_null(pointer))
}

fn key(route: &Route, head: &Head<'_>, object: Option<Object<'_>>) -> Key {
    let usable = |key: &str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let judge = |key: Option<String>| key.filter(|key| usable(key)).map_or(Key::Unusable, Key::Given);
    if head.headers.contains_key(KEY_HEADER) {
        return judge(header(head.headers, KEY_HEADER));
    }
    match (&route.config.key, object) {
        (Some(pointer), Some(object)) if object.find(pointer) != Found::Absent => {
            judge(object.text_at(pointer).map(|key| key.into_owned()))
        }
        _ => Key::Absent,
    }
}

/// A header that is given once, as text.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

impl Write<'_> {
    /// Adds what the client left out: the key (`fresh_key`), and the id of a new account.
    pub fn complete(&mut self, tenant: &str, body: &[u8], fresh_key: impl FnOnce() -> String) -> Added {
        let mut added = Added::default();
        if self.key == Key::Absent {
            let key = fresh_key();
            added.key = Some(key.clone());
            self.key = Key::Given(key);
        }
        if self.deciding != Deciding::ToBeMade {
            return added;
        }
        self.deciding = Deciding::Unknown;
        if let (Key::Given(key), Some(object)) = (&self.key, Object::parse(body))
            && let Some(DecidedBy::Body(pointer)) = &self.route.config.account
        {
            let id = account_id(tenant, key);
            added.body = Some(match object.find(pointer) {
                Found::At(null) => object.with_value(&null, &quoted(&id)),
                Found::Absent | Found::Ambiguous => object.with_member(pointer.trim_start_matches('/'), &quoted(&id)),
            });
            self.accounts.insert(0, id.clone());
            self.deciding = Deciding::Account(id);
        }
        added
    }

    /// The key as recorded.
    pub fn recorded_key(&self) -> Option<&str> {
        match &self.key {
            Key::Given(key) => Some(key),
            Key::Absent | Key::Unusable => None,
        }
    }

    /// The pointer at which the body refers to an earlier transaction.
    pub fn original_pointer(&self) -> Option<&str> {
        match &self.route.config.account {
            Some(DecidedBy::Transaction(pointer)) => Some(pointer),
            _ => None,
        }
    }
}

/// The id of a new account whose client named none: the same for every retry with the same key.
pub fn account_id(tenant: &str, key: &str) -> String {
    uuid::Uuid::new_v5(&ACCOUNT_NAMESPACE, &[tenant.as_bytes(), &[0], key.as_bytes()].concat()).to_string()
}

impl Refusal {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::NoSuchRoute => 404,
            Refusal::MethodNotAllowed => 405,
            Refusal::NotYetMoved => 409,
        }
    }

    /// The problem code.
    pub const fn code(self) -> &'static str {
        match self {
            Refusal::NoSuchRoute => "NoSuchRoute",
            Refusal::MethodNotAllowed => "MethodNotAllowed",
            Refusal::NotYetMoved => "NotYetMoved",
        }
    }
}

impl Routes {
    /// Checks configured routes.
    ///
    /// # Errors
    /// The first route that cannot be used, and why.
    pub fn new(configured: Vec<RouteConfig>) -> Result<Self, BadRoute> {
        let mut names = BTreeSet::new();
        let mut routes = Vec::with_capacity(configured.len());
        for (index, config) in configured.into_iter().enumerate() {
            let bad = |problem: String| BadRoute { route: config.name.clone(), problem };
            if !wire::ids::is_front_name(&config.name) {
                return Err(bad("its name is not [a-z0-9-]{1,32}".to_owned()));
            }
            if !names.insert(config.name.clone()) {
                return Err(bad("another route has the same name".to_owned()));
            }
            let method = Method::from_bytes(config.method.as_bytes())
                .map_err(|_| bad(format!("`{}` is no HTTP method", config.method)))?;
            let pattern = Pattern::parse(&config.path).map_err(bad)?;
            check(&config, &pattern).map_err(bad)?;
            routes.push(Route { config, index, method, pattern });
        }
        // Where two patterns fit one path, the one that names the segment goes first.
        routes.sort_by_key(|route| route.pattern.specificity());
        Ok(Self(routes))
    }

    /// All routes, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// The methods that a path has, for the header `Allow`.
    pub fn methods(&self, path: &str) -> String {
        let fitting = self.0.iter().filter(|route| route.pattern.fits(path));
        let methods: BTreeSet<&str> = fitting.map(|route| route.method.as_str()).collect();
        methods.into_iter().collect::<Vec<_>>().join(", ")
    }

    fn find(&self, method: &Method, path: &str) -> Result<&Route, Refusal> {
        let mut refusal = Refusal::NoSuchRoute;
        let method = if method == Method::HEAD { &Method::GET } else { method };
        for route in self.0.iter().filter(|route| route.pattern.fits(path)) {
            if route.method == *method {
                return Ok(route);
            }
            refusal = Refusal::MethodNotAllowed;
        }
        Err(refusal)
    }
}

/// What no single field says: which fields go together.
fn check(config: &RouteConfig, pattern: &Pattern) -> Result<(), String> {
    let pointers = config.accounts.iter().chain(&config.key).chain(match &config.account {
        Some(DecidedBy::Body(pointer) | DecidedBy::Transaction(pointer)) => Some(pointer),
        _ => None,
    });
    if let Some(wrong) = pointers.into_iter().find(|pointer| !pointer.starts_with('/')) {
        return Err(format!("`{wrong}` is no JSON pointer: it begins with a slash"));
    }
    if let Some(DecidedBy::Path(name) | DecidedBy::Maker(name)) = &config.account
        && !pattern.has_parameter(name)
    {
        return Err(format!("its path has no segment {{{name}}}"));
    }
    if config.add_account
        && !matches!(&config.account, Some(DecidedBy::Body(pointer)) if pointer.matches('/').count() == 1)
    {
        return Err("an account can be added only at the top level of the body".to_owned());
    }
    match (config.kind, &config.operation, &config.account) {
        (Kind::DualWrite, None, _) => Err("a dual write needs an operation".to_owned()),
        (Kind::DualWrite, _, None | Some(DecidedBy::Maker(_) | DecidedBy::Tracking(_))) => {
            Err("a dual write needs a deciding account: body, path, header or transaction".to_owned())
        }
        (Kind::DualWrite, ..) if config.method == "GET" => Err("a GET is no dual write".to_owned()),
        (Kind::Passthrough, _, Some(DecidedBy::Body(_) | DecidedBy::Transaction(_))) => {
            Err("the body of what is passed on is not read".to_owned())
        }
        _ => Ok(()),
    }
}
