//! The configuration: flag > `CROSSFADE_…` environment > TOML file > default.
//!
//! It is parsed before a port is bound. Unknown keys and bad values are errors with line and column. An
//! environment variable is named after section and key: `CROSSFADE_FRONT_LISTEN` overrides `listen` in
//! `[front]`, `CROSSFADE_LEDGER` the key `ledger` at the top.

use crate::cli::Global;
use crate::client::{Exit, Failure};
use host::secret::Secret;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A whole configuration file. A part runs if its section is there.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The id of the ledger: one legacy, one engine and their topics. It salts the buckets, so it never changes.
    pub ledger: String,
    /// The log of the cutover, kept by the process of relay and comparator.
    pub log: Option<Log>,
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

/// Where the command line finds the parts.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Base URL of the comparator.
    pub comparator: Option<String>,
    /// Base URL of the engine's billing API.
    pub engine: Option<String>,
    /// Base URL of the engine's control listener.
    pub engine_control: Option<String>,
    /// The token for the control API.
    pub token: Option<Secret>,
    /// The service token.
    pub service_token: Option<Secret>,
}

/// Sections that environment variables reach into.
const SECTIONS: [&str; 7] = ["log", "front", "relay", "engine", "comparator", "legacy", "client"];

/// Reads and checks the configuration file named on the command line.
///
/// # Errors
/// One clear line: the file, line and column, or the environment variable, and what is wrong.
pub fn load(global: &Global) -> Result<File, Failure> {
    let path = global
        .config
        .as_deref()
        .ok_or_else(|| Failure::new(Exit::Usage, "no configuration: give --config FILE or set CROSSFADE_CONFIG"))?;
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read the configuration {}: {error}", path.display()))
    })?;
    parse(path, &text, std::env::vars())
}

/// Parses a configuration text with overrides from environment variables.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str, vars: impl Iterator<Item = (String, String)>) -> Result<File, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let located = |error: toml::de::Error| {
        let at = error.span().map_or_else(String::new, |span| {
            let before = &text[..span.start.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
            format!(":{line}:{column}")
        });
        usage(format!("{}{at}: {}", path.display(), error.message()))
    };
    let overrides: Vec<_> = vars.filter_map(|(name, value)| Some((target_of(&name)?, name, value))).collect();
    if overrides.is_empty() {
        return toml::from_str(text).map_err(located);
    }
    let mut table: toml::Table = toml::from_str(text).map_err(located)?;
    for ((section, key), name, value) in &overrides {
        let target = match section {
            None => &mut table,
            Some(section) => table
                .entry(section.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                .as_table_mut()
                .ok_or_else(|| usage(format!("{name}: `{section}` is no section")))?,
        };
        target.insert(key.clone(), value_of(value));
    }
    let names: Vec<_> = overrides.iter().map(|(_, name, _)| name.as_str()).collect();
    table.try_into().map_err(|error: toml::de::Error| {
        usage(format!("{} with {}: {}", path.display(), names.join(", "), error.message()))
    })
}

/// Section and key that an environment variable overrides.
fn target_of(name: &str) -> Option<(Option<String>, String)> {
    let name = name.strip_prefix("CROSSFADE_")?.to_ascii_lowercase();
    if name == "ledger" {
        return Some((None, name));
    }
    let (section, key) =
        SECTIONS.iter().find_map(|section| Some((section, name.strip_prefix(section)?.strip_prefix('_')?)))?;
    // Named by the command line's own flags; they are no keys of a file.
    if (*section, key) == ("engine", "control") {
        return None;
    }
    Some((Some((*section).to_owned()), key.to_owned()))
}

/// A number, boolean, list or table if it reads as one, else text.
fn value_of(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// Works out where the parts are: flags and their environment first, then the configuration file.
///
/// # Errors
/// When a named configuration or token file cannot be used.
pub fn targets(global: &Global) -> Result<Targets, Failure> {
    let mut targets = if global.config.is_some() { of_file(load(global)?) } else { Targets::default() };
    let prefer = |flag: &Option<String>, target: &mut Option<String>| {
        if let Some(url) = flag {
            *target = Some(url.clone());
        }
    };
    prefer(&global.comparator, &mut targets.comparator);
    prefer(&global.engine, &mut targets.engine);
    prefer(&global.engine_control, &mut targets.engine_control);
    if let Some(path) = &global.token_file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(Exit::Usage, format!("cannot read the token file {}: {error}", path.display()))
        })?;
        targets.token = Some(Secret::new(text.trim_end()));
    }
    if let Ok(token) = std::env::var("CROSSFADE_TOKEN") {
        targets.token = Some(Secret::new(token));
    }
    if let Ok(token) = std::env::var("CROSSFADE_SERVICE_TOKEN") {
        targets.service_token = Some(Secret::new(token));
    }
    Ok(targets)
}

fn of_file(file: File) -> Targets {
    let client = file.client.unwrap_or_default();
    let url = |address: SocketAddr| format!("http://{address}");
    Targets {
        comparator: client.comparator.or_else(|| file.comparator.map(|comparator| url(comparator.listen))),
        engine: client.engine.or_else(|| file.engine.as_ref().map(|engine| url(engine.listen))),
        engine_control: client.engine_control.or_else(|| file.engine.as_ref().map(|engine| url(engine.control_listen))),
        token: client.token,
        service_token: client.service_token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(text: &str, vars: &[(&str, &str)]) -> Result<File, String> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        parse(Path::new("x.toml"), text, vars).map_err(|failure| failure.message)
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_column() {
        let error = parse_with("ledger = \"a\"\n[log]\ndata_dir = \"x\"\nsize = 3\n", &[]).unwrap_err();
        assert!(error.starts_with("x.toml:4:1: unknown field `size`"), "{error}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let file = parse_with("ledger = \"a\"\n", &[("CROSSFADE_LOG_DATA_DIR", "/data"), ("CROSSFADE_LEDGER", "b")]);
        let file = file.unwrap();
        assert_eq!(file.ledger, "b");
        assert_eq!(file.log.unwrap().data_dir, Path::new("/data"));
    }

    #[test]
    fn an_unknown_variable_in_a_section_is_an_error_that_names_it() {
        let error = parse_with("ledger = \"a\"\n", &[("CROSSFADE_LOG_SIZE", "3")]).unwrap_err();
        assert!(error.contains("CROSSFADE_LOG_SIZE") && error.contains("unknown field"), "{error}");
    }
}
