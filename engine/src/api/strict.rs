//! Strict JSON: no duplicate keys at any depth, no trailing garbage, bounded depth.
//!
//! `serde_json` on its own keeps the last of several equal keys, silently; of two systems that read one body,
//! each could then take another amount from it.

use super::findings::{Findings, Flaw};
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Objects and lists may stand in each other this deep, the document itself included: far more than any request
/// needs, far less than a stack bears.
const MAX_DEPTH: usize = 32;

/// Reads one JSON document; `None` when the bytes are none, which is then among the findings. Of equal keys
/// the first is kept and the others are noted.
pub fn read(bytes: &[u8], findings: &mut Findings) -> Option<Value> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        findings.note(Flaw::MalformedJson, "", "the body is empty: send a JSON object");
        return None;
    }
    let mut reading = Reading { findings, pointer: String::new(), depth: 0, too_deep: false };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Node(&mut reading).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let too_deep = reading.too_deep;
    match read {
        Ok(value) => Some(value),
        Err(_) if too_deep => None,
        Err(error) => {
            findings.note(Flaw::MalformedJson, "", format!("the body is not JSON: {error}"));
            None
        }
    }
}

/// `name` as one step of a JSON pointer (RFC 6901).
pub fn pointer_step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Where the reader stands.
struct Reading<'f> {
    findings: &'f mut Findings,
    pointer: String,
    depth: usize,
    too_deep: bool,
}

impl Reading<'_> {
    /// Goes into an object or list.
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        self.too_deep = true;
        let detail = format!("nested deeper than {MAX_DEPTH} levels: flatten it");
        self.findings.note(Flaw::MalformedJson, self.pointer.clone(), detail.clone());
        Err(E::custom(detail))
    }

    /// Reads what stands under `step` by `read`, with the pointer showing there meanwhile.
    fn at<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push_str(&pointer_step(step));
        let result = read(self);
        self.pointer.truncate(length);
        result
    }
}

/// One value of the document.
struct Node<'r, 'f>(&'r mut Reading<'f>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let reading = self.0;
        reading.enter::<A::Error>()?;
        let mut items = Vec::new();
        while let Some(item) = reading.at(&items.len().to_string(), |reading| list.next_element_seed(Node(reading)))? {
            items.push(item);
        }
        reading.depth -= 1;
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let reading = self.0;
        reading.enter::<A::Error>()?;
        let mut fields = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let value = reading.at(&name, |reading| {
                if fields.contains_key(&name) {
                    let detail = format!("the key `{name}` stands here more than once: keep one");
                    reading.findings.note(Flaw::DuplicateJsonKey, reading.pointer.clone(), detail);
                }
                object.next_value_seed(Node(reading))
            })?;
            fields.entry(name).or_insert(value);
        }
        reading.depth -= 1;
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> (Option<Value>, Vec<(String, String)>) {
        let mut findings = Findings::new();
        let value = read(text.as_bytes(), &mut findings);
        let items = findings.malformed().iter().map(|item| (item.code.clone(), item.pointer.clone())).collect();
        (value, items)
    }

    #[test]
    fn good_documents_read_as_serde_json_reads_them() {
        for text in [
            "{}",
            r#" {"a":[1,-2,2.5,1e3,true,false,null,"x\u00e9\n"],"b":{"":{}}} "#,
            r#"{"a":{"k":1},"b":{"k":1}}"#,
            r#"[[],[[]]]"#,
            "18446744073709551615",
        ] {
            assert_eq!(found(text), (serde_json::from_str(text).ok(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn bad_documents_are_named() {
        for (text, code, pointer) in [
            ("", "MalformedJson", ""),
            (" \n", "MalformedJson", ""),
            ("{", "MalformedJson", ""),
            ("{} {}", "MalformedJson", ""),
            ("{}x", "MalformedJson", ""),
            (r#"{"a":1,}"#, "MalformedJson", ""),
            (r#"{'a':1}"#, "MalformedJson", ""),
            (r#"{"a":NaN}"#, "MalformedJson", ""),
            (r#"{"a":01}"#, "MalformedJson", ""),
            (r#"{"a":+1}"#, "MalformedJson", ""),
            (r#"{"a":1e999}"#, "MalformedJson", ""),
            ("{\"a\":\"\u{1}\"}", "MalformedJson", ""),
            (r#"{"a":"\ud800"}"#, "MalformedJson", ""),
            ("\u{feff}{}", "MalformedJson", ""),
            (r#"{"a":1,"a":2}"#, "DuplicateJsonKey", "/a"),
            (r#"{"a":1,"\u0061":2}"#, "DuplicateJsonKey", "/a"),
            (r#"{"x":[{},{"m/n":1,"m/n":1}]}"#, "DuplicateJsonKey", "/x/1/m~1n"),
        ] {
            let (_, items) = found(text);
            assert_eq!(items, [(code.to_owned(), pointer.to_owned())], "{text}");
        }
        let mut findings = Findings::new();
        assert_eq!(read(b"{\"a\":\"\xff\"}", &mut findings), None, "no UTF-8");
        assert_eq!(findings.malformed().len(), 1);
    }

    #[test]
    fn of_equal_keys_all_are_noted_and_the_first_is_kept() {
        let (value, items) = found(r#"{"a":1,"a":{"b":1,"b":1},"a":3}"#);
        assert_eq!(value, serde_json::from_str(r#"{"a":1}"#).ok());
        assert_eq!(items.iter().map(|(_, pointer)| pointer.as_str()).collect::<Vec<_>>(), ["/a", "/a/b", "/a"]);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(found(&nested(MAX_DEPTH)).1, []);
        let (value, items) = found(&nested(MAX_DEPTH + 1));
        assert_eq!(value, None);
        assert_eq!(items, [("MalformedJson".to_owned(), "/0".repeat(MAX_DEPTH))]);
        let bomb = "{\"a\":".repeat(100_000);
        assert_eq!(found(&bomb).1, [("MalformedJson".to_owned(), "/a".repeat(MAX_DEPTH))]);
    }
}
