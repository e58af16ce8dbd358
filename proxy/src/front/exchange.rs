//! A dual write: intent, the authority's leg, result, answer.
//!
//! ```text
//! read the body → which account decides → lease (held in a handover) → intent into the journal
//!     → send to the authority, once → result into the journal → answer
//! ```
//! It runs in a task of its own, so that a client who hangs up cancels nothing. Between any two steps the process
//! may die: an intent without result is *unknown* and resolved by the relay; nothing is ever sent again from here.

use super::answer::{self, Body, Fault, Unanswered};
use super::dial::Lease;
use super::headers::{self, REPLAYED_HEADER};
use super::ids::{Original, Unavailable};
use super::{Front, WhenFull};
use crate::journal::{Recorded, Ticket};
use crate::json::{Found, Object, quoted};
use crate::routes::{self, Deciding, Decision, Head, KEY_HEADER, TENANT_HEADER, Write};
use bytes::Bytes;
use host::clock::{self, Instant};
use host::http::{Answer, SendError};
use http::request::Parts;
use http::{HeaderValue, Response, header};
use std::sync::Arc;
use std::time::Duration;
use wire::exchange::{AuthorityResult, Intent};
use wire::ids::is_engine_transaction_id;
use wire::scalar;
use wire::words::{Class, Operation, Stage, System};

/// A dual write on its way through.
struct Exchange<'f> {
    front: &'f Front,
    head: Parts,
    body: Bytes,
    correlation: HeaderValue,
    tenant: String,
    write: Write<'f>,
    /// The deciding account, once known.
    account: Option<String>,
    /// The earlier transaction that is referred to, by the id the client used.
    original: Option<String>,
    /// Whether any system knows it.
    original_known: bool,
}

/// A request whose body is there.
pub(super) struct Whole {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) correlation: HeaderValue,
}

/// Runs a dual write to its end.
pub(super) async fn run(front: Arc<Front>, request: Whole) -> Response<Body> {
    let begun = clock::now();
    let correlation = request.correlation.clone();
    match Exchange::prepare(&front, request) {
        Ok(exchange) => exchange.run(begun).await.unwrap_or_else(|fault| answer::fault(&fault, &correlation)),
        Err(fault) => answer::fault(&fault, &correlation),
    }
}

impl<'f> Exchange<'f> {
    fn prepare(front: &'f Front, request: Whole) -> Result<Self, Fault> {
        let Whole { mut head, mut body, correlation } = request;
        let stand = front.dial.stand();
        let uri = head.uri.clone();
        let decision = {
            let head = Head { method: &head.method, path: uri.path(), query: uri.query(), headers: &head.headers };
            routes::route(&head, Some(&body), &front.routes, &stand.view.rollout)
        };
        let mut write = match decision {
            Decision::DualWrite(write) => write,
            Decision::Refuse(refusal) => return Err(Fault::Refused(refusal)),
            // The route asked for the body a moment ago, and routes do not change.
            Decision::ReadBody(_) | Decision::Passthrough(..) => return Err(Fault::Failed),
        };
        let tenant = head.headers.get(TENANT_HEADER).and_then(|tenant| tenant.to_str().ok()).unwrap_or("").to_owned();
        let added = write.complete(&tenant, &body, || host::random::uuid().to_string());
        if let Some(key) = added.key.and_then(|key| HeaderValue::try_from(key).ok()) {
            head.headers.insert(KEY_HEADER, key);
        }
        if let Some(longer) = added.body {
            body = Bytes::from(longer);
        }
        // A coded answer could be recorded, but not read.
        head.headers.remove(header::ACCEPT_ENCODING);
        let (account, original) = match &write.deciding {
            Deciding::Account(account) => (Some(account.clone()), None),
            Deciding::Original(id) => (None, Some(id.clone())),
            Deciding::ToBeMade | Deciding::Unknown => (None, None),
        };
        Ok(Self { front, head, body, correlation, tenant, write, account, original, original_known: false })
    }

    async fn run(mut self, begun: Instant) -> Result<Response<Body>, Fault> {
        self.look_up_original().await?;
        let (lease, alias) = self.lease().await?;
        let ticket = self.record_intent(&lease).await?;
        let body = self.body_for(alias.as_deref());
        let route = self.write.route;
        let operation = self.write.operation;
        let sent = clock::now();
        let outcome = self.front.systems.of(lease.authority).send(self.head, body).await;
        let took = clock::now() - sent;
        let (result, response) = judge(self.front, lease.authority, outcome, took, &self.correlation);
        if result.class == Class::Unknown {
            lease.ended_unknown();
        }
        if result.class == Class::Applied && moves_money(operation) {
            self.front.ids.learn(&result.body.0);
        }
        self.front.metrics.leg(route, lease.authority, result.class, took);
        if let Some(ticket) = ticket {
            ticket.finish(result).await;
        }
        // Only now: what a handover ships has to include the result.
        drop(lease);
        self.front.metrics.added((clock::now() - begun).saturating_sub(took));
        Ok(response)
    }

    /// Finds out which accounts an earlier transaction had, and with them the deciding one.
    async fn look_up_original(&mut self) -> Result<(), Fault> {
        let Some(id) = &self.original else { return Ok(()) };
        let front = self.front;
        let unavailable = |Unavailable(system)| Fault::OriginalUnavailable(system);
        let who = &self.head.headers;
        let found = front.ids.original(id, who, &front.systems).await.map_err(unavailable)?;
        let Some(original) = found else { return Ok(()) };
        let rollout = front.dial.stand().view.rollout.clone();
        let decider = front.ids.refund_decider(&original, who, &front.systems, &rollout).await;
        self.account = Some(decider.map_err(unavailable)?);
        self.original_known = true;
        let Original { source, destination, .. } = original;
        for account in [destination, source] {
            if !self.write.accounts.contains(&account) {
                self.write.accounts.push(account);
            }
        }
        Ok(())
    }

