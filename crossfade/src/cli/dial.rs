//! The verbs that show and move the dial.

use super::ReasonArgs;
use clap::{Args, Subcommand, ValueEnum};
use wire::words::System;

/// `crossfade rollout …`
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Show where the dial stands, the gates, and what can be done next
    Show,
    /// Move the dial: passthrough, capture, shadow, or a percentage
    Set {
        /// passthrough, capture, shadow, or a percentage such as 37 or 0.5
        #[arg(value_parser = target)]
        to: String,
        /// Why (recorded)
        #[arg(long, value_name = "TEXT", required_unless_present = "dry_run")]
        reason: Option<String>,
        /// Overrule closed gates (approvers only; recorded)
        #[arg(long)]
        force: bool,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Go back to shadow at 0 % at once
    Rollback {
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Allow no move up until unfrozen
    Freeze {
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Allow moves up again
    Unfreeze {
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
    },
    /// Keep an account with one system whatever the dial says, or let it go
    Pin {
        /// The account
        account: String,
        /// legacy, engine, or none: the dial decides again
        system: PinTo,
        /// Why.
        #[command(flatten)]
        reason: ReasonArgs,
        /// Overrule closed gates (approvers only; recorded)
        #[arg(long)]
        force: bool,
    },
    /// Show the gates as they stand
    Gates,
    /// Show every change with who, why and the evidence
    History,
}

/// With whom an account stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PinTo {
    /// The legacy, until complete
    Legacy,
    /// The engine, from shadow on
    Engine,
    /// Where the dial says
    None,
}

impl From<PinTo> for Option<System> {
    fn from(to: PinTo) -> Self {
        match to {
            PinTo::Legacy => Some(System::Legacy),
            PinTo::Engine => Some(System::Engine),
            PinTo::None => None,
        }
    }
}

/// What the dial can be set to, as it was written: what makes no sense is said before anybody is asked.
fn target(text: &str) -> Result<String, String> {
    comparator::rollout::moves::parse_target(text).map(|_| text.to_owned())
}

/// Settings of `override`.
#[derive(Debug, Clone, Args)]
pub struct OverrideArgs {
    /// 0: everything to the legacy; off: by the dial again; show: what is in force
    pub to: OverrideTo,
    /// Why (recorded)
    #[arg(long, value_name = "TEXT", required_if_eq_any([("to", "0"), ("to", "off")]))]
    pub reason: Option<String>,
    /// The operators' listener of the front; by default `admin_listen` of the configuration's [front]
    #[arg(long, value_name = "URL")]
    pub front: Option<String>,
}

/// What becomes of an override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverrideTo {
    /// Everything to the legacy, whatever the dial says
    #[value(name = "0")]
    Nothing,
    /// By the dial again
    Off,
    /// Only say what is in force
    Show,
}
