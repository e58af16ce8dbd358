//! The command line, as clap understands it. What the commands do stands in [`crate::commands`].

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use wire::dead_letter::Origin;

mod dial;

pub use dial::{OverrideArgs, OverrideTo, PinTo, RolloutCommand};

/// Moves live billing traffic from a legacy service to an event-sourced engine, without the clients noticing.
#[derive(Debug, Parser)]
#[command(
    name = "crossfade",
    version,
    after_help = "Exit codes: 0 done, 1 error, 2 usage, 3 gate not met or mismatches found, 4 refused, 5 timed out.",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Settings that every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Settings that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The configuration file.
    #[arg(long, global = true, env = "CROSSFADE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Tables for people or JSON for programs.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// The comparator's control API.
    #[arg(long, global = true, env = "CROSSFADE_COMPARATOR", value_name = "URL")]
    pub comparator: Option<String>,
    /// The engine's billing API.
    #[arg(long, global = true, env = "CROSSFADE_ENGINE", value_name = "URL")]
    pub engine: Option<String>,
    /// The engine's control listener.
    #[arg(long, global = true, env = "CROSSFADE_ENGINE_CONTROL", value_name = "URL")]
    pub engine_control: Option<String>,
    /// A file with the token for the control API [env: CROSSFADE_TOKEN with the token itself, or CROSSFADE_TOKEN_FILE]
    // Not by clap's `env`: a flag goes before CROSSFADE_TOKEN, the variable of the same meaning does not.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Seconds to wait for an answer.
    #[arg(long, global = true, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

/// How results are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole cutover on this machine: all parts over TCP, in one process, traffic included
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Run every part that the configuration has a section for, in one process
    Up(FrontArgs),
    /// Run the front: the reverse proxy that clients talk to
    Front(FrontArgs),
    /// Run the relay: takes the fronts' records and delivers the shadow legs
    Relay(RelayArgs),
    /// Run the engine: the event-sourced ledger
    Engine,
    /// Run the comparator (an embedded log belongs to one process: then it is `relay --with comparator`)
    Comparator,
    /// Run the reference legacy, for trials
    #[cfg(feature = "demo")]
    Legacy,
    /// Show where the cutover stands, on one page
    Status(StatusArgs),
    /// Show and move the dial
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// In an emergency: send everything to the legacy at one front's own listener, without the comparator
    Override(OverrideArgs),
    /// Look at exchanges and their verdicts
    #[command(subcommand)]
    Exchanges(ExchangesCommand),
    /// Look at discrepancies and settle them
    #[command(subcommand)]
    Discrepancies(DiscrepanciesCommand),
    /// Compare the balances of all accounts
    #[command(subcommand)]
    Reconcile(ReconcileCommand),
    /// Look at an account in the engine
    #[command(subcommand)]
    Account(AccountCommand),
    /// Look at a transaction in the engine
    #[command(subcommand)]
    Transaction(TransactionCommand),
    /// Read a topic of the log as JSON
    #[command(subcommand)]
    Log(LogCommand),
    /// Make and check the topics in Kafka
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Bring the database of the projections to what this program expects
    Migrate {
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Copy the data directories of all stopped parts of the configuration to a new directory
    #[command(
        after_help = "What is in Kafka ([kafka]) and PostgreSQL ([postgres], [legacy.postgres]) is not in a backup: \
                            docs/operations.md says how that is kept."
    )]
    Backup {
        /// Where to: not there yet, or empty
        to: PathBuf,
        /// Only say what would be copied
        #[arg(long)]
        dry_run: bool,
    },
    /// Copy a backup back into the data directories of the configuration, which have to be empty
    Restore {
        /// The backup
        from: PathBuf,
        /// Only check the backup and the directories, and say what would be copied
        #[arg(long)]
        dry_run: bool,
    },
    /// Look at the projections in the database, make them anew, verify them
    #[command(subcommand)]
    Projection(ProjectionCommand),
    /// Look at what could not be processed, and settle it
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Verify the hash chains of the log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure this machine
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Settings of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// End after one round of the dial instead of going on until interrupted
    #[arg(long)]
    pub once: bool,
    /// Switch this fault on in the legacy half-way (docs/configuration.md lists them)
    #[arg(long, value_name = "NAME")]
    pub fault: Option<String>,
    /// Seed of the traffic
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Keep the log in the Kafka cluster at CROSSFADE_KAFKA_BOOTSTRAP, in topics of its own
    #[arg(long)]
    pub kafka: bool,
    /// Keep projections and the legacy in a database of its own, in the PostgreSQL at CROSSFADE_DATABASE_URL
    #[arg(long)]
    pub postgres: bool,
    /// Exchanges to send at least
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub exchanges: u64,
    /// Keep the data in this directory instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Settings of whatever runs a front.
#[derive(Debug, Clone, Args)]
pub struct FrontArgs {
    /// Go on without what cannot be read of the front's journal: what is skipped is listed, and counted as a gap
    #[arg(long)]
    pub salvage: bool,
}

/// Settings of `relay`.
#[derive(Debug, Clone, Args)]
pub struct RelayArgs {
    /// Run the comparator in the same process; the embedded log requires it
    #[arg(long = "with", value_name = "PART")]
    pub with: Option<With>,
}

/// What a relay may bring along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum With {
    /// The comparator.
    Comparator,
}

/// Settings of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Show it again every second until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

