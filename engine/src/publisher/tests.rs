//! Every event has a record that follows its schema, and every version of a schema reads what the one before wrote.
//!
//! That version 2 really reads what version 1 wrote is shown by another implementation of Avro, on real services: this
//! library does not resolve records in unions by their names.

use super::event::{Published, published};
use super::schemas::Schemas;
use crate::codec;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::SchemaCompatibility;
use engine_domain::Outcome;
use std::collections::BTreeSet;
use std::path::Path;
use wire::avro::{TOPICS, VERSIONS, Version, newest};
use wire::journal;
use wire::stored::{self, Stored};

/// Outcomes with events of every kind: those that the journal's golden files pin.
fn outcomes() -> Vec<Outcome> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden");
    let mut outcomes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let hex = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = hex.trim().as_bytes().chunks(2).map(byte).collect();
        if bytes[..2] == journal::Outcome::TYPE.to_le_bytes() {
            outcomes.push(codec::outcome_from_wire(stored::decode(&bytes).unwrap()).unwrap());
        }
    }
    outcomes
}

fn events() -> Vec<Published> {
    outcomes().iter().flat_map(published).collect()
}

fn parsed(version: &Version) -> Schema {
    Schema::parse_str(version.text).unwrap()
}

#[test]
fn every_event_follows_its_schema_and_reads_back() {
    let schemas = Schemas::new(|_| 0x0102_0304);
    let mut seen = BTreeSet::new();
    for event in events() {
        let (bytes, version) = schemas.encode(event.topic, event.record.clone()).unwrap();
        assert_eq!(bytes[..5], [0, 1, 2, 3, 4], "a zero, then the id of the schema");
        let newest = newest(event.topic);
        assert_eq!(version, newest.version);
        let schema = parsed(newest);
        let read = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &bytes[5..]).unwrap();
        assert_eq!(read, event.record, "{}", event.event_type);
        seen.insert(event.event_type);
    }
    let named: BTreeSet<&str> = TOPICS.iter().flat_map(|(topic, _)| event_types(newest(topic))).collect();
    let missing: Vec<_> = seen.difference(&named).collect();
    assert!(missing.is_empty(), "no schema names {missing:?}");
    // The golden files have one kind of each transaction event.
    assert!(seen.len() >= 18, "{seen:?}");
}

/// What a schema says that it is for, as `docs/events.md` shows it.
fn event_types(version: &'static Version) -> Vec<&'static str> {
    let json: &'static serde_json::Value = Box::leak(Box::new(serde_json::from_str(version.text).unwrap()));
    let data = json["fields"].as_array().unwrap().last().unwrap();
    let records = data["type"].as_array().unwrap().iter();
    records.flat_map(|record| record["events"].as_array().unwrap()).map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn every_version_reads_what_the_one_before_wrote() {
    let mut checked = 0;
    for pair in VERSIONS.windows(2).filter(|pair| pair[0].topic == pair[1].topic) {
        assert_eq!(pair[0].version + 1, pair[1].version);
        SchemaCompatibility::can_read(&parsed(&pair[0]), &parsed(&pair[1])).unwrap();
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn where_there_is_no_registry_a_file_says_the_same() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/avro/ids.json");
    let ids: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(ids.as_object().unwrap().len(), VERSIONS.len());
    for Version { topic, version, local_id, file, .. } in &VERSIONS {
        let expected = serde_json::json!({ "subject": wire::avro::subject(topic), "version": version, "file": file });
        assert_eq!(ids[local_id.to_string()], expected);
    }
}
