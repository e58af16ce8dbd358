//! Aliases: one transaction, its id in either system, and where it went.
//!
//! Kept for every transaction for as long as the relay lives, so entries are small: ids that are UUIDs take 16
//! bytes, account names are shared.

use std::collections::BTreeMap;
use std::sync::Arc;
use wire::control::{Alias, KnownTransaction};
use wire::ids::is_engine_transaction_id;
use wire::words::{Operation, System};

/// An id of a transaction, as small as it can be kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum TransactionId {
    /// A UUID in its usual spelling.
    Uuid([u8; 16]),
    /// Anything else.
    Text(Box<str>),
}

impl TransactionId {
    fn of(text: &str) -> Self {
        match uuid::Uuid::try_parse(text) {
            // Another spelling (upper case, braces) is another text: it has to come out as it went in.
            Ok(id) if id.hyphenated().to_string() == text => TransactionId::Uuid(id.into_bytes()),
            _ => TransactionId::Text(text.into()),
        }
    }

    fn text(&self) -> String {
        match self {
            TransactionId::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().to_string(),
            TransactionId::Text(text) => text.to_string(),
        }
    }
}

/// A transaction as far as it is known.
#[derive(Debug)]
struct Known {
    engine: Option<TransactionId>,
    legacy: Option<TransactionId>,
    operation: Operation,
    source: Arc<str>,
    destination: Arc<str>,
}

/// All transactions seen, by either id.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    transactions: Vec<Known>,
    by_id: BTreeMap<TransactionId, usize>,
}

/// The system that made a transaction id.
pub(crate) fn maker(id: &str) -> System {
    if is_engine_transaction_id(id) { System::Engine } else { System::Legacy }
}

impl Aliases {
    /// A system made a transaction.
    pub fn made(&mut self, id: &str, operation: Operation, source: Arc<str>, destination: Arc<str>) {
        let key = TransactionId::of(id);
        if self.by_id.contains_key(&key) {
            return;
        }
        let (engine, legacy) = match maker(id) {
            System::Engine => (Some(key.clone()), None),
            System::Legacy => (None, Some(key.clone())),
        };
        self.by_id.insert(key, self.transactions.len());
        self.transactions.push(Known { engine, legacy, operation, source, destination });
    }

    /// The other system made of a transaction another one. Answers the pair if it is news; ids that one and the
    /// same system made are no pair.
    pub fn link(&mut self, id: &str, other: &str) -> Option<Alias> {
        if maker(id) == maker(other) {
            return None;
        }
        let index = *self.by_id.get(&TransactionId::of(id))?;
        let known = self.transactions.get_mut(index)?;
        let place = match maker(other) {
            System::Engine => &mut known.engine,
            System::Legacy => &mut known.legacy,
        };
        if place.is_some() {
            return None;
        }
        let other = TransactionId::of(other);
        *place = Some(other.clone());
        let pair = known.alias();
        self.by_id.entry(other).or_insert(index);
        pair
    }

    /// The id that `system` gave to the transaction known as `id`.
    pub fn at(&self, system: System, id: &str) -> Option<String> {
        let known = self.transactions.get(*self.by_id.get(&TransactionId::of(id))?)?;
        match system {
            System::Engine => known.engine.as_ref(),
            System::Legacy => known.legacy.as_ref(),
        }
        .map(TransactionId::text)
    }

    /// What is known of a transaction.
    pub fn known(&self, id: &str) -> Option<KnownTransaction> {
        let known = self.transactions.get(*self.by_id.get(&TransactionId::of(id))?)?;
        Some(KnownTransaction {
            engine: known.engine.as_ref().map(TransactionId::text),
            legacy: known.legacy.as_ref().map(TransactionId::text),
            operation: known.operation,
            source: known.source.to_string(),
            destination: known.destination.to_string(),
        })
    }
}

impl Known {
    fn alias(&self) -> Option<Alias> {
        Some(Alias { engine: self.engine.as_ref()?.text(), legacy: self.legacy.as_ref()?.text() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: &str = "cf00aabb-1234-8abc-8def-0123456789ab";
    const LEGACY: &str = "7a0d4e1c-53a1-4f6e-9d51-0a6f6a4f2f10";

    fn made(id: &str) -> Aliases {
        let mut aliases = Aliases::default();
        aliases.made(id, Operation::Transfer, "alice".into(), "bob".into());
        aliases
    }

    #[test]
    fn a_transaction_is_found_by_either_id() {
        for (first, second) in [(ENGINE, LEGACY), (LEGACY, ENGINE), ("L-17", ENGINE)] {
            let legacy = if first == ENGINE { second } else { first };
            let mut aliases = made(first);
            assert_eq!(aliases.at(maker(second), first), None);
            let pair = Alias { engine: ENGINE.to_owned(), legacy: legacy.to_owned() };
            assert_eq!(aliases.link(first, second), Some(pair));
            assert_eq!(aliases.link(first, second), None, "no news");
            for id in [first, second] {
                assert_eq!(aliases.at(System::Engine, id).as_deref(), Some(ENGINE));
                assert_eq!(aliases.at(System::Legacy, id).as_deref(), Some(legacy));
                let known = aliases.known(id).expect("it was made");
                assert_eq!((known.source.as_str(), known.destination.as_str()), ("alice", "bob"));
            }
        }
    }

    #[test]
    fn ids_of_one_system_are_no_pair_and_unknown_ones_nothing() {
        let mut aliases = made(LEGACY);
        assert_eq!(aliases.link(LEGACY, "L-18"), None);
        assert_eq!(aliases.link("L-19", ENGINE), None);
        assert_eq!(aliases.known(ENGINE), None);
        assert_eq!(aliases.at(System::Legacy, "L-18"), None);
    }

    #[test]
    fn ids_come_out_as_they_went_in() {
        for id in ["7A0D4E1C-53A1-4F6E-9D51-0A6F6A4F2F10", "{7a0d4e1c-53a1-4f6e-9d51-0a6f6a4f2f10}", LEGACY, "17", ""] {
            assert_eq!(made(id).at(System::Legacy, id).as_deref(), Some(id));
        }
    }
}
