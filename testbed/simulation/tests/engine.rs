//! The engine holds what it promises in the worlds of many seeds, and mistakes planted into it are found there.
//!
//! A failing run says which seed it was, and the command that replays it. `CROSSFADE_SIM_SEEDS` runs so many,
//! `CROSSFADE_SIM_FROM` others.

use std::process::Command;
use testbed_simulation::Mistake;
use testbed_simulation::many::{Plan, run_all};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn plan(from: u64, seeds: u64, plant: Option<Mistake>) -> Plan {
    Plan { seeds: from..from + seeds, plant, threads: 2, says: false }
}

#[test]
fn every_seed_holds() {
    let (from, seeds) = (number("CROSSFADE_SIM_FROM", 0), number("CROSSFADE_SIM_SEEDS", 500));
    let total = run_all(&plan(from, seeds, None), || {});
    for (seed, violations) in &total.wrong {
        println!("seed {seed} is wrong; replay: ./dev sim --seeds 1 --from {seed} --says");
        violations.iter().for_each(|violation| println!("  {violation}"));
    }
    assert_eq!(total.wrong.len(), 0);
    assert_eq!(total.traces.len() as u64, seeds);
    // A hundred times in two thousand seeds.
    assert_eq!(total.fired.rarer_than(seeds / 20), [], "what went wrong too seldom proves nothing");
}

#[test]
fn every_planted_mistake_is_found() {
    let missed = Mistake::ALL.into_iter().filter(|mistake| {
        let total = run_all(&plan(0, 2_000, Some(*mistake)), || {});
        println!("{mistake}: found by seed {:?} of {}", total.wrong.keys().next(), total.traces.len());
        total.wrong.is_empty()
    });
    assert_eq!(missed.collect::<Vec<_>>(), []);
}

#[test]
fn a_seed_says_everything_that_happens_in_every_process() {
    const SEEDS: u64 = 40;
    let here = run_all(&plan(100, SEEDS, None), || {}).trace().to_string();
    for _ in 0..2 {
        let there = Command::new(env!("CARGO_BIN_EXE_testbed-simulation"))
            .args(["--from", "100", "--seeds", &SEEDS.to_string(), "--threads", "1"])
            .output()
            .unwrap();
        let said = String::from_utf8(there.stdout).unwrap();
        assert!(said.contains(&format!("trace {here}")), "{said}");
    }
}
