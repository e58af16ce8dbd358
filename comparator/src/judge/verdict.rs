//! The verdict on one exchange, once both its legs have ended.
//!
//! First comes what is certain: fields and movements. Then levels, where nothing ran beside. What does not fit and no
//! open discrepancy explains is a reason to ask both histories once ([`Opinion::Inquire`]); what still does not fit
//! afterwards is a discrepancy of its own.

use super::diff::{Difference, diff, difference, gravest, moved_apart};
use super::levels::{Levels, Unfit};
use super::normalize::{Answer, Leg, USED_KEY};
use super::overlap::Overlap;
use super::rules::{self, Rule, SHARED_ACCOUNT};
use super::{less, plus};
use wire::scalar::{Money, Timestamp};
use wire::words::{Cause, Class, Mode, Operation, System};

/// An exchange whose legs have both ended, with all that bears on it.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// What it does.
    pub operation: Operation,
    /// Whose answer the client had.
    pub authority: System,
    /// The mode of the shadow leg.
    pub mode: Mode,
    /// The legacy's leg; `Err` says why it cannot be read.
    pub legacy: Result<Leg, String>,
    /// The engine's leg; `Err` says why it cannot be read.
    pub engine: Result<Leg, String>,
    /// Codes for which the shadow refused earlier offers, or would have refused the forced one.
    pub state_refusals: Vec<String>,
    /// Every account it names.
    pub accounts: Vec<Standing>,
    /// Of the discrepancies that stand below, those that somebody has settled.
    pub settled: Vec<String>,
    /// Discrepancies that touch the transaction it refers to, or other refunds of it.
    pub family: Vec<String>,
    /// With what other use of its key it overlapped, whether that had an effect or not: where one leg says that the key is
    /// used, the systems may have come to the two in another order.
    pub key_used_beside: Overlap,
    /// An earlier exchange with the same key had the effect; the discrepancies that one belongs to.
    pub repeat_of: Option<Vec<String>>,
    /// Whether the authority's answer was found out afterwards, by the key.
    pub found_by_key: bool,
    /// Whether the levels shown are those of its own time (a repeated answer shows older ones).
    pub levels_current: bool,
    /// Of a change of an account: pointers to what was asked for.
    pub requested: Vec<String>,
    /// Whether the two systems refer to different earlier transactions.
    pub originals_differ: bool,
    /// Whether the histories have been asked already.
    pub inquired: bool,
    /// Rules in force.
    pub rules: &'a [Rule],
    /// The time that decides whether a rule has expired.
    pub at: Timestamp,
}

/// How an account stands at the exchange's place in the order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The account.
    pub account: String,
    /// Whether it is EXTERNAL or SYSTEM without limits.
    pub shared: bool,
    /// Whether the exchange takes money from it, or gives it some; `None` where that is not known, or neither.
    pub debited: Option<bool>,
    /// What else ran on it; of a shared account, what made or changed it.
    pub overlap: Overlap,
    /// Its least and its greatest balance; `None` where they are not known.
    pub limits: Option<[Option<Money>; 2]>,
    /// Legacy less engine per currency, as discrepancies explain it; nothing that is zero.
    pub totals: Vec<(String, Money)>,
    /// The discrepancies that explain it, settled or not: settling one does not make the systems equal.
    pub roots: Vec<String>,
    /// Discrepancies by which its status or limits differ.
    pub state_roots: Vec<String>,
    /// The last exchange booked `forced` beside others since the last equal level: first suspect.
    pub forced: Option<String>,
}

/// What the judge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    /// The histories of its accounts have to be read first.
    Inquire,
    /// The verdict.
    Judged(Judgement),
}

/// A verdict with what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub ruling: Ruling,
    /// Where the systems differ.
    pub differences: Vec<Difference>,
    /// What it adds to offsets: of a mismatch as its own, of a carried one to its first root. Account, currency,
    /// legacy less engine.
    pub offsets: Vec<(String, String, Money)>,
    /// What it adds to the offsets of an earlier forced exchange: that one's id, account, currency, amount.
    pub blamed: Vec<(String, String, String, Money)>,
    /// Levels that were looked at, by account.
    pub levels: Vec<(String, Level)>,
    /// Whether an account's status or limits differ from now on.
    pub state_differs: bool,
}

