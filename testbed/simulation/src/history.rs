//! The log, read a second time: which outcomes count, and whether each of them is what the rules say of its command.
//!
//! Acceptance is written anew here, on the stored bytes; the rules are the engine's own, because what is looked for is not a
//! wrong rule but a wrong state that it was asked on.

use crate::chaos::LITTER;
use engine::codec;
use engine_domain::outcome::FollowUp;
use engine_domain::{
    AccountId, AccountType, Body, Command, CommandId, Currency, Event, Money, Outcome, Shard, Timestamp, evolve,
};
use eventlog::Record;
use std::collections::{BTreeMap, BTreeSet};
use wire::dead_letter::{self, DeadLetter, Origin};
use wire::journal::{COMMANDS, JOURNAL};
use wire::scalar::Digest;

/// What a log says.
pub struct History {
    /// Every shard as its accepted outcomes make it.
    pub shards: Vec<Shard>,
    /// What accounts with one home stood at, per account and version.
    pub levels: BTreeMap<(String, u64), Money>,
    /// Commands that have an outcome, per shard.
    pub decided: Vec<u64>,
    /// Commands there are, per shard.
    pub commands: Vec<u64>,
    /// Outcomes that are in the log and do not count.
    pub ignored: u64,
    /// Outcomes that only an owner could have made that decides otherwise.
    pub divergent: u64,
    /// Sagas that were compensated.
    pub compensated: u64,
    /// What nobody can process, and has to have a dead letter.
    pub litter: BTreeSet<Origin>,
    /// Dead letters that there are.
    pub letters: BTreeSet<Origin>,
    /// What must not be.
    pub violations: Vec<String>,
}

/// One shard while its history is read.
struct Chain {
    parent: Digest,
    at: Timestamp,
    commands: Vec<(Timestamp, Command)>,
}

/// Reads a log in the order in which it came to be.
pub struct Reading {
    history: History,
    chains: Vec<Chain>,
    /// What accepted outcomes have sent, by its id and the shard it goes to.
    sent: BTreeMap<(u32, CommandId), Body>,
    /// Whether one of the owners decides otherwise.
    diverges: bool,
}

impl Reading {
    /// Nothing is read yet.
    pub fn new(ledger: &str, shards: u32, diverges: bool) -> Self {
        let chain = |shard| Chain {
            parent: wire::journal::genesis(ledger, shard, shards),
            at: Timestamp(i64::MIN),
            commands: Vec::new(),
        };
        let history = History {
            shards: (0..shards).map(|shard| Shard::new(shard, shards)).collect(),
            levels: BTreeMap::new(),
            decided: vec![0; shards as usize],
            commands: vec![0; shards as usize],
            ignored: 0,
            divergent: 0,
            compensated: 0,
            litter: BTreeSet::new(),
            letters: BTreeSet::new(),
            violations: Vec::new(),
        };
        Self { history, chains: (0..shards).map(chain).collect(), sent: BTreeMap::new(), diverges }
    }

    /// Takes the next record of all.
    pub fn take(&mut self, topic: &str, shard: u32, record: &Record) {
        match topic {
            COMMANDS => self.take_command(shard, record),
            JOURNAL => self.take_outcome(shard, record),
            dead_letter::TOPIC => self.take_letter(record),
            _ => {}
        }
    }

    /// Everything was read.
    pub fn end(mut self) -> History {
        let (decided, commands) = (&self.history.decided, &self.history.commands);
        if decided != commands {
            let text = format!("of {commands:?} commands per shard {decided:?} have an outcome");
            self.history.violations.push(text);
        }
        if self.history.letters != self.history.litter {
            let text = format!("there are letters of {:?}, not of {:?}", self.history.letters, self.history.litter);
            self.history.violations.push(text);
        }
        self.check_nothing_is_open();
        self.history
    }

    fn take_letter(&mut self, record: &Record) {
        match wire::stored::decode::<DeadLetter>(&record.value) {
            Ok(letter) => {
                self.history.letters.insert(letter.origin);
            }
            Err(error) => self.history.violations.push(format!("letter {} cannot be read: {error}", record.offset)),
        }
    }

    /// Takes what is no record; `false` if it is one.
    fn take_litter(&mut self, topic: &str, shard: u32, record: &Record) -> bool {
        let is_litter = record.value == LITTER;
        if is_litter {
            let (topic, partition, offset) = (topic.to_owned(), shard, record.offset);
            self.history.litter.insert(Origin { topic, partition, offset });
        }
        is_litter
    }

    fn violation(&mut self, shard: u32, offset: u64, what: String) {
        self.history.violations.push(format!("shard {shard}, offset {offset}: {what}"));
    }

    fn take_command(&mut self, shard: u32, record: &Record) {
        let command = match codec::decode_command(&record.value) {
            Ok(command) => command,
            Err(_) if self.take_litter(COMMANDS, shard, record) => {
                codec::unreadable(&record.value, shard, record.offset)
            }
            Err(error) => return self.violation(shard, record.offset, format!("a command cannot be read: {error}")),
        };
        if matches!(command.body, Body::Step(_) | Body::StepDone(_)) {
            // Whatever is sent on behalf of an outcome is sent after that one counts, and says what it says.
            let sent = self.sent.get(&(shard, command.id));
            if sent != Some(&command.body) {
                let what = format!("{:?} follows from no accepted outcome; accepted is {sent:?}", command.body);
                self.violation(shard, record.offset, what);
            }
        }
        let at = Timestamp(record.at_micros);
        self.chains[shard as usize].commands.push((at, command));
        self.history.commands[shard as usize] += 1;
    }

