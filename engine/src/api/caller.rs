//! Who asks, and how: the headers of a request.

use super::fields::{amount_of, key_flaw, shortened};
use super::findings::{Findings, Flaw};
use axum::http::{HeaderMap, HeaderName};
use engine_domain::command::Refusal;
use engine_domain::{Amount, Mode, Text};
use host::secret::Secret;
use std::time::Duration;
use wire::leg;

/// The header of a correlation id.
pub const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
/// The header of a tenant.
const TENANT: &str = "x-tenant";
/// The header of an idempotency key.
const KEY: &str = "idempotency-key";
/// Where a key stands in a body.
const IN_BODY: &str = "/idempotencyKey";
/// Characters of a correlation id; a longer one is replaced: it is in every log line and every outcome.
const MAX_CORRELATION: usize = 128;
/// Characters of a tenant and of an actor: as many as of a key, in whose scope they stand.
const MAX_NAME: usize = 255;
/// Who asks, when nothing says so.
const ANONYMOUS: &str = "anonymous";

/// Which headers of a request are believed.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Names who asks; set by a proxy in front that has checked it.
    pub actor_header: Option<HeaderName>,
    /// Makes a request a leg: who knows it may set `X-Crossfade-*`.
    pub service_token: Option<Secret>,
}

impl Trust {
    /// Whether another part of the product asks.
    pub fn is_service(&self, headers: &HeaderMap) -> bool {
        let token = host::http::bearer(headers);
        token.zip(self.service_token.as_ref()).is_some_and(|(token, secret)| secret.matches(token))
    }
}

/// Who asks, and in what role the engine is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Follows the request everywhere.
    pub correlation_id: Text,
    /// Scopes keys; empty when none was named.
    pub tenant: Text,
    /// Who asks.
    pub actor: Text,
    /// How the request is to be executed.
    pub mode: Mode,
    /// The transaction's id at the other system.
    pub alias: Option<Text>,
    /// How the authority refused it.
    pub refusal: Option<Refusal>,
    /// What the authority took of a refund that left it open.
    pub taken: Option<Amount>,
}

impl Caller {
    /// Reads the headers; what is wrong with them is noted.
    pub fn of(headers: &HeaderMap, correlation_id: Text, trust: &Trust, findings: &mut Findings) -> Self {
        let actor = trust.actor_header.as_ref().and_then(|name| named(headers, name.as_str(), findings));
        let mut caller = Self {
            correlation_id,
            tenant: named(headers, TENANT, findings).unwrap_or_default().into(),
            actor: actor.unwrap_or(ANONYMOUS).into(),
            mode: Mode::Authority,
            alias: None,
            refusal: None,
            taken: None,
        };
        if trust.is_service(headers) {
            caller.take_leg(headers, findings);
        }
        caller
    }

    /// What the relay says of the leg.
    fn take_leg(&mut self, headers: &HeaderMap, findings: &mut Findings) {
        if let Some(mode) = single(headers, leg::MODE, findings) {
            match mode.parse() {
                Ok(wire::words::Mode::Authority) => self.mode = Mode::Authority,
                Ok(wire::words::Mode::Shadow) => self.mode = Mode::Shadow,
                Ok(wire::words::Mode::ShadowRefused) => self.mode = Mode::ShadowRefused,
                Ok(wire::words::Mode::Forced) => self.mode = Mode::Forced,
                Ok(wire::words::Mode::Import) => {
                    findings.note(Flaw::InvalidValue, leg::MODE, "history is not imported over this API");
                }
                Err(unknown) => findings.note(Flaw::InvalidValue, leg::MODE, unknown.to_string()),
            }
        }
        self.alias = named(headers, leg::ALIAS, findings).map(Text::from);
        if let Some(text) = single(headers, leg::AMOUNT, findings) {
            self.taken = amount_of(text);
            if self.taken.is_none() {
                findings.note(Flaw::InvalidValue, leg::AMOUNT, format!("`{}` is no amount", shortened(text)));
            }
        }
        match single(headers, leg::REFUSAL, findings).map(refusal_of) {
            Some(Ok(refusal)) => self.refusal = Some(refusal),
            Some(Err(detail)) => findings.note(Flaw::InvalidValue, leg::REFUSAL, detail),
            None if self.mode == Mode::ShadowRefused => {
                let detail = "a leg of mode shadow-refused carries how the authority refused it";
                findings.note(Flaw::MissingField, leg::REFUSAL, detail);
            }
            None => (),
        }
    }
}