/// The verdict on an exchange with two legs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Both did the same.
    Match,
    /// The same after the order was settled.
    Order {
        /// Because of a credit from the other cohort on its way.
        cross_cohort: bool,
        /// Booked whatever the limits said: the next quiet point has the last word.
        forced: bool,
    },
    /// A root.
    Mismatch(Cause),
    /// Explained by these roots.
    Carried(Vec<String>),
    /// Hidden by this rule.
    Ignored(String),
    /// A leg cannot be read.
    Unreadable(System),
}

/// A level that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The offset explains it exactly: everything before is verified.
    Equal,
    /// Something ran beside: the next quiet point will tell.
    Deferred,
}

/// Judges a case.
pub fn judge(case: &Case<'_>) -> Opinion {
    let (legacy, engine) = match (&case.legacy, &case.engine) {
        (Ok(legacy), Ok(engine)) => (legacy, engine),
        (Err(why), _) => return unreadable(System::Legacy, why),
        (_, Err(why)) => return unreadable(System::Engine, why),
    };
    let (authority, shadow) = match case.authority {
        System::Legacy => (legacy, engine),
        System::Engine => (engine, legacy),
    };
    match (&legacy.answer, &engine.answer) {
        _ if authority.class == Class::Refused => refused(case, legacy, engine, shadow),
        (Some(first), Some(second)) => applied(case, [legacy, engine], [first, second]),
        _ => one_sided(case, legacy, engine, shadow),
    }
}

fn unreadable(system: System, why: &str) -> Opinion {
    let difference = match system {
        System::Legacy => difference("", Cause::Field, why.to_owned(), String::new()),
        System::Engine => difference("", Cause::Field, String::new(), why.to_owned()),
    };
    Opinion::Judged(Judgement { differences: vec![difference], ..Judgement::of(Ruling::Unreadable(system)) })
}

/// The authority refused it by a rule, the shadow decided it dry.
fn refused(case: &Case<'_>, legacy: &Leg, engine: &Leg, shadow: &Leg) -> Opinion {
    if shadow.class == Class::Refused && legacy.code == engine.code {
        return Opinion::Judged(Judgement::of(Ruling::Match));
    }
    let cause = if shadow.class == Class::Refused { Cause::ErrorCode } else { Cause::Status };
    let differences = vec![difference("/errorCode", cause, outcome(legacy), outcome(engine))];
    let mut roots = Vec::new();
    // A shadow that never decided it (it could not read it, say) is not explained by what it would have decided on.
    if shadow.class != Class::NotExecuted {
        let [by_legacy, by_engine] = earliest_codes([legacy, engine]);
        extend(&mut roots, explained(case, System::Legacy, by_legacy));
        extend(&mut roots, explained(case, System::Engine, by_engine));
    }
    // A refusal that repeats an earlier one was decided at that one's time, which is judged by itself.
    let authority = if case.authority == System::Legacy { legacy } else { engine };
    let repeated = Overlap { same_cohort: authority.replayed, cross_cohort: false };
    let overlap = case.overlap_behind([legacy, engine]).and(repeated);
    let ruling = if !roots.is_empty() {
        Ruling::Carried(roots)
    } else if overlap.any() && shadow.class != Class::NotExecuted {
        Ruling::Order { cross_cohort: !overlap.same_cohort, forced: false }
    } else if !case.inquired {
        return Opinion::Inquire;
    } else {
        Ruling::Mismatch(cause)
    };
    let state_differs = [legacy, engine].into_iter().any(|leg| is_about_the_account(leg.code.as_deref()));
    let state_differs = state_differs && matches!(ruling, Ruling::Mismatch(_));
    Opinion::Judged(Judgement { differences, state_differs, ..Judgement::of(ruling) })
}

/// Whether a refusal says that the account itself differs, not its balance: later exchanges will differ likewise.
fn is_about_the_account(code: Option<&str>) -> bool {
    let codes = ["AccountNotFound", "AccountTypeNotAllowed", "AccountFrozen", "AccountClosed", "CurrencyMismatch"];
    code.is_some_and(|code| codes.contains(&code))
}

