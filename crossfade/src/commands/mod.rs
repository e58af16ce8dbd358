//! What each verb does: ask a part, show the answer, choose the exit code.

mod account;
mod audit;
mod backup;
mod bench;
mod discrepancies;
mod dlq;
mod exchanges;
pub(crate) mod log;
mod migrate;
mod overrule;
mod projection;
pub(crate) mod reconcile;
mod rollout;
pub(crate) mod status;
mod topics;

use crate::cli::{Cli, Command, ConfigCommand, Output};
use crate::client::{Exit, Parts};
use crate::{compose, config, render};
use std::process::ExitCode;
use std::time::Duration;

/// Runs one command to its end.
///
/// # Errors
/// Anything that kept it from its result; a [`crate::client::Failure`] inside says with which exit code.
pub async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let global = cli.global;
    let output = global.output;
    match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => crate::demo::run(args, output).await,
        Command::Up(args) => compose::up(config::load(&global)?, args.salvage).await,
        Command::Front(args) => compose::front(config::load(&global)?, args.salvage).await,
        Command::Relay(args) => compose::relay(config::load(&global)?, args.with.is_some()).await,
        Command::Engine => compose::engine(config::load(&global)?).await,
        Command::Comparator => compose::comparator(config::load(&global)?).await,
        #[cfg(feature = "demo")]
        Command::Legacy => compose::legacy(config::load(&global)?).await,
        Command::Status(args) => status::run(&Parts::new(&global)?, args, output).await,
        Command::Override(args) => {
            let front = args.front.clone();
            overrule::run(&Parts::new(&global)?.with_front(front), args, output).await
        }
        Command::Rollout(command) => rollout::run(&Parts::new(&global)?, command, output).await,
        Command::Exchanges(command) => exchanges::run(&Parts::new(&global)?, command, output).await,
        Command::Discrepancies(command) => discrepancies::run(&Parts::new(&global)?, command, output).await,
        Command::Reconcile(command) => reconcile::run(&Parts::new(&global)?, command, output).await,
        Command::Account(command) => account::run(&Parts::new(&global)?, command, output).await,
        Command::Transaction(command) => account::transaction(&Parts::new(&global)?, command, output).await,
        Command::Log(command) => log::run(&Parts::new(&global)?, command).await,
        Command::Backup { to, dry_run } => backup::backup(&config::load(&global)?, &to, dry_run, output),
        Command::Restore { from, dry_run } => backup::restore(&config::load(&global)?, &from, dry_run, output),
        Command::Projection(command) => projection::run(&Parts::new(&global)?, command, output).await,
        Command::Dlq(command) => dlq::run(&Parts::new(&global)?, command, output).await,
        Command::Audit(command) => audit::run(&global, &Parts::new(&global)?, command, output).await,
        Command::Topics(command) => topics::run(config::load(&global)?, command, output).await,
        Command::Migrate { dry_run } => {
            let timeout = Duration::from_secs(global.timeout);
            migrate::run(config::load(&global)?, dry_run, timeout, output).await
        }
        Command::Config(command) => configuration(&global, &command, output),
        Command::Bench(command) => bench::run(command, output).await,
        Command::Completions { shell } => completions(shell),
    }
}

fn configuration(global: &crate::cli::Global, command: &ConfigCommand, output: Output) -> anyhow::Result<Exit> {
    let file = config::load(global)?;
    match (command, output) {
        (ConfigCommand::Check, output) => {
            file.check()?;
            match output {
                Output::Table => render::line("the configuration is usable")?,
                Output::Json => render::line("{\"usable\": true}")?,
            }
        }
        (ConfigCommand::Print, Output::Table) => render::line(toml::to_string(&file)?.trim_end())?,
        (ConfigCommand::Print, Output::Json) => render::line(&serde_json::to_string_pretty(&file)?)?,
    }
    Ok(Exit::Done)
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    let mut command = <Cli as clap::CommandFactory>::command();
    clap_complete::generate(shell, &mut command, "crossfade", &mut script);
    render::line(String::from_utf8(script)?.trim_end())?;
    Ok(Exit::Done)
}

/// The exit code as the operating system takes it.
impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
