//! Outcomes: what a shard made of a command. Exactly one for each, refusals and unreadable commands included.

use crate::command::{Command, Mode};
use crate::event::Event;
use crate::ids::{AccountId, CommandId, Currency, Text, Timestamp, TransactionId};
use crate::money::Money;
use crate::rejection::Rejection;
use std::collections::BTreeMap;

/// The behaviour of this program. Owners of one feature number write identical outcomes.
pub const FEATURE: u32 = 1;

/// What [`decide`](crate::decide) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What happened.
    pub events: Vec<Event>,
    /// What is to be sent to other shards, once this is accepted.
    pub sends: Vec<FollowUp>,
    /// What whoever waits is to be told.
    pub answer: Answer,
}

/// A follow-up for another shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// The shard.
    pub shard: u32,
    /// The command.
    pub command: Command,
}

/// What whoever waits is to be told. `to` is the command of the request that is answered, which may be an earlier one
/// than the command decided on. Who repeated a running request waits for its transaction instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nobody waits: an internal step.
    None,
    /// The transaction is final: read it.
    Final {
        /// The request's command.
        to: CommandId,
        /// The transaction.
        transaction: TransactionId,
        /// Whether it was final before.
        replay: bool,
    },
    /// A saga waits for another shard; the answer follows in a later outcome.
    Running {
        /// The request's command.
        to: CommandId,
        /// The transaction; `None` for what has none, or decides dry.
        transaction: Option<TransactionId>,
    },
    /// Refused, and nothing of it is kept.
    Refused {
        /// The request's command.
        to: CommandId,
        /// The id that its key stands for.
        transaction: Option<TransactionId>,
        /// The rule.
        rejection: Rejection,
    },
    /// What would have been decided; nothing moved.
    Dry {
        /// The request's command.
        to: CommandId,
        /// The id that its key stands for.
        transaction: Option<TransactionId>,
        /// The rule that would have refused it.
        would_refuse: Option<Rejection>,
    },
    /// The account is made or changed: read it.
    Account {
        /// The request's command.
        to: CommandId,
        /// The id that the key of its creation stands for.
        transaction: Option<TransactionId>,
        /// The account.
        account: AccountId,
        /// Whether this repeats the answer to its creation.
        replay: bool,
        /// Under force: the rule that was overruled.
        would_refuse: Option<Rejection>,
    },
    /// Taken note of.
    Noted {
        /// The request's command.
        to: CommandId,
    },
    /// The command could not be read.
    Unreadable,
}

impl Answer {
    /// The request's command that this answers.
    pub const fn to(&self) -> Option<CommandId> {
        match self {
            Answer::None | Answer::Unreadable => None,
            Answer::Final { to, .. }
            | Answer::Running { to, .. }
            | Answer::Refused { to, .. }
            | Answer::Dry { to, .. }
            | Answer::Account { to, .. }
            | Answer::Noted { to } => Some(*to),
        }
    }

    /// The transaction that this is about.
    pub const fn transaction(&self) -> Option<TransactionId> {
        match self {
            Answer::None | Answer::Unreadable | Answer::Noted { .. } => None,
            Answer::Final { transaction, .. } => Some(*transaction),
            Answer::Running { transaction, .. }
            | Answer::Refused { transaction, .. }
            | Answer::Dry { transaction, .. }
            | Answer::Account { transaction, .. } => *transaction,
        }
    }

    /// Whether nothing follows for whoever waits for [`Answer::to`].
    pub const fn is_final(&self) -> bool {
        !matches!(self, Answer::None | Answer::Running { .. } | Answer::Unreadable)
    }
}

/// A decision with its envelope: the journal's record, apart from the parent's hash. Nothing of the owner is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The shard.
    pub shard: u32,
    /// The command's offset in the shard's commands.
    pub source_offset: u64,
    /// The command.
    pub command: CommandId,
    /// Follows the request everywhere.
    pub correlation_id: Text,
    /// Who asked.
    pub actor: Text,
    /// How it was executed.
    pub mode: Mode,
    /// When it was decided: the log's time, never falling within a shard.
    pub at: Timestamp,
    /// The behaviour that decided.
    pub feature: u32,
    /// What happened.
    pub events: Vec<Event>,
    /// What is to be sent to other shards.
    pub sends: Vec<FollowUp>,
    /// What whoever waits is to be told.
    pub answer: Answer,
}

impl Outcome {
    /// Puts a decision into its envelope.
    pub fn new(shard: u32, source_offset: u64, command: &Command, at: Timestamp, decision: Decision) -> Self {
        Self {
            shard,
            source_offset,
            command: command.id,
            correlation_id: command.correlation_id.clone(),
            actor: command.actor.clone(),
            mode: command.mode,
            at,
            feature: FEATURE,
            events: decision.events,
            sends: decision.sends,
            answer: decision.answer,
        }
    }

    /// A currency in which its movements do not sum to zero, and what they sum to. There is none, or money came from
    /// nowhere (Law 3).
    pub fn imbalance(&self) -> Option<(Currency, Money)> {
        let mut sums: BTreeMap<Currency, Money> = BTreeMap::new();
        for event in &self.events {
            if let Event::BalanceChanged(changed) = event {
                let sum = sums.entry(changed.currency).or_default();
                *sum = sum.plus(changed.balance_after.minus(changed.balance_before));
            }
        }
        sums.into_iter().find(|(_, sum)| !sum.is_zero())
    }
}
