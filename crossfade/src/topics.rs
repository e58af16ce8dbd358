//! Every topic of a ledger in Kafka, and who may do what with it: what parts demand, and what `crossfade topics` makes
//! and checks.

use eventlog::kafka::acls::{Grant, On, To};
use eventlog::kafka::{READER_GROUP, TopicSpec};
use serde::{Deserialize, Serialize};
use wire::{avro, dead_letter, decision, exchange, order, rollout, shadow, snapshot};

/// The topics of relay and comparator. All are kept for ever, also exchanges, shadows and their order: their readers begin at
/// the first record, and the chain of the shadows hangs on it. Without it, a relay would take every leg for one that was
/// never sent.
pub fn of_cutover() -> Vec<TopicSpec> {
    vec![
        TopicSpec::forever(exchange::TOPIC, 1),
        TopicSpec::forever(shadow::TOPIC, 1),
        TopicSpec::forever(order::TOPIC, 1),
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

/// Whom the cluster knows the parts as, for `crossfade topics --acls`. Parts that share a principal have the rights of all
/// of them.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Principals {
    /// The engines.
    pub engine: Option<String>,
    /// The relay.
    pub relay: Option<String>,
    /// The comparator.
    pub comparator: Option<String>,
    /// Programs that read the public events.
    pub consumers: Vec<String>,
}

/// Groups of consumers of public events begin so, after the prefix of the ledger.
const CONSUMERS_GROUPS: &str = "events-";

impl Principals {
    /// Finds what the cluster would never match.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let named = [("engine", &self.engine), ("relay", &self.relay), ("comparator", &self.comparator)];
        let parts = named.into_iter().filter_map(|(key, principal)| Some((key, principal.as_ref()?)));
        let all = parts.chain(self.consumers.iter().map(|principal| ("consumers", principal)));
        for (key, principal) in all {
            if principal.split_once(':').is_none_or(|(kind, name)| kind.is_empty() || name.is_empty()) {
                return Err(format!(
                    "principals.{key} has to be a kind and a name, such as User:billing, not `{principal}`"
                ));
            }
        }
        Ok(())
    }

    /// The least that each has to be allowed.
    pub fn grants(&self) -> Vec<Grant> {
        let mut all = Grants(Vec::new());
        if let Some(engine) = &self.engine {
            for topic in engine::topic_specs(1) {
                all.topic(engine, &topic.name, &[To::Read, To::Write, To::SeeSettings]);
            }
            // Old snapshots are taken away.
            all.topic(engine, snapshot::TOPIC, &[To::DeleteRecords]);
            for group in engine::GROUPS {
                all.add(engine, On::Group(group.to_owned()), To::Read);
            }
            all.add(engine, On::Group(READER_GROUP.to_owned()), To::Read);
        }
        let both = [(&self.relay, &RELAY[..]), (&self.comparator, &COMPARATOR[..])];
        for (principal, writes) in
            both.into_iter().filter_map(|(principal, writes)| Some((principal.as_ref()?, writes)))
        {
            for topic in of_cutover() {
                all.topic(principal, &topic.name, &[To::Read, To::SeeSettings]);
            }
            writes.iter().for_each(|topic| all.topic(principal, topic, &[To::Write]));
            all.add(principal, On::Group(READER_GROUP.to_owned()), To::Read);
        }
        for consumer in &self.consumers {
            avro::TOPICS.iter().for_each(|(topic, _)| all.topic(consumer, topic, &[To::Read]));
            all.add(consumer, On::GroupsOf(CONSUMERS_GROUPS.to_owned()), To::Read);
        }
        all.0
    }
}

/// What the relay writes; `drained` goes to the rollout.
const RELAY: [&str; 4] = [exchange::TOPIC, shadow::TOPIC, rollout::TOPIC, dead_letter::TOPIC];
/// What the comparator writes.
const COMPARATOR: [&str; 3] = [rollout::TOPIC, decision::TOPIC, order::TOPIC];

struct Grants(Vec<Grant>);

impl Grants {
    fn topic(&mut self, principal: &str, topic: &str, to: &[To]) {
        to.iter().for_each(|to| self.add(principal, On::Topic(topic.to_owned()), *to));
    }

    fn add(&mut self, principal: &str, on: On, to: To) {
        let grant = Grant { principal: principal.to_owned(), on, to };
        if !self.0.contains(&grant) {
            self.0.push(grant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Principals {
        let named = |name: &str| Some(format!("User:{name}"));
        let consumers = vec!["User:consumer".to_owned()];
        Principals { engine: named("engine"), relay: named("relay"), comparator: named("comparator"), consumers }
    }

    /// Topics with which somebody may do something.
    fn topics_of(grants: &[Grant], principal: &str, may: To) -> Vec<String> {
        let own = grants.iter().filter(|grant| grant.principal == format!("User:{principal}") && grant.to == may);
        let topic = |grant: &Grant| if let On::Topic(name) = &grant.on { Some(name.clone()) } else { None };
        own.filter_map(topic).collect()
    }

    #[test]
    fn nobody_may_write_where_others_decide() {
        let grants = all().grants();
        for part in ["engine", "consumer"] {
            assert!(topics_of(&grants, part, To::Write).iter().all(|topic| topic.starts_with("billing.")), "{part}");
        }
        assert_eq!(topics_of(&grants, "consumer", To::Write), Vec::<String>::new());
        assert!(!topics_of(&grants, "comparator", To::Write).contains(&exchange::TOPIC.to_owned()));
        assert!(!topics_of(&grants, "relay", To::Write).contains(&decision::TOPIC.to_owned()));
        for part in ["relay", "comparator"] {
            let billing = topics_of(&grants, part, To::Read).into_iter().filter(|topic| topic.starts_with("billing."));
            assert_eq!(billing.collect::<Vec<_>>(), [dead_letter::TOPIC], "{part}");
        }
    }

    #[test]
    fn only_snapshots_can_be_deleted() {
        let grants = all().grants();
        assert_eq!(topics_of(&grants, "engine", To::DeleteRecords), [snapshot::TOPIC]);
        let others = ["relay", "comparator", "consumer"];
        assert!(others.iter().all(|part| topics_of(&grants, part, To::DeleteRecords).is_empty()));
    }

    #[test]
    fn every_topic_is_written_by_somebody() {
        let grants = all().grants();
        for spec in super::all(1) {
            let is_written = |part| topics_of(&grants, part, To::Write).contains(&spec.name);
            assert!(["engine", "relay", "comparator"].into_iter().any(is_written), "{}", spec.name);
        }
    }

    #[test]
    fn a_principal_has_a_kind_and_a_name() {
        assert_eq!(all().check(), Ok(()));
        let wrong = Principals { relay: Some("billing".to_owned()), ..Principals::default() };
        assert!(wrong.check().is_err_and(|problem| problem.contains("principals.relay")));
    }
}
