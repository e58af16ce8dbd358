//! An effect: what a (tenant, deciding account, key) stands for, and what was told of it.

use crate::answer::Outcome;
use crate::request::{Ask, Move};
use std::fmt;

/// What has one effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EffectKey {
    /// The tenant; may be empty.
    pub tenant: String,
    /// The deciding account; of a refund of an unknown transaction, the id of that.
    pub account: String,
    /// The idempotency key.
    pub key: String,
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tenant.is_empty() {
            write!(f, "tenant {}, ", self.tenant)?;
        }
        write!(f, "account {}, key {}", self.account, self.key)
    }
}

/// What became of an unknown effect, as found out by somebody.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// It had its effect; with the transaction, if it was shown.
    Applied(Option<Box<Outcome>>),
    /// It was refused.
    Refused,
    /// It was never executed.
    Absent,
}

/// What is known of an effect.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// Every content that was asked for under the key.
    pub(crate) asks: Vec<Ask>,
    pub(crate) state: State,
    /// Contents that were refused because another one has the key.
    duplicates: Vec<Ask>,
    /// Answers that did not say they repeated another one: applied, refused.
    originals: [u64; 2],
}

#[derive(Debug, Default)]
pub(crate) enum State {
    /// Nothing was told about it.
    #[default]
    Untold,
    /// It may have had its effect.
    Maybe,
    /// It had none when somebody looked.
    Absent,
    /// It was refused.
    Refused(Told),
    /// It had its effect.
    Applied(Told),
}

/// What was told of an effect.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) ask: Ask,
    pub(crate) verdict: Verdict,
    /// `None` when somebody found out what became of it without seeing it.
    pub(crate) outcome: Option<Box<Outcome>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Applied,
    /// With the code, if it was told.
    Refused(Option<String>),
}

impl Effect {
    pub(crate) fn asked(&mut self, ask: &Ask) {
        if !self.asks.contains(ask) {
            self.asks.push(ask.clone());
        }
    }

    /// A content was refused because another one has the key.
    pub(crate) fn duplicated(&mut self, ask: &Ask) {
        if !self.duplicates.contains(ask) {
            self.duplicates.push(ask.clone());
        }
    }

    /// Counts an answer that does not say that it repeats another. Says whether it is one too many.
    pub(crate) fn original(&mut self, applied: bool, refusal_keeps_key: bool) -> bool {
        self.originals[usize::from(!applied)] += 1;
        let [applied, refused] = self.originals;
        if refusal_keeps_key { applied + refused > 1 } else { applied > 1 }
    }

    /// What was told of it, if it was decided.
    pub(crate) fn told(&self) -> Option<&Told> {
        match &self.state {
            State::Refused(told) | State::Applied(told) => Some(told),
            State::Untold | State::Maybe | State::Absent => None,
        }
    }

    /// The content that an outcome belongs to: the only one, or the one that looks like it.
    pub(crate) fn ask_of(&self, outcome: Option<&Outcome>) -> Option<Ask> {
        let fits = |ask: &&Ask| match (ask, outcome) {
            (Ask::Move(asked), Some(outcome)) => looks_like(asked, outcome),
            (Ask::Refund(asked), Some(outcome)) => {
                outcome.kind == "refund" && asked.amount.is_none_or(|amount| amount == outcome.amount)
            }
            _ => true,
        };
        self.asks.iter().find(fits).or(self.asks.first()).cloned()
    }

    /// Why the refusals for a reused key cannot be right, if they cannot.
    pub(crate) fn wrong_duplicates(&self) -> Option<&'static str> {
        match self.told() {
            _ if self.duplicates.is_empty() => None,
            Some(told) if self.duplicates.contains(&told.ask) => Some("refused as a duplicate of itself"),
            None if matches!(self.state, State::Untold) => Some("refused as a duplicate, but nothing else has the key"),
            _ => None,
        }
    }

    /// Every account that a request under the key names.
    pub(crate) fn accounts(&self) -> Vec<String> {
        let named = |ask: &Ask| match ask {
            Ask::Move(asked) => vec![asked.source.clone(), asked.destination.clone()],
            Ask::Create(_) | Ask::Change(_) | Ask::Refund(_) => Vec::new(),
        };
        self.asks.iter().flat_map(named).collect()
    }
}

fn looks_like(asked: &Move, outcome: &Outcome) -> bool {
    let accounts = (&outcome.source.account, &outcome.destination.account);
    asked.kind.as_str() == outcome.kind
        && asked.amount == outcome.amount
        && accounts == (&asked.source, &asked.destination)
}

impl Told {
    /// Whether it is a refusal that needs no look at any state, so that it says nothing about who has the key.
    pub(crate) fn is_same_account(&self) -> bool {
        self.verdict == Verdict::Refused(Some("SameAccount".into()))
    }

    /// In what another answer about the same effect differs.
    pub(crate) fn differences(&self, other: &Told, levels: bool) -> Vec<String> {
        if self.ask != other.ask {
            return vec!["two contents were decided under one key".into()];
        }
        match (&self.verdict, &other.verdict) {
            (Verdict::Refused(None), Verdict::Refused(_)) | (Verdict::Refused(_), Verdict::Refused(None)) => {}
            (one, two) if one == two => {}
            (one, two) => return vec![format!("first {one}, then {two}")],
        }
        let (Some(one), Some(two)) = (&self.outcome, &other.outcome) else { return Vec::new() };
        let money = |outcome: &Outcome| (outcome.amount, outcome.sides().map(|side| side.movement));
        let shown = |outcome: &Outcome| outcome.sides().map(|side| side.levels);
        let mut differences = Vec::new();
        if money(one) != money(two) {
            differences.push(format!("first {:?}, then {:?}", money(one), money(two)));
        }
        if levels && shown(one) != shown(two) {
            differences.push(format!("first the levels {:?}, then {:?}", shown(one), shown(two)));
        }
        differences
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Applied => f.write_str("applied"),
            Verdict::Refused(Some(code)) => write!(f, "refused ({code})"),
            Verdict::Refused(None) => f.write_str("refused"),
        }
    }
}