/// The correlation id of a request, if it brought one that can be taken.
pub fn correlation_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(CORRELATION)?.to_str().ok()?;
    let printable = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (printable && (1..=MAX_CORRELATION).contains(&id.len())).then_some(id)
}

/// The idempotency key of a request whose body has `in_body`: header and body have to agree.
pub fn key(headers: &HeaderMap, in_body: Option<String>, findings: &mut Findings) -> Option<Text> {
    let in_header = single(headers, KEY, findings);
    if let (Some(header), Some(body)) = (in_header, &in_body)
        && header != body
    {
        let detail = "the body and the header Idempotency-Key name different keys: send one of them";
        findings.note(Flaw::InvalidValue, IN_BODY, detail);
        return None;
    }
    let (key, place) = in_body.map(|key| (key, IN_BODY)).or_else(|| Some((in_header?.to_owned(), KEY)))?;
    match key_flaw(&key) {
        None => Some(key.into()),
        Some(detail) => {
            findings.note(Flaw::InvalidValue, place, detail);
            None
        }
    }
}

/// As [`key`], for a request that has to have one.
pub fn required_key(headers: &HeaderMap, in_body: Option<String>, findings: &mut Findings) -> Option<Text> {
    if in_body.is_none() && !headers.contains_key(KEY) {
        // One that is there but no text was noted when the body was read.
        if !findings.names(IN_BODY) {
            let detail = "a key is missing: send the field idempotencyKey or the header Idempotency-Key";
            findings.note(Flaw::MissingField, IN_BODY, detail);
        }
        return None;
    }
    key(headers, in_body, findings)
}

/// How long the client wants to wait for a final answer (`Prefer`, RFC 7240): `respond-async` not at all,
/// `wait=N` so many seconds; `None` when it does not say.
pub fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let mut wait = None;
    for preference in headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok()) {
        for preference in preference.split(',') {
            let preference = preference.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            match preference.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                None if preference == "respond-async" => wait = wait.or(Some(Duration::ZERO)),
                Some(("wait", seconds)) => wait = seconds.parse().ok().map(Duration::from_secs).or(wait),
                _ => (),
            }
        }
    }
    wait
}

/// A header that may stand there once.
fn single<'h>(headers: &'h HeaderMap, name: &'static str, findings: &mut Findings) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        findings.note(Flaw::InvalidValue, name, "the header stands there more than once: keep one");
        return None;
    }
    let text = value.to_str().ok();
    if text.is_none() {
        findings.note(Flaw::InvalidValue, name, "the header is not printable ASCII");
    }
    text
}

/// A header that names somebody or something.
fn named<'h>(headers: &'h HeaderMap, name: &str, findings: &mut Findings) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let flaw = match value.to_str() {
        _ if values.next().is_some() => "the header stands there more than once: keep one".to_owned(),
        Ok(text) if text.len() <= MAX_NAME => return Some(text),
        Ok(text) => format!("`{}` is too long: at most {MAX_NAME} characters", shortened(text)),
        Err(_) => "the header is not printable ASCII".to_owned(),
    };
    findings.note(Flaw::InvalidValue, name, flaw);
    None
}