    /// The right to send, and the id under which the authority knows the transaction referred to, if it did not
    /// make that id itself. A transaction that nobody knows goes as it is: the authority refuses it.
    async fn lease(&self) -> Result<(Lease, Option<String>), Fault> {
        let unknown = |_| Fault::RolloutUnknown;
        let dial = &self.front.dial;
        let account = self.account.as_deref();
        let Some(id) = self.original.as_deref().filter(|_| self.original_known) else {
            return Ok((dial.lease(account).await.map_err(unknown)?, None));
        };
        let maker = if is_engine_transaction_id(id) { System::Engine } else { System::Legacy };
        let deadline = clock::now() + self.front.handover;
        let mut alias = None;
        loop {
            // Asked before the lease, because a handover waits for leases.
            let (authority, _) = dial.admit(account).await.map_err(unknown)?;
            if authority != maker && alias.is_none() {
                alias = self.front.ids.alias(id, authority, deadline).await;
                if alias.is_none() {
                    return Err(Fault::AliasUnknown);
                }
            }
            let lease = dial.lease(account).await.map_err(unknown)?;
            match (lease.authority == maker, alias) {
                (true, _) => return Ok((lease, None)),
                (false, Some(alias)) => return Ok((lease, Some(alias))),
                // The dial has moved in between.
                (false, None) => alias = None,
            }
        }
    }

    async fn record_intent(&self, lease: &Lease) -> Result<Option<Ticket>, Fault> {
        let front = self.front;
        let rollout = &lease.rollout;
        if lease.overtaken {
            front.metrics.overtaken(1);
        }
        if rollout.setting.stage == Stage::Passthrough {
            return Ok(None);
        }
        if front.when_full == WhenFull::Refuse && front.journal.is_full() {
            return Err(Fault::JournalFull);
        }
        let accounts = &self.write.accounts;
        let mut authorities = accounts.iter().map(|account| rollout.authority(account));
        let first = authorities.next();
        let cross_cohort = authorities.any(|authority| Some(authority) != first);
        if cross_cohort {
            front.metrics.cross_cohort();
        }
        let intent = Intent {
            route: self.write.route.config.name.clone(),
            operation: self.write.operation,
            method: self.head.method.as_str().to_owned(),
            path: self.head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: headers::record(&self.head.headers, &front.recorded),
            body: scalar::Body(self.body.to_vec()),
            tenant: self.tenant.clone(),
            key: self.write.recorded_key().map(str::to_owned),
            account: self.account.clone(),
            accounts: accounts.clone(),
            original: self.original.clone(),
            authority: lease.authority,
            stage: rollout.setting.stage,
            percent: rollout.setting.percent,
            version: rollout.version,
            cross_cohort,
            overtaken: lease.overtaken,
        };
        match front.journal.intent(intent).await {
            Recorded::Yes(ticket) => Ok(Some(ticket)),
            Recorded::Gap(_) => Ok(None),
        }
    }

    /// The body for an authority that knows the transaction referred to under another id.
    fn body_for(&self, alias: Option<&str>) -> Bytes {
        let found = alias.zip(self.write.original_pointer()).zip(Object::parse(&self.body));
        if let Some(((alias, pointer), object)) = found
            && let Found::At(at) = object.find(pointer)
        {
            return Bytes::from(object.with_value(&at, &quoted(alias)));
        }
        self.body.clone()
    }
}

/// What the authority's answer means, for the record, and what the client gets.
fn judge(
    front: &Front,
    authority: System,
    outcome: Result<Answer, SendError>,
    took: Duration,
    correlation: &HeaderValue,
) -> (AuthorityResult, Response<Body>) {
    let duration_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Ok(answer) => {
            let status = answer.status.as_u16();
            let result = AuthorityResult {
                intent: 0,
                class: classify(status, &answer.body),
                status,
                headers: headers::record(&answer.headers, &front.result_headers),
                body: scalar::Body(answer.body.to_vec()),
                duration_micros,
                replayed: answer.headers.get(REPLAYED_HEADER).is_some_and(|value| value == "true"),
                failure: None,
            };
            (result, answer::of_system(answer))
        }
        Err(error) => {
            let unanswered = Unanswered::new(authority, &error);
            tracing::warn!(system = %authority, %error, class = %unanswered.class, "an exchange has no whole answer");
            let result = AuthorityResult {
                intent: 0,
                class: unanswered.class,
                status: 0,
                headers: Vec::new(),
                body: scalar::Body::default(),
                duration_micros,
                replayed: false,
                failure: Some(unanswered.failure.clone()),
            };
            (result, unanswered.response(correlation))
        }
    }
}

/// What a whole answer means (FORMATS, classification).
pub fn classify(status: u16, body: &[u8]) -> Class {
    match status {
        404 | 409 | 422 => Class::of(status, Object::parse(body).and_then(|body| body.text_at("/code")).as_deref()),
        _ => Class::of(status, None),
    }
}

fn moves_money(operation: Operation) -> bool {
    match operation {
        Operation::Topup | Operation::Withdraw | Operation::Transfer | Operation::Refund => true,
        Operation::CreateAccount | Operation::ChangeAccount => false,
    }
}
