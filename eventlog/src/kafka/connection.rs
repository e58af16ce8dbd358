//! How a Kafka cluster is reached, and how librdkafka is set for it.

use super::client::Client;
use host::secret::Secret;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest record that a topic takes. Managed clusters give no more without a machine of one's own. An engine's outcome
/// holds its command up to four times, and a command is as long as a request at most, 1 MiB.
pub(super) const MAX_RECORD_BYTES: usize = 8 * 1024 * 1024;

/// A cluster, and who we are there.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Some of its brokers: `host:port,host:port`.
    pub bootstrap: String,
    /// Put before the name of every topic and group, so that several ledgers can share a cluster.
    #[serde(default)]
    pub topic_prefix: String,
    /// Whether connections are encrypted. The broker's certificate and name are always verified then.
    #[serde(default)]
    pub tls: bool,
    /// The certificates of the authorities that may have signed the brokers', as PEM; those of the operating system
    /// if none is given.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How we say who we are.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// Copies of each record. 1 is for trials: then nothing survives the loss of a machine.
    #[serde(default = "defaults::replication")]
    pub replication: u16,
    /// Copies that a record has to have before it counts as appended.
    #[serde(default = "defaults::min_insync_replicas")]
    pub min_insync_replicas: u16,
    /// How long an append waits for others to go with it; whoever uses the log knows how it appends.
    #[serde(skip)]
    pub linger_ms: u32,
}

/// DESIGN 3.1: what survives the loss of any one machine.
mod defaults {
    pub(super) fn replication() -> u16 {
        3
    }

    pub(super) fn min_insync_replicas() -> u16 {
        2
    }
}

/// How we say who we are.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "mechanism", deny_unknown_fields)]
pub enum Sasl {
    /// Name and password as they are: only over TLS.
    #[serde(rename = "PLAIN")]
    Plain {
        /// The name; for a managed cluster the API key.
        username: String,
        /// The password; for a managed cluster the API secret.
        password: Secret,
    },
    /// A proof that we know the password.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256 {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A proof that we know the password.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512 {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that somebody else issues and keeps fresh.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer {
        /// The file with the token (a JWT), read anew whenever one is needed.
        token_file: PathBuf,
    },
}

/// Shorter than the 5 s that a client waits for a final answer (CONTRACT): an append that is not acknowledged by then
/// is of unknown outcome.
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(4);

/// Whatever reads is called a member of this group, which it never joins; the library looks for its coordinator all the
/// same, so that one has to be allowed to see it.
pub const READER_GROUP: &str = "crossfade-reader";

impl Connection {
    /// A cluster that asks nobody who he is: for trials.
    pub fn plain(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            topic_prefix: String::new(),
            tls: false,
            ca_file: None,
            sasl: None,
            replication: defaults::replication(),
            min_insync_replicas: defaults::min_insync_replicas(),
            linger_ms: 0,
        }
    }

    /// Finds what cannot work before anything is opened.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let address = |text: &str| {
            text.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !self.bootstrap.split(',').all(address) {
            return Err(format!("kafka.bootstrap has to be host:port,host:port, not `{}`", self.bootstrap));
        }
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !self.topic_prefix.bytes().all(named) {
            let prefix = &self.topic_prefix;
            return Err(format!("kafka.topic_prefix may have letters, digits, `.`, `_` and `-`, not `{prefix}`"));
        }
        if self.ca_file.is_some() && !self.tls {
            return Err("kafka.ca_file is of no use without kafka.tls = true".to_owned());
        }
        if let Some(path) = &self.ca_file {
            let pem = readable("kafka.ca_file", path)?;
            // The same goes for X509 and TRUSTED CERTIFICATE, which the library takes, too.
            if !String::from_utf8_lossy(&pem).contains("CERTIFICATE-----") {
                return Err(format!("kafka.ca_file: {} holds no certificate as PEM", path.display()));
            }
        }
        if matches!(self.sasl, Some(Sasl::Plain { .. } | Sasl::OauthBearer { .. })) && !self.tls {
            return Err("kafka.sasl would send its secret in the clear: set kafka.tls = true".to_owned());
        }
        if let Some(Sasl::OauthBearer { token_file }) = &self.sasl {
            readable("kafka.sasl.token_file", token_file)?;
        }
        let (copies, in_sync) = (self.replication, self.min_insync_replicas);
        if in_sync == 0 || in_sync > copies {
            return Err(format!(
                "kafka.min_insync_replicas is {in_sync}: it has to be from 1 to kafka.replication, {copies}"
            ));
        }
        Ok(())
    }

    /// The name that a topic has in the cluster.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// The context of a client of this cluster.
    pub(super) fn client(&self) -> Client {
        let token_file = match &self.sasl {
            Some(Sasl::OauthBearer { token_file }) => Some(token_file.clone()),
            _ => None,
        };
        Client::new(self.bootstrap.clone(), token_file)
    }

    /// What every client has in common.
    pub(super) fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("client.id", "crossfade");
        // A broker that comes back is found within a second.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        // A leader that has moved is looked for at once, not every 5 minutes.
        config.set("topic.metadata.refresh.interval.ms", "10000").set("topic.metadata.refresh.fast.interval.ms", "50");
        config.set("socket.nagle.disable", "true").set("socket.keepalive.enable", "true");
        config.set(
            "security.protocol",
            match (self.tls, self.sasl.is_some()) {
                (false, false) => "plaintext",
                (true, false) => "ssl",
                (false, true) => "sasl_plaintext",
                (true, true) => "sasl_ssl",
            },
        );
        if let Some(path) = &self.ca_file {
            config.set("ssl.ca.location", path.display().to_string());
        }
        let mut named = |mechanism, username: &str, password: &Secret| {
            config.set("sasl.mechanism", mechanism);
            config.set("sasl.username", username).set("sasl.password", password.reveal());
        };
        match &self.sasl {
            None => {}
            Some(Sasl::Plain { username, password }) => named("PLAIN", username, password),
            Some(Sasl::ScramSha256 { username, password }) => named("SCRAM-SHA-256", username, password),
            Some(Sasl::ScramSha512 { username, password }) => named("SCRAM-SHA-512", username, password),
            Some(Sasl::OauthBearer { .. }) => {
                config.set("sasl.mechanism", "OAUTHBEARER");
            }
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// Idempotent, acknowledged by all replicas in sync, sent at once or after lingering.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.common();
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.max.bytes", MAX_RECORD_BYTES.to_string());
        config.set("linger.ms", self.linger_ms.to_string());
        config.set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        config.set("request.timeout.ms", (DELIVERY_TIMEOUT / 2).as_millis().to_string());
        config.set("retry.backoff.ms", "20").set("retry.backoff.max.ms", "200");
        // Memory stays bounded; who appends beyond it is told at once.
        config.set("queue.buffering.max.messages", "100000").set("queue.buffering.max.kbytes", "131072");
        config
    }

    /// Reads from given offsets only; belongs to no group.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.common();
        // The library wants a name even of a consumer that never joins a group.
        config.set("group.id", self.topic(READER_GROUP));
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        // What is gone is an error, never a silent gap.
        config.set("auto.offset.reset", "error");
        // No wait without need: the defaults hide stalls of up to a second.
        config.set("fetch.wait.max.ms", "100").set("fetch.min.bytes", "1");
        config.set("fetch.queue.backoff.ms", "2").set("fetch.error.backoff.ms", "20");
        config.set("queued.min.messages", "10000").set("queued.max.messages.kbytes", "16384");
        config.set("check.crcs", "true");
        config
    }
}

