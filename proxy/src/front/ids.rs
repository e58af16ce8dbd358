//! What is known of earlier transactions: their two accounts, and their ids in the two systems.
//!
//! Asked in this order: what passed by here, the relay for at most a moment, the system that made the id.

use super::upstream::{Systems, segment};
use crate::json::{Found, Object};
use host::clock::{self, Instant};
use host::http::Client;
use host::secret::Secret;
use http::{HeaderMap, StatusCode};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use wire::control::KnownTransaction;
use wire::ids::{is_account_id, is_engine_transaction_id};
use wire::rollout::Rollout;
use wire::words::{Operation, System};

/// More than there are cores by far, so that two requests rarely meet in one shard.
const SHARDS: usize = 16;
/// After the relay did not answer, it is not asked for accounts for so long.
const RELAY_REST: Duration = Duration::from_secs(1);
/// Between two questions for an alias that is on its way.
const ALIAS_PAUSE: Duration = Duration::from_millis(10);
/// An alias is asked for again within the handover's time, so a single question may be slower than one for accounts.
const ALIAS_WAIT: Duration = Duration::from_millis(100);

/// An earlier transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Where it came from.
    pub source: String,
    /// Where it went.
    pub destination: String,
    /// Whether its destination has balance rules, if that can be told from the transaction.
    pub destination_limited: Option<bool>,
}

/// A system that has to be asked does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable(pub System);

/// What is known of earlier transactions.
#[derive(Debug)]
pub struct Ids {
    originals: Remembered<Original>,
    /// By the id that is known: the id in the other system.
    aliases: Remembered<String>,
    /// Whether an account has balance rules. It cannot change: limits are neither added to an account without nor
    /// is the last one taken away (`LimitsFixed`), and a USER account always has the rule not to fall below zero.
    limited: Remembered<bool>,
    relay: String,
    token: Secret,
    client: Client,
    relay_wait: Duration,
    /// When the relay last did not answer.
    relay_failed: Mutex<Option<Instant>>,
}

impl Ids {
    /// Nothing known yet; remembers `capacity` transactions.
    pub fn new(relay: &str, token: Secret, relay_wait: Duration, capacity: usize) -> Self {
        Self {
            originals: Remembered::new(capacity),
            aliases: Remembered::new(capacity),
            limited: Remembered::new(capacity),
            relay: relay.trim_end_matches('/').to_owned(),
            token,
            client: Client::new(ALIAS_WAIT, 1024 * 1024),
            relay_wait,
            relay_failed: Mutex::default(),
        }
    }

    /// Learns from an applied transaction's answer.
    pub fn learn(&self, body: &[u8]) {
        let Some(object) = Object::parse(body) else { return };
        if let (Some(id), Some(original)) = (object.text_at("/transactionId"), original_of(object)) {
            self.originals.put(id.into_owned(), original);
        }
    }

