//! The dial's way through the demo, and who turns it.

use super::site::Site;
use crate::cli::DemoArgs;
use crate::render;
use anyhow::{Context, bail};
use host::clock;
use host::http::Client;
use http::Method;
use serde_json::json;
use std::time::Duration;
use testbed_loadgen::report::Counters;
use wire::billing::Problem;
use wire::control::SetRollout;

/// The stops after shadow; traffic is spread evenly over all of them.
const STOPS: [&str; 8] = ["1", "5", "10", "25", "50", "100", "25", "100"];
/// The stop at which a fault asked for is switched on: half-way.
const FAULT_AT: usize = 4;
/// How much of the legacy's first executions a fault hits.
const FAULT_RATE: f64 = 0.01;
/// A move that meets a closed gate is tried again for so long: gates open as legs are delivered, and opening hundreds of
/// accounts on three brokers that have just begun leaves a minute of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// Turns the dial.
pub struct Journey {
    client: Client,
    comparator: String,
    legacy: String,
    operator: String,
    approver: String,
    fault: Option<String>,
    exchanges: u64,
}

impl Journey {
    /// The journey of these arguments.
    ///
    /// # Errors
    /// When the site's tokens cannot be read.
    pub fn new(site: &Site, args: &DemoArgs) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(Duration::from_secs(2), 1 << 20),
            comparator: site.comparator(),
            legacy: site.legacy(),
            operator: site.token("operator")?,
            approver: site.token("approver")?,
            fault: args.fault.clone(),
            exchanges: args.exchanges,
        })
    }

    /// From capture to shadow, before any traffic.
    ///
    /// # Errors
    /// When the control API refuses, or the legacy does not know the fault that is asked for.
    pub async fn begin(&self) -> anyhow::Result<()> {
        // Half-way would be late to hear that there is no such fault.
        self.set_fault(0.0).await?;
        self.to("shadow", false).await
    }

    /// Goes from stop to stop as the traffic goes on.
    ///
    /// # Errors
    /// When a move is refused for longer than patience lasts.
    pub async fn go(&self, counters: &Counters) -> anyhow::Result<()> {
        let step = self.exchanges / (STOPS.len() as u64 + 1);
        for (index, stop) in STOPS.iter().enumerate() {
            let due = step * (index as u64 + 1);
            while counters.read().sent < due {
                clock::sleep(Duration::from_millis(20)).await;
            }
            if index == FAULT_AT {
                self.switch_fault_on().await?;
            }
            self.to(stop, self.fault.is_some() && index >= FAULT_AT).await?;
        }
        Ok(())
    }

    /// Asks the legacy to make mistakes; told to nobody else.
    async fn switch_fault_on(&self) -> anyhow::Result<()> {
        self.set_fault(FAULT_RATE).await?;
        if let Some(fault) = &self.fault {
            render::note(&format!("switched on in the legacy, unknown to everybody else: {fault}"));
        }
        Ok(())
    }

    /// Sets how much of the legacy's first executions the fault hits.
    async fn set_fault(&self, rate: f64) -> anyhow::Result<()> {
        let Some(fault) = &self.fault else { return Ok(()) };
        let body = json!({ "faults": [{ "kind": fault, "rate": rate }] }).to_string();
        let request = host::http::request(Method::PUT, &format!("{}/faults", self.legacy), None, body.into())?;
        let answer = self.client.send(request, Duration::from_secs(5)).await?;
        if !answer.status.is_success() {
            bail!("the legacy does not know the fault `{fault}`: {}", String::from_utf8_lossy(&answer.body));
        }
        Ok(())
    }

    /// Moves the dial: as operator with the gates, or as approver over them.
    async fn to(&self, stop: &str, force: bool) -> anyhow::Result<()> {
        let reason = if force { "demo: going on over the gates" } else { "demo: the next step of the plan" };
        let set = SetRollout { to: stop.to_owned(), reason: reason.to_owned(), force };
        let token = if force { &self.approver } else { &self.operator };
        let url = format!("{}/api/rollout/set", self.comparator);
        let deadline = clock::now() + PATIENCE;
        loop {
            let answer = self.client.post(&url, Some(token), &set, Duration::from_secs(10)).await?;
            if answer.status.is_success() {
                render::note(&format!("dial → {stop}{}", if force { " (forced)" } else { "" }));
                return Ok(());
            }
            let problem: Problem = answer.json().context("the control API answered something else than expected")?;
            if clock::now() > deadline || answer.status.as_u16() != 409 {
                let gates: Vec<_> = problem.errors.iter().map(|item| item.detail.as_str()).collect();
                bail!("the dial cannot go to {stop}: {} {}", problem.detail, gates.join("; "));
            }
            clock::sleep(Duration::from_millis(100)).await;
        }
    }
}
