//! The fields of one JSON object, each taken once by name and type; what nobody took is unknown.
//!
//! Every method notes what is wrong and goes on, so that one answer names all that has to be mended. A method
//! that finds something wrong answers `None`, as for an absent field: the findings say which it was. `null` is as
//! good as absent, except for amounts and where a change means it.

use super::findings::{Findings, Flaw};
use super::strict::pointer_step;
use engine_domain::command::LimitChange;
use engine_domain::{AccountId, Amount, Currency, Money, Text};
use serde_json::{Map, Value};

/// Characters that an owner's id or type, or a reference may have: as many as a key.
pub const MAX_TEXT: usize = 255;
/// Characters that an idempotency key may have (CONTRACT).
pub const MAX_KEY: usize = 255;

/// The fields of a request's body that have not been taken yet.
pub struct Fields<'f> {
    rest: Map<String, Value>,
    taken: Vec<&'static str>,
    findings: &'f mut Findings,
}

impl<'f> Fields<'f> {
    /// The fields of `body`; `None` when it is no object, which is noted.
    pub fn of(body: Value, findings: &'f mut Findings) -> Option<Self> {
        match body {
            Value::Object(rest) => Some(Self { rest, taken: Vec::new(), findings }),
            other => {
                let detail = format!("the body is {}: send a JSON object", kind_of(&other));
                findings.note(Flaw::WrongType, "", detail);
                None
            }
        }
    }

    /// Notes what nobody asked for.
    pub fn finish(self) {
        let known = self.taken.join(", ");
        for (name, _) in self.rest {
            let detail = format!("there is no field `{}` here: the fields are {known}", shortened(&name));
            self.findings.note(Flaw::UnknownField, pointer_step(&name), detail);
        }
    }

    /// Whether the object has no field left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left is not looked at.
    pub fn leave_rest(&mut self) {
        self.rest.clear();
    }

    /// Notes that something is wrong with the object as a whole.
    pub fn note_whole(&mut self, flaw: Flaw, detail: &str) {
        self.findings.note(flaw, "", detail);
    }

    /// An account id that has to be there.
    pub fn account(&mut self, name: &'static str) -> Option<AccountId> {
        let id = self.required_text(name)?;
        self.checked_account(name, &id)
    }

    /// An account id.
    pub fn optional_account(&mut self, name: &'static str) -> Option<AccountId> {
        let id = self.text(name)?;
        self.checked_account(name, &id)
    }

    /// An amount above zero that has to be there.
    pub fn amount(&mut self, name: &'static str) -> Option<Amount> {
        if !self.rest.contains_key(name) {
            self.missing(name);
        }
        self.optional_amount(name)
    }

    /// An amount above zero.
    pub fn optional_amount(&mut self, name: &'static str) -> Option<Amount> {
        let detail = match self.take(name)? {
            Value::String(text) => match amount_of(&text) {
                Some(amount) => return Some(amount),
                None => format!(
                    "`{}` is no amount: write a number above zero with up to 12 digits and up to 8 decimals, such \
                     as \"10.50\"",
                    shortened(&text)
                ),
            },
            other => format!("an amount is a string such as \"10.50\", this is {}", kind_of(&other)),
        };
        self.note(Flaw::InvalidAmount, name, detail);
        None
    }

    /// What is to happen to a limit of a balance: absent keeps it, `null` removes it.
    pub fn limit(&mut self, name: &'static str) -> LimitChange {
        let detail = match self.take(name) {
            None => return LimitChange::Keep,
            Some(Value::Null) => return LimitChange::Remove,
            Some(Value::String(text)) => match balance_of(&text) {
                Some(limit) => return LimitChange::Set(limit),
                None => format!(
                    "`{}` is no limit: write up to 19 digits and up to 8 decimals, such as \"1000.50\"",
                    shortened(&text)
                ),
            },
            Some(other) => format!("a limit is a string such as \"1000.50\", this is {}", kind_of(&other)),
        };
        self.note(Flaw::InvalidAmount, name, detail);
        LimitChange::Keep
    }

    /// A currency that has to be there.
    pub fn currency(&mut self, name: &'static str) -> Option<Currency> {
        let text = self.required_text(name)?;
        let currency = Currency::new(&text);
        if currency.is_none() {
            let detail = format!("`{}` is no currency: write 3 to 10 capital letters, such as EUR", shortened(&text));
            self.note(Flaw::InvalidValue, name, detail);
        }
        currency
    }