    /// The two accounts of a transaction; `None` when no system knows it.
    ///
    /// # Errors
    /// When the system that would know cannot be asked.
    pub async fn original(
        &self,
        id: &str,
        who: &HeaderMap,
        systems: &Systems,
    ) -> Result<Option<Original>, Unavailable> {
        if let Some(original) = self.originals.get(id) {
            return Ok(Some(original));
        }
        if self.relay_is_well()
            && let Some(known) = self.ask_relay(id, self.relay_wait).await
        {
            return Ok(Some(self.remember(id, &known)));
        }
        let maker = if is_engine_transaction_id(id) { System::Engine } else { System::Legacy };
        let answer = systems.of(maker).get(&format!("/transactions/{}", segment(id)), who).await;
        match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                let original = Object::parse(&answer.body).and_then(original_of).ok_or(Unavailable(maker))?;
                self.originals.put(id.to_owned(), original.clone());
                Ok(Some(original))
            }
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Ok(None),
            Ok(answer) => {
                tracing::warn!(system = %maker, status = answer.status.as_u16(), "cannot ask for a transaction");
                Err(Unavailable(maker))
            }
            Err(error) => {
                tracing::warn!(system = %maker, %error, "cannot ask for a transaction");
                Err(Unavailable(maker))
            }
        }
    }

    /// The account that decides about a refund: the one it debits if that one is limited, else the one it credits.
    ///
    /// # Errors
    /// When the system that would know cannot be asked.
    pub async fn refund_decider(
        &self,
        original: &Original,
        who: &HeaderMap,
        systems: &Systems,
        rollout: &Rollout,
    ) -> Result<String, Unavailable> {
        let debited = &original.destination;
        let limited = match original.destination_limited.or_else(|| self.limited.get(debited)) {
            Some(limited) => limited,
            None => {
                let system = rollout.authority(debited);
                let answer = systems.of(system).get(&format!("/accounts/{}", segment(debited)), who).await;
                let limited = match answer {
                    Ok(answer) if answer.status == StatusCode::OK => is_limited(&answer.body),
                    // An account that is not there is treated as one that nothing is known of.
                    Ok(answer) if answer.status == StatusCode::NOT_FOUND => return Ok(debited.clone()),
                    Ok(_) | Err(_) => return Err(Unavailable(system)),
                };
                self.limited.put(debited.clone(), limited);
                limited
            }
        };
        Ok(if limited { debited } else { &original.source }.clone())
    }

    /// The id of a transaction at `target`, which did not make `id`; `None` when it has none by the deadline.
    pub async fn alias(&self, id: &str, target: System, deadline: Instant) -> Option<String> {
        loop {
            if let Some(alias) = self.aliases.get(id) {
                return Some(alias);
            }
            if let Some(known) = self.ask_relay(id, ALIAS_WAIT).await {
                self.remember(id, &known);
                let alias = match target {
                    System::Legacy => known.legacy,
                    System::Engine => known.engine,
                };
                if alias.is_some() {
                    return alias;
                }
            }
            if clock::now() + ALIAS_PAUSE >= deadline {
                return None;
            }
            clock::sleep(ALIAS_PAUSE).await;
        }
    }

    fn remember(&self, id: &str, known: &KnownTransaction) -> Original {
        if let (Some(engine), Some(legacy)) = (&known.engine, &known.legacy) {
            self.aliases.put(engine.clone(), legacy.clone());
            self.aliases.put(legacy.clone(), engine.clone());
        }
        let original = Original {
            source: known.source.clone(),
            destination: known.destination.clone(),
            // The destination of a topup is a USER account.
            destination_limited: (known.operation == Operation::Topup).then_some(true),
        };
        self.originals.put(id.to_owned(), original.clone());
        original
    }

    async fn ask_relay(&self, id: &str, wait: Duration) -> Option<KnownTransaction> {
        let url = format!("{}/internal/ids/{}", self.relay, segment(id));
        let answer = self.client.get(&url, Some(self.token.reveal()), wait).await;
        let failed = match &answer {
            Ok(answer) if answer.status == StatusCode::OK || answer.status == StatusCode::NOT_FOUND => None,
            Ok(answer) => Some(format!("status {}", answer.status.as_u16())),
            Err(error) => Some(error.to_string()),
        };
        let mut last = self.relay_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &failed
            && last.is_none()
        {
            tracing::warn!(why, "the relay does not say what it knows of a transaction");
        }
        *last = failed.is_some().then(clock::now);
        drop(last);
        answer.ok().filter(|answer| answer.status == StatusCode::OK)?.json().ok()
    }

    fn relay_is_well(&self) -> bool {
        let failed = self.relay_failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_none_or(|failed| clock::now() > failed + RELAY_REST)
    }
}

