//! The real services that tests run against, as `./dev services up` starts them: where they are, and a way to treat
//! them badly.

pub mod line;

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

/// Starts, stops, kills, pauses or resumes a broker.
///
/// # Panics
/// When the services were not started by `./dev services up`, or the action fails.
pub fn broker(action: &str, number: u32) {
    run(&["broker", action, &number.to_string()]);
}

/// Makes a tablespace `small` of so many megabytes on a disk of its own, or drops it: `none`.
///
/// # Panics
/// As [`broker`].
pub fn small_disk(megabytes: &str) {
    run(&["postgres", "small-disk", megabytes]);
}

fn run(arguments: &[&str]) {
    let ended = std::process::Command::new(variable("CROSSFADE_TRIAL_SERVICES")).args(arguments).status();
    assert!(ended.is_ok_and(|status| status.success()), "`./dev services {}` failed", arguments.join(" "));
}
