//! Who may come in, how he says who he is, and what a person is told if he may not.

use eventlog::kafka::{Connection, KafkaLog, Sasl, TopicSpec, topics};
use eventlog::{Log, NewRecord, Place};
use host::ops::Readiness;
use host::secret::Secret;
use testbed_services::{cluster, variable};

/// Why nobody gets in with this connection.
async fn refused(connection: &Connection) -> String {
    let checked = topics::check(connection, &[TopicSpec::forever("t", 1)]).await;
    checked.expect_err("it must not be usable").to_string()
}

pub(crate) fn user(username: &str, password: String) -> (String, Secret) {
    (username.to_owned(), Secret::new(password))
}

fn crossfade() -> (String, Secret) {
    user(&variable("CROSSFADE_TRIAL_KAFKA_USER"), variable("CROSSFADE_TRIAL_KAFKA_PASSWORD"))
}

/// The cluster by its listener with TLS and SASL.
pub(crate) fn secured(prefix: &str, sasl: Sasl) -> Connection {
    Connection {
        bootstrap: variable("CROSSFADE_TRIAL_KAFKA_SASL_BOOTSTRAP"),
        topic_prefix: prefix.to_owned(),
        tls: true,
        ca_file: Some(variable("CROSSFADE_TRIAL_KAFKA_CA").into()),
        sasl: Some(sasl),
        ..Connection::plain("")
    }
}

/// As a principal without any right.
pub(crate) fn nobody(prefix: &str) -> Connection {
    let (username, password) = user("nobody", variable("CROSSFADE_TRIAL_KAFKA_NOBODY_PASSWORD"));
    secured(prefix, Sasl::ScramSha512 { username, password })
}

/// A token as the trial brokers take it: unsigned, of a subject, for an hour.
fn token_of(subject: &str) -> String {
    use base64::Engine as _;
    let text = |json: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
    let now = host::clock::unix_micros() / 1_000_000;
    let claims = format!(r#"{{"sub":"{subject}","iat":{now},"exp":{}}}"#, now + 3_600);
    format!("{}.{}.", text(r#"{"alg":"none"}"#.to_owned()), text(claims))
}

#[tokio::test]
async fn every_mechanism_lets_a_known_principal_in() {
    let plain = cluster();
    topics::create(&plain, &[TopicSpec::forever("t", 1)]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, token_of("admin")).unwrap();
    let (username, password) = user("admin", variable("CROSSFADE_TRIAL_KAFKA_ADMIN_PASSWORD"));
    let (also, too) = (username.clone(), password.clone());
    for sasl in [
        Sasl::Plain { username, password },
        Sasl::ScramSha512 { username: also, password: too },
        Sasl::OauthBearer { token_file },
    ] {
        let log = KafkaLog::open(secured(&plain.topic_prefix, sasl.clone())).unwrap();
        let offset = log.append("t", 0, vec![NewRecord::of("over TLS")]).await.unwrap();
        assert_eq!(log.read("t", 0, offset, 1).await.unwrap()[0].value, "over TLS", "{sasl:?}");
    }
    topics::delete(&plain, &["t"]).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_said() {
    let (username, _) = crossfade();
    let wrong = || Secret::new("not the password");
    for sasl in [
        Sasl::Plain { username: username.clone(), password: wrong() },
        Sasl::ScramSha512 { username: username.clone(), password: wrong() },
    ] {
        let said = refused(&secured("", sasl)).await;
        assert!(said.contains("uthentication failed") && !said.contains("not the password"), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_of_somebody_else_or_of_last_year_is_refused_and_said() {
    let (username, password) = crossfade();
    let sasl = Sasl::Plain { username, password };
    let foreign =
        Connection { ca_file: Some(variable("CROSSFADE_TRIAL_KAFKA_FOREIGN_CA").into()), ..secured("", sasl.clone()) };
    let expired = Connection { bootstrap: variable("CROSSFADE_TRIAL_KAFKA_EXPIRED_BOOTSTRAP"), ..secured("", sasl) };
    for (connection, why) in [(foreign, "certificate verify failed"), (expired, "certificate")] {
        let said = refused(&connection).await;
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_principal_without_acl_is_told_what_it_lacks() {
    let plain = cluster();
    topics::create(&plain, &[TopicSpec::forever("t", 1)]).await.unwrap();
    let log = KafkaLog::open(nobody(&plain.topic_prefix)).unwrap();
    let appended = log.append("t", 0, vec![NewRecord::of("x")]).await.unwrap_err().to_string();
    assert!(appended.contains("may not"), "{appended}");
    let read = log.read("t", 0, 0, 1).await.unwrap_err().to_string();
    assert!(read.contains("may not"), "{read}");
    topics::delete(&plain, &["t"]).await.unwrap();
}

#[tokio::test]
async fn a_part_without_acl_is_not_made_believe_that_its_topics_are_missing() {
    let plain = cluster();
    let specs = [TopicSpec::forever("t", 1)];
    topics::create(&plain, &specs).await.unwrap();
    let place = Place::kafka(nobody(&plain.topic_prefix), specs.to_vec()).unwrap();
    let said = place.until_usable(&Readiness::new()).await.unwrap_err().to_string();
    assert!(said.contains(&plain.topic("t")) && said.contains("or this principal may not see it"), "{said}");
    topics::delete(&plain, &["t"]).await.unwrap();
}
