//! The handover as values: records and time in, who goes on where out.

use crate::support::chain::{Chain, abort, at, commit, foreign, moved, prepare};
use crate::support::{LEDGER, account};
use proxy::front::handover::{Admission, Effect, Exposed, Handover};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::rollout::{FrontBoot, Rollout, RolloutBody, Setting};
use wire::scalar::Digest;
use wire::words::{Stage, System};

const PATIENCE: Duration = Duration::from_millis(250);

fn me() -> FrontBoot {
    FrontBoot { front: "front-a".into(), boot: 3 }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A handover that has heard a chain from its beginning.
struct Bench {
    chain: Chain,
    handover: Handover,
}

impl Bench {
    fn new() -> Self {
        let handover = Handover::new(me(), PATIENCE, Rollout::genesis(LEDGER), false, Vec::new(), ms(0));
        Self { chain: Chain::new(LEDGER), handover }
    }

    /// One that stands at a percentage, with nothing under way.
    fn standing_at(percent: u16) -> Self {
        let mut bench = Self::new();
        let effects = bench.hear(moved(1, at(percent)), 0);
        bench.hear(RolloutBody::Drained { version: 1 }, 0);
        for effect in effects {
            let Effect::Settle { id } = effect else { panic!("{effect:?}") };
            bench.handover.settled(id);
        }
        assert_eq!(bench.handover.wake_at(), None);
        bench
    }

    fn hear(&mut self, body: RolloutBody, now: u64) -> Vec<Effect> {
        self.hear_exposed(body, &Exposed::default(), now)
    }

    fn hear_exposed(&mut self, body: RolloutBody, exposed: &Exposed, now: u64) -> Vec<Effect> {
        let bytes = self.chain.next(body);
        self.handover.fold(&bytes, exposed, ms(now)).unwrap()
    }

    fn admit(&self, account: &str) -> Admission {
        self.handover.view().admit(account)
    }
}

fn go(authority: System) -> Admission {
    Admission::Go { authority, overtaken: false, silent: false }
}

fn overtaken(authority: System) -> Admission {
    Admission::Go { authority, overtaken: true, silent: false }
}

fn silent(authority: System) -> Admission {
    Admission::Go { authority, overtaken: false, silent: true }
}

/// Stays at the engine, moves between 10 % and 25 %, stays at the legacy.
fn three() -> [String; 3] {
    [account(0, 10), account(10, 25), account(25, 100)]
}

fn running(accounts: &[&str]) -> Exposed {
    let running = accounts.iter().map(|account| (*account).to_owned()).collect();
    Exposed { running, ..Exposed::default() }
}

#[test]
fn up_holds_what_moves_and_releases_it_to_the_new_authority() {
    let [early, moving, late] = three();
    let mut bench = Bench::standing_at(10);
    let to = at(25);
    assert_eq!(bench.hear(prepare(2, to, &[me()]), 1_000), [Effect::Answer { version: 2, to }]);
    assert_eq!(bench.admit(&early), go(System::Engine));
    assert_eq!(bench.admit(&moving), Admission::Hold);
    assert_eq!(bench.admit(&late), go(System::Legacy));
    bench.handover.answered(2);
    assert_eq!(bench.hear(RolloutBody::Drained { version: 2 }, 1_050), []);
    assert_eq!(bench.admit(&moving), Admission::Hold, "drained is not committed");
    assert_eq!(bench.hear(commit(2, &[]), 1_060), []);
    assert_eq!(bench.admit(&moving), go(System::Engine));
    assert_eq!(bench.handover.wake_at(), None);
}

#[test]
fn an_account_held_back_stays_where_it_was() {
    let [_, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    bench.handover.answered(2);
    let effects = bench.hear_exposed(commit(2, &[&moving]), &running(&[&moving]), 10);
    assert_eq!(effects, []);
    assert_eq!(bench.admit(&moving), go(System::Legacy));
}

#[test]
fn an_abort_releases_to_the_old_authority() {
    let [_, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    bench.hear(abort(1), 5);
    assert_eq!(bench.admit(&moving), Admission::Hold, "another version's abort");
    bench.hear(abort(2), 10);
    assert_eq!(bench.admit(&moving), go(System::Legacy));
    assert_eq!(bench.handover.wake_at(), None);
    assert_eq!(bench.hear(commit(2, &[]), 20), [], "what was called off cannot be made");
    assert_eq!(bench.admit(&moving), go(System::Legacy));
}

#[test]
fn silence_releases_to_the_old_authority_after_twice_the_time() {
    let [_, moving, late] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 1_000);
    assert_eq!(bench.handover.wake_at(), Some(ms(1_500)));
    bench.handover.tick(ms(1_499));
    assert_eq!(bench.admit(&moving), Admission::Hold);
    bench.handover.tick(ms(1_500));
    assert_eq!(bench.admit(&moving), silent(System::Legacy));
    assert_eq!(bench.admit(&late), go(System::Legacy));
    assert_eq!(bench.handover.wake_at(), None);
    bench.hear(abort(2), 3_000);
    assert_eq!(bench.admit(&moving), go(System::Legacy));
}

#[test]
fn a_commit_after_silence_makes_those_that_went_on_overtaken() {
    let [_, moving, _] = three();
    let other = crate::support::accounts(10, 25).nth(1).unwrap();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    bench.handover.answered(2);
    bench.handover.tick(ms(500));
    let exposed = Exposed { silent: BTreeSet::from([moving.clone()]), requests: 4, ..Exposed::default() };
    let effects = bench.hear_exposed(commit(2, &[]), &exposed, 600);
    let [Effect::Overtook { requests: 4 }, Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(bench.admit(&other), go(System::Engine), "it was not asked for in between");
    assert_eq!(bench.admit(&moving), Admission::Hold);
    assert_eq!(bench.handover.scope(id).unwrap().moved_from(&moving), Some(System::Legacy));
    bench.handover.tick(ms(850));
    assert_eq!(bench.admit(&moving), overtaken(System::Engine));
    bench.handover.settled(id);
    assert_eq!(bench.admit(&moving), overtaken(System::Engine), "that it was delivered, nobody says");
    bench.hear(moved(3, at(25)), 900);
    assert_eq!(bench.admit(&moving), go(System::Engine), "the next version begins anew");
}

#[test]
fn a_commit_before_the_answer_holds_what_still_runs_at_the_old_authority() {
    let [early, moving, _] = three();
    let other = crate::support::accounts(10, 25).nth(1).unwrap();
    let mut bench = Bench::standing_at(10);
    // Prepared without asking this front: it was not connected then.
    assert_eq!(bench.hear(prepare(2, at(25), &[]), 0), []);
    assert_eq!(bench.admit(&moving), Admission::Hold, "held all the same");
    let effects = bench.hear_exposed(commit(2, &[]), &running(&[&moving, &early]), 10);
    let [Effect::Settle { id: all }, Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!((bench.admit(&moving), bench.admit(&other)), (Admission::Hold, Admission::Hold));
    bench.handover.settled(id);
    assert_eq!(bench.admit(&moving), Admission::Hold, "what it has decided until now is not shipped");
    bench.handover.settled(all);
    assert_eq!((bench.admit(&moving), bench.admit(&other)), (overtaken(System::Engine), go(System::Engine)));
}

#[test]
fn a_boot_that_was_not_asked_ships_what_was_decided_before_anybody_goes_on() {
    let [early, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    // Restarted before the commit: the boot before has decided until then.
    let next = FrontBoot { boot: me().boot + 1, ..me() };
    let mut handover = Handover::new(next, PATIENCE, bench.handover.rollout().clone(), false, Vec::new(), ms(0));
    let effects = handover.fold(&bench.chain.next(commit(2, &[])), &Exposed::default(), ms(10)).unwrap();
    let [Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(handover.view().admit(&moving), Admission::Hold);
    assert_eq!(handover.view().admit(&early), go(System::Engine));
    handover.tick(ms(260));
    assert_eq!(handover.view().admit(&moving), overtaken(System::Engine), "it took too long");
    handover.settled(id);
    assert_eq!(handover.view().admit(&moving), go(System::Engine));
}

#[test]
fn what_a_lifted_override_holds_is_held_whatever_the_dial_does() {
    let [early, _, _] = three();
    let mut bench = Bench::standing_at(100);
    let [Effect::Settle { id }] = bench.handover.set_override(true, ms(0))[..] else { panic!("nothing to settle") };
    bench.handover.settled(id);
    let [Effect::Settle { id }] = bench.handover.set_override(false, ms(10))[..] else { panic!("nothing to settle") };
    bench.hear(moved(2, at(37)), 20);
    assert_eq!(bench.admit(&early), Admission::Hold, "it still runs at the legacy");
    bench.handover.tick(ms(260));
    assert_eq!(bench.admit(&early), overtaken(System::Engine));
    bench.handover.settled(id);
    assert_eq!(bench.admit(&early), go(System::Engine), "from now on the dial's word tells what was overtaken");
}

#[test]
fn down_switches_at_once_and_waits_for_everything_decided_before() {
    let [early, moving, late] = three();
    for settled_first in [false, true] {
        let mut bench = Bench::standing_at(25);
        let effects = bench.hear(moved(2, at(10)), 1_000);
        let [Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
        assert_eq!(bench.admit(&early), go(System::Engine));
        assert_eq!(bench.admit(&moving), Admission::Hold);
        assert_eq!(bench.admit(&late), go(System::Legacy));
        let scope = bench.handover.scope(id).unwrap();
        assert_eq!(scope.moved_from(&moving), Some(System::Engine));
        assert_eq!((scope.moved_from(&early), scope.moved_from(&late)), (None, None));
        if settled_first {
            bench.handover.settled(id);
            assert_eq!(bench.admit(&moving), Admission::Hold);
            bench.hear(RolloutBody::Drained { version: 2 }, 1_010);
        } else {
            bench.hear(RolloutBody::Drained { version: 2 }, 1_010);
            assert_eq!(bench.admit(&moving), Admission::Hold);
            bench.handover.settled(id);
        }
        assert_eq!(bench.admit(&moving), go(System::Legacy));
        assert_eq!(bench.handover.wake_at(), None);
    }
}

#[test]
fn down_goes_on_after_the_handovers_time_and_is_overtaken_until_drained() {
    let [_, moving, _] = three();
    let mut bench = Bench::standing_at(25);
    let effects = bench.hear(moved(2, at(10)), 1_000);
    let [Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(bench.handover.wake_at(), Some(ms(1_250)));
    bench.handover.tick(ms(1_249));
    assert_eq!(bench.admit(&moving), Admission::Hold);
    bench.handover.tick(ms(1_250));
    assert_eq!(bench.admit(&moving), overtaken(System::Legacy));
    bench.handover.settled(id);
    bench.hear(RolloutBody::Drained { version: 1 }, 1_300);
    assert_eq!(bench.admit(&moving), overtaken(System::Legacy), "another version's");
    bench.hear(RolloutBody::Drained { version: 2 }, 1_400);
    assert_eq!(bench.admit(&moving), go(System::Legacy));
}

#[test]
fn down_during_a_prepare_calls_it_off() {
    let [early, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    assert_eq!(bench.hear(moved(3, at(0)), 50).len(), 1);
    assert_eq!(bench.admit(&moving), go(System::Legacy), "it never moved");
    assert_eq!(bench.admit(&early), Admission::Hold, "it has to come back");
    assert_eq!(bench.hear(commit(2, &[]), 60), []);
    assert_eq!(bench.admit(&moving), go(System::Legacy));
}

#[test]
fn two_moves_down_in_a_row_each_wait_for_their_own_accounts() {
    let [early, moving, _] = three();
    let mut bench = Bench::standing_at(25);
    let first = bench.hear(moved(2, at(10)), 0);
    let second = bench.hear(moved(3, at(0)), 10);
    assert_eq!((bench.admit(&early), bench.admit(&moving)), (Admission::Hold, Admission::Hold));
    for effect in first.into_iter().chain(second) {
        let Effect::Settle { id } = effect else { panic!("{effect:?}") };
        bench.handover.settled(id);
    }
    bench.hear(RolloutBody::Drained { version: 2 }, 20);
    assert_eq!((bench.admit(&early), bench.admit(&moving)), (Admission::Hold, go(System::Legacy)));
    bench.hear(RolloutBody::Drained { version: 3 }, 30);
    assert_eq!(bench.admit(&early), go(System::Legacy));
}

#[test]
fn what_moves_no_account_holds_nobody() {
    let mut bench = Bench::new();
    let capture = Setting { stage: Stage::Capture, ..at(0) };
    for (version, to) in [(1, at(0)), (2, capture), (3, at(0))] {
        assert_eq!(bench.hear(moved(version, to), 0), []);
    }
    bench.hear(RolloutBody::Freeze, 0);
    bench.hear(RolloutBody::Unfreeze, 0);
    assert_eq!(bench.admit(&account(0, 1)), go(System::Legacy));
    assert_eq!(bench.handover.wake_at(), None);
}

fn pin(version: u64, account: &str, system: Option<System>) -> RolloutBody {
    RolloutBody::Pin { version, account: account.into(), system }
}

#[test]
fn a_pin_moves_nobody_before_the_handover_to_the_same_setting() {
    let [early, moving, late] = three();
    for (name, system, from, to) in [
        (&early, Some(System::Legacy), System::Engine, System::Legacy),
        (&late, Some(System::Engine), System::Legacy, System::Engine),
    ] {
        let mut bench = Bench::standing_at(10);
        assert_eq!(bench.hear(pin(2, name, system), 0), [], "nothing ends, nothing is shipped for it");
        assert_eq!(bench.admit(name), go(from));
        assert!(bench.handover.awaited().next().is_none(), "nobody waits for a mark");
        assert_eq!(bench.hear(prepare(3, at(10), &[me()]), 10), [Effect::Answer { version: 3, to: at(10) }]);
        assert_eq!((bench.admit(name), bench.admit(&moving)), (Admission::Hold, go(System::Legacy)));
        bench.handover.answered(3);
        bench.hear(RolloutBody::Drained { version: 3 }, 20);
        assert_eq!(bench.hear(commit(3, &[]), 30), []);
        assert_eq!(bench.admit(name), go(to));
        // Unpinned it stays until the next handover, too.
        assert_eq!(bench.hear(pin(4, name, None), 40), []);
        assert_eq!(bench.admit(name), go(to));
        bench.hear(prepare(5, at(10), &[me()]), 50);
        bench.handover.answered(5);
        bench.hear(commit(5, &[]), 60);
        assert_eq!(bench.admit(name), go(from));
    }
}

#[test]
fn a_pin_whose_handover_is_called_off_leaves_its_account_where_it_was() {
    let [early, _, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(pin(2, &early, Some(System::Legacy)), 0);
    bench.hear(prepare(3, at(10), &[me()]), 0);
    bench.hear(abort(3), 10);
    assert_eq!(bench.admit(&early), go(System::Engine));
    // Down it goes at once, held until everything the engine decided is delivered.
    let effects = bench.hear(moved(4, at(0)), 20);
    let [Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(bench.admit(&early), Admission::Hold);
    bench.handover.settled(id);
    bench.hear(RolloutBody::Drained { version: 4 }, 30);
    assert_eq!(bench.admit(&early), go(System::Legacy));
}

#[test]
fn a_pin_calls_off_what_was_prepared_without_it() {
    let [_, moving, late] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    assert_eq!(bench.admit(&moving), Admission::Hold);
    bench.hear(pin(3, &late, Some(System::Legacy)), 10);
    assert_eq!(bench.admit(&moving), go(System::Legacy));
    assert!(!bench.handover.is_preparing());
    assert_eq!(bench.hear(commit(2, &[]), 20), []);
    assert_eq!(bench.admit(&moving), go(System::Legacy));
}

#[test]
fn between_capture_and_shadow_pinned_accounts_go_up_by_a_handover_and_down_at_once() {
    let late = account(50, 100);
    let capture = Setting { stage: Stage::Capture, ..at(0) };
    let mut bench = Bench::new();
    bench.hear(pin(1, &late, Some(System::Engine)), 0);
    assert_eq!(bench.admit(&late), go(System::Legacy), "in capture the engine follows nobody");
    assert_eq!(bench.hear(moved(2, at(0)), 0), []);
    assert_eq!(bench.admit(&late), go(System::Legacy));
    bench.hear(prepare(3, at(0), &[me()]), 0);
    bench.handover.answered(3);
    bench.hear(commit(3, &[]), 0);
    assert_eq!(bench.admit(&late), go(System::Engine));
    let effects = bench.hear(moved(4, capture), 0);
    let [Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(bench.admit(&late), Admission::Hold);
    assert_eq!(bench.handover.awaited().map(|(version, _)| version).collect::<Vec<_>>(), [4]);
    bench.handover.settled(id);
    bench.hear(RolloutBody::Drained { version: 4 }, 10);
    assert_eq!(bench.admit(&late), go(System::Legacy));
}

#[test]
fn a_record_of_another_chain_changes_nothing_and_an_unreadable_one_stops() {
    let [_, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    let foreign = foreign(Digest::of(b"elsewhere"), moved(2, at(100)));
    assert_eq!(bench.handover.fold(&foreign, &Exposed::default(), ms(0)), Ok(Vec::new()));
    assert_eq!(bench.admit(&moving), go(System::Legacy));
    assert!(bench.handover.fold(b"nonsense", &Exposed::default(), ms(0)).is_err());
    bench.hear(moved(2, at(10)), 0);
    assert_eq!(bench.handover.rollout().version, 2, "the chain itself goes on");
}

#[test]
fn the_override_outranks_every_version_until_it_is_taken_back() {
    let [early, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    let effects = bench.handover.set_override(true, ms(0));
    let [Effect::Settle { id }] = effects[..] else { panic!("{effects:?}") };
    assert_eq!((bench.admit(&early), bench.admit(&moving)), (Admission::Hold, go(System::Legacy)));
    bench.handover.settled(id);
    assert_eq!(bench.admit(&early), overtaken(System::Legacy));
    // The comparator goes on without it: this front neither answers nor holds.
    assert_eq!(bench.hear(prepare(2, at(25), &[me()]), 100), []);
    assert_eq!(bench.admit(&moving), silent(System::Legacy));
    bench.hear(commit(2, &[]), 200);
    // Everybody else sends it to the engine by now: whatever moves, and however often it starts anew, that is counted.
    assert_eq!(bench.admit(&moving), overtaken(System::Legacy));
    let again = Handover::new(me(), PATIENCE, bench.handover.rollout().clone(), true, Vec::new(), ms(0));
    assert_eq!(again.view().admit(&moving), overtaken(System::Legacy));
    assert_eq!(bench.handover.view().rollout.setting, at(0));
    assert_eq!(bench.handover.set_override(true, ms(300)), [], "it is in force already");
    assert_eq!(bench.handover.set_override(false, ms(400)).len(), 1);
    assert_eq!(bench.admit(&moving), Admission::Hold);
    bench.handover.tick(ms(650));
    assert_eq!(bench.admit(&moving), overtaken(System::Engine));
    bench.hear(moved(3, at(25)), 700);
    assert_eq!(bench.admit(&moving), overtaken(System::Engine), "what ran at the legacy is not shipped");
}

#[test]
fn the_override_also_overrules_pins_to_the_engine() {
    let [early, _, late] = three();
    let genesis = Rollout::genesis(LEDGER);
    let mut rollout = Rollout { setting: at(10), ..genesis.clone() };
    rollout.pins.insert(late.clone(), System::Engine);
    // One that is to go to the legacy, and whose handover was late.
    rollout.pins.insert(early.clone(), System::Legacy);
    rollout.held_back.insert(early.clone(), System::Engine);
    let mut handover = Handover::new(me(), PATIENCE, rollout, true, Vec::new(), ms(0));
    for name in [&early, &late] {
        assert_eq!(handover.view().admit(name), overtaken(System::Legacy));
    }
    assert_eq!(handover.set_override(false, ms(0)).len(), 1);
    for name in [&early, &late] {
        assert_eq!(handover.view().admit(name), Admission::Hold, "back to the engine");
    }
    let overridden = Handover::new(me(), PATIENCE, genesis, true, Vec::new(), ms(0));
    assert_eq!(overridden.view().rollout.setting.stage, Stage::Capture, "it never goes up");
}

#[test]
fn a_restarted_front_takes_up_what_was_under_way() {
    let [_, moving, late] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    let pending = Handover::new(me(), PATIENCE, bench.handover.rollout().clone(), false, Vec::new(), ms(0));
    assert_eq!((pending.view().admit(&moving), pending.resume()), (Admission::Hold, vec![]));
    assert_eq!(pending.view().admit(&late), go(System::Legacy));
    assert_eq!(pending.wake_at(), Some(ms(500)));

    bench.hear(moved(3, at(0)), 10);
    let awaited: Vec<_> = bench.handover.awaited().map(|(version, from)| (version, from.clone())).collect();
    assert_eq!(awaited.iter().map(|(version, from)| (*version, from.setting)).collect::<Vec<_>>(), [(3, at(10))]);
    let drained = RolloutBody::Drained { version: 3 };
    let mut handover = Handover::new(me(), PATIENCE, bench.handover.rollout().clone(), false, awaited, ms(0));
    let early = account(0, 10);
    assert_eq!(handover.view().admit(&early), Admission::Hold);
    let [Effect::Settle { id }] = handover.resume()[..] else { panic!("nothing to settle") };
    handover.settled(id);
    handover.fold(&bench.chain.next(drained), &Exposed::default(), ms(10)).unwrap();
    assert_eq!(handover.view().admit(&early), go(System::Legacy));
    assert!(handover.awaited().next().is_none());
}

#[test]
fn a_restarted_front_takes_up_every_move_down_that_is_not_drained() {
    let [early, moving, _] = three();
    let mut bench = Bench::standing_at(25);
    bench.hear(moved(2, at(10)), 0);
    bench.hear(moved(3, at(0)), 10);
    let awaited: Vec<_> = bench.handover.awaited().map(|(version, from)| (version, from.clone())).collect();
    let mut handover = Handover::new(me(), PATIENCE, bench.handover.rollout().clone(), false, awaited, ms(0));
    for effect in handover.resume() {
        let Effect::Settle { id } = effect else { panic!("{effect:?}") };
        handover.settled(id);
    }
    handover.fold(&bench.chain.next(RolloutBody::Drained { version: 3 }), &Exposed::default(), ms(10)).unwrap();
    assert_eq!(handover.view().admit(&moving), Admission::Hold, "the move before it is not drained");
    handover.fold(&bench.chain.next(RolloutBody::Drained { version: 2 }), &Exposed::default(), ms(20)).unwrap();
    for account in [&early, &moving] {
        assert_eq!(handover.view().admit(account), go(System::Legacy));
    }
}

#[test]
fn a_rollback_under_an_override_is_counted_until_it_is_drained() {
    let [early, _, late] = three();
    let mut bench = Bench::standing_at(10);
    let [Effect::Settle { id }] = bench.handover.set_override(true, ms(0))[..] else { panic!("nothing to settle") };
    let effects = bench.hear(moved(2, at(0)), 10);
    assert_eq!(bench.admit(&early), Admission::Hold, "the override waits for what runs here, whatever the dial says");
    bench.handover.settled(id);
    assert_eq!(bench.admit(&early), overtaken(System::Legacy), "others have decided on it at the engine");
    assert_eq!(bench.admit(&late), go(System::Legacy));
    for effect in effects {
        let Effect::Settle { id } = effect else { panic!("{effect:?}") };
        bench.handover.settled(id);
    }
    // The override is no longer needed, and still nobody knows where what was decided is.
    assert_eq!(bench.handover.set_override(false, ms(20)), []);
    assert_eq!(bench.admit(&early), Admission::Hold);
    bench.hear(RolloutBody::Drained { version: 2 }, 30);
    assert_eq!(bench.admit(&early), go(System::Legacy));
}

#[test]
fn what_an_override_sends_past_a_move_that_this_front_has_answered_for_is_counted() {
    let [_, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    bench.handover.answered(2);
    bench.handover.set_override(true, ms(10));
    assert_eq!(bench.admit(&moving), silent(System::Legacy));
    let silent = BTreeSet::from([moving.clone()]);
    let exposed = Exposed { silent, requests: 3, ..Exposed::default() };
    assert_eq!(bench.hear_exposed(commit(2, &[]), &exposed, 20), [Effect::Overtook { requests: 3 }]);
    assert_eq!(bench.admit(&moving), overtaken(System::Legacy));
}

#[test]
fn an_account_that_went_on_is_overtaken_also_if_its_requests_are_counted_already() {
    let [_, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    bench.handover.answered(2);
    let exposed = Exposed { silent: BTreeSet::from([moving.clone()]), ..Exposed::default() };
    let [Effect::Settle { .. }] = bench.hear_exposed(commit(2, &[]), &exposed, 20)[..] else { panic!("not held") };
    assert_eq!(bench.admit(&moving), Admission::Hold);
}

#[test]
fn while_a_commit_is_taken_up_nobody_goes_on_in_silence() {
    let [_, moving, _] = three();
    let mut bench = Bench::standing_at(10);
    bench.hear(prepare(2, at(25), &[me()]), 0);
    bench.handover.tick(ms(500));
    assert_eq!(bench.admit(&moving), silent(System::Legacy));
    assert_eq!(bench.handover.view().holding_the_silent().admit(&moving), Admission::Hold);
    bench.handover.set_override(true, ms(510));
    assert_eq!(bench.handover.view().holding_the_silent().admit(&moving), silent(System::Legacy), "an emergency");
}
