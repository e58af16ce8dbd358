//! Environment variables in the place of keys of the file.
//!
//! A variable is named after section and key: `CROSSFADE_FRONT_LISTEN` overrides `listen` in `[front]`,
//! `CROSSFADE_LEDGER` the key `ledger` at the top. What its text means is decided by what is wanted in its place:
//! `2026` is a number where a number is wanted, and text where text is.

use super::File;
use serde::de::value::MapDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, Visitor};
use std::collections::BTreeMap;
use toml::de::Error;

/// Sections that environment variables reach into.
const SECTIONS: [&str; 10] =
    ["kafka", "registry", "principals", "log", "front", "relay", "engine", "comparator", "legacy", "client"];

/// The variables that override keys.
#[derive(Debug, Default)]
pub struct Overrides(Vec<Override>);

/// A variable, with the key that it overrides; `section` is `None` at the top of the file.
#[derive(Debug, Clone)]
struct Override {
    section: Option<String>,
    key: String,
    name: String,
    text: String,
}

impl Overrides {
    /// Those of the environment that are overrides.
    pub fn among(vars: impl Iterator<Item = (String, String)>) -> Self {
        let overrides = vars.filter_map(|(name, text)| {
            let (section, key) = target_of(&name)?;
            Some(Override { section, key, name, text })
        });
        Self(overrides.collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, for people.
    pub fn names(&self) -> String {
        self.0.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether an error names the one that it is about.
    pub fn blames(&self, error: &Error) -> bool {
        self.0.iter().any(|one| error.message().starts_with(&format!("{}: ", one.name)))
    }

    /// Reads `table` as a configuration, with the overridden keys from the environment.
    ///
    /// # Errors
    /// Without a place; a variable whose text cannot be used is named.
    pub fn read(&self, table: toml::Table) -> Result<File, Error> {
        let mut nodes: BTreeMap<String, Node> =
            table.into_iter().map(|(key, value)| (key, Node::File(value))).collect();
        for one in &self.0 {
            let text = Node::Variable { name: one.name.clone(), text: one.text.clone() };
            let Some(section) = &one.section else {
                nodes.insert(one.key.clone(), text);
                continue;
            };
            let mut keys = match nodes.remove(section) {
                None => BTreeMap::new(),
                Some(Node::Section(keys)) => keys,
                Some(Node::File(toml::Value::Table(table))) => {
                    table.into_iter().map(|(key, value)| (key, Node::File(value))).collect()
                }
                Some(_) => return Err(Error::custom(format!("{}: `{section}` is no section", one.name))),
            };
            keys.insert(one.key.clone(), text);
            nodes.insert(section.clone(), Node::Section(keys));
        }
        File::deserialize(Node::Section(nodes))
    }
}

/// Section and key that an environment variable overrides.
fn target_of(name: &str) -> Option<(Option<String>, String)> {
    let name = name.strip_prefix("CROSSFADE_")?.to_ascii_lowercase();
    if name == "ledger" {
        return Some((None, name));
    }
    let (section, key) =
        SECTIONS.iter().find_map(|section| Some((section, name.strip_prefix(section)?.strip_prefix('_')?)))?;
    // Named by the command line's own flags; they are no keys of a file.
    if (*section, key) == ("engine", "control") {
        return None;
    }
    Some((Some((*section).to_owned()), key.to_owned()))
}

/// A part of the file joined with the environment.
#[derive(Debug)]
enum Node {
    /// As the file has it.
    File(toml::Value),
    /// A section that a variable reaches into, or the whole.
    Section(BTreeMap<String, Node>),
    /// The text of a variable.
    Variable { name: String, text: String },
}

impl IntoDeserializer<'_, Error> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Declares what is asked of a node without any wish for text.
macro_rules! as_it_reads {
    ($($method:ident($($argument:ident: $type:ty),*),)+) => {
        $(
            fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Error> {
                match self {
                    Node::File(value) => value.$method($($argument,)* visitor),
                    Node::Section(keys) => MapDeserializer::new(keys.into_iter()).$method($($argument,)* visitor),
                    Node::Variable { name, text } => {
                        value_of(&text).$method($($argument,)* visitor).map_err(|error| blame(&name, &error))
                    }
                }
            }
        )+
    };
}

/// Declares what is asked of a node where text is wanted.
macro_rules! as_text {
    ($($method:ident,)+) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                match self {
                    Node::File(value) => value.$method(visitor),
                    Node::Section(keys) => MapDeserializer::new(keys.into_iter()).$method(visitor),
                    Node::Variable { name, text } => {
                        let text = match value_of(&text) {
                            toml::Value::String(text) => text,
                            _ => text,
                        };
                        visitor.visit_string(text).map_err(|error: Error| blame(&name, &error))
                    }
                }
            }
        )+
    };
}

impl<'de> Deserializer<'de> for Node {
    type Error = Error;

    as_it_reads! {
        deserialize_any(), deserialize_bool(),
        deserialize_i8(), deserialize_i16(), deserialize_i32(), deserialize_i64(), deserialize_i128(),
        deserialize_u8(), deserialize_u16(), deserialize_u32(), deserialize_u64(), deserialize_u128(),
        deserialize_f32(), deserialize_f64(), deserialize_bytes(), deserialize_byte_buf(), deserialize_unit(),
        deserialize_unit_struct(name: &'static str), deserialize_seq(), deserialize_tuple(length: usize),
        deserialize_tuple_struct(name: &'static str, length: usize), deserialize_map(),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
        deserialize_ignored_any(),
    }

    as_text! { deserialize_char, deserialize_str, deserialize_string, deserialize_identifier, }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
}

/// A number, boolean, list or table if it reads as one, else text.
fn value_of(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// The error, with the name of the variable that it is about.
fn blame(variable: &str, error: &Error) -> Error {
    // What serde says of a value that it did not expect repeats it, and this one may be a secret or hold some.
    if variable.contains("TOKEN") && error.message().starts_with("invalid ") {
        return Error::custom(format!("{variable}: this is not how tokens are written: see docs/configuration.md"));
    }
    Error::custom(format!("{variable}: {}", error.message()))
}
