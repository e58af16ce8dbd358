//! Who waits for which answer.
//!
//! Whoever submitted a command waits for that command's answer. If it is `Running`, a later outcome answers: to the
//! command that began the saga, and to everybody who repeated it meanwhile, by the transaction.

use super::Answered;
use engine_domain::{Answer, CommandId, Outcome, TransactionId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Those who wait for answers of one shard.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Waits>);

#[derive(Default)]
struct Waits {
    by_command: HashMap<CommandId, oneshot::Sender<Answered>>,
    /// Each with its own command.
    by_transaction: HashMap<TransactionId, Vec<(CommandId, oneshot::Sender<Answered>)>>,
}

/// Waits for an answer; who gives up drops it.
pub(crate) struct Wait {
    waiters: Arc<Waiters>,
    command: CommandId,
    answer: oneshot::Receiver<Answered>,
}

/// Somebody to be told an answer.
pub(crate) struct Told {
    to: oneshot::Sender<Answered>,
    /// Whether the answer is that to an earlier request under the same key.
    pub(crate) repeats: bool,
}

impl Told {
    /// Tells it. Who has given up meanwhile hears nothing.
    pub(crate) fn tell(self, answered: Answered) {
        let _ = self.to.send(answered);
    }
}

impl Waiters {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answer to a command; to be called before the command is appended.
    pub(crate) fn wait_for(self: &Arc<Self>, command: CommandId) -> Wait {
        let (to, answer) = oneshot::channel();
        self.waits().by_command.insert(command, to);
        Wait { waiters: Arc::clone(self), command, answer }
    }

    /// Who is to be told what these accepted outcomes answer: per outcome, by its index.
    pub(crate) fn settle<'a>(&self, outcomes: impl Iterator<Item = &'a Outcome>) -> Vec<(usize, Vec<Told>)> {
        let mut waits = self.waits();
        if waits.by_command.is_empty() && waits.by_transaction.is_empty() {
            return Vec::new();
        }
        outcomes
            .enumerate()
            .map(|(index, outcome)| (index, waits.settle(outcome.command, &outcome.answer)))
            .filter(|(_, told)| !told.is_empty())
            .collect()
    }
}

impl Waits {
    fn settle(&mut self, decided: CommandId, answer: &Answer) -> Vec<Told> {
        let mut told = Vec::new();
        match (answer, answer.to()) {
            (Answer::Running { transaction: Some(transaction), .. }, _) => {
                if let Some(waiting) = self.by_command.remove(&decided) {
                    let waiting_too = self.by_transaction.entry(*transaction).or_default();
                    waiting_too.retain(|(_, to)| !to.is_closed());
                    waiting_too.push((decided, waiting));
                }
            }
            // Without a transaction nobody else can wait for it: the answer comes to the same command.
            (Answer::Running { transaction: None, .. }, _) => {}
            (Answer::Unreadable, _) => {
                told.extend(self.by_command.remove(&decided).map(|to| Told { to, repeats: false }));
            }
            (_, None) => {}
            (_, Some(command)) => {
                told.extend(self.by_command.remove(&command).map(|to| Told { to, repeats: false }));
                // Only the end of a saga answers an earlier command. An answer to the command itself, such as that
                // its key stands for something else, says nothing about the transaction that is running under it.
                if let Some(transaction) = answer.transaction().filter(|_| command != decided) {
                    let waiting = self.by_transaction.remove(&transaction).unwrap_or_default();
                    told.extend(waiting.into_iter().map(|(own, to)| Told { to, repeats: own != command }));
                }
            }
        }
        told
    }
}

