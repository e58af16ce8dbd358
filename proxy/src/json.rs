//! Where values stand in a JSON text, so that one can be read, added or replaced without touching another byte.
//!
//! A client's body is passed on as it came: numbers keep their digits, metadata its order. A name that occurs
//! twice in one object is *ambiguous*: two readers may take different ones, so nobody here takes either.

use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::ops::Range;

/// A JSON text that is one whole object.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    text: &'a [u8],
}

/// What stands at a pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// More than one value.
    Ambiguous,
    /// A value, at these bytes.
    At(Range<usize>),
}

impl<'a> Object<'a> {
    /// Checks that `text` is one JSON object and nothing else.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let object = skip_space(text, 0);
        if text.get(object) != Some(&b'{') {
            return None;
        }
        serde_json::from_slice::<IgnoredAny>(text).ok().map(|_| Self { text })
    }

    /// What stands at a JSON pointer (RFC 6901) that leads through objects only.
    pub fn find(&self, pointer: &str) -> Found {
        let mut at = skip_space(self.text, 0);
        let mut found = Found::At(at..skip_value(self.text, at));
        for name in pointer.split('/').skip(1) {
            if self.text.get(at) != Some(&b'{') {
                return Found::Absent;
            }
            found = member(self.text, at, &unescape(name));
            match &found {
                Found::At(range) => at = range.start,
                Found::Absent | Found::Ambiguous => return found,
            }
        }
        found
    }

    /// The string at a pointer; `None` when there is none, more than one, or something else.
    pub fn text_at(&self, pointer: &str) -> Option<Cow<'a, str>> {
        match self.find(pointer) {
            Found::At(range) => string(&self.text[range]),
            Found::Absent | Found::Ambiguous => None,
        }
    }

    /// Whether `null` stands at a pointer.
    pub fn is_null(&self, pointer: &str) -> bool {
        match self.find(pointer) {
            Found::At(range) => &self.text[range] == b"null",
            Found::Absent | Found::Ambiguous => false,
        }
    }

    /// The text with a member that is not there yet, as the first one. `value` is JSON.
    pub fn with_member(&self, name: &str, value: &str) -> Vec<u8> {
        let inside = skip_space(self.text, 0) + 1;
        let empty = self.text.get(skip_space(self.text, inside)) == Some(&b'}');
        let mut text = Vec::with_capacity(self.text.len() + name.len() + value.len() + 8);
        text.extend_from_slice(&self.text[..inside]);
        text.extend_from_slice(quoted(name).as_bytes());
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
        if !empty {
            text.push(b',');
        }
        text.extend_from_slice(&self.text[inside..]);
        text
    }

    /// The text with the value at these bytes (as [`Object::find`] gave them) replaced. `value` is JSON.
    pub fn with_value(&self, at: &Range<usize>, value: &str) -> Vec<u8> {
        [&self.text[..at.start], value.as_bytes(), &self.text[at.end..]].concat()
    }
}

/// A string as JSON.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `~1` is `/`, `~0` is `~`.
fn unescape(name: &str) -> Cow<'_, str> {
    if name.contains('~') { Cow::Owned(name.replace("~1", "/").replace("~0", "~")) } else { Cow::Borrowed(name) }
}

/// The decoded string that these bytes are, if they are one.
fn string(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let inner = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        serde_json::from_slice(bytes).ok().map(Cow::Owned)
    } else {
        std::str::from_utf8(inner).ok().map(Cow::Borrowed)
    }
}

