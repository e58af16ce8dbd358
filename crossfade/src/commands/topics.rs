//! `crossfade topics …`: makes the topics in Kafka, and says how those that are there differ.

use crate::cli::{Output, TopicsCommand};
use crate::client::{Exit, Failure};
use crate::config::File;
use crate::{render, topics};
use eventlog::kafka::Connection;
use eventlog::kafka::topics::{Deviation, check, create};
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
    let (made, dry) = match command {
        TopicsCommand::Create { dry_run: false } => (create(&connection, &specs).await?, false),
        TopicsCommand::Create { dry_run: true } => (Vec::new(), true),
        TopicsCommand::Check => (Vec::new(), false),
    };
    let deviations = check(&connection, &specs).await?;
    show(&connection, &made, &deviations, specs.len(), output)?;
    Ok(if deviations.is_empty() || dry { Exit::Done } else { Exit::Unmet })
}

fn show(
    connection: &Connection,
    made: &[String],
    deviations: &[Deviation],
    all: usize,
    output: Output,
) -> anyhow::Result<()> {
    let value = json!({
        "bootstrap": connection.bootstrap,
        "topics": all,
        "made": made,
        "deviations": deviations.iter().map(|deviation| json!({
            "topic": deviation.topic, "what": deviation.what, "is": deviation.is, "should": deviation.should,
        })).collect::<Vec<_>>(),
    });
    render::show(output, &value, |_| {
        let mut page = String::new();
        for topic in made {
            page.push_str(&format!("made {topic}\n"));
        }
        if deviations.is_empty() {
            page.push_str(&format!("all {all} topics are as they have to be"));
        } else {
            let rows = deviations.iter().map(|Deviation { topic, what, is, should }| {
                [topic.clone(), (*what).to_owned(), is.clone(), should.clone()]
            });
            page.push_str(&render::table(["topic", "what", "is", "has to be"], &[], rows));
        }
        page
    })
}