    fn take_outcome(&mut self, shard: u32, record: &Record) {
        let index = shard as usize;
        let stored: wire::journal::Outcome = match wire::stored::decode(&record.value) {
            Ok(stored) => stored,
            Err(_) if self.take_litter(JOURNAL, shard, record) => return,
            Err(error) => return self.violation(shard, record.offset, format!("an outcome cannot be read: {error}")),
        };
        if (stored.parent, stored.source_offset) != (self.chains[index].parent, self.history.decided[index]) {
            self.history.ignored += 1;
            return;
        }
        let outcome = match codec::outcome_from_wire(stored) {
            Ok(outcome) => outcome,
            Err(error) => return self.violation(shard, record.offset, format!("an outcome cannot be: {error}")),
        };
        self.compare(shard, &outcome);
        self.chains[index].parent = Digest::of(&record.value);
        self.chains[index].at = outcome.at;
        self.history.decided[index] += 1;
        for event in &outcome.events {
            evolve(&mut self.history.shards[index], event);
            self.history.compensated += u64::from(matches!(event, Event::SagaCompensated(_)));
        }
        for FollowUp { shard, command } in &outcome.sends {
            self.sent.insert((*shard, command.id), command.body.clone());
        }
        self.keep_levels(shard, &outcome);
        self.check_accounts(shard, &outcome);
    }

    /// An account stands at its balance also after events that do not move it.
    fn keep_levels(&mut self, shard: u32, outcome: &Outcome) {
        let History { shards, levels, .. } = &mut self.history;
        for event in &outcome.events {
            let Some(id) = event.account() else { continue };
            if let Event::BalanceChanged(changed) = event {
                levels.insert((id.as_str().to_owned(), changed.version), changed.balance_after);
            }
            let Some(account) = shards[shard as usize].account(id) else { continue };
            levels.insert((id.as_str().to_owned(), account.version), account.balance);
        }
    }

    /// The outcome is what the rules say of its command, on the state that its accepted forerunners led to.
    fn compare(&mut self, shard: u32, outcome: &Outcome) {
        let offset = outcome.source_offset;
        let chain = &self.chains[shard as usize];
        let Some((logged_at, command)) = chain.commands.get(usize::try_from(offset).unwrap_or(usize::MAX)) else {
            return self.violation(shard, offset, "an outcome of a command that is not there".to_owned());
        };
        let (at, command) = (chain.at.max(*logged_at), command.clone());
        let state = &mut self.history.shards[shard as usize];
        let decision = engine_domain::decide(state, &command, offset, at);
        if *outcome == Outcome::new(shard, offset, &command, at, decision) {
            return;
        }
        if self.diverges {
            let decision = engine::planted::decide_otherwise(state, &command, offset, at);
            if *outcome == Outcome::new(shard, offset, &command, at, decision) {
                self.history.divergent += 1;
                return;
            }
        }
        let decision = engine_domain::decide(state, &command, offset, at);
        let expected = Outcome::new(shard, offset, &command, at, decision);
        self.violation(shard, offset, format!("accepted is {outcome:?}, and the rules say {expected:?}"));
    }

    /// What an outcome leaves behind: sums of zero, nobody below zero, nothing reserved that is not there.
    fn check_accounts(&mut self, shard: u32, outcome: &Outcome) {
        let mut wrong = Vec::new();
        if let Some((currency, sum)) = outcome.imbalance() {
            wrong.push(format!("its movements sum to {sum} {currency}"));
        }
        let state = &self.history.shards[shard as usize];
        wrong.extend(state.sums().filter(|(_, sum)| !sum.is_zero()).map(|(currency, sum)| format!("{sum} {currency}")));
        let touched: BTreeSet<_> = outcome.events.iter().filter_map(Event::account).collect();
        for id in touched {
            let Some(account) = state.account(id) else { continue };
            let below = account.account_type == AccountType::User
                && (account.balance < Money::ZERO || account.available() < Money::ZERO);
            if below || account.reserved < Money::ZERO {
                wrong.push(format!("{id:?} stands at {}, {} of it reserved", account.balance, account.reserved));
            }
        }
        wrong.into_iter().for_each(|what| self.violation(shard, outcome.source_offset, what));
    }

    /// At the end no saga is under way, so nothing is between the shards, set aside, or kept open.
    fn check_nothing_is_open(&mut self) {
        let currency = Currency::new("CZK").expect("a currency");
        let between = self.history.shards.iter().map(|shard| shard.in_transit(currency));
        let between = between.fold(Money::ZERO, Money::plus);
        let mut wrong = Vec::new();
        if !between.is_zero() {
            wrong.push(format!("{between} {currency} are between the shards"));
        }
        for shard in &self.history.shards {
            wrong.extend(shard.sagas().map(|saga| format!("a saga is under way: {saga:?}")));
        }
        self.history.violations.extend(wrong);
    }
}

impl History {
    /// What an account stands at, all its stripes together.
    pub fn balance(&self, id: &AccountId) -> Money {
        let stripes = self.shards.iter().filter_map(|shard| shard.account(id));
        stripes.map(|stripe| stripe.balance).fold(Money::ZERO, Money::plus)
    }
}
