//! What whoever submitted a command is told.

use crate::view::View;
use engine_domain::command::Refusal;
use engine_domain::{Answer, Position, Rejection};
use wire::billing::{Account, TransactionResult};
use wire::scalar::Timestamp;

/// What became of a submitted command.
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// Its outcome was accepted; of a saga, its last one.
    Answered(Box<Answered>),
    /// It is in the log, or may be: it will be decided, or was, but not in time for whoever asked.
    Pending,
    /// It is not in the log and never will be; the reason.
    NotAppended(String),
}

/// The answer to a command, and what the view shows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The answer in the accepted outcome. To whoever repeated a running request, it is that of the first one, marked
    /// as a replay.
    pub answer: Answer,
    /// The transaction that the answer names, if the view shows it: the final one, or the one that holds the key.
    pub transaction: Option<TransactionResult>,
    /// The account that was made (as it was made) or changed (as it is now).
    pub account: Option<Account>,
    /// Of a forced leg: the rule that was overruled.
    pub would_refuse: Option<Rejection>,
    /// The other system's answer, if that one refused the transaction as authority.
    pub elsewhere: Option<Refusal>,
    /// Where it was decided: of a final transaction all outcomes that touched it, else the one that answers.
    pub position: Vec<Position>,
    /// When it was decided.
    pub at: Timestamp,
}

impl Answered {
    /// The answer of the outcome at `decided_in`, which the view includes.
    pub(crate) fn of(answer: Answer, decided_in: Position, at: engine_domain::Timestamp, view: &View) -> Self {
        let mut answered = Self {
            transaction: None,
            account: None,
            would_refuse: None,
            elsewhere: None,
            position: vec![decided_in],
            at: Timestamp(at.0),
            answer,
        };
        match &answered.answer {
            Answer::Final { transaction, .. } => {
                if let Some(shown) = view.shown(*transaction) {
                    answered.transaction = Some(shown.result);
                    answered.would_refuse = shown.would_refuse;
                    answered.elsewhere = shown.elsewhere;
                    answered.position = shown.position;
                }
            }
            Answer::Refused { transaction, .. } | Answer::Dry { transaction, .. } => {
                answered.transaction = transaction.and_then(|id| view.shown(id)).map(|shown| shown.result);
            }
            Answer::Account { account, transaction, would_refuse, .. } => {
                // A creation under a key is answered with the same account, however often it is repeated.
                answered.account = match transaction {
                    Some(_) => view.account_as_made(account.as_str()),
                    None => view.account(account.as_str()),
                };
                answered.would_refuse = *would_refuse;
            }
            Answer::None | Answer::Running { .. } | Answer::Noted { .. } | Answer::Unreadable => {}
        }
        answered
    }

    /// The same answer to whoever repeated the request while it was running.
    #[must_use]
    pub(crate) fn repeated(mut self) -> Self {
        if let Answer::Final { replay, .. } | Answer::Account { replay, .. } = &mut self.answer {
            *replay = true;
        }
        self
    }
}
