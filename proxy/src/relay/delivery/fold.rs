//! What records do to the state. Called for old records at the start and for new ones ever after, alike.

use super::Delivery;
use super::accounts::facts_in;
use super::doubt::Doubt;
use super::exchanges::{Decided, Exchange, ExchangeId, Inquiry, Leg, Phase, StateRefusal, Step};
use super::handover::Handover;
use super::keys::{content_of, key_of};
use super::order::{Place, Position, Topic};
use super::reading::Reading;
use std::sync::Arc;
use wire::exchange::{AuthorityResult, ExchangeBody, ExchangeRecord, Intent};
use wire::ids::ExchangeNumber;
use wire::rollout::{Rollout, RolloutBody, RolloutRecord};
use wire::scalar::Timestamp;
use wire::shadow::{LegResult, Resolution, ShadowBody, ShadowRecord};
use wire::stored::DecodeError;
use wire::words::{Class, Mode, System};

impl Delivery {
    /// Folds a record of `cutover.exchanges` that the log took at `at`; `None` is one that is no exchange.
    pub fn take_exchange(&mut self, offset: u64, at: Timestamp, record: Option<ExchangeRecord>) {
        self.folded = offset + 1;
        if offset == 0 {
            self.fronts.begin_at_the_start();
        }
        // Another leader's clock may be behind; a topic's own order stands.
        let at = at.max(self.exchange_at);
        self.exchange_at = at;
        if let Some(record) = record {
            self.take_front_record(Position { at, topic: Topic::Exchanges, offset }, record);
        }
        self.fronts.folded(self.folded);
    }

    fn take_front_record(&mut self, position: Position, record: ExchangeRecord) {
        let earlier = self.fronts.boot(&record.front);
        if self.fronts.take(&record.front, record.boot, record.sequence) {
            if record.boot > earlier {
                // A boot that follows is the end of those before it, said or not.
                self.end_boots(&record.front, 0, record.boot - 1, position.at);
            }
            let number = record.exchange();
            match (record.body, number) {
                (ExchangeBody::Intent(intent), Some(number)) => self.begin(number, position, record.at, intent),
                (ExchangeBody::Result(result), Some(number)) => self.result(&number, position, result),
                (ExchangeBody::Ended { .. }, _) => {
                    self.end_boots(&record.front, record.boot, record.boot, position.at);
                    self.fronts.ended(&record.front);
                }
                _ => {}
            }
        } else if let (Some(number), ExchangeBody::Result(result)) = (record.exchange(), record.body) {
            // It came before its intent, which was missing then; of one that is decided it changes nothing.
            self.result(&number, position, result);
        }
    }

    fn begin(&mut self, number: ExchangeNumber, began: Position, written: Timestamp, intent: Intent) {
        let id = ExchangeId(began.offset);
        let mut accounts: Vec<Arc<str>> = Vec::with_capacity(intent.accounts.len() + 1);
        for name in intent.account.iter().chain(&intent.accounts) {
            let name = self.accounts.name(name);
            if !accounts.contains(&name) {
                accounts.push(name);
            }
        }
        let exchange = Exchange {
            number,
            began,
            written,
            account: intent.account.as_deref().map(|account| self.accounts.name(account)),
            accounts,
            key: key_of(&intent),
            content: content_of(&intent),
            named: None,
            decided: None,
            phase: Phase::Open,
            intent: Arc::new(intent),
        };
        self.undecided.begin(exchange.intent.authority, &exchange.accounts, began, written);
        if let Some(key) = exchange.key {
            self.keys.begin(key, id, exchange.content);
        }
        self.handovers.iter_mut().for_each(|handover| handover.began(id, &exchange));
        self.open.insert(id);
        self.exchanges.insert(id, exchange);
    }

