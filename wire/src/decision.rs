//! `cutover.decisions`: what the comparator found out, and what people settled.

use crate::chain::Chained;
use crate::ids::ExchangeNumber;
use crate::scalar::{Digest, Money, Timestamp};
use crate::stored::Stored;
use crate::words::{Cause, System};
use serde::{Deserialize, Serialize};

/// The topic.
pub const TOPIC: &str = "cutover.decisions";

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// The digest of the record before it.
    pub parent: Digest,
    /// When it was written.
    pub at: Timestamp,
    /// Who decided (the name of a token, or `comparator`).
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What.
    pub body: DecisionBody,
}

impl Stored for DecisionRecord {
    const TYPE: u16 = 0x0104;
    /// 2 adds `told`.
    const VERSION: u16 = 2;
    const OLDEST: u16 = 1;
}

impl Chained for DecisionRecord {
    fn parent(&self) -> Digest {
        self.parent
    }
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionBody {
    /// Both systems were asked for the keys on some accounts, because an exchange or a level did not fit.
    Inquired {
        /// The exchange that gave the reason; `None` for a reconciliation.
        exchange: Option<ExchangeNumber>,
        /// The accounts that were looked at.
        accounts: Vec<String>,
        /// What was found; empty when the histories agree.
        findings: Vec<Finding>,
    },
    /// Balances were compared.
    Reconciled(Reconciliation),
    /// A discrepancy or a gap is settled: somebody accepts it.
    Settled {
        /// Its id.
        discrepancy: String,
    },
    /// A settled discrepancy is open again.
    Reopened {
        /// Its id.
        discrepancy: String,
    },
    /// By a person's word, what a system did with an exchange that nobody could find out. The relay takes it up.
    Told {
        /// The exchange.
        exchange: ExchangeNumber,
        /// The system.
        system: System,
        /// Whether it was applied there; else it had no effect, and will have none.
        applied: bool,
    },
}

/// An effect that one system has and the other has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The discrepancy: the exchange's number, or `account@mark` when it belongs to none.
    pub discrepancy: String,
    /// The exchange, if it belongs to one.
    pub exchange: Option<ExchangeNumber>,
    /// What is wrong.
    pub cause: Cause,
    /// The system that is wrong as far as can be seen.
    pub system: System,
    /// What it adds to the offset (legacy less engine) of each account.
    pub offsets: Vec<Offset>,
}

/// A difference between the systems on one account: legacy less engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Offset {
    /// The account.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// Legacy less engine.
    #[schema(value_type = String)]
    pub amount: Money,
}

/// The result of comparing balances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reconciliation {
    /// Its id, also the id of its marks.
    pub id: String,
    /// When it began.
    #[schema(value_type = String)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = String)]
    pub ended_at: Timestamp,
    /// Accounts whose balances were compared.
    pub compared: u64,
    /// Of these, equal.
    pub equal: u64,
    /// Of these, different.
    pub different: u64,
    /// Of the different ones, those whose difference open discrepancies explain exactly.
    pub explained: u64,
    /// Accounts that only the legacy has.
    pub only_legacy: u64,
    /// Accounts that only the engine has, its own internal ones aside.
    pub only_engine: u64,
    /// Accounts with an exchange under way between the marks, or all when a front did not answer.
    pub not_comparable: u64,
    /// Why, when a front did not answer.
    pub not_comparable_because: Option<String>,
    /// Money at variance per currency, over compared USER accounts.
    pub variance: Vec<Variance>,
    /// The differences, at most 1,000.
    pub differences: Vec<BalanceDifference>,
}

/// Money at variance in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Variance {
    /// The currency.
    pub currency: String,
    /// Sum of the absolute differences.
    #[schema(value_type = String)]
    pub total: Money,
    /// The part that no open discrepancy explains.
    #[schema(value_type = String)]
    pub unexplained: Money,
}

/// An account whose balances differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BalanceDifference {
    /// The account.
    pub account: String,
    /// Its currency.
    pub currency: String,
    /// The legacy's balance; `None` where it has no such account.
    #[schema(value_type = Option<String>)]
    pub legacy: Option<Money>,
    /// The engine's balance; `None` where it has no such account.
    #[schema(value_type = Option<String>)]
    pub engine: Option<Money>,
    /// Legacy less engine as open discrepancies explain it.
    #[schema(value_type = String)]
    pub explained: Money,
}
