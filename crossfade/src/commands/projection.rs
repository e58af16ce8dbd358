//! `crossfade projection …`: what is made of the log in the database, made anew and verified by the engine.

use crate::cli::{Output, ProjectionCommand, WhichProjection};
use crate::client::{Exit, Failure, Part, Parts};
use crate::render;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;
use wire::projection::{
    ProjectionDifference, ProjectionJob, ProjectionJobState, ProjectionJobView, ProjectionList, ProjectionView,
};

/// How often a running job is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(200);
/// The engine may not answer for so long meanwhile.
const UNANSWERED_FOR: Duration = Duration::from_secs(30);
/// A value that is longer than this is cut for people.
const LONGEST: usize = 60;

/// Runs one of them.
pub async fn run(parts: &Parts, command: ProjectionCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        ProjectionCommand::List => {
            render::show(output, &list(parts).await?, |all| projections(&all.projections))?;
            Ok(Exit::Done)
        }
        ProjectionCommand::Rebuild { which, dry_run } => {
            let chosen = chosen(parts, &which).await?;
            if dry_run {
                render::show(output, &ProjectionList { projections: chosen }, |all| {
                    format!(
                        "to be made anew from the log, while queries are answered as before:\n{}",
                        projections(&all.projections)
                    )
                })?;
                return Ok(Exit::Done);
            }
            let (ended, given_up) = all(parts, chosen, ProjectionJob::Rebuild).await;
            let exit = show(&ended, &ended, output)?;
            given_up.map_or(Ok(exit), Err)
        }
        ProjectionCommand::Verify { which, repair } => {
            let (verified, mut given_up) = all(parts, chosen(parts, &which).await?, ProjectionJob::Verify).await;
            let mut last = verified.clone();
            let mut told = verified.clone();
            if repair {
                for (name, job) in last.iter_mut().filter(|(_, job)| job.differences > 0) {
                    match one(parts, name, ProjectionJob::Rebuild).await {
                        Ok(rebuilt) => {
                            *job = rebuilt;
                            told.push((name.clone(), job.clone()));
                        }
                        Err(error) => given_up = given_up.or(Some(error)),
                    }
                }
            }
            let exit = show(&told, &last, output)?;
            given_up.map_or(Ok(exit), Err)
        }
    }
}

async fn list(parts: &Parts) -> anyhow::Result<ProjectionList> {
    parts.get(Part::EngineControl, "/internal/projections").await
}

async fn chosen(parts: &Parts, which: &WhichProjection) -> anyhow::Result<Vec<ProjectionView>> {
    let all = list(parts).await?.projections;
    let Some(name) = &which.name else { return Ok(all) };
    let names: Vec<String> = all.iter().map(|projection| format!("`{}`", projection.name)).collect();
    let found: Vec<ProjectionView> = all.into_iter().filter(|projection| projection.name == *name).collect();
    if found.is_empty() {
        let message = format!("there is no projection `{name}`: there are {}", names.join(" and "));
        return Err(Failure::new(Exit::Usage, message).into());
    }
    Ok(found)
}

/// One after the other, each with a bar. What the others find is not lost with one that is given up.
async fn all(
    parts: &Parts,
    projections: Vec<ProjectionView>,
    job: ProjectionJob,
) -> (Vec<(String, ProjectionJobView)>, Option<anyhow::Error>) {
    let mut ended = Vec::new();
    let mut given_up = None;
    for projection in projections {
        match one(parts, &projection.name, job).await {
            Ok(done) => ended.push((projection.name, done)),
            // The first reason is the one to look at.
            Err(error) => given_up = given_up.or(Some(error)),
        }
    }
    (ended, given_up)
}

