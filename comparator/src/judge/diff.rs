//! Differences between two answers: everything but levels, which depend on what ran beside.

use super::normalize::{Account, Answer, Transaction};
use super::{less, normalize::Leg};
use std::collections::BTreeMap;
use wire::scalar::Money;
use wire::words::Cause;

/// A field in which the systems differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// JSON pointer into the result.
    pub field: String,
    /// What kind of difference it is.
    pub cause: Cause,
    /// What the legacy has.
    pub legacy: String,
    /// What the engine has.
    pub engine: String,
}

/// How grave a cause is: the first one in this list names the discrepancy.
const PRECEDENCE: [Cause; 8] = [
    Cause::Status,
    Cause::ErrorCode,
    Cause::Currency,
    Cause::Account,
    Cause::Amount,
    Cause::SourceBalance,
    Cause::DestinationBalance,
    Cause::Field,
];

/// The cause that stands for all of these differences.
pub fn gravest(differences: &[Difference]) -> Option<Cause> {
    PRECEDENCE.into_iter().find(|cause| differences.iter().any(|difference| difference.cause == *cause))
}

/// The differences between two applied answers, levels left out.
///
/// `fields` narrows what is compared of an account to these pointers (what a change asked for), because the rest of
/// the answer shows what others did beside it.
pub fn diff(legacy: &Answer, engine: &Answer, fields: Option<&[String]>) -> Vec<Difference> {
    match (legacy, engine) {
        (Answer::Transaction(legacy), Answer::Transaction(engine)) => transactions(legacy, engine),
        (Answer::Account(legacy), Answer::Account(engine)) => accounts(legacy, engine, fields),
        _ => {
            let shape = |answer: &Answer| match answer {
                Answer::Transaction(_) => "a transaction".to_owned(),
                Answer::Account(_) => "an account".to_owned(),
            };
            vec![difference("", Cause::Field, shape(legacy), shape(engine))]
        }
    }
}

fn transactions(legacy: &Transaction, engine: &Transaction) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |field: &str, cause, legacy: String, engine: String| {
        if legacy != engine {
            found.push(difference(field, cause, legacy, engine));
        }
    };
    compare("/type", Cause::Field, legacy.kind.clone(), engine.kind.clone());
    compare("/status", Cause::Status, legacy.status.clone(), engine.status.clone());
    compare("/amount", Cause::Amount, legacy.amount.to_string(), engine.amount.to_string());
    compare("/currency", Cause::Currency, legacy.currency.clone(), engine.currency.clone());
    for (index, side) in ["/source", "/destination"].into_iter().enumerate() {
        let (legacy, engine) = (&legacy.sides[index], &engine.sides[index]);
        compare(&format!("{side}/accountId"), Cause::Account, legacy.account.clone(), engine.account.clone());
        compare(&format!("{side}/movement"), Cause::Amount, legacy.movement.to_string(), engine.movement.to_string());
    }
    found.extend(texts(&legacy.fields, &engine.fields));
    found
}

fn accounts(legacy: &Account, engine: &Account, fields: Option<&[String]>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |field: &str, cause, legacy: &str, engine: &str| {
        if legacy != engine {
            found.push(difference(field, cause, legacy.to_owned(), engine.to_owned()));
        }
    };
    compare("/accountId", Cause::Account, &legacy.id, &engine.id);
    compare("/accountType", Cause::Field, &legacy.kind, &engine.kind);
    compare("/currency", Cause::Currency, &legacy.currency, &engine.currency);
    let wanted = |difference: &Difference| fields.is_none_or(|fields| fields.contains(&difference.field));
    found.extend(texts(&legacy.fields, &engine.fields).into_iter().filter(wanted));
    found
}

/// Texts by pointer; one that is not there is empty.
fn texts(legacy: &[(&'static str, String)], engine: &[(&'static str, String)]) -> Vec<Difference> {
    let mut both: BTreeMap<&str, [&str; 2]> = BTreeMap::new();
    for (index, side) in [legacy, engine].into_iter().enumerate() {
        for (pointer, text) in side {
            both.entry(pointer).or_default()[index] = text;
        }
    }
    let unequal = both.into_iter().filter(|(_, [legacy, engine])| legacy != engine);
    unequal
        .map(|(pointer, [legacy, engine])| difference(pointer, Cause::Field, legacy.to_owned(), engine.to_owned()))
        .collect()
}

pub(super) fn difference(field: &str, cause: Cause, legacy: String, engine: String) -> Difference {
    Difference { field: field.to_owned(), cause, legacy, engine }
}

/// What the legs move, legacy less engine, per account and currency; what comes to nothing is left out.
pub fn moved_apart(legacy: &Leg, engine: &Leg) -> Vec<(String, String, Money)> {
    let mut apart: BTreeMap<(&str, &str), Money> = BTreeMap::new();
    for (account, currency, movement) in legacy.movements() {
        let sum = apart.entry((account, currency)).or_default();
        *sum = super::plus(*sum, movement);
    }
    for (account, currency, movement) in engine.movements() {
        let sum = apart.entry((account, currency)).or_default();
        *sum = less(*sum, movement);
    }
    let nonzero = apart.into_iter().filter(|(_, amount)| !amount.is_zero());
    nonzero.map(|((account, currency), amount)| (account.to_owned(), currency.to_owned(), amount)).collect()
}
