//! `crossfade audit verify`: recomputes the hash chains from the stored bytes, trusting no part's word.

use super::log;
use crate::cli::{AuditCommand, Global, Output};
use crate::client::{Exit, Failure, Parts};
use crate::{config, render};
use serde::Serialize;
use std::collections::HashSet;
use wire::chain::Chained;
use wire::decision::DecisionRecord;
use wire::journal::Outcome;
use wire::rollout::RolloutRecord;
use wire::scalar::Digest;
use wire::shadow::ShadowRecord;
use wire::stored::DecodeError;

/// What was found in one chain.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    topic: String,
    partition: u32,
    records: u64,
    /// Records that extend another chain: losers of a race, ignored by every reader.
    ignored: u64,
    /// The digest of the last record.
    head: String,
    /// What is wrong; `None` when the chain holds.
    broken: Option<String>,
}

/// Verifies the chains; a broken one exits with 3.
pub async fn run(global: &Global, parts: &Parts, command: AuditCommand, output: Output) -> anyhow::Result<Exit> {
    let AuditCommand::Verify { ledger } = command;
    let file = config::load(global)?;
    let mut chains = vec![
        chain::<RolloutRecord>(parts, &file.ledger, wire::rollout::TOPIC).await?,
        chain::<DecisionRecord>(parts, &file.ledger, wire::decision::TOPIC).await?,
        chain::<ShadowRecord>(parts, &file.ledger, wire::shadow::TOPIC).await?,
    ];
    if ledger {
        let shards = file.engine.as_ref().map(|engine| engine.shards).ok_or_else(|| {
            Failure::new(Exit::Usage, "--ledger needs the [engine] section: it says how many shards there are")
        })?;
        for shard in 0..shards {
            chains.push(journal(parts, &file.ledger, shard, shards).await?);
        }
    }
    render::show(output, &chains, |chains| {
        let row = |chain: &Verified| {
            [
                format!("{}/{}", chain.topic, chain.partition),
                render::count(chain.records),
                chain.ignored.to_string(),
                chain.head.clone(),
                chain.broken.clone().unwrap_or_else(|| "holds".to_owned()),
            ]
        };
        render::table(["chain", "records", "ignored", "head", ""], &[1, 2], chains.iter().map(row))
    })?;
    Ok(if chains.iter().any(|chain| chain.broken.is_some()) { Exit::Unmet } else { Exit::Done })
}

async fn chain<T: Chained>(parts: &Parts, ledger: &str, topic: &str) -> anyhow::Result<Verified> {
    let mut verified = empty(topic, 0);
    let mut walk = Walk::from(wire::chain::genesis(ledger, topic));
    log::each(parts, topic, 0, 0, false, |stored| {
        let link = wire::stored::decode::<T>(&stored.bytes).map(|record| (record.parent(), None));
        walk.visit(&mut verified, &stored, link);
        Ok(())
    })
    .await?;
    verified.head = walk.head.to_string();
    Ok(verified)
}

async fn journal(parts: &Parts, ledger: &str, shard: u32, shards: u32) -> anyhow::Result<Verified> {
    let topic = wire::journal::JOURNAL;
    let mut verified = empty(topic, shard);
    let mut walk = Walk::from(wire::journal::genesis(ledger, shard, shards));
    log::each(parts, topic, shard, 0, false, |stored| {
        let link =
            wire::stored::decode::<Outcome>(&stored.bytes).map(|outcome| (outcome.parent, Some(outcome.source_offset)));
        walk.visit(&mut verified, &stored, link);
        Ok(())
    })
    .await?;
    verified.head = walk.head.to_string();
    Ok(verified)
}

fn empty(topic: &str, partition: u32) -> Verified {
    Verified { topic: topic.to_owned(), partition, records: 0, ignored: 0, head: String::new(), broken: None }
}

/// A walk along a chain.
///
/// A record that does not extend the chain lost a race if its parent is one that was seen before. If nobody has
/// seen its parent, the record before it is not the one it was written after: it was changed, or it is gone.
struct Walk {
    head: Digest,
    seen: HashSet<Digest>,
}

impl Walk {
    fn from(genesis: Digest) -> Self {
        Self { head: genesis, seen: HashSet::from([genesis]) }
    }

    /// `link` is the record's parent and, in a journal, the offset of the command it decides: the next one or none.
    fn visit(
        &mut self,
        verified: &mut Verified,
        stored: &log::Stored,
        link: Result<(Digest, Option<u64>), DecodeError>,
    ) {
        if verified.broken.is_some() {
            return;
        }
        let offset = stored.line.offset;
        let digest = Digest::of(&stored.bytes);
        match link {
            Err(error) => verified.broken = Some(format!("offset {offset}: {error}")),
            Ok((parent, source)) if parent == self.head && source.is_none_or(|source| source == verified.records) => {
                verified.records += 1;
                self.head = digest;
                self.seen.insert(digest);
            }
            Ok((parent, _)) if self.seen.contains(&parent) => {
                verified.ignored += 1;
                self.seen.insert(digest);
            }
            Ok(_) => {
                verified.broken = Some(format!("offset {offset}: the record before it was changed or is gone"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rollout::RolloutBody;
    use wire::scalar::Timestamp;

    fn record(parent: Digest, reason: &str) -> Vec<u8> {
        wire::stored::encode(&RolloutRecord {
            parent,
            at: Timestamp(0),
            actor: "a".to_owned(),
            reason: reason.to_owned(),
            body: RolloutBody::Freeze,
        })
    }

    fn walk(records: &[Vec<u8>]) -> Verified {
        let mut verified = empty("t", 0);
        let mut walk = Walk::from(wire::chain::genesis("l", "t"));
        for (offset, bytes) in records.iter().enumerate() {
            let line = wire::control::LogLine { offset: offset as u64, at: Timestamp(0), bytes: String::new() };
            let link = wire::stored::decode::<RolloutRecord>(bytes).map(|record| (record.parent, None));
            walk.visit(&mut verified, &log::Stored { line, bytes: bytes.clone() }, link);
        }
        verified
    }

    #[test]
    fn a_changed_record_breaks_the_chain_and_a_lost_race_does_not() {
        let first = record(wire::chain::genesis("l", "t"), "first");
        let loser = record(wire::chain::genesis("l", "t"), "loser");
        let second = record(Digest::of(&first), "second");
        let whole = walk(&[first.clone(), loser, second.clone()]);
        assert_eq!((whole.records, whole.ignored, whole.broken), (2, 1, None));
        let changed = record(wire::chain::genesis("l", "t"), "fIrst");
        assert!(walk(&[changed, second.clone()]).broken.is_some());
        assert!(walk(&[second]).broken.is_some(), "the first one is gone");
    }
}
