//! Questions to the cluster: where a partition begins and ends. On connections of their own, because a broker serves
//! one request of a connection after the other, and an append or a fetch may wait there for a while.

use super::connection::Connection;
use super::partition_number;
use super::polled::Polled;
use super::ring::Ring;
use crate::port::ReadError;
use host::clock;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// How long a question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(1);
/// After one that failed.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Asks the cluster.
#[derive(Clone)]
pub(super) struct Queries(Arc<Polled>);

impl Queries {
    /// Connects when the first question is asked.
    ///
    /// # Errors
    /// As [`Polled::new`].
    pub(super) fn new(connection: &Connection) -> Result<Self, String> {
        Ok(Self(Arc::new(Polled::new(connection)?)))
    }

    /// The first offset of a partition that is there, and the one that its next record will have.
    ///
    /// # Errors
    /// [`ReadError::Failed`], which says what the cluster said.
    pub(super) async fn span(&self, ring: &Ring) -> Result<(u64, u64), ReadError> {
        self.ask(ring, |asked, topic, number| {
            let (begin, end) = asked.fetch_watermarks(topic, number, ATTEMPT)?;
            Ok((place(begin)?, place(end)?))
        })
        .await
    }

    /// The offset that the partition's next record will have: at the moment of this call, or later. Those who ask at
    /// the same time share one question, and what comes of it.
    ///
    /// # Errors
    /// As [`Queries::span`].
    pub(super) async fn end(&self, ring: &Ring) -> Result<u64, ReadError> {
        let called = clock::now();
        let mut last = ring.end.lock().await;
        if let Some((asked, end)) = &*last
            && *asked > called
        {
            return end.clone();
        }
        let asked = clock::now();
        let end = self.ask_end(ring).await;
        *last = Some((asked, end.clone()));
        if let Ok(end) = end {
            ring.reaches(end);
        }
        end
    }

    /// Notes where these partitions end now, as far as the cluster says it at once.
    pub(super) fn look_for_ends(&self, rings: &[Arc<Ring>]) {
        let asked = || -> Result<(), KafkaError> {
            let mut list = TopicPartitionList::new();
            for ring in rings {
                list.add_partition_offset(&ring.topic, partition_number(ring.number), Offset::End)?;
            }
            let found = self.0.offsets_for_times(list, ATTEMPT)?;
            for ring in rings {
                let element = found.find_partition(&ring.topic, partition_number(ring.number));
                if let Some(Offset::Offset(end)) = element.map(|element| element.offset()) {
                    ring.reaches(place(end)?);
                }
            }
            Ok(())
        };
        if !rings.is_empty()
            && let Err(error) = asked()
        {
            tracing::debug!(%error, "cannot look where partitions end");
        }
    }

    /// One request, where [`Queries::span`] takes two.
    async fn ask_end(&self, ring: &Ring) -> Result<u64, ReadError> {
        self.ask(ring, |asked, topic, number| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, number, Offset::End)?;
            let found = asked.offsets_for_times(list, ATTEMPT)?;
            let element = found.find_partition(topic, number);
            let element = element.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))?;
            element.error()?;
            match element.offset() {
                Offset::Offset(end) => place(end),
                _ => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition)),
            }
        })
        .await
    }

    /// Asks until there is an answer: a leader that has died or moved is not there for a while.
    async fn ask<T: Send + 'static>(
        &self,
        ring: &Ring,
        question: fn(&Polled, &str, i32) -> Result<T, KafkaError>,
    ) -> Result<T, ReadError> {
        let deadline = clock::now() + PATIENCE;
        loop {
            let (asked, topic, number) = (Arc::clone(&self.0), ring.topic.clone(), partition_number(ring.number));
            let answer = host::task::spawn_blocking(move || question(&asked, &topic, number)).await;
            match answer.map_err(|error| ReadError::Failed(error.to_string()))? {
                Ok(answer) => return Ok(answer),
                Err(error) if may_pass(&error) && clock::now() < deadline => {
                    self.look_for_leader(&ring.topic).await;
                    clock::sleep(ASK_AGAIN).await;
                }
                Err(error) => {
                    let place = format!("{}/{number}", ring.topic);
                    return Err(ReadError::Failed(said(&place, &error, self.0.trouble())));
                }
            }
        }
    }

    /// A client that follows no partition remembers a leader for minutes, also a dead one, unless it is made to look.
    async fn look_for_leader(&self, topic: &str) {
        let (asked, topic) = (Arc::clone(&self.0), topic.to_owned());
        let looked = host::task::spawn_blocking(move || asked.fetch_metadata(Some(&topic), ATTEMPT).map(drop)).await;
        if let Ok(Err(error)) = looked {
            tracing::debug!(%error, "cannot look for a leader");
        }
    }
}

/// An offset of Kafka that is one.
fn place(offset: i64) -> Result<u64, KafkaError> {
    u64::try_from(offset).map_err(|_| KafkaError::OffsetFetch(RDKafkaErrorCode::InvalidArgument))
}

/// Whether the same question may have an answer soon.
fn may_pass(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{Authentication, GroupAuthorizationFailed, TopicAuthorizationFailed};
    let code = error.rdkafka_error_code();
    !matches!(code, Some(Authentication | GroupAuthorizationFailed | TopicAuthorizationFailed))
}

/// What to tell a person of an error about `place`.
pub(super) fn said(place: &str, error: &KafkaError, trouble: Option<String>) -> String {
    use RDKafkaErrorCode::{
        Authentication, TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition,
    };
    match error.rdkafka_error_code() {
        Some(UnknownPartition | UnknownTopic | UnknownTopicOrPartition) => {
            format!("{place} is not there, or this principal may not use it: `crossfade topics create` makes it")
        }
        Some(TopicAuthorizationFailed) => {
            format!("{place}: this principal may not use the topic: give it Describe, Read and Write there")
        }
        Some(Authentication) => format!("{place}: the cluster does not know us: check [kafka.sasl]"),
        _ => match trouble {
            Some(trouble) => format!("{place}: {error} ({trouble})"),
            None => format!("{place}: {error}"),
        },
    }
}
