//! JSON of the control API (CONTRACT), between the comparator and the command line, the console, other programs.

use crate::decision::{Offset, Reconciliation};
use crate::scalar::{Money, Timestamp};
use crate::words::{Cause, Class, Operation, Single, Stage, System, VerdictKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod dial;
mod front;

pub use dial::{
    CrossCohort, CrossCohortMoney, Effective, EffectiveMoney, PinAccount, RolloutChange, RolloutHistory, RolloutView,
    SetRollout,
};
pub use front::{FrontOverride, FrontView, OverrideView};

/// What the comparator says of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Its shape.
    pub verdict: VerdictKind,
    /// Of a mismatch: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Of a carried difference: the discrepancies that explain it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<String>,
    /// Of a single exchange: why there is no shadow leg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single: Option<Single>,
    /// Of an ignored difference: the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Of unknown, missing, unreadable: the system whose leg it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
}

impl Verdict {
    /// A verdict that needs nothing but its shape.
    pub fn of(verdict: VerdictKind) -> Self {
        Self { verdict, cause: None, roots: Vec::new(), single: None, rule: None, system: None }
    }
}

/// One leg of an exchange, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LegView {
    /// The system.
    pub system: System,
    /// `authority`, or the mode of the shadow leg.
    pub mode: String,
    /// What it means.
    pub class: Class,
    /// The status; 0 when there was no whole answer.
    pub status: u16,
    /// The body, cut to the configured fields.
    pub body: serde_json::Value,
    /// How long it took.
    pub duration_micros: u64,
    /// How often it was offered.
    pub attempts: u32,
    /// Whether it was unknown at first, and was found out by asking or by repeating it.
    pub was_unknown: bool,
}

/// A field in which the two systems differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceView {
    /// JSON pointer into the normalised result.
    pub field: String,
    /// What the legacy has.
    pub legacy: String,
    /// What the engine has.
    pub engine: String,
}

/// An exchange with both its legs and the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeView {
    /// Its number.
    pub id: String,
    /// When the front wrote the intent.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The route.
    pub route: String,
    /// What it does.
    pub operation: Operation,
    /// The deciding account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whose answer the client had.
    pub authority: System,
    /// The stage then.
    pub stage: Stage,
    /// The rollout version then.
    pub rollout_version: u64,
    /// What the comparator says.
    pub verdict: Verdict,
    /// Where the systems differ.
    pub differences: Vec<DifferenceView>,
    /// The legs known so far, the authority's first. Left out of lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<LegView>,
}

/// A page of exchanges, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExchangePage {
    /// The exchanges.
    pub exchanges: Vec<ExchangeView>,
    /// Pass it as `before` for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A root that somebody has to settle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Discrepancy {
    /// The root exchange's number, or `account@mark`.
    pub id: String,
    /// Why it is one.
    pub cause: Cause,
    /// `open` or `settled`.
    pub status: String,
    /// When it came to light.
    #[schema(value_type = String)]
    pub found_at: Timestamp,
    /// The idempotency key of the root exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The system that is wrong as far as can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// Legacy less engine, per account, with what carried exchanges added.
    pub offsets: Vec<Offset>,
    /// How many exchanges it explains.
    pub carried: u64,
    /// What differs, in words.
    pub detail: String,
    /// Who settled it and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settlement>,
}

/// Who settled a discrepancy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// The name of the token.
    pub actor: String,
    /// The reason given.
    pub reason: String,
    /// When.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// A page of discrepancies, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscrepancyPage {
    /// The discrepancies.
    pub discrepancies: Vec<Discrepancy>,
    /// Gaps that nobody has settled, where open discrepancies of every kind were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Exchanges of which nobody knows yet what a system did, oldest first, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknowns: Vec<UnknownEffect>,
}

/// An exchange of which nobody knows yet what a system did with it. The relay goes on asking; a person who has found it
/// out some other way can say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnknownEffect {
    /// The exchange's number.
    pub id: String,
    /// The system.
    pub system: System,
    /// Whether the client was waiting for that system's answer.
    pub is_authority: bool,
    /// The route.
    pub route: String,
    /// The deciding account, whose shadow legs wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When the front wrote the intent.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What a person has said, until the relay has taken it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<Settlement>,
}

/// Exchanges of which there is no record; settled like a discrepancy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// `gap:` and the number of the record at which it was noticed.
    pub id: String,
    /// `open` or `settled`.
    pub status: String,
    /// Exchanges or records missing; 1 for an unclean boot.
    pub exchanges: u64,
    /// What happened, in words.
    pub what: String,
    /// When the log had it.
    #[schema(value_type = String)]
    pub at: Timestamp,
}

/// A discrepancy or a gap after a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscrepancyChanged {
    /// What was changed.
    #[serde(flatten)]
    pub subject: Subject,
    /// What can be done next.
    pub next_steps: Vec<String>,
}

/// What can be settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Subject {
    /// A discrepancy.
    Discrepancy(Box<Discrepancy>),
    /// An unknown effect.
    Unknown(UnknownEffect),
    /// A gap: it has no offsets, because nobody knows what is missing.
    Gap(Gap),
}