    fn result(&mut self, number: &ExchangeNumber, position: Position, result: AuthorityResult) {
        let Some(id) = self.exchanges.find(number) else { return };
        let reading = Reading::of(&result.body.0);
        if result.class == Class::Unknown {
            if let Some(exchange) = self.exchanges.get_mut(id) {
                exchange.named = reading.transaction;
            }
            self.become_unknown(id, position.at);
            return;
        }
        let (class, status, body, replayed) = (result.class, result.status, result.body, result.replayed);
        self.decide(id, Decided { position, class, status, body, reading, replayed, resolved: false });
    }

    fn end_boots(&mut self, front: &str, first: u64, last: u64, at: Timestamp) {
        for id in self.exchanges.of_boots(front, first, last) {
            self.become_unknown(id, at);
        }
    }

    /// An exchange without result will not get one, or got one that says nothing: as of `at`, its front sends it no more.
    pub(super) fn become_unknown(&mut self, id: ExchangeId, at: Timestamp) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if !matches!(exchange.phase, Phase::Open) {
            return;
        }
        exchange.phase = Phase::Unknown(Inquiry { since: at, ..Inquiry::default() });
        let authority = exchange.intent.authority;
        self.undecided.unknown(authority, &exchange.accounts, exchange.began);
        self.unknown.of_mut(authority).insert(id);
        self.open.remove(&id);
        self.todo.insert(id);
    }

    /// It is known what the authority did.
    fn decide(&mut self, id: ExchangeId, decided: Decided) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if exchange.decided.is_some() {
            return;
        }
        let (authority, class) = (exchange.intent.authority, decided.class);
        let decided = Arc::new(decided);
        exchange.decided = Some(Arc::clone(&decided));
        let (began, waited_for, intent) = (exchange.began, exchange.accounts.clone(), Arc::clone(&exchange.intent));
        self.forget_undecided(id, authority, began, &waited_for);
        if class != Class::NotExecuted {
            self.learn_from(id, &decided);
        }
        for account in &waited_for {
            let heads = self.lanes.heads(authority.other(), account);
            self.release(heads);
        }
        if class == Class::Applied {
            self.accounts.created_by(&intent);
        }
        if (authority, class) == (System::Engine, Class::Applied) {
            self.offer_again(&waited_for);
        }
        self.rule(id);
    }

    fn forget_undecided(&mut self, id: ExchangeId, authority: System, began: Position, accounts: &[Arc<str>]) {
        self.undecided.end(authority, accounts, began);
        self.open.remove(&id);
        self.unknown.of_mut(authority).remove(&id);
        self.to_ask.remove(&id);
    }

    /// Takes from an answer what it says of accounts and ids.
    fn learn_from(&mut self, id: ExchangeId, decided: &Decided) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let reading = &decided.reading;
        let named = reading.account.as_ref().map(|(account, _)| account);
        for account in reading.source.iter().chain(&reading.destination).chain(named) {
            exchange.touches(self.accounts.name(account));
        }
        let intent = Arc::clone(&exchange.intent);
        if intent.authority == System::Engine {
            self.note_levels(reading);
        }
        if let (Some(id), Some(source), Some(destination)) =
            (decided.transaction_by(intent.authority), &reading.source, &reading.destination)
        {
            let (source, destination) = (self.accounts.name(source), self.accounts.name(destination));
            self.aliases.made(id, intent.operation, source, destination);
        }
        for (account, facts) in facts_in(&intent, reading) {
            let account = self.accounts.name(&account);
            if self.accounts.learn(&account, facts) {
                let released = self.lanes.learnt(&account, facts.limited);
                self.release(released);
            }
        }
    }

    /// Takes note of the levels that an answer of the engine shows.
    fn note_levels(&mut self, reading: &Reading) {
        for level in &reading.levels {
            self.levels.note(self.accounts.name(&level.account), level.version, level.after);
        }
    }

    pub(super) fn set_phase(&mut self, id: ExchangeId, phase: Phase) {
        if let Some(exchange) = self.exchanges.get_mut(id) {
            exchange.phase = phase;
        }
    }

    /// A leg begins to wait in its lanes.
    pub(super) fn plan_leg(&mut self, id: ExchangeId, mode: Mode) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        let Some(decided) = exchange.decided.clone() else { return };
        let target = exchange.shadow();
        let claims = exchange.claims(|original| self.aliases.at(super::aliases::maker(original).other(), original));
        let (place, moved) = match target {
            System::Engine => (Place::of(decided.position, id), Vec::new()),
            System::Legacy => {
                let firm = exchange.changes_account();
                let limited = |account: &&Arc<str>| firm || self.accounts.limited(account);
                let accounts: Vec<Arc<str>> = exchange.accounts.iter().filter(limited).cloned().collect();
                self.order.enter(id, decided.position, &accounts, exchange.marks())
            }
        };
        self.lanes.enter(target, place, &claims, |account| self.accounts.limited(account));
        for account in &exchange.accounts {
            self.accounts.want(account, Timestamp::default());
        }
        self.undelivered.of_mut(target).insert((decided.position.at, id));
        exchange.phase = Phase::Leg(Box::new(Leg {
            target,
            mode,
            attempt: 0,
            step: Step::Waiting,
            place,
            claims,
            complete: false,
            announced: Timestamp::default(),
            unanswered: false,
            doubt: None,
            refusal: None,
        }));
        self.todo.insert(id);
        self.note_complete(id);
        for (old, new) in moved {
            self.move_leg(old, new);
        }
    }

    /// A leg that has not begun takes an earlier place.
    fn move_leg(&mut self, old: Place, new: Place) {
        let Some(leg) = self.exchanges.get_mut(old.id).and_then(Exchange::leg_mut) else { return };
        leg.place = new;
        let released = self.lanes.leave(leg.target, old, &leg.claims);
        self.lanes.enter(leg.target, new, &leg.claims, |account| self.accounts.limited(account));
        self.ready.of_mut(leg.target).remove(&old);
        self.todo.insert(new.id);
        self.release(released);
    }

    /// Legs may be able to start.
    pub(super) fn release(&mut self, places: Vec<Place>) {
        self.todo.extend(places.into_iter().map(|place| place.id));
    }

    /// Whether everything is folded that a record of `cutover.shadows` follows from: the clocks of the two topics may
    /// differ, so their times do not say it.
    pub fn may_follow(&self, body: &ShadowBody) -> bool {
        let decided = |exchange: &Exchange| exchange.decided.is_some();
        match body {
            ShadowBody::Sending { exchange, .. } | ShadowBody::Skipped { exchange, .. } => {
                self.knows(exchange, decided)
            }
            ShadowBody::Result(result) => self.knows(&result.exchange, decided),
            ShadowBody::Asking { exchange } => self.knows(exchange, |_| true),
            ShadowBody::Resolved(resolution) => self.knows(&resolution.exchange, |_| true),
            ShadowBody::Cursor { offset } => self.folded >= *offset,
        }
    }

    /// Whether an exchange is there, and as it has to be; one that is concluded is.
    fn knows(&self, number: &ExchangeNumber, as_it_has_to_be: impl Fn(&Exchange) -> bool) -> bool {
        match self.exchanges.find(number).and_then(|id| self.exchanges.get(id)) {
            Some(exchange) => as_it_has_to_be(exchange),
            None => self.fronts.has(&number.front, number.boot, number.sequence),
        }
    }

    /// Folds an accepted record of `cutover.shadows` that the log took at `at`; whether it is one that this relay wrote.
    pub fn take_shadow(&mut self, offset: u64, at: Timestamp, record: ShadowRecord, own: bool) {
        let at = at.max(self.shadow_at);
        self.shadow_at = at;
        match record.body {
            ShadowBody::Sending { exchange, mode, attempt, .. } => self.sending(&exchange, mode, attempt, own),
            ShadowBody::Result(result) => self.leg_result(at, result),
            ShadowBody::Skipped { exchange, .. } => {
                if let Some(id) = self.exchanges.find(&exchange) {
                    self.conclude(id, None);
                }
            }
            ShadowBody::Asking { exchange } => self.asked(&exchange, at),
            ShadowBody::Resolved(resolution) => {
                self.resolved(Position { at, topic: Topic::Shadows, offset }, resolution);
            }
            ShadowBody::Cursor { offset } => {
                self.cursor = self.cursor.max(offset);
                self.cursor_requested = false;
                self.unposted.retain(|id, _| id.0 >= offset);
            }
        }
    }

    fn sending(&mut self, number: &ExchangeNumber, mode: Mode, attempt: u32, own: bool) {
        let Some(id) = self.exchanges.find(number) else { return };
        let phase = self.exchanges.get(id).map(|exchange| &exchange.phase);
        if own && matches!(phase, Some(Phase::Skipping { .. })) {
            // Taken back after it was announced, and not sent.
            return;
        }
        // The record stands, whatever would be decided now.
        if self.exchanges.get(id).is_some_and(|exchange| exchange.leg().is_none()) {
            self.overrule(id, mode);
        }
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        if !leg.is_running() {
            if leg.step == Step::Parked {
                self.parked.remove(leg);
                self.lanes.enter(leg.target, leg.place, &leg.claims, |account| self.accounts.limited(account));
            }
            self.order.begun(leg.place);
            self.lanes.start(leg.target, leg.place, &leg.claims);
            *self.running.of_mut(leg.target) += 1;
        }
        // Of another relay's record, or one from before the start: the leg may have been sent. Two relays may announce the
        // same leg at the same time, and one of them is read back by both.
        leg.doubt = (!own || leg.step != Step::Announced).then(Doubt::default);
        (leg.mode, leg.attempt, leg.step, leg.unanswered) = (mode, attempt, Step::Due(0), false);
        self.todo.insert(id);
        self.let_pass(id);
    }

    fn leg_result(&mut self, at: Timestamp, result: LegResult) {
        let Some(id) = self.exchanges.find(&result.exchange) else { return };
        if result.last {
            self.conclude(id, Some(&result));
            return;
        }
        let Some(leg) = self.exchanges.get_mut(id).and_then(Exchange::leg_mut) else { return };
        match result.class {
            Class::Refused => {
                let first_at = leg.refusal.as_ref().map_or(at, |refusal| refusal.first_at);
                leg.refusal = Some(Box::new(StateRefusal {
                    first_at,
                    code: Reading::of(&result.body.0).code.unwrap_or_default(),
                    status: result.status,
                    headers: result.headers,
                    body: result.body,
                    duration_micros: result.duration_micros,
                    replayed: result.replayed,
                }));
                self.park(id);
            }
            Class::Applied | Class::NotExecuted | Class::Unknown => leg.unanswered = true,
        }
    }

    fn asked(&mut self, number: &ExchangeNumber, at: Timestamp) {
        let Some(id) = self.exchanges.find(number) else { return };
        self.become_unknown(id, at);
        if let Some(Phase::Unknown(inquiry)) = self.exchanges.get_mut(id).map(|exchange| &mut exchange.phase) {
            (inquiry.announced, inquiry.begun) = (true, true);
            self.todo.insert(id);
        }
    }

    fn resolved(&mut self, position: Position, resolution: Resolution) {
        let Some(id) = self.exchanges.find(&resolution.exchange) else { return };
        if self.exchanges.get(id).is_some_and(|exchange| exchange.intent.authority != resolution.system) {
            self.leg_resolved(resolution);
            return;
        }
        let reading = Reading::of(&resolution.body.0);
        let Resolution { class, status, body, .. } = resolution;
        self.decide(id, Decided { position, class, status, body, reading, replayed: false, resolved: true });
    }

    /// An exchange is concluded: nothing of it is kept but what repeats and aliases need.
    pub(super) fn conclude(&mut self, id: ExchangeId, result: Option<&LegResult>) {
        let Some(exchange) = self.exchanges.remove(id) else { return };
        self.handovers.iter_mut().for_each(|handover| handover.concluded(id));
        self.let_pass(id);
        if exchange.decided.is_none() {
            self.forget_undecided(id, exchange.intent.authority, exchange.began, &exchange.accounts);
        }
        let Some(leg) = exchange.leg() else { return };
        if leg.step == Step::Parked {
            self.parked.remove(leg);
        }
        if leg.is_running() {
            *self.running.of_mut(leg.target) -= 1;
        }
        self.set_aside.of_mut(leg.target).remove(&id);
        self.order.begun(leg.place);
        let released = self.lanes.leave(leg.target, leg.place, &leg.claims);
        self.release(released);
        let Some(decided) = &exchange.decided else { return };
        self.undelivered.of_mut(leg.target).remove(&(decided.position.at, id));
        let Some(result) = result else { return };
        self.learn_alias(id, &exchange, decided, result);
        if (leg.target, result.class) == (System::Engine, Class::Applied) && result.mode != Mode::ShadowRefused {
            let excludes = |(account, firm): &(&Arc<str>, bool)| *firm || self.accounts.limited(account);
            let accounts: Vec<Arc<str>> =
                leg.accounts().filter(excludes).map(|(account, _)| Arc::clone(account)).collect();
            self.offer_again(&accounts);
        }
    }

    fn learn_alias(&mut self, id: ExchangeId, exchange: &Exchange, decided: &Decided, result: &LegResult) {
        let reading = Reading::of(&result.body.0);
        let authority = exchange.intent.authority;
        if result.system == System::Engine {
            self.note_levels(&reading);
        }
        if result.class != decided.class {
            // What the one has applied and the other has refused is no transaction of both: it cannot be referred to there.
            return;
        }
        let (Some(own), Some(other)) = (decided.transaction_by(authority), reading.transaction) else { return };
        if let Some(alias) = self.aliases.link(own, &other)
            && authority == System::Engine
            && id.0 >= self.cursor
        {
            self.unposted.insert(id, alias);
        }
    }

    /// Folds a record of `cutover.rollout`; `Ok(None)` when it extends another chain.
    ///
    /// # Errors
    /// When the bytes cannot be read: the caller must stop, not skip.
    pub fn take_rollout(&mut self, offset: u64, bytes: &[u8]) -> Result<Option<RolloutRecord>, DecodeError> {
        let held = self.holds_engine();
        let before = self.rollout.clone();
        let taken = self.rollout.take(bytes)?;
        self.rollout_folded = offset + 1;
        if let Some(record) = &taken {
            self.follow(before, &record.body);
        }
        self.handovers.iter_mut().for_each(|handover| handover.read_back(offset));
        if held && !self.holds_engine() {
            let waiting = |exchange: &Exchange| exchange.leg().is_some_and(|leg| leg.step == Step::Waiting);
            self.todo.extend(self.exchanges.iter().filter(|(_, exchange)| waiting(exchange)).map(|(id, _)| id));
        }
        Ok(taken)
    }

    /// What a change of the dial means for handovers.
    fn follow(&mut self, before: Rollout, change: &RolloutBody) {
        match change {
            RolloutBody::Prepare { version, to, .. } | RolloutBody::Moved { version, to, .. } => {
                let two_phase = matches!(change, RolloutBody::Prepare { .. });
                let after = if two_phase { before.handed_over(*to) } else { self.rollout.clone() };
                let handover = Handover::new(*version, before, after, two_phase);
                self.handovers.retain(|other| !other.can_be_called_off());
                if two_phase || handover.moves_any() {
                    self.begin_handover(handover);
                }
            }
            // Those of a prepared move are in the rollout.
            RolloutBody::Prepared { version, front, mark, .. }
                if before.pending.as_ref().is_none_or(|pending| pending.version != *version) =>
            {
                self.fronts.marked(front, *version, *mark);
            }
            RolloutBody::Drained { version }
            | RolloutBody::Commit { version, .. }
            | RolloutBody::Abort { version, .. } => {
                self.handovers.retain(|handover| handover.version != *version);
            }
            // Nobody moves by it; what was prepared without it is called off.
            RolloutBody::Pin { .. } => self.handovers.retain(|handover| !handover.can_be_called_off()),
            RolloutBody::Prepared { .. } | RolloutBody::Freeze | RolloutBody::Unfreeze => {}
        }
    }
}