/// The authority applied it, the shadow did not.
fn one_sided(case: &Case<'_>, legacy: &Leg, engine: &Leg, shadow: &Leg) -> Opinion {
    if case.found_by_key && case.repeat_of.is_some() && shadow.is_for_a_used_key() {
        // A key used again for something else: asked for the key, the authority showed what the first one did. Neither
        // system did anything for this one.
        return Opinion::Judged(Judgement::of(Ruling::Match));
    }
    let differences = vec![difference("/status", Cause::Status, outcome(legacy), outcome(engine))];
    let authority = if case.authority == System::Legacy { legacy } else { engine };
    let mut roots = broken_limits(case, authority, shadow.code.as_deref());
    extend(&mut roots, case.repeat_of.clone().unwrap_or_default());
    let ruling = if !roots.is_empty() {
        Ruling::Carried(roots)
    } else if !case.inquired {
        return Opinion::Inquire;
    } else if shadow.class != Class::NotExecuted && case.overlap_behind([legacy, engine]).cross_cohort {
        Ruling::Mismatch(Cause::CrossCohort)
    } else {
        Ruling::Mismatch(Cause::Status)
    };
    let offsets = if case.repeat_of.is_some() { Vec::new() } else { moved_apart(legacy, engine) };
    let state_differs = matches!(case.operation, Operation::CreateAccount | Operation::ChangeAccount)
        || (matches!(ruling, Ruling::Mismatch(_)) && is_about_the_account(shadow.code.as_deref()));
    Opinion::Judged(Judgement { differences, offsets, state_differs, ..Judgement::of(ruling) })
}

/// Both applied it.
fn applied(case: &Case<'_>, legs: [&Leg; 2], answers: [&Answer; 2]) -> Opinion {
    let overlaps = case.accounts.iter().any(|standing| standing.overlap.any());
    let beside = overlaps.then_some(case.requested.as_slice());
    let mut differences = diff(answers[0], answers[1], beside);
    if case.originals_differ {
        let field = "/originalTransactionId";
        differences.push(difference(field, Cause::Field, "one transaction".into(), "another".into()));
    }
    // Only fields can be hidden: money that moved apart stays apart, whoever finds that unimportant.
    let (fields, certain): (Vec<_>, Vec<_>) =
        differences.into_iter().partition(|difference| difference.cause == Cause::Field);
    let (fields, mut hidden) = rules::apply(case.rules, case.at, fields);
    let mut differences = [certain, fields].concat();

    let levels = Levels::of(case, answers);
    if !levels.unfit.is_empty() && !case.inquired {
        return Opinion::Inquire;
    }
    differences.extend(levels.inconsistent.iter().cloned());
    if levels.hidden {
        hidden.push(SHARED_ACCOUNT.to_owned());
    }
    let mut judgement = Judgement {
        offsets: if case.repeat_of.is_some() { Vec::new() } else { moved_apart(legs[0], legs[1]) },
        levels: levels.seen.clone(),
        state_differs: !differences.is_empty() && matches!(answers[0], Answer::Account(_)),
        ..Judgement::of(Ruling::Match)
    };
    let suspects: Vec<_> = levels.unfit.iter().filter_map(|unfit| unfit.suspect.clone()).collect();
    if !levels.unfit.is_empty() && (!differences.is_empty() || suspects.len() < levels.unfit.len()) {
        let unfit = levels.unfit.iter();
        differences.extend(unfit.clone().map(|unfit| unfit.difference.clone()));
        judgement.offsets.extend(unfit.map(|unfit| (unfit.account.clone(), unfit.currency.clone(), unfit.rest)));
        judgement.ruling = Ruling::Mismatch(gravest(&differences).unwrap_or(Cause::SourceBalance));
    } else if !levels.unfit.is_empty() {
        judgement.blamed = levels.unfit.iter().filter_map(Unfit::blame).collect();
        let mut roots = suspects;
        extend(&mut roots, levels.roots.clone());
        judgement.ruling = Ruling::Carried(roots);
    } else if let Some(cause) = gravest(&differences) {
        let roots = explained_fields(case, answers, &differences);
        judgement.ruling = if roots.is_empty() { Ruling::Mismatch(cause) } else { Ruling::Carried(roots) };
    } else if case.mode == Mode::Forced {
        match forced(case) {
            Some(ruling) => judgement.ruling = ruling,
            None => return Opinion::Inquire,
        }
    } else {
        judgement.ruling = fitting(case, &levels, hidden);
    }
    judgement.differences = differences;
    if matches!(judgement.ruling, Ruling::Carried(_)) {
        judgement.differences.extend(levels.raw);
    }
    Opinion::Judged(judgement)
}

