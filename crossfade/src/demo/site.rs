//! A whole installation in one directory of this machine: configuration, tokens, free ports.
//!
//! The demo and the end-to-end tests start the parts from the same file that a person would write.

use anyhow::Context;
use engine::Cluster;
use host::disk;
use host::secret::Secret;
use std::path::{Path, PathBuf};

/// A directory with everything that the parts need to start.
#[derive(Debug, Clone)]
pub struct Site {
    /// The directory.
    pub folder: PathBuf,
    /// The configuration file in it.
    pub config: PathBuf,
    /// The ports that the configuration names.
    pub ports: Ports,
}

/// One port per listener.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The front, for clients.
    pub front: u16,
    /// The front, for its operators.
    pub front_admin: u16,
    /// The relay, for the fronts' records.
    pub ingest: u16,
    /// The relay, for its operators.
    pub relay: u16,
    /// The comparator's control API.
    pub comparator: u16,
    /// The engine's billing API.
    pub engine: u16,
    /// The engine's control listener.
    pub engine_control: u16,
    /// The legacy.
    pub legacy: u16,
}

impl Ports {
    /// Ports that were free a moment ago, below the range from which the system takes ports for outgoing
    /// connections.
    ///
    /// # Errors
    /// When none is left.
    pub async fn free() -> anyhow::Result<Self> {
        let mut candidates = Candidates { next: 20_000 + (host::random::u64() % 11_000) as u16, tried: 0 };
        Ok(Self {
            front: candidates.free().await?,
            front_admin: candidates.free().await?,
            ingest: candidates.free().await?,
            relay: candidates.free().await?,
            comparator: candidates.free().await?,
            engine: candidates.free().await?,
            engine_control: candidates.free().await?,
            legacy: candidates.free().await?,
        })
    }
}

struct Candidates {
    next: u16,
    tried: u16,
}

impl Candidates {
    async fn free(&mut self) -> anyhow::Result<u16> {
        while self.tried < 10_000 {
            let port = self.next;
            self.next = if port >= 31_999 { 20_000 } else { port + 1 };
            self.tried += 1;
            if host::net::listen(([127, 0, 0, 1], port).into()).await.is_ok() {
                return Ok(port);
            }
        }
        anyhow::bail!("there is no free port between 20000 and 32000 on 127.0.0.1")
    }
}

/// What a site may have otherwise than by default: lines of TOML per section.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// For `[front]`.
    pub front: String,
    /// For `[relay]`.
    pub relay: String,
    /// For `[comparator]`.
    pub comparator: String,
    /// For `[engine]`.
    pub engine: String,
    /// For `[legacy]`.
    pub legacy: String,
    /// How long a handover may take, in milliseconds, for comparator and fronts; by default 2,000.
    pub handover_ms: Option<u64>,
    /// The cluster that keeps the log, instead of directories.
    pub cluster: Option<Cluster>,
    /// The database of the projections and of the legacy, instead of memory and a file.
    pub database: Option<Secret>,
}

/// The permissions that a site has a token for, each in `tokens/<name>`.
const TOKENS: [&str; 4] = ["viewer", "operator", "approver", "service"];

/// As long as legs may be behind when one machine does everything.
const HANDOVER_MS: u64 = 2_000;

/// Where its address is, with the password in it.
const DATABASE: &str = "database";

impl Site {
    /// Makes the directory, the tokens and the configuration.
    ///
    /// # Errors
    /// When the directory cannot be written, or no port is free.
    pub async fn create(folder: &Path, changes: &Changes) -> anyhow::Result<Self> {
        disk::create_dir(folder)?;
        disk::create_dir(&folder.join("tokens"))?;
        for name in TOKENS {
            disk::replace(&folder.join("tokens").join(name), host::random::token().as_bytes())?;
        }
        if let Some(database) = &changes.database {
            disk::replace(&folder.join("tokens").join(DATABASE), database.reveal().as_bytes())?;
        }
        let ports = Ports::free().await?;
        let config = folder.join("crossfade.toml");
        disk::replace(&config, text(folder, &ports, changes).as_bytes()).context("cannot write the configuration")?;
        Ok(Self { folder: folder.to_owned(), config, ports })
    }

