//! Idempotency keys: which exchange of a key has a leg, and which are its repeats.
//!
//! An exchange is a repeat when its authority said that it repeated an earlier answer and that earlier exchange is
//! known here, or when it turns out to be the same transaction as one that has a leg already. That counts whatever the
//! bytes are: an amount may be written in two ways, and fields in any order. The answers of parallel duplicates arrive in
//! any order: a repeated answer waits until one of the others is decided.

use super::exchanges::ExchangeId;
use std::collections::BTreeMap;
use wire::exchange::Intent;
use wire::scalar::Digest;

/// A key in its scope: the first half of SHA-256(tenant, deciding account, key), each length-prefixed.
pub(crate) type KeyId = [u8; 16];

/// What stands for a text or body where only equality counts: 64 bits of its SHA-256.
pub(crate) type Fingerprint = u64;

/// What is to become of a decided exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It stands for its key.
    Stands,
    /// It repeats this one, which stands for its key.
    Repeats(ExchangeId),
    /// It repeats one of those that are not decided yet.
    Waits,
}

/// How an exchange was decided, as far as its key is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision {
    /// The authority said that it repeated an earlier answer.
    pub replayed: bool,
    /// It was found out by asking for the key.
    pub resolved: bool,
    /// It was applied, not refused.
    pub applied: bool,
    /// What the authority made of it and can make once only.
    pub made: Option<Fingerprint>,
}

/// Every key seen, with what is needed to recognise repeats of it.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: BTreeMap<KeyId, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Those that stand for the key. More than one only when contents differed or the key was free again.
    standing: Vec<Standing>,
    /// Exchanges that are not decided, with their contents.
    undecided: Vec<(ExchangeId, Fingerprint)>,
    /// Decided ones that wait for those.
    waiting: Vec<ExchangeId>,
}

#[derive(Debug)]
struct Standing {
    id: ExchangeId,
    content: Fingerprint,
    made: Option<Fingerprint>,
    applied: bool,
}

impl Keys {
    /// An exchange with this key began.
    pub fn begin(&mut self, key: KeyId, id: ExchangeId, content: Fingerprint) {
        self.entries.entry(key).or_default().undecided.push((id, content));
    }

    /// An exchange with this key certainly had no effect. Answers the exchanges to be ruled on again.
    pub fn without_effect(&mut self, key: KeyId, id: ExchangeId) -> Vec<ExchangeId> {
        let Some(entry) = self.entries.get_mut(&key) else { return Vec::new() };
        entry.undecided.retain(|(other, _)| *other != id);
        let waiting = std::mem::take(&mut entry.waiting);
        if entry.standing.is_empty() && entry.undecided.is_empty() && waiting.is_empty() {
            self.entries.remove(&key);
        }
        waiting
    }

    /// An exchange with this key was decided, or is looked at again after another one was. Answers what becomes of
    /// it, and the exchanges to be ruled on again.
    pub fn rule(
        &mut self,
        key: KeyId,
        id: ExchangeId,
        content: Fingerprint,
        decision: Decision,
    ) -> (Ruling, Vec<ExchangeId>) {
        let entry = self.entries.entry(key).or_default();
        entry.undecided.retain(|(other, _)| *other != id);
        entry.waiting.retain(|other| *other != id);
        let ruling = entry.rule(content, decision);
        match ruling {
            Ruling::Stands => {
                let Decision { made, applied, .. } = decision;
                entry.standing.push(Standing { id, content, made, applied });
            }
            Ruling::Repeats(_) => {}
            Ruling::Waits => {
                entry.waiting.push(id);
                return (ruling, Vec::new());
            }
        }
        (ruling, std::mem::take(&mut entry.waiting))
    }

    /// The others of the same content that stand for a key and were applied.
    pub fn others(&self, key: KeyId, id: ExchangeId, content: Fingerprint) -> Vec<ExchangeId> {
        let standing = self.entries.get(&key).map(|entry| entry.standing.as_slice()).unwrap_or_default();
        let others = standing.iter().filter(|one| one.applied && one.content == content && one.id != id);
        others.map(|one| one.id).collect()
    }

    /// The exchanges of the same content that are not decided.
    pub fn undecided(&self, key: KeyId, content: Fingerprint) -> impl Iterator<Item = ExchangeId> {
        let undecided = self.entries.get(&key).into_iter().flat_map(|entry| &entry.undecided);
        undecided.filter(move |(_, other)| *other == content).map(|(id, _)| *id)
    }

    /// An exchange stands for its key, whatever was ruled. Answers those of the same effect that stood for it, which are
    /// its repeats now, and the exchanges to be ruled on again.
    pub fn stands(
        &mut self,
        key: KeyId,
        id: ExchangeId,
        content: Fingerprint,
        made: Option<Fingerprint>,
        applied: bool,
    ) -> (Vec<ExchangeId>, Vec<ExchangeId>) {
        let entry = self.entries.entry(key).or_default();
        entry.undecided.retain(|(other, _)| *other != id);
        entry.waiting.retain(|other| *other != id);
        entry.standing.retain(|standing| standing.id != id);
        let replaced = |standing: &Standing| standing.is_the_same(content, made, applied);
        let others = entry.standing.iter().filter(|standing| replaced(standing)).map(|standing| standing.id).collect();
        entry.standing.retain(|standing| !replaced(standing));
        entry.standing.push(Standing { id, content, made, applied });
        (others, std::mem::take(&mut entry.waiting))
    }
}

