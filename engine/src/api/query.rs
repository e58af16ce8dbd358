//! The query of a request. Parameters that a route does not have are ignored, as the legacy ignores them.

use super::fields::shortened;
use super::findings::{Findings, Flaw};
use axum::http::Uri;
use std::str::FromStr;
use wire::scalar::Timestamp;

/// Rows of a page, when the client does not say: some 50 KB.
const DEFAULT_LIMIT: usize = 100;
/// Rows of the largest page: some 500 KB, rendered in a few milliseconds.
const MAX_LIMIT: usize = 1000;

/// The decoded parameters of a query.
pub struct Query<'f> {
    pairs: Vec<(String, String)>,
    findings: &'f mut Findings,
}

impl<'f> Query<'f> {
    /// The parameters of `uri`; a query that cannot be decoded is noted.
    pub fn of(uri: &Uri, findings: &'f mut Findings) -> Self {
        let pairs = match axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri) {
            Ok(axum::extract::Query(pairs)) => pairs,
            Err(error) => {
                findings.note(Flaw::InvalidValue, "?", format!("the query cannot be read: {error}"));
                Vec::new()
            }
        };
        Self { pairs, findings }
    }

    /// How many rows are asked for.
    pub fn limit(&mut self) -> usize {
        let Some(text) = self.text("limit") else { return DEFAULT_LIMIT };
        match text.parse() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => limit,
            _ => {
                self.note("limit", &text, &format!("is not a whole number from 1 to {MAX_LIMIT}"));
                DEFAULT_LIMIT
            }
        }
    }

    /// A switch; off when absent.
    pub fn flag(&mut self, name: &'static str) -> bool {
        match self.text(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                self.note(name, other, "is neither true nor false");
                false
            }
        }
    }

    /// A point in time (RFC 3339).
    pub fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        self.parsed(name, "is no time: write it as 2026-11-01T00:00:00Z")
    }

    /// A value of a type that is read from text.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, wrong: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.note(name, &text, wrong);
        }
        parsed
    }

    /// One of a closed list of words, by its text form.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(name)?;
        if let Some((_, word)) = words.iter().find(|(known, _)| *known == text) {
            return Some(*word);
        }
        let choices = words.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        self.note(name, &text, &format!("is not one of {choices}"));
        None
    }

    /// A value as it stands.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let mut values = self.pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone());
        let value = values.next()?;
        if values.next().is_some() {
            drop(values);
            self.note(name, &value, "is not the only value given: keep one");
            return None;
        }
        Some(value)
    }

    /// Notes what is wrong with a parameter.
    pub fn note(&mut self, name: &str, value: &str, wrong: &str) {
        self.findings.note(Flaw::InvalidValue, format!("?{name}"), format!("`{}` {wrong}", shortened(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query<T>(uri: &str, read: impl FnOnce(&mut Query<'_>) -> T) -> (T, Vec<String>) {
        let mut findings = Findings::new();
        let read = read(&mut Query::of(&uri.parse().unwrap(), &mut findings));
        (read, findings.malformed().iter().map(|item| item.pointer.clone()).collect())
    }

    #[test]
    fn limits_are_bounded() {
        for (uri, limit, wrong) in [
            ("/x", 100, false),
            ("/x?limit=1", 1, false),
            ("/x?limit=1000&other=1", 1000, false),
            ("/x?limit=0", 100, true),
            ("/x?limit=1001", 100, true),
            ("/x?limit=-1", 100, true),
            ("/x?limit=ten", 100, true),
            ("/x?limit=", 100, true),
            ("/x?limit=1&limit=2", 100, true),
            ("/x?limit=%FF", 100, true),
        ] {
            let (read, found) = query(uri, |query| query.limit());
            assert_eq!((read, !found.is_empty()), (limit, wrong), "{uri}");
        }
    }

    #[test]
    fn times_and_flags_are_strict() {
        let at = |uri| query(uri, |query| query.time("at").map(|time| time.0));
        assert_eq!(at("/x?at=1970-01-01T00:00:01Z"), (Some(1_000_000), vec![]));
        assert_eq!(at("/x?at=1970-01-01T01:00:01%2B01:00"), (Some(1_000_000), vec![]));
        assert_eq!(at("/x?at=yesterday"), (None, vec!["?at".to_owned()]));
        assert_eq!(query("/x?stale=true", |query| query.flag("stale")), (true, vec![]));
        assert_eq!(query("/x?stale=1", |query| query.flag("stale")), (false, vec!["?stale".to_owned()]));
    }
}
