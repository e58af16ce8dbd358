//! Which headers pass the front, which are recorded, and which make a request ambiguous. Pure.
//!
//! hyper forwards whatever it is given, so both directions are filtered here: what belongs to one connection stays
//! on it, and what two readers could understand differently is refused.

use crate::routes::{KEY_HEADER, TENANT_HEADER};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Version};
use wire::exchange::Header;

/// The header that follows a request everywhere.
pub const CORRELATION_HEADER: &str = "x-correlation-id";
/// Headers of this kind are ours; clients do not send them.
const OURS: &str = "x-crossfade-";
/// Longer correlation ids are replaced (CONTRACT).
const MAX_CORRELATION: usize = 128;

/// Headers of a request that are recorded (FORMATS, legs).
pub const REQUEST_HEADERS: [&str; 5] = ["content-type", KEY_HEADER, TENANT_HEADER, CORRELATION_HEADER, "traceparent"];
/// Headers of an answer that are recorded.
pub const RESULT_HEADERS: [&str; 3] = ["content-type", REPLAYED_HEADER, CORRELATION_HEADER];
/// Says that a system repeated an earlier answer.
pub const REPLAYED_HEADER: &str = "idempotency-replayed";

/// Belong to one connection (RFC 9110, 7.6.1, and what is in use besides).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// `Connection` may not take these away: they say whose request it is, which one, or where it ends.
const NEVER_NAMED: [&str; 7] =
    ["content-length", "host", "transfer-encoding", "authorization", "cookie", KEY_HEADER, TENANT_HEADER];

/// Two of these would be understood differently by different readers.
const ONCE: [&str; 5] = ["host", "content-length", "transfer-encoding", KEY_HEADER, TENANT_HEADER];

/// Why a request is refused before it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous(pub String);

/// Leaves of a client's headers what is to be passed on.
///
/// # Errors
/// When two readers could understand the request differently.
pub fn from_client(headers: &mut HeaderMap, version: Version) -> Result<(), Ambiguous> {
    for name in ONCE {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Ambiguous(format!("there is more than one header `{name}`")));
        }
    }
    if version >= Version::HTTP_11 && !headers.contains_key(header::HOST) {
        return Err(Ambiguous("there is no header `host`".to_owned()));
    }
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
    {
        return Err(Ambiguous("a transfer encoding other than `chunked`".to_owned()));
    }
    let printable = |tenant: &HeaderValue| tenant.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    if !headers.get(TENANT_HEADER).is_none_or(printable) {
        return Err(Ambiguous(format!("`{TENANT_HEADER}` is not printable ASCII")));
    }
    let named = named_by_connection(headers);
    if let Some(wrong) = named.iter().find(|name| NEVER_NAMED.contains(&name.as_str())) {
        return Err(Ambiguous(format!("`Connection` names `{wrong}`")));
    }
    strip(headers, &named);
    headers.remove(header::PROXY_AUTHORIZATION);
    // The front has the whole body when it sends, so nobody waits for a 100.
    headers.remove(header::EXPECT);
    let ours: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(OURS)).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    Ok(())
}

/// Leaves of a system's headers what is to be passed on.
pub fn from_system(headers: &mut HeaderMap) {
    let mut named = named_by_connection(headers);
    named.retain(|name| !NEVER_NAMED.contains(&name.as_str()));
    strip(headers, &named);
}

fn strip(headers: &mut HeaderMap, named: &[HeaderName]) {
    for name in HOP_BY_HOP.iter().chain(named) {
        headers.remove(name);
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| *name != "close" && *name != header::CONNECTION)
        .collect()
}

/// Whether a header carries credentials.
pub fn is_credential(name: &HeaderName) -> bool {
    *name == header::AUTHORIZATION
        || *name == header::COOKIE
        || *name == header::SET_COOKIE
        || *name == header::PROXY_AUTHORIZATION
}

