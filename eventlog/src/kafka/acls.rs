//! Who may do what with the topics and groups of a ledger: what is missing, and how it is given.

use super::connection::Connection;
use super::queries::PATIENCE;
use super::topics::{Cluster, Deviation, Failed};
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
    /// See its settings.
    SeeSettings,
}

/// Rights that are missing, and entries that forbid them. To whom the cluster shows no lists at all, all of them are:
/// librdkafka 2.12.1 drops what the cluster says of that.
///
/// # Errors
/// When the cluster does not answer.
pub async fn check(connection: &Connection, grants: &[Grant]) -> Result<Vec<Deviation>, Failed> {
    let acls = Cluster::of(connection)?.acls().await?;
    let lacking = grants.iter().map(|grant| wanted(connection, grant));
    let mut deviations: Vec<Deviation> = Vec::new();
    for wanted in lacking {
        if let Some(is) = lack(&acls, &wanted) {
            let topic = format!("{} {}{}", wanted.resource, wanted.name, if wanted.prefixed { "*" } else { "" });
            let should = format!("{} by {}", wanted.operation, wanted.principal);
            deviations.push(Deviation { topic, what: "access", is, should });
        }
    }
    Ok(deviations)
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
        To::SeeSettings => Operation::DescribeConfigs,
    };
    let (principal, host, name) = (principal.clone(), "*".to_owned(), connection.topic(name));
    Acl { principal, host, resource, name, prefixed, operation, allows: true }
}

/// Why a right is not there; `None` if it is.
fn lack(acls: &[Acl], wanted: &Acl) -> Option<String> {
    if acls.iter().any(|acl| !acl.allows && covers(acl, wanted)) {
        return Some("forbidden".to_owned());
    }
    let given = acls.iter().any(|acl| acl.allows && covers(acl, wanted));
    let why = if acls.is_empty() { "not given, or not shown to us" } else { "not given" };
    (!given).then(|| why.to_owned())
}

/// Whether an entry says something of everything that another one is about.
fn covers(acl: &Acl, wanted: &Acl) -> bool {
    let named = acl.name == "*"
        || if acl.prefixed { wanted.name.starts_with(&acl.name) } else { !wanted.prefixed && acl.name == wanted.name };
    named
        && acl.resource == wanted.resource
        && (acl.principal == wanted.principal || acl.principal == "User:*")
        && acl.host == "*"
        && (acl.operation == Operation::All || acl.operation == wanted.operation)
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
        let forbidden = acl("User:*", "p.t", false, Operation::All, false);
        assert_eq!(lack(&[wanted.clone(), forbidden], &wanted), Some("forbidden".to_owned()));
    }
}
