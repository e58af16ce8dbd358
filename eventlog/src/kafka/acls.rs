//! Who may do what with the topics and groups of a ledger: what is missing, and how it is given.

use super::connection::Connection;
use super::queries::PATIENCE;
use super::topics::{ASK_AGAIN, Cluster, Deviation, Failed, HEARD_WITHIN};
use host::clock;
use kafka_acls::{Acl, Operation, Resource};

/// A right that somebody has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who, such as `User:crossfade`.
    pub principal: String,
    /// With what.
    pub on: On,
    /// What.
    pub to: To,
}

/// Something in the cluster, without the prefix of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// A topic.
    Topic(String),
    /// A consumer group.
    Group(String),
    /// All consumer groups whose names begin so.
    GroupsOf(String),
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Read it; of a group: be a member.
    Read,
    /// Append to it.
    Write,
    /// Delete its oldest records.
    DeleteRecords,
    /// See its settings.
    SeeSettings,
}

/// Rights that are missing, and entries that forbid them. To whom the cluster shows no lists at all, all of them are:
/// librdkafka 2.12.1 drops what the cluster says of that. The broker that is asked may hear late of what was given.
///
/// # Errors
/// When the cluster does not answer.
pub async fn check(connection: &Connection, grants: &[Grant]) -> Result<Vec<Deviation>, Failed> {
    let cluster = Cluster::of(connection)?;
    let deadline = clock::now() + HEARD_WITHIN;
    loop {
        let deviations = deviations(connection, grants, &cluster.acls().await?);
        if deviations.is_empty() || clock::now() >= deadline {
            return Ok(deviations);
        }
        clock::sleep(ASK_AGAIN).await;
    }
}

fn deviations(connection: &Connection, grants: &[Grant], acls: &[Acl]) -> Vec<Deviation> {
    let lacking = grants.iter().map(|grant| wanted(connection, grant));
    let mut deviations: Vec<Deviation> = Vec::new();
    for wanted in lacking {
        if let Some(is) = lack(acls, &wanted) {
            let topic = format!("{} {}{}", wanted.resource, wanted.name, if wanted.prefixed { "*" } else { "" });
            let should = format!("{} by {}", wanted.operation, wanted.principal);
            deviations.push(Deviation { topic, what: "access", is, should });
        }
    }
    deviations
}

/// Gives the rights that are missing; answers how many. What forbids them stays.
///
/// # Errors
/// As [`check`]; or when we may not give them.
pub async fn create(connection: &Connection, grants: &[Grant]) -> Result<usize, Failed> {
    let cluster = Cluster::of(connection)?;
    let acls = cluster.acls().await?;
    let wanted = grants.iter().map(|grant| wanted(connection, grant));
    let missing: Vec<Acl> = wanted.filter(|wanted| !acls.iter().any(|acl| acl.allows && covers(acl, wanted))).collect();
    let count = missing.len();
    cluster.give(missing).await?;
    Ok(count)
}

impl Cluster<'_> {
    async fn acls(&self) -> Result<Vec<Acl>, Failed> {
        let admin = self.admin();
        let asked = host::task::spawn_blocking(move || kafka_acls::describe(admin.inner(), PATIENCE)).await;
        asked.map_err(|error| error.to_string()).flatten().map_err(|why| self.refused("show", &why))
    }

    async fn give(&self, acls: Vec<Acl>) -> Result<(), Failed> {
        let admin = self.admin();
        let asked = host::task::spawn_blocking(move || kafka_acls::create(admin.inner(), &acls, PATIENCE)).await;
        asked.map_err(|error| error.to_string()).flatten().map_err(|why| self.refused("change", &why))
    }

    fn refused(&self, what: &str, why: &str) -> Failed {
        Failed(format!("Kafka at {} does not {what} its access control lists: {why}", self.bootstrap()))
    }
}

/// The entry that gives a right.
fn wanted(connection: &Connection, Grant { principal, on, to }: &Grant) -> Acl {
    let (resource, name, prefixed) = match on {
        On::Topic(name) => (Resource::Topic, name, false),
        On::Group(name) => (Resource::Group, name, false),
        On::GroupsOf(name) => (Resource::Group, name, true),
    };
    let operation = match to {
        To::Read => Operation::Read,
        To::Write => Operation::Write,
        To::DeleteRecords => Operation::Delete,
        To::SeeSettings => Operation::DescribeConfigs,
    };
    let (principal, host, name) = (principal.clone(), "*".to_owned(), connection.topic(name));
    Acl { principal, host, resource, name, prefixed, operation, allows: true }
}

/// Why a right is not there; `None` if it is.
fn lack(acls: &[Acl], wanted: &Acl) -> Option<String> {
    if let Some(acl) = acls.iter().find(|acl| forbids(acl, wanted)) {
        let from = if acl.host == "*" { String::new() } else { format!(" from {}", acl.host) };
        return Some(format!("forbidden: {acl}{from}"));
    }
    let given = acls.iter().any(|acl| acl.allows && covers(acl, wanted));
    let why = if acls.is_empty() { "not given, or not shown to us" } else { "not given" };
    (!given).then(|| why.to_owned())
}

