//! Relays as processes, and the legs that they have under way: what dies, stands still, is lost or is late.

use super::Pairing;
use super::audit::{self, Violation};
use super::delivery::Relay;
use super::exchanges::{LONGEST_MS, Request, Todo};
use super::ledger::{Mode, Operation, Refusal};
use super::records::{ExchangeBody, Number, ShadowBody, Stored};
use super::world::{Call, FRONTS, World};

impl World {
    pub(super) fn restart_relay(&mut self) {
        let Some(old) = self.relays.pop() else { return };
        self.seen.restarts += 1;
        self.tell(|| format!("relay {} dies", old.process));
        self.begin_relay();
    }

    fn begin_relay(&mut self) {
        self.relays.push(Relay::new(self.processes, self.pairing, self.bug, FRONTS.len()));
        self.processes += 1;
    }

    /// The relay stands still and another one takes over, or it goes on as if nothing had been.
    pub(super) fn pause_or_resume(&mut self) -> Result<(), Violation> {
        if self.relays.len() == 1 {
            // It has often something in mind when it stops.
            for _ in 0..self.dice.u32(0..20) {
                self.let_relay(0, |one| !matches!(one, Todo::Send(..)))?;
            }
            self.relays[0].paused = true;
            self.seen.restarts += 1;
            let process = self.relays[0].process;
            self.tell(|| format!("relay {process} stands still, another one takes over"));
            self.begin_relay();
            return Ok(());
        }
        if self.dice.u32(0..3) == 0 {
            // It has stood still for long; the other one has gone on meanwhile.
            self.now += self.dice.i64(0..2 * LONGEST_MS);
            self.lose_what_is_too_late();
            self.relay(true)?;
        }
        self.relays[0].paused = false;
        let process = self.relays[0].process;
        self.tell(|| format!("relay {process} goes on"));
        for _ in 0..self.dice.u32(0..4) {
            self.let_relay(0, |one| matches!(one, Todo::Send(..) | Todo::Append(_)))?;
        }
        // It sees that somebody else writes.
        self.relays.remove(0);
        Ok(())
    }

    pub(super) fn relay(&mut self, all: bool) -> Result<(), Violation> {
        for _ in 0..if all { 200 } else { self.dice.u32(1..5) } {
            let last = self.relays.len() - 1;
            if !self.let_relay(last, |_| true)? && all {
                break;
            }
        }
        Ok(())
    }

    /// Lets a relay do one thing of those that are wanted: one that has stood still does what it had in mind before it
    /// reads on.
    fn let_relay(&mut self, index: usize, wanted: impl Fn(&Todo) -> bool) -> Result<bool, Violation> {
        let mut todo = self.relays[index].todo(&self.topics, self.now);
        todo.retain(wanted);
        if todo.is_empty() {
            return Ok(false);
        }
        let next = todo.swap_remove(self.dice.usize(0..todo.len()));
        let relay = &mut self.relays[index];
        match next {
            Todo::ReadExchange => relay.read_exchange(&self.topics),
            Todo::ReadShadow => relay.read_shadow(&self.topics),
            Todo::Append(body) => self.append(index, body)?,
            Todo::Send(number, request) => self.send(index, number, request)?,
            Todo::Ask(number, _) if self.dice.u32(0..3) == 0 => relay.not_found_out(number, self.now),
            Todo::Ask(number, key) => relay.found(number, self.authority.known(key), self.now),
            Todo::AskShadow(number, key) => relay.looked(number, self.shadow.known(key), self.now),
            Todo::Settle(number) => relay.settle(number),
        }
        Ok(true)
    }

    fn append(&mut self, index: usize, body: ShadowBody) -> Result<(), Violation> {
        match body {
            ShadowBody::Sending { number, mode: Mode::Forced, .. } => {
                self.seen.forced += 1;
                self.check_given_up(index, number)?;
            }
            ShadowBody::Result { number, answer, last: true }
                if answer.refused == Some(Refusal::OriginalNotFound) && self.is_given_up(number) =>
            {
                self.check_given_up(index, number)?;
            }
            ShadowBody::Result { last: false, .. } => self.seen.reoffered += 1,
            ShadowBody::Person { .. } => self.seen.persons += 1,
            ShadowBody::Skipped { .. } => self.seen.skipped += 1,
            _ => {}
        }
        let by = self.relays[index].process;
        self.tell(|| format!("relay {by}: {body:?}"));
        self.relays[index].appended(&body);
        self.topics.shadows.push(Stored { at: self.now, written: self.now, by, body });
        Ok(())
    }

