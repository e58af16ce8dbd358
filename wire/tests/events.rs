//! `docs/events.md` is made from the schemas, and names what the roadmap names.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use wire::avro::{TOPICS, VERSIONS, Version, newest, subject};

const INTRODUCTION: &str = "\
# Public events

<!-- Made from the schemas in wire/avro/ by `./dev golden`; a test compares. -->

With its log in Kafka, the engine publishes what it decided. Values are Avro in Confluent's wire format: a zero byte, the
schema's id (four bytes, big endian), the event. The key is the aggregate's id, so that the events of one aggregate are in
one partition, in the order of its versions (partitioner `murmur2`, as Kafka's clients for Java have it).

- **What is published** is final: an accepted outcome of the journal, never a try.
- **At least once**: an event may come again, with the same `eventId` and `aggregateVersion`. Whoever publishes a shard looks
  for what is there before it goes on, so a crash alone repeats nothing. Two things do: an engine that stood still for longer
  than its group waits (6 s) and then went on, and one that ended or lost its shards while the cluster acknowledged
  nothing, because what it had handed over by then may arrive all the same.
- **In order**: the versions of an aggregate come in their order the first time; a repeat may stand behind newer ones.
  Whoever keeps the last version of each aggregate can leave out all up to it.
- **Money** is a decimal with scale 8 in bytes; `null` means that nothing is said or limited. Times are microseconds.
- **Shared accounts** (EXTERNAL and SYSTEM without limits) have a stripe on every shard: the aggregate `account#shard`, with
  versions of its own. Their balance is the sum over the stripes.
- **Headers** say the same without decoding: `eventType`, `eventVersion` (of the schema), `correlationId`, `position`,
  `eventId`.
- **Changes**: a topic has one schema under the subject `<topic>-value`. A new version reads what older ones wrote
  (BACKWARD), so a consumer that reads with the newest schema never has to know an old one. Resolve `data` by the records'
  full names, as clients for Java, Python and Go do; Rust's `apache-avro` does not: read with the writer's schema there.
- **Without a registry** (`[registry]` in the [configuration](configuration.md)) the ids are those of
  [`wire/avro/ids.json`](../wire/avro/ids.json).
";

/// The field whose meaning depends on the topic.
const AGGREGATE: &str = "aggregateId";

fn schema(version: &Version) -> Value {
    serde_json::from_str(version.text).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A type as people say it.
fn type_name(value: &Value) -> String {
    match value {
        Value::String(name) => name.clone(),
        Value::Array(options) => {
            let names: Vec<String> = options.iter().map(type_name).collect();
            names.join(" or ")
        }
        _ => match text(value, "logicalType") {
            "decimal" => "decimal".to_owned(),
            "" => text(value, "type").to_owned(),
            logical => logical.to_owned(),
        },
    }
}

fn fields(page: &mut String, fields: &[Value]) {
    page.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    for field in fields {
        writeln!(page, "| `{}` | {} | {} |", text(field, "name"), type_name(&field["type"]), text(field, "doc"))
            .unwrap();
    }
}

/// The fields of a schema: those of every event, and the records that `data` may be.
fn parts(schema: &Value) -> (Vec<Value>, Vec<Value>) {
    let all = schema["fields"].as_array().unwrap();
    let (data, envelope) = all.split_last().unwrap();
    assert_eq!(data["name"], "data");
    (envelope.to_vec(), data["type"].as_array().unwrap().clone())
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let (mut envelope, _) = parts(&schema(newest(TOPICS[0].0)));
    let aggregate = envelope.iter_mut().find(|field| field["name"] == AGGREGATE).unwrap();
    aggregate["doc"] = "What it happened to: said with each topic.".into();
    page.push_str("\n## Every event\n");
    fields(&mut page, &envelope);
    page.push_str("\n`data` is one of the records below; `eventType` says which.\n");
    for (topic, partitions) in TOPICS {
        let version = newest(topic);
        let schema = schema(version);
        writeln!(page, "\n## `{topic}`\n").unwrap();
        writeln!(
            page,
            "{} {partitions} partitions, kept for ever; subject `{}`.",
            text(&schema, "doc"),
            subject(topic)
        )
        .unwrap();
        let (envelope, records) = parts(&schema);
        let aggregate = envelope.iter().find(|field| field["name"] == AGGREGATE).unwrap();
        writeln!(page, "`{AGGREGATE}`: {}", text(aggregate, "doc")).unwrap();
        for record in records {
            let events: Vec<String> = record["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| format!("`{}`", name.as_str().unwrap()))
                .collect();
            writeln!(page, "\n### {}\n\n{}", events.join(", "), text(&record, "doc")).unwrap();
            fields(&mut page, record["fields"].as_array().unwrap());
        }
    }
    page.push_str("\n## Versions\n\n| topic | version | schema | id without a registry |\n|---|---|---|---|\n");
    for Version { topic, version, local_id, file, .. } in &VERSIONS {
        writeln!(page, "| `{topic}` | {version} | [`{file}`](../wire/avro/{file}) | {local_id} |").unwrap();
    }
    page
}

#[test]
fn golden_the_document_says_what_the_schemas_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    let page = page();
    if std::env::var_os("CROSSFADE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/events.md is not what the schemas say: run ./dev golden");
}

#[test]
fn every_topic_has_the_same_envelope() {
    let names = |topic| -> Vec<String> {
        parts(&schema(newest(topic))).0.iter().map(|field| text(field, "name").to_owned()).collect()
    };
    for (topic, _) in TOPICS {
        assert_eq!(names(topic), names(TOPICS[0].0), "{topic}");
    }
}

/// The roadmap's events with their fields ("Similar for: Withdrawal, Transfer, Refund").
#[test]
fn the_roadmaps_events_and_fields_are_there() {
    let there = page();
    let section = |event: &str| {
        let begin = there.lines().position(|line| line.starts_with("### ") && line.contains(&format!("`{event}`")));
        let begin = begin.unwrap_or_else(|| panic!("{event} is not named"));
        let rest = there.lines().skip(begin + 1);
        rest.take_while(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    let envelope = there.split("## Every event").nth(1).unwrap().split("\n## ").next().unwrap();
    for field in ["aggregateId", "aggregateVersion", "eventId", "timestamp", "correlationId", "causationId", "metadata"]
    {
        assert!(envelope.contains(&format!("| `{field}` |")), "{field}");
    }
    let requested =
        &["idempotencyKey", "sourceAccountId", "destinationAccountId", "amount", "currency", "reference"][..];
    let completed = &[
        "transactionId",
        "sourceBalanceBefore",
        "sourceBalanceAfter",
        "destinationBalanceBefore",
        "destinationBalanceAfter",
        "completedAt",
    ][..];
    let failed = &["reason", "errorCode"][..];
    let mut expected = vec![
        (
            "AccountCreated".to_owned(),
            &["ownerId", "ownerType", "accountType", "currency", "maxBalance", "minBalance"][..],
        ),
        ("BalanceChanged".to_owned(), &["balanceBefore", "balanceAfter", "reason", "transactionId"][..]),
        ("FundsReserved".to_owned(), &[][..]),
        ("ReservationReleased".to_owned(), &[][..]),
    ];
    for kind in ["Topup", "Withdrawal", "Transfer", "Refund"] {
        expected.push((format!("{kind}Requested"), requested));
        expected.push((format!("{kind}Completed"), completed));
        expected.push((format!("{kind}Failed"), failed));
    }
    for (event, fields) in expected {
        let section = section(&event);
        for field in fields {
            assert!(section.contains(&format!("| `{field}` |")), "{event}.{field}");
        }
    }
}
