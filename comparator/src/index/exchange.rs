//! One exchange as the log has told it so far.

use crate::judge::normalize::Leg;
use crate::judge::overlap::Span;
use std::sync::Arc;
use wire::control::{DifferenceView, ExchangeView, LegView, Verdict};
use wire::exchange::Intent;
use wire::ids::ExchangeNumber;
use wire::scalar::{Body, Money, Timestamp};
use wire::words::{Class, Mode, Operation, Single, Stage, System, VerdictKind};

/// An exchange. Its id within the index is the offset of its intent in `cutover.exchanges`.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) number: ExchangeNumber,
    /// The front, as a number of the index's own.
    pub(super) front: u32,
    pub(super) route: Arc<str>,
    pub(super) operation: Operation,
    pub(super) key: Option<String>,
    /// What tells its key apart: tenant, deciding account, key.
    pub(super) scope: Option<u64>,
    pub(super) account: Option<String>,
    /// Every account that the request or a result names.
    pub(super) accounts: Vec<String>,
    /// The earlier transaction it refers to, by the id the client used.
    pub(super) refers_to: Option<String>,
    /// The exchange that made that transaction.
    pub(super) original: Option<u64>,
    /// Of a change of an account: pointers to what was asked for.
    pub(super) requested: Vec<String>,
    pub(super) authority: System,
    pub(super) stage: Stage,
    pub(super) version: u64,
    /// Whether its accounts belonged to different cohorts, and whether a handover of its account was not finished.
    pub(super) cross_cohort: bool,
    pub(super) overtaken: bool,
    /// When the log took the intent, and when the front wrote it.
    pub(super) intent: i64,
    pub(super) intent_at: Timestamp,
    /// Whether the front's boot ended before the result came.
    pub(super) abandoned: bool,
    pub(super) result: Option<Result>,
    /// The offset of the front's record of the result.
    pub(super) recorded: Option<u64>,
    pub(super) shadow: Shadow,
    pub(super) skipped: Option<Single>,
    /// Whether the relay's cursor has passed it without a record of its shadow leg.
    pub(super) missing: bool,
    /// Whether both legs have ended, as far as there are two.
    pub(super) concluded: bool,
    /// The accounts in whose queues it waits to be judged.
    pub(super) queued: Vec<String>,
    pub(super) inquiry: Inquired,
    pub(super) judged: bool,
    pub(super) verdict: Verdict,
    pub(super) differences: Vec<DifferenceView>,
    /// The ids that the systems gave the transaction it made.
    pub(super) transactions: Vec<String>,
    pub(super) effect: Option<Effect>,
    /// Whether the histories have shown that its effect is not what was answered.
    pub(super) found: bool,
    /// Lists of unproven effects in which it stands.
    pub(super) pins: u32,
    /// Whether it is so old that only what stands in those lists is kept.
    pub(super) cut: bool,
}

/// Whether the histories of its accounts were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inquired {
    No,
    Asked,
    Answered,
}

/// What the authority did.
#[derive(Debug)]
pub(super) struct Result {
    pub(super) class: Class,
    pub(super) status: u16,
    pub(super) body: Body,
    pub(super) duration_micros: u64,
    pub(super) replayed: bool,
    /// Whether it was found out afterwards.
    pub(super) resolved: bool,
    /// When the log took it (of an unknown one: what was found out), and when it was written.
    pub(super) log: i64,
    pub(super) at: Timestamp,
    /// What is compared of it, until it is judged.
    pub(super) leg: Option<std::result::Result<Leg, String>>,
}