impl Standing {
    /// Whether an exchange is the same one, with the same effect. Of refusals the content has to be the same too: what they
    /// show may be the transaction that had the key before.
    fn is_the_same(&self, content: Fingerprint, made: Option<Fingerprint>, applied: bool) -> bool {
        let both_applied = made.is_some() && self.applied && applied;
        self.made == made && (self.content == content || both_applied)
    }
}

impl Entry {
    fn rule(&self, content: Fingerprint, decision: Decision) -> Ruling {
        let Decision { replayed, resolved, applied, made } = decision;
        let standing = |found: &dyn Fn(&Standing) -> bool| self.standing.iter().find(|standing| found(standing));
        let same = |standing: &Standing| made.is_some() && standing.is_the_same(content, made, applied);
        // What was applied repeats no refusal: the key was free again, or free for the other system.
        let like_it = |standing: &Standing| standing.content == content && (standing.applied || !applied);
        if let Some(first) = standing(&same).or_else(|| standing(&like_it).filter(|_| replayed || resolved)) {
            return Ruling::Repeats(first.id);
        }
        if replayed && self.undecided.iter().any(|(_, other)| *other == content) {
            return Ruling::Waits;
        }
        // Its authority knows what means the same in other bytes.
        if replayed && applied {
            match standing(&|standing| standing.applied) {
                Some(first) => return Ruling::Repeats(first.id),
                None if !self.undecided.is_empty() => return Ruling::Waits,
                None => {}
            }
        }
        Ruling::Stands
    }
}

/// The key of an intent in its scope; `None` when it has none.
pub(crate) fn key_of(intent: &Intent) -> Option<KeyId> {
    let key = intent.key.as_deref()?;
    let account = intent.account.as_deref().unwrap_or_default();
    let digest = digest_of(&[intent.tenant.as_bytes(), account.as_bytes(), key.as_bytes()]);
    let mut id = KeyId::default();
    id.copy_from_slice(&digest.0[..16]);
    Some(id)
}

/// What a repeat has to have in common with the exchange it repeats: method, path and body.
pub(crate) fn content_of(intent: &Intent) -> Fingerprint {
    half(digest_of(&[intent.method.as_bytes(), intent.path.as_bytes(), &intent.body.0]))
}

/// The fingerprint of a text.
pub(crate) fn fingerprint(text: &str) -> Fingerprint {
    half(Digest::of(text.as_bytes()))
}

fn digest_of(fields: &[&[u8]]) -> Digest {
    let mut bytes = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
        bytes.extend_from_slice(field);
    }
    Digest::of(&bytes)
}

