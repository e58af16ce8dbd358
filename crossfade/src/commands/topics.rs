//! `crossfade topics …`: makes the topics in Kafka, and says how those that are there differ.

use crate::cli::{Output, TopicsCommand};
use crate::client::{Exit, Failure};
use crate::config::File;
use crate::{render, topics};
use eventlog::kafka::Connection;
use eventlog::kafka::acls::{self, Grant};
use eventlog::kafka::topics::{Deviation, Failed, check, create};
use serde_json::json;

/// Runs one of them.
pub async fn run(file: File, command: TopicsCommand, output: Output) -> anyhow::Result<Exit> {
    file.check()?;
    let missing = || {
        Failure::new(
            Exit::Usage,
            "the configuration has no section [kafka]: the log is embedded, without topics to make",
        )
    };
    let connection = file.kafka.clone().ok_or_else(missing)?;
    let shards = file.engine.as_ref().map_or(engine::config::DEFAULT_SHARDS, |engine| engine.shards);
    let specs = topics::all(shards);
    let (makes, acls) = match command {
        TopicsCommand::Create { dry_run, acls } => (!dry_run, acls),
        TopicsCommand::Check { acls } => (false, acls),
    };
    let grants = if acls { grants(&file)? } else { Vec::new() };
    let mut made = Made::default();
    if makes {
        made.topics = create(&connection, &specs).await?;
    }
    let after = |failed: Failed| failed.after(&made.topics);
    if makes && acls {
        made.rights = acls::create(&connection, &grants).await.map_err(after)?;
    }
    let mut deviations = check(&connection, &specs).await.map_err(after)?;
    if acls {
        deviations.extend(acls::check(&connection, &grants).await.map_err(after)?);
    }
    show(&connection, &made, &deviations, (specs.len(), grants.len()), output)?;
    let only_asked = matches!(command, TopicsCommand::Create { dry_run: true, .. });
    Ok(if deviations.is_empty() || only_asked { Exit::Done } else { Exit::Unmet })
}

fn grants(file: &File) -> Result<Vec<Grant>, Failure> {
    let grants = file.principals.as_ref().map(topics::Principals::grants).unwrap_or_default();
    if grants.is_empty() {
        let message = "--acls needs a section [principals]: it says whom the cluster knows the parts as";
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(grants)
}

/// What was made.
#[derive(Debug, Default)]
struct Made {
    topics: Vec<String>,
    rights: usize,
}

fn show(
    connection: &Connection,
    made: &Made,
    deviations: &[Deviation],
    (topics, rights): (usize, usize),
    output: Output,
) -> anyhow::Result<()> {
    let value = json!({
        "bootstrap": connection.bootstrap,
        "topics": topics,
        "rights": rights,
        "made": made.topics,
        "given": made.rights,
        "deviations": deviations.iter().map(|deviation| json!({
            "topic": deviation.topic, "what": deviation.what, "is": deviation.is, "should": deviation.should,
        })).collect::<Vec<_>>(),
    });
    render::show(output, &value, |_| {
        let mut page = String::new();
        for topic in &made.topics {
            page.push_str(&format!("made {topic}\n"));
        }
        if made.rights > 0 {
            page.push_str(&format!("gave {} rights\n", made.rights));
        }
        if deviations.is_empty() {
            page.push_str(&format!("all {topics} topics are as they have to be"));
            if rights > 0 {
                page.push_str(&format!(", and all {rights} rights are given"));
            }
        } else {
            let rows = deviations.iter().map(|Deviation { topic, what, is, should }| {
                [topic.clone(), (*what).to_owned(), is.clone(), should.clone()]
            });
            page.push_str(&render::table(["where", "what", "is", "has to be"], &[], rows));
        }
        page
    })
}