/// What the relay did with the shadow leg.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    pub(super) mode: Option<Mode>,
    pub(super) attempts: u32,
    /// When the log took the first `sending`, and the last result.
    pub(super) sent: Option<i64>,
    pub(super) last: Option<i64>,
    /// Codes of refusals for a reason of state, of earlier offers or as they would have been.
    pub(super) state_refusals: Vec<String>,
    /// Whether the last thing heard is that nobody knows.
    pub(super) unknown: bool,
    /// Whether that was ever so.
    pub(super) was_unknown: bool,
    pub(super) result: Option<ShadowResult>,
    /// What is compared of it, from its last result until it is judged.
    pub(super) leg: Option<std::result::Result<Leg, String>>,
}

/// What came back from the shadow leg.
#[derive(Debug)]
pub(super) struct ShadowResult {
    pub(super) class: Class,
    pub(super) status: u16,
    pub(super) body: Body,
    pub(super) duration_micros: u64,
    pub(super) replayed: bool,
}

/// What an exchange moved, as it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effect {
    /// The system whose answer cannot be read: what it did is not known.
    pub(super) unread: Option<System>,
    pub(super) kind: String,
    pub(super) currency: String,
    pub(super) source: String,
    pub(super) destination: String,
    /// Movements of source and destination at the legacy; `None`: not applied there.
    pub(super) legacy: Option<[Money; 2]>,
    /// The same at the engine.
    pub(super) engine: Option<[Money; 2]>,
}

impl Exchange {
    /// A new exchange, from its intent.
    pub(super) fn new(
        number: ExchangeNumber,
        front: u32,
        route: Arc<str>,
        intent: &Intent,
        at: Timestamp,
        log: i64,
    ) -> Self {
        let mut accounts: Vec<String> = Vec::new();
        for account in intent.account.iter().chain(&intent.accounts) {
            if !account.is_empty() && !accounts.contains(account) {
                accounts.push(account.clone());
            }
        }
        Self {
            number,
            front,
            route,
            operation: intent.operation,
            key: intent.key.clone(),
            scope: None,
            account: intent.account.clone(),
            accounts,
            refers_to: intent.original.clone(),
            original: None,
            requested: match intent.operation {
                Operation::ChangeAccount => crate::judge::normalize::members(&intent.body.0),
                _ => Vec::new(),
            },
            authority: intent.authority,
            stage: intent.stage,
            version: intent.version,
            cross_cohort: intent.cross_cohort,
            overtaken: intent.overtaken,
            intent: log,
            intent_at: at,
            abandoned: false,
            result: None,
            recorded: None,
            shadow: Shadow::default(),
            skipped: None,
            missing: false,
            concluded: false,
            queued: Vec::new(),
            inquiry: Inquired::No,
            judged: false,
            verdict: Verdict::of(VerdictKind::Open),
            differences: Vec::new(),
            transactions: Vec::new(),
            effect: None,
            found: false,
            pins: 0,
            cut: false,
        }
    }

    /// When it ran where.
    pub(super) fn span(&self) -> Span {
        let ended = self.result.as_ref().filter(|result| result.class != Class::Unknown);
        Span {
            front: self.front,
            legacy_decides: self.authority == System::Legacy,
            intent: self.intent,
            intent_at: self.intent_at.0,
            end: ended.map(|result| result.log),
            end_at: ended.map(|result| result.at.0),
            sent: self.shadow.sent,
            last: self.shadow.last,
            skipped: self.skipped.is_some(),
        }
    }

    /// Whether it may have changed a balance or an account while it ran, in either system: of two requests with one
    /// key, one may have had the effect at the authority, and the other one's leg at the shadow.
    pub(super) fn bears_effect(&self) -> bool {
        self.authority_bears_effect()
            || (self.result.as_ref().is_some_and(|result| result.class == Class::Applied) && self.leg_bears_effect())
    }

    /// A repeated answer changed nothing, and an exchange whose result is not known may have.
    pub(super) fn authority_bears_effect(&self) -> bool {
        self.result.as_ref().is_none_or(|result| match result.class {
            Class::Applied => !result.replayed,
            Class::Unknown => true,
            Class::Refused | Class::NotExecuted => false,
        })
    }

