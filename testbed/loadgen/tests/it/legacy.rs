//! A running legacy, and a load on it.

use host::task::{JoinHandle, Shutdown};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use testbed_auditor::{Expectations, Observer};
use testbed_legacy::{Config, Error, bind};
use testbed_loadgen::runner::{Options, Pace, Runner};
use testbed_loadgen::system::System;
use testbed_loadgen::workload::{self, Workload};

/// A directory in memory, where the machine has such a place: these tests are about rules, not about disks.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A legacy in this process, on a directory of its own.
pub struct Legacy {
    pub url: String,
    pub system: System,
    config: Config,
    directory: TempDir,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), Error>>,
}

impl Legacy {
    pub async fn start(config: Config) -> Self {
        let directory = directory();
        Self::start_in(directory, Config { listen: "127.0.0.1:0".parse().unwrap(), ..config }).await
    }

    async fn start_in(directory: TempDir, config: Config) -> Self {
        let config = Config { data_dir: directory.path().join("legacy"), ..config };
        let bound = bind(config.clone()).await.unwrap();
        let url = format!("http://{}", bound.address());
        // A restart comes back at the same address.
        let config = Config { listen: bound.address(), ..config };
        let shutdown = Shutdown::new();
        let running = host::task::spawn(bound.run(shutdown.clone()));
        Self { system: System::new(url.clone()), url, config, directory, shutdown, running }
    }

    pub async fn restart(self) -> Self {
        self.shutdown.stop();
        self.running.await.unwrap().unwrap();
        Self::start_in(self.directory, self.config).await
    }

    pub async fn put_faults(&self, faults: Value) {
        let body = json!({ "faults": faults }).to_string();
        let url = format!("{}/faults", self.url);
        let request = host::http::request(http::Method::PUT, &url, None, body.into()).unwrap();
        let client = host::http::Client::new(Duration::from_secs(5), 1 << 20);
        let answer = client.send(request, Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The fault ledger.
    pub async fn faults(&self) -> Vec<Value> {
        self.get("/faults/log").await["faults"].as_array().unwrap().clone()
    }

    pub async fn get(&self, path: &str) -> Value {
        let client = host::http::Client::new(Duration::from_secs(5), 16 << 20);
        let answer = client.get(&format!("{}{path}", self.url), None, Duration::from_secs(5)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().unwrap()
    }
}

pub fn observer(expectations: Expectations) -> Arc<Mutex<Observer>> {
    Arc::new(Mutex::new(Observer::new(expectations)))
}

/// A run of `requests` with a small set of accounts.
pub fn runner(legacy: &Legacy, requests: u64, seed: u64, observer: &Arc<Mutex<Observer>>) -> Arc<Runner> {
    let options = Options {
        base_urls: vec![legacy.url.clone()],
        pace: Pace::Closed { connections: 16, think: Duration::ZERO },
        max_requests: requests,
        timeout: Duration::from_secs(10),
        ..Options::default()
    };
    runner_with(options, seed, observer)
}

pub fn runner_with(options: Options, seed: u64, observer: &Arc<Mutex<Observer>>) -> Arc<Runner> {
    Runner::new(options, Workload::new(workload(seed)), observer.clone())
}

/// A small set of accounts.
pub fn workload(seed: u64) -> workload::Config {
    workload::Config { seed, users: 40, hot_users: 2, limited_users: 8, externals: 3, ..Default::default() }
}

/// Everything that the auditor finds wrong in the end, in words.
pub async fn verify(legacy: &Legacy, observer: &Arc<Mutex<Observer>>) -> Vec<String> {
    assert_eq!(legacy.system.resolve(observer).await.unwrap(), 0, "all keys can be asked for");
    let (rows, balances) = (legacy.system.transactions().await.unwrap(), legacy.system.balances().await.unwrap());
    let mut observer = observer.lock().unwrap();
    observer.verify_list("legacy", &rows);
    observer.verify(&balances).iter().map(ToString::to_string).collect()
}