/// Whether an entry is about everything that another one is about, from wherever.
fn covers(acl: &Acl, wanted: &Acl) -> bool {
    let named = acl.name == "*"
        || if acl.prefixed { wanted.name.starts_with(&acl.name) } else { !wanted.prefixed && acl.name == wanted.name };
    named
        && acl.resource == wanted.resource
        && (acl.principal == wanted.principal || acl.principal == "User:*")
        && acl.host == "*"
        && (acl.operation == Operation::All || acl.operation == wanted.operation)
}

/// Whether an entry forbids any of what another one is about, and be it on one host. Who must not see something cannot use
/// it either: reading and writing imply Describe only where they are allowed.
fn forbids(acl: &Acl, wanted: &Acl) -> bool {
    let named = acl.name == "*"
        || match (acl.prefixed, wanted.prefixed) {
            (true, true) => wanted.name.starts_with(&acl.name) || acl.name.starts_with(&wanted.name),
            (true, false) => wanted.name.starts_with(&acl.name),
            (false, true) => acl.name.starts_with(&wanted.name),
            (false, false) => acl.name == wanted.name,
        };
    !acl.allows
        && named
        && acl.resource == wanted.resource
        && (acl.principal == wanted.principal || acl.principal == "User:*")
        && (acl.operation == wanted.operation || matches!(acl.operation, Operation::All | Operation::Describe))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(principal: &str, name: &str, prefixed: bool, operation: Operation, allows: bool) -> Acl {
        let (principal, name) = (principal.to_owned(), name.to_owned());
        Acl { principal, host: "*".to_owned(), resource: Resource::Topic, name, prefixed, operation, allows }
    }

    #[test]
    fn a_right_is_given_by_whatever_covers_it() {
        let wanted = acl("User:a", "p.t", false, Operation::Read, true);
        for (given, covered) in [
            (wanted.clone(), true),
            (acl("User:*", "*", false, Operation::All, true), true),
            (acl("User:a", "p.", true, Operation::Read, true), true),
            (acl("User:a", "p.", false, Operation::Read, true), false),
            (acl("User:b", "p.t", false, Operation::Read, true), false),
            (acl("User:a", "p.t", false, Operation::Write, true), false),
            (Acl { host: "10.0.0.1".to_owned(), ..wanted.clone() }, false),
            (Acl { resource: Resource::Group, ..wanted.clone() }, false),
        ] {
            assert_eq!(lack(std::slice::from_ref(&given), &wanted).is_none(), covered, "{given:?}");
        }
        let all_of = Acl { prefixed: true, ..wanted.clone() };
        assert!(lack(std::slice::from_ref(&wanted), &all_of).is_some(), "one of them is not all");
    }

    #[test]
    fn a_right_is_forbidden_by_whatever_touches_it() {
        let one = acl("User:a", "p.t", false, Operation::Read, true);
        let all_of = acl("User:a", "p.t", true, Operation::Read, true);
        let deny = |name: &str, prefixed, operation| acl("User:a", name, prefixed, operation, false);
        let read = |name: &str, prefixed| deny(name, prefixed, Operation::Read);
        for (wanted, denial, forbidden) in [
            (&one, read("p.t", false), true),
            (&one, deny("p.t", false, Operation::All), true),
            (&one, deny("p.t", false, Operation::Describe), true),
            (&one, deny("p.t", false, Operation::Write), false),
            (&one, deny("p.t", false, Operation::DescribeConfigs), false),
            (&one, read("p.", true), true),
            (&one, read("*", false), true),
            (&one, read("p.", false), false),
            (&one, read("p.t.more", true), false),
            (&all_of, read("p.t", true), true),
            (&all_of, read("p.", true), true),
            (&all_of, read("p.t.more", true), true),
            (&all_of, read("p.t.more", false), true),
            (&all_of, read("p.", false), false),
            (&all_of, read("q", true), false),
            (&one, Acl { principal: "User:*".to_owned(), ..read("p.t", false) }, true),
            (&one, Acl { principal: "User:b".to_owned(), ..read("p.t", false) }, false),
            (&one, Acl { host: "10.0.0.1".to_owned(), ..read("p.t", false) }, true),
            (&one, Acl { resource: Resource::Group, ..read("p.t", false) }, false),
        ] {
            assert_eq!(lack(&[wanted.clone(), denial.clone()], wanted).is_some(), forbidden, "{denial:?}");
        }
    }

    #[test]
    fn what_forbids_a_right_is_named() {
        let wanted = acl("User:a", "p.t", false, Operation::Read, true);
        let denial = Acl { host: "10.0.0.1".to_owned(), ..acl("User:*", "p.", true, Operation::Describe, false) };
        let said = "forbidden: Describe on the topic p.* by User:* from 10.0.0.1";
        assert_eq!(lack(&[wanted.clone(), denial], &wanted), Some(said.to_owned()));
    }
}