    fn leg_bears_effect(&self) -> bool {
        let changed = |result: &ShadowResult| match result.class {
            Class::Applied => !result.replayed,
            Class::Unknown => true,
            Class::Refused | Class::NotExecuted => false,
        };
        self.shadow.sent.is_some() && self.shadow.result.as_ref().is_none_or(changed)
    }

    /// Whether it makes or changes an account, which has an order with whatever names that account.
    pub(super) fn changes_account(&self) -> bool {
        matches!(self.operation, Operation::CreateAccount | Operation::ChangeAccount)
    }

    /// Whether it takes money from this account, or gives it some. `None` where that is not known, or neither.
    pub(super) fn takes_from(&self, account: &str) -> Option<bool> {
        let is_deciding = self.account.as_deref()? == account;
        match self.operation {
            Operation::Topup => Some(!is_deciding),
            Operation::Withdraw | Operation::Transfer => Some(is_deciding),
            // Whoever was paid pays back; it decides only if its balance has an order.
            Operation::Refund | Operation::CreateAccount | Operation::ChangeAccount => None,
        }
    }

    /// Whether the authority's effect is unknown.
    pub(super) fn authority_unknown(&self) -> bool {
        !self.concluded && self.result.as_ref().map_or(self.abandoned, |result| result.class == Class::Unknown)
    }

    /// The verdict as long as it is not judged.
    pub(super) fn provisional(&self) -> Verdict {
        let about = |kind, system| Verdict { system: Some(system), ..Verdict::of(kind) };
        if self.authority_unknown() {
            about(VerdictKind::Unknown, self.authority)
        } else if self.shadow.unknown {
            about(VerdictKind::Unknown, self.authority.other())
        } else if self.missing {
            about(VerdictKind::Missing, self.authority.other())
        } else {
            Verdict::of(VerdictKind::Open)
        }
    }

    /// For people; `whole` adds the legs.
    pub(super) fn view(&self, whole: bool) -> ExchangeView {
        ExchangeView {
            id: self.number.to_string(),
            at: self.intent_at,
            route: self.route.to_string(),
            operation: self.operation,
            account: self.account.clone(),
            key: self.key.clone(),
            authority: self.authority,
            stage: self.stage,
            rollout_version: self.version,
            verdict: self.verdict.clone(),
            differences: self.differences.clone(),
            legs: if whole { self.legs() } else { Vec::new() },
        }
    }

    fn legs(&self) -> Vec<LegView> {
        let authority = self.result.as_ref().map(|result| LegView {
            system: self.authority,
            mode: Mode::Authority.to_string(),
            class: result.class,
            status: result.status,
            body: shown(&result.body),
            duration_micros: result.duration_micros,
            attempts: 1,
            was_unknown: result.resolved || result.class == Class::Unknown,
        });
        let shadow = self.shadow.result.as_ref().map(|result| LegView {
            system: self.authority.other(),
            mode: self.shadow.mode.unwrap_or(Mode::Shadow).to_string(),
            class: result.class,
            status: result.status,
            body: shown(&result.body),
            duration_micros: result.duration_micros,
            attempts: self.shadow.attempts,
            was_unknown: self.shadow.was_unknown,
        });
        authority.into_iter().chain(shadow).collect()
    }

    /// Drops what is only needed to show it.
    pub(super) fn cut(&mut self) {
        self.cut = true;
        for body in [
            self.result.as_mut().map(|result| &mut result.body),
            self.shadow.result.as_mut().map(|result| &mut result.body),
        ]
        .into_iter()
        .flatten()
        {
            *body = Body::default();
        }
        self.differences = Vec::new();
    }
}

/// A body as JSON, or as text when it is none; `null` when there is none.
fn shown(body: &Body) -> serde_json::Value {
    if body.0.is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_slice(&body.0)
        .unwrap_or_else(|_| serde_json::Value::String(String::from_utf8_lossy(&body.0).into_owned()))
}
