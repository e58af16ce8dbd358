//! What each record of `cutover.exchanges` and `cutover.shadows` changes.

use super::account::Kind;
use super::exchange::{Exchange, Result, ShadowResult};
use super::fronts::Mark;
use super::{Index, rollout};
use crate::judge::normalize::{self, Answer, Leg};
use crate::judge::overlap::CLOCK_ERROR_MICROS;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use wire::control::FrontOverride;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, GapReason, Head, Intent};
use wire::ids::ExchangeNumber;
use wire::numbers::Follows;
use wire::rollout::FrontBoot;
use wire::scalar::Timestamp;
use wire::shadow::{LegResult, ShadowBody};
use wire::stored;
use wire::words::{Class, Mode, Single, Stage, System};

/// A forced leg names the refusal it would have been.
const WOULD_REFUSE: &str = "x-crossfade-would-refuse";

/// Tells a key apart in 64 bits; in memory only, so its bits may change with the program.
pub(super) fn fingerprint(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// Front, boot and number of a record whose rest cannot be read; `None` when not even they can, or when a newer
/// program wrote it.
fn place(bytes: &[u8]) -> Option<(String, u64, u64)> {
    let Head { front, boot, sequence } = Head::of(bytes).ok()?;
    wire::ids::is_front_name(front).then(|| (front.to_owned(), boot, sequence))
}

impl Index {
    /// Folds a record of `cutover.exchanges`.
    pub(super) fn exchange_record(&mut self, offset: u64, bytes: &[u8]) {
        match stored::decode::<ExchangeRecord>(bytes) {
            Ok(record) => self.front_record(offset, record),
            Err(error) => self.unreadable(offset, bytes, &error.to_string()),
        }
    }

    fn front_record(&mut self, offset: u64, record: ExchangeRecord) {
        let is_news = self.follows(&record.front, record.boot, record.sequence, record.at);
        if !is_news && !self.is_waited_for(&record) {
            return;
        }
        match record.body {
            ExchangeBody::Intent(intent) => {
                let number = ExchangeNumber { front: record.front, boot: record.boot, sequence: record.sequence };
                self.intent(offset, number, record.at, intent);
            }
            ExchangeBody::Result(result) => {
                let boot = self.fronts.boot(&record.front, record.boot);
                // Without its intent, which fell into a hole, nothing can be said of it but that it is in the hole.
                if let Some(id) = boot.and_then(|boot| boot.pending.remove(&result.intent)) {
                    self.result(id, offset, record.at, result);
                }
            }
            ExchangeBody::Gap { exchanges, reason } => {
                let why = match reason {
                    GapReason::Slow => "the journal was too slow",
                    GapReason::Full => "the journal was full",
                    GapReason::Failed => "the journal could not be written",
                };
                let id = format!("gap:{}.{}.{}", record.front, record.boot, record.sequence);
                self.gap(id, exchanges, format!("{exchanges} exchanges went on without a record: {why}"));
            }
            ExchangeBody::Mark { id } => {
                self.fronts.mark(&id, &record.front, Mark { offset, log: self.now });
            }
            ExchangeBody::Override { on, reason, since } => {
                let front = FrontBoot { front: record.front, boot: record.boot };
                if self.fronts.overruled(&front, on, FrontOverride { reason: reason.clone(), since }) {
                    self.overrides.push(rollout::overruled(offset, Timestamp(self.now), &front, on, reason, since));
                }
            }
            ExchangeBody::Ended { clean } => {
                if !clean {
                    let id = format!("gap:{}.{}.{}", record.front, record.boot, record.sequence);
                    self.gap(id, 1, format!("boot {} of {} did not end in order", record.boot, record.front));
                }
                self.end_boot(&record.front, record.boot);
            }
        }
    }

    /// Whether it is a result that came before its intent, which was missing then.
    fn is_waited_for(&mut self, record: &ExchangeRecord) -> bool {
        let ExchangeBody::Result(result) = &record.body else { return false };
        self.fronts.boot(&record.front, record.boot).is_some_and(|boot| boot.pending.contains_key(&result.intent))
    }

    /// Takes the number of a record, and counts what is missing before it; `false` when it is a repeat.
    fn follows(&mut self, front: &str, boot: u64, sequence: u64, at: Timestamp) -> bool {
        match self.fronts.take(front, boot, sequence, at, self.from_start) {
            Follows::Repeat => return false,
            // A hole that is filled stays a gap until somebody has settled it.
            Follows::Next | Follows::Filled => {}
            Follows::After(hole) => {
                let id = format!("gap:{front}.{boot}.{}", sequence - hole);
                self.gap(id, hole, format!("{hole} records of boot {boot} of {front} are missing"));
            }
        }
        for (earlier, last) in self.fronts.left_behind(front, boot) {
            let id = format!("gap:{front}.{earlier}.{}", last + 1);
            self.gap(id, 1, format!("boot {earlier} of {front} never ended"));
            self.end_boot(front, earlier);
        }
        true
    }

    fn gap(&mut self, id: String, exchanges: u64, what: String) {
        self.tally.missed(exchanges, self.rollout.version, self.now);
        self.fronts.gap(id, exchanges, what, Timestamp(self.now));
    }

    /// A record that cannot be read: a verdict of its own, and a gap until somebody has settled it.
    fn unreadable(&mut self, offset: u64, bytes: &[u8], why: &str) {
        let id = match place(bytes) {
            Some((front, boot, sequence)) => {
                if !self.follows(&front, boot, sequence, Timestamp::default()) {
                    return;
                }
                format!("gap:{front}.{boot}.{sequence}")
            }
            None => format!("gap:unreadable.{offset}"),
        };
        self.tally.unreadable(self.rollout.default_authority());
        self.gap(id, 1, format!("the record at offset {offset} of cutover.exchanges cannot be read: {why}"));
    }

    /// Nothing of this boot follows: what has no result now is unknown.
    fn end_boot(&mut self, front: &str, boot: u64) {
        let Some(boot) = self.fronts.boot(front, boot) else { return };
        boot.ended = true;
        let pending = std::mem::take(&mut boot.pending);
        for id in pending.into_values() {
            self.update(id, |exchange| exchange.abandoned = true);
        }
    }

    fn intent(&mut self, offset: u64, number: ExchangeNumber, at: Timestamp, mut intent: Intent) {
        intent.overtaken |= self.is_of_the_past(&intent, at);
        let route = self.route(&intent.route);
        let front = self.fronts.number(&number.front);
        if let Some(boot) = self.fronts.boot(&number.front, number.boot) {
            boot.pending.insert(number.sequence, offset);
            boot.version = Some(intent.version);
        }
        let mut exchange = Exchange::new(number.clone(), front, route, &intent, at, self.now);
        if let (Some(key), Some(account)) = (&intent.key, &intent.account) {
            exchange.scope = Some(fingerprint(&[&intent.tenant, account, key]));
        }
        exchange.original = exchange.refers_to.as_ref().and_then(|id| self.transactions.get(id)).copied();
        if let Some(original) = exchange.original.and_then(|original| self.exchanges.get(&original)) {
            let more = original.accounts.iter().filter(|account| !exchange.accounts.contains(account));
            let more: Vec<String> = more.cloned().collect();
            exchange.accounts.extend(more);
        }
        self.counters.exchanges += 1;
        self.counters.cross_cohort += u64::from(intent.cross_cohort);
        self.counters.overtaken += u64::from(intent.overtaken);
        self.numbers.insert(number, offset);
        self.unconcluded.insert(offset);
        let accounts = exchange.accounts.clone();
        self.tally.count(&exchange, true);
        self.exchanges.insert(offset, exchange);
        self.begin(offset, &accounts);
    }

    /// Whether a front sent it by an older version to the legacy, although its account had gone to the engine: it had not
    /// heard of the move, and does not know itself that the account was overtaken. (What has gone to the legacy is overtaken
    /// at whoever has heard, until such a front has.)
    fn is_of_the_past(&self, intent: &Intent, at: Timestamp) -> bool {
        let late = |since| at.since_micros(since) > CLOCK_ERROR_MICROS;
        self.committed.is_some_and(late)
            && intent.version < self.rollout.version
            && intent.authority == System::Legacy
            && intent.account.as_ref().is_some_and(|account| self.rollout.authority(account) == System::Engine)
    }

    /// An exchange runs on accounts, and its key is known on them.
    fn begin(&mut self, id: u64, accounts: &[String]) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        for name in accounts {
            if let Some(key) = &exchange.key {
                self.known.insert(fingerprint(&[key, name]));
            }
            let account = self.accounts.entry(name.clone()).or_default();
            account.open[exchange.authority as usize].insert(id);
            if exchange.changes_account() {
                account.changing.insert(id);
            }
            if exchange.shadow.sent.is_some() {
                account.sent.insert(id);
            }
        }
    }

    fn route(&mut self, name: &str) -> Arc<str> {
        if let Some(route) = self.routes.get(name) {
            return route.clone();
        }
        let route: Arc<str> = Arc::from(name);
        self.routes.insert(route.clone());
        route
    }

    fn result(&mut self, id: u64, offset: u64, at: Timestamp, result: AuthorityResult) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        exchange.recorded = Some(offset);
        if exchange.concluded {
            // The relay had found out what became of it, and the leg went by that.
            return;
        }
        let leg = normalize::read(exchange.operation, result.class, result.status, &result.body.0, result.replayed);
        self.authority_did(
            id,
            Result {
                class: result.class,
                status: result.status,
                body: result.body,
                duration_micros: result.duration_micros,
                replayed: result.replayed,
                resolved: false,
                log: self.now,
                at,
                leg: Some(leg),
            },
        );
    }

    pub(super) fn authority_did(&mut self, id: u64, result: Result) {
        let named = match &result.leg {
            Some(Ok(leg)) => {
                self.remember_transaction(id, leg);
                let deciding = self.exchanges.get(&id).and_then(|exchange| exchange.account.clone());
                self.learn(leg, deciding.as_deref())
            }
            _ => Vec::new(),
        };
        self.no_longer_undelivered(id);
        if result.class != Class::Unknown {
            let captured = self.exchanges.get(&id).is_some_and(|exchange| exchange.stage == Stage::Capture);
            self.undelivered[usize::from(captured)].insert((result.log, id));
        }
        self.count_for_the_step(id, &result);
        let mut more = Vec::new();
        self.update(id, |exchange| {
            exchange.result = Some(result);
            more = named.into_iter().filter(|name| !exchange.accounts.contains(name)).collect();
            exchange.accounts.extend(more.iter().cloned());
        });
        self.begin(id, &more);
    }

    /// An exchange has no leg to wait for, or its result is another one.
    pub(super) fn no_longer_undelivered(&mut self, id: u64) {
        if let Some(result) = self.exchanges.get(&id).and_then(|exchange| exchange.result.as_ref()) {
            for undelivered in &mut self.undelivered {
                undelivered.remove(&(result.log, id));
            }
        }
    }

    /// Learns the types of accounts from an applied answer; gives the accounts that it names. A deciding account has
    /// an order even where no level of it is shown.
    fn learn(&mut self, leg: &Leg, deciding: Option<&str>) -> Vec<String> {
        let mut named = Vec::new();
        match &leg.answer {
            None => {}
            Some(Answer::Account(shown)) => {
                let kind = match (shown.kind.as_str(), shown.limits) {
                    ("USER", _) => Kind::User,
                    (_, [None, None]) => Kind::Shared,
                    _ => Kind::Limited,
                };
                let account = self.accounts.entry(shown.id.clone()).or_default();
                (account.kind, account.limits) = (Some(kind), Some(shown.limits));
                named.push(shown.id.clone());
            }
            Some(Answer::Transaction(transaction)) => {
                for side in &transaction.sides {
                    let account = self.accounts.entry(side.account.clone()).or_default();
                    if side.before.is_some() {
                        account.kind.get_or_insert(Kind::User);
                    } else if deciding != Some(&side.account) {
                        account.kind.get_or_insert(Kind::Shared);
                    }
                    named.push(side.account.clone());
                }
            }
        }
        named.retain(|name| !name.is_empty());
        named
    }

    /// Folds an accepted record of `cutover.shadows`.
    pub(super) fn shadow_record(&mut self, at: Timestamp, body: ShadowBody) {
        match body {
            ShadowBody::Sending { exchange, mode, attempt, .. } => self.sending(&exchange, mode, attempt),
            ShadowBody::Result(result) => self.leg_result(result),
            ShadowBody::Skipped { exchange, reason } => self.skipped(&exchange, reason),
            ShadowBody::Asking { exchange } => self.asking(&exchange),
            ShadowBody::Resolved(resolution) => self.resolved(at, resolution),
            ShadowBody::Cursor { offset } => self.passed(offset),
        }
    }

    /// The relay asks what became of an exchange. Its unknown result has said so already, unless the record of that is lost.
    fn asking(&mut self, number: &ExchangeNumber) {
        if let Some(id) = self.running(number) {
            self.update(id, |exchange| exchange.abandoned = true);
        }
    }

    fn sending(&mut self, number: &ExchangeNumber, mode: Mode, attempt: u32) {
        let now = self.now;
        let Some(id) = self.running(number) else { return };
        let mut accounts = Vec::new();
        self.update(id, |exchange| {
            exchange.shadow.sent.get_or_insert(now);
            exchange.shadow.mode = Some(mode);
            exchange.shadow.attempts = exchange.shadow.attempts.max(attempt);
            exchange.missing = false;
            accounts.clone_from(&exchange.accounts);
        });
        for account in accounts {
            self.accounts.entry(account).or_default().sent.insert(id);
        }
    }

    fn leg_result(&mut self, result: LegResult) {
        // A leg that brought a result was sent, also when the record of that is missing.
        self.sending(&result.exchange, result.mode, result.attempt);
        let now = self.now;
        let Some(id) = self.running(&result.exchange) else { return };
        let would_refuse = result.headers.iter().find(|(name, _)| name == WOULD_REFUSE).map(|(_, code)| code.clone());
        let last = result.last && result.class != Class::Unknown;
        self.update(id, |exchange| {
            let shadow = &mut exchange.shadow;
            let refused = (result.class == Class::Refused && !result.last)
                .then(|| normalize::refusal_code(&result.body.0).unwrap_or_default());
            for code in refused.into_iter().chain(would_refuse) {
                if !shadow.state_refusals.contains(&code) {
                    shadow.state_refusals.push(code);
                }
            }
            shadow.unknown = result.class == Class::Unknown;
            shadow.was_unknown |= shadow.unknown;
            shadow.last = last.then_some(now);
            shadow.result = Some(ShadowResult {
                class: result.class,
                status: result.status,
                body: result.body,
                duration_micros: result.duration_micros,
                replayed: result.replayed,
            });
        });
        if last {
            self.conclude(id);
        }
    }

    fn skipped(&mut self, number: &ExchangeNumber, reason: Single) {
        let Some(id) = self.running(number) else { return };
        self.update(id, |exchange| exchange.skipped = Some(reason));
        self.conclude(id);
    }

    /// Every exchange whose records all lie before this offset is concluded; where there is no record of that, the
    /// record is missing.
    fn passed(&mut self, offset: u64) {
        let passed = |exchange: &Exchange| exchange.recorded.is_some_and(|recorded| recorded < offset);
        let passed = |id: &&u64| self.exchanges.get(id).is_some_and(passed);
        let missing: Vec<u64> = self.unconcluded.range(..offset).filter(passed).copied().collect();
        for id in missing {
            self.update(id, |exchange| exchange.missing = true);
        }
    }

    /// Whether an exchange is known with its authority's result: then the relay may have acted on it.
    pub(super) fn has_result(&self, number: &ExchangeNumber) -> bool {
        let exchange = self.numbers.get(number).and_then(|id| self.exchanges.get(id));
        exchange.is_some_and(|exchange| exchange.result.is_some())
    }

    /// An exchange that the relay still works on.
    fn running(&self, number: &ExchangeNumber) -> Option<u64> {
        let id = self.numbers.get(number).copied()?;
        self.exchanges.get(&id).filter(|exchange| !exchange.concluded).map(|_| id)
    }

    /// Changes an exchange and what is counted of it.
    pub(super) fn update(&mut self, id: u64, change: impl FnOnce(&mut Exchange)) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        change(exchange);
        if !exchange.judged {
            let verdict = exchange.provisional();
            if verdict != exchange.verdict {
                self.tally.count(exchange, false);
                exchange.verdict = verdict;
                self.tally.count(exchange, true);
            }
        }
        let authority = exchange.authority_unknown();
        let shadow = !authority && !exchange.concluded && exchange.shadow.unknown;
        for (set, holds) in self.unknown.iter_mut().zip([authority, shadow]) {
            if holds {
                set.insert(id);
            } else {
                set.remove(&id);
            }
        }
    }
}
