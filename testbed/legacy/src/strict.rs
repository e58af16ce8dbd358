//! Strict JSON: duplicate keys and deep nesting are errors, which `serde_json` alone lets pass.

use crate::refusal::Finding;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// How deep arrays and objects may be nested, the outermost being the first.
const MAX_DEPTH: usize = 32;

/// Parses one whole JSON document.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Value, Finding> {
    let found = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let node = Node { path: &mut String::new(), depth: 0, found: &found };
    let parsed = node.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    parsed.map_err(|error| {
        let error = Finding::new("", "MalformedJson", error.to_string());
        found.into_inner().unwrap_or(error)
    })
}

/// A place in the document that is about to be read.
struct Node<'a> {
    path: &'a mut String,
    depth: usize,
    found: &'a RefCell<Option<Finding>>,
}

impl Node<'_> {
    /// Goes one level deeper, unless that is too deep.
    fn deeper<E: Error>(&self) -> Result<usize, E> {
        if self.depth < MAX_DEPTH {
            return Ok(self.depth + 1);
        }
        let detail = format!("nested more than {MAX_DEPTH} deep");
        *self.found.borrow_mut() = Some(Finding::new(self.path.as_str(), "MalformedJson", detail));
        Err(E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut values = Vec::new();
        loop {
            let length = self.path.len();
            self.path.push_str(&format!("/{}", values.len()));
            let value = seq.next_element_seed(Node { path: self.path, depth, found: self.found })?;
            self.path.truncate(length);
            match value {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let length = self.path.len();
            self.path.push('/');
            self.path.push_str(&name.replace('~', "~0").replace('/', "~1"));
            if members.contains_key(&name) {
                let detail = "the same name stands twice in one object";
                *self.found.borrow_mut() = Some(Finding::new(self.path.as_str(), "DuplicateJsonKey", detail));
                return Err(A::Error::custom("duplicate name"));
            }
            let value = map.next_value_seed(Node { path: self.path, depth, found: self.found })?;
            self.path.truncate(length);
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_it_stands() {
        let text = r#"{"a":[1,-2,3.5,"x",null,true],"b":{"c":{}}}"#;
        assert_eq!(parse(text.as_bytes()), Ok(serde_json::from_str(text).unwrap()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (text, pointer, code) in [
            ("", "", "MalformedJson"),
            ("{", "", "MalformedJson"),
            ("{} {}", "", "MalformedJson"),
            ("{\"a\":1,}", "", "MalformedJson"),
            ("{\"a\":NaN}", "", "MalformedJson"),
            ("{\"a\":1e999}", "", "MalformedJson"),
            ("\u{feff}{}", "", "MalformedJson"),
            (r#"{"a":1,"a":1}"#, "/a", "DuplicateJsonKey"),
            (r#"{"a":1,"\u0061":1}"#, "/a", "DuplicateJsonKey"),
            (r#"{"m":[{"x/y":{"~":1,"~":2}}]}"#, "/m/0/x~1y/~0", "DuplicateJsonKey"),
            (nested(33).as_str(), &"/0".repeat(32), "MalformedJson"),
        ] {
            let finding = parse(text.as_bytes()).expect_err(text);
            assert_eq!((finding.pointer.as_str(), finding.code), (pointer, code), "{text}");
        }
        assert!(parse(nested(32).as_bytes()).is_ok());
        assert!(parse(&[b'"', 0xff, b'"']).is_err(), "not UTF-8");
    }
}
