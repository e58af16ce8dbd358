//! What the log itself says of how exchanges ran, without the comparator's index: what is called a matter of order has to be
//! one, and no system may decide on an account before the other's decisions have been applied to it.
//!
//! A verdict `order` is explained when the shadow leg was offered again and fitted then, or when another exchange that moved
//! one of its accounts, or used its key, ran beside it in either system, or before it in one and behind it in the other (DESIGN 5, FORMATS
//! "Order, overlap, lanes"). So is every leg that was booked `forced`.

use crate::checks::LEDGER;
use crate::system::System as Parts;
use anyhow::{Context, bail, ensure};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use wire::control::ExchangeView;
use wire::exchange::{ExchangeBody, ExchangeRecord};
use wire::ids::ExchangeNumber;
use wire::rollout::Rollout;
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::stored::decode;
use wire::words::{Class, Mode, System, VerdictKind};

/// An exchange as the log has it.
#[derive(Debug)]
struct Traced {
    /// The account that it was decided on, and by whom.
    decided_on: Option<(String, System)>,
    /// The rollout's version that it went by.
    version: u64,
    /// Whether it was sent although a handover was not finished, as its front knew.
    overtaken: bool,
    /// When the front began it and had its result, by its clock; in microseconds since 1970, as all times here.
    begun: i64,
    ended: i64,
    /// Whether its authority applied it.
    has_effect: bool,
    /// Whether that was found out, or repeated, later: another exchange of its key may be the one that was decided.
    is_decided_earlier: bool,
    /// The tenant and the key.
    key: (String, Option<String>),
    /// When the log took the first announcement of its shadow leg, and the last result.
    sent: Option<i64>,
    last: Option<i64>,
    /// The limited accounts that it names.
    accounts: Vec<String>,
    /// When the log took the last record of it.
    until: i64,
    /// Whether an offer to the shadow was refused.
    was_refused: bool,
    /// How its shadow leg was applied in the end.
    applied: Option<Mode>,
}

impl Traced {
    /// When it ran in a system, if it did; as long as the last of it is not known, until the end of time.
    fn ran_at(&self, system: System) -> Option<(i64, i64)> {
        let (_, authority) = self.decided_on.as_ref()?;
        if *authority == system {
            Some((self.begun, self.ended))
        } else {
            Some((self.sent?, self.last.unwrap_or(i64::MAX)))
        }
    }

    /// Whether it went to the legacy by an older version, although its account had gone to the engine: its front had not heard
    /// of the move, which was made without it, and could not know that it was overtaken.
    fn is_of_the_past(&self, rollouts: &[(i64, Rollout)]) -> bool {
        let in_force = &rollouts[..rollouts.partition_point(|(since, _)| *since <= self.begun)];
        let (Some((account, System::Legacy)), Some((_, rollout))) = (&self.decided_on, in_force.last()) else {
            return false;
        };
        self.version < rollout.version && rollout.authority(account) == System::Engine
    }

    /// Whether one was still seen when the other began, or shortly before.
    fn is_near(&self, other: &Self) -> bool {
        const NEAR_MICROS: i64 = 5_000_000;
        self.begun <= other.until + NEAR_MICROS && other.begun <= self.until + NEAR_MICROS
    }

    /// Whether the two ran beside each other in either system, or in another order in the one than in the other.
    fn is_beside(&self, other: &Self) -> bool {
        let order = |system| {
            let (one, another) = (self.ran_at(system)?, other.ran_at(system)?);
            Some(if one.1 < another.0 {
                Ordering::Less
            } else if another.1 < one.0 {
                Ordering::Greater
            } else {
                Ordering::Equal
            })
        };
        match [System::Legacy, System::Engine].map(order) {
            [Some(legacy), Some(engine)] => legacy == Ordering::Equal || legacy != engine || engine == Ordering::Equal,
            [one, other] => one.or(other) == Some(Ordering::Equal),
        }
    }
}

/// How many verdicts `order` and how many forced legs there were, each of them explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// Verdicts `order`.
    pub orders: usize,
    /// Of them: legs that fitted when they were offered again.
    pub offered_again: usize,
    /// Legs booked whatever the limits said.
    pub forced: usize,
}

