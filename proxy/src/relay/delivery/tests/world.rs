//! Two small billing systems with balances, keys and, for the engine, positions: enough to see whether legs in a
//! wrong order, twice, or not at all would have done harm.

use std::collections::BTreeMap;
use wire::words::{Mode, Operation, System};

/// Shards of the engine.
const SHARDS: u32 = 3;
/// The engine's ids of transactions begin so (UUID version 8, first byte 0xCF).
const ENGINE_PREFIX: &str = "cf000000-0000-8000-8000-";

/// A random number generator of 64 bits of state (SplitMix64): the same seed, the same world.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[usize::try_from(self.roll(list.len() as u64)).unwrap()]
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub key: String,
    pub operation: Operation,
    pub source: String,
    pub destination: String,
    pub amount: i64,
}

impl Request {
    /// The deciding account.
    pub fn decider(&self) -> &str {
        match self.operation {
            Operation::Topup | Operation::CreateAccount => &self.destination,
            _ => &self.source,
        }
    }

    /// All accounts, the deciding one first.
    pub fn accounts(&self) -> Vec<&str> {
        match self.operation {
            Operation::CreateAccount => vec![&self.destination],
            Operation::Topup => vec![&self.destination, &self.source],
            _ => vec![&self.source, &self.destination],
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub status: u16,
    pub body: String,
    pub replayed: bool,
}

/// One of the two systems.
#[derive(Debug, Clone)]
pub(crate) struct Bank {
    system: System,
    /// Balance and highest balance allowed; USERs begin with `u` and never go below zero.
    pub accounts: BTreeMap<String, (i64, i64)>,
    /// Key in its scope → the request and its answer.
    keys: BTreeMap<(String, String), (Request, Reply)>,
    offsets: BTreeMap<u32, u64>,
    versions: BTreeMap<String, u64>,
    transactions: u64,
    /// Requests with an effect, by key in its scope.
    pub applied: BTreeMap<(String, String), u32>,
}

impl Bank {
    pub fn new(system: System, accounts: &BTreeMap<String, (i64, i64)>) -> Self {
        let (keys, offsets, versions, applied) = Default::default();
        Self { system, accounts: accounts.clone(), keys, offsets, versions, transactions: 0, applied }
    }

    fn scope(request: &Request) -> (String, String) {
        (request.decider().to_owned(), request.key.clone())
    }

    /// What is known of a key.
    pub fn known(&self, request: &Request) -> Option<&Reply> {
        self.keys.get(&Self::scope(request)).map(|(_, reply)| reply)
    }

    /// Executes a request.
    pub fn execute(&mut self, request: &Request, mode: Mode) -> Reply {
        let scope = Self::scope(request);
        if let Some((first, reply)) = self.keys.get(&scope) {
            return match first == request {
                true => Reply { replayed: true, ..reply.clone() },
                false => refusal("DuplicateKey"),
            };
        }
        let refused = self.rule(request).map(refusal);
        let refused = refused.map(|reply| match mode {
            Mode::Shadow | Mode::Forced => reply,
            // A refusal that is kept is a transaction.
            _ => Reply {
                body: reply.body.replacen('{', &format!(r#"{{"result":{{"transactionId":"{}"}},"#, self.id()), 1),
                ..reply
            },
        });
        let reply = match (mode, refused) {
            // Not found cannot be forced, and a refusal of a shadow does not consume the key.
            (Mode::Shadow, Some(reply)) => return reply,
            (Mode::Forced, Some(reply)) if reply.status == 404 => return reply,
            (Mode::ShadowRefused, Some(reply)) => reply,
            // A dry decision moves nothing; the authority's refusal is kept.
            (Mode::ShadowRefused, None) => {
                self.keys.insert(scope, (request.clone(), refusal("InsufficientBalance")));
                return Reply { status: 200, body: "{}".to_owned(), replayed: false };
            }
            (Mode::Authority | Mode::Import, Some(reply)) => reply,
            (_, _) => self.apply(request),
        };
        self.keys.insert(scope, (request.clone(), reply.clone()));
        reply
    }

    /// The rule that refuses a request.
    fn rule(&self, request: &Request) -> Option<&'static str> {
        if request.operation == Operation::CreateAccount {
            return self.accounts.contains_key(&request.destination).then_some("AccountExists");
        }
        let (Some(source), Some(destination)) =
            (self.accounts.get(&request.source), self.accounts.get(&request.destination))
        else {
            return Some("AccountNotFound");
        };
        if request.source.starts_with('u') && source.0 < request.amount {
            return Some("InsufficientBalance");
        }
        (destination.0 + request.amount > destination.1).then_some("BalanceLimitExceeded")
    }

    fn apply(&mut self, request: &Request) -> Reply {
        *self.applied.entry(Self::scope(request)).or_default() += 1;
        if request.operation == Operation::CreateAccount {
            self.accounts.insert(request.destination.clone(), (0, i64::MAX));
            let version = self.version(&request.destination);
            let body = format!(r#"{{"accountId":"{}","accountType":"USER"{version}}}"#, request.destination);
            return Reply { status: 201, body, replayed: false };
        }
        for (account, movement) in [(&request.source, -request.amount), (&request.destination, request.amount)] {
            self.accounts.get_mut(account).expect("the rules were asked").0 += movement;
        }
        let id = self.id();
        let positions = self.positions(request);
        let [source, destination] = [&request.source, &request.destination].map(|account| {
            let version = if account.starts_with('u') { self.version(account) } else { String::new() };
            format!(r#"{{"accountId":"{account}"{version}}}"#)
        });
        let body = format!(
            r#"{{"transactionId":"{id}","status":"completed","source":{source},"destination":{destination}{positions}}}"#
        );
        Reply { status: 200, body, replayed: false }
    }

    fn id(&mut self) -> String {
        self.transactions += 1;
        match self.system {
            System::Legacy => format!("L-{}", self.transactions),
            System::Engine => format!("{ENGINE_PREFIX}{:012}", self.transactions),
        }
    }

    fn version(&mut self, account: &str) -> String {
        let version = self.versions.entry(account.to_owned()).or_default();
        *version += 1;
        format!(r#","version":{version}"#)
    }

    /// One position per shard touched, the deciding account's first.
    fn positions(&mut self, request: &Request) -> String {
        if self.system == System::Legacy {
            return String::new();
        }
        let mut shards: Vec<u32> = Vec::new();
        for account in request.accounts().iter().filter(|account| account.starts_with('u')) {
            let shard = account.bytes().map(u32::from).sum::<u32>() % SHARDS;
            if !shards.contains(&shard) {
                shards.push(shard);
            }
        }
        let texts: Vec<String> = shards
            .into_iter()
            .map(|shard| {
                let offset = self.offsets.entry(shard).or_default();
                *offset += 1;
                format!("\"{shard}:{offset}\"")
            })
            .collect();
        format!(r#","position":[{}]"#, texts.join(","))
    }
}

fn refusal(code: &str) -> Reply {
    let status = match code {
        "AccountNotFound" => 404,
        "AccountExists" => 409,
        _ => 422,
    };
    Reply { status, body: super::given::refused(code), replayed: false }
}
