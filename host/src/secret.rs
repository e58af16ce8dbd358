//! Secrets: read from an environment variable or a file, never written in the configuration, never printed.

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use std::fmt;

/// A token or password. `Debug` and `Display` hide it.
///
/// In a configuration file it is a table: `{ env = "NAME" }` or `{ file = "path" }`; it is read while the
/// configuration is parsed, so that a missing one is an error with a line number before any port is bound.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret made in this process.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret; takes the same time for every candidate of one length.
    pub fn matches(&self, candidate: &str) -> bool {
        Sha256::digest(self.0.as_bytes()) == Sha256::digest(candidate.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Written as `(hidden)`: a printed configuration shows that there is a secret, not which.
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

/// What is said of anything else. It never repeats what was found: that may be the secret.
const SHAPE: &str = "a secret is {env = \"NAME\"} or {file = \"PATH\"}, never its value";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Source)
    }
}

/// Where a secret is read from. Every kind of value is taken and answered here, because what serde says of a value
/// that it did not expect repeats the value.
struct Source;

impl<'de> Visitor<'de> for Source {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHAPE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Secret, A::Error> {
        let shape = || A::Error::custom(SHAPE);
        let kind = source.next_key::<String>().map_err(|_| shape())?.ok_or_else(shape)?;
        let place = source.next_value::<String>().map_err(|_| shape())?;
        if source.next_key::<IgnoredAny>().map_err(|_| shape())?.is_some() {
            return Err(shape());
        }
        match kind.as_str() {
            "env" => std::env::var(&place)
                .map(Secret::new)
                .map_err(|_| A::Error::custom(format!("the environment variable {place} is not set"))),
            "file" => std::fs::read_to_string(&place)
                .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
                .map_err(|error| A::Error::custom(format!("cannot read the secret file {place}: {error}"))),
            _ => Err(A::Error::custom(SHAPE)),
        }
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(SHAPE))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Secret, A::Error> {
        Err(A::Error::custom(SHAPE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Secret, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_where_its_place_belongs_is_refused_without_being_repeated() {
        for json in [
            "\"hunter2\"",
            "[\"hunter2\"]",
            "{\"value\": \"hunter2\"}",
            "{\"hunter2\": 1}",
            "{\"env\": [\"hunter2\"]}",
            "{\"env\": \"HOME\", \"hunter2\": 1}",
            "{}",
            "4711",
            "-4711",
            "4711.5",
            "true",
            "null",
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(SHAPE), "{json}: {error}");
            assert!(!error.contains("hunter2") && !error.contains("4711"), "{json}: {error}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file_or_the_environment() {
        assert!(read("{\"env\": \"PATH\"}").is_ok());
        let error = read("{\"env\": \"CROSSFADE_NEVER_SET\"}").unwrap_err();
        assert!(error.contains("CROSSFADE_NEVER_SET is not set"), "{error}");
        let error = read("{\"file\": \"/nowhere/token\"}").unwrap_err();
        assert!(error.contains("cannot read the secret file /nowhere/token"), "{error}");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/secret.rs");
        assert!(
            read(&format!("{{\"file\": \"{source}\"}}")).unwrap().reveal().ends_with('}'),
            "without the line break"
        );
    }
}