/// The ruling when nothing differs but levels, and those as they should.
fn fitting(case: &Case<'_>, levels: &Levels, hidden: Vec<String>) -> Ruling {
    let mut roots = levels.roots.clone();
    extend(&mut roots, case.repeat_of.clone().unwrap_or_default());
    if !roots.is_empty() {
        Ruling::Carried(roots)
    } else if !case.state_refusals.is_empty() {
        Ruling::Order { cross_cohort: false, forced: false }
    } else if let Some(rule) = hidden.into_iter().next() {
        Ruling::Ignored(rule)
    } else {
        Ruling::Match
    }
}

/// The ruling on a leg that fits but had to be forced; `None`: ask the histories first.
fn forced(case: &Case<'_>) -> Option<Ruling> {
    let mut roots = Vec::new();
    for code in &case.state_refusals {
        extend(&mut roots, explained(case, case.authority.other(), Some(code)));
    }
    let overlap =
        case.state_refusals.iter().fold(Overlap::default(), |overlap, code| overlap.and(case.overlap_behind_one(code)));
    if !roots.is_empty() {
        Some(Ruling::Carried(roots))
    } else if overlap.any() {
        Some(Ruling::Order { cross_cohort: !overlap.same_cohort, forced: true })
    } else {
        case.inquired.then_some(Ruling::Mismatch(Cause::Forced))
    }
}

/// The open discrepancies that explain why the shadow refused what the authority applied: money moves on one side
/// only, so the level that the shadow must have had has to break the rule that it names, as far as levels and limits
/// are known, and somebody has to have it before them.
fn broken_limits(case: &Case<'_>, authority: &Leg, code: Option<&str>) -> Vec<String> {
    let shadow = case.authority.other();
    let mut case = Case { rules: &[], ..case.clone() };
    for standing in &mut case.accounts {
        standing.roots.retain(|root| !case.settled.contains(root));
        standing.state_roots.retain(|root| !case.settled.contains(root));
        if level_rules_out(standing, case.levels_current, authority, shadow, code) {
            standing.roots.clear();
        }
    }
    explained(&case, shadow, code)
}

/// Whether the shadow's level after the movement, as the authority's level and the offset have it, is within the limit
/// that the refusal names.
fn level_rules_out(
    standing: &Standing,
    levels_current: bool,
    authority: &Leg,
    shadow: System,
    code: Option<&str>,
) -> bool {
    let Some(Answer::Transaction(transaction)) = &authority.answer else { return false };
    let side = transaction.sides.iter().find(|side| side.account == standing.account);
    let (Some(after), Some([min, max])) = (side.and_then(|side| side.after), standing.limits) else { return false };
    if standing.overlap.any() || !levels_current {
        return false;
    }
    let offset = standing.totals.iter().find(|(currency, _)| *currency == transaction.currency);
    let offset = offset.map_or(Money::ZERO, |(_, amount)| *amount);
    let after = if shadow == System::Engine { less(after, offset) } else { plus(after, offset) };
    match code {
        Some("InsufficientBalance") => after >= min.unwrap_or_default().max(Money::ZERO),
        Some("BalanceLimitExceeded") => max.is_none_or(|max| after <= max),
        _ => false,
    }
}

/// The discrepancies that explain why `system` refused with `code` what the other one did not.
fn explained(case: &Case<'_>, system: System, code: Option<&str>) -> Vec<String> {
    let mut roots = Vec::new();
    let Some(code) = code else { return roots };
    if matches!(code, "OriginalNotFound" | "NotRefundable" | "RefundExceedsOriginal") {
        extend(&mut roots, case.family.clone());
    }
    for standing in case.accounts.iter().filter(|standing| standing.may_be_behind(code)) {
        // Legacy less engine: the system that has less runs out first, the one that has more reaches its limit first.
        let fits = |total: Money| match (code, system) {
            ("InsufficientBalance", System::Legacy) => total < Money::ZERO,
            ("InsufficientBalance", System::Engine) => total > Money::ZERO,
            ("BalanceLimitExceeded" | "BalanceOverflow", System::Legacy) => total > Money::ZERO,
            ("BalanceLimitExceeded" | "BalanceOverflow", System::Engine) => total < Money::ZERO,
            ("AccountNotEmpty", _) => true,
            _ => false,
        };
        if !standing.shared && standing.totals.iter().any(|(_, total)| fits(*total)) {
            extend(&mut roots, standing.roots.clone());
        }
        if is_about_state(code) {
            extend(&mut roots, standing.state_roots.clone());
        }
    }
    roots
}