/// Every verdict `order` and every forced leg has its reason in the log.
///
/// # Errors
/// The first that has none.
pub async fn orders_are_explained(system: &Parts) -> anyhow::Result<Explained> {
    let mut traced = traced(system).await?;
    have_one_decision_per_key(&mut traced);
    let mut by_account: BTreeMap<&str, Vec<&ExchangeNumber>> = BTreeMap::new();
    for (number, exchange) in &traced {
        exchange.accounts.iter().for_each(|account| by_account.entry(account).or_default().push(number));
    }
    let beside_another = |number: &ExchangeNumber, exchange: &Traced| {
        let mut others = exchange.accounts.iter().flat_map(|account| &by_account[&**account]);
        others.any(|number_of_other| {
            let other = &traced[*number_of_other];
            // One that was refused has used the key all the same.
            let matters = other.has_effect || other.key == exchange.key;
            *number_of_other != number && matters && other.is_beside(exchange)
        })
    };
    let mut explained = Explained { orders: 0, offered_again: 0, forced: 0 };
    let mut exchanges = system.exchanges().await?;
    exchanges.retain(|exchange| exchange.verdict.verdict == VerdictKind::Order);
    let ordered: BTreeSet<String> = exchanges.into_iter().map(|exchange| exchange.id).collect();
    for (number, exchange) in &traced {
        let (is_order, forced) = (ordered.contains(&number.to_string()), exchange.applied == Some(Mode::Forced));
        explained.orders += usize::from(is_order);
        explained.forced += usize::from(forced);
        if is_order && exchange.was_refused && exchange.applied == Some(Mode::Shadow) {
            explained.offered_again += 1;
        } else if (is_order || forced) && !beside_another(number, exchange) {
            let shown: ExchangeView = system.control(&format!("/api/exchanges/{number}")).await?;
            let others = exchange.accounts.iter().flat_map(|account| &by_account[&**account]);
            let near = others.map(|number| (number, &traced[*number])).filter(|(_, other)| other.is_near(exchange));
            let near: Vec<_> = near.collect();
            bail!(
                "{number} is a matter of order, but nothing ran beside: {exchange:#?}, {shown:#?}, near it: {near:#?}"
            );
        }
    }
    ensure!(explained.orders == ordered.len(), "{} verdicts `order`, but {explained:?} in the log", ordered.len());
    Ok(explained)
}

/// No system has decided on an account while something that the other one had decided on it was not applied, but for exchanges
/// marked as overtaken (law 9). Clocks have to agree: all parts on one machine. Says how often an account had changed sides.
///
/// # Errors
/// The first that came too early.
pub async fn nobody_decides_too_early(system: &Parts) -> anyhow::Result<usize> {
    let traced = traced(system).await?;
    let mut by_account: BTreeMap<&str, Vec<(&ExchangeNumber, &Traced, System)>> = BTreeMap::new();
    for (number, exchange) in &traced {
        if let Some((account, authority)) = &exchange.decided_on {
            by_account.entry(account).or_default().push((number, exchange, *authority));
        }
    }
    let mut sides_changed = 0;
    for decided in by_account.values_mut() {
        decided.sort_by_key(|(_, exchange, _)| exchange.begun);
        // The one of each system that was applied last, among those begun so far.
        let mut last: [Option<(&ExchangeNumber, i64)>; 2] = [None; 2];
        let mut before = None;
        for (number, exchange, authority) in decided.iter() {
            sides_changed += usize::from(before.replace(*authority).is_some_and(|before| before != *authority));
            if let Some((other, until)) = last[authority.other() as usize]
                && !exchange.overtaken
            {
                ensure!(
                    until <= exchange.begun,
                    "{number} was decided by the {authority} before {other} was applied there"
                );
            }
            let own = &mut last[*authority as usize];
            if own.is_none_or(|(_, until)| until < exchange.until) {
                *own = Some((number, exchange.until));
            }
        }
    }
    Ok(sides_changed)
}

/// Every open discrepancy began at an exchange that ran beside, or after, an overtaken one of the same account. Says how many
/// there are.
///
/// # Errors
/// The first that has another reason.
pub async fn only_overtaken_ones_left_discrepancies(system: &Parts) -> anyhow::Result<usize> {
    let (traced, rollouts) = (traced(system).await?, rollouts(system).await?);
    // When the first of an account was overtaken.
    let mut overtaken: BTreeMap<&str, i64> = BTreeMap::new();
    for exchange in traced.values().filter(|exchange| exchange.overtaken || exchange.is_of_the_past(&rollouts)) {
        for account in &exchange.accounts {
            let first = overtaken.entry(account).or_insert(i64::MAX);
            *first = exchange.begun.min(*first);
        }
    }
    let open = system.discrepancies().await?;
    for discrepancy in &open {
        let root = traced.iter().find(|(number, _)| number.to_string() == discrepancy.id);
        let (_, root) = root.with_context(|| format!("no exchange is the root of {discrepancy:?}"))?;
        let overtaken = |account: &String| overtaken.get(&**account).is_some_and(|first| *first <= root.until);
        ensure!(
            root.accounts.iter().any(overtaken),
            "nothing was overtaken where this began: {discrepancy:?}, {root:?}"
        );
    }
    Ok(open.len())
}

