//! The configuration: flag > `CROSSFADE_…` environment > TOML file > default.
//!
//! | module | what |
//! |---|---|
//! | [`overrides`] | environment variables in the place of keys |
//! | [`targets`] | where the command line finds the parts, and with which tokens |
//!
//! It is parsed and checked before a port is bound. Unknown keys and bad values are errors with line and column.

pub mod overrides;
pub mod targets;

pub use targets::{Targets, targets};

use crate::cli::Global;
use crate::client::{Exit, Failure};
use crate::topics::Principals;
use eventlog::kafka::Connection;
use host::secret::Secret;
use overrides::Overrides;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A whole configuration file. A part runs if its section is there.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The id of the ledger: one legacy, one engine and their topics. It salts the buckets, so it never changes.
    pub ledger: String,
    /// The embedded log of the cutover, kept by the process of relay and comparator.
    pub log: Option<Log>,
    /// The cluster in which the logs of engine and cutover are instead.
    pub kafka: Option<Connection>,
    /// The schema registry of the cluster's public events.
    pub registry: Option<engine::registry::Config>,
    /// The database with the projections, for queries that look back; without it the engine answers them from memory.
    pub postgres: Option<engine::postgres::Config>,
    /// Whom the cluster knows the parts as.
    pub principals: Option<Principals>,
    /// The front.
    pub front: Option<proxy::front::Config>,
    /// The relay.
    pub relay: Option<proxy::relay::Config>,
    /// The engine.
    pub engine: Option<engine::Config>,
    /// The comparator.
    pub comparator: Option<comparator::Config>,
    /// The reference legacy, for trials.
    #[cfg(feature = "demo")]
    pub legacy: Option<testbed_legacy::Config>,
    /// What the command line needs to find the parts; by default the listeners of this file.
    pub client: Option<Client>,
}

/// The embedded log of `cutover.*`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Its directory, used by one process at a time.
    pub data_dir: PathBuf,
}

/// What the command line needs to find the parts.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// Base URL of the comparator's control API.
    pub comparator: Option<String>,
    /// Base URL of the engine's billing API.
    pub engine: Option<String>,
    /// Base URL of the engine's control listener.
    pub engine_control: Option<String>,
    /// The token for the control API.
    pub token: Option<Secret>,
    /// The service token, for the engine's control listener (`log tail`, `audit verify --ledger`).
    pub service_token: Option<Secret>,
}

/// Why one of the two sections is of no use without the other.
const ONE_PROCESS: &str =
    "with the embedded log, [relay] and [comparator] belong to one process: give both sections or neither";

impl File {
    /// Finds what would keep a part of this file from starting, before anything is opened: values that cannot work
    /// in any section, and sections that need another one.
    ///
    /// # Errors
    /// One line that names section and key, with [`Exit::Usage`].
    pub fn check(&self) -> Result<(), Failure> {
        if let Some(front) = &self.front {
            checked(front.check())?;
        }
        if let Some(relay) = &self.relay {
            checked(relay.check())?;
        }
        if let Some(comparator) = &self.comparator {
            checked(comparator.check())?;
        }
        if let Some(engine) = &self.engine {
            checked(engine::check(engine))?;
        }
        if let Some(postgres) = &self.postgres {
            checked(postgres.check())?;
        }
        #[cfg(feature = "demo")]
        if let Some(legacy) = &self.legacy {
            checked(legacy.check())?;
        }
        self.check_places()?;
        self.check_handover()?;
        if let Some(registry) = &self.registry {
            checked(registry.check())?;
        }
        if let Some(principals) = &self.principals {
            checked(principals.check())?;
        }
        if let Some(kafka) = &self.kafka {
            checked(kafka.check())?;
            return self.check_cluster();
        }
        if self.registry.is_some() {
            let message = "[registry] is of no use without [kafka]: public events are published only in a cluster";
            return Err(Failure::new(Exit::Usage, message));
        }
        if self.engine.as_ref().is_some_and(|engine| engine.data_dir.is_none()) {
            let message = "engine.data_dir is missing: it holds the embedded log, unless there is a section [kafka]";
            return Err(Failure::new(Exit::Usage, message));
        }
        match (&self.relay, &self.comparator, &self.log) {
            (Some(_), Some(_), None) => {
                Err(Failure::new(Exit::Usage, "the configuration has no section [log]: relay and comparator share it"))
            }
            (Some(_), Some(_), Some(_)) | (None, None, _) => Ok(()),
            _ => Err(Failure::new(Exit::Usage, ONE_PROCESS)),
        }
    }

