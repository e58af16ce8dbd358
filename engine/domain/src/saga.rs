//! Sagas: what takes more than one shard, step by step, and back again.
//!
//! The home decides on the next step from what was done so far (`Work::next`); steps at home are done at once, for
//! a step elsewhere the saga waits. There is never more than one step awaited. After a refusal the steps done are
//! undone in reverse; undoing is never refused.
//!
//! | work | steps | undone by |
//! |---|---|---|
//! | topup, withdraw | debit, credit, (release a debit elsewhere) | give back |
//! | transfer | reserve, debit, credit, release what is left | give back, release |
//! | refund | hold, debit, credit | give back, unhold |
//! | shared account: open | open stripe, on every shard | – (cannot be refused) |
//! | shared account: freeze, activate | set stripe, on every shard | – (cannot be refused) |
//! | shared account: close | ask, block, then set stripe, each on every shard | unblock stripe |

use crate::account::Status;
use crate::command::{Command, CreateAccount, Mode};
use crate::event::{AccountKey, Side};
use crate::ids::{AccountId, CommandId, Currency, Position, SagaId, Text, TransactionId};
use crate::money::{Amount, Money};
use crate::rejection::Rejection;
use crate::transaction::Kind;

/// A saga that waits for another shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saga {
    /// Its id: where it began. The shard is its home.
    pub id: SagaId,
    /// Counts its events.
    pub version: u64,
    /// Who asked for it, and how.
    pub request: Request,
    /// What it does.
    pub work: Work,
    /// Accounts of the home that it may still come back to: they cannot be closed meanwhile.
    pub guarded: Vec<AccountId>,
    /// What was done so far, in order, refusals included.
    pub taken: Vec<Taken>,
    /// The one step that it waits for.
    pub awaited: Awaited,
}

/// Who asked for a saga, and how: what its later commands and its answer need of the envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The command that began it.
    pub command: CommandId,
    /// Follows the request everywhere.
    pub correlation_id: Text,
    /// Who asked.
    pub actor: Text,
    /// How it is to be executed.
    pub mode: Mode,
    /// Whether a refusal takes the key.
    pub keeps_refusals: bool,
}

impl Request {
    /// Of a command.
    pub(crate) fn of(command: &Command) -> Self {
        Self {
            command: command.id,
            correlation_id: command.correlation_id.clone(),
            actor: command.actor.clone(),
            mode: command.mode,
            keeps_refusals: command.keeps_refusals,
        }
    }
}

/// What a saga does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Moves money.
    Transaction(Movement),
    /// Makes the stripes of a shared account.
    OpenStripes {
        /// The account.
        account: CreateAccount,
        /// The key it is made under, kept at its home.
        key: Option<AccountKey>,
    },
    /// Changes the status of a shared account.
    SetStripes {
        /// The account.
        account: AccountId,
        /// The status before.
        from: Status,
        /// The status wanted.
        to: Status,
        /// Under force: the rule that was overruled.
        would_refuse: Option<Rejection>,
    },
}

/// A transaction as its home carries it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// Its id.
    pub transaction: TransactionId,
    /// Its kind.
    pub kind: Kind,
    /// The account debited.
    pub source: Place,
    /// The account credited.
    pub destination: Place,
    /// How much; of a refund without an amount it is known once held.
    pub amount: Option<Amount>,
    /// The currency.
    pub currency: Currency,
    /// For a refund: its original.
    pub original: Option<OriginalPlace>,
}

/// The original of a refund, and the shard that remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginalPlace {
    /// The original.
    pub transaction: TransactionId,
    /// Its home.
    pub shard: u32,
}

/// An account and the shard where this transaction meets it. A shared account is met at home, so that most
/// transactions need one shard only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The account.
    pub account: AccountId,
    /// The shard.
    pub shard: u32,
}

/// The step that a saga waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// The shard that does it.
    pub shard: u32,
    /// What it does.
    pub action: Action,
}

/// A step that was done, or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub stage: Stage,
    /// The outcome in which it was.
    pub done_at: Position,
    /// What became of it.
    pub answer: StepAnswer,
}

