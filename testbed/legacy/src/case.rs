//! A transaction that is asked for, with all that is known about it: what is decided, what moves, what is told.

use crate::ids::Ids;
use crate::money::Money;
use crate::refusal::Code;
use crate::request::Transaction;
use crate::rules;
use crate::shapes::{Account, AccountType, FaultKind, Kind, Outcome, Side, TransactionResult, rfc3339};
use crate::store::{Booked, Error, Writing};

/// A transaction with the accounts and the original it is about.
pub(crate) struct Case<'a> {
    pub(crate) transaction: &'a Transaction,
    kind: Kind,
    pub(crate) source: Party,
    pub(crate) destination: Party,
    pub(crate) original: Option<(u64, Booked)>,
    /// As asked for; `None` when a refund is to take everything left.
    amount: Option<Money>,
    currency: String,
    pub(crate) deciding: String,
}

/// An account as named, and as it is.
pub(crate) struct Party {
    pub(crate) id: String,
    pub(crate) account: Option<Account>,
}

impl<'a> Case<'a> {
    /// Reads what it is about.
    pub(crate) fn of(writing: &mut dyn Writing, transaction: &'a Transaction, ids: Ids) -> Result<Self, Error> {
        match transaction {
            Transaction::Move(asked) => {
                let [source, destination] = Party::both(writing, [&asked.source, &asked.destination])?;
                Ok(Self {
                    transaction,
                    kind: asked.kind,
                    source,
                    destination,
                    original: None,
                    amount: Some(asked.amount),
                    currency: asked.currency.clone(),
                    deciding: if asked.kind == Kind::Topup { &asked.destination } else { &asked.source }.clone(),
                })
            }
            Transaction::Refund(asked) => {
                let sequence = ids.sequence(&asked.original);
                let original = match sequence {
                    Some(sequence) => writing.transaction(sequence)?.map(|booked| (sequence, booked)),
                    None => None,
                };
                // A refund of nothing names no accounts, so there is nothing to refund of it either.
                let original = original.filter(|(_, booked)| !booked.result.source.account_id.is_empty());
                let [source, destination] = match &original {
                    Some((_, Booked { result, .. })) => {
                        Party::both(writing, [&result.destination.account_id, &result.source.account_id])?
                    }
                    None => [Party::nobody(), Party::nobody()],
                };
                // An account that does not exist counts as limited: nothing says that it may be shared.
                let debited_decides = source.account.as_ref().is_none_or(Account::is_limited);
                let deciding = match &original {
                    None => asked.original.clone(),
                    Some(_) => if debited_decides { &source } else { &destination }.id.clone(),
                };
                let currency = original.as_ref().map(|(_, booked)| booked.result.currency.clone()).unwrap_or_default();
                Ok(Self {
                    transaction,
                    kind: Kind::Refund,
                    source,
                    destination,
                    original,
                    amount: asked.amount,
                    currency,
                    deciding,
                })
            }
        }
    }

    /// Which of source and destination there are.
    pub(crate) fn known(&self) -> [bool; 2] {
        [self.source.account.is_some(), self.destination.account.is_some()]
    }

    /// The deciding account as it is before the execution.
    pub(crate) fn deciding_account(&self) -> Option<&Account> {
        let party = if self.deciding == self.source.id { &self.source } else { &self.destination };
        party.account.as_ref()
    }

    /// The refusal of a request that names one account as source and destination.
    pub(crate) fn same_account(&self) -> Option<Code> {
        let same = matches!(self.transaction, Transaction::Move(asked) if asked.source == asked.destination);
        same.then_some(Code::SameAccount)
    }

    /// The amount that moves, or the first rule that refuses.
    pub(crate) fn decide(&self) -> Result<Money, Code> {
        let (source, destination) = (self.source.account.as_ref(), self.destination.account.as_ref());
        match self.transaction {
            Transaction::Move(asked) => {
                self.same_account().map_or(Ok(()), Err)?;
                rules::check_move(asked.kind, source, destination, asked.amount, &asked.currency)?;
                Ok(asked.amount)
            }
            Transaction::Refund(_) => {
                let original = self.original.as_ref().map(|(_, booked)| (&booked.result, booked.refunded));
                rules::check_refund(original, self.amount, source, destination)
            }
        }
    }

    /// A result with both sides unmoved.
    pub(crate) fn result(&self, id: String, key: &str, correlation_id: &str, now: i64) -> TransactionResult {
        let (reference, metadata, original, reason) = match self.transaction {
            Transaction::Move(asked) => (asked.reference.clone(), asked.metadata.clone(), None, None),
            Transaction::Refund(asked) => (None, None, Some(asked.original.clone()), asked.reason.clone()),
        };
        TransactionResult {
            transaction_id: id,
            tracking_id: key.to_owned(),
            kind: self.kind,
            status: Outcome::Completed,
            amount: self.amount.unwrap_or_default(),
            currency: self.currency.clone(),
            source: Side::unmoved(&self.source.id),
            destination: Side::unmoved(&self.destination.id),
            original_transaction_id: original,
            reference,
            metadata,
            error_code: None,
            reason,
            correlation_id: correlation_id.to_owned(),
            created_at: rfc3339(now),
            completed_at: rfc3339(now),
        }
    }

    /// The same of a refusal.
    pub(crate) fn refused(
        &self,
        id: String,
        key: &str,
        code: Code,
        correlation_id: &str,
        now: i64,
    ) -> TransactionResult {
        let mut result = self.result(id, key, correlation_id, now);
        result.status = Outcome::Failed;
        result.error_code = Some(code);
        result.reason = Some(code.detail().to_owned());
        result
    }

    /// What moves on each side: with a fee charged wrongly, which always hurts a USER account and is nobody's gain, or
    /// rounded on both sides.
    pub(crate) fn movements(&self, amount: Money, fault: Option<FaultKind>) -> (Money, Money) {
        let is_user =
            |party: &Party| party.account.as_ref().is_some_and(|account| account.account_type == AccountType::User);
        let (debit, credit) = (-amount, amount);
        match fault {
            Some(FaultKind::WrongFee) if is_user(&self.source) => (debit - Money::CENT, credit),
            Some(FaultKind::WrongFee) if is_user(&self.destination) => (debit, credit - Money::CENT),
            Some(FaultKind::Rounding) => (-amount.rounded(), amount.rounded()),
            _ => (debit, credit),
        }
    }
}

impl Party {
    fn both(writing: &mut dyn Writing, ids: [&str; 2]) -> Result<[Self; 2], Error> {
        let [one, other] = writing.accounts(ids)?;
        Ok([Self { id: ids[0].to_owned(), account: one }, Self { id: ids[1].to_owned(), account: other }])
    }

    fn nobody() -> Self {
        Self { id: String::new(), account: None }
    }
}
