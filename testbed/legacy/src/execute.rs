//! Executes requests one after the other, each in one durable transaction of the store, faults included.

use crate::Config;
use crate::case::Case;
use crate::faults::FaultSwitch;
use crate::ids::Ids;
use crate::money::Money;
use crate::refusal::{Code, Problem};
use crate::request::{AccountChange, Content, NewAccount, Transaction};
use crate::rules;
use crate::shapes::{Account, AccountStatus, AccountType, AccountView, FaultEntry, FaultKind, Side};
use crate::stale::Stale;
use crate::store::{Booked, Error, Kept, Scope, Store, Writing};
use bytes::Bytes;
use std::sync::Arc;

/// A request that changes something.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) correlation_id: String,
    pub(crate) command: Command,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// A transaction.
    Transaction { key: String, transaction: Transaction },
    /// A new account; without a key, none is remembered.
    Account { key: Option<String>, account: NewAccount },
    /// A change of an account.
    Change { account_id: String, change: AccountChange },
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// Whether it repeats an earlier answer.
    pub(crate) replayed: bool,
}

/// What to do about a request that was executed, or on purpose was not.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Answer.
    Answer(Answer),
    /// Answer later.
    Slow(Answer),
    /// Say nothing.
    Hang,
    /// Answer 500.
    Fail,
    /// Close the connection.
    Drop,
    /// Answer 503: nothing was written.
    Unavailable,
}

/// The one who executes. There is one per store.
pub(crate) struct Executor<'a> {
    store: Box<dyn Store + 'a>,
    faults: Arc<FaultSwitch>,
    stale: Arc<Stale>,
    habits: Habits,
    decided: Decided,
    /// The request that is put off, if there is one: there is one at most.
    put_off: Option<PutOff>,
}

/// A request that was drawn to be overtaken. Nothing was written of it: if its key is used meanwhile, it comes late.
struct PutOff {
    account: String,
    /// Whether any request was executed since.
    overtaken: bool,
    /// Whether one of the same deciding account was.
    due: bool,
}

/// When a request is executed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// As it arrives.
    InOrder,
    /// After it was put off.
    Late { overtaken: bool },
}

/// What the configuration says about keys and ids.
#[derive(Clone, Copy)]
struct Habits {
    deduplicates: bool,
    refusal_keeps_key: bool,
    ids: Ids,
}

/// When the newest transaction was decided, in microseconds since 1970. Times of decisions never go back, so that the
/// list of all transactions is in order of time.
struct Decided(i64);

impl Decided {
    fn next(&mut self) -> i64 {
        self.0 = self.0.max(host::clock::unix_micros());
        self.0
    }
}

impl<'a> Executor<'a> {
    /// `last_decided` is when the newest transaction in the store was decided.
    pub(crate) fn new(
        store: Box<dyn Store + 'a>,
        last_decided: i64,
        faults: Arc<FaultSwitch>,
        stale: Arc<Stale>,
        config: &Config,
    ) -> Self {
        let Config { deduplicates, refusal_keeps_key, ids, .. } = *config;
        // Where a key means nothing, there is nothing to keep a refusal for.
        let habits = Habits { deduplicates, refusal_keeps_key: refusal_keeps_key && deduplicates, ids };
        Self { store, faults, stale, habits, decided: Decided(last_decided), put_off: None }
    }

    /// Executes a request; `None` when it is to be put off, to be given to [`Executor::execute_late`] then.
    pub(crate) fn execute(&mut self, asked: &Asked) -> Result<Option<Reply>, Error> {
        self.execute_in(Turn::InOrder, asked)
    }

    /// Whether what is put off was overtaken by a request of the same deciding account, and is to be executed now.
    pub(crate) fn put_off_is_due(&self) -> bool {
        self.put_off.as_ref().is_some_and(|put_off| put_off.due)
    }

    /// Executes the request that was put off. Only if another one was executed before it, a fault was made.
    pub(crate) fn execute_late(&mut self, asked: &Asked) -> Result<Option<Reply>, Error> {
        let overtaken = self.put_off.take().is_some_and(|put_off| put_off.overtaken);
        self.execute_in(Turn::Late { overtaken }, asked)
    }