/// Why something is changed: recorded for ever.
#[derive(Debug, Clone, Args)]
pub struct ReasonArgs {
    /// Why (recorded)
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `crossfade exchanges …`
#[derive(Debug, Subcommand)]
pub enum ExchangesCommand {
    /// List exchanges, newest first
    List {
        /// Only those with this verdict
        #[arg(long)]
        verdict: Option<String>,
        /// Only those of this account
        #[arg(long)]
        account: Option<String>,
        /// Only those since this time (RFC 3339)
        #[arg(long)]
        since: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show one exchange with both legs
    Show {
        /// Its number, front.boot.sequence
        id: String,
    },
}

/// `crossfade discrepancies …`
#[derive(Debug, Subcommand)]
pub enum DiscrepanciesCommand {
    /// List discrepancies, oldest first
    List {
        /// Settled ones too
        #[arg(long)]
        all: bool,
    },
    /// Show one discrepancy
    Show {
        /// Its id
        id: String,
    },
    /// Accept a discrepancy or a gap as it is, or say what became of an exchange whose effect nobody knows
    Settle {
        /// Its id
        id: String,
        /// Of an unknown effect: what you have found out
        #[arg(long = "as", value_name = "WHAT", value_enum)]
        told: Option<Became>,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Open a settled one again
    Reopen {
        /// Its id
        id: String,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
}

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Became {
    /// It had its effect
    Applied,
    /// It had none, and will have none
    NotExecuted,
}

/// `crossfade reconcile …`
#[derive(Debug, Subcommand)]
pub enum ReconcileCommand {
    /// Compare all balances now
    Run {
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Show a reconciliation, the last one by default
    Show {
        /// Its id
        id: Option<String>,
    },
}

/// `crossfade account …`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Show an account
    Show {
        /// Its id
        id: String,
    },
    /// Show its audit trail
    Events {
        /// Its id
        id: String,
        /// From this version on
        #[arg(long, default_value_t = 1)]
        from_version: u64,
    },
    /// Show its balance, now or as it was
    Balance {
        /// Its id
        id: String,
        /// At this time (RFC 3339)
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
}

/// `crossfade transaction …`
#[derive(Debug, Subcommand)]
pub enum TransactionCommand {
    /// Show a transaction, by either system's id, with the steps of its saga
    Show {
        /// Its id
        id: String,
    },
}

/// `crossfade bench …`
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// How fast one core decides, without log and network
    Core {
        /// So many commands
        #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        decisions: u64,
    },
    /// How fast an engine answers, one request per transaction, its log in files of its own, fsync on
    #[cfg(feature = "demo")]
    Engine {
        /// So many topups
        #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(10..))]
        requests: u64,
        /// On so many accounts; 1 is a hot one
        #[arg(long, default_value_t = 1_000)]
        accounts: usize,
        /// From so many clients at once
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
}

/// `crossfade log …`
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Print the records of a topic, one JSON object a line
    Tail {
        /// For example billing.journal or cutover.exchanges
        topic: String,
        /// The partition
        #[arg(long, default_value_t = 0)]
        partition: u32,
        /// From this offset on
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Go on as the log grows
        #[arg(short, long)]
        follow: bool,
    },
}

/// `crossfade topics …`
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Make the topics that are not there, then check all
    Create {
        /// Make nothing: only say what differs
        #[arg(long)]
        dry_run: bool,
        /// Also give the principals of [principals] the rights that they need
        #[arg(long)]
        acls: bool,
    },
    /// Name each topic and setting that is not as it has to be
    Check {
        /// Also name the rights that the principals of [principals] lack
        #[arg(long)]
        acls: bool,
    },
}

/// `crossfade projection …`
#[derive(Debug, Subcommand)]
pub enum ProjectionCommand {
    /// List the projections: which build is live, how far behind the log it is, what is known to be wrong
    List,
    /// Make a projection anew from the log while queries are answered; the new build then takes the place of the old one
    Rebuild {
        /// Which.
        #[command(flatten)]
        which: WhichProjection,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare a projection row by row with what the log says; with differences exit code 3
    Verify {
        /// Which.
        #[command(flatten)]
        which: WhichProjection,
        /// Make it anew if anything differs
        #[arg(long)]
        repair: bool,
    },
}

/// One projection, or all.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct WhichProjection {
    /// balance or history
    pub name: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// `crossfade dlq …`
#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters, with open ones exit code 3
    List {
        /// Settled ones too
        #[arg(long)]
        all: bool,
    },
    /// Show one dead letter with its bytes
    Show {
        /// Its id: topic/partition/offset
        id: Origin,
    },
    /// Put a command that can be read by now into its topic once more
    Redrive(SettleArgs),
    /// Settle a dead letter without doing anything about it
    Drop(SettleArgs),
}

/// What becomes of a dead letter.
#[derive(Debug, Clone, Args)]
pub struct SettleArgs {
    /// Its id: topic/partition/offset
    pub id: Origin,
    /// Why (recorded)
    #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
    pub reason: Option<String>,
    /// By whom (recorded)
    #[arg(long, value_name = "NAME", env = "USER", default_value = "operator")]
    pub actor: String,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
}

/// `crossfade audit …`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Recompute the chains of rollout, decisions and shadows; with --ledger also the engine's journal
    Verify {
        /// Also every shard of the engine's journal
        #[arg(long)]
        ledger: bool,
    },
}

/// `crossfade config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the configuration is usable
    Check,
    /// Print the configuration in force, secrets hidden
    Print,
}