    /// The token of a permission.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn token(&self, permission: &str) -> anyhow::Result<String> {
        let path = self.folder.join("tokens").join(permission);
        let bytes = disk::read(&path)?.with_context(|| format!("{} is gone", path.display()))?;
        Ok(String::from_utf8(bytes)?)
    }

    /// Base URL of the front.
    pub fn front(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.front)
    }

    /// Base URL of the legacy.
    pub fn legacy(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.legacy)
    }

    /// Base URL of the engine's billing API.
    pub fn engine(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.engine)
    }

    /// Base URL of the comparator's control API.
    pub fn comparator(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.comparator)
    }
}

/// The configuration: every key that has no default, and what `changes` adds.
fn text(folder: &Path, ports: &Ports, changes: &Changes) -> String {
    let Ports { front, front_admin, ingest, relay, comparator, engine, engine_control, legacy } = ports;
    let folder = folder.display();
    let handover_ms = changes.handover_ms.unwrap_or(HANDOVER_MS);
    let tokens = TOKENS[..3]
        .iter()
        .map(|name| {
            format!(
                "[[comparator.tokens]]\nname = \"{name}\"\npermission = \"{name}\"\nsecret = {{ file = \"{folder}/tokens/{name}\" }}\n\n"
            )
        })
        .collect::<String>();
    let (cutover_log, engine_log) = match &changes.cluster {
        None => (format!("[log]\ndata_dir = \"{folder}/cutover\"\n"), format!("data_dir = \"{folder}/engine\"")),
        Some(Cluster { kafka, registry }) => {
            let (bootstrap, topic_prefix) = (&kafka.bootstrap, &kafka.topic_prefix);
            let mut sections = format!("[kafka]\nbootstrap = \"{bootstrap}\"\ntopic_prefix = \"{topic_prefix}\"\n");
            if let Some(registry) = registry {
                sections.push_str(&format!("\n[registry]\nurl = \"{}\"\n", registry.url));
            }
            (sections, "# No directory: its log is in Kafka.".to_owned())
        }
    };
    let (legacy_store, postgres) = match &changes.database {
        None => (format!("data_dir = \"{folder}/legacy\"\n{}", changes.legacy), String::new()),
        Some(_) => {
            let url = format!("url = {{ file = \"{folder}/tokens/{DATABASE}\" }}\n");
            (format!("{}\n[legacy.postgres]\n{url}", changes.legacy), format!("[postgres]\n{url}\n"))
        }
    };
    format!(
        r#"# A whole installation of Crossfade on one machine.
ledger = "demo"

{cutover_log}
[legacy]
listen = "127.0.0.1:{legacy}"
{legacy_store}
{postgres}[engine]
listen = "127.0.0.1:{engine}"
control_listen = "127.0.0.1:{engine_control}"
{engine_log}
service_token = {{ file = "{folder}/tokens/service" }}
{}
[relay]
listen = "127.0.0.1:{relay}"
ingest_listen = "127.0.0.1:{ingest}"
legacy = "http://127.0.0.1:{legacy}"
engine = "http://127.0.0.1:{engine}"
engine_control = "http://127.0.0.1:{engine_control}"
service_token = {{ file = "{folder}/tokens/service" }}
{}
[comparator]
listen = "127.0.0.1:{comparator}"
# As long as legs may be behind when one machine does everything; by default 250 ms.
handover_ms = {handover_ms}
legacy = "http://127.0.0.1:{legacy}"
engine = "http://127.0.0.1:{engine}"
{}
{tokens}[[comparator.tokens]]
name = "parts"
permission = "service"
secret = {{ file = "{folder}/tokens/service" }}

[front]
name = "front-a"
listen = "127.0.0.1:{front}"
admin_listen = "127.0.0.1:{front_admin}"
data_dir = "{folder}/front"
# All parts share one disk here, and their commits can hold up a write for longer than the default of 50 ms.
journal_wait_ms = 1000
handover_ms = {handover_ms}
legacy = "http://127.0.0.1:{legacy}"
engine = "http://127.0.0.1:{engine}"
ingest = "127.0.0.1:{ingest}"
relay = "http://127.0.0.1:{relay}"
comparator = "http://127.0.0.1:{comparator}"
service_token = {{ file = "{folder}/tokens/service" }}
{}
[client]
token = {{ file = "{folder}/tokens/approver" }}
service_token = {{ file = "{folder}/tokens/service" }}
"#,
        changes.engine, changes.relay, changes.comparator, changes.front,
    )
}
