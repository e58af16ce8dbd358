//! Several engines on the same topics in Kafka, as processes that can be stopped in every way.

use crate::process::Process;
use crate::services;
use anyhow::{Context, ensure};
use crossfade::demo::cluster::{self, Cluster};
use crossfade::demo::database::{self, Database};
use crossfade::demo::site::{Changes, Ports, Site};
use host::http::{Answer, Client};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The account outside, from which users are topped up.
pub const OUTSIDE: &str = "outside";

/// Engines on one cluster.
pub struct Engines {
    cluster: Cluster,
    database: Option<Database>,
    binary: PathBuf,
    client: Client,
    engines: Vec<Engine>,
    folder: tempfile::TempDir,
}

struct Engine {
    config: PathBuf,
    url: String,
    process: Option<Process>,
}

impl Engines {
    /// Starts so many engines on topics of their own, and waits until all are ready.
    ///
    /// # Errors
    /// When the services or an engine do not start.
    pub async fn start(binary: &Path, count: usize) -> anyhow::Result<Self> {
        Self::begin_all(Self::prepare(binary, count).await?).await
    }

    /// The same with projections in a database that they share.
    ///
    /// # Errors
    /// As [`Engines::start`].
    pub async fn start_with_database(binary: &Path, count: usize) -> anyhow::Result<Self> {
        Self::begin_all(Self::prepare_with_database(binary, count).await?).await
    }

    /// The same, and none is started.
    ///
    /// # Errors
    /// When the services do not answer.
    pub async fn prepare_with_database(binary: &Path, count: usize) -> anyhow::Result<Self> {
        let database = database::take().await?;
        Self::prepare_on(binary, count, Some(database)).await
    }

    async fn begin_all(mut self) -> anyhow::Result<Self> {
        for number in 0..self.engines.len() {
            self.begin(number).await?;
        }
        Ok(self)
    }

    /// Makes topics and configurations for so many engines, and starts none.
    ///
    /// # Errors
    /// When the services do not answer.
    pub async fn prepare(binary: &Path, count: usize) -> anyhow::Result<Self> {
        Self::prepare_on(binary, count, None).await
    }

    async fn prepare_on(binary: &Path, count: usize, database: Option<Database>) -> anyhow::Result<Self> {
        let cluster = cluster::take().await?;
        let folder = tempfile::Builder::new().prefix("crossfade-engines-").tempdir()?;
        let mut engines = Vec::new();
        for number in 0..count {
            let own = folder.path().join(format!("engine-{number}"));
            let database = database.as_ref().map(Database::url);
            let changes = Changes { cluster: Some(cluster.clone()), database, ..Changes::default() };
            let site = Site::create(&own, &changes).await?;
            engines.push(Engine { url: url(&site.ports), config: site.config, process: None });
        }
        let client = Client::new(Duration::from_secs(2), 64 << 20);
        Ok(Self { cluster, database, binary: binary.to_owned(), client, engines, folder })
    }

    /// Starts one of them, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn begin(&mut self, number: usize) -> anyhow::Result<()> {
        self.launch(number)?;
        self.until(number, |readyz| readyz.status.is_success()).await
    }

    /// Starts one of them, ready or not.
    ///
    /// # Errors
    /// When there is no process of it.
    pub fn launch(&mut self, number: usize) -> anyhow::Result<()> {
        let engine = &mut self.engines[number];
        let config = engine.config.to_string_lossy().into_owned();
        let name = format!("engine-{number}");
        let process = Process::start(&self.binary, &name, &["engine", "--config", &config], &[], self.folder.path())?;
        engine.process = Some(process);
        Ok(())
    }

    /// Waits until one of them says what is `wanted` in `/readyz`.
    ///
    /// # Errors
    /// When it ends, or does not say so in time.
    pub async fn until(&mut self, number: usize, wanted: impl Fn(&Answer) -> bool) -> anyhow::Result<()> {
        let (url, client) = (format!("{}/readyz", self.url(number)), self.client.clone());
        let process = self.process(number)?;
        process
            .until_ready(async || {
                let answer = client.get(&url, None, Duration::from_secs(1)).await;
                answer.is_ok_and(|answer| wanted(&answer))
            })
            .await
    }

    /// The cluster, and the topics' prefix.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A connection to the database that they share.
    ///
    /// # Errors
    /// When they have none, or it does not answer.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        let database = self.database.as_ref().context("these engines have no database")?;
        Ok(PgConnection::connect(database.url().reveal()).await?)
    }

    /// How one of them is started by hand.
    pub fn config(&self, number: usize) -> &Path {
        &self.engines[number].config
    }

    /// Where one of them is.
    pub fn url(&self, number: usize) -> &str {
        &self.engines[number].url
    }

    /// The process of one of them, out of which it is to be stopped.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&mut self, number: usize) -> anyhow::Result<&mut Process> {
        self.engines[number].process.as_mut().context("this engine does not run")
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.engines[number].process.take().context("this engine does not run")?.kill()
    }

    /// How many commands one of them has decided on.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn decided(&self, number: usize) -> anyhow::Result<f64> {
        let url = format!("{}/metrics", self.url(number));
        let answer = self.client.get(&url, None, Duration::from_secs(5)).await?;
        let text = String::from_utf8(answer.body.to_vec())?;
        let lines = text.lines().filter(|line| line.starts_with("crossfade_commands_total{"));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    /// A request to one of them.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, number: usize, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url(number));
        Ok(self.client.post(&url, None, body, Duration::from_secs(30)).await?)
    }

    /// Makes an account outside and so many users, enough of them to have one on every shard; their ids.
    ///
    /// # Errors
    /// When one is not made.
    pub async fn accounts(&self, number: usize, users: usize) -> anyhow::Result<Vec<String>> {
        let account = |id: &str, kind: &str| {
            json!({ "accountId": id, "ownerId": "o", "ownerType": "t",
            "accountType": kind, "currency": "EUR" })
        };
        let ids: Vec<String> = (0..users).map(|user| format!("user-{user}")).collect();
        let mut wanted = vec![account(OUTSIDE, "EXTERNAL")];
        wanted.extend(ids.iter().map(|id| account(id, "USER")));
        for account in wanted {
            let answer = self.post(number, "/accounts", &account).await?;
            ensure!(answer.status.as_u16() == 201, "{account}: {}", String::from_utf8_lossy(&answer.body));
        }
        Ok(ids)
    }

    /// Stops all of them, and gives the topics back.
    ///
    /// # Errors
    /// When one does not stop in order.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for engine in &mut self.engines {
            if let Some(mut process) = engine.process.take() {
                process.stop().await?;
            }
        }
        services::all_brokers()?;
        if let Some(database) = self.database {
            database.give_back().await?;
        }
        cluster::give_back(&self.cluster).await
    }
}

fn url(ports: &Ports) -> String {
    format!("http://127.0.0.1:{}", ports.engine)
}
