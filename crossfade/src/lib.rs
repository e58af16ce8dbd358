//! The command line, the configuration and the composition of the parts: the only crate that knows them all.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line as clap understands it |
//! | [`config`] | the configuration file and its overrides |
//! | [`compose`] | which parts run in this process, and how they are stopped |
//! | [`topics`] | every topic of a ledger in Kafka |
//! | [`client`] | asking running parts; exit codes |
//! | [`commands`] | what each verb does |
//! | [`render`] | tables for people, JSON for programs |
//! | [`demo`] | the whole cutover on one machine, with traffic |

pub mod cli;
pub mod client;
pub mod commands;
pub mod compose;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod render;
pub mod topics;

use clap::Parser;
use client::{Exit, Failure};
use std::process::ExitCode;

/// The program: parses the command line, runs the command, and says with which code it ended.
pub fn main() -> ExitCode {
    // clap ends the process itself for --help (0) and for a wrong command line (2).
    let cli = cli::Cli::parse();
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail("crossfade", &anyhow::Error::from(error).context("cannot start the runtime")),
    };
    let ended = runtime.block_on(commands::run(cli));
    // A blocking read of the log may still wait; it holds nothing that has to be finished.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => fail("crossfade", &error),
    }
}

/// Logs go to standard error, as text, at the level of `RUST_LOG` (default: warnings); in colour only to a terminal.
fn log_to_stderr() {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

/// Says in one line why a program ends, and with which code.
pub fn fail(program: &str, error: &anyhow::Error) -> ExitCode {
    use std::io::Write as _;
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{program}: {error:#}");
    let exit = error.downcast_ref::<Failure>().map_or(Exit::Error, |failure| failure.exit);
    exit.into()
}
