//! Writes events in the newest schemas, each value behind the id of its schema.

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use std::collections::BTreeMap;
use wire::avro::{TOPICS, Version, newest};

/// In front of every value (Confluent's wire format): a zero, then the schema's id.
const MAGIC: u8 = 0;

/// The newest schemas, ready to write with.
pub(crate) struct Schemas(BTreeMap<&'static str, Writing>);

struct Writing {
    version: u32,
    id: u32,
    schema: Schema,
}

/// A value does not follow its schema: a mistake in this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event does not follow the schema of {topic}: {reason}")]
pub(crate) struct Unwritable {
    topic: &'static str,
    reason: String,
}

impl Schemas {
    /// The newest ones, with the ids that somebody gave them.
    ///
    /// # Panics
    /// When a schema of this program is none; a test makes sure that each is.
    pub(crate) fn new(id: impl Fn(&Version) -> u32) -> Self {
        let writing = TOPICS.iter().map(|(topic, _)| {
            let version = newest(topic);
            let schema = Schema::parse_str(version.text).expect("our own schemas are sound");
            (*topic, Writing { version: version.version, id: id(version), schema })
        });
        Self(writing.collect())
    }

    /// The bytes of a record, and the version of its schema.
    pub(crate) fn encode(&self, topic: &'static str, record: Value) -> Result<(Vec<u8>, u32), Unwritable> {
        let unwritable = |reason: String| Unwritable { topic, reason };
        let writing = self.0.get(topic).ok_or_else(|| unwritable("it has none".to_owned()))?;
        let mut bytes = vec![MAGIC];
        bytes.extend_from_slice(&writing.id.to_be_bytes());
        let datum = GenericDatumWriter::builder(&writing.schema).build();
        let datum = datum.and_then(|writer| writer.write_value_to_vec(record));
        bytes.extend(datum.map_err(|error| unwritable(error.to_string()))?);
        Ok((bytes, writing.version))
    }
}