/// Tells people everything, and a program what came last of each.
fn show(
    told_all: &[(String, ProjectionJobView)],
    ended: &[(String, ProjectionJobView)],
    output: Output,
) -> anyhow::Result<Exit> {
    let differences: u64 = ended.iter().map(|(_, job)| job.differences).sum();
    let value: serde_json::Map<_, _> = ended
        .iter()
        .map(|(name, job)| Ok((name.clone(), serde_json::to_value(job)?)))
        .collect::<anyhow::Result<_>>()?;
    render::show(output, &value, |_| {
        told_all.iter().map(|(name, job)| told(name, job)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(if differences == 0 { Exit::Done } else { Exit::Unmet })
}

async fn one(parts: &Parts, name: &str, job: ProjectionJob) -> anyhow::Result<ProjectionJobView> {
    let path = format!("/internal/projections/{name}/{}", job.as_str());
    let begun: Option<ProjectionJobView> = parts.post(Part::EngineControl, &path, &serde_json::json!({})).await?;
    let is_ours = |found: &ProjectionJobView| begun.as_ref().is_none_or(|begun| begun.begun_at == found.begun_at);
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_message(format!("{} {name}", job.as_str()));
    bar.set_style(ProgressStyle::with_template(
        "{msg}: {bar:30} {human_pos} of {human_len} records, {per_sec}, {eta} left",
    )?);
    let mut answered = host::clock::now();
    loop {
        // The database that is asked may be away for a moment.
        let all = match list(parts).await {
            Ok(all) => all,
            Err(_) if answered.elapsed() < UNANSWERED_FOR => {
                host::clock::sleep(LOOKED_AT_EVERY).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        answered = host::clock::now();
        let running = all.projections.into_iter().find(|projection| projection.name == name);
        let Some(running) = running.and_then(|found| found.job).filter(is_ours) else {
            let what = job.as_str();
            let message = format!(
                "the engine says nothing any more of this {what} of `{name}`: it was restarted, or began another job"
            );
            return Err(Failure::new(Exit::Error, message).into());
        };
        bar.set_length(running.records_total);
        bar.set_position(running.records_done);
        match running.state {
            ProjectionJobState::Running => host::clock::sleep(LOOKED_AT_EVERY).await,
            ProjectionJobState::Done => {
                bar.finish_and_clear();
                return Ok(running);
            }
            ProjectionJobState::Failed => {
                bar.abandon();
                let why = running.error.unwrap_or_default();
                return Err(
                    Failure::new(Exit::Error, format!("the {} of `{name}` was given up: {why}", job.as_str())).into()
                );
            }
        }
    }
}

fn projections(all: &[ProjectionView]) -> String {
    let rows = all.iter().map(|projection| {
        let job = projection.job.as_ref().map_or_else(String::new, |job| {
            let state = match job.state {
                ProjectionJobState::Running => {
                    format!("{} of {}", render::count(job.records_done), render::count(job.records_total))
                }
                ProjectionJobState::Done => "done".to_owned(),
                ProjectionJobState::Failed => "given up".to_owned(),
            };
            format!("{}: {state}", job.job.as_str())
        });
        [
            projection.name.clone(),
            projection.generation.to_string(),
            projection.begun_at.to_string(),
            render::count(projection.lag_records),
            render::count(projection.mismatched_rows),
            job,
        ]
    });
    render::table(["projection", "generation", "since", "lag (records)", "wrong rows", "last job"], &[1, 3, 4], rows)
}

fn told(name: &str, job: &ProjectionJobView) -> String {
    let records = render::count(job.records_done);
    match (job.job, job.differences) {
        (ProjectionJob::Rebuild, 0) => format!("{name}: made anew from {records} records"),
        (ProjectionJob::Rebuild, accounts) => format!(
            "{name}: made anew from {records} records, but the database does not take all of them: {accounts} accounts are \
             not answered from there (crossfade dlq list)"
        ),
        (ProjectionJob::Verify, 0) => format!("{name}: says what the log says, by {records} records"),
        (ProjectionJob::Verify, count) => {
            let rows = job.shown.iter().map(|difference| {
                let ProjectionDifference { table, row, projection, log } = difference;
                [
                    table.clone(),
                    row.clone(),
                    columns(projection.as_ref(), "no such row"),
                    columns(log.as_ref(), "no such row"),
                ]
            });
            let table = render::table(["table", "row", "the projection has", "the log says"], &[], rows);
            let rows = if count == 1 { "row differs" } else { "rows differ" };
            let shown = if (job.shown.len() as u64) < count {
                format!(", the first {} of them", job.shown.len())
            } else {
                String::new()
            };
            format!("{name}: {} {rows} from the log{shown}\n{table}", render::count(count))
        }
    }
}

/// Columns and their values in one line each.
fn columns(row: Option<&serde_json::Value>, none: &str) -> String {
    let Some(serde_json::Value::Object(columns)) = row else { return none.to_owned() };
    let column = |(name, value): (&String, &serde_json::Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let cut = if value.chars().count() > LONGEST { "…" } else { "" };
        format!("{name} {}{cut}", value.chars().take(LONGEST).collect::<String>())
    };
    columns.iter().map(column).collect::<Vec<_>>().join("\n")
}
