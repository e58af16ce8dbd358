//! Every interleaving of a handover within some bounds: the design holds, and each planted mistake is found.
//!
//! `CROSSFADE_SEEDS` above 1 (as `./dev nightly` sets it) adds the wider bounds, which take a minute or two, and 3 GB.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test says what it found, and stops where it stands")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use testbed_models::handover::laws::Violation;
use testbed_models::handover::{Bug, Handover, Scenario, System};

/// More states than any scenario has; below what fits into memory.
const BOUND: usize = 6_000_000;

const UP: Scenario = Scenario { ups: 1, requests: 2, ..Scenario::quiet(System::Legacy) };
const DOWN: Scenario = Scenario { downs: 1, requests: 2, ..Scenario::quiet(System::Engine) };
const NEW_FRONT: Scenario = Scenario { relay_knows_second: false, ..DOWN };
const UP_RESTART: Scenario = Scenario { restarts: 1, ..UP };
const OVERRIDE_UP: Scenario = Scenario { overrides: 1, ..UP };
const OVERRIDE_DOWN: Scenario = Scenario { overrides: 1, ..DOWN };
const OVERRIDE_OTHERS: Scenario = Scenario { overrides: 1, others: 1, downs: 0, ..DOWN };
const OVERRIDE_RESTART: Scenario = Scenario { overrides: 1, restarts: 1, downs: 0, ..DOWN };

/// Searches a scenario without a mistake, once however many tests ask; answers the number of states.
fn nothing_is_found(scenario: Scenario) -> usize {
    static DONE: Mutex<BTreeMap<String, Arc<OnceLock<usize>>>> = Mutex::new(BTreeMap::new());
    let name = format!("{scenario:?}");
    let done = Arc::clone(DONE.lock().unwrap().entry(name).or_default());
    *done.get_or_init(|| {
        let report = Handover { scenario, bug: None }.search(BOUND);
        println!("{} states, {} steps deep: {scenario:?}", report.states, report.depth);
        if let Some(trace) = &report.found {
            panic!("{scenario:?}\n{trace}");
        }
        report.states
    })
}

/// The mistake is found, by what it breaks; without it nothing is.
fn is_found(bug: Bug, scenario: Scenario, expected: Violation) {
    let report = Handover { scenario, bug: Some(bug) }.search(BOUND);
    let Some(trace) = report.found else { panic!("{bug:?} is not found in {} states of {scenario:?}", report.states) };
    println!("{bug:?}, after {} states:\n{trace}", report.states);
    assert_eq!(trace.violation, expected);
    assert!(nothing_is_found(scenario) > 100);
}

/// A mistake that another rule makes up for.
fn is_harmless(bug: Bug, scenario: Scenario) {
    let report = Handover { scenario, bug: Some(bug) }.search(BOUND);
    assert!(report.found.is_none(), "{bug:?} does harm after all:\n{}", report.found.expect("it is there"));
    assert!(report.states > 1_000);
}

fn wide() -> bool {
    std::env::var("CROSSFADE_SEEDS").is_ok_and(|times| times.parse::<u64>().is_ok_and(|times| times > 1))
}

fn all_hold(scenarios: &[Scenario], wider: &[Scenario]) {
    let wider = wider.iter().filter(|_| wide());
    scenarios.iter().chain(wider).for_each(|scenario| assert!(nothing_is_found(*scenario) > 1_000));
}

#[test]
fn moves_up() {
    all_hold(
        &[
            UP,
            Scenario { requests: 3, ..UP },
            Scenario { unknowns: 1, ..UP },
            Scenario { cuts: 1, ..UP },
            Scenario { ups: 2, unknowns: 1, ..UP },
        ],
        &[Scenario { ups: 2, cuts: 1, ..UP }, Scenario { ups: 2, requests: 3, unknowns: 1, ..UP }],
    );
}

#[test]
fn moves_down() {
    all_hold(
        &[
            DOWN,
            NEW_FRONT,
            Scenario { requests: 3, ..DOWN },
            Scenario { cuts: 1, unknowns: 1, ..DOWN },
            Scenario { restarts: 1, ..DOWN },
        ],
        &[Scenario { cuts: 1, restarts: 1, ..DOWN }],
    );
}