/// The value of the member `name` of the object that begins at `at`. The text is known to be valid.
fn member(text: &[u8], at: usize, name: &str) -> Found {
    let mut found = Found::Absent;
    let mut at = skip_space(text, at + 1);
    while text.get(at) == Some(&b'"') {
        let name_end = skip_string(text, at);
        let value = skip_space(text, skip_space(text, name_end) + 1);
        let value_end = skip_value(text, value);
        if string(&text[at..name_end]).is_some_and(|this| this == name) {
            if found != Found::Absent {
                return Found::Ambiguous;
            }
            found = Found::At(value..value_end);
        }
        at = skip_space(text, value_end);
        if text.get(at) == Some(&b',') {
            at = skip_space(text, at + 1);
        }
    }
    found
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The end of the string that begins at `at`.
fn skip_string(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of the value that begins at `at`; without recursion, because clients choose the depth.
fn skip_value(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = skip_string(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                while matches!(text.get(at), Some(byte) if !matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                {
                    at += 1;
                }
            }
        }
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_whole_object_is_one() {
        for (text, whole) in [
            ("{}", true),
            (" \n{\"a\":1} ", true),
            ("", false),
            ("[]", false),
            ("\"a\"", false),
            ("{", false),
            ("{\"a\":}", false),
            ("{\"a\":1,}", false),
            ("{} {}", false),
            ("\u{feff}{}", false),
            ("{'a':1}", false),
        ] {
            assert_eq!(Object::parse(text.as_bytes()).is_some(), whole, "{text}");
        }
    }

    #[test]
    fn pointers_lead_to_values() {
        let text =
            br#" { "a" : {"b": [1, {"x":"}"}], "c/d~": "e\"f" } , "g":null,"h":-1.50e3, "\u0069":"j" ,"":{"":2}} "#;
        let object = Object::parse(text).unwrap();
        for (pointer, value) in [
            ("/a/b", Some(r#"[1, {"x":"}"}]"#)),
            ("/a/c~1d~0", Some(r#""e\"f""#)),
            ("/g", Some("null")),
            ("/h", Some("-1.50e3")),
            ("/i", Some("\"j\"")),
            ("//", Some("2")),
            ("/a/b/0", None),
            ("/x", None),
            ("/g/x", None),
        ] {
            let found = match object.find(pointer) {
                Found::At(range) => Some(std::str::from_utf8(&text[range]).unwrap()),
                Found::Absent | Found::Ambiguous => None,
            };
            assert_eq!(found, value, "{pointer}");
        }
        assert_eq!(object.text_at("/a/c~1d~0").as_deref(), Some("e\"f"));
        assert_eq!(object.text_at("/h"), None);
        assert!(object.is_null("/g"));
    }

    #[test]
    fn a_repeated_name_is_ambiguous() {
        let object = Object::parse(br#"{"a":1,"b":{"a":2},"\u0061":3}"#).unwrap();
        assert_eq!(object.find("/a"), Found::Ambiguous);
        assert!(matches!(object.find("/b/a"), Found::At(_)));
    }

    #[test]
    fn a_member_is_added_and_replaced_in_place() {
        for (before, after) in
            [("{}", r#"{"id":"x"}"#), (" { } ", r#" {"id":"x" } "#), (r#"{ "n": 1.10 }"#, r#"{"id":"x", "n": 1.10 }"#)]
        {
            let added = Object::parse(before.as_bytes()).unwrap().with_member("id", &quoted("x"));
            assert_eq!(std::str::from_utf8(&added), Ok(after));
        }
        let text = br#"{"a": "old" , "n": 1.10}"#;
        let object = Object::parse(text).unwrap();
        let Found::At(range) = object.find("/a") else { panic!("not found") };
        assert_eq!(object.with_value(&range, &quoted("n\"w")), br#"{"a": "n\"w" , "n": 1.10}"#);
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            ".{0,8}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::vec((".{0,4}", inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever the value: what is found is what a JSON parser finds.
        #[test]
        fn finds_what_a_parser_finds(members in prop::collection::vec(("[a-c\"~/\\\\]{1,2}", any_json()), 0..5)) {
            let value = serde_json::Value::Object(members.into_iter().collect());
            let text = serde_json::to_string_pretty(&value).unwrap();
            let object = Object::parse(text.as_bytes()).unwrap();
            for (name, expected) in value.as_object().unwrap() {
                let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
                let Found::At(range) = object.find(&pointer) else { panic!("{pointer} in {text}") };
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&text[range]).unwrap(), expected);
            }
        }

        /// No bytes make it panic.
        #[test]
        fn survives_any_bytes(text in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(object) = Object::parse(&text) {
                let _ = object.find("/a/b");
            }
        }
    }
}
