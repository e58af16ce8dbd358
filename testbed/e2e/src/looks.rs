//! Somebody who asks for the past all the time, and knows what the answer can be.

use anyhow::{Context, bail, ensure};
use host::http::Client;
use host::task::Shutdown;
use serde_json::Value;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Nothing happens after it: the balance at that time is the one of now, but by way of the projection.
const LATER: &str = "?at=2100-01-01T00:00:00Z";

/// What came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Looks {
    /// Balances by way of the projection that were right.
    pub right: u64,
    /// Looks that were not answered, or not in time.
    pub unanswered: u64,
}

/// Compares balances of USER accounts that go by way of the projection with those from memory, before and after, until
/// `stop`.
///
/// # Errors
/// When one is wrong, or is answered otherwise than with 200 or 503.
pub async fn look_back(url: &str, stop: &Shutdown) -> anyhow::Result<Looks> {
    let client = Client::new(TIMEOUT, 64 << 20);
    let page: Value = client.get(&format!("{url}/accounts?limit=1000"), None, TIMEOUT).await?.json()?;
    let of_users = page["accounts"].as_array().into_iter().flatten().filter(|account| account["accountType"] == "USER");
    let users: Vec<&str> = of_users.filter_map(|account| account["accountId"].as_str()).collect();
    let mut looks = Looks::default();
    for user in users.iter().cycle() {
        if stop.is_stopping() {
            break;
        }
        let asked = format!("{url}/accounts/{user}/balance");
        let mut answers = Vec::new();
        for at in ["", LATER, ""] {
            answers.push(balance(&client, &format!("{asked}{at}")).await?);
        }
        match &answers[..] {
            [Some(before), Some(then), Some(after)] => {
                let is_one_of_both = [before, after].iter().all(|known| known.0 != then.0 || known.1 == then.1);
                let is_between = before.0 <= then.0 && then.0 <= after.0;
                ensure!(is_between && is_one_of_both, "{user}: {before:?}, then {then:?}, then {after:?}");
                looks.right += 1;
            }
            _ => looks.unanswered += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(looks)
}

/// Version and balance, if they are answered.
async fn balance(client: &Client, url: &str) -> anyhow::Result<Option<(u64, String)>> {
    let Ok(answer) = client.get(url, None, TIMEOUT).await else { return Ok(None) };
    match answer.status.as_u16() {
        200 => {
            let body: Value = answer.json()?;
            let read = body["version"].as_u64().zip(body["balance"].as_str().map(str::to_owned));
            Ok(Some(read.with_context(|| format!("{url}: {body}"))?))
        }
        503 => Ok(None),
        status => bail!("{url}: {status} {}", String::from_utf8_lossy(&answer.body)),
    }
}