    fn execute_in(&mut self, turn: Turn, asked: &Asked) -> Result<Option<Reply>, Error> {
        let answer = match &asked.command {
            Command::Transaction { key, transaction } => return self.transaction(turn, asked, key, transaction),
            Command::Account { key, account } => self.account(asked, key.as_deref(), account)?,
            Command::Change { account_id, change } => self.change(asked, account_id, change)?,
        };
        Ok(Some(Reply::Answer(answer)))
    }

    fn account(&mut self, asked: &Asked, key: Option<&str>, new: &NewAccount) -> Result<Answer, Error> {
        let refuse = |code| problem(Problem::refused(code), asked);
        let mut writing = self.store.begin()?;
        let key = key.filter(|_| self.habits.deduplicates);
        let scope = key.map(|key| Scope { tenant: &asked.tenant, account: &new.account_id, key });
        let content = Content::Account(new.clone());
        if let Some(kept) = scope.map(|scope| writing.kept(scope)).transpose()?.flatten() {
            return if kept.content == content { Ok(replay(kept)) } else { refuse(Code::DuplicateKey) };
        }
        if rules::is_reserved(&new.account_id) || writing.account(&new.account_id)?.is_some() {
            return refuse(Code::AccountExists);
        }
        if let Err(code) = rules::check_limits(new.account_type, new.min_balance, new.max_balance) {
            return refuse(code);
        }
        let account = Account {
            account_id: new.account_id.clone(),
            owner_id: new.owner_id.clone(),
            owner_type: new.owner_type.clone(),
            account_type: new.account_type,
            currency: new.currency.clone(),
            status: AccountStatus::Active,
            min_balance: new.min_balance,
            max_balance: new.max_balance,
            balance: Money::ZERO,
            version: 1,
            metadata: new.metadata.clone(),
            created_at: host::clock::unix_micros(),
        };
        let body = serde_json::to_string(&AccountView::of(&account))?;
        writing.put_account(&account)?;
        if let Some(scope) = scope {
            writing.put_kept(scope, &Kept { content, status: 201, body: body.clone(), transaction_id: None })?;
        }
        writing.commit()?;
        Ok(Answer { status: 201, body: body.into(), replayed: false })
    }

    fn change(&mut self, asked: &Asked, id: &str, change: &AccountChange) -> Result<Answer, Error> {
        let mut writing = self.store.begin()?;
        let account = writing.account(id)?;
        let changed = account.ok_or(Code::AccountNotFound).and_then(|account| rules::change(&account, change));
        match changed {
            Err(code) => problem(Problem::refused(code), asked),
            Ok(account) => {
                writing.put_account(&account)?;
                self.stale.change([id], None);
                writing.commit()?;
                self.executed(id);
                let body = serde_json::to_vec(&AccountView::of(&account))?;
                Ok(Answer { status: 200, body: body.into(), replayed: false })
            }
        }
    }

    fn transaction(
        &mut self,
        turn: Turn,
        asked: &Asked,
        key: &str,
        transaction: &Transaction,
    ) -> Result<Option<Reply>, Error> {
        let mut writing = self.store.begin()?;
        let case = Case::of(&mut *writing, transaction, self.habits.ids)?;
        let scope = Scope { tenant: &asked.tenant, account: &case.deciding, key };
        // Without deduplication the first transaction that was applied keeps the key: `status` shows that one.
        let takes_key = match writing.kept(scope)? {
            Some(kept) if self.habits.deduplicates => {
                let answer = known(asked, &case, scope, kept, &mut self.decided)?;
                return Ok(Some(Reply::Answer(answer)));
            }
            kept => kept.is_none_or(|kept| !kept.is_applied()),
        };
        let decision = case.decide();
        let fault = match turn {
            Turn::Late { overtaken } => overtaken.then_some(FaultKind::Reorder),
            Turn::InOrder => self.faults.draw().filter(|fault| makes_sense(*fault, &decision, self.put_off.is_some())),
        };
        if (turn, fault) == (Turn::InOrder, Some(FaultKind::Reorder)) {
            self.put_off = Some(PutOff { account: case.deciding, overtaken: false, due: false });
            return Ok(None);
        }
        if !self.habits.deduplicates {
            writing.count_execution(scope)?;
        }
        if let Some((fault, reply)) = fault.and_then(|fault| Some((fault, instead_of_execution(fault)?))) {
            writing.put_fault(&fault_entry(fault, scope, None))?;
            writing.commit()?;
            return Ok(Some(reply));
        }
        let execution =
            Execution { asked, case: &case, scope, takes_key, now: self.decided.next(), habits: self.habits };
        let (id, answer) = match decision {
            Ok(amount) => execution.apply(&mut *writing, amount, fault)?,
            Err(code) => execution.refuse(&mut *writing, code)?,
        };
        if let Some(fault) = fault {
            writing.put_fault(&fault_entry(fault, scope, id))?;
        }
        if decision.is_ok() && fault != Some(FaultKind::LostWrite) {
            let before = case.deciding_account().filter(|_| fault == Some(FaultKind::StaleBalance));
            self.stale.change([case.source.id.as_str(), &case.destination.id], before);
        }
        writing.commit()?;
        self.executed(&case.deciding);
        Ok(Some(told(fault, answer)))
    }

