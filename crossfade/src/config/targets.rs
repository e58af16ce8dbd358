//! Where the command line finds the parts, and which tokens it shows them: flag > environment > file.

use super::{File, load, read};
use crate::cli::Global;
use crate::client::Failure;
use host::secret::Secret;
use std::net::SocketAddr;
use std::path::Path;

/// Where the command line finds the parts.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Base URL of the comparator.
    pub comparator: Option<String>,
    /// Base URL of the engine's billing API.
    pub engine: Option<String>,
    /// Base URL of the engine's control listener.
    pub engine_control: Option<String>,
    /// Base URL of the front's operators' listener.
    pub front: Option<String>,
    /// The token for it.
    pub front_token: Option<Secret>,
    /// The token for the control API.
    pub token: Option<Secret>,
    /// The service token.
    pub service_token: Option<Secret>,
    /// Whether the file says that the log is in a cluster, where all parts see the same topics.
    pub in_cluster: bool,
}

/// Works out where the parts are: flags and their environment first, then the configuration file.
///
/// # Errors
/// When a named configuration or token file cannot be used.
pub fn targets(global: &Global) -> Result<Targets, Failure> {
    let targets = if global.config.is_some() { of_file(load(global)?) } else { Targets::default() };
    preferred(targets, global, |name| std::env::var(name).ok())
}

/// What flags and environment say goes before what the file says.
fn preferred(
    mut targets: Targets,
    global: &Global,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Targets, Failure> {
    let prefer = |flag: &Option<String>, target: &mut Option<String>| {
        if let Some(url) = flag {
            *target = Some(url.clone());
        }
    };
    prefer(&global.comparator, &mut targets.comparator);
    prefer(&global.engine, &mut targets.engine);
    prefer(&global.engine_control, &mut targets.engine_control);
    if let Some(path) = &global.token_file {
        targets.token = Some(read_token(path)?);
    } else if let Some(token) = variable("CROSSFADE_TOKEN") {
        targets.token = Some(Secret::new(token));
    } else if let Some(path) = variable("CROSSFADE_TOKEN_FILE") {
        targets.token = Some(read_token(Path::new(&path))?);
    }
    if let Some(token) = variable("CROSSFADE_SERVICE_TOKEN") {
        targets.service_token = Some(Secret::new(token));
    }
    if let Some(token) = variable("CROSSFADE_ADMIN_TOKEN") {
        targets.front_token = Some(Secret::new(token));
    }
    if targets.front_token.is_none() {
        targets.front_token.clone_from(&targets.service_token);
    }
    Ok(targets)
}

fn read_token(path: &Path) -> Result<Secret, Failure> {
    let text = read(path, "the token file")?;
    Ok(Secret::new(text.trim_end()))
}

fn of_file(file: File) -> Targets {
    let client = file.client.unwrap_or_default();
    let url = |address: SocketAddr| format!("http://{address}");
    Targets {
        comparator: client.comparator.or_else(|| file.comparator.map(|comparator| url(comparator.listen))),
        engine: client.engine.or_else(|| file.engine.as_ref().map(|engine| url(engine.listen))),
        engine_control: client.engine_control.or_else(|| file.engine.as_ref().map(|engine| url(engine.control_listen))),
        front: file.front.as_ref().map(|front| url(front.admin_listen)),
        front_token: file.front.map(|front| front.admin_token.unwrap_or(front.service_token)),
        token: client.token,
        service_token: client.service_token,
        in_cluster: file.kafka.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_flag_goes_before_the_environment_and_that_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("{name}\n")).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (by_flag, by_variable) = (written("by-flag"), written("by-variable"));
        let flag = ["--token-file", by_flag.as_str()];
        let token = ("CROSSFADE_TOKEN", "in-variable");
        let token_file = ("CROSSFADE_TOKEN_FILE", by_variable.as_str());
        let cases: &[(&[&str], &[(&str, &str)], &str)] = &[
            (&flag, &[token, token_file], "by-flag"),
            (&flag, &[], "by-flag"),
            (&[], &[token, token_file], "in-variable"),
            (&[], &[token_file], "by-variable"),
            (&[], &[], "in-file"),
        ];
        for (flags, variables, expected) in cases {
            let arguments = ["crossfade", "status"].iter().chain(*flags);
            let global = crate::cli::Cli::try_parse_from(arguments).unwrap().global;
            let in_file = Targets { token: Some(Secret::new("in-file")), ..Targets::default() };
            let variable =
                |name: &str| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
            let token = preferred(in_file, &global, variable).unwrap().token.unwrap();
            assert_eq!(token.reveal(), *expected, "{flags:?} {variables:?}");
        }
    }
}
