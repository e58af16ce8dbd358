//! The verdicts and causes, case by case.

use super::diff::diff;
use super::normalize::{Answer, Leg, Side, Transaction};
use super::overlap::Overlap;
use super::rules::Rule;
use super::verdict::{Case, Judgement, Level, Opinion, Ruling, Standing, judge};
use proptest::prelude::*;
use wire::scalar::{Money, Timestamp};
use wire::words::{Cause, Class, Mode, Operation, System};

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

/// A transfer of 10 from `a` (100 before) to `b` (0 before).
fn transfer() -> Transaction {
    let side = |account: &str, before: &str, movement: &str| Side {
        account: account.into(),
        before: Some(money(before)),
        after: Some(super::plus(money(before), money(movement))),
        movement: money(movement),
    };
    Transaction {
        id: "t".into(),
        kind: "transfer".into(),
        status: "completed".into(),
        amount: money("10"),
        currency: "EUR".into(),
        sides: [side("a", "100", "-10"), side("b", "0", "10")],
        original: None,
        fields: vec![("/trackingId", "k".into())],
    }
}

fn applied(transaction: Transaction) -> Result<Leg, String> {
    let answer = Some(Answer::Transaction(Box::new(transaction)));
    Ok(Leg { class: Class::Applied, code: None, answer, replayed: false })
}

fn refused(code: &str) -> Result<Leg, String> {
    Ok(Leg { class: Class::Refused, code: Some(code.into()), answer: None, replayed: false })
}

/// A dry decision that would have applied it.
fn would_apply() -> Result<Leg, String> {
    Ok(Leg { class: Class::Applied, code: None, answer: None, replayed: false })
}

fn changed(change: impl FnOnce(&mut Transaction)) -> Result<Leg, String> {
    let mut transaction = transfer();
    change(&mut transaction);
    applied(transaction)
}

/// The same, with a level shifted on one side (before and after).
fn shifted(side: usize, by: &str) -> Result<Leg, String> {
    changed(|transaction| {
        let side = &mut transaction.sides[side];
        side.before = side.before.map(|level| super::plus(level, money(by)));
        side.after = side.after.map(|level| super::plus(level, money(by)));
    })
}

fn case() -> Case<'static> {
    let standing =
        |account: &str, pays| Standing { account: account.into(), debited: Some(pays), ..Standing::default() };
    Case {
        operation: Operation::Transfer,
        authority: System::Legacy,
        mode: Mode::Shadow,
        legacy: applied(transfer()),
        engine: applied(transfer()),
        state_refusals: Vec::new(),
        accounts: vec![standing("a", true), standing("b", false)],
        settled: Vec::new(),
        family: Vec::new(),
        key_used_beside: Overlap::default(),
        repeat_of: None,
        found_by_key: false,
        levels_current: true,
        requested: Vec::new(),
        originals_differ: false,
        inquired: false,
        rules: &[],
        at: Timestamp(0),
    }
}