    /// Something was executed that this account decides on.
    fn executed(&mut self, deciding: &str) {
        if let Some(put_off) = &mut self.put_off {
            put_off.overtaken = true;
            put_off.due |= put_off.account == deciding;
        }
    }
}

/// A key that is known: the same answer again, or a refusal of the other content. Nothing is written.
fn known(asked: &Asked, case: &Case<'_>, scope: Scope<'_>, kept: Kept, decided: &mut Decided) -> Result<Answer, Error> {
    if matches!(&kept.content, Content::Transaction(known) if known == case.transaction) {
        return Ok(replay(kept));
    }
    let code = case.same_account().unwrap_or(Code::DuplicateKey);
    let id = kept.transaction_id.unwrap_or_default();
    let result = case.refused(id, scope.key, code, &asked.correlation_id, decided.next());
    problem(Problem::refused(code).with_result(result), asked)
}

/// A request that is executed, whether it is applied or refused.
struct Execution<'e> {
    asked: &'e Asked,
    case: &'e Case<'e>,
    scope: Scope<'e>,
    /// Whether the key is kept for it once it is applied.
    takes_key: bool,
    now: i64,
    habits: Habits,
}

impl Execution<'_> {
    /// Books a transaction that no rule refuses; gives its id and the answer.
    fn apply(
        &self,
        writing: &mut dyn Writing,
        amount: Money,
        fault: Option<FaultKind>,
    ) -> Result<(Option<String>, Answer), Error> {
        let case = self.case;
        let (debit, credit) = case.movements(amount, fault);
        let (mut source, mut destination) = (case.source.account.clone(), case.destination.account.clone());
        let times = if fault == Some(FaultKind::DoubleApply) { 2 } else { 1 };
        let mut shown = None;
        for _ in 0..times {
            let sequence = writing.next_sequences(1)?;
            let id = self.habits.ids.id(sequence);
            let mut result = case.result(id, self.scope.key, &self.asked.correlation_id, self.now);
            result.amount = amount;
            result.source = book(&mut source, &case.source.id, debit);
            result.destination = book(&mut destination, &case.destination.id, credit);
            if fault != Some(FaultKind::LostWrite) {
                writing.put_transaction(sequence, &result, case.known())?;
            }
            shown.get_or_insert(result);
        }
        if fault != Some(FaultKind::LostWrite) {
            for account in [source, destination].iter().flatten() {
                writing.put_account(account)?;
            }
        }
        // What was refunded belongs to the original, not to the effect: the faults leave it alone, so that later
        // refunds of it are decided as if nothing had happened.
        if let Some((sequence, original)) = &case.original {
            writing.put_refunded(*sequence, &Booked { refunded: original.refunded + amount, ..original.clone() })?;
        }
        let result = shown.expect("at least one result was made");
        let answer = Answer { status: 200, body: serde_json::to_vec(&result)?.into(), replayed: false };
        let transaction_id = Some(result.transaction_id);
        if self.takes_key {
            self.keep(writing, &answer, &transaction_id)?;
        }
        Ok((transaction_id, answer))
    }

    /// Books a refusal, if refusals keep their keys; gives the id that was told, and the answer.
    fn refuse(&self, writing: &mut dyn Writing, code: Code) -> Result<(Option<String>, Answer), Error> {
        let sequence = writing.next_sequences(1)?;
        let id = self.habits.ids.id(sequence);
        let result = self.case.refused(id, self.scope.key, code, &self.asked.correlation_id, self.now);
        let transaction_id = Some(result.transaction_id.clone());
        let answer = problem(Problem::refused(code).with_result(result.clone()), self.asked)?;
        if self.habits.refusal_keeps_key {
            writing.put_transaction(sequence, &result, self.case.known())?;
            self.keep(writing, &answer, &transaction_id)?;
        }
        Ok((transaction_id, answer))
    }

    /// Keeps the key with the answer.
    fn keep(&self, writing: &mut dyn Writing, answer: &Answer, transaction_id: &Option<String>) -> Result<(), Error> {
        let content = Content::Transaction(self.case.transaction.clone());
        let (status, body) = (answer.status, String::from_utf8_lossy(&answer.body).into_owned());
        writing.put_kept(self.scope, &Kept { content, status, body, transaction_id: transaction_id.clone() })
    }
}