/// The correlation id, taken over or made anew if there is none that can be used.
pub fn correlate(headers: &mut HeaderMap, fresh: impl FnOnce() -> String) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        (1..=MAX_CORRELATION).contains(&value.len()) && value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'))
    };
    if let Some(given) = headers.get(CORRELATION_HEADER).filter(usable).cloned() {
        // Of several the first one counts, for everybody.
        headers.insert(CORRELATION_HEADER, given.clone());
        return given;
    }
    // The ids made here are UUIDs.
    let made = HeaderValue::try_from(fresh()).unwrap_or_else(|_| HeaderValue::from_static("none"));
    headers.insert(CORRELATION_HEADER, made.clone());
    made
}

/// The recorded part of some headers, in the order of the list.
pub fn record(headers: &HeaderMap, list: &[HeaderName]) -> Vec<Header> {
    let mut recorded = Vec::with_capacity(list.len());
    for name in list {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            recorded.push((name.as_str().to_owned(), value.to_owned()));
        }
    }
    recorded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn passed(pairs: &[(&str, &str)]) -> Result<Vec<String>, Ambiguous> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers.append("host", "h".parse().unwrap());
        from_client(&mut headers, Version::HTTP_11)?;
        headers.remove("host");
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    #[test]
    fn what_belongs_to_the_connection_stays_on_it() {
        let sent = [
            ("connection", "close, X-Once, te"),
            ("x-once", "1"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "h2c"),
            ("trailer", "x"),
            ("expect", "100-continue"),
            ("x-crossfade-mode", "forced"),
            ("X-Crossfade-Exchange", "a.1.1"),
            ("authorization", "Bearer t"),
            ("cookie", "c=1"),
            ("x-other", "2"),
        ];
        assert_eq!(passed(&sent), Ok(vec!["authorization".into(), "cookie".into(), "x-other".into()]));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for sent in [
            &[("host", "other")][..],
            &[("content-length", "1"), ("content-length", "1")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            &[("idempotency-key", "a"), ("idempotency-key", "b")],
            &[("x-tenant", "a"), ("x-tenant", "a")],
            &[("x-tenant", "\u{e4}")],
            &[("connection", "idempotency-key"), ("idempotency-key", "a")],
            &[("connection", "close, Authorization")],
            &[("connection", "close"), ("connection", "content-length")],
        ] {
            assert!(passed(sent).is_err(), "{sent:?}");
        }
        assert!(from_client(&mut HeaderMap::new(), Version::HTTP_11).is_err(), "no host");
        assert!(from_client(&mut HeaderMap::new(), Version::HTTP_10).is_ok());
    }

    #[test]
    fn an_answer_loses_only_what_belongs_to_the_connection() {
        let mut headers = map(&[
            ("connection", "x-hop, content-length"),
            ("x-hop", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "c=1"),
        ]);
        from_system(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "set-cookie"]);
    }

    #[test]
    fn a_correlation_id_is_kept_or_made() {
        let fresh = || "fresh".to_owned();
        let long = "x".repeat(129);
        for (given, expected) in [(Some("abc"), "abc"), (None, "fresh"), (Some(""), "fresh"), (Some(&long), "fresh")] {
            let mut headers = given.map_or_else(HeaderMap::new, |given| map(&[(CORRELATION_HEADER, given)]));
            assert_eq!(correlate(&mut headers, fresh), expected);
            assert_eq!(headers[CORRELATION_HEADER], expected);
        }
    }

    #[test]
    fn only_listed_headers_are_recorded() {
        let headers = map(&[("x-tenant", "t"), ("authorization", "Bearer secret"), ("content-type", "a/b")]);
        let list: Vec<_> = REQUEST_HEADERS.iter().map(|name| HeaderName::from_static(name)).collect();
        let recorded = record(&headers, &list);
        assert_eq!(recorded, [("content-type".into(), "a/b".into()), ("x-tenant".into(), "t".into())]);
        assert!(list.iter().all(|name| !is_credential(name)));
    }
}
