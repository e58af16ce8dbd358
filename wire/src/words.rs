//! The closed vocabularies, one meaning per word (`docs/glossary.md`).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// A word that is not in a closed vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of {choices}")]
pub struct UnknownWord {
    /// What was given.
    pub word: String,
    /// What could have been given, separated by `, `.
    pub choices: String,
}

/// Declares a closed vocabulary: an enum whose text form is the same in JSON, metrics, tables and arguments.
macro_rules! vocabulary {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }
        impl $name {
            /// Every word, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word as it is written everywhere.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }
        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word).ok_or_else(|| UnknownWord {
                    word: word.to_owned(),
                    choices: Self::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

vocabulary! {
    /// Which of the two systems: an identity that never changes.
    System {
        /// The service that is being replaced.
        Legacy = "legacy",
        /// The event-sourced ledger that replaces it.
        Engine = "engine",
    }
}

impl System {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            System::Legacy => System::Engine,
            System::Engine => System::Legacy,
        }
    }
}

vocabulary! {
    /// Where the cutover stands.
    Stage {
        /// Requests pass through, nothing is recorded.
        Passthrough = "passthrough",
        /// Exchanges are recorded; legs to the engine are held.
        Capture = "capture",
        /// The engine follows and is compared; the legacy answers everything.
        Shadow = "shadow",
        /// Some buckets are answered by the engine.
        Ramp = "ramp",
        /// The engine answers everything, the legacy follows.
        Engine = "engine",
        /// The legacy no longer follows: there is no way back.
        Complete = "complete",
    }
}

vocabulary! {
    /// How a leg is to be executed (`X-Crossfade-Mode`).
    Mode {
        /// Rules apply, side effects go out.
        Authority = "authority",
        /// Rules apply, no side effects; a refusal for a reason of state does not consume the key.
        Shadow = "shadow",
        /// The authority refused: decided dry, the authority's refusal is kept under the key.
        ShadowRefused = "shadow-refused",
        /// Booked whatever the limits say; the answer names the refusal it would have been.
        Forced = "forced",
        /// Applied without rules, with original ids and times.
        Import = "import",
    }
}

vocabulary! {
    /// What a leg's result means for the ledger.
    Class {
        /// It had its effect.
        Applied = "applied",
        /// It was decided, and refused by a rule.
        Refused = "refused",
        /// It certainly had no effect and was not decided.
        NotExecuted = "not-executed",
        /// Nobody knows yet.
        Unknown = "unknown",
    }
}

vocabulary! {
    /// What a dual-written request does.
    Operation {
        /// EXTERNAL or SYSTEM → USER.
        Topup = "topup",
        /// USER → EXTERNAL or SYSTEM.
        Withdraw = "withdraw",
        /// USER → any.
        Transfer = "transfer",
        /// Back along an earlier transaction.
        Refund = "refund",
        /// A new account.
        CreateAccount = "create-account",
        /// Status or limits of an account.
        ChangeAccount = "change-account",
    }
}

vocabulary! {
    /// The shape of a verdict; see [`crate::control::Verdict`] for the whole.
    VerdictKind {
        /// Both systems did the same.
        Match = "match",
        /// The same after the order was settled; no drift.
        Order = "order",
        /// A root: somebody has to settle it.
        Mismatch = "mismatch",
        /// Fully explained by open roots.
        Carried = "carried",
        /// Hidden by a rule that has not expired.
        Ignored = "ignored",
        /// By rule there is no shadow leg.
        Single = "single",
        /// A leg's effect is not known yet.
        Unknown = "unknown",
        /// No record of a leg.
        Missing = "missing",
        /// A record of a leg cannot be read.
        Unreadable = "unreadable",
        /// Not judged yet: the shadow leg is on its way, or an inquiry runs.
        Open = "open",
    }
}

vocabulary! {
    /// Why there is no shadow leg.
    Single {
        /// The authority refused, and the shadow has no form of a refusal.
        Refused = "refused",
        /// The authority did not execute it.
        NotExecuted = "not-executed",
        /// A repeat of an exchange already recorded.
        Repeat = "repeat",
    }
}

vocabulary! {
    /// Why a root discrepancy is one.
    Cause {
        /// Applied here, refused there.
        Status = "status",
        /// Refused for different reasons.
        ErrorCode = "error-code",
        /// Different amounts moved.
        Amount = "amount",
        /// Different currencies.
        Currency = "currency",
        /// Different accounts.
        Account = "account",
        /// The source stands at different levels.
        SourceBalance = "source-balance",
        /// The destination stands at different levels.
        DestinationBalance = "destination-balance",
        /// Another compared field differs.
        Field = "field",
        /// The shadow had to be forced.
        Forced = "forced",
        /// One key, two effects in one system.
        Double = "double",
        /// Answered as applied, but without effect in one system.
        Lost = "lost",
        /// An effect that never passed the front.
        Bypass = "bypass",
        /// A refusal while a credit from the other cohort was on its way.
        CrossCohort = "cross-cohort",
    }
}

vocabulary! {
    /// What a token may do; each includes the ones before it, `service` stands apart.
    Permission {
        /// Look.
        Viewer = "viewer",
        /// Move the dial within its gates, run reconciliations, settle.
        Operator = "operator",
        /// Force, repair, approve.
        Approver = "approver",
        /// A part of Crossfade itself.
        Service = "service",
    }
}

/// The codes of refusals that may be a matter of order: a shadow leg refused for one of them is offered again.
pub const REASONS_OF_STATE: [&str; 9] = [
    "AccountNotFound",
    "AccountFrozen",
    "AccountClosed",
    "InsufficientBalance",
    "BalanceLimitExceeded",
    "BalanceOverflow",
    "OriginalNotFound",
    "NotRefundable",
    "RefundExceedsOriginal",
];

/// The codes of all refusals: a 404, 409 or 422 with one of them is [`Class::Refused`].
pub const REFUSAL_CODES: [&str; 21] = [
    "AccountNotFound",
    "OriginalNotFound",
    "AccountExists",
    "InvalidAmount",
    "SameAccount",
    "DuplicateKey",
    "AccountTypeNotAllowed",
    "AccountFrozen",
    "AccountClosed",
    "CurrencyMismatch",
    "InsufficientBalance",
    "BalanceLimitExceeded",
    "BalanceOverflow",
    "NotRefundable",
    "RefundExceedsOriginal",
    "InvalidLimits",
    "LimitsFixed",
    "AccountNotEmpty",
    "OpenSteps",
    "AuthorizationExpired",
    "CaptureExceedsAuthorization",
];

impl Class {
    /// Classifies a whole answer by its status and problem code (table "Classification of a result").
    pub fn of(status: u16, code: Option<&str>) -> Self {
        match status {
            202 => Class::Unknown,
            200..=299 => Class::Applied,
            404 | 409 | 422 if code.is_some_and(|code| REFUSAL_CODES.contains(&code)) => Class::Refused,
            400 | 401 | 403 | 405 | 413 | 415 | 429 | 431 => Class::NotExecuted,
            _ => Class::Unknown,
        }
    }
}
