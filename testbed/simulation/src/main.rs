//! `./dev sim`: runs the worlds of many seeds, and says which of them went wrong.

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::time::Duration;
use testbed_simulation::many::{Plan, Total, run_all};
use testbed_simulation::{Mistake, What};
use tracing_subscriber::filter::LevelFilter;

/// What goes wrong has to go wrong so often in a run of so many seeds, or it proves nothing.
const LEAST: u64 = 100;
const SEEDS_FOR_LEAST: u64 = 2_000;

/// Runs the engine in simulated worlds.
#[derive(Parser)]
#[command(name = "./dev sim", version = None)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// A mistake to be planted into the engine: then a seed that finds it is wanted, and ends the run.
    #[arg(long)]
    plant: Option<Mistake>,
    /// Seeds that run at once.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Says everything that happens.
    #[arg(long)]
    says: bool,
}

#[allow(clippy::print_stdout, reason = "this is the command")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.says {
        tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(std::io::stderr).init();
    }
    let began = host::clock::now();
    let total = run(&arguments);
    let (ran, seconds) = (total.traces.len(), began.elapsed().as_secs_f64());
    println!("{ran} seeds in {seconds:.1} s, {} requests, trace {}", total.requests, total.trace());
    for what in What::all() {
        println!("{:>10}  {what}", total.fired.times(what));
    }
    for (seed, violations) in &total.wrong {
        let plant = arguments.plant.map(|mistake| format!(" --plant {mistake}")).unwrap_or_default();
        println!("seed {seed} is wrong; replay: ./dev sim --seeds 1 --from {seed}{plant} --says");
        let shortened = violations.iter().take(5).map(|violation| violation.chars().take(800).collect::<String>());
        shortened.for_each(|violation| println!("  {violation}"));
    }
    if let Some(mistake) = arguments.plant {
        println!("{mistake} was {}", if total.wrong.is_empty() { "not found" } else { "found" });
        return if total.wrong.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let least = if arguments.seeds >= SEEDS_FOR_LEAST { LEAST } else { 0 };
    let rare = total.fired.rarer_than(least);
    rare.iter().for_each(|(what, times)| println!("{what} happened only {times} times: the run proves nothing of it"));
    if total.wrong.is_empty() && rare.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments) -> Total {
    let progress = ProgressBar::new(arguments.seeds);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {eta} left") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(500));
    let plan = Plan {
        seeds: arguments.from..arguments.from.saturating_add(arguments.seeds),
        plant: arguments.plant,
        threads: arguments.threads,
        says: arguments.says,
    };
    let total = run_all(&plan, || progress.inc(1));
    progress.finish_and_clear();
    total
}
