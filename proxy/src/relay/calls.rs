//! Calls of the relay to the two systems: legs, questions, accounts, aliases.

use super::config::Config;
use super::delivery::answer::Answer;
use super::delivery::request::LegRequest;
use super::delivery::resolve::{Finding, Question, finding};
use super::delivery::{Facts, Reading};
use crate::metrics;
use bytes::Bytes;
use host::clock;
use host::http::{self as client, Client, SendError};
use host::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;
use std::time::Duration;
use wire::control::{Alias, PostAliases};
use wire::exchange::Header;
use wire::scalar::Body;
use wire::words::System;

/// Answers longer than this belong to neither system: a result echoes a request of at most 1 MiB.
const MAX_ANSWER_BYTES: usize = crate::MAX_RECORDED_BYTES;
/// Headers of a leg's answer that are recorded.
const RECORDED: [&str; 5] =
    ["content-type", "idempotency-replayed", "retry-after", "x-correlation-id", "x-crossfade-would-refuse"];
/// Says that an answer repeats an earlier one.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The role of whatever the relay sends to.
const SHADOW: &str = "shadow";

/// Both systems as the relay reaches them.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    client: Client,
    legacy: Peer,
    engine: Peer,
    engine_control: String,
    leg_timeout: Duration,
    ask_timeout: Duration,
}

#[derive(Debug, Clone)]
struct Peer {
    /// Without a slash at its end.
    base: String,
    token: Option<Secret>,
}

impl Calls {
    /// As configured.
    pub(super) fn new(config: &Config) -> Self {
        let millis = Duration::from_millis;
        let base = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            client: Client::new(millis(config.connect_timeout_ms), MAX_ANSWER_BYTES),
            legacy: Peer { base: base(&config.legacy), token: config.legacy_token.clone() },
            engine: Peer { base: base(&config.engine), token: config.service_token.clone() },
            engine_control: base(&config.engine_control),
            leg_timeout: millis(config.leg_timeout_ms),
            ask_timeout: millis(config.ask_timeout_ms),
        }
    }

    fn peer(&self, system: System) -> &Peer {
        match system {
            System::Legacy => &self.legacy,
            System::Engine => &self.engine,
        }
    }

    /// Sends a leg.
    pub(super) async fn send(&self, leg: LegRequest) -> Answer {
        let peer = self.peer(leg.target);
        // Nothing stands between this and the first byte but the connection.
        if leg.sent_by.is_some_and(|by| clock::unix_micros() > by.0) {
            tracing::warn!(exchange = %leg.number, "a leg is announced again: it was to be sent too long ago");
            return Answer::TooLate;
        }
        let request = match request(&leg, peer) {
            Ok(request) => request,
            Err(problem) => {
                // The front took it from a client and the authority answered it, so it can be sent; if not, the
                // leg waits until somebody has read this line.
                tracing::error!(exchange = %leg.number, problem, "a leg cannot be put into a request");
                return Answer::NotSent;
            }
        };
        let began = clock::now();
        let sent = self.client.send(request, self.leg_timeout).await;
        let duration = began.elapsed();
        let duration_micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        match sent {
            Ok(answer) => {
                let labels =
                    [("system", leg.target.as_str().to_owned()), ("role", SHADOW.to_owned()), ("route", leg.route)];
                ::metrics::histogram!(metrics::LEG_DURATION, &labels).record(duration.as_secs_f64());
                Answer::Whole {
                    status: answer.status.as_u16(),
                    headers: recorded(&answer.headers),
                    replayed: answer.headers.get(REPLAYED).is_some_and(|value| value == "true"),
                    body: Body(answer.body.to_vec()),
                    duration_micros,
                }
            }
            Err(error) if error.had_no_effect() => {
                tracing::debug!(exchange = %leg.number, system = %leg.target, %error, "a leg was not sent");
                Answer::NotSent
            }
            Err(error) => {
                tracing::warn!(exchange = %leg.number, system = %leg.target, %error, "a leg was not answered");
                Answer::Unanswered { duration_micros }
            }
        }
    }

    /// Asks an authority about an unknown result.
    pub(super) async fn ask(&self, question: &Question) -> Finding {
        match self.get(question.system, &question.path, &question.tenant).await {
            Ok(answer) if answer.status.is_server_error() => Finding::NoAnswer,
            Ok(answer) => finding(question, answer.status.as_u16(), &answer.body),
            Err(error) => {
                tracing::warn!(system = %question.system, %error, "cannot ask about an unknown result");
                Finding::NoAnswer
            }
        }
    }

    /// Asks what an account is: the engine, which holds all of them once it follows, then the legacy.
    pub(super) async fn learn(&self, account: &str) -> Option<Facts> {
        let path = format!("/accounts/{account}");
        for system in [System::Engine, System::Legacy] {
            match self.get(system, &path, "").await {
                Ok(answer) if answer.status.is_success() => {
                    if let Some((id, facts)) = Reading::of(&answer.body).account
                        && id == account
                    {
                        return Some(facts);
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%system, %error, "cannot ask what an account is"),
            }
        }
        None
    }

    async fn get(&self, system: System, path: &str, tenant: &str) -> Result<client::Answer, SendError> {
        let peer = self.peer(system);
        let token = peer.token.as_ref().map(Secret::reveal);
        let url = format!("{}{path}", peer.base);
        let mut request = client::request(Method::GET, &url, token, Bytes::new())?;
        if !tenant.is_empty() {
            let tenant = HeaderValue::try_from(tenant).map_err(|error| SendError::NotSent(error.to_string()))?;
            request.headers_mut().insert(crate::relay::TENANT_HEADER, tenant);
        }
        self.client.send(request, self.ask_timeout).await
    }

    /// Tells the engine the legacy's ids; whether it took them.
    pub(super) async fn post_aliases(&self, aliases: Vec<Alias>) -> bool {
        let url = format!("{}/internal/aliases", self.engine_control);
        let token = self.engine.token.as_ref().map(Secret::reveal);
        match self.client.post(&url, token, &PostAliases { aliases }, self.ask_timeout).await {
            Ok(answer) if answer.status.is_success() => true,
            Ok(answer) => {
                tracing::warn!(status = answer.status.as_u16(), "the engine did not take aliases");
                false
            }
            Err(error) => {
                tracing::debug!(%error, "the engine did not take aliases");
                false
            }
        }
    }
}

fn request(leg: &LegRequest, peer: &Peer) -> Result<Request<Full<Bytes>>, String> {
    let method = Method::from_bytes(leg.method.as_bytes()).map_err(|error| error.to_string())?;
    let mut builder = Request::builder().method(method).uri(format!("{}{}", peer.base, leg.path));
    for (name, value) in &leg.headers {
        builder = builder.header(name, value);
    }
    if let Some(token) = &peer.token {
        builder = builder.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    builder.body(Full::new(Bytes::copy_from_slice(&leg.body))).map_err(|error| error.to_string())
}

fn recorded(headers: &HeaderMap) -> Vec<Header> {
    RECORDED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), headers.get(*name)?.to_str().ok()?.to_owned())))
        .collect()
}