    /// A leg is not offered any more: forced, or given up.
    fn check_given_up(&self, index: usize, number: Number) -> Result<(), Violation> {
        let read = self.relays[index].read.0;
        let journals = self.journals.iter().flatten().map(|(written, _)| *written);
        let unread = journals.chain(self.topics.exchanges[read..].iter().map(|stored| stored.written)).collect();
        audit::may_be_forced(&self.topics, number, &unread)?;
        audit::has_no_reason_left((&self.authority, &self.shadow), &self.topics, number, &self.accounts_of)
    }

    /// Whether an exchange is one that the engine does not have in the end, although the legacy applied it.
    fn is_given_up(&self, number: Number) -> bool {
        let applied = |stored: &Stored<ExchangeBody>| match &stored.body {
            ExchangeBody::Intent(of, intent) => *of == number && self.authority.applied.contains_key(&intent.key),
            _ => false,
        };
        self.pairing == Pairing::ToEngine && self.topics.exchanges.iter().any(applied)
    }

    fn send(&mut self, index: usize, number: Number, request: Request) -> Result<(), Violation> {
        if !self.relays[index].send(number, self.now) {
            return Ok(());
        }
        let process = self.relays[index].process;
        if self.dice.u32(0..100) < 5 {
            self.relays[index].not_sent(number, request.attempt, self.now);
            return Ok(());
        }
        self.tell(|| format!("relay {process}: sends {number:?} {request:?}"));
        let times = self.first_bytes.entry(number).or_default();
        *times += 1;
        if *times > 1 && self.pairing == Pairing::ToPlainLegacy {
            return Err(Violation::SentTwice { number });
        }
        let lost = self.dice.u32(0..100) < 4;
        self.calls.push(Call { process, number, request, sent_at: self.now, answer: None, lost, left: false });
        Ok(())
    }

    /// The shadow executes a leg, or the relay hears of it.
    pub(super) fn shadow(&mut self) -> Result<(), Violation> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let index = self.dice.usize(0..self.calls.len());
        let Call { process, number, request, answer, lost, left, .. } = self.calls[index].clone();
        let alive = |relay: &&mut Relay| relay.process == process && !relay.paused;
        if self.dice.bool() && answer.is_none() && !lost {
            self.execute_at_shadow(index)?;
        } else if !left {
            let gives_up = answer.is_none() && self.dice.u32(0..100) < 12 || self.dice.u32(0..100) < 4;
            if !gives_up && answer.is_none() && !lost {
                return Ok(());
            }
            let heard = if gives_up { None } else { answer };
            self.seen.unanswered += u32::from(heard.is_none());
            let heard_by = self.relays.iter_mut().find(alive);
            self.calls[index].left =
                heard_by.is_none_or(|relay| relay.answered(number, request.attempt, heard, self.now));
        }
        self.calls.retain(|call| !(call.left && (call.lost || call.answer.is_some())));
        Ok(())
    }

    fn execute_at_shadow(&mut self, index: usize) -> Result<(), Violation> {
        let Call { number, request, .. } = self.calls[index].clone();
        let before = self.shadow.applied.get(&request.key).copied().unwrap_or(0);
        let Request { key, operation, mode, alias, .. } = request;
        let answer = self.shadow.execute(key, operation, mode, alias);
        self.tell(|| format!("shadow: {number:?} {answer:?}"));
        self.calls[index].answer = Some(answer);
        audit::nothing_twice(&self.authority)?;
        audit::nothing_twice(&self.shadow)?;
        if self.shadow.applied.get(&key).copied().unwrap_or(0) > before {
            self.seen.refunds += u32::from(matches!(operation, Operation::Refund(_)));
            audit::was_applied(&self.authority, key, mode)?;
            audit::has_no_end(&self.topics, number)?;
        }
        Ok(())
    }
}