/// Whether a refusal can come of another status or other limits of an account, or of its not being there.
fn is_about_state(code: &str) -> bool {
    is_about_the_account(Some(code))
        || matches!(
            code,
            "AccountExists"
                | "InsufficientBalance"
                | "BalanceLimitExceeded"
                | "BalanceOverflow"
                | "InvalidLimits"
                | "LimitsFixed"
                | "AccountNotEmpty"
                | "OpenSteps"
                | "OriginalNotFound"
        )
}

/// The discrepancies that explain why both applied it and show different fields or amounts.
fn explained_fields(case: &Case<'_>, answers: [&Answer; 2], differences: &[Difference]) -> Vec<String> {
    let mut roots = case.repeat_of.clone().unwrap_or_default();
    match answers[0] {
        // Without an amount a refund takes what is left, and that depends on the refunds before; but each system has
        // to move what it says.
        Answer::Transaction(legacy) if legacy.original.is_some() => {
            let only_amounts = differences.iter().all(|difference| difference.cause == Cause::Amount);
            let true_to_itself = |answer: &Answer| match answer {
                Answer::Transaction(shown) => {
                    shown.sides[0].movement == shown.amount.negated() && shown.sides[1].movement == shown.amount
                }
                Answer::Account(_) => false,
            };
            if only_amounts && answers.into_iter().all(true_to_itself) {
                extend(&mut roots, case.family.clone());
            }
        }
        Answer::Transaction(_) => {}
        Answer::Account(_) => {
            for standing in &case.accounts {
                extend(&mut roots, standing.state_roots.clone());
            }
        }
    }
    roots
}

pub(super) fn extend(roots: &mut Vec<String>, more: Vec<String>) {
    for root in more {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
}

/// What a leg did, in a word.
fn outcome(leg: &Leg) -> String {
    leg.code.clone().unwrap_or_else(|| leg.class.as_str().to_owned())
}

impl Judgement {
    fn of(ruling: Ruling) -> Self {
        Self {
            ruling,
            differences: Vec::new(),
            offsets: Vec::new(),
            blamed: Vec::new(),
            levels: Vec::new(),
            state_differs: false,
        }
    }
}

impl Standing {
    /// Whether a refusal with this code can have to do with this account: whoever pays runs out of money, whoever is paid
    /// reaches a limit.
    fn may_be_behind(&self, code: &str) -> bool {
        match code {
            "InsufficientBalance" => self.debited != Some(false),
            "BalanceLimitExceeded" | "BalanceOverflow" => self.debited != Some(true),
            _ => true,
        }
    }
}

impl Case<'_> {
    /// With what it overlapped that may be behind these refusals.
    fn overlap_behind(&self, legs: [&Leg; 2]) -> Overlap {
        let codes = earliest_codes(legs).into_iter().flatten();
        codes.fold(Overlap::default(), |overlap, code| overlap.and(self.overlap_behind_one(code)))
    }

    /// A balance depends on whatever ran beside; whether an account is there, and open, on what made or changed it, also
    /// where its balance has no order; a used key on the other use of it; what cannot be done at all on nothing.
    fn overlap_behind_one(&self, code: &str) -> Overlap {
        if code == USED_KEY {
            return self.key_used_beside;
        } else if matches!(code, "InvalidAmount" | "SameAccount") {
            return Overlap::default();
        }
        let of_shared = is_about_the_account(Some(code)) || code == "AccountExists";
        let standings = self.accounts.iter().filter(|standing| of_shared || !standing.shared);
        let behind = standings.filter(|standing| standing.may_be_behind(code));
        behind.fold(Overlap::default(), |overlap, standing| overlap.and(standing.overlap))
    }
}

/// The codes of two refusals, but for one that came at a later step than the other: whoever was refused earlier did not come
/// to what the other was refused for.
fn earliest_codes(legs: [&Leg; 2]) -> [Option<&str>; 2] {
    let codes = legs.map(|leg| leg.code.as_deref());
    let earliest = codes.into_iter().flatten().map(step).min();
    codes.map(|code| code.filter(|code| Some(step(code)) == earliest))
}

/// At which step a request is refused so: by itself, where money is taken, or where it is given (DESIGN 3.2).
fn step(code: &str) -> u8 {
    match code {
        USED_KEY | "InvalidAmount" | "SameAccount" => 0,
        "BalanceLimitExceeded" | "BalanceOverflow" => 2,
        _ => 1,
    }
}