fn is_decided_by(exchange: &Traced, system: System) -> bool {
    exchange.decided_on.as_ref().is_some_and(|(_, authority)| *authority == system)
}

/// The rollout as it was, and since when by the log.
async fn rollouts(system: &Parts) -> anyhow::Result<Vec<(i64, Rollout)>> {
    let mut rollout = Rollout::genesis(LEDGER);
    let mut rollouts = Vec::new();
    for (at, bytes) in system.log(wire::rollout::TOPIC).await? {
        rollout.take(&bytes)?;
        rollouts.push((at.0, rollout.clone()));
    }
    Ok(rollouts)
}

async fn traced(system: &Parts) -> anyhow::Result<BTreeMap<ExchangeNumber, Traced>> {
    let mut traced = BTreeMap::new();
    for (at, bytes) in system.log(wire::exchange::TOPIC).await? {
        let record: ExchangeRecord = decode(&bytes)?;
        let Some(number) = record.exchange() else { continue };
        if let ExchangeBody::Intent(intent) = &record.body {
            let mut accounts = intent.accounts.clone();
            accounts.retain(|account| !account.starts_with("w-external-"));
            let exchange = Traced {
                decided_on: intent.account.clone().map(|account| (account, intent.authority)),
                version: intent.version,
                overtaken: intent.overtaken,
                accounts,
                begun: record.at.0,
                ended: i64::MAX,
                has_effect: false,
                is_decided_earlier: false,
                key: (intent.tenant.clone(), intent.key.clone()),
                sent: None,
                last: None,
                until: at.0,
                was_refused: false,
                applied: None,
            };
            traced.insert(number, exchange);
        } else if let Some(exchange) = traced.get_mut(&number) {
            exchange.until = exchange.until.max(at.0);
            if let ExchangeBody::Result(result) = &record.body
                && result.class != Class::Unknown
            {
                (exchange.ended, exchange.has_effect) = (record.at.0, result.class == Class::Applied);
                exchange.is_decided_earlier = result.replayed;
            }
        }
    }
    for (at, bytes) in system.log(wire::shadow::TOPIC).await? {
        let record: ShadowRecord = decode(&bytes)?;
        let number = match &record.body {
            ShadowBody::Sending { exchange, .. }
            | ShadowBody::Skipped { exchange, .. }
            | ShadowBody::Asking { exchange } => exchange,
            ShadowBody::Result(result) => &result.exchange,
            ShadowBody::Resolved(resolution) => &resolution.exchange,
            ShadowBody::Cursor { .. } => continue,
        };
        let Some(exchange) = traced.get_mut(number) else { continue };
        exchange.until = exchange.until.max(at.0);
        match &record.body {
            ShadowBody::Sending { .. } => exchange.sent = exchange.sent.or(Some(at.0)),
            ShadowBody::Resolved(resolution) if is_decided_by(exchange, resolution.system) => {
                (exchange.ended, exchange.has_effect) = (at.0, resolution.class == Class::Applied);
                exchange.is_decided_earlier = true;
            }
            _ => {}
        }
        if let ShadowBody::Result(result) = &record.body {
            exchange.last = Some(at.0);
            match result.class {
                Class::Applied => exchange.applied = Some(result.mode),
                class => exchange.was_refused |= class == Class::Refused,
            }
        }
    }
    Ok(traced)
}

/// Of the exchanges of one key that a system decided alike, the others repeat one, and the leg may be another one's: those
/// were decided when that one was, the last before them; if nobody can tell which, from the first one's beginning to the last
/// one's end.
fn have_one_decision_per_key(traced: &mut BTreeMap<ExchangeNumber, Traced>) {
    let mut by_key: BTreeMap<_, Vec<&mut Traced>> = BTreeMap::new();
    for exchange in traced.values_mut().filter(|exchange| exchange.ended < i64::MAX && exchange.key.1.is_some()) {
        let decision = (exchange.key.clone(), exchange.decided_on.clone(), exchange.has_effect);
        by_key.entry(decision).or_default().push(exchange);
    }
    for alike in by_key.into_values() {
        let own = |one: &&&mut Traced| !one.is_decided_earlier;
        let decided: Vec<(i64, i64)> = alike.iter().filter(own).map(|one| (one.begun, one.ended)).collect();
        let [first, last] = [alike.iter().map(|one| one.begun).min(), alike.iter().map(|one| one.ended).max()];
        for exchange in alike.into_iter().filter(|one| one.is_decided_earlier) {
            let before = decided.iter().filter(|(begun, _)| *begun <= exchange.begun).max();
            if let Some((begun, ended)) = before.or(decided.first()).copied().or(first.zip(last)) {
                (exchange.begun, exchange.ended) = (begun, ended);
            }
        }
    }
}