/// What is in the file that a key names.
fn readable(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    // An error names the path.
    let found = host::disk::read(path).map_err(|error| format!("{key}: {error}"))?;
    found.ok_or_else(|| format!("{key}: {} is not there", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Connection)) -> Result<(), String> {
        let mut connection = Connection::plain("a:9092,b:9092");
        change(&mut connection);
        connection.check()
    }

    #[test]
    fn what_cannot_work_is_found_and_named() {
        assert_eq!(check(|_| {}), Ok(()));
        let plain = || Some(Sasl::Plain { username: "u".to_owned(), password: Secret::new("p") });
        let cases: [(&str, &dyn Fn(&mut Connection)); 6] = [
            ("kafka.min_insync_replicas", &|connection| connection.min_insync_replicas = 4),
            ("kafka.bootstrap", &|connection| connection.bootstrap = "a:9092,b".to_owned()),
            ("kafka.bootstrap", &|connection| connection.bootstrap = String::new()),
            ("kafka.topic_prefix", &|connection| connection.topic_prefix = "a/b".to_owned()),
            ("kafka.ca_file", &|connection| connection.ca_file = Some("ca.pem".into())),
            ("kafka.sasl", &|connection| connection.sasl = plain()),
        ];
        for (named, change) in cases {
            let problem = check(change).expect_err(named);
            assert!(problem.contains(named), "{problem}");
        }
        assert_eq!(
            check(|connection| {
                connection.tls = true;
                connection.sasl = plain();
            }),
            Ok(())
        );
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_their_key() {
        let directory = tempfile::tempdir().unwrap();
        let [there, empty, absent] = ["there", "empty", "absent"].map(|name| directory.path().join(name));
        std::fs::write(&there, "-----BEGIN CERTIFICATE-----\n").unwrap();
        std::fs::write(&empty, "").unwrap();
        let authorities = |path: &Path| Connection { ca_file: Some(path.to_owned()), ..over_tls() };
        let token = |path: &Path| {
            let sasl = Some(Sasl::OauthBearer { token_file: path.to_owned() });
            Connection { sasl, ..over_tls() }
        };
        for (connection, problem) in [
            (authorities(&there), None),
            (authorities(&empty), Some(("kafka.ca_file", &empty))),
            (authorities(&absent), Some(("kafka.ca_file", &absent))),
            (authorities(directory.path()), Some(("kafka.ca_file", &directory.path().to_owned()))),
            (token(&there), None),
            (token(&absent), Some(("kafka.sasl.token_file", &absent))),
        ] {
            let found = connection.check();
            let Some((key, path)) = problem else {
                assert_eq!(found, Ok(()));
                continue;
            };
            let said = found.expect_err(key);
            assert!(said.starts_with(key) && said.contains(&*path.to_string_lossy()), "{said}");
        }
    }

    fn over_tls() -> Connection {
        Connection { tls: true, ..Connection::plain("a:9093") }
    }
}
