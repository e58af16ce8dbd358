//! The workload: hot accounts, retries, parallel duplicates, refunds, limits, refusals, changes of status.

use super::flow::transaction_id;
use super::ledger::Request;
use super::world::{Event, Exchange, World};
use rust_decimal::Decimal;
use wire::ids::ExchangeNumber;
use wire::scalar::Money;
use wire::words::{Class, Operation, System};

/// A user with a max, that may be frozen: it takes part in topups and withdrawals only, because a credit from the
/// other cohort that meets a limit or a frozen account at the shadow is a true difference (`cross-cohort`), and no
/// fault of the legacy.
fn is_capped(user: usize) -> bool {
    user % 4 == 3
}

fn name(user: usize) -> String {
    format!("user-{user}")
}

impl World {
    /// Creates the accounts and lets the clients loose.
    pub fn start(&mut self) {
        let limit = |text: &str| Some(Money(text.parse().unwrap()));
        let mut accounts: Vec<(String, &'static str, Option<Money>, Option<Money>)> = (0..self.options.users)
            .map(|user| (name(user), "USER", is_capped(user).then(|| limit("150")).flatten(), None))
            .collect();
        accounts.push(("world".into(), "EXTERNAL", None, None));
        accounts.push(("bank".into(), "SYSTEM", None, None));
        accounts.push(("narrow".into(), "EXTERNAL", None, limit("-400")));
        for (index, (account, kind, max, min)) in accounts.into_iter().enumerate() {
            let request = Request::Create { account: account.clone(), kind, max, min };
            let exchange =
                self.exchange(&format!("create-{index}"), Operation::CreateAccount, request, &account, vec![]);
            self.enter(exchange);
        }
        self.run();
        for client in 0..self.options.clients {
            let pause = self.random.i64(0..20_000);
            self.later(pause, Event::Client(client));
        }
        // Faults begin with the traffic.
        let seed = self.random.u64(..);
        let fault = self.options.fault;
        self.legacy.arm(fault, seed);
    }

    fn exchange(
        &self,
        key: &str,
        operation: Operation,
        request: Request,
        deciding: &str,
        others: Vec<String>,
    ) -> Exchange {
        Exchange {
            number: ExchangeNumber { front: String::new(), boot: 0, sequence: 0 },
            front: 0,
            key: key.to_owned(),
            operation,
            request,
            deciding: deciding.to_owned(),
            accounts: std::iter::once(deciding.to_owned()).chain(others).collect(),
            authority: self.rollout.authority(deciding),
            original: None,
            original_id: None,
            client: None,
            position: None,
            intent_offset: None,
            outcome: None,
            result_offset: 0,
            result_at: 0,
        }
    }

    /// A client has time for its next request.
    pub fn client(&mut self, client: usize) {
        if self.issued >= self.options.requests {
            return;
        }
        self.issued += 1;
        let mut next = match self.random.u32(0..100) {
            0..10 => self.again(),
            10..12 => self.reused_key(),
            12..20 => self.refund(),
            20..22 => self.change(),
            22..52 => Some(self.topup()),
            52..72 => Some(self.withdrawal()),
            _ => Some(self.transfer()),
        }
        .unwrap_or_else(|| self.topup());
        next.client = Some(client);
        next.front = self.random.usize(0..self.fronts.len());
        let twin = Exchange { client: None, front: self.random.usize(0..self.fronts.len()), ..next.clone() };
        let twice = Self::moves_money(next.operation) && self.chance(0.03);
        self.enter(next);
        if twice {
            self.enter(twin);
        }
    }

    /// A few users are hot.
    fn user(&mut self) -> usize {
        let users = self.options.users;
        if self.chance(0.5) { self.random.usize(0..(users / 4).max(1)) } else { self.random.usize(0..users) }
    }

    fn amount(&mut self) -> Money {
        let amount = match self.random.u32(0..10) {
            0 => Decimal::new(self.random.i64(1..5_000_000_000), 8),
            1..4 => Decimal::new(self.random.i64(1..6) * 10, 0),
            _ => Decimal::new(self.random.i64(1..6_000), 2),
        };
        Money(amount.normalize())
    }

    fn outside(&mut self) -> String {
        // An outside account with a limit that both cohorts draw on drifts truly, too.
        let places = if self.options.percent.is_multiple_of(100) { 5 } else { 4 };
        ["world", "world", "world", "bank", "narrow"][self.random.usize(0..places)].to_owned()
    }

    fn key(&self) -> String {
        format!("k{}", self.issued)
    }

    fn movement(&mut self, operation: Operation, source: String, destination: String) -> Exchange {
        let amount = self.amount();
        let (deciding, other) = match operation {
            Operation::Topup => (destination.clone(), source.clone()),
            _ => (source.clone(), destination.clone()),
        };
        let request = Request::Move { operation, source, destination, amount };
        self.exchange(&self.key(), operation, request, &deciding, vec![other])
    }

    fn topup(&mut self) -> Exchange {
        let (source, destination) = (self.outside(), name(self.user()));
        self.movement(Operation::Topup, source, destination)
    }

    fn withdrawal(&mut self) -> Exchange {
        let (source, destination) = (name(self.user()), self.outside());
        self.movement(Operation::Withdraw, source, destination)
    }

    fn transfer(&mut self) -> Exchange {
        let source = self.user();
        let destination = match self.random.u32(0..10) {
            0 => self.outside(),
            1 => "nobody".to_owned(),
            _ => (0..5).map(|_| self.user()).find(|user| !is_capped(*user)).map_or("bank".to_owned(), name),
        };
        self.movement(Operation::Transfer, name(source), destination)
    }

    fn change(&mut self) -> Option<Exchange> {
        let capped: Vec<usize> = (0..self.options.users).filter(|user| is_capped(*user)).collect();
        let account = name(self.random.choice(&capped).copied().unwrap_or(0));
        // Two changes of one account at once may end in either order, in each system its own: a true difference.
        let under_way = self.exchanges.iter().any(|exchange| {
            exchange.outcome.is_none() && exchange.deciding == account && !Self::moves_money(exchange.operation)
        });
        if under_way {
            return None;
        }
        let status = if self.chance(0.3) { "FROZEN" } else { "ACTIVE" };
        let request = Request::Change { account: account.clone(), status: Some(status), max: None };
        Some(self.exchange(&self.key(), Operation::ChangeAccount, request, &account, vec![]))
    }

    fn again(&mut self) -> Option<Exchange> {
        let done = self.pick(|_| true)?;
        let authority = self.rollout.authority(&done.deciding);
        // After the dial has turned, the id a refund names may be the other system's.
        let Exchange { key, operation, request, deciding, accounts, original, original_id, .. } = done;
        let request = match request {
            Request::Refund { original, amount } => {
                Request::Refund { original: self.translated(original, authority)?, amount }
            }
            request => request,
        };
        let fresh = self.exchange(&key, operation, request, &deciding, vec![]);
        Some(Exchange { accounts, original, original_id, ..fresh })
    }

    fn reused_key(&mut self) -> Option<Exchange> {
        // Of a request that was executed: the key of one that was not says nothing about the content.
        let executed =
            |exchange: &Exchange| exchange.outcome.as_ref().is_some_and(|outcome| outcome.class == Class::Applied);
        let done = self.pick(|exchange| executed(exchange) && matches!(exchange.request, Request::Move { .. }))?;
        let Request::Move { operation, source, destination, .. } = done.request else { return None };
        let amount = self.amount();
        let request = Request::Move { operation, source, destination, amount };
        let fresh = self.exchange(&done.key, operation, request, &done.deciding, vec![]);
        Some(Exchange { accounts: done.accounts, ..fresh })
    }

    fn refund(&mut self) -> Option<Exchange> {
        let original = self.pick(|exchange| match &exchange.request {
            Request::Move { source, .. } => {
                let capped = source.strip_prefix("user-").and_then(|user| user.parse().ok()).is_some_and(is_capped);
                !(capped && exchange.operation == Operation::Transfer)
            }
            _ => false,
        })?;
        let Request::Move { source, destination, amount, .. } = original.request.clone() else { return None };
        let id = transaction_id(&original.outcome.clone()?.body)?;
        let deciding = if self.is_limited(&destination) { &destination } else { &source };
        let other = if deciding == &destination { &source } else { &destination };
        let authority = self.rollout.authority(deciding);
        let part = [1, 2, 2, 3][self.random.usize(0..4)];
        let part = Money((amount.0 / Decimal::from(part)).trunc_with_scale(8).normalize());
        let part = if part.is_zero() { amount } else { part };
        let request = Request::Refund { original: self.translated(id.clone(), authority)?, amount: Some(part) };
        let fresh = self.exchange(&self.key(), Operation::Refund, request, deciding, vec![other.clone()]);
        let original = self.numbers.get(&original.number).copied();
        Some(Exchange { original, original_id: Some(id), ..fresh })
    }

    fn translated(&self, id: String, to: System) -> Option<String> {
        if id.starts_with(to.as_str()) { Some(id) } else { self.aliases.get(&id).cloned() }
    }

    /// A request that was answered.
    fn pick(&mut self, wanted: impl Fn(&Exchange) -> bool) -> Option<Exchange> {
        let begin = self.exchanges.len().saturating_sub(400);
        let answered: Vec<usize> = (begin..self.exchanges.len())
            .filter(|id| self.exchanges[*id].outcome.is_some() && Self::moves_money(self.exchanges[*id].operation))
            .filter(|id| wanted(&self.exchanges[*id]))
            .collect();
        let picked = self.random.choice(&answered).copied()?;
        Some(self.exchanges[picked].clone())
    }
}
