"""Reads the public account events as somebody else would, and says what they add up to.

Usage: events.py BOOTSTRAP REGISTRY_URL TOPIC

Prints one JSON object: events read, the sum of balance changes per account, events per type, how many were repeats and the
time of the newest of those in microseconds since 1970, and lists of what must not be: ids that came twice without being a
repeat, versions that do not follow the one before. A repeat is what came before to the byte, and is left out as docs/events.md
says: by the version. Decodes with the
schemas of the registry and knows nothing of Crossfade but docs/events.md.
"""

import json
import sys
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SHOWN = 10  # of each kind of mistake
PATIENCE = 60  # seconds for leaders that move


def watermarks(consumer, topic, partition):
    """The first offset and the end of a partition; asks again while its leader moves."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            consumer.poll(0.2)


def records(bootstrap, topic):
    """Every record up to the ends that the partitions have now, in order within a partition."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "independent", "enable.auto.commit": False, "isolation.level": "read_committed"}
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        left = {}
        for partition in partitions:
            first, end = watermarks(consumer, topic, partition)
            if end > first:
                left[partition] = end
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        while left:
            record = consumer.poll(20)
            if record is None:
                sys.exit(f"{topic}: nothing came for 20 s although {left} are there")
            if record.error():
                sys.exit(f"{topic}: {record.error()}")
            if record.offset() + 1 >= left.get(record.partition(), 0):
                left.pop(record.partition(), None)
            yield record
    finally:
        consumer.close()


def main(bootstrap, registry, topic):
    # The client's own default waits for ever. Schemas are found by the id in each record, subjects by the topic's name.
    client = SchemaRegistryClient({"url": registry, "timeout": 10})
    decode = AvroDeserializer(client, conf={"subject.name.strategy.type": "TOPIC"})
    context = SerializationContext(topic, MessageField.VALUE)
    sums, types, ids, versions = defaultdict(Decimal), Counter(), Counter(), defaultdict(int)
    seen, repeats, newest_repeat = {}, 0, EPOCH
    gaps, strange = [], []
    for record in records(bootstrap, topic):
        event = decode(record.value(), context)
        headers = {name: value.decode() for name, value in record.headers() or []}
        aggregate, version = event["aggregateId"], event["aggregateVersion"]
        content = (record.key(), record.value(), tuple(record.headers() or []))
        if version <= versions[aggregate] and seen.get((aggregate, version)) == content:
            repeats += 1
            newest_repeat = max(newest_repeat, event["timestamp"])
            continue
        seen[aggregate, version] = content
        types[event["eventType"]] += 1
        ids[str(event["eventId"])] += 1
        if version != versions[aggregate] + 1:
            gaps.append(f"{aggregate}: {version} after {versions[aggregate]}")
        versions[aggregate] = version
        said = (headers.get("eventType"), headers.get("correlationId"), headers.get("position"), headers.get("eventId"))
        if said != (event["eventType"], event["correlationId"], event["position"], str(event["eventId"])):
            strange.append(f"headers {headers} of {event['eventId']}")
        if headers.get("eventVersion") != "2" or record.key().decode() != aggregate:
            strange.append(f"version {headers.get('eventVersion')}, key {record.key()} of {event['eventId']}")
        if event["eventType"] == "BalanceChanged":
            # A shared account has a stripe per shard: account#shard.
            account = aggregate.rsplit("#", 1)[0]
            sums[account] += event["data"]["balanceAfter"] - event["data"]["balanceBefore"]
        elif event["eventType"] == "AccountCreated":
            sums[event["data"]["accountId"]] += 0
    twice = [f"{id}: {count} times" for id, count in ids.items() if count > 1]
    print(
        json.dumps(
            {
                "events": sum(types.values()),
                "types": types,
                "repeats": repeats,
                "newestRepeatMicros": (newest_repeat - EPOCH) // timedelta(microseconds=1),
                "sums": {account: f"{total:f}" for account, total in sums.items()},
                "twice": twice[:SHOWN],
                "gaps": gaps[:SHOWN],
                "strange": strange[:SHOWN],
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
