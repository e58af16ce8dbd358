//! Seeded worlds around the relay: the design holds, and each planted mistake is found.
//!
//! `CROSSFADE_SEED` runs one seed and tells its story; `CROSSFADE_SEEDS` runs so many times as many.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it found, and stops where it stands")]

use testbed_models::relay::audit::{Seen, Violation};
use testbed_models::relay::{Bug, Pairing, run};

/// Seeds per pairing without a mistake; more with `CROSSFADE_SEEDS`.
const SEEDS: u64 = 60;
/// Seeds among which a planted mistake has to show. Rare ones need some hundred.
const SEEDS_PER_BUG: u64 = 3_000;

fn number_in(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

/// Runs the seeds, or the one that is asked for, until something is wrong.
fn search(pairing: Pairing, bug: Option<Bug>, seeds: u64) -> (Seen, Option<(u64, Violation)>) {
    let asked_for = number_in("CROSSFADE_SEED");
    let mut seen = Seen::default();
    for seed in asked_for.map_or(0..seeds, |seed| seed..seed + 1) {
        let run = run(seed, pairing, bug);
        seen.add(&run.seen);
        if asked_for.is_some() {
            println!("{}", run.story.join("\n"));
        }
        if let Some(violation) = run.violation {
            return (seen, Some((seed, violation)));
        }
    }
    (seen, None)
}

fn holds(pairing: Pairing, test: &str) {
    let seeds = SEEDS * number_in("CROSSFADE_SEEDS").unwrap_or(1);
    let (seen, found) = search(pairing, None, seeds);
    if let Some((seed, violation)) = found {
        panic!(
            "{pairing:?}: {violation:?}\nreplay with: CROSSFADE_SEED={seed} cargo test -p testbed-models --test relay {test} \
             -- --nocapture"
        );
    }
    println!("{pairing:?}: {seen:?}");
    if number_in("CROSSFADE_SEED").is_some() {
        return;
    }
    let never: Vec<&str> = seen.all().iter().filter(|(_, times)| *times == 0).map(|(what, _)| *what).collect();
    let expected: &[&str] = match pairing {
        Pairing::ToEngine => &["tasks for a person"],
        Pairing::ToLegacy => &["legs offered again", "forced legs", "tasks for a person"],
        Pairing::ToPlainLegacy => &["legs offered again", "forced legs"],
    };
    assert_eq!(never, expected, "{pairing:?}: what is never seen is not shown to work");
}

/// The mistake shows in some world, as one of these.
fn is_found(bug: Bug, pairing: Pairing, test: &str, expected: impl Fn(&Violation) -> bool) {
    let (_, found) = search(pairing, Some(bug), SEEDS_PER_BUG);
    let Some((seed, violation)) = found else { panic!("{bug:?} is not found in {SEEDS_PER_BUG} worlds") };
    println!(
        "{bug:?}: {violation:?} in world {seed}, after {} others\nsee it with: CROSSFADE_SEED={seed} cargo test -p \
         testbed-models --test relay {test} -- --nocapture",
        seed
    );
    assert!(expected(&violation), "{violation:?} is another mistake than {bug:?}");
}

fn differ(violation: &Violation) -> bool {
    matches!(violation, Violation::BalancesDiffer { .. })
}

#[test]
fn what_the_legacy_decided_reaches_the_engine() {
    holds(Pairing::ToEngine, "what_the_legacy_decided_reaches_the_engine");
}

#[test]
fn what_the_engine_decided_reaches_a_legacy_that_deduplicates() {
    holds(Pairing::ToLegacy, "what_the_engine_decided_reaches_a_legacy_that_deduplicates");
}

#[test]
fn what_the_engine_decided_reaches_a_legacy_that_does_not() {
    holds(Pairing::ToPlainLegacy, "what_the_engine_decided_reaches_a_legacy_that_does_not");
}

#[test]
fn bug_refused_legs_executed() {
    is_found(Bug::RefusedExecuted, Pairing::ToEngine, "bug_refused_legs_executed", |violation| {
        matches!(violation, Violation::RefusedWasExecuted { .. })
    });
}

#[test]
fn bug_given_up_before_all_fronts_have_shipped() {
    is_found(Bug::ForcedEarly, Pairing::ToEngine, "bug_given_up_before_all_fronts_have_shipped", |violation| {
        matches!(violation, Violation::ForcedEarly { .. })
    });
}

#[test]
fn bug_sent_before_it_is_recorded() {
    is_found(Bug::SendingNotRecorded, Pairing::ToPlainLegacy, "bug_sent_before_it_is_recorded", |violation| {
        matches!(violation, Violation::SentTwice { .. })
    });
}

#[test]
fn bug_lane_of_the_second_account_ignored() {
    is_found(Bug::SecondLaneIgnored, Pairing::ToLegacy, "bug_lane_of_the_second_account_ignored", differ);
}

#[test]
fn bug_unknown_is_absent() {
    for pairing in Pairing::ALL {
        is_found(Bug::UnknownIsAbsent, pairing, "bug_unknown_is_absent", differ);
    }
}

#[test]
fn bug_alias_of_the_authority() {
    is_found(Bug::AliasOfTheAuthority, Pairing::ToLegacy, "bug_alias_of_the_authority", differ);
}

#[test]
fn bug_begun_and_sent_again() {
    is_found(Bug::BegunSentAgain, Pairing::ToPlainLegacy, "bug_begun_and_sent_again", |violation| {
        matches!(violation, Violation::SentTwice { .. })
    });
}

#[test]
fn bug_a_repeat_with_a_leg() {
    is_found(Bug::RepeatHasALeg, Pairing::ToPlainLegacy, "bug_a_repeat_with_a_leg", |violation| {
        matches!(violation, Violation::AppliedTwice { .. })
    });
}

#[test]
fn bug_undecided_not_awaited() {
    is_found(Bug::UndecidedNotAwaited, Pairing::ToLegacy, "bug_undecided_not_awaited", differ);
}

#[test]
fn bug_results_order() {
    is_found(Bug::ResultsOrder, Pairing::ToLegacy, "bug_results_order", differ);
}

#[test]
fn bug_unknown_not_awaited() {
    is_found(Bug::UnknownNotAwaited, Pairing::ToLegacy, "bug_unknown_not_awaited", differ);
}

#[test]
fn bug_other_fronts_not_awaited() {
    is_found(Bug::OtherFrontsNotAwaited, Pairing::ToLegacy, "bug_other_fronts_not_awaited", differ);
}

#[test]
fn bug_explained_by_the_logs_time() {
    is_found(Bug::ExplainedByLogTime, Pairing::ToEngine, "bug_explained_by_the_logs_time", |violation| {
        matches!(violation, Violation::ForcedBesideItsReason { .. })
    });
}

#[test]
fn bug_absent_from_the_intent() {
    is_found(Bug::AbsentFromIntent, Pairing::ToEngine, "bug_absent_from_the_intent", differ);
}

#[test]
fn bug_sent_long_after() {
    is_found(Bug::SentLongAfter, Pairing::ToPlainLegacy, "bug_sent_long_after", |violation| {
        matches!(violation, Violation::ExecutedAfterItsEnd { .. })
    });
}

#[test]
fn bug_given_up_beside_its_parked_original() {
    is_found(Bug::GivenUpBesideParked, Pairing::ToEngine, "bug_given_up_beside_its_parked_original", differ);
}