/// The authority's refusal, with the code that its body names.
fn refusal_of(header: &str) -> Result<Refusal, String> {
    #[derive(serde::Deserialize)]
    struct Coded {
        code: String,
    }
    let refusal: leg::AuthorityRefusal = header.parse().map_err(|error: leg::NotARefusal| error.to_string())?;
    let body = String::from_utf8(refusal.body.0).map_err(|_| "the refusal's body is not UTF-8".to_owned())?;
    let coded: Coded =
        serde_json::from_str(&body).map_err(|error| format!("the refusal's body names no code: {error}"))?;
    Ok(Refusal { status: refusal.status, code: coded.code.into(), body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use wire::scalar::Body;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn caller(pairs: &[(&'static str, &str)]) -> (Caller, Vec<String>) {
        let trust = Trust {
            actor_header: Some(HeaderName::from_static("x-actor")),
            service_token: Some(Secret::new("service")),
        };
        let mut findings = Findings::new();
        let caller = Caller::of(&headers(pairs), "c".into(), &trust, &mut findings);
        (caller, findings.malformed().iter().map(|item| item.pointer.clone()).collect())
    }

    #[test]
    fn only_the_service_token_makes_a_leg() {
        let authority = Caller {
            correlation_id: "c".into(),
            tenant: "".into(),
            actor: "anonymous".into(),
            mode: Mode::Authority,
            alias: None,
            refusal: None,
            taken: None,
        };
        assert_eq!(caller(&[]), (authority.clone(), vec![]));
        let leg = [("x-crossfade-mode", "forced"), ("x-crossfade-alias", "L-1")];
        for token in [None, Some("Bearer other"), Some("service"), Some("Basic service")] {
            let authorization = token.map(|token| ("authorization", token));
            let pairs: Vec<_> = leg.into_iter().chain(authorization).collect();
            assert_eq!(caller(&pairs), (authority.clone(), vec![]), "{token:?}");
        }
        let pairs: Vec<_> = leg.into_iter().chain([("authorization", "Bearer service")]).collect();
        let forced = Caller { mode: Mode::Forced, alias: Some("L-1".into()), ..authority };
        assert_eq!(caller(&pairs), (forced, vec![]));
    }

    #[test]
    fn a_refused_leg_brings_the_refusal() {
        let service = ("authorization", "Bearer service");
        let mode = ("x-crossfade-mode", "shadow-refused");
        assert_eq!(caller(&[service, mode]).1, ["x-crossfade-refusal"]);
        assert_eq!(caller(&[service, mode, ("x-crossfade-refusal", "%%%")]).1, ["x-crossfade-refusal"]);
        assert_eq!(caller(&[service, ("x-crossfade-mode", "dry")]).1, ["x-crossfade-mode"]);
        assert_eq!(caller(&[service, ("x-crossfade-mode", "import")]).1, ["x-crossfade-mode"]);
        for wrong in ["", "0", "-1", "1e3"] {
            assert_eq!(
                caller(&[service, ("x-crossfade-mode", "shadow"), ("x-crossfade-amount", wrong)]).1,
                ["x-crossfade-amount"]
            );
        }
        let body = r#"{"code":"AccountFrozen"}"#;
        let refusal = leg::AuthorityRefusal { status: 422, body: Body(body.into()) }.to_string();
        let (caller, wrong) = caller(&[service, mode, ("x-crossfade-refusal", &refusal)]);
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(caller.refusal, Some(Refusal { status: 422, code: "AccountFrozen".into(), body: body.into() }));
    }

    #[test]
    fn tenant_and_actor_are_taken_from_their_headers() {
        let (caller, wrong) = caller(&[("x-tenant", "t1"), ("x-actor", "joe")]);
        assert_eq!((&*caller.tenant, &*caller.actor, wrong.len()), ("t1", "joe", 0));
        let long = "t".repeat(256);
        for bad in [&[("x-tenant", "a"), ("x-tenant", "b")][..], &[("x-tenant", "ü")], &[("x-tenant", &long)]] {
            assert_eq!(super::tests::caller(bad).1, ["x-tenant"], "{bad:?}");
        }
    }

    #[test]
    fn header_and_body_agree_on_the_key() {
        let long = "k".repeat(256);
        for (header, body, expected, wrong) in [
            (None, Some("a"), Some("a"), None),
            (Some("a"), None, Some("a"), None),
            (Some("a"), Some("a"), Some("a"), None),
            (Some("a"), Some("b"), None, Some("/idempotencyKey")),
            (None, None, None, Some("/idempotencyKey")),
            (None, Some(""), None, Some("/idempotencyKey")),
            (None, Some("a\u{7}"), None, Some("/idempotencyKey")),
            (None, Some(long.as_str()), None, Some("/idempotencyKey")),
            (Some(long.as_str()), None, None, Some("idempotency-key")),
            (Some("ü"), None, None, Some("idempotency-key")),
        ] {
            let mut findings = Findings::new();
            let headers = header.map(|key| headers(&[(KEY, key)])).unwrap_or_default();
            let key = required_key(&headers, body.map(str::to_owned), &mut findings);
            assert_eq!(key.as_deref(), expected, "{header:?} {body:?}");
            let found = findings.malformed().first().map(|item| item.pointer.as_str());
            assert_eq!(
                (found, findings.malformed().len()),
                (wrong, usize::from(wrong.is_some())),
                "{header:?} {body:?}"
            );
        }
    }

    #[test]
    fn preferences_are_read_as_rfc_7240_has_them() {
        for (prefer, expected) in [
            ("respond-async", Some(0)),
            ("Respond-Async", Some(0)),
            ("return=minimal, respond-async", Some(0)),
            ("respond-async; x=y", Some(0)),
            ("respond-async, wait=2", Some(2)),
            ("wait=3", Some(3)),
            ("wait = 3", Some(3)),
            ("wait=x", None),
            ("return=minimal", None),
            ("respond-asynchronously", None),
        ] {
            assert_eq!(preferred_wait(&headers(&[("prefer", prefer)])), expected.map(Duration::from_secs), "{prefer}");
        }
    }
}
