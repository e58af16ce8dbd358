//! `cutover.decisions` as its writer sees it: findings, reconciliations, settlements.

use crate::chain::{Accepted, Chain, Failure, Fold};
use eventlog::{Log, Record};
use std::sync::Arc;
use wire::chain::Head;
use wire::decision::{DecisionBody, DecisionRecord, TOPIC};
use wire::scalar::{Digest, Timestamp};
use wire::stored::DecodeError;

/// How often a decision that lost to another comparator's is tried again.
const RETRIES: u32 = 16;

/// The end of the chain; what the decisions add up to is the index's business.
#[derive(Debug, Clone, Copy)]
pub struct End(Head);

impl Fold for End {
    type Record = DecisionRecord;
    const TOPIC: &'static str = TOPIC;

    fn head(&self) -> Digest {
        self.0.digest()
    }

    fn take(&mut self, record: &Record) -> Result<Option<DecisionRecord>, DecodeError> {
        self.0.take(&record.value)
    }
}

/// The topic.
pub struct Decisions {
    chain: Chain<End>,
}

impl Decisions {
    /// The topic of a ledger.
    pub fn new(log: Arc<dyn Log>, ledger: &str) -> Self {
        Self { chain: Chain::new(log, End(Head::genesis(ledger, TOPIC))) }
    }

    /// The chain behind it.
    pub fn chain(&self) -> &Chain<End> {
        &self.chain
    }

    /// Appends a decision that stands whatever else is decided meanwhile; answers its offset.
    ///
    /// # Errors
    /// When the log cannot be read or written.
    pub async fn append(&self, actor: &str, reason: &str, body: DecisionBody) -> Result<u64, String> {
        self.append_if(actor, reason, || Some(body.clone())).await.map(Option::unwrap_or_default)
    }

    /// Appends a decision as long as `body` still has one; answers its offset.
    ///
    /// # Errors
    /// When the log cannot be read or written.
    pub async fn append_if(
        &self,
        actor: &str,
        reason: &str,
        body: impl Fn() -> Option<DecisionBody>,
    ) -> Result<Option<u64>, String> {
        for _ in 0..RETRIES {
            let record = |end: &End| {
                body().ok_or(()).map(|body| DecisionRecord {
                    parent: end.head(),
                    at: Timestamp(host::clock::unix_micros()),
                    actor: actor.to_owned(),
                    reason: reason.to_owned(),
                    body,
                })
            };
            match self.chain.append(record).await {
                Ok(Accepted { offset, .. }) => return Ok(Some(offset)),
                Err(Failure::Refused(())) => return Ok(None),
                Err(Failure::Lost) => {}
                Err(failure) => return Err(failure.to_string()),
            }
        }
        Err("other decisions came first again and again".to_owned())
    }
}