    /// One of a closed list of words that has to be there, by its text form.
    pub fn word<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.required_text(name)?;
        if let Some((_, word)) = words.iter().find(|(known, _)| *known == text) {
            return Some(*word);
        }
        let choices = words.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        self.note(Flaw::InvalidValue, name, format!("`{}` is not one of {choices}", shortened(&text)));
        None
    }

    /// One of a closed list of words; unlike other fields it cannot be `null`.
    pub fn optional_word<T: Copy>(&mut self, name: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        if self.rest.contains_key(name) {
            return self.word(name, words);
        }
        self.taken.push(name);
        None
    }

    /// Text of at most 255 characters that has to be there.
    pub fn required_short_text(&mut self, name: &'static str) -> Option<Text> {
        let text = self.required_text(name)?;
        self.checked_length(name, text)
    }

    /// Text of at most 255 characters.
    pub fn short_text(&mut self, name: &'static str) -> Option<Text> {
        let text = self.text(name)?;
        self.checked_length(name, text)
    }

    /// Text that may be absent, but not `null`.
    pub fn non_null_text(&mut self, name: &'static str) -> Option<String> {
        if self.rest.contains_key(name) {
            return self.required_text(name);
        }
        self.taken.push(name);
        None
    }

    /// Text of any length.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Null => None,
            other => {
                self.wrong_type(name, "a string", &other);
                None
            }
        }
    }

    /// A JSON object of the client's, as text. Its keys are sorted, because the text is part of what the request's
    /// key stands for, and the order of the keys of an object means nothing.
    pub fn object(&mut self, name: &'static str) -> Option<Text> {
        match self.take(name)? {
            Value::Object(object) => Some(sorted(Value::Object(object)).to_string().into()),
            Value::Null => None,
            other => {
                self.note(Flaw::InvalidValue, name, format!("has to be an object, this is {}", kind_of(&other)));
                None
            }
        }
    }

    /// A list that has to be there, of one to `most` entries.
    pub fn list(&mut self, name: &'static str, most: usize) -> Option<Vec<Value>> {
        match self.take(name) {
            Some(Value::Array(entries)) if (1..=most).contains(&entries.len()) => return Some(entries),
            Some(Value::Array(entries)) => {
                self.note(Flaw::InvalidValue, name, format!("has {} entries: send 1 to {most}", entries.len()));
            }
            Some(other) => self.wrong_type(name, "a list", &other),
            None => self.missing(name),
        }
        None
    }

    fn required_text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name) {
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.wrong_type(name, "a string", &other);
                None
            }
            None => {
                self.missing(name);
                None
            }
        }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.taken.push(name);
        self.rest.shift_remove(name)
    }

    fn note(&mut self, flaw: Flaw, name: &str, detail: impl Into<String>) {
        self.findings.note(flaw, pointer_step(name), detail);
    }

    fn missing(&mut self, name: &str) {
        self.note(Flaw::MissingField, name, format!("`{name}` is missing: it is required"));
    }

    fn wrong_type(&mut self, name: &str, wanted: &str, found: &Value) {
        self.note(Flaw::WrongType, name, format!("has to be {wanted}, this is {}", kind_of(found)));
    }

    fn checked_account(&mut self, name: &str, id: &str) -> Option<AccountId> {
        let account = AccountId::new(id);
        if account.is_none() {
            self.note(Flaw::InvalidValue, name, no_account_id(id));
        }
        account
    }

    fn checked_length(&mut self, name: &str, text: String) -> Option<Text> {
        let length = text.chars().count();
        if length <= MAX_TEXT {
            return Some(text.into());
        }
        self.note(Flaw::InvalidValue, name, format!("{length} characters are too many: at most {MAX_TEXT}"));
        None
    }
}

/// An amount in the grammar of requests.
pub fn amount_of(text: &str) -> Option<Amount> {
    Amount::new(Money::new(wire::scalar::Money::parse_amount(text).ok()?.0)?)
}

/// A balance in the grammar of limits: zero has no sign there (CONTRACT).
fn balance_of(text: &str) -> Option<Money> {
    let limit = Money::new(text.parse::<wire::scalar::Money>().ok()?.0)?;
    (!(limit.is_zero() && text.starts_with('-'))).then_some(limit)
}

/// The same value with the keys of all objects sorted.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().collect())
        }
        plain => plain,
    }
}

/// What to say of a text that is no account id.
fn no_account_id(text: &str) -> String {
    format!("`{}` is no account id: write 1 to 64 of the characters A-Z a-z 0-9 . _ : -", shortened(text))
}

/// What is wrong with an idempotency key, if anything.
pub fn key_flaw(key: &str) -> Option<String> {
    let printable = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if printable && (1..=MAX_KEY).contains(&key.len()) {
        return None;
    }
    Some(format!("an idempotency key has 1 to {MAX_KEY} printable ASCII characters"))
}

