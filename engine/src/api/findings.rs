//! Everything that is wrong with a request, collected before any of it is answered.

use wire::billing::ProblemItem;

/// What kind of thing is wrong with one place of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes are no JSON document.
    MalformedJson,
    /// One object has the same key twice.
    DuplicateJsonKey,
    /// There is no such field here.
    UnknownField,
    /// The value has another JSON type than the field.
    WrongType,
    /// The field has to be there.
    MissingField,
    /// The value has the right type, but is not allowed.
    InvalidValue,
    /// An amount or limit outside the grammar: a refusal (422), while all others are malformed requests (400).
    InvalidAmount,
}

impl Flaw {
    /// The code as it stands in `errors[].code`.
    pub const fn code(self) -> &'static str {
        match self {
            Flaw::MalformedJson => "MalformedJson",
            Flaw::DuplicateJsonKey => "DuplicateJsonKey",
            Flaw::UnknownField => "UnknownField",
            Flaw::WrongType => "WrongType",
            Flaw::MissingField => "MissingField",
            Flaw::InvalidValue => "InvalidValue",
            Flaw::InvalidAmount => "InvalidAmount",
        }
    }
}

/// So many flaws are named; a body full of them would else be answered by a body many times its size.
const MOST: usize = 100;

/// What was found so far.
///
/// A pointer is a JSON pointer into the body (`/amount`), `?name` for a query parameter, `{name}` for a part
/// of the path, or the name of a header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    malformed: Vec<ProblemItem>,
    amounts: Vec<ProblemItem>,
}

impl Findings {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that something is wrong at `pointer`; `detail` says what, and what to do.
    pub fn note(&mut self, flaw: Flaw, pointer: impl Into<String>, detail: impl Into<String>) {
        let item = ProblemItem { pointer: pointer.into(), code: flaw.code().to_owned(), detail: detail.into() };
        let list = match flaw {
            Flaw::InvalidAmount => &mut self.amounts,
            Flaw::MalformedJson
            | Flaw::DuplicateJsonKey
            | Flaw::UnknownField
            | Flaw::WrongType
            | Flaw::MissingField
            | Flaw::InvalidValue => &mut self.malformed,
        };
        if list.len() < MOST {
            list.push(item);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.malformed.is_empty() && self.amounts.is_empty()
    }

    /// Whether something is wrong at `pointer`.
    pub fn names(&self, pointer: &str) -> bool {
        self.malformed.iter().chain(&self.amounts).any(|item| item.pointer == pointer)
    }

    /// What a malformed request (400) is answered with; empty when only amounts are wrong, if anything.
    pub fn malformed(&self) -> &[ProblemItem] {
        &self.malformed
    }

    /// The amounts outside the grammar (422).
    pub fn amounts(&self) -> &[ProblemItem] {
        &self.amounts
    }
}
