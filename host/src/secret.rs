//! Secrets: read from an environment variable or a file, never written in the configuration, never printed.

use serde::Deserialize;
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

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Source {
    Env(String),
    File(std::path::PathBuf),
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match Source::deserialize(deserializer)? {
            Source::Env(name) => std::env::var(&name)
                .map(Secret::new)
                .map_err(|_| D::Error::custom(format!("the environment variable {name} is not set"))),
            Source::File(path) => std::fs::read_to_string(&path)
                .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
                .map_err(|error| D::Error::custom(format!("cannot read the secret file {}: {error}", path.display()))),
        }
    }
}