/// The start of a text that somebody sent, for an error that names it.
pub fn shortened(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The JSON type of a value, for people.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: Value, read: impl FnOnce(&mut Fields<'_>), expected: &[(&str, &str)]) {
        let mut findings = Findings::new();
        if let Some(mut fields) = Fields::of(body.clone(), &mut findings) {
            read(&mut fields);
            fields.finish();
        }
        let found: Vec<_> = findings
            .malformed()
            .iter()
            .chain(findings.amounts())
            .map(|item| (item.code.as_str(), item.pointer.as_str()))
            .collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn everything_wrong_is_noted_at_once() {
        let read = |fields: &mut Fields<'_>| {
            let _ = (fields.account("a"), fields.amount("b"), fields.currency("c"), fields.short_text("d"));
            let _ = (fields.object("e"), fields.word("f", &[("x", 1), ("y", 2)]), fields.optional_account("g"));
        };
        check(
            json!({"a": "a b", "b": 1, "c": "eur", "d": "é".repeat(256), "e": [], "f": "z", "g": "ü", "h/i": 0}),
            read,
            &[
                ("InvalidValue", "/a"),
                ("InvalidValue", "/c"),
                ("InvalidValue", "/d"),
                ("InvalidValue", "/e"),
                ("InvalidValue", "/f"),
                ("InvalidValue", "/g"),
                ("UnknownField", "/h~1i"),
                ("InvalidAmount", "/b"),
            ],
        );
        check(
            json!({"a": null, "b": null, "d": 1, "e": null, "g": null}),
            read,
            &[
                ("WrongType", "/a"),
                ("MissingField", "/c"),
                ("WrongType", "/d"),
                ("MissingField", "/f"),
                ("InvalidAmount", "/b"),
            ],
        );
        check(json!({"a": "a:1", "b": "0.10", "c": "EUR", "d": "é".repeat(255), "e": {}, "f": "y"}), read, &[]);
        check(json!([]), read, &[("WrongType", "")]);
    }

    #[test]
    fn limits_can_be_set_removed_and_left_alone() {
        let money = |text: &str| balance_of(text).unwrap();
        for (body, expected, wrong) in [
            (json!({}), LimitChange::Keep, false),
            (json!({"m": null}), LimitChange::Remove, false),
            (json!({"m": "-5.50"}), LimitChange::Set(money("-5.5")), false),
            (json!({"m": "0"}), LimitChange::Set(Money::ZERO), false),
            (json!({"m": 5}), LimitChange::Keep, true),
            (json!({"m": "1e3"}), LimitChange::Keep, true),
            (json!({"m": "+1"}), LimitChange::Keep, true),
            (json!({"m": "-0"}), LimitChange::Keep, true),
            (json!({"m": "-0.0"}), LimitChange::Keep, true),
            (json!({"m": "-0.01"}), LimitChange::Set(money("-0.01")), false),
            (json!({"m": "12345678901234567890"}), LimitChange::Keep, true),
        ] {
            let mut findings = Findings::new();
            let mut fields = Fields::of(body.clone(), &mut findings).unwrap();
            assert_eq!(fields.limit("m"), expected, "{body}");
            assert_eq!(findings.amounts().len(), usize::from(wrong), "{body}");
        }
    }

    #[test]
    fn an_amount_is_text_in_the_grammar() {
        for (amount, good) in [
            (json!("1"), true),
            (json!("0.00000001"), true),
            (json!("999999999999.99999999"), true),
            (json!("10.00"), true),
            (json!(10), false),
            (json!(10.5), false),
            (json!(null), false),
            (json!(true), false),
            (json!({}), false),
            (json!(""), false),
            (json!("0"), false),
            (json!("0.00"), false),
            (json!("-1"), false),
            (json!("-0"), false),
            (json!("+1"), false),
            (json!("1e5"), false),
            (json!("1,5"), false),
            (json!(".5"), false),
            (json!("5."), false),
            (json!("01"), false),
            (json!(" 1"), false),
            (json!("1_000"), false),
            (json!("NaN"), false),
            (json!("Infinity"), false),
            (json!("0.000000001"), false),
            (json!("1000000000000"), false),
            (json!("١"), false),
        ] {
            let mut findings = Findings::new();
            let body = json!({ "amount": amount });
            let mut fields = Fields::of(body.clone(), &mut findings).unwrap();
            assert_eq!(fields.amount("amount").is_some(), good, "{body}");
            assert_eq!(findings.amounts().is_empty(), good, "{body}");
            assert!(findings.malformed().is_empty(), "{body}");
        }
    }

    #[test]
    fn objects_are_the_same_whatever_the_order_of_their_keys() {
        let text = |body: &str| {
            let mut findings = Findings::new();
            let body = serde_json::from_str(body).unwrap();
            Fields::of(body, &mut findings).unwrap().object("m")
        };
        let one = text(r#"{"m":{"b":[{"y":1,"x":2}],"a":"ä"}}"#);
        assert_eq!(one.as_deref(), Some(r#"{"a":"ä","b":[{"x":2,"y":1}]}"#));
        assert_eq!(one, text(r#"{"m":{"a":"ä","b":[{"x":2,"y":1}]}}"#));
    }

    #[test]
    fn keys_are_printable_and_not_too_long() {
        for good in ["k", "a b", "~!\"/%", &"k".repeat(255)] {
            assert_eq!(key_flaw(good), None, "{good}");
        }
        for bad in ["", "a\tb", "a\u{7f}", "é", "a\0", &"k".repeat(256)] {
            assert!(key_flaw(bad).is_some(), "{bad:?}");
        }
    }
}