#[test]
fn moves_up_and_down() {
    all_hold(
        &[Scenario { downs: 1, ..UP }, Scenario { downs: 1, unknowns: 1, ..UP }, Scenario { ups: 1, ..DOWN }],
        &[
            Scenario { ups: 2, downs: 1, ..UP },
            Scenario { downs: 1, cuts: 1, unknowns: 1, ..UP },
            Scenario { ups: 1, unknowns: 1, ..DOWN },
        ],
    );
}

#[test]
fn moves_while_fronts_restart() {
    all_hold(&[UP_RESTART], &[Scenario { unknowns: 1, ..UP_RESTART }]);
}

#[test]
fn moves_while_a_front_is_overruled() {
    all_hold(
        &[OVERRIDE_UP, OVERRIDE_DOWN, OVERRIDE_OTHERS, OVERRIDE_RESTART],
        &[
            Scenario { overrides: 2, ..OVERRIDE_OTHERS },
            Scenario { overrides: 1, ups: 1, ..DOWN },
            Scenario { overrides: 2, ..UP },
        ],
    );
}

#[test]
fn a_commit_without_the_barrier_is_found() {
    is_found(Bug::NoBarrier, UP, Violation::AnsweredTooEarly);
}

#[test]
fn a_commit_without_drained_is_found() {
    is_found(Bug::DrainedNotAwaited, UP, Violation::AnsweredTooEarly);
}

#[test]
fn a_lost_commit_that_is_ignored_is_found() {
    is_found(Bug::LostCommitIgnored, UP, Violation::NotCounted);
}

#[test]
fn a_held_back_account_that_moves_is_found() {
    is_found(Bug::HeldBackMoved, UP, Violation::AnsweredTooEarly);
}

#[test]
fn fronts_that_differ_in_who_was_held_back_are_found() {
    is_found(Bug::HeldBackForgotten, UP, Violation::FrontsDiffer);
}

#[test]
fn a_rollout_read_twice_in_one_exchange_is_found() {
    is_found(Bug::RolloutReadTwice, UP, Violation::TwoVersions);
}

#[test]
fn a_move_down_that_holds_nobody_is_found() {
    is_found(Bug::NoHoldOnTheWayDown, DOWN, Violation::AnsweredTooEarly);
}

#[test]
fn requests_let_go_and_not_counted_are_found() {
    is_found(Bug::OvertakenNotCounted, DOWN, Violation::AnsweredTooEarly);
}

#[test]
fn a_mark_before_its_records_is_found() {
    is_found(Bug::MarkBeforeShipped, DOWN, Violation::AnsweredTooEarly);
}

#[test]
fn a_front_that_waits_for_ever_is_found() {
    is_found(Bug::NoSilence, UP, Violation::HeldForEver);
}

#[test]
fn a_commit_that_is_taken_after_a_rollback_is_found() {
    is_found(Bug::CommitAfterRollback, Scenario { downs: 1, ..UP }, Violation::LowerVersion);
}

/// A front whose first records have not reached the relay has decided on the account, and `drained` is said without it.
#[test]
fn a_front_that_the_relay_does_not_know_is_found() {
    is_found(Bug::UnknownFrontNotAwaited, NEW_FRONT, Violation::AnsweredTooEarly);
}

#[test]
fn silence_that_a_restart_forgets_is_found() {
    is_found(Bug::SilenceForgotten, UP_RESTART, Violation::NotCounted);
}

/// Four ways to the same: a commit that the front had answered for, a move down, a move of others, a restart.
#[test]
fn an_override_that_is_not_counted_is_found() {
    for scenario in [OVERRIDE_UP, OVERRIDE_DOWN, OVERRIDE_OTHERS, OVERRIDE_RESTART] {
        is_found(Bug::OverrideNotCounted, scenario, Violation::AnsweredTooEarly);
    }
}

/// The relay sees the intent of what still runs, and does not say `drained`: the move is called off.
#[test]
fn a_running_request_that_a_front_does_not_name_only_costs_the_move() {
    is_harmless(Bug::UnknownNotNamed, Scenario { unknowns: 1, ..UP });
}

/// The same: an intent that is shipped is waited for.
#[test]
fn a_mark_while_requests_run_only_costs_time() {
    is_harmless(Bug::MarkBeforeEnded, DOWN);
}

/// A front that goes back behind its mark does so only without a connection, and those are named, not waited for.
#[test]
fn a_mark_before_its_version_is_on_disk_harms_no_connected_front() {
    is_harmless(Bug::MarkBeforeKept, Scenario { restarts: 1, ..DOWN });
}