    /// The cluster and its registry, if the log is in one.
    pub fn cluster(&self) -> Option<engine::Cluster> {
        let registry = self.registry.clone();
        self.kafka.clone().map(|kafka| engine::Cluster { kafka, registry })
    }

    /// With a cluster, there is no embedded log beside it that somebody could believe to be the one in use.
    fn check_cluster(&self) -> Result<(), Failure> {
        let embedded = [
            ("log", self.log.is_some()),
            ("engine.data_dir", self.engine.as_ref().is_some_and(|engine| engine.data_dir.is_some())),
        ];
        match embedded.iter().find(|(_, is_there)| *is_there) {
            None => Ok(()),
            Some((key, _)) => {
                let message = format!("[kafka] and {key} contradict each other: the log is in one of them");
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }

    /// Parts of one machine share neither an address nor a directory.
    fn check_places(&self) -> Result<(), Failure> {
        let listeners = self.listeners();
        for (index, (key, address)) in listeners.iter().enumerate() {
            let same = |other: &SocketAddr| {
                let one_is_any = address.ip().is_unspecified() || other.ip().is_unspecified();
                address.port() == other.port() && (one_is_any || address.ip() == other.ip())
            };
            // Port 0 takes a free one each time.
            if address.port() != 0
                && let Some((first, _)) = listeners[..index].iter().find(|(_, other)| same(other))
            {
                let message = format!("{key} is {address}, where {first} listens already: give each its own port");
                return Err(Failure::new(Exit::Usage, message));
            }
        }
        let directories = self.directories();
        for (index, (key, directory)) in directories.iter().enumerate() {
            if let Some((first, _)) = directories[..index].iter().find(|(_, other)| other == directory) {
                let place = directory.display();
                let message = format!("{key} is {place}, as {first} is: give each its own directory");
                return Err(Failure::new(Exit::Usage, message));
            }
        }
        Ok(())
    }

    /// Fronts hold requests for as long as the comparator takes for a move: each has to know how long that is.
    fn check_handover(&self) -> Result<(), Failure> {
        match (&self.front, &self.comparator) {
            (Some(front), Some(comparator)) if front.handover_ms != comparator.handover_ms => {
                let (held, moved) = (front.handover_ms, comparator.handover_ms);
                let message = format!(
                    "front.handover_ms is {held}, and comparator.handover_ms is {moved}: give both the same, in every file"
                );
                Err(Failure::new(Exit::Usage, message))
            }
            _ => Ok(()),
        }
    }

    /// Where the parts of this file listen, by key.
    fn listeners(&self) -> Vec<(&'static str, SocketAddr)> {
        let mut all = Vec::new();
        if let Some(front) = &self.front {
            all.extend([("front.listen", front.listen), ("front.admin_listen", front.admin_listen)]);
        }
        if let Some(relay) = &self.relay {
            all.extend([("relay.ingest_listen", relay.ingest_listen), ("relay.listen", relay.listen)]);
        }
        all.extend(self.comparator.as_ref().map(|comparator| ("comparator.listen", comparator.listen)));
        if let Some(engine) = &self.engine {
            all.extend([("engine.listen", engine.listen), ("engine.control_listen", engine.control_listen)]);
        }
        #[cfg(feature = "demo")]
        all.extend(self.legacy.as_ref().map(|legacy| ("legacy.listen", legacy.listen)));
        all
    }

    /// Where the parts of this file keep what they must not lose, by key.
    pub(crate) fn directories(&self) -> Vec<(&'static str, &Path)> {
        let mut all: Vec<(&'static str, &Path)> = Vec::new();
        all.extend(self.log.as_ref().map(|log| ("log.data_dir", log.data_dir.as_path())));
        all.extend(self.front.as_ref().map(|front| ("front.data_dir", front.data_dir.as_path())));
        let engine = self.engine.as_ref().and_then(|engine| engine.data_dir.as_deref());
        all.extend(engine.map(|directory| ("engine.data_dir", directory)));
        #[cfg(feature = "demo")]
        {
            let legacy = self.legacy.as_ref().filter(|legacy| legacy.postgres.is_none());
            all.extend(legacy.map(|legacy| ("legacy.data_dir", legacy.data_dir.as_path())));
        }
        all
    }
}

/// What a section says of its own values, as a failure of usage.
///
/// # Errors
/// What the section found.
pub fn checked<T>(found: Result<T, impl std::fmt::Display>) -> Result<(), Failure> {
    found.map(drop).map_err(|problem| Failure::new(Exit::Usage, problem.to_string()))
}

/// Reads the configuration file named on the command line; [`File::check`] says whether parts can start from it.
///
/// # Errors
/// One clear line: the file, line and column, or the environment variable, and what is wrong.
pub fn load(global: &Global) -> Result<File, Failure> {
    let path = global
        .config
        .as_deref()
        .ok_or_else(|| Failure::new(Exit::Usage, "no configuration: give --config FILE or set CROSSFADE_CONFIG"))?;
    let text = read(path, "the configuration")?;
    parse(path, &text, std::env::vars())
}

/// Reads a file that was named on the command line or in the environment; `what` it is, for people.
fn read(path: &Path, what: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read {what} {}: {error}", path.display())))
}

/// Parses a configuration text with overrides from environment variables; see [`File::check`] for whether it works.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str, vars: impl Iterator<Item = (String, String)>) -> Result<File, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let overrides = Overrides::among(vars);
    if overrides.is_empty() {
        return toml::from_str(text).map_err(|error| usage(located(path, text, &error)));
    }
    let table: toml::Table = toml::from_str(text).map_err(|error| usage(located(path, text, &error)))?;
    overrides.read(table).map_err(|error| {
        // Joined with the environment the text has no places left. What is wrong with it alone is said with its
        // place; only a key that it lacks may well be meant to come from the environment.
        match toml::from_str::<File>(text) {
            Err(alone) if alone.message() == error.message() || !alone.message().starts_with(MISSING) => {
                usage(located(path, text, &alone))
            }
            _ if overrides.blames(&error) => usage(error.message().to_owned()),
            _ => usage(format!("{} with {}: {}", path.display(), overrides.names(), error.message())),
        }
    })
}

/// How serde begins to say that a key is not there.
const MISSING: &str = "missing field";

/// What is wrong and where, in one line.
fn located(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or_else(String::new, |span| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        format!(":{line}:{column}")
    });
    format!("{}{at}: {}", path.display(), error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(text: &str, vars: &[(&str, &str)]) -> Result<File, String> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        parse(Path::new("x.toml"), text, vars).map_err(|failure| failure.message)
    }

    const ENGINE: &str =
        "ledger = \"a\"\n[engine]\nlisten = \"127.0.0.1:1\"\ncontrol_listen = \"127.0.0.1:2\"\ndata_dir = \"e\"\n";

    #[test]
    fn an_unknown_key_is_named_with_line_and_column() {
        let error = parse_with("ledger = \"a\"\n[log]\ndata_dir = \"x\"\nsize = 3\n", &[]).unwrap_err();
        assert!(error.starts_with("x.toml:4:1: unknown field `size`"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_the_file_keeps_its_place_whatever_the_environment_overrides() {
        let vars = [("CROSSFADE_LEDGER", "b")];
        for (text, place) in [
            ("ledger = \"a\"\n[log]\ndata_dir = \"x\"\nsize = 3\n", "x.toml:4:1: unknown field `size`"),
            ("ledger = \"a\"\n[log]\ndata_dir = 3\n", "x.toml:3:12: "),
            ("ledger = \"a\"\n[log]\n", "x.toml:2:1: missing field `data_dir`"),
            ("ledger = \"a\n", "x.toml:1:"),
        ] {
            let error = parse_with(text, &vars).unwrap_err();
            assert!(error.starts_with(place), "{text}: {error}");
            assert!(!error.contains("CROSSFADE_LEDGER"), "the variable is not to blame: {error}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let file = parse_with("ledger = \"a\"\n", &[("CROSSFADE_LOG_DATA_DIR", "/data"), ("CROSSFADE_LEDGER", "b")]);
        let file = file.unwrap();
        assert_eq!(file.ledger, "b");
        assert_eq!(file.log.unwrap().data_dir, Path::new("/data"));
    }

    #[test]
    fn text_is_taken_as_what_is_wanted_in_its_place() {
        let vars = [
            ("CROSSFADE_LEDGER", "2026"),
            ("CROSSFADE_LOG_DATA_DIR", "1993"),
            ("CROSSFADE_ENGINE_LISTEN", "127.0.0.1:7"),
            ("CROSSFADE_ENGINE_SHARDS", "3"),
            ("CROSSFADE_ENGINE_REFUSAL_KEEPS_KEY", "false"),
            ("CROSSFADE_ENGINE_DEFAULT_ANSWER", "async"),
            ("CROSSFADE_ENGINE_ACTOR_HEADER", "true"),
            ("CROSSFADE_ENGINE_SERVICE_TOKEN", "{ env = \"PATH\" }"),
        ];
        let file = parse_with(ENGINE, &vars).unwrap();
        assert_eq!(file.ledger, "2026");
        assert_eq!(file.log.unwrap().data_dir, Path::new("1993"));
        let engine = file.engine.unwrap();
        assert_eq!((engine.listen.port(), engine.shards, engine.refusal_keeps_key), (7, 3, false));
        assert_eq!(engine.default_answer, engine::config::DefaultAnswer::Async);
        assert_eq!(engine.actor_header.as_deref(), Some("true"));
        assert!(engine.service_token.is_some());
        let lists = parse_with(ENGINE, &[("CROSSFADE_RELAY_TRANSACTION_POINTERS", "[\"/a\", \"/b\"]")]).unwrap();
        assert_eq!(lists.relay.unwrap().transaction_pointers, ["/a", "/b"]);
        let quoted = parse_with("", &[("CROSSFADE_LEDGER", "\"2026\"")]).unwrap();
        assert_eq!(quoted.ledger, "2026", "quotes are taken as in the file");
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named_alone() {
        let vars = [("CROSSFADE_LEDGER", "b"), ("CROSSFADE_ENGINE_SHARDS", "many")];
        let error = parse_with(ENGINE, &vars).unwrap_err();
        assert!(error.starts_with("CROSSFADE_ENGINE_SHARDS: invalid type"), "{error}");
        let unknown = parse_with("ledger = \"a\"\n", &[("CROSSFADE_LOG_SIZE", "3")]).unwrap_err();
        assert!(unknown.contains("CROSSFADE_LOG_SIZE") && unknown.contains("unknown field"), "{unknown}");
    }

    #[test]
    fn a_secret_written_where_its_place_belongs_is_not_printed() {
        let in_file = parse_with("ledger = \"a\"\n[client]\ntoken = \"hunter2\"\n", &[]).unwrap_err();
        assert!(in_file.starts_with("x.toml:3:9: a secret is {env"), "{in_file}");
        let in_environment = parse_with("ledger = \"a\"\n", &[("CROSSFADE_CLIENT_TOKEN", "hunter2")]).unwrap_err();
        assert!(in_environment.contains("CROSSFADE_CLIENT_TOKEN: a secret is {env"), "{in_environment}");
        let numeric = parse_with("ledger = \"a\"\n", &[("CROSSFADE_CLIENT_TOKEN", "4711")]).unwrap_err();
        let list =
            "ledger = \"a\"\n[[comparator.tokens]]\nname = \"x\"\npermission = \"viewer\"\nsecret = \"hunter2\"\n";
        let in_list = parse_with(list, &[]).unwrap_err();
        let section = parse_with("ledger = \"a\"\n", &[("CROSSFADE_COMPARATOR_TOKENS", "[{ secret = \"hunter2\" }]")]);
        let no_section = parse_with("ledger = \"a\"\n", &[("CROSSFADE_COMPARATOR_TOKENS", "[\"hunter2\"]")]);
        for error in [in_file, in_environment, numeric, in_list, section.unwrap_err(), no_section.unwrap_err()] {
            assert!(!error.contains("hunter2") && !error.contains("4711"), "{error}");
        }
    }

    const FRONT: &str = "[front]\nlisten = \"127.0.0.1:3\"\nadmin_listen = \"127.0.0.1:4\"\ndata_dir = \"f\"\n\
        legacy = \"http://a\"\nengine = \"http://a\"\ncomparator = \"http://a\"\nrelay = \"http://a\"\ningest = \"a:1\"\n\
        service_token = { env = \"PATH\" }\n";
    const KAFKA: &str = "[kafka]\nbootstrap = \"a:1\"\n";

    fn checked(text: &str) -> Result<(), String> {
        parse_with(text, &[]).unwrap().check().map_err(|failure| failure.message)
    }

    #[test]
    fn every_section_is_checked_and_so_is_what_it_needs() {
        assert_eq!(checked(ENGINE), Ok(()));
        assert_eq!(checked(&ENGINE.replace(":1\"", ":0\"").replace(":2\"", ":0\"")), Ok(()), "free ports");
        assert_eq!(checked("ledger = \"a\"\n"), Ok(()), "enough for the command line");
        assert_eq!(checked(&format!("{}{KAFKA}", ENGINE.replace("data_dir", "#"))), Ok(()), "no directory is needed");
        let comparator = format!("ledger = \"a\"\n[comparator]\n{KAFKA}");
        assert_eq!(checked(&comparator), Ok(()), "it may stand alone");
        let relay = "[relay]\nservice_token = { env = \"PATH\" }\n";
        for (text, said) in [
            (format!("{ENGINE}shards = 0\n"), "shards"),
            ("ledger = \"a\"\n[legacy.postgres]\nurl = { env = \"PATH\" }\n".to_owned(), "legacy.postgres.url"),
            (format!("{ENGINE}actor_header = \"no header\"\n"), "actor_header"),
            ("ledger = \"a\"\n[relay]\n".to_owned(), "relay.service_token"),
            ("ledger = \"a\"\n[comparator]\nhandover_ms = 0\n".to_owned(), "comparator.handover_ms"),
            (
                format!("ledger = \"a\"\n{FRONT}[comparator]\nhandover_ms = 500\n"),
                "front.handover_ms is 250, and comparator.handover_ms is 500",
            ),
            (format!("ledger = \"a\"\n{relay}"), "both sections or neither"),
            ("ledger = \"a\"\n[comparator]\n".to_owned(), "both sections or neither"),
            (format!("ledger = \"a\"\n{relay}[comparator]\n"), "[log]"),
            (ENGINE.replace("127.0.0.1:2", "127.0.0.1:1"), "engine.control_listen is 127.0.0.1:1, where engine.listen"),
            (ENGINE.replace("127.0.0.1:2", "0.0.0.0:1"), "engine.control_listen is 0.0.0.0:1, where engine.listen"),
            (format!("{ENGINE}[log]\ndata_dir = \"e\"\n"), "engine.data_dir is e, as log.data_dir is"),
            (ENGINE.replace("data_dir", "#"), "engine.data_dir is missing"),
            (format!("{ENGINE}{KAFKA}"), "[kafka] and engine.data_dir contradict"),
            (format!("ledger = \"a\"\n[log]\ndata_dir = \"e\"\n{KAFKA}"), "[kafka] and log contradict"),
            (format!("ledger = \"a\"\n{KAFKA}ca_file = \"x\"\n"), "kafka.ca_file"),
            (
                format!("ledger = \"a\"\n{KAFKA}tls = true\nca_file = \"/nowhere/ca.pem\"\n"),
                "kafka.ca_file: /nowhere/ca.pem",
            ),
        ] {
            let problem = checked(&text).expect_err(&text);
            assert!(problem.contains(said), "{text}: {problem}");
        }
    }
}
