"""Copies the topics of a ledger as a mirror has to: each record at its partition and offset, with its key, its headers and
its time.

Usage: mirror.py BOOTSTRAP PREFIX MIRROR_PREFIX

The mirror's topics are there, and empty. While they are filled they take a record's time from the record; at the end they
take the log's again, as a ledger's topics have to. Prints how many records were copied from each topic, as JSON.
"""

import json
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

SECONDS = 30
LONGEST_RECORD = 8 << 20


def times_of(admin, topics, kind):
    entry = ConfigEntry("message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry]) for topic in topics]
    for altered in admin.incremental_alter_configs(resources, request_timeout=SECONDS).values():
        altered.result()


def records(consumer, topic, partition):
    """All records of a partition, up to where it ends now."""
    place = TopicPartition(topic, partition, 0)
    begin, end = consumer.get_watermark_offsets(place, timeout=SECONDS)
    if begin != 0:
        sys.exit(f"{topic}/{partition} begins at {begin}: what is before can't be mirrored")
    consumer.assign([place])
    following = 0
    while following < end:
        record = consumer.poll(SECONDS)
        if record is None:
            sys.exit(f"{topic}/{partition}: nothing came for {SECONDS} s")
        if record.error():
            raise KafkaException(record.error())
        if record.offset() != following:
            sys.exit(f"{topic}/{partition} has no record {following}: a copy can't have these offsets")
        following += 1
        yield record


def copy(consumer, producer, topic, partition, mirror):
    """Copies a partition; how many records that are."""
    wanted, got = [], []

    def delivered(error, record):
        got.append(str(error) if error else (record.offset(), record.timestamp()[1]))

    for record in records(consumer, topic, partition):
        # The time that the producer is given becomes the record's.
        _, millis = record.timestamp()
        content = {"key": record.key(), "value": record.value(), "headers": record.headers(), "timestamp": millis}
        producer.produce(mirror, partition=partition, on_delivery=delivered, **content)
        producer.poll(0)
        wanted.append((record.offset(), millis))
    if producer.flush(SECONDS) or got != wanted:
        sys.exit(f"{mirror}/{partition}: offsets or times are not what they were: {got[:5]}, not {wanted[:5]} ...")
    return len(wanted)


def main(bootstrap, prefix, mirror_prefix):
    common = {"bootstrap.servers": bootstrap}
    admin = AdminClient(common)
    producer = Producer(common | {"enable.idempotence": True, "message.max.bytes": LONGEST_RECORD})
    consumer = Consumer(common | {"group.id": f"{mirror_prefix}mirror", "enable.auto.commit": False})
    found = admin.list_topics(timeout=SECONDS).topics
    names = sorted(name.removeprefix(prefix) for name in found if name.startswith(prefix))
    mirrors = [mirror_prefix + name for name in names]
    times_of(admin, mirrors, "CreateTime")
    copied = {}
    for name, mirror in zip(names, mirrors):
        partitions = found[prefix + name].partitions
        copied[name] = sum(copy(consumer, producer, prefix + name, number, mirror) for number in partitions)
    times_of(admin, mirrors, "LogAppendTime")
    consumer.close()
    print(json.dumps(copied))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