fn half(digest: Digest) -> Fingerprint {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = [7; 16];
    const CONTENT: Fingerprint = 1;

    fn decision(replayed: bool, resolved: bool, made: u64) -> Decision {
        Decision { replayed, resolved, applied: true, made: Some(made) }
    }

    fn begun(ids: std::ops::RangeInclusive<u64>) -> Keys {
        let mut keys = Keys::default();
        for id in ids {
            keys.begin(KEY, ExchangeId(id), CONTENT);
        }
        keys
    }

    fn rule(keys: &mut Keys, id: u64, decision: Decision) -> (Ruling, Vec<u64>) {
        let (ruling, again) = keys.rule(KEY, ExchangeId(id), CONTENT, decision);
        (ruling, again.iter().map(|id| id.0).collect())
    }

    #[test]
    fn a_retry_repeats_the_first() {
        let mut keys = begun(1..=2);
        assert_eq!(rule(&mut keys, 1, decision(false, false, 9)), (Ruling::Stands, vec![]));
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)), (Ruling::Repeats(ExchangeId(1)), vec![]));
    }

    #[test]
    fn repeated_answers_that_come_first_wait_for_the_one_they_repeat() {
        let mut keys = begun(1..=3);
        assert_eq!(rule(&mut keys, 1, decision(true, false, 9)), (Ruling::Waits, vec![]));
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)), (Ruling::Waits, vec![]));
        assert_eq!(rule(&mut keys, 3, decision(false, false, 9)), (Ruling::Stands, vec![1, 2]));
        assert_eq!(rule(&mut keys, 1, decision(true, false, 9)), (Ruling::Repeats(ExchangeId(3)), vec![]));
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)), (Ruling::Repeats(ExchangeId(3)), vec![]));
    }

    #[test]
    fn repeats_of_something_never_seen_stand_once() {
        let mut keys = begun(1..=2);
        assert_eq!(rule(&mut keys, 1, decision(true, false, 9)).0, Ruling::Waits);
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)), (Ruling::Stands, vec![1]));
        assert_eq!(rule(&mut keys, 1, decision(true, false, 9)).0, Ruling::Repeats(ExchangeId(2)));
    }

    #[test]
    fn a_repeat_of_an_exchange_without_effect_is_none() {
        let mut keys = begun(1..=2);
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)).0, Ruling::Waits);
        assert_eq!(keys.without_effect(KEY, ExchangeId(1)), vec![ExchangeId(2)]);
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)).0, Ruling::Stands);
    }

    #[test]
    fn an_unknown_and_its_retry_have_one_leg() {
        // The retry found the transaction made.
        let mut keys = begun(1..=2);
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)).0, Ruling::Waits);
        assert_eq!(rule(&mut keys, 1, decision(false, true, 9)), (Ruling::Stands, vec![2]));
        assert_eq!(rule(&mut keys, 2, decision(true, false, 9)).0, Ruling::Repeats(ExchangeId(1)));
        // The retry made it, and is decided first.
        let mut keys = begun(1..=2);
        assert_eq!(rule(&mut keys, 2, decision(false, false, 9)).0, Ruling::Stands);
        assert_eq!(rule(&mut keys, 1, decision(false, true, 9)).0, Ruling::Repeats(ExchangeId(2)));
        // The retry made it, and is decided last.
        let mut keys = begun(1..=2);
        assert_eq!(rule(&mut keys, 1, decision(false, true, 9)).0, Ruling::Stands);
        assert_eq!(rule(&mut keys, 2, decision(false, false, 9)).0, Ruling::Repeats(ExchangeId(1)));
    }

    #[test]
    fn a_key_that_was_free_again_is_no_repeat() {
        let mut keys = begun(1..=2);
        assert_eq!(rule(&mut keys, 1, decision(false, false, 8)).0, Ruling::Stands);
        assert_eq!(rule(&mut keys, 2, decision(false, false, 9)).0, Ruling::Stands);
    }

    /// Rules on an exchange of which the body is other bytes than those of the rest.
    fn rule_in_other_bytes(keys: &mut Keys, id: u64, decision: Decision) -> Ruling {
        keys.rule(KEY, ExchangeId(id), CONTENT + id, decision).0
    }

    #[test]
    fn what_means_the_same_in_other_bytes_is_a_repeat_by_the_word_of_its_authority() {
        for made in [9, 8] {
            // Also when the other system made it, with an id of its own.
            let mut keys = begun(1..=1);
            keys.begin(KEY, ExchangeId(2), CONTENT + 2);
            assert_eq!(
                rule_in_other_bytes(&mut keys, 2, decision(true, false, made)),
                Ruling::Waits,
                "1 may be the first"
            );
            assert_eq!(rule(&mut keys, 1, decision(false, false, 9)), (Ruling::Stands, vec![2]));
            assert_eq!(rule_in_other_bytes(&mut keys, 2, decision(true, false, made)), Ruling::Repeats(ExchangeId(1)));
        }
        // Nobody knew what became of it, and its retry is decided before that is found out.
        let mut keys = begun(1..=1);
        keys.begin(KEY, ExchangeId(2), CONTENT + 2);
        assert_eq!(rule_in_other_bytes(&mut keys, 2, decision(false, false, 9)), Ruling::Stands);
        assert_eq!(rule(&mut keys, 1, decision(false, true, 9)).0, Ruling::Repeats(ExchangeId(2)));
    }

    #[test]
    fn a_refusal_in_other_bytes_is_no_repeat() {
        let refused = Decision { applied: false, ..decision(false, false, 9) };
        let mut keys = begun(1..=1);
        assert_eq!(rule(&mut keys, 1, decision(false, false, 9)).0, Ruling::Stands);
        for (id, replayed) in [(2, false), (3, true)] {
            assert_eq!(
                rule_in_other_bytes(&mut keys, id, Decision { replayed, ..refused }),
                Ruling::Stands,
                "DuplicateKey"
            );
        }
    }

    #[test]
    fn what_was_applied_repeats_no_refusal() {
        for (replayed, resolved) in [(true, false), (false, true)] {
            let mut keys = begun(1..=3);
            let refused = Decision { applied: false, ..decision(false, false, 8) };
            assert_eq!(rule(&mut keys, 1, refused).0, Ruling::Stands);
            let applied = rule(&mut keys, 2, decision(replayed, resolved, 9)).0;
            assert_eq!(applied, if replayed { Ruling::Waits } else { Ruling::Stands }, "3 may be the first");
            assert_eq!(rule(&mut keys, 3, Decision { replayed, ..refused }).0, Ruling::Repeats(ExchangeId(1)));
        }
    }

    #[test]
    fn nothing_is_kept_of_keys_that_never_had_an_effect() {
        let mut keys = begun(1..=1);
        keys.without_effect(KEY, ExchangeId(1));
        assert!(keys.entries.is_empty());
    }
}