/// What is done to one account or one original, on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets a part of the original aside, so that it is not refunded twice.
    Hold {
        /// The original.
        original: TransactionId,
        /// The refund.
        refund: TransactionId,
        /// How much; `None` is all that is left.
        amount: Option<Amount>,
    },
    /// Sets money of the source aside.
    Reserve(Posting),
    /// Takes from the source.
    Debit {
        /// What and where.
        posting: Posting,
        /// Whether the money was reserved before: then nothing is checked again.
        reserved: bool,
    },
    /// Gives to the destination.
    Credit(Posting),
    /// Ends what a reservation, or a debit on another shard, kept open.
    Release {
        /// The transaction.
        transaction: TransactionId,
        /// The account.
        account: AccountId,
        /// What is left of the reservation, if there was one.
        left: Option<Money>,
    },
    /// Undoes a debit.
    GiveBack {
        /// What and where.
        posting: Posting,
        /// Whether it goes back to a reservation.
        reserved: bool,
    },
    /// Undoes a hold.
    Unhold {
        /// The original.
        original: TransactionId,
        /// The refund.
        refund: TransactionId,
        /// How much.
        amount: Amount,
    },
    /// Makes a stripe.
    OpenStripe(CreateAccount),
    /// Keeps movements off a stripe and tells its balance.
    BlockStripe(AccountId),
    /// Gives a stripe its new status.
    SetStripe {
        /// The account.
        account: AccountId,
        /// The status.
        status: Status,
    },
    /// Gives a blocked stripe its old status.
    UnblockStripe {
        /// The account.
        account: AccountId,
        /// The status.
        status: Status,
    },
    /// Has a stripe tell its balance, and leaves it as it is: whoever can know that a close will be refused is not to
    /// keep movements off meanwhile.
    AskStripe(AccountId),
}

/// What is posted to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its kind: which types of account it may touch.
    pub kind: Kind,
    /// The account.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
    /// The currency.
    pub currency: Currency,
}

/// The name of an [`Action`]: with its saga it names a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// [`Action::Hold`].
    Hold,
    /// [`Action::Reserve`].
    Reserve,
    /// [`Action::Debit`].
    Debit,
    /// [`Action::Credit`].
    Credit,
    /// [`Action::Release`].
    Release,
    /// [`Action::GiveBack`].
    GiveBack,
    /// [`Action::Unhold`].
    Unhold,
    /// [`Action::OpenStripe`].
    OpenStripe,
    /// [`Action::BlockStripe`].
    BlockStripe,
    /// [`Action::SetStripe`].
    SetStripe,
    /// [`Action::UnblockStripe`].
    UnblockStripe,
    /// [`Action::AskStripe`].
    AskStripe,
}

impl Action {
    /// Its name.
    pub const fn stage(&self) -> Stage {
        match self {
            Action::Hold { .. } => Stage::Hold,
            Action::Reserve(_) => Stage::Reserve,
            Action::Debit { .. } => Stage::Debit,
            Action::Credit(_) => Stage::Credit,
            Action::Release { .. } => Stage::Release,
            Action::GiveBack { .. } => Stage::GiveBack,
            Action::Unhold { .. } => Stage::Unhold,
            Action::OpenStripe(_) => Stage::OpenStripe,
            Action::BlockStripe(_) => Stage::BlockStripe,
            Action::SetStripe { .. } => Stage::SetStripe,
            Action::UnblockStripe { .. } => Stage::UnblockStripe,
            Action::AskStripe(_) => Stage::AskStripe,
        }
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAnswer {
    /// It was done; or, decided dry, it would have been.
    Done,
    /// A rule refused it.
    Refused(Rejection),
    /// A part of an original is set aside.
    Held {
        /// How much.
        amount: Amount,
        /// Whether the original keeps count of it (not so when the rule that there is something to refund was overruled).
        counted: bool,
        /// Under force: the rule that was overruled.
        would_refuse: Option<Rejection>,
    },
    /// Money of the source is set aside.
    Reserved {
        /// Under force: the rule that was overruled.
        would_refuse: Option<Rejection>,
    },
    /// Money moved.
    Moved {
        /// The account before and after.
        side: Side,
        /// Under force: the rule that was overruled.
        would_refuse: Option<Rejection>,
    },
    /// How a stripe stands that was asked, or is blocked.
    Blocked {
        /// Its balance.
        balance: Money,
        /// Whether sagas under way may still come back to it.
        open: bool,
    },
}

impl StepAnswer {
    /// The rule that refused it.
    pub const fn rejection(&self) -> Option<Rejection> {
        match self {
            StepAnswer::Refused(rejection) => Some(*rejection),
            _ => None,
        }
    }

    /// The rule that was overruled.
    pub const fn would_refuse(&self) -> Option<Rejection> {
        match self {
            StepAnswer::Held { would_refuse, .. }
            | StepAnswer::Reserved { would_refuse }
            | StepAnswer::Moved { would_refuse, .. } => *would_refuse,
            StepAnswer::Done | StepAnswer::Refused(_) | StepAnswer::Blocked { .. } => None,
        }
    }
}
