//! Mistakes planted in the decisions are found by the stories and the random worlds.

use super::random::{Cohort, World};
use super::{doubts, moves, order, random};
use crate::planted::Mistake;
use crate::planted::tests::is_found;

/// Random worlds within which a mistake has to be found.
const SEEDS: u64 = 200;

/// Whether some random world fails with a mistake; says in which.
fn is_found_at_random(mistake: Mistake, cohort: Cohort) -> bool {
    let found = (0..SEEDS).find(|seed| is_found(mistake, || World::new(*seed, cohort).run()));
    println!("{mistake:?}: {found:?}");
    found.is_some()
}

#[test]
fn a_handover_without_the_barrier_of_the_fronts() {
    assert!(is_found(Mistake::NoBarrier, moves::a_move_up_waits_for_the_mark_of_every_front));
}

#[test]
fn a_refused_leg_that_is_executed() {
    assert!(is_found_at_random(Mistake::RefusedLegExecuted, Cohort::Legacy));
}

#[test]
fn a_reoffer_that_is_given_up_early() {
    assert!(is_found_at_random(Mistake::ReofferGivenUpEarly, Cohort::Legacy));
}

#[test]
fn a_leg_that_is_sent_without_being_announced() {
    assert!(is_found(Mistake::SendingNotRecorded, doubts::a_relay_that_starts_asks_for_what_another_one_may_have_sent));
}

#[test]
fn a_lane_of_the_second_account_that_is_ignored() {
    assert!(is_found_at_random(Mistake::SecondLaneIgnored, Cohort::Mixed));
}

#[test]
fn an_unknown_that_is_taken_for_absent() {
    assert!(is_found_at_random(Mistake::UnknownTakenForAbsent, Cohort::Legacy));
}

#[test]
fn an_alias_of_the_wrong_system() {
    assert!(is_found(Mistake::AliasOfTheOtherSystem, order::a_refund_waits_for_the_legacys_id_of_what_it_refunds));
}

#[test]
fn nothing_is_found_where_nothing_is_planted() {
    // The mistakes of this list have no part in these trials.
    assert!(!is_found(Mistake::PercentReadTwice, || World::new(1, Cohort::Mixed).run()));
    assert!(!is_found(Mistake::PercentReadTwice, random::any_world_in_which_both_decide));
}
