//! Questions to the cluster: where a partition begins and ends. On connections of their own, because a broker serves
//! one request of a connection after the other, and an append or a fetch may wait there for a while.

use super::client::Client;
use super::connection::Connection;
use super::partition_number;
use super::ring::Ring;
use crate::port::ReadError;
use host::clock;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// How long a question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the cluster.
#[derive(Clone)]
pub(super) struct Queries(Arc<BaseConsumer<Client>>);

impl Queries {
    /// Connects when the first question is asked.
    ///
    /// # Errors
    /// When the library refuses the configuration.
    pub(super) fn new(connection: &Connection) -> Result<Self, String> {
        let consumer = connection.consumer().create_with_context(connection.client());
        Ok(Self(Arc::new(consumer.map_err(|error| error.to_string())?)))
    }

    /// The first offset of a partition that is there, and the one that its next record will have.
    ///
    /// # Errors
    /// [`ReadError::Failed`], which says what the cluster said.
    pub(super) async fn span(&self, ring: &Ring) -> Result<(u64, u64), ReadError> {
        let (consumer, topic, number) = (Arc::clone(&self.0), ring.topic.clone(), ring.number);
        let asked = host::task::spawn_blocking(move || {
            let number = partition_number(number);
            consumer.fetch_watermarks(&topic, number, PATIENCE).map_err(|error| {
                let trouble = consumer.client().context().trouble();
                ReadError::Failed(said(&format!("{topic}/{number}"), &error, trouble))
            })
        });
        let (begin, end) = asked.await.map_err(|error| ReadError::Failed(error.to_string()))??;
        let place = |offset: i64| u64::try_from(offset).unwrap_or(0);
        Ok((place(begin), place(end)))
    }

    /// The offset that the partition's next record will have: at the moment of this call, or later. Those who ask at
    /// the same time share one question.
    ///
    /// # Errors
    /// As [`Queries::span`].
    pub(super) async fn end(&self, ring: &Ring) -> Result<u64, ReadError> {
        let called = clock::now();
        let mut last = ring.end.lock().await;
        if let Some((asked, end)) = *last
            && asked > called
        {
            return Ok(end);
        }
        let asked = clock::now();
        let end = self.ask_end(ring).await?;
        *last = Some((asked, end));
        ring.reaches(end);
        Ok(end)
    }

    /// One request, where [`Queries::span`] takes two.
    async fn ask_end(&self, ring: &Ring) -> Result<u64, ReadError> {
        let (consumer, topic, number) = (Arc::clone(&self.0), ring.topic.clone(), ring.number);
        let asked = host::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, partition_number(number), Offset::End)?;
            let found = consumer.offsets_for_times(list, PATIENCE)?;
            let element = found.find_partition(&topic, partition_number(number));
            let element = element.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))?;
            element.error()?;
            Ok(element.offset().to_raw())
        });
        let failed = |error: KafkaError| {
            let trouble = self.0.client().context().trouble();
            ReadError::Failed(said(&format!("{}/{number}", ring.topic), &error, trouble))
        };
        let offset = asked.await.map_err(|error| ReadError::Failed(error.to_string()))?.map_err(failed)?;
        Ok(offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0))
    }
}

/// What to tell a person of an error about `place`.
pub(super) fn said(place: &str, error: &KafkaError, trouble: Option<String>) -> String {
    use RDKafkaErrorCode::{
        Authentication, TopicAuthorizationFailed, UnknownPartition, UnknownTopic, UnknownTopicOrPartition,
    };
    match error.rdkafka_error_code() {
        Some(UnknownPartition | UnknownTopic | UnknownTopicOrPartition) => {
            format!("{place} is not there: `crossfade topics create` makes it")
        }
        Some(TopicAuthorizationFailed) => {
            format!(
                "{place}: this principal may not use the topic; `crossfade topics create --acls` says what it needs"
            )
        }
        Some(Authentication) => format!("{place}: the cluster does not know us: check [kafka.sasl]"),
        _ => match trouble {
            Some(trouble) => format!("{place}: {error} ({trouble})"),
            None => format!("{place}: {error}"),
        },
    }
}
