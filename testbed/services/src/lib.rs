//! The real services that tests run against, as `./dev services up` starts them: where they are, and a way to treat
//! them badly.

use eventlog::kafka::Connection;

/// A variable that `./dev services up` wrote into `.services/env`.
///
/// # Panics
/// When it is not set: a test on real services that cannot reach them has failed.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `./dev services up`, then `. .services/env`, or the tests by `./dev test --services`")
    })
}

/// The cluster, by its listener that asks nobody who he is; topics of this connection are its own.
pub fn cluster() -> Connection {
    let bootstrap = variable("CROSSFADE_KAFKA_BOOTSTRAP");
    let prefix = format!("test-{}.", host::random::token().split_off(20));
    Connection { topic_prefix: prefix, ..Connection::plain(bootstrap) }
}
