//! Many requests at once, with retries: what all answers together may say.
//!
//! One (tenant, deciding account, key) has one effect, however often it is asked for; every answer about it says
//! the same; an effect told is an effect that both accounts show.

use crate::answer::{Answer, Class, Outcome, Side};
use crate::chain::Link;
use crate::effect::{Effect, EffectKey, Resolution, State, Told, Verdict};
use crate::money::Money;
use crate::request::{Ask, MoveKind, NewAccount, Request, Status, Unreadable};
use crate::rules::Account;
use crate::verify::Violation;
use std::collections::{BTreeMap, BTreeSet};

/// What may happen besides what always may.
#[derive(Debug, Clone, Copy)]
pub struct Expectations {
    /// A refusal by a rule consumes its key.
    pub refusal_keeps_key: bool,
    /// Accounts change their authority meanwhile: versions and levels of one account come from two systems, and a
    /// refusal of one is not known to the other.
    pub authority_moves: bool,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { refusal_keeps_key: true, authority_moves: false }
    }
}

/// How many of what was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Answers of any kind, and unknowns.
    pub observed: u64,
    /// Effects.
    pub applied: u64,
    /// Refusals of keys that have no effect.
    pub refused: u64,
    /// Answers that said they repeated an earlier one.
    pub replayed: u64,
    /// Keys of which nobody knows yet.
    pub unknown: u64,
}

/// The one who watches. Show it every request with its answer, in any order; of a transaction that is refunded,
/// its answer before the refund's.
#[derive(Debug)]
pub struct Observer {
    pub(crate) expectations: Expectations,
    pub(crate) accounts: BTreeMap<String, Known>,
    pub(crate) effects: BTreeMap<EffectKey, Effect>,
    /// What moved on each account, as told.
    pub(crate) sums: BTreeMap<String, Money>,
    /// The movements with their levels on each account.
    pub(crate) links: BTreeMap<String, Vec<Link>>,
    /// Movements without levels on USER accounts: told by nobody, only known to have happened.
    pub(crate) loose: BTreeMap<String, Vec<Money>>,
    /// Accounts of effects whose amount nobody told.
    pub(crate) uncertain: BTreeSet<String>,
    pub(crate) violations: Vec<Violation>,
    /// Every id that a system gave to a transaction.
    names: BTreeMap<String, EffectKey>,
    refunded: BTreeMap<EffectKey, Money>,
    counts: Counts,
}

/// An account as made, and whether its limits were changed since.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) account: Account,
    pub(crate) limits_changed: bool,
}

