//! What happens to a request: at the front, at its authority, at the shadow.

use super::ledger::{Reply, Request};
use super::relay::{Lane, Leg, State};
use super::world::{Event, Exchange, Outcome, World};
use wire::billing::Problem;
use wire::exchange::{AuthorityResult, ExchangeBody, Intent};
use wire::ids::ExchangeNumber;
use wire::scalar::Body;
use wire::shadow::{LegResult, Resolution, ResolvedBy, ShadowBody};
use wire::words::{Class, Mode, Operation, REASONS_OF_STATE, Single, System};

fn code(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("code")?.as_str()?.to_owned())
}

pub fn transaction_id(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("transactionId")?.as_str()?.to_owned())
}

fn outcome_of(reply: &Reply) -> Outcome {
    let class = Class::of(reply.status, code(&reply.body).as_deref());
    Outcome { class, status: reply.status, body: reply.body.clone(), replayed: reply.replayed }
}

impl World {
    /// A request enters a front.
    pub fn enter(&mut self, mut exchange: Exchange) -> usize {
        let front = exchange.front;
        let body = match &exchange.request {
            Request::Change { status: Some(status), .. } => format!(r#"{{"status":"{status}"}}"#),
            Request::Change { max: Some(max), .. } => format!(r#"{{"maxBalance":"{max}"}}"#),
            _ => "{}".to_owned(),
        };
        let others = exchange.accounts.iter().map(|account| self.rollout.authority(account));
        let intent = Intent {
            route: exchange.operation.to_string(),
            operation: exchange.operation,
            method: "POST".into(),
            path: "/".into(),
            headers: Vec::new(),
            body: Body(body.into_bytes()),
            tenant: String::new(),
            key: Some(exchange.key.clone()),
            account: Some(exchange.deciding.clone()),
            accounts: exchange.accounts.clone(),
            original: exchange.original_id.clone(),
            authority: exchange.authority,
            stage: self.rollout.setting.stage,
            percent: self.rollout.setting.percent,
            version: self.rollout.version,
            cross_cohort: others.collect::<std::collections::BTreeSet<_>>().len() > 1,
            overtaken: false,
        };
        let sequence = self.journal(front, ExchangeBody::Intent(intent));
        exchange.number = ExchangeNumber { front: self.fronts[front].name.clone(), boot: 1, sequence };
        let id = self.exchanges.len();
        self.numbers.insert(exchange.number.clone(), id);
        self.exchanges.push(exchange);
        let delay = self.delay();
        self.later(delay, Event::Executes(id));
        id
    }

    /// The request reaches its authority.
    pub fn executes(&mut self, id: usize) {
        let lost = self.options.lost_answers;
        if self.chance(lost / 2.0) {
            self.later(30_000, Event::Answers(id, None));
            return;
        }
        let Exchange { key, deciding, request, authority, .. } = self.exchanges[id].clone();
        let now = self.now;
        let ledger = self.ledger(authority);
        let reply = ledger.execute(&key, &deciding, &request, Mode::Authority, None, now);
        let position = ledger.position();
        if std::env::var("SIM_TRACE").is_ok() {
            eprintln!(
                "{now} EXEC {} {key} {request:?} -> {} {} pos {position}",
                self.exchanges[id].number,
                reply.status,
                String::from_utf8_lossy(&reply.body)
            );
        }
        if authority == System::Engine {
            // As in the engine's answers: a repeated one shows where it was decided first.
            let known = self.positions.get(&(deciding.clone(), key.clone())).copied().filter(|_| reply.replayed);
            let position = known.unwrap_or(position);
            self.positions.insert((deciding, key), position);
            self.exchanges[id].position = Some(position);
        }
        let delay = self.delay();
        if self.chance(lost / 2.0) {
            self.later(30_000, Event::Answers(id, None));
        } else {
            self.later(delay, Event::Answers(id, Some(reply)));
        }
    }

    /// The authority's answer reaches the front, or does not.
    pub fn answers(&mut self, id: usize, reply: Option<Reply>) {
        let front = self.exchanges[id].front;
        let outcome = reply
            .as_ref()
            .map_or(Outcome { class: Class::Unknown, status: 0, body: Vec::new(), replayed: false }, outcome_of);
        let result = AuthorityResult {
            intent: self.exchanges[id].number.sequence,
            class: outcome.class,
            status: outcome.status,
            headers: Vec::new(),
            body: Body(outcome.body),
            duration_micros: 1,
            replayed: outcome.replayed,
            failure: None,
        };
        self.exchanges[id].result_at = self.now;
        self.journal(front, ExchangeBody::Result(result));
        if let Some(client) = self.exchanges[id].client.take() {
            let pause = if self.chance(0.05) { 200_000 } else { 8_000 };
            let pause = self.random.i64(0..pause);
            self.later(pause, Event::Client(client));
        }
    }

    /// The relay asks what became of a request.
    pub fn resolves(&mut self, id: usize) {
        let Exchange { key, deciding, request, authority, number, .. } = self.exchanges[id].clone();
        let account = self.ledger(authority).accounts.get(&deciding).cloned();
        let found = match &request {
            Request::Create { .. } => account.map(|account| (201, serde_json::to_vec(&account).unwrap())),
            Request::Change { status, max, .. } => account
                .filter(|account| status.is_none_or(|status| account.status == status))
                .filter(|account| max.is_none() || account.max_balance == *max)
                .map(|account| (200, serde_json::to_vec(&account).unwrap())),
            _ => self.ledger(authority).by_key(&deciding, &key),
        };
        // What is found under the key may be another request's: then this one was refused.
        let other = |body: &[u8]| match &request {
            Request::Move { amount, .. } => !String::from_utf8_lossy(body).contains(&format!(r#""amount":"{amount}""#)),
            _ => false,
        };
        let duplicate = || serde_json::to_vec(&Problem::new(422, "DuplicateKey", "")).unwrap();
        let found = found.map(|(status, body)| if other(&body) { (422, duplicate()) } else { (status, body) });
        let (status, body) = found.unwrap_or((0, Vec::new()));
        let class = if status == 0 { Class::NotExecuted } else { Class::of(status, code(&body).as_deref()) };
        self.asking.remove(&id);
        self.exchanges[id].position = self.positions.get(&(deciding, key)).copied();
        self.append_shadow(ShadowBody::Resolved(Resolution {
            exchange: number,
            system: authority,
            class,
            status,
            body: Body(body.clone()),
            by: ResolvedBy::Key,
        }));
        self.concluded(id, Outcome { class, status, body, replayed: false });
        self.pump();
    }

    /// The relay knows what the authority did.
    pub fn concluded(&mut self, id: usize, outcome: Outcome) {
        self.exchanges[id].outcome = Some(outcome.clone());
        let exchange = self.exchanges[id].clone();
        let siblings = self.exchanges.iter().enumerate().filter(|(other, sibling)| {
            *other != id
                && sibling.key == exchange.key
                && sibling.deciding == exchange.deciding
                && sibling.intent_offset.is_some_and(|offset| Some(offset) < exchange.intent_offset)
        });
        let repeats = outcome.replayed && siblings.count() > 0;
        let skip = match outcome.class {
            Class::NotExecuted => Some(Single::NotExecuted),
            _ if repeats => Some(Single::Repeat),
            Class::Refused if exchange.authority == System::Engine => Some(Single::Refused),
            _ => None,
        };
        if let Some(reason) = skip {
            self.append_shadow(ShadowBody::Skipped { exchange: exchange.number, reason });
        } else if exchange.authority == System::Engine {
            self.unready.push(id);
        } else {
            self.deliver(id);
        }
        self.release();
    }

    /// What the engine decided goes to the legacy in the engine's order: it waits for whatever began before its result
    /// stood in the log.
    /// And for other fronts, which may have had something before it that they have not shipped.
    pub fn release(&mut self) {
        let shipped = self.fronts.iter().filter_map(|front| Some(front.journal.front()?.at.0 - front.skew)).min();
        let mut unready = std::mem::take(&mut self.unready);
        unready.sort_by_key(|id| self.exchanges[*id].position);
        for id in unready {
            let exchange = &self.exchanges[id];
            let shares = |other: &Exchange| {
                other.accounts.iter().any(|name| exchange.accounts.contains(name) && self.is_limited(name))
            };
            let runs = self.exchanges.iter().any(|other| {
                other.authority == System::Engine
                    && other.outcome.is_none()
                    && other.intent_offset.is_some_and(|offset| offset < exchange.result_offset)
                    && shares(other)
            });
            // What waits keeps its place: later ones of its accounts wait behind it.
            let late = shipped.is_some_and(|shipped| shipped <= exchange.result_at);
            if runs || late || self.unready.iter().any(|waits| shares(&self.exchanges[*waits])) {
                self.unready.push(id);
            } else {
                self.deliver(id);
            }
        }
    }

    fn deliver(&mut self, id: usize) {
        let exchange = self.exchanges[id].clone();
        let refused = exchange.outcome.as_ref().is_some_and(|outcome| outcome.class == Class::Refused);
        let named = exchange.accounts.iter().filter(|account| self.is_limited(account)).cloned().map(Lane::Account);
        let original = exchange.original.map(|original| Lane::Original(original.to_string()));
        let lanes = named.chain(original).chain([Lane::Key(exchange.deciding.clone(), exchange.key.clone())]);
        let leg = Leg {
            exchange: id,
            to: exchange.authority.other(),
            mode: if refused { Mode::ShadowRefused } else { Mode::Shadow },
            request: exchange.request.clone(),
            lanes: lanes.collect(),
            state: State::Queued,
            attempt: 0,
            refused_at: None,
            poked: false,
            position: exchange.position,
        };
        self.relay.enqueue(leg);
    }

    /// A shadow leg reaches its system.
    pub fn leg_arrives(&mut self, id: usize) {
        let lost = self.options.lost_answers;
        if self.chance(lost / 2.0) {
            self.later(20_000, Event::LegAnswers(id, None));
            return;
        }
        let leg = self.leg(id).clone();
        let exchange = self.exchanges[id].clone();
        let request = match leg.request {
            Request::Refund { original, amount } => {
                let original = if original.starts_with(leg.to.as_str()) {
                    original
                } else {
                    self.aliases.get(&original).cloned().unwrap_or_else(|| format!("no-alias-{original}"))
                };
                Request::Refund { original, amount }
            }
            request => request,
        };
        let refusal = exchange.outcome.filter(|_| leg.mode == Mode::ShadowRefused);
        let refusal = refusal.map(|outcome| (outcome.status, outcome.body));
        let now = self.now;
        let reply =
            self.ledger(leg.to).execute(&exchange.key, &exchange.deciding, &request, leg.mode, refusal.as_ref(), now);
        if std::env::var("SIM_TRACE").is_ok() {
            eprintln!(
                "{now} LEG {} {:?} {} {request:?} -> {} {}",
                exchange.number,
                leg.mode,
                exchange.key,
                reply.status,
                String::from_utf8_lossy(&reply.body)
            );
        }
        let delay = self.delay();
        if self.chance(lost / 2.0) {
            self.later(20_000, Event::LegAnswers(id, None));
        } else {
            self.later(delay, Event::LegAnswers(id, Some(reply)));
        }
    }

    /// The answer of a shadow leg reaches the relay, or does not.
    pub fn leg_answers(&mut self, id: usize, reply: Option<Reply>) {
        let leg = self.leg(id).clone();
        let exchange = self.exchanges[id].clone();
        let outcome = reply
            .as_ref()
            .map_or(Outcome { class: Class::Unknown, status: 0, body: Vec::new(), replayed: false }, outcome_of);
        let code = code(&outcome.body).unwrap_or_default();
        let again = leg.to == System::Engine
            && leg.mode == Mode::Shadow
            && outcome.class == Class::Refused
            && REASONS_OF_STATE.contains(&code.as_str());
        let would_refuse = reply.as_ref().and_then(|reply| reply.would_refuse);
        self.append_shadow(ShadowBody::Result(LegResult {
            exchange: exchange.number,
            system: leg.to,
            mode: leg.mode,
            attempt: leg.attempt,
            class: outcome.class,
            status: outcome.status,
            headers: would_refuse
                .map(|code| ("x-crossfade-would-refuse".to_owned(), code.to_owned()))
                .into_iter()
                .collect(),
            body: Body(outcome.body.clone()),
            duration_micros: 1,
            replayed: outcome.replayed,
            last: outcome.class != Class::Unknown && !again,
        }));
        let now = self.now;
        if outcome.class == Class::Unknown {
            self.leg(id).attempt += 1;
            let delay = self.random.i64(1_000..20_000);
            self.later(delay, Event::LegArrives(id));
            return;
        }
        let leg = self.leg(id);
        if again {
            leg.state = State::Waiting;
            leg.refused_at.get_or_insert(now);
        } else {
            leg.state = State::Done;
        }
        if outcome.class == Class::Applied && leg.mode != Mode::ShadowRefused {
            let index = self.relay.of(id).unwrap();
            self.relay.poke(index);
            let ours = exchange.outcome.and_then(|outcome| transaction_id(&outcome.body));
            if let (Some(ours), Some(theirs)) = (ours, transaction_id(&outcome.body)) {
                self.aliases.insert(ours.clone(), theirs.clone());
                self.aliases.insert(theirs, ours);
            }
        }
        self.pump();
    }

    /// Whether a request of this kind moves money.
    pub fn moves_money(operation: Operation) -> bool {
        !matches!(operation, Operation::CreateAccount | Operation::ChangeAccount)
    }
}
