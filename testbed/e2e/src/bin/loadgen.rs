//! `./dev loadgen seed`: a large ledger, the same in the engine and in the reference legacy, quickly.
//!
//! The engine is sent batches. The legacy, which knows none, does not run meanwhile: its store is filled directly, with the
//! rows that requests would have made.

#![allow(clippy::print_stdout, reason = "its figures are its result")]

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::{Args, Parser, Subcommand, ValueEnum};
use crossfade::cli::{Global, Output};
use crossfade::client::{Exit, Failure};
use crossfade::{config, render};
use host::http::Client;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use testbed_legacy::seed::Request;
use testbed_loadgen::seed::{Batching, Plan, Transaction, is_currency};
use wire::ids::is_account_id;

/// An engine that is not ready by then is not started.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Makes load.
#[derive(Parser)]
#[command(name = "loadgen")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes accounts and transactions: in the engine, which has to run, and in the legacy's store, which has to be empty
    /// and nobody's. Nothing is captured, so do it before a front is started.
    Seed(Seed),
}

#[derive(Args)]
struct Seed {
    /// USER accounts.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=9_999_999))]
    accounts: u32,
    /// Transactions: three of four are topups, the others transfers and withdrawals after them.
    #[arg(long, default_value_t = 2_000_000)]
    transactions: u32,
    /// Same seed, same ledger.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begins the ids of all accounts and keys.
    #[arg(long, default_value = "seed")]
    prefix: String,
    /// The currency of all accounts.
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// Where.
    #[arg(long, value_enum, default_value_t = Into::Both)]
    into: Into,
    /// Say what would be made, and make nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Into {
    Both,
    Engine,
    Legacy,
}

impl Seed {
    fn plan(&self) -> Plan {
        let transactions = self.transactions as usize;
        let spendings = transactions / 4;
        Plan {
            seed: self.seed,
            prefix: self.prefix.clone(),
            currency: self.currency.clone(),
            users: self.accounts as usize,
            externals: 5,
            topups: transactions - spendings,
            spendings,
        }
    }
}

/// What was made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    accounts: usize,
    topups: usize,
    spendings: usize,
    /// None of a dry run.
    figures: Vec<Figure>,
}

/// How quickly a part of it was.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figure {
    what: String,
    count: usize,
    seconds: f64,
    per_second: f64,
}

impl Figure {
    fn of(what: String, count: usize, began: Instant) -> Self {
        let seconds = began.elapsed().as_secs_f64();
        Self { what, count, seconds, per_second: count as f64 / seconds }
    }
}

impl Made {
    fn nothing_yet(plan: &Plan) -> Self {
        let accounts = plan.accounts_count();
        Self { accounts, topups: plan.topups, spendings: plan.spendings, figures: Vec::new() }
    }

    /// People are told at once: it may take long until all is made.
    fn add(&mut self, figure: Figure, output: Output) {
        if output == Output::Table {
            let Figure { what, count, seconds, per_second } = &figure;
            println!("{count} {what} in {seconds:.1} s = {per_second:.0}/s");
        }
        self.figures.push(figure);
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { global, command: Command::Seed(seed) } = Cli::parse();
    match run(&global, &seed).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crossfade::fail("loadgen", &error),
    }
}