/// What became of an exchange, by the word of a person who has found it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// It had its effect.
    Applied,
    /// It had none, and will have none: refused, or never executed.
    NotExecuted,
}

/// A match rate over a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchRate {
    /// The route, or `total`.
    pub route: String,
    /// `1m`, `1h`, `step` (since the dial last moved) or `all`.
    pub window: String,
    /// Exchanges that count: those with two legs, refusals included, retries once.
    pub exchanges: u64,
    /// Matches without help, per exchange; 1 when there is none yet.
    pub raw: f64,
    /// Matches with `order` and ignored ones, per exchange; 1 when there is none yet.
    pub adjusted: f64,
}

/// How many exchanges have which verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictCount {
    /// The verdict.
    pub verdict: VerdictKind,
    /// Its cause, reason or system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many.
    pub exchanges: u64,
}

/// Everything a migration team looks at, on one page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The ledger.
    pub ledger: String,
    /// Whether the comparator has caught up with the log since it started.
    pub caught_up: bool,
    /// Exchanges recorded.
    pub exchanges: u64,
    /// Exchanges not judged yet.
    pub open: u64,
    /// Counts by verdict.
    pub verdicts: Vec<VerdictCount>,
    /// Match rates by route and window.
    pub rates: Vec<MatchRate>,
    /// Open discrepancies.
    pub discrepancies_open: u64,
    /// Exchanges with an unresolved unknown leg.
    pub unknown: u64,
    /// Exchanges that went on without a record, holes and unclean boots, as far as nobody settled them.
    pub gaps: u64,
    /// Exchanges served by the old authority's successor before the handover was finished.
    pub overtaken: u64,
    /// Exchanges between accounts of different cohorts.
    pub cross_cohort: u64,
    /// Level comparisons put off to the account's next quiet point.
    pub levels_deferred: u64,
    /// Sum of the absolute offsets of USER accounts that open discrepancies explain, per currency.
    pub money_at_variance: Vec<MoneyAtVariance>,
    /// Where the dial stands.
    pub rollout: RolloutView,
    /// The fronts.
    pub fronts: Vec<FrontView>,
    /// The last reconciliation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reconciliation: Option<Reconciliation>,
}

/// Money at variance in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoneyAtVariance {
    /// The currency.
    pub currency: String,
    /// Sum of absolute differences.
    #[schema(value_type = String)]
    pub amount: Money,
}

/// A change that takes nothing but its reason: rollback, freeze, unfreeze, reopen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    /// Why.
    pub reason: String,
}

/// `POST /api/discrepancies/{id}/settle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settle {
    /// Why.
    pub reason: String,
    /// Of an unknown effect, and of nothing else: what became of it.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub told: Option<Told>,
}

/// `POST /api/reconciliations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunReconciliation {
    /// Why.
    pub reason: String,
}

/// All reconciliations, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReconciliationPage {
    /// The reconciliations.
    pub reconciliations: Vec<Reconciliation>,
}

/// `POST /internal/rollout/prepared`, from a front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prepared {
    /// The version being prepared.
    pub version: u64,
    /// The front.
    pub front: String,
    /// Its boot.
    pub boot: u64,
    /// The last sequence it wrote before.
    pub mark: u64,
    /// Moved accounts with a leg that did not end in time.
    pub unknown_accounts: Vec<String>,
}

/// One event of `GET /api/rollout/stream`, the JSON behind `data:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StreamEvent {
    /// The stored bytes of the next record of the rollout topic, in base64: the reader verifies the chain.
    Record {
        /// Its offset.
        offset: u64,
        /// The stored bytes, in base64.
        bytes: String,
    },
    /// Everything stored so far was sent.
    CaughtUp,
    /// Write a mark with this id into the journal.
    Mark {
        /// The id.
        id: String,
    },
}

/// `POST /internal/aliases` (engine), from the relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostAliases {
    /// The aliases.
    pub aliases: Vec<Alias>,
}

/// `POST /internal/dead-letters/{redrive|drop}` (engine), from an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SettleDeadLetter {
    /// Which one: `topic/partition/offset`.
    pub origin: String,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// The ids of one transaction in the two systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The engine's id.
    pub engine: String,
    /// The legacy's id.
    pub legacy: String,
}

/// `GET /internal/ids/{id}` (relay): what is known of a transaction, by either id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownTransaction {
    /// The engine's id, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The legacy's id, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<String>,
    /// What it was.
    pub operation: Operation,
    /// Where it came from.
    pub source: String,
    /// Where it went.
    pub destination: String,
}

/// One line of `GET /internal/log/{topic}/{partition}` (newline-delimited JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Its offset.
    pub offset: u64,
    /// When the log took it.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The stored bytes, in base64.
    pub bytes: String,
}

impl LogLine {
    /// The line of a record that the log took at `at_micros`.
    pub fn of(offset: u64, at_micros: i64, stored: &[u8]) -> Self {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.encode(stored);
        Self { offset, at: Timestamp(at_micros), bytes }
    }
}
