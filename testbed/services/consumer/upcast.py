"""Writes an account event in version 1 of its schema and reads it with version 2, both from the registry.

Usage: upcast.py REGISTRY_URL SUBJECT

Prints what was read as JSON.
"""

import datetime
import decimal
import json
import sys
import uuid

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def main(registry, subject):
    client = SchemaRegistryClient({"url": registry, "timeout": 10})
    first, second = (client.get_version(subject, version).schema for version in (1, 2))
    context = SerializationContext(subject.removesuffix("-value"), MessageField.VALUE)
    settings = {"auto.register.schemas": False, "use.latest.version": False, "subject.name.strategy.type": "TOPIC"}
    old = {
        "eventId": str(uuid.uuid4()),
        "eventType": "BalanceChanged",
        "aggregateId": "alice",
        "aggregateVersion": 2,
        "timestamp": datetime.datetime.now(datetime.timezone.utc),
        "correlationId": "c",
        "causationId": "d",
        "actorId": "anonymous",
        "position": "3:14",
        "metadata": None,
        "data": (
            "crossfade.billing.BalanceChanged",
            {
                "currency": "EUR",
                "balanceBefore": decimal.Decimal("0.00000000"),
                "balanceAfter": decimal.Decimal("12.34000000"),
                "reason": "credit",
                "transactionId": str(uuid.uuid4()),
            },
        ),
    }
    value = AvroSerializer(client, first.schema_str, conf=settings)(old, context)
    new = AvroDeserializer(client, second.schema_str, conf={"subject.name.strategy.type": "TOPIC"})(value, context)
    print(json.dumps(new, default=str))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