async fn run(global: &Global, seed: &Seed) -> anyhow::Result<()> {
    let plan = seed.plan();
    check(&plan)?;
    let file = config::load(global)?;
    file.check()?;
    let to_engine = config::targets(global)?.engine.filter(|_| seed.into != Into::Legacy);
    let to_legacy = file.legacy.filter(|_| seed.into != Into::Engine);
    if to_engine.is_none() && seed.into != Into::Legacy {
        return Err(usage("where is the engine? give --engine or a section [engine]").into());
    }
    if to_legacy.is_none() && seed.into != Into::Engine {
        return Err(usage("the configuration has no section [legacy]").into());
    }
    let mut made = Made::nothing_yet(&plan);
    if seed.dry_run {
        return render::show(global.output, &made, |made| {
            format!("{} accounts, {} topups, {} spendings", made.accounts, made.topups, made.spendings)
        });
    }
    if let Some(engine) = &to_engine {
        until_ready(engine).await?;
    }
    // The legacy first: it either takes all, or nothing.
    if let Some(legacy) = to_legacy {
        let plan = plan.clone();
        made.add(tokio::task::spawn_blocking(move || fill_legacy(&legacy, &plan)).await??, global.output);
    }
    if let Some(engine) = &to_engine {
        let filled = fill_engine(engine, &plan, |figure| made.add(figure, global.output)).await;
        filled.context("the engine is not filled yet: give the same command again with `--into engine`")?;
    }
    match global.output {
        Output::Json => render::line(&serde_json::to_string_pretty(&made)?),
        Output::Table => Ok(()),
    }
}

/// What no system would take is said before anything is made.
fn check(plan: &Plan) -> Result<(), Failure> {
    // The ids of all users are of one length, and none is longer.
    let id = plan.user(0);
    if !is_account_id(&id) {
        let grammar = "1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `:` and `-`";
        return Err(usage(&format!("--prefix would make `{id}`, which is no account id: those are {grammar}")));
    }
    if !is_currency(&plan.currency) {
        return Err(usage(&format!("--currency `{}` is none: those are 3 to 10 capital letters", plan.currency)));
    }
    Ok(())
}

fn usage(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
}

/// An engine that has only just been started may not be, yet.
async fn until_ready(engine: &str) -> anyhow::Result<()> {
    let (client, url) = (Client::new(READY_WITHIN, 1 << 20), format!("{engine}/readyz"));
    let began = Instant::now();
    loop {
        let trouble = match client.get(&url, None, READY_WITHIN).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
            Err(error) => error.to_string(),
        };
        ensure!(began.elapsed() < READY_WITHIN, "the engine at {engine} is not ready: {trouble}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn fill_legacy(legacy: &testbed_legacy::Config, plan: &Plan) -> anyhow::Result<Figure> {
    let count = plan.accounts_count() + plan.topups + plan.spendings;
    let bar = bar("legacy", count)?;
    let began = Instant::now();
    let account = |body: serde_json::Value| Request { path: "/accounts", body: Bytes::from(body.to_string()) };
    let transaction = |transaction: Transaction| Request {
        path: match transaction.kind {
            "topup" => "/transactions/topup",
            "transfer" => "/transactions/transfer",
            _ => "/transactions/withdraw",
        },
        body: Bytes::from(transaction.body(plan).to_string()),
    };
    let requests = plan.accounts().map(account).chain(plan.topups().chain(plan.spendings()).map(transaction));
    testbed_legacy::seed::seed(legacy, requests, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(Figure::of("legacy: accounts and transactions".to_owned(), count, began))
}

async fn fill_engine(url: &str, plan: &Plan, mut told: impl FnMut(Figure)) -> anyhow::Result<()> {
    let engine = Batching::new(url);
    let began = Instant::now();
    let making = bar("engine, accounts", plan.accounts_count())?;
    engine.make_accounts(plan, |made| making.inc(made)).await?;
    making.finish_and_clear();
    told(Figure::of("engine: accounts".to_owned(), plan.accounts_count(), began));
    for (name, transactions, count) in [
        ("topups", Box::new(plan.topups()) as Box<dyn Iterator<Item = Transaction>>, plan.topups),
        ("transfers and withdrawals", Box::new(plan.spendings()), plan.spendings),
    ] {
        let began = Instant::now();
        let sending = bar(&format!("engine, {name}"), count)?;
        engine.send(plan, transactions, |sent| sending.inc(sent)).await?;
        sending.finish_and_clear();
        told(Figure::of(format!("engine: {name}"), count, began));
    }
    Ok(())
}

fn bar(what: &str, count: usize) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{msg}: {bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left")?);
    Ok(bar.with_message(what.to_owned()))
}