impl Observer {
    /// Somebody who has seen nothing yet.
    pub fn new(expectations: Expectations) -> Self {
        Self {
            expectations,
            accounts: BTreeMap::new(),
            effects: BTreeMap::new(),
            sums: BTreeMap::new(),
            links: BTreeMap::new(),
            loose: BTreeMap::new(),
            uncertain: BTreeSet::new(),
            violations: Vec::new(),
            names: BTreeMap::new(),
            refunded: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// A request and its answer.
    pub fn observe(&mut self, request: &Request, answer: &Answer) {
        let class = answer.class();
        if class == Class::Unknown {
            return self.observe_unknown(request);
        }
        self.counts.observed += 1;
        self.counts.replayed += u64::from(answer.replayed);
        match (class, &request.ask) {
            (Class::Unexpected, _) => {
                let code = answer.code.as_deref().unwrap_or("no code");
                let text = format!("an answer that the contract does not have: {} {code}", answer.status);
                self.violation(self.effect_key(request), text);
            }
            (Class::Applied, Ask::Create(asked)) => self.created(request, asked),
            (Class::Applied, Ask::Change(asked)) => {
                if let Some(known) = self.accounts.get_mut(&asked.account) {
                    known.account.status = asked.status.unwrap_or(known.account.status);
                    known.limits_changed |= asked.min.is_some() || asked.max.is_some();
                }
            }
            (Class::Applied | Class::Refused, Ask::Move(_) | Ask::Refund(_)) => self.decided(request, answer),
            (Class::Refused | Class::NotExecuted | Class::Unknown, _) => {}
        }
    }

    /// A request that [`Request::read`] could not read, and its answer: it must be turned away for that reason.
    pub fn observe_unreadable(&mut self, why: &Unreadable, answer: &Answer) {
        self.counts.observed += 1;
        let expected = match why {
            Unreadable::NotAWrite => return,
            Unreadable::Malformed(_) => (400, "MalformedRequest"),
            Unreadable::InvalidAmount(_) => (422, "InvalidAmount"),
        };
        let found = (answer.status, answer.code.as_deref().unwrap_or_default());
        if answer.class() != Class::Unknown && found != expected {
            let text = format!("a request that is {why} was answered with {found:?}");
            self.violations.push(Violation { effect: None, text });
        }
    }

    /// A request without an answer that says what became of it.
    pub fn observe_unknown(&mut self, request: &Request) {
        self.counts.observed += 1;
        if matches!(request.ask, Ask::Create(_) | Ask::Change(_)) {
            return;
        }
        let effect = self.effects.entry(self.effect_key(request)).or_default();
        effect.asked(&request.ask);
        if matches!(effect.state, State::Untold | State::Absent) {
            effect.state = State::Maybe;
        }
    }

    /// What somebody found out about an unknown effect. Nothing happens to one that is known already.
    pub fn resolve(&mut self, key: &EffectKey, resolution: Resolution) {
        let Some(effect) = self.effects.get_mut(key) else { return };
        if effect.told().is_some() {
            return;
        }
        let told = |verdict: Verdict, outcome: Option<Box<Outcome>>| {
            effect.ask_of(outcome.as_deref()).map(|ask| Told { ask, verdict, outcome })
        };
        match resolution {
            Resolution::Absent => effect.state = State::Absent,
            Resolution::Refused => {
                if let Some(told) = told(Verdict::Refused(None), None) {
                    effect.state = State::Refused(told);
                }
            }
            Resolution::Applied(outcome) => {
                if let Some(told) = told(Verdict::Applied, outcome) {
                    self.apply(key, told);
                }
            }
        }
    }

    /// The keys of which nobody knows yet whether they had their effect.
    pub fn unknown(&self) -> Vec<EffectKey> {
        let unknown = self.effects.iter().filter(|(_, effect)| matches!(effect.state, State::Maybe));
        unknown.map(|(key, _)| key.clone()).collect()
    }

    /// What is wrong so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many of what was observed.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { applied: 0, refused: 0, unknown: 0, ..self.counts };
        for effect in self.effects.values() {
            match effect.state {
                State::Applied(_) => counts.applied += 1,
                State::Refused(_) => counts.refused += 1,
                State::Maybe => counts.unknown += 1,
                State::Untold | State::Absent => {}
            }
        }
        counts
    }

    /// The effect that a request asks for.
    pub fn effect_key(&self, request: &Request) -> EffectKey {
        let account = match &request.ask {
            Ask::Create(asked) => asked.id.clone().unwrap_or_default(),
            Ask::Change(asked) => asked.account.clone(),
            Ask::Move(asked) if asked.kind == MoveKind::Topup => asked.destination.clone(),
            Ask::Move(asked) => asked.source.clone(),
            Ask::Refund(asked) => match self.parties_of(&asked.original) {
                Some((source, destination)) => self.deciding_of_refund(&destination, &source),
                None => asked.original.clone(),
            },
        };
        EffectKey { tenant: request.tenant.clone(), account, key: request.key.clone().unwrap_or_default() }
    }

    /// Source and destination of a transaction, by an id that a system gave it.
    pub(crate) fn parties_of(&self, transaction: &str) -> Option<(String, String)> {
        let told = self.effects.get(self.names.get(transaction)?)?.told()?;
        match (&told.outcome, &told.ask) {
            // A refund of nothing.
            (Some(outcome), _) if outcome.source.account.is_empty() => None,
            (Some(outcome), _) => Some((outcome.source.account.clone(), outcome.destination.account.clone())),
            (None, Ask::Move(asked)) => Some((asked.source.clone(), asked.destination.clone())),
            (None, _) => None,
        }
    }

    /// The account it debits if that one is limited, else the one it credits.
    pub(crate) fn deciding_of_refund(&self, debited: &str, credited: &str) -> String {
        let limited = self.accounts.get(debited).is_none_or(|known| known.account.is_limited());
        if limited { debited } else { credited }.to_owned()
    }

    pub(crate) fn violation(&mut self, effect: EffectKey, text: String) {
        self.violations.push(Violation { effect: Some(effect), text });
    }

    fn created(&mut self, request: &Request, asked: &NewAccount) {
        let Some(id) = asked.id.clone() else { return };
        match self.accounts.get(&id) {
            Some(known) if known.account.kind != asked.kind => {
                self.violation(self.effect_key(request), "the account was made twice, with two types".into());
            }
            Some(_) => {}
            None => {
                let account = Account {
                    kind: asked.kind,
                    currency: asked.currency.clone(),
                    status: Status::Active,
                    min: asked.min,
                    max: asked.max,
                    balance: Money::ZERO,
                };
                self.accounts.insert(id, Known { account, limits_changed: false });
            }
        }
    }

    /// A transaction that was applied or refused.
    fn decided(&mut self, request: &Request, answer: &Answer) {
        let Expectations { refusal_keeps_key, authority_moves } = self.expectations;
        let key = self.effect_key(request);
        let Some(outcome) = answer.result.clone() else {
            return self.violation(key, format!("an answer with status {} without its transaction", answer.status));
        };
        let mut wrong = self.inconsistencies(request, answer, &outcome);
        let effect = self.effects.entry(key.clone()).or_default();
        effect.asked(&request.ask);
        let verdict = answer.code.clone().map_or(Verdict::Applied, |code| Verdict::Refused(Some(code)));
        let told = Told { ask: request.ask.clone(), verdict, outcome: Some(outcome) };
        // A reused key is told from what has the key, which may not have been observed yet: looked at in the end.
        let reused = answer.code.as_deref() == Some("DuplicateKey");
        let says_nothing = told.is_same_account() && effect.asks.len() > 1;
        if reused {
            effect.duplicated(&request.ask);
        } else if !says_nothing {
            wrong.extend(self.settle(&key, told, answer.replayed, refusal_keeps_key, authority_moves));
        }
        for text in wrong {
            self.violation(key.clone(), text);
        }
    }

    /// Takes what was told of an effect; gives what in it cannot be, after all that was told before.
    fn settle(
        &mut self,
        key: &EffectKey,
        told: Told,
        replayed: bool,
        refusal_keeps_key: bool,
        authority_moves: bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(effect) = self.effects.get_mut(key) else { return wrong };
        let applied = told.verdict == Verdict::Applied;
        if !replayed && effect.original(applied, refusal_keeps_key) && !authority_moves {
            wrong.push("two answers, neither of which says that it repeats the other".into());
        }
        match &effect.state {
            // A refusal that was forgotten decides nothing.
            State::Refused(known) if known.is_same_account() && known.ask != told.ask => {}
            State::Refused(_) if !refusal_keeps_key || authority_moves => {}
            State::Refused(known) | State::Applied(known) => wrong.extend(known.differences(&told, !authority_moves)),
            State::Untold | State::Maybe | State::Absent => {}
        }
        let known = matches!(effect.state, State::Applied(_));
        self.learn_name(key, &told);
        match (known, applied) {
            (true, _) => {}
            (false, true) => self.apply(key, told),
            (false, false) => self.set(key, State::Refused(told)),
        }
        wrong
    }

    fn set(&mut self, key: &EffectKey, state: State) {
        if let Some(effect) = self.effects.get_mut(key) {
            effect.state = state;
        }
    }

    /// One id names one effect, whichever system gave it.
    fn learn_name(&mut self, key: &EffectKey, told: &Told) {
        let Some(outcome) = &told.outcome else { return };
        let known = self.names.entry(outcome.transaction_id.clone()).or_insert_with(|| key.clone());
        if known != key {
            let text = format!("the transaction {} was told for {known} as well", outcome.transaction_id);
            self.violation(key.clone(), text);
        }
    }

    /// The effect is known now: its movements count.
    fn apply(&mut self, key: &EffectKey, told: Told) {
        self.learn_name(key, &told);
        match (&told.outcome, &told.ask) {
            (Some(outcome), _) => {
                for side in outcome.sides() {
                    self.move_side(key, side);
                }
            }
            (None, Ask::Move(asked)) => {
                for (account, movement) in [(&asked.source, -asked.amount), (&asked.destination, asked.amount)] {
                    let account = account.clone();
                    self.move_side(key, &Side { account, levels: None, version: None, movement });
                }
            }
            // Of a refund that nobody has shown, not even the amount may be known.
            (None, Ask::Refund(asked)) => {
                let parties = self.parties_of(&asked.original).map(|(source, destination)| [source, destination]);
                self.uncertain.extend(parties.into_iter().flatten().chain([key.account.clone()]));
            }
            (None, Ask::Create(_) | Ask::Change(_)) => {}
        }
        if let (Ask::Refund(asked), Some(refund)) = (&told.ask, &told.outcome) {
            self.count_refund(key, &asked.original, refund.amount);
        }
        self.set(key, State::Applied(told));
    }

    fn move_side(&mut self, key: &EffectKey, side: &Side) {
        *self.sums.entry(side.account.clone()).or_default() += side.movement;
        match side.levels {
            Some((before, after)) => {
                let link = Link { before, after, version: side.version, key: key.key.clone() };
                self.links.entry(side.account.clone()).or_default().push(link);
            }
            None => self.loose.entry(side.account.clone()).or_default().push(side.movement),
        }
    }

    /// All refunds of a transaction together are at most what it moved.
    fn count_refund(&mut self, key: &EffectKey, original: &str, amount: Money) {
        let Some(original) = self.names.get(original).cloned() else {
            return self.violation(key.clone(), format!("refunds {original}, which was never told"));
        };
        let total = self.refunded.entry(original.clone()).or_default();
        *total += amount;
        let total = *total;
        let moved = match self.effects.get(&original).map(|effect| &effect.state) {
            Some(State::Applied(Told { ask: Ask::Move(moved), .. })) => moved.amount,
            _ => return self.violation(key.clone(), format!("refunds what cannot be refunded: {original}")),
        };
        if total > moved {
            self.violation(key.clone(), format!("{total} of {moved} are refunded now of {original}"));
        }
    }
}