/// The two accounts in a transaction's result.
fn original_of(result: Object<'_>) -> Option<Original> {
    let source = result.text_at("/source/accountId").filter(|id| is_account_id(id))?.into_owned();
    let destination = result.text_at("/destination/accountId").filter(|id| is_account_id(id))?.into_owned();
    // Only USER sides show balances.
    let is_user = result.text_at("/destination/balanceAfter").is_some();
    Some(Original { source, destination, destination_limited: is_user.then_some(true) })
}

/// Whether an account has any balance rule.
fn is_limited(account: &[u8]) -> bool {
    let Some(account) = Object::parse(account) else { return true };
    let has = |pointer: &str| matches!(account.find(pointer), Found::At(_)) && !account.is_null(pointer);
    account.text_at("/accountType").is_none_or(|kind| kind == "USER") || has("/minBalance") || has("/maxBalance")
}

/// The last so many entries that were put or asked for, about.
#[derive(Debug)]
struct Remembered<V> {
    shards: Vec<Mutex<Generations<V>>>,
    per_generation: usize,
}

/// What was used lately, and what was used before that: when the first is full, the second is forgotten.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<String, V>,
    old: HashMap<String, V>,
}

impl<V: Clone> Remembered<V> {
    fn new(capacity: usize) -> Self {
        let shard = || Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), per_generation: (capacity / SHARDS / 2).max(1) }
    }

    fn get(&self, id: &str) -> Option<V> {
        let mut shard = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = shard.young.get(id) {
            return Some(value.clone());
        }
        let (id, value) = shard.old.remove_entry(id)?;
        self.insert(&mut shard, id, value.clone());
        Some(value)
    }

    fn put(&self, id: String, value: V) {
        let mut shard = self.shard(&id).lock().unwrap_or_else(PoisonError::into_inner);
        self.insert(&mut shard, id, value);
    }

    fn insert(&self, shard: &mut Generations<V>, id: String, value: V) {
        if shard.young.len() >= self.per_generation {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(id, value);
    }

    fn shard(&self, id: &str) -> &Mutex<Generations<V>> {
        let hash = xxhash_rust::xxh3::xxh3_64(id.as_bytes());
        &self.shards[(hash % SHARDS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_of_a_result_are_read() {
        let user = br#"{"transactionId":"t","source":{"accountId":"bank","movement":"-1"},
            "destination":{"accountId":"alice","balanceAfter":"1","movement":"1"}}"#;
        let original = original_of(Object::parse(user).unwrap()).unwrap();
        assert_eq!((original.source.as_str(), original.destination.as_str()), ("bank", "alice"));
        assert_eq!(original.destination_limited, Some(true));
        let bank = br#"{"source":{"accountId":"alice"},"destination":{"accountId":"bank"}}"#;
        assert_eq!(original_of(Object::parse(bank).unwrap()).unwrap().destination_limited, None);
        let wrong = br#"{"source":{"accountId":"a b"},"destination":{"accountId":"bank"}}"#;
        assert_eq!(original_of(Object::parse(wrong).unwrap()), None);
    }

    #[test]
    fn limits_are_read_from_an_account() {
        for (account, limited) in [
            (r#"{"accountType":"USER"}"#, true),
            (r#"{"accountType":"EXTERNAL"}"#, false),
            (r#"{"accountType":"SYSTEM","minBalance":null}"#, false),
            (r#"{"accountType":"SYSTEM","minBalance":"0"}"#, true),
            (r#"{"accountType":"EXTERNAL","maxBalance":"10"}"#, true),
            ("{}", true),
            ("no json", true),
        ] {
            assert_eq!(is_limited(account.as_bytes()), limited, "{account}");
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let remembered = Remembered::new(SHARDS * 20);
        remembered.put("used".into(), 0);
        for number in 1..10_000 {
            remembered.put(number.to_string(), number);
            assert_eq!(remembered.get("used"), Some(0));
        }
        let kept = (1..10_000).filter(|number| remembered.get(&number.to_string()).is_some()).count();
        assert!(kept <= SHARDS * 20, "{kept}");
    }
}
