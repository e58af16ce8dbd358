//! Why a request is refused: a closed set, in order of precedence within each step.

use std::fmt;

/// A rule that refuses. The order is that of precedence: request, then account, then money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// Source and destination are the same.
    SameAccount,
    /// The key stands for something else.
    DuplicateKey,
    /// No transaction of that id.
    OriginalNotFound,
    /// The original did not complete, or is itself a refund.
    NotRefundable,
    /// More than is left of the original.
    RefundExceedsOriginal,
    /// An account of that id is there.
    AccountExists,
    /// No account of that id.
    AccountNotFound,
    /// The operation does not go from or to accounts of that type.
    AccountTypeNotAllowed,
    /// The account is frozen.
    AccountFrozen,
    /// The account is closed.
    AccountClosed,
    /// The account is kept in another currency.
    CurrencyMismatch,
    /// What is available does not suffice.
    InsufficientBalance,
    /// The balance would rise above its limit.
    BalanceLimitExceeded,
    /// The balance would have more digits than can be kept.
    BalanceOverflow,
    /// The limits contradict each other or the type of the account.
    InvalidLimits,
    /// A shared account cannot become a limited one, nor the reverse.
    LimitsFixed,
    /// Only an empty account can be closed.
    AccountNotEmpty,
    /// Steps on this account are under way.
    OpenSteps,
}

impl Rejection {
    /// All of them, in order of precedence.
    pub const ALL: [Rejection; 18] = [
        Rejection::SameAccount,
        Rejection::DuplicateKey,
        Rejection::OriginalNotFound,
        Rejection::NotRefundable,
        Rejection::RefundExceedsOriginal,
        Rejection::AccountExists,
        Rejection::AccountNotFound,
        Rejection::AccountTypeNotAllowed,
        Rejection::AccountFrozen,
        Rejection::AccountClosed,
        Rejection::CurrencyMismatch,
        Rejection::InsufficientBalance,
        Rejection::BalanceLimitExceeded,
        Rejection::BalanceOverflow,
        Rejection::InvalidLimits,
        Rejection::LimitsFixed,
        Rejection::AccountNotEmpty,
        Rejection::OpenSteps,
    ];

    /// The code, as clients see it.
    pub const fn code(self) -> &'static str {
        match self {
            Rejection::SameAccount => "SameAccount",
            Rejection::DuplicateKey => "DuplicateKey",
            Rejection::OriginalNotFound => "OriginalNotFound",
            Rejection::NotRefundable => "NotRefundable",
            Rejection::RefundExceedsOriginal => "RefundExceedsOriginal",
            Rejection::AccountExists => "AccountExists",
            Rejection::AccountNotFound => "AccountNotFound",
            Rejection::AccountTypeNotAllowed => "AccountTypeNotAllowed",
            Rejection::AccountFrozen => "AccountFrozen",
            Rejection::AccountClosed => "AccountClosed",
            Rejection::CurrencyMismatch => "CurrencyMismatch",
            Rejection::InsufficientBalance => "InsufficientBalance",
            Rejection::BalanceLimitExceeded => "BalanceLimitExceeded",
            Rejection::BalanceOverflow => "BalanceOverflow",
            Rejection::InvalidLimits => "InvalidLimits",
            Rejection::LimitsFixed => "LimitsFixed",
            Rejection::AccountNotEmpty => "AccountNotEmpty",
            Rejection::OpenSteps => "OpenSteps",
        }
    }

    /// The rejection of that code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rejection| rejection.code() == code)
    }

    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Rejection::AccountNotFound | Rejection::OriginalNotFound => 404,
            Rejection::AccountExists => 409,
            _ => 422,
        }
    }

    /// One sentence for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Rejection::SameAccount => "source and destination are the same account",
            Rejection::DuplicateKey => "the idempotency key was used for a different request",
            Rejection::OriginalNotFound => "there is no such transaction",
            Rejection::NotRefundable => "the transaction did not complete, or is itself a refund",
            Rejection::RefundExceedsOriginal => "more than is left to be refunded",
            Rejection::AccountExists => "an account with this id exists",
            Rejection::AccountNotFound => "there is no such account",
            Rejection::AccountTypeNotAllowed => "this operation is not allowed for an account of this type",
            Rejection::AccountFrozen => "the account is frozen",
            Rejection::AccountClosed => "the account is closed",
            Rejection::CurrencyMismatch => "the account is kept in another currency",
            Rejection::InsufficientBalance => "the available balance does not suffice",
            Rejection::BalanceLimitExceeded => "the balance would rise above its limit",
            Rejection::BalanceOverflow => "the balance would have too many digits",
            Rejection::InvalidLimits => "the limits contradict each other or the type of the account",
            Rejection::LimitsFixed => "whether this account has limits cannot change",
            Rejection::AccountNotEmpty => "only an empty account can be closed",
            Rejection::OpenSteps => "steps on this account are under way",
        }
    }

    /// Whether it may be a matter of order: a shadow leg that is refused for it keeps its key free and is offered
    /// again later.
    pub const fn is_reason_of_state(self) -> bool {
        matches!(
            self,
            Rejection::AccountNotFound
                | Rejection::AccountFrozen
                | Rejection::AccountClosed
                | Rejection::InsufficientBalance
                | Rejection::BalanceLimitExceeded
                | Rejection::BalanceOverflow
                | Rejection::OriginalNotFound
                | Rejection::NotRefundable
                | Rejection::RefundExceedsOriginal
        )
    }

    /// Whether a forced leg is booked in spite of it: for any reason of state, except that nothing can be booked on
    /// what is not there.
    pub const fn can_be_forced(self) -> bool {
        self.is_reason_of_state() && !matches!(self, Rejection::AccountNotFound | Rejection::OriginalNotFound)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}
