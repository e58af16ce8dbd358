//! Exchanges of which nobody knows what a system did, and what a person says of them.

use super::Index;
use super::exchange::{Exchange, Result, ShadowResult};
use crate::judge::normalize;
use wire::control::{Settlement, UnknownEffect};
use wire::ids::ExchangeNumber;
use wire::scalar::Timestamp;
use wire::shadow::Resolution;
use wire::words::{Class, System};

impl Index {
    /// Exchanges with an unknown effect, oldest first.
    pub fn unknowns(&self) -> Vec<UnknownEffect> {
        let mut ids: Vec<u64> = self.unknown.iter().flatten().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.unknown_view(id)).collect()
    }

    /// The unknown effect of an exchange, if it has one.
    pub fn unknown_effect(&self, number: &ExchangeNumber) -> Option<UnknownEffect> {
        let id = self.numbers.get(number)?;
        self.unknown.iter().any(|set| set.contains(id)).then(|| self.unknown_view(*id))?
    }

    fn unknown_view(&self, id: u64) -> Option<UnknownEffect> {
        let exchange = self.exchanges.get(&id)?;
        let is_authority = self.unknown[0].contains(&id);
        let system = if is_authority { exchange.authority } else { exchange.authority.other() };
        Some(UnknownEffect {
            id: exchange.number.to_string(),
            system,
            is_authority,
            route: exchange.route.to_string(),
            account: exchange.account.clone(),
            key: exchange.key.clone(),
            at: exchange.intent_at,
            told: self.told.get(&(id, system)).cloned(),
        })
    }

    /// A person says what a system did; it counts once the relay has taken it up.
    pub(super) fn told(&mut self, number: &ExchangeNumber, system: System, by: Settlement) {
        let discrepancy = number.to_string();
        self.settlements.push(super::Settled { discrepancy, settled: true, by: by.clone() });
        if let Some(id) = self.numbers.get(number) {
            self.told.insert((*id, system), by);
        }
    }

    /// What an exchange of unknown result turned out to have done, at its authority or at its shadow.
    pub(super) fn resolved(&mut self, at: Timestamp, resolution: Resolution) {
        let Some(id) = self.numbers.get(&resolution.exchange).copied() else { return };
        let Some(exchange) = self.exchanges.get(&id) else { return };
        self.told.remove(&(id, resolution.system));
        if resolution.system != exchange.authority {
            self.shadow_resolved(id, resolution);
        } else if exchange.authority_unknown() {
            let result = authority_result(exchange, at, self.now, resolution);
            self.authority_did(id, result);
        }
    }

    /// The shadow did it, or not, by a person's word.
    fn shadow_resolved(&mut self, id: u64, resolution: Resolution) {
        let now = self.now;
        if self.exchanges.get(&id).is_none_or(|exchange| exchange.concluded) {
            return;
        }
        self.update(id, |exchange| {
            let shadow = &mut exchange.shadow;
            shadow.unknown = resolution.class == Class::Unknown;
            shadow.was_unknown = true;
            shadow.last = Some(now);
            let duration_micros = shadow.result.as_ref().map_or(0, |result| result.duration_micros);
            let (class, status, body) = (resolution.class, resolution.status, resolution.body);
            shadow.result = Some(ShadowResult { class, status, body, duration_micros, replayed: false });
        });
        self.conclude(id);
    }
}

fn authority_result(exchange: &Exchange, at: Timestamp, log: i64, resolution: Resolution) -> Result {
    let Resolution { class, status, body, .. } = resolution;
    let leg = normalize::read(exchange.operation, class, status, &body.0, false);
    let duration_micros = exchange.result.as_ref().map_or(0, |result| result.duration_micros);
    Result { class, status, body, duration_micros, replayed: false, resolved: true, log, at, leg: Some(leg) }
}
