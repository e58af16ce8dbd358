//! What crosses a process boundary: stored records, frames between parts, JSON of the two APIs.
//!
//! | module | what |
//! |---|---|
//! | [`avro`] | the schemas of the public events |
//! | [`words`] | the closed vocabularies: system, stage, mode, class, verdict, cause |
//! | [`ids`] | account hash, bucket, exchange number, the form of engine ids |
//! | [`numbers`] | the numbers of a boot's records as a reader sees them: news, repeats, holes |
//! | [`scalar`] | time, money, digests, bodies as they stand in bytes and in JSON |
//! | [`stored`] | the tag in front of every stored record; decoding any topic to JSON |
//! | [`chain`] | records that name their parent's hash, and how a reader verifies them |
//! | [`exchange`] | `cutover.exchanges`: intents and results as the fronts shipped them |
//! | [`shadow`] | `cutover.shadows`: what the relay did with each shadow leg |
//! | [`rollout`] | `cutover.rollout`: dial changes, and the state they add up to |
//! | [`decision`] | `cutover.decisions`: findings, reconciliations, settlements |
//! | [`order`] | `cutover.order`: the order in which the others are taken together |
//! | [`journal`] | `billing.commands` and `billing.journal`: the engine's inputs and outcomes |
//! | [`snapshot`] | `billing.snapshots`: what the outcomes of a shard add up to |
//! | [`dead_letter`] | `billing.dead-letter`: records that could not be processed |
//! | [`ingest`] | frames between a front and the relay |
//! | [`leg`] | headers between the relay and the engine: mode, alias, the authority's refusal |
//! | [`billing`] | JSON of the billing API |
//! | [`control`] | JSON of the control API |
//! | [`projection`] | the engine's projections, for the command line |
//!
//! Every stored type has a golden file under `tests/golden/`: a change of its bytes is a new version, never
//! an edit. This crate must never know how a system decides, only how it is written down.

pub mod avro;
pub mod billing;
pub mod chain;
pub mod control;
pub mod dead_letter;
pub mod decision;
pub mod exchange;
pub mod ids;
pub mod ingest;
pub mod journal;
pub mod leg;
pub mod numbers;
pub mod order;
pub mod projection;
pub mod rollout;
pub mod scalar;
pub mod shadow;
pub mod snapshot;
pub mod stored;
pub mod words;