/// Moves money on one account, and gives the side that shows it.
fn book(account: &mut Option<Account>, id: &str, movement: Money) -> Side {
    let mut side = Side { movement, ..Side::unmoved(id) };
    if let Some(account) = account {
        let before = account.balance;
        account.balance = before + movement;
        account.version += 1;
        if account.account_type == AccountType::User {
            side.balance_before = Some(before);
            side.balance_after = Some(account.balance);
            side.version = Some(account.version);
        }
    }
    side
}

/// Whether a fault can be made of this decision: the ones that falsify an effect need one, a fee a fee's worth, and
/// rounding something to round that does not come to nothing; and one request at a time is put off.
fn makes_sense(fault: FaultKind, decision: &Result<Money, Code>, one_is_put_off: bool) -> bool {
    match fault {
        FaultKind::WrongFee => decision.is_ok_and(|amount| amount > Money::CENT),
        FaultKind::Rounding => {
            decision.is_ok_and(|amount| amount.rounded() != amount && amount.rounded() != Money::ZERO)
        }
        FaultKind::LostWrite | FaultKind::DoubleApply | FaultKind::StaleBalance => decision.is_ok(),
        FaultKind::Reorder => !one_is_put_off,
        FaultKind::Slow
        | FaultKind::HangBefore
        | FaultKind::HangAfter
        | FaultKind::FailBefore
        | FaultKind::FailAfter
        | FaultKind::DropBefore
        | FaultKind::DropAfter => true,
    }
}

/// What a fault does in place of the execution, if it is one that does.
fn instead_of_execution(fault: FaultKind) -> Option<Reply> {
    match fault {
        FaultKind::HangBefore => Some(Reply::Hang),
        FaultKind::FailBefore => Some(Reply::Fail),
        FaultKind::DropBefore => Some(Reply::Drop),
        _ => None,
    }
}

/// What the client is told of what was executed.
fn told(fault: Option<FaultKind>, answer: Answer) -> Reply {
    match fault {
        Some(FaultKind::HangAfter) => Reply::Hang,
        Some(FaultKind::FailAfter) => Reply::Fail,
        Some(FaultKind::DropAfter) => Reply::Drop,
        Some(FaultKind::Slow) => Reply::Slow(answer),
        _ => Reply::Answer(answer),
    }
}

fn fault_entry(kind: FaultKind, scope: Scope<'_>, transaction_id: Option<String>) -> FaultEntry {
    let (key, account, tenant) = (scope.key.to_owned(), scope.account.to_owned(), scope.tenant.to_owned());
    FaultEntry { key, kind, account, tenant, transaction_id }
}

fn replay(kept: Kept) -> Answer {
    Answer { status: kept.status, body: kept.body.into(), replayed: true }
}

fn problem(problem: Problem, asked: &Asked) -> Result<Answer, Error> {
    let problem = problem.correlated(&asked.correlation_id);
    Ok(Answer { status: problem.status(), body: serde_json::to_vec(&problem)?.into(), replayed: false })
}
