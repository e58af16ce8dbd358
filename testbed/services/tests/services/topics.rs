//! Topics are made as they have to be, and each deviation is named.

use eventlog::Place;
use eventlog::kafka::{Connection, TopicSpec, topics};
use host::ops::Readiness;
use testbed_services::cluster;

fn specs() -> [TopicSpec; 2] {
    [TopicSpec::forever("a", 3), TopicSpec::days("b", 1, 35)]
}

async fn clean(connection: &Connection) {
    topics::delete(connection, &["a", "b"]).await.unwrap();
}

#[tokio::test]
async fn topics_are_made_once_as_they_have_to_be() {
    let connection = cluster();
    let named = |name: &str| connection.topic(name);
    let missing = topics::check(&connection, &specs()).await.unwrap();
    assert_eq!(missing.iter().map(|missing| missing.topic.clone()).collect::<Vec<_>>(), [named("a"), named("b")]);
    assert!(missing.iter().all(|missing| missing.what == "the topic" && missing.is.starts_with("missing")));
    assert_eq!(topics::create(&connection, &specs()).await.unwrap(), [named("a"), named("b")]);
    assert_eq!(topics::check(&connection, &specs()).await.unwrap(), []);
    assert_eq!(topics::create(&connection, &specs()).await.unwrap(), Vec::<String>::new(), "they are there");
    clean(&connection).await;
}

#[tokio::test]
async fn a_topic_that_a_broker_hears_of_late_is_not_missing() {
    let connection = cluster();
    let specs = specs();
    let (found, made) = tokio::join!(topics::check(&connection, &specs), topics::create(&connection, &specs));
    assert_eq!(made.unwrap().len(), 2);
    assert_eq!(found.unwrap(), []);
    clean(&connection).await;
}

#[tokio::test]
async fn who_is_refused_one_topic_is_told_which_were_made_before() {
    let connection = cluster();
    let impossible = [TopicSpec::forever("a", 1), TopicSpec::forever("b", 0)];
    let said = topics::create(&connection, &impossible).await.unwrap_err().to_string();
    let (a, b) = (connection.topic("a"), connection.topic("b"));
    assert!(said.contains(&format!("does not make the topic {b} (0 partitions, 3 copies, ")), "{said}");
    assert!(said.ends_with(&format!("; made before that: {a}")), "{said}");
    topics::delete(&connection, &["a"]).await.unwrap();
}

#[tokio::test]
async fn every_deviation_is_named_and_refused() {
    let connection = cluster();
    // Made by somebody who thought otherwise: fewer copies, shorter kept, fewer partitions.
    let otherwise = Connection { replication: 1, min_insync_replicas: 1, ..connection.clone() };
    topics::create(&otherwise, &[TopicSpec::days("a", 2, 1), TopicSpec::forever("b", 1)]).await.unwrap();
    let found = topics::check(&connection, &specs()).await.unwrap();
    let named: Vec<String> = found.iter().map(|found| format!("{} {}", found.topic, found.what)).collect();
    let (a, b) = (connection.topic("a"), connection.topic("b"));
    let expected = [
        format!("{a} partitions"),
        format!("{a} replication"),
        format!("{a} min.insync.replicas"),
        format!("{a} retention.ms"),
        format!("{b} replication"),
        format!("{b} min.insync.replicas"),
    ];
    assert_eq!(named, expected, "{found:?}");
    let place = Place::kafka(connection.clone(), specs().to_vec()).unwrap();
    let refused = place.until_usable(&Readiness::new()).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("{a}: partitions is 2, has to be 3")), "{refused}");
    clean(&connection).await;
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_waited_for_and_said() {
    // Nobody listens on a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let connection = Connection::plain(free.to_string());
    let readiness = Readiness::new();
    let place = Place::kafka(connection, specs().to_vec()).unwrap();
    let said = async {
        let mut said: Vec<String> = Vec::new();
        while said.len() < 2 {
            let new = readiness.reasons().into_iter().find(|reason| !said.contains(reason));
            said.extend(new);
            tokio::task::yield_now().await;
        }
        said
    };
    // What waits goes first, so that the other one sees all that it says.
    let said = tokio::select! {
        biased;
        usable = place.until_usable(&readiness) => panic!("{usable:?}"),
        said = said => said,
    };
    assert_eq!(said[0], format!("log: waiting for Kafka at {free}"));
    assert!(said[1].starts_with(&format!("log: Kafka at {free}: ")), "{said:?}");
}
