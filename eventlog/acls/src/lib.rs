//! The access control lists of a Kafka cluster: shows them and adds to them.
//!
//! librdkafka can, and its Rust binding has no safe call for it. This crate is that call and nothing else: all unsafe
//! code of the project is in [`native`].

mod native;

use rdkafka::client::{Client, ClientContext};
use std::fmt;
use std::time::Duration;

/// One entry: a principal may do something, or must not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acl {
    /// Who, such as `User:crossfade`; `User:*` is everybody.
    pub principal: String,
    /// From which host; `*` is any.
    pub host: String,
    /// With what.
    pub resource: Resource,
    /// Its name; `*` is all of them.
    pub name: String,
    /// Whether everything is meant whose name begins so.
    pub prefixed: bool,
    /// What.
    pub operation: Operation,
    /// Whether it is allowed; else it is forbidden, whatever allows it.
    pub allows: bool,
}

/// Something that has access control lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
}

/// Something that one may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Everything.
    All,
    /// Read it; of a group: be a member.
    Read,
    /// Append.
    Write,
    /// Delete it, or records of it.
    Delete,
    /// See that it is there. Whoever may read or write may that, too.
    Describe,
    /// See its settings.
    DescribeConfigs,
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, resource, name, prefixed, operation, .. } = self;
        write!(f, "{operation} on the {resource} {name}{} by {principal}", if *prefixed { "*" } else { "" })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Group => "group",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Delete => "Delete",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
        })
    }
}

/// All entries about topics and groups with operations of [`Operation`]; others are left out. Waits.
///
/// # Errors
/// What the cluster, or the library, says: for instance that it keeps no lists, or that we may not see them.
pub fn describe<C: ClientContext>(client: &Client<C>, patience: Duration) -> Result<Vec<Acl>, String> {
    native::describe(client, patience)
}

/// Adds entries; those that are there already stay. Waits.
///
/// # Errors
/// As [`describe`], for the first one that is not added.
pub fn create<C: ClientContext>(client: &Client<C>, acls: &[Acl], patience: Duration) -> Result<(), String> {
    if acls.is_empty() { Ok(()) } else { native::create(client, acls, patience) }
}
