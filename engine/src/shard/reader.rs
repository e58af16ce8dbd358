//! Reads a journal partition and passes on what counts.

use super::acceptance::{Acceptance, Chain};
use crate::codec;
use engine_domain::{Outcome, Timestamp};
use eventlog::Record;
use wire::journal;
use wire::scalar::Digest;
use wire::snapshot::Complete;
use wire::stored::DecodeError;

/// A place in a journal partition.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    shard: u32,
    chain: Chain,
    /// The offset of the next record.
    next: u64,
    /// The offset of the last outcome that counted.
    last: Option<u64>,
    /// The time of the last accepted outcome.
    at: Timestamp,
    /// Whether a first outcome was met that did not extend the chain.
    begun_by_another: bool,
}

/// What a record is.
#[derive(Debug)]
pub(crate) enum Read {
    /// An outcome that counts.
    Accepted(Box<Outcome>),
    /// Nothing that counts.
    Ignored,
    /// No outcome at all: it cannot extend the chain, so it counts for nobody.
    NoOutcome(DecodeError),
}

/// A record that cannot be judged: reading on would skip what may count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal of shard {shard} cannot be read at offset {offset}: {reason}")]
pub struct Unreadable {
    /// The shard.
    pub shard: u32,
    /// The offset.
    pub offset: u64,
    /// Why.
    pub reason: codec::Error,
}

impl Reader {
    /// At the beginning.
    pub(crate) fn new(ledger: &str, shard: u32, shards: u32) -> Self {
        let chain = Chain::genesis(ledger, shard, shards);
        Self { shard, chain, next: 0, last: None, at: Timestamp(i64::MIN), begun_by_another: false }
    }

    /// Where another reader of the same shard stood, by its [`Reader::note`]; nothing if that is none.
    pub(crate) fn resume(shard: u32, next: u64, note: &str) -> Option<Self> {
        let mut fields = note.split(' ');
        let (source, at, parent) = (fields.next()?, fields.next()?, fields.next()?);
        let chain = Chain::at(parent.parse().ok()?, source.parse().ok()?);
        Some(Self { shard, chain, next, last: None, at: Timestamp(at.parse().ok()?), begun_by_another: false })
    }

    /// Behind the last outcome that a snapshot includes.
    pub(crate) fn behind(snapshot: &Complete) -> Self {
        Self {
            shard: snapshot.shard,
            chain: Chain::at(snapshot.outcome_hash, snapshot.next_source),
            next: snapshot.outcome_offset + 1,
            last: Some(snapshot.outcome_offset),
            at: Timestamp(snapshot.at.0),
            begun_by_another: false,
        }
    }

    /// What has to be known beside [`Reader::next`] to go on from here: source offset, time, hash of the parent.
    pub(crate) fn note(&self) -> String {
        format!("{} {} {}", self.chain.next_source(), self.at.0, self.chain.parent())
    }

    /// The end of the accepted chain.
    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The offset of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The offset of the last accepted outcome; `None` when there is none, or when this one resumed by a note.
    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// The time of the last accepted outcome.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether the partition was begun by another ledger, or by one with another number of shards: it has a first
    /// outcome of that one, and none of this one.
    pub(crate) fn is_of_another(&self) -> bool {
        self.begun_by_another && self.chain.next_source() == 0
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`Unreadable`], after which this reader must not go on; an outcome whose movements do not sum to zero is one.
    pub(crate) fn take(&mut self, record: &Record) -> Result<Read, Unreadable> {
        let unreadable = |reason| Unreadable { shard: self.shard, offset: record.offset, reason };
        let stored: journal::Outcome = match wire::stored::decode(&record.value) {
            Ok(stored) => stored,
            // A newer program knows whether it counts.
            Err(error) if error.is_newer() => return Err(unreadable(codec::Error::Decode(error))),
            Err(error) => {
                self.next = record.offset + 1;
                return Ok(Read::NoOutcome(error));
            }
        };
        match self.chain.judge(stored.parent, stored.source_offset) {
            Acceptance::Accepted => {
                let outcome = codec::outcome_from_wire(stored).map_err(unreadable)?;
                if let Some((currency, sum)) = outcome.imbalance() {
                    let (what, value) = ("a sum of its movements of", format!("{sum} {currency}"));
                    return Err(unreadable(codec::Error::Impossible { what, value }));
                }
                self.next = record.offset + 1;
                self.accept(record, Digest::of(&record.value), &outcome);
                Ok(Read::Accepted(Box::new(outcome)))
            }
            other @ (Acceptance::OtherParent | Acceptance::OtherSource) => {
                self.next = record.offset + 1;
                self.begun_by_another |= other == Acceptance::OtherParent && stored.source_offset == 0;
                Ok(Read::Ignored)
            }
        }
    }

    /// Takes the next record, which is known to extend the chain: it is, byte for byte, an outcome that was made to
    /// extend it.
    pub(crate) fn take_known(&mut self, record: &Record, hash: Digest, outcome: &Outcome) {
        self.next = record.offset + 1;
        self.accept(record, hash, outcome);
    }

    fn accept(&mut self, record: &Record, hash: Digest, outcome: &Outcome) {
        self.last = Some(record.offset);
        self.chain = self.chain.extended(hash, outcome.source_offset);
        self.at = outcome.at;
    }
}
