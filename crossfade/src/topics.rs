//! Every topic of a ledger in Kafka: what parts demand of them, and what `crossfade topics` makes and checks.

use eventlog::kafka::TopicSpec;
use wire::{dead_letter, decision, exchange, order, rollout, shadow};

/// Exchanges, shadows and their order are kept this long (DESIGN 3.1): longer than a cutover's step, and than any
/// dispute about it.
const EXCHANGES_DAYS: u32 = 35;

/// The topics of relay and comparator.
pub fn of_cutover() -> Vec<TopicSpec> {
    vec![
        TopicSpec::days(exchange::TOPIC, 1, EXCHANGES_DAYS),
        TopicSpec::days(shadow::TOPIC, 1, EXCHANGES_DAYS),
        TopicSpec::days(order::TOPIC, 1, EXCHANGES_DAYS),
        TopicSpec::forever(rollout::TOPIC, 1),
        TopicSpec::forever(decision::TOPIC, 1),
        TopicSpec::forever(dead_letter::TOPIC, 1),
    ]
}

/// All topics, for an engine of that many shards.
pub fn all(shards: u32) -> Vec<TopicSpec> {
    let mut all = engine::topic_specs(shards);
    // Both keep what they cannot process in the same topic.
    all.extend(of_cutover().into_iter().filter(|spec| spec.name != dead_letter::TOPIC));
    all
}
