//! Rights on topics and groups: what is missing is named, what is given is there.

use crate::security::{nobody, secured, user};
use eventlog::kafka::acls::{Grant, On, To, check, create};
use eventlog::kafka::{KafkaLog, Sasl, TopicSpec, topics};
use eventlog::{Log, NewRecord};
use testbed_services::{cluster, variable};

fn grants(principal: &str) -> Vec<Grant> {
    let grant = |on, to| Grant { principal: principal.to_owned(), on, to };
    vec![
        grant(On::Topic("t".to_owned()), To::Read),
        grant(On::Topic("t".to_owned()), To::Write),
        grant(On::Topic("t".to_owned()), To::SeeSettings),
        grant(On::Group("g".to_owned()), To::Read),
        grant(On::GroupsOf("events-".to_owned()), To::Read),
    ]
}

#[tokio::test]
async fn rights_that_are_missing_are_named_and_given() {
    let plain = cluster();
    topics::create(&plain, &[TopicSpec::forever("t", 1)]).await.unwrap();
    let grants = grants("User:crossfade");
    let missing: Vec<String> = check(&plain, &grants).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(missing.len(), grants.len(), "{missing:?}");
    let (begin, end) =
        (format!("topic {}: access is not given", plain.topic("t")), "has to be Write by User:crossfade");
    assert!(missing.iter().any(|one| one.starts_with(&begin) && one.ends_with(end)), "{missing:?}");
    let (username, password) = user("crossfade", variable("CROSSFADE_TRIAL_KAFKA_PASSWORD"));
    let log = KafkaLog::open(secured(&plain.topic_prefix, Sasl::ScramSha512 { username, password })).unwrap();
    assert!(log.append("t", 0, vec![NewRecord::of("before")]).await.is_err());

    assert_eq!(create(&plain, &grants).await, Ok(grants.len()));
    assert_eq!(check(&plain, &grants).await, Ok(Vec::new()));
    // By a broker that has heard of it.
    let not_twice = async { while create(&plain, &grants).await != Ok(0) {} };
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, not_twice).await.expect("what is there is not given twice");
    // A client that was turned away asks again by itself, once it has heard of the topic.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let offset = loop {
        match log.append("t", 0, vec![NewRecord::of("after")]).await {
            Ok(offset) => break offset,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(log.read("t", 0, offset, 1).await.unwrap()[0].value, "after");
    topics::delete(&plain, &["t"]).await.unwrap();
}

#[tokio::test]
async fn who_may_not_see_or_change_the_lists_is_told_so() {
    let plain = cluster();
    let connection = nobody(&plain.topic_prefix);
    let grants = grants("User:nobody");
    let deviations = check(&connection, &grants).await.unwrap();
    assert!(
        deviations.len() == grants.len() && deviations.iter().all(|one| one.is.contains("not shown")),
        "{deviations:?}"
    );
    let said = create(&connection, &grants).await.unwrap_err().to_string();
    assert!(said.contains("does not change its access control lists") && said.contains("authorization"), "{said}");
}