/// The case with one root of this offset (legacy less engine) on account `a`, which pays.
fn with_offset(amount: &str, case: Case<'static>) -> Case<'static> {
    with_offset_of(0, amount, case)
}

/// The same on `b`, which is paid.
fn with_offset_of_payee(amount: &str, case: Case<'static>) -> Case<'static> {
    with_offset_of(1, amount, case)
}

fn with_offset_of(account: usize, amount: &str, case: Case<'static>) -> Case<'static> {
    let mut case = case;
    case.accounts[account].totals = vec![("EUR".into(), money(amount))];
    case.accounts[account].roots = vec!["root".into()];
    case
}

/// The case with known limits of both accounts.
fn with_limits(min: Option<&str>, max: Option<&str>, case: Case<'static>) -> Case<'static> {
    let mut case = case;
    for standing in &mut case.accounts {
        standing.limits = Some([min.map(money), max.map(money)]);
    }
    case
}

fn overlapped(case: Case<'static>) -> Case<'static> {
    let mut case = case;
    for standing in &mut case.accounts {
        standing.overlap = Overlap { same_cohort: true, cross_cohort: false };
    }
    case
}

fn inquired(case: Case<'static>) -> Case<'static> {
    Case { inquired: true, ..case }
}

fn judged(case: &Case<'_>) -> Judgement {
    match judge(case) {
        Opinion::Judged(judgement) => judgement,
        Opinion::Inquire => panic!("judged at once: {case:?}"),
    }
}

#[track_caller]
fn check(name: &str, case: Case<'static>, expected: Ruling) -> Judgement {
    let judgement = judged(&case);
    assert_eq!(judgement.ruling, expected, "{name}: {judgement:#?}");
    judgement
}

/// Asks first; judges so when the histories say nothing.
#[track_caller]
fn check_asks(name: &str, case: Case<'static>, expected: Ruling) -> Judgement {
    assert_eq!(judge(&case), Opinion::Inquire, "{name}");
    check(name, inquired(case), expected)
}

fn carried() -> Ruling {
    Ruling::Carried(vec!["root".into()])
}

const ORDER: Ruling = Ruling::Order { cross_cohort: false, forced: false };

#[test]
fn equal_legs_match_and_prove_their_levels() {
    let judgement = check("equal", case(), Ruling::Match);
    assert_eq!(judgement.levels, [("a".to_owned(), Level::Equal), ("b".to_owned(), Level::Equal)]);
    let judgement = check("equal beside others", overlapped(case()), Ruling::Match);
    assert!(judgement.levels.iter().all(|(_, level)| *level == Level::Deferred));
}

#[test]
fn fields_and_movements_that_differ_are_roots_at_once() {
    for (name, engine, cause) in [
        ("amount", changed(|transaction| transaction.amount = money("11")), Cause::Amount),
        ("movement", changed(|transaction| transaction.sides[0].movement = money("-10.01")), Cause::Amount),
        ("currency", changed(|transaction| transaction.currency = "USD".into()), Cause::Currency),
        ("account", changed(|transaction| transaction.sides[1].account = "c".into()), Cause::Account),
        ("status", changed(|transaction| transaction.status = "failed".into()), Cause::Status),
        ("type", changed(|transaction| transaction.kind = "refund".into()), Cause::Field),
        ("key", changed(|transaction| transaction.fields.clear()), Cause::Field),
        ("sum", changed(|transaction| transaction.sides[0].after = Some(money("1"))), Cause::SourceBalance),
        ("sum", changed(|transaction| transaction.sides[1].after = Some(money("1"))), Cause::DestinationBalance),
    ] {
        check(name, Case { engine, ..overlapped(case()) }, Ruling::Mismatch(cause));
    }
}

#[test]
fn movements_that_differ_become_offsets() {
    let fee = changed(|transaction| {
        transaction.sides[0].movement = money("-10.01");
        transaction.sides[0].after = Some(money("89.99"));
    });
    let judgement = check("fee", Case { legacy: fee, ..case() }, Ruling::Mismatch(Cause::Amount));
    assert_eq!(judgement.offsets, [("a".to_owned(), "EUR".to_owned(), money("-0.01"))]);
}

#[test]
fn levels_that_differ_are_asked_for_and_then_roots() {
    for (name, side, cause, account) in
        [("source", 0, Cause::SourceBalance, "a"), ("destination", 1, Cause::DestinationBalance, "b")]
    {
        let judgement = check_asks(name, Case { legacy: shifted(side, "5"), ..case() }, Ruling::Mismatch(cause));
        assert_eq!(judgement.offsets, [(account.to_owned(), "EUR".to_owned(), money("5"))]);
    }
}

#[test]
fn levels_are_explained_only_by_the_exact_offset() {
    let judgement = check("exact", with_offset("5", Case { legacy: shifted(0, "5"), ..case() }), carried());
    assert_eq!(judgement.levels[0], ("a".to_owned(), Level::Equal));
    assert_eq!(judgement.offsets, [], "what is explained adds nothing");
    let judgement = check_asks(
        "by a cent too much",
        with_offset("5", Case { legacy: shifted(0, "5.01"), ..case() }),
        Ruling::Mismatch(Cause::SourceBalance),
    );
    assert_eq!(judgement.offsets, [("a".to_owned(), "EUR".to_owned(), money("0.01"))]);
    check_asks("levels equal in spite of it", with_offset("5", case()), Ruling::Mismatch(Cause::SourceBalance));
}

#[test]
fn levels_beside_others_wait() {
    check("no root", overlapped(Case { legacy: shifted(0, "7"), ..case() }), Ruling::Match);
    check("a root", with_offset("5", overlapped(Case { legacy: shifted(0, "7"), ..case() })), carried());
    check("an old answer", Case { legacy: shifted(0, "7"), levels_current: false, ..case() }, Ruling::Match);
}

#[test]
fn a_forced_exchange_beside_others_is_the_first_suspect() {
    let mut case = Case { legacy: shifted(0, "5"), ..case() };
    case.accounts[0].forced = Some("suspect".into());
    let judgement = check_asks("suspect", case, Ruling::Carried(vec!["suspect".into()]));
    assert_eq!(judgement.blamed, [("suspect".to_owned(), "a".to_owned(), "EUR".to_owned(), money("5"))]);
    assert_eq!(judgement.offsets, []);
}

#[test]
fn offered_again() {
    let again = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    let fitted = Case { state_refusals: again(&["InsufficientBalance"]), ..case() };
    check("fitted", fitted.clone(), ORDER);
    let forced = Case { mode: Mode::Forced, ..fitted };
    check_asks("forced alone", forced.clone(), Ruling::Mismatch(Cause::Forced));
    let forced_order = Ruling::Order { cross_cohort: false, forced: true };
    check("forced beside others", overlapped(forced.clone()), forced_order.clone());
    let mut frozen = overlapped(Case { state_refusals: again(&["AccountFrozen"]), ..forced.clone() });
    frozen.accounts.iter_mut().for_each(|standing| standing.shared = true);
    check("forced beside a change of a shared account", frozen, forced_order);
    let explained = with_offset("5", Case { legacy: shifted(0, "5"), ..forced.clone() });
    check("the engine has less", explained, carried());
    let other_way = with_offset("-5", Case { legacy: shifted(0, "-5"), ..forced });
    check_asks("the engine has more", other_way, Ruling::Mismatch(Cause::Forced));
}

#[test]
fn applied_here_and_refused_there() {
    for (authority, offsets) in [(System::Legacy, ["-10", "10"]), (System::Engine, ["10", "-10"])] {
        let (legacy, engine) = match authority {
            System::Legacy => (applied(transfer()), refused("InsufficientBalance")),
            System::Engine => (refused("InsufficientBalance"), applied(transfer())),
        };
        let case = Case { authority, legacy, engine, ..case() };
        let judgement = check_asks("unexplained", case.clone(), Ruling::Mismatch(Cause::Status));
        let expected: Vec<_> = ["a", "b"]
            .into_iter()
            .zip(offsets)
            .map(|(account, amount)| (account.to_owned(), "EUR".to_owned(), money(amount)))
            .collect();
        assert_eq!(judgement.offsets, expected, "legacy less engine");
        // Whoever has less runs out first.
        let less = if authority == System::Legacy { "5" } else { "-5" };
        let judgement = check("explained", with_offset(less, case.clone()), carried());
        assert_eq!(judgement.offsets, expected, "joins the root's");
        let more = if authority == System::Legacy { "-5" } else { "5" };
        check_asks("the other way", with_offset(more, case), Ruling::Mismatch(Cause::Status));
    }
}

#[test]
fn an_offset_explains_a_refusal_only_if_it_reaches_the_limit() {
    // 90 of 100 are left at the legacy.
    let case = Case { engine: refused("InsufficientBalance"), ..case() };
    for (offset, min, explains) in
        [("0.01", None, false), ("90", None, false), ("90.01", None, true), ("0.01", Some("90"), true)]
    {
        let case = with_limits(min, None, with_offset(offset, case.clone()));
        if explains {
            check(offset, case, carried());
        } else {
            check_asks(offset, case.clone(), Ruling::Mismatch(Cause::Status));
            check("levels say nothing beside others", overlapped(case), carried());
        }
    }
    // 10 are there at the legacy.
    let case = Case { engine: refused("BalanceLimitExceeded"), ..self::case() };
    for (offset, max, explains) in [("-1", Some("11"), false), ("-1.01", Some("11"), true), ("-5", None, false)] {
        let case = with_limits(None, max, with_offset_of_payee(offset, case.clone()));
        if explains {
            check(offset, case, carried());
        } else {
            check_asks(offset, case, Ruling::Mismatch(Cause::Status));
        }
    }
}

#[test]
fn money_that_moves_on_one_side_needs_an_open_discrepancy() {
    let mut case = with_offset("95", Case { engine: refused("InsufficientBalance"), ..case() });
    check("open", case.clone(), carried());
    case.settled = vec!["root".into()];
    check_asks("settled", case.clone(), Ruling::Mismatch(Cause::Status));
    // Levels stay apart after a discrepancy was settled, and refusals of both move nothing.
    case.mode = Mode::ShadowRefused;
    case.legacy = would_apply();
    case.authority = System::Engine;
    check("decided dry", case, carried());
}

#[test]
fn another_state_explains_refusals_for_it_and_no_others() {
    for (code, explains) in [("AccountNotFound", true), ("AccountFrozen", true), ("DuplicateKey", false)] {
        let mut case = Case { engine: refused(code), ..case() };
        case.accounts[0].state_roots = vec!["root".into()];
        if explains {
            check(code, case, carried());
        } else {
            check_asks(code, case, Ruling::Mismatch(Cause::Status));
        }
    }
}

#[test]
fn a_shadow_that_never_decided_it_is_no_matter_of_order() {
    let unread = Ok(Leg { class: Class::NotExecuted, code: None, answer: None, replayed: false });
    let case = Case { mode: Mode::ShadowRefused, legacy: refused("SameAccount"), engine: unread, ..case() };
    check_asks("beside others", overlapped(case.clone()), Ruling::Mismatch(Cause::Status));
    check_asks("with an offset", with_offset("5", case), Ruling::Mismatch(Cause::Status));
}

#[test]
fn limits_are_reached_first_by_whoever_has_more() {
    let case = Case { engine: refused("BalanceLimitExceeded"), ..case() };
    check("the engine has more", with_offset_of_payee("-5", case.clone()), carried());
    check_asks("the engine has less", with_offset_of_payee("5", case.clone()), Ruling::Mismatch(Cause::Status));
    check_asks("of the payer", with_offset("-5", case), Ruling::Mismatch(Cause::Status));
}

#[test]
fn a_credit_from_the_other_cohort_that_does_not_fit_is_named() {
    let mut case = Case {
        authority: System::Engine,
        legacy: refused("BalanceLimitExceeded"),
        engine: applied(transfer()),
        ..case()
    };
    case.accounts[1].overlap.cross_cohort = true;
    check_asks("cross-cohort", case.clone(), Ruling::Mismatch(Cause::CrossCohort));
    let lost =
        Case { legacy: Ok(Leg { class: Class::NotExecuted, code: None, answer: None, replayed: false }), ..case };
    check_asks("never executed", lost, Ruling::Mismatch(Cause::Status));
}

#[test]
fn refused_here_and_decided_dry_there() {
    let dry = |legacy: &str, engine: Result<Leg, String>| Case {
        mode: Mode::ShadowRefused,
        legacy: refused(legacy),
        engine,
        ..case()
    };
    check("the same code", dry("SameAccount", refused("SameAccount")), Ruling::Match);
    let other = dry("InsufficientBalance", refused("AccountFrozen"));
    check_asks("another code", other.clone(), Ruling::Mismatch(Cause::ErrorCode));
    check("another code beside others", overlapped(other), ORDER);
    let used = Case {
        key_used_beside: Overlap { same_cohort: true, cross_cohort: false },
        ..dry("DuplicateKey", would_apply())
    };
    check("the key was used beside it", used.clone(), ORDER);
    check_asks("for another reason", Case { legacy: refused("SameAccount"), ..used }, Ruling::Mismatch(Cause::Status));
    let would = dry("InsufficientBalance", would_apply());
    let judgement = check_asks("it would apply it", would.clone(), Ruling::Mismatch(Cause::Status));
    assert_eq!(judgement.offsets, [], "nothing moved");
    check("beside others", overlapped(would.clone()), ORDER);
    let mut across = would.clone();
    across.accounts[0].overlap.cross_cohort = true;
    check("beside the other cohort", across, Ruling::Order { cross_cohort: true, forced: false });
    let mut shared = overlapped(would.clone());
    shared.accounts.iter_mut().for_each(|standing| standing.shared = true);
    check_asks("beside a change of a shared account", shared.clone(), Ruling::Mismatch(Cause::Status));
    for code in ["AccountNotFound", "AccountExists"] {
        check("beside the making of a shared account", Case { legacy: refused(code), ..shared.clone() }, ORDER);
    }
    let replayed = Leg { replayed: true, ..refused("InsufficientBalance").unwrap() };
    check("the refusal repeats an earlier one", Case { legacy: Ok(replayed), ..would.clone() }, ORDER);
    let used =
        Case { legacy: refused("DuplicateKey"), levels_current: false, repeat_of: Some(Vec::new()), ..would.clone() };
    check_asks("a key that was used long before, and not by the other system", used, Ruling::Mismatch(Cause::Status));
    let mut payee = would.clone();
    payee.accounts[1].overlap.same_cohort = true;
    check_asks("the payee was paid beside it", payee.clone(), Ruling::Mismatch(Cause::Status));
    let payee_has_less = with_offset_of_payee("-5", payee.clone());
    check_asks("the payee has less", payee_has_less, Ruling::Mismatch(Cause::Status));
    let full = Case { legacy: refused("BalanceLimitExceeded"), ..payee };
    check("the payee is full", full.clone(), ORDER);
    let both = Case { legacy: refused("InsufficientBalance"), engine: refused("BalanceLimitExceeded"), ..full };
    check_asks("who could not pay did not come to the payee", both, Ruling::Mismatch(Cause::ErrorCode));
    let stateless = overlapped(Case { legacy: refused("SameAccount"), ..would.clone() });
    check_asks("what can never be done, beside others", stateless, Ruling::Mismatch(Cause::Status));
    let key = overlapped(Case { legacy: refused("DuplicateKey"), ..would.clone() });
    check_asks("a used key beside others of other keys", key, Ruling::Mismatch(Cause::Status));
    check("the legacy has less", with_offset("-1", would.clone()), carried());
    check_asks("the legacy has more", with_offset("1", would), Ruling::Mismatch(Cause::Status));
}

#[test]
fn shared_accounts_explain_nothing_and_hide_their_levels() {
    let mut case = with_offset(
        "-5",
        Case { mode: Mode::ShadowRefused, legacy: refused("InsufficientBalance"), engine: would_apply(), ..case() },
    );
    case.accounts[0].shared = true;
    check_asks("no explanation", case, Ruling::Mismatch(Cause::Status));
    let mut case = Case { legacy: shifted(0, "5"), ..self::case() };
    case.accounts[0].shared = true;
    check("its level", case, Ruling::Ignored("shared-account".into()));
}

#[test]
fn refunds_are_explained_by_what_became_of_the_original() {
    let family = vec!["root".to_owned()];
    for code in ["OriginalNotFound", "NotRefundable", "RefundExceedsOriginal"] {
        let case = Case { operation: Operation::Refund, engine: refused(code), ..case() };
        check(code, Case { family: family.clone(), ..case.clone() }, carried());
        check_asks(code, case, Ruling::Mismatch(Cause::Status));
    }
    let refund = |amount: &str, movement: &str| {
        changed(|transaction| {
            transaction.original = Some("o".into());
            transaction.amount = money(amount);
            for (side, sign) in transaction.sides.iter_mut().zip(["-", ""]) {
                side.movement = money(&format!("{sign}{movement}"));
                side.after = side.before.map(|before| super::plus(before, side.movement));
            }
        })
    };
    let base = Case { operation: Operation::Refund, legacy: refund("10", "10"), family, ..case() };
    let judgement = check("what is left differs", Case { engine: refund("8", "8"), ..base.clone() }, carried());
    assert_eq!(judgement.offsets.len(), 2);
    check("but it moved something else", Case { engine: refund("10", "9"), ..base }, Ruling::Mismatch(Cause::Amount));
    check("another original", Case { originals_differ: true, ..case() }, Ruling::Mismatch(Cause::Field));
}

#[test]
fn repeats_add_nothing() {
    let fee = changed(|transaction| {
        transaction.sides[0].movement = money("-10.01");
        transaction.sides[0].after = Some(money("89.99"));
    });
    let repeat = |roots: &[&str]| Some(roots.iter().map(|root| (*root).to_owned()).collect());
    let case = Case { levels_current: false, ..case() };
    check("of a match", Case { repeat_of: repeat(&[]), legacy: shifted(0, "3"), ..case.clone() }, Ruling::Match);
    let judgement = check("of a root", Case { repeat_of: repeat(&["root"]), legacy: fee, ..case.clone() }, carried());
    assert_eq!(judgement.offsets, []);
    let case = Case { repeat_of: repeat(&[]), engine: refused("DuplicateKey"), ..case };
    check("a key used for something else", Case { found_by_key: true, ..case.clone() }, Ruling::Match);
    check_asks("not if it was answered so", case, Ruling::Mismatch(Cause::Status));
}

#[test]
fn accounts_whose_state_differs_carry_what_follows() {
    let frozen = Case { mode: Mode::ShadowRefused, legacy: refused("AccountFrozen"), engine: would_apply(), ..case() };
    assert!(check_asks("first", frozen.clone(), Ruling::Mismatch(Cause::Status)).state_differs);
    let mut later = frozen;
    later.accounts[0].state_roots = vec!["root".into()];
    check("later", later.clone(), carried());
    later.accounts[0].shared = true;
    check("an account that all use", later, carried());
}

#[test]
fn what_cannot_be_read_is_a_verdict() {
    check("legacy", Case { legacy: Err("no JSON".into()), ..case() }, Ruling::Unreadable(System::Legacy));
    check("engine", Case { engine: Err("no JSON".into()), ..case() }, Ruling::Unreadable(System::Engine));
}

#[test]
fn rules_hide_fields_but_never_money() {
    let rule = |field: &str| {
        vec![Rule { id: "r".into(), field: field.into(), reason: String::new(), owner: String::new(), until: None }]
    };
    let field = changed(|transaction| transaction.fields[0].1 = "other".into());
    let rules: &'static [Rule] = rule("/trackingId").leak();
    check("a field", Case { engine: field, rules, ..case() }, Ruling::Ignored("r".into()));
    let movement = changed(|transaction| transaction.sides[0].movement = money("-10.01"));
    let rules: &'static [Rule] = rule("/source").leak();
    check("money", Case { engine: movement, rules, ..overlapped(case()) }, Ruling::Mismatch(Cause::Amount));
}

proptest! {
    #[test]
    fn an_answer_does_not_differ_from_itself(amount in 1_i64..1_000_000, before in 0_i64..1_000_000, key in ".{0,12}") {
        let mut transaction = transfer();
        transaction.amount = money(&amount.to_string());
        transaction.sides[0].before = Some(money(&before.to_string()));
        transaction.fields = vec![("/trackingId", key)];
        let answer = Answer::Transaction(Box::new(transaction));
        prop_assert_eq!(diff(&answer, &answer, None), vec![]);
    }
}
