//! `crossfade audit verify`: recomputes the hash chains from the stored bytes, trusting no part's word.
//!
//! What a chain cannot say of itself is whether its last record is the one that was written: nothing names that
//! one. So the ends that the comparator has read before are looked for in it.

use super::log;
use crate::cli::{AuditCommand, Global, Output};
use crate::client::{Exit, Failure, Part, Parts};
use crate::{config, render};
use comparator::audit::{Audit, ChainAudit};
use serde::Serialize;
use std::collections::{HashSet, VecDeque};
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
    /// The end of this chain as the comparator has it, found again here. `None` for the engine's journal, and when
    /// the comparator could not be asked.
    known_end: Option<String>,
    /// What is wrong; `None` when the chain holds.
    broken: Option<String>,
}

/// Verifies the chains; a broken one exits with 3.
pub async fn run(global: &Global, parts: &Parts, command: AuditCommand, output: Output) -> anyhow::Result<Exit> {
    let AuditCommand::Verify { ledger } = command;
    let file = config::load(global)?;
    // Before the chains are read: they may have grown since, and what was their end has to be in them all the same.
    let known = known_ends(parts).await;
    let mut chains = vec![
        chain::<RolloutRecord>(parts, &file.ledger, wire::rollout::TOPIC, &known).await?,
        chain::<DecisionRecord>(parts, &file.ledger, wire::decision::TOPIC, &known).await?,
        chain::<ShadowRecord>(parts, &file.ledger, wire::shadow::TOPIC, &known).await?,
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

/// What the comparator says of its chains. It not answering is no finding about them, so it is said and passed over.
async fn known_ends(parts: &Parts) -> Vec<ChainAudit> {
    match parts.get::<Audit>(Part::Comparator, "/api/audit").await {
        Ok(audit) => audit.chains,
        Err(error) => {
            render::note(&format!("the ends of the chains are not compared with what the comparator knows: {error:#}"));
            Vec::new()
        }
    }
}

async fn chain<T: Chained>(parts: &Parts, ledger: &str, topic: &str, known: &[ChainAudit]) -> anyhow::Result<Verified> {
    let mut walk = Walk::along_a_chain(topic, wire::chain::genesis(ledger, topic));
    if let Some(known) = known.iter().find(|known| known.topic == topic) {
        walk.expect(known);
    }
    log::each(parts, topic, 0, 0, false, |stored| {
        let link = wire::stored::decode::<T>(&stored.bytes).map(|record| (record.parent(), None));
        walk.visit(stored.line.offset, &stored.bytes, link);
        Ok(())
    })
    .await?;
    Ok(walk.finish())
}

async fn journal(parts: &Parts, ledger: &str, shard: u32, shards: u32) -> anyhow::Result<Verified> {
    let topic = wire::journal::JOURNAL;
    let mut walk = Walk::along_a_journal(topic, shard, wire::journal::genesis(ledger, shard, shards));
    log::each(parts, topic, shard, 0, false, |stored| {
        let link =
            wire::stored::decode::<Outcome>(&stored.bytes).map(|outcome| (outcome.parent, Some(outcome.source_offset)));
        walk.visit(stored.line.offset, &stored.bytes, link);
        Ok(())
    })
    .await?;
    Ok(walk.finish())
}

/// Parents that a loser may still name: as many as the comparator allows, so that both say the same.
const RECENT: usize = 10_000;

/// What a record may name as its parent that does not extend the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Losers {
    /// An end of the chain that another record extended first. People's decisions are appended one by one, each read
    /// back before the next; and the one relay of a ledger repeats no bytes but its own. So nothing descends from a
    /// loser: what does was written after a record that is not in the chain, and another one was put in its place.
    Superseded,
    /// Also another loser. A shard's owner appends whole batches, each outcome on the one before it, and all of a
    /// batch loses together (DESIGN 3.1).
    Descendants,
}

/// A walk along a chain.
///
/// A record that does not extend the chain lost a race if its parent is one that [`Losers`] may name. If not, the
/// record before it is not the one it was written after: it was changed, it is gone, or another was put before it.
struct Walk {
    verified: Verified,
    head: Digest,
    next_offset: u64,
    losers: Losers,
    /// What a loser may name, oldest first, and the same for looking up.
    recent: VecDeque<Digest>,
    looked_up: HashSet<Digest>,
    /// The end that the comparator knows, until it is found.
    expected: Option<String>,
}

impl Walk {
    fn along_a_chain(topic: &str, genesis: Digest) -> Self {
        Self::new(topic, 0, genesis, Losers::Superseded)
    }

    fn along_a_journal(topic: &str, shard: u32, genesis: Digest) -> Self {
        Self::new(topic, shard, genesis, Losers::Descendants)
    }

    fn new(topic: &str, partition: u32, genesis: Digest, losers: Losers) -> Self {
        let verified = Verified {
            topic: topic.to_owned(),
            partition,
            records: 0,
            ignored: 0,
            head: String::new(),
            known_end: None,
            broken: None,
        };
        let (recent, looked_up) = (VecDeque::new(), HashSet::new());
        let mut walk = Self { verified, head: genesis, next_offset: 0, losers, recent, looked_up, expected: None };
        walk.remember(genesis);
        walk
    }

    /// The end that the comparator knows has to be passed; what it found wrong is wrong.
    fn expect(&mut self, known: &ChainAudit) {
        if let Some(broken) = &known.broken {
            self.verified.broken = Some(format!("the comparator says: {broken}"));
        } else if known.head == self.head.to_string() {
            self.verified.known_end = Some(known.head.clone());
        } else {
            self.expected = Some(known.head.clone());
        }
    }

    fn remember(&mut self, digest: Digest) {
        self.recent.push_back(digest);
        self.looked_up.insert(digest);
        if self.recent.len() > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.looked_up.remove(&oldest);
        }
    }

    /// `link` is the record's parent and, in a journal, the offset of the command it decides: the next one or none.
    fn visit(&mut self, offset: u64, bytes: &[u8], link: Result<(Digest, Option<u64>), DecodeError>) {
        if self.verified.broken.is_some() {
            return;
        }
        if offset != self.next_offset {
            let expected = self.next_offset;
            self.verified.broken = Some(format!("offset {offset} follows where {expected} was expected"));
            return;
        }
        self.next_offset += 1;
        let digest = Digest::of(bytes);
        let accepted = self.verified.records;
        match link {
            // It cannot be an outcome, so no reader of a journal takes it for one; it is a dead letter.
            Err(error) if self.losers == Losers::Descendants && !error.is_newer() => {
                self.verified.ignored += 1;
            }
            Err(error) => self.verified.broken = Some(format!("offset {offset}: {error}")),
            Ok((parent, source)) if parent == self.head && source.is_none_or(|source| source == accepted) => {
                self.verified.records += 1;
                self.head = digest;
                self.remember(digest);
                if self.expected.as_ref().is_some_and(|expected| *expected == digest.to_string()) {
                    self.verified.known_end = self.expected.take();
                }
            }
            Ok((parent, _)) if self.looked_up.contains(&parent) => {
                self.verified.ignored += 1;
                if self.losers == Losers::Descendants {
                    self.remember(digest);
                }
            }
            Ok(_) => {
                self.verified.broken = Some(format!(
                    "offset {offset}: the record that it was written after is not in the chain: changed, gone, or another was put in its place"
                ));
            }
        }
    }

    fn finish(mut self) -> Verified {
        self.verified.head = self.head.to_string();
        if let (None, Some(expected)) = (&self.verified.broken, self.expected) {
            self.verified.broken = Some(format!("the comparator read {expected} as its end, and that is not in it"));
        }
        self.verified
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rollout::RolloutBody;
    use wire::scalar::Timestamp;

    fn genesis() -> Digest {
        wire::chain::genesis("l", "t")
    }

    fn record(parent: Digest, reason: &str) -> Vec<u8> {
        wire::stored::encode(&RolloutRecord {
            parent,
            at: Timestamp(0),
            actor: "a".to_owned(),
            reason: reason.to_owned(),
            body: RolloutBody::Freeze,
        })
    }

    /// Three records, each on the one before it.
    fn three() -> [Vec<u8>; 3] {
        let first = record(genesis(), "first");
        let second = record(Digest::of(&first), "second");
        let third = record(Digest::of(&second), "third");
        [first, second, third]
    }

    fn walked(mut walk: Walk, records: &[&Vec<u8>]) -> Verified {
        for (offset, bytes) in records.iter().enumerate() {
            let link = wire::stored::decode::<RolloutRecord>(bytes).map(|record| (record.parent, None));
            walk.visit(offset as u64, bytes, link);
        }
        walk.finish()
    }

    fn walk(records: &[&Vec<u8>]) -> Verified {
        walked(Walk::along_a_chain("t", genesis()), records)
    }

    fn known(head: &[u8]) -> ChainAudit {
        let head = Digest::of(head).to_string();
        ChainAudit { topic: "t".to_owned(), records: 3, accepted: 3, lost: 0, head, broken: None }
    }

    #[test]
    fn a_changed_record_breaks_the_chain_and_a_lost_race_does_not() {
        let [first, second, third] = three();
        let loser = record(genesis(), "loser");
        let whole = walk(&[&first, &loser, &second, &third]);
        assert_eq!((whole.records, whole.ignored, whole.broken), (3, 1, None));
        let changed = record(genesis(), "fIrst");
        assert!(walk(&[&changed, &second]).broken.is_some());
        assert!(walk(&[&second]).broken.is_some(), "the first one is gone");
    }

    #[test]
    fn a_forged_record_put_before_the_true_ones_is_found() {
        let [first, second, third] = three();
        let forged = record(genesis(), "forged");
        let found = walk(&[&forged, &first, &second, &third]);
        assert!(found.broken.is_some_and(|broken| broken.starts_with("offset 2: ")));
    }

    #[test]
    fn a_batch_that_lost_is_ignored_in_a_journal() {
        let [first, second, third] = three();
        let winner = record(genesis(), "winner");
        let journal = walked(Walk::along_a_journal("t", 0, genesis()), &[&winner, &first, &second, &third]);
        assert_eq!((journal.records, journal.ignored, journal.broken), (1, 3, None));
    }

    #[test]
    fn what_is_no_outcome_is_ignored_in_a_journal_and_breaks_any_other_chain() {
        let [first, second, _] = three();
        let garbage = b"garbage".to_vec();
        let journal = walked(Walk::along_a_journal("t", 0, genesis()), &[&first, &garbage, &second]);
        assert_eq!((journal.records, journal.ignored, journal.broken), (2, 1, None));
        assert!(walk(&[&first, &garbage, &second]).broken.is_some());
        let lost = walked(Walk::along_a_journal("t", 0, genesis()), &[&garbage, &second]);
        assert!(lost.broken.is_some(), "the first one was overwritten");
    }

    #[test]
    fn a_changed_last_record_is_found_by_whoever_knew_it() {
        let [first, second, third] = three();
        let expecting = || {
            let mut walk = Walk::along_a_chain("t", genesis());
            walk.expect(&known(&third));
            walk
        };
        let changed = record(Digest::of(&second), "thIrd");
        assert_eq!(walk(&[&first, &second, &changed]).broken, None, "the chain alone cannot tell");
        assert!(walked(expecting(), &[&first, &second, &changed]).broken.is_some());
        assert!(walked(expecting(), &[&first, &second]).broken.is_some(), "taken away");
        let grown = record(Digest::of(&third), "since then");
        let held = walked(expecting(), &[&first, &second, &third, &grown]);
        assert_eq!((held.broken, held.known_end), (None, Some(Digest::of(&third).to_string())));
    }

    #[test]
    fn what_the_comparator_found_broken_is_broken() {
        let [first, ..] = three();
        let mut walk = Walk::along_a_chain("t", genesis());
        walk.expect(&ChainAudit { broken: Some("it vanished".to_owned()), ..known(&first) });
        assert!(walked(walk, &[&first]).broken.is_some_and(|broken| broken.contains("it vanished")));
    }

    #[test]
    fn a_hole_in_the_offsets_is_found() {
        let [first, second, _] = three();
        let mut walk = Walk::along_a_chain("t", genesis());
        walk.visit(0, &first, Ok((genesis(), None)));
        walk.visit(2, &second, Ok((Digest::of(&first), None)));
        assert!(walk.finish().broken.is_some_and(|broken| broken.contains("offset 2 follows where 1")));
    }
}