impl Wait {
    /// The answer; `None` when nobody is left to give it.
    pub(crate) async fn answer(&mut self) -> Option<Answered> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Who waits by transaction is found closed there when the saga ends.
        self.waiters.waits().by_command.remove(&self.command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn command(number: u128) -> CommandId {
        CommandId(Uuid::from_u128(number))
    }

    fn answered(answer: Answer) -> Answered {
        let view = crate::view::View::new(1);
        Answered::of(answer, engine_domain::Position { shard: 0, offset: 0 }, engine_domain::Timestamp(0), &view)
    }

    fn transaction() -> TransactionId {
        TransactionId::derive("", "account", "key")
    }

    /// Commands 1 and 2 wait; both asked for the same transaction. Who of them is told, and whether as a repeat.
    fn told(outcomes: &[(CommandId, Answer)]) -> Vec<(u128, bool)> {
        let waiters = Arc::new(Waiters::default());
        let mut waits: Vec<Wait> = [1, 2].map(|number| waiters.wait_for(command(number))).into();
        let mut told = Vec::new();
        for (decided, answer) in outcomes {
            for waiting in waiters.waits().settle(*decided, answer) {
                let repeats = waiting.repeats;
                waiting.tell(answered(answer.clone()));
                let number =
                    waits.iter_mut().position(|wait| wait.answer.try_recv().is_ok()).expect("somebody hears it");
                told.push((number as u128 + 1, repeats));
            }
        }
        told
    }

    fn running(to: u128) -> Answer {
        Answer::Running { to: command(to), transaction: Some(transaction()) }
    }

    fn completed(to: u128, replay: bool) -> Answer {
        Answer::Final { to: command(to), transaction: transaction(), replay }
    }

    #[test]
    fn an_answer_reaches_its_command_only() {
        assert_eq!(told(&[(command(2), completed(2, false))]), [(2, false)]);
        assert_eq!(told(&[(command(3), completed(3, false))]), []);
        assert_eq!(
            told(&[(command(1), completed(1, false)), (command(2), completed(2, true))]),
            [(1, false), (2, false)]
        );
        assert_eq!(told(&[(command(1), Answer::None), (command(1), Answer::Noted { to: command(1) })]), [(1, false)]);
        assert_eq!(told(&[(command(1), Answer::Unreadable)]), [(1, false)]);
    }

    #[test]
    fn the_end_of_a_saga_answers_its_command_and_who_repeated_it() {
        let outcomes = [(command(1), running(1)), (command(2), running(2)), (command(9), completed(1, false))];
        assert_eq!(told(&outcomes), [(1, false), (2, true)]);
        // Whether the repeat is answered to its own id or to the first one's.
        let outcomes = [(command(1), running(1)), (command(2), running(1)), (command(9), completed(1, false))];
        assert_eq!(told(&outcomes), [(1, false), (2, true)]);
    }

    #[test]
    fn another_request_under_the_key_says_nothing_about_the_one_that_runs() {
        let duplicate = Answer::Refused {
            to: command(2),
            transaction: Some(transaction()),
            rejection: engine_domain::Rejection::DuplicateKey,
        };
        let outcomes = [(command(1), running(1)), (command(2), duplicate)];
        assert_eq!(told(&outcomes), [(2, false)]);
    }

    #[test]
    fn a_saga_without_a_transaction_answers_its_command() {
        let running = Answer::Running { to: command(1), transaction: None };
        let dry = Answer::Dry { to: command(1), transaction: Some(transaction()), would_refuse: None };
        assert_eq!(told(&[(command(1), running), (command(9), dry)]), [(1, false)]);
    }

    #[test]
    fn who_gives_up_is_forgotten() {
        let waiters = Arc::new(Waiters::default());
        drop(waiters.wait_for(command(1)));
        assert!(waiters.waits().by_command.is_empty());
        let wait = waiters.wait_for(command(1));
        assert!(waiters.waits().settle(command(1), &running(1)).is_empty());
        drop(wait);
        let _second = waiters.wait_for(command(2));
        assert!(waiters.waits().settle(command(2), &running(2)).is_empty());
        assert_eq!(waiters.waits().by_transaction[&transaction()].len(), 1);
    }
}
