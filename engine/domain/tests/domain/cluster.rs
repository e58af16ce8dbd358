//! All shards of a ledger in memory: commands queue at their shard, one is decided at a time, in any order of shards.

use engine_domain::account::{Limits, is_striped};
use engine_domain::command::{Alias, ChangeAccount, CreateAccount, LimitChange, Move, MoveKind, Refund, Refusal};
use engine_domain::event::{AccountCreated, BalanceChanged, Reason};
use engine_domain::ids::{AccountAggregate, shard_of_text};
use engine_domain::transaction::Original;
use engine_domain::{
    AccountId, AccountType, Amount, Answer, Body, Command, CommandId, Currency, Event, Mode, Money, Outcome, Position,
    Rejection, Shard, Status, Timestamp, TransactionId, decide, evolve,
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use uuid::Uuid;

pub struct Cluster {
    pub shards: Vec<Shard>,
    /// Every outcome, in the order in which they were decided.
    pub journal: Vec<Outcome>,
    /// A second shard per shard that only ever folds events.
    replicas: Vec<Shard>,
    queues: Vec<VecDeque<Command>>,
    offsets: Vec<u64>,
    versions: HashMap<String, u64>,
    commands: u128,
    /// Whether a leg was forced: then USERs may be below zero.
    forced: bool,
}

pub fn id(text: &str) -> AccountId {
    AccountId::new(text).unwrap()
}

pub fn currency(text: &str) -> Currency {
    Currency::new(text).unwrap()
}

pub fn money(text: &str) -> Money {
    Money::new(text.parse().unwrap()).unwrap()
}

pub fn amount(text: &str) -> Amount {
    Amount::new(money(text)).unwrap()
}

/// An id beginning with `name` whose home is `shard`.
pub fn id_on(name: &str, shard: u32, shards: u32) -> AccountId {
    (0..).map(|number| id(&format!("{name}.{number}"))).find(|id| id.shard(shards) == shard).unwrap()
}

pub fn limits(min: Option<&str>, max: Option<&str>) -> Limits {
    Limits { min: min.map(money), max: max.map(money) }
}

pub fn new_account(account: &AccountId, account_type: AccountType, limits: Limits) -> CreateAccount {
    CreateAccount {
        key: None,
        account: account.clone(),
        owner_id: "owner".into(),
        owner_type: "person".into(),
        account_type,
        currency: currency("EUR"),
        limits,
        metadata: None,
    }
}

pub fn a_move(kind: MoveKind, key: &str, source: &AccountId, destination: &AccountId, sum: &str) -> Move {
    Move {
        kind,
        key: key.into(),
        source: source.clone(),
        destination: destination.clone(),
        amount: amount(sum),
        currency: currency("EUR"),
        reference: None,
        metadata: None,
    }
}

/// What a client would see of a transaction: everything that may not depend on the number of shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub code: Option<Rejection>,
    pub would_refuse: Option<Rejection>,
    pub replay: bool,
    /// Movement, and for a USER the levels, of source and destination.
    pub sides: Vec<(AccountId, Money, Option<(Money, Money)>)>,
}

impl Cluster {
    pub fn new(shards: u32) -> Self {
        let make = || (0..shards).map(|number| Shard::new(number, shards)).collect::<Vec<_>>();
        Self {
            shards: make(),
            replicas: make(),
            journal: Vec::new(),
            queues: vec![VecDeque::new(); shards as usize],
            offsets: vec![0; shards as usize],
            versions: HashMap::new(),
            commands: 0,
            forced: false,
        }
    }

    pub fn count(&self) -> u32 {
        self.shards.len() as u32
    }

    /// A command of a client.
    pub fn command(&mut self, mode: Mode, body: Body) -> Command {
        self.commands += 1;
        self.forced |= mode == Mode::Forced;
        Command {
            id: CommandId(Uuid::from_u128(self.commands)),
            at: Timestamp(0),
            correlation_id: format!("correlation-{}", self.commands).into(),
            actor: "tester".into(),
            mode,
            tenant: "".into(),
            keeps_refusals: true,
            alias: None,
            refusal: None,
            body,
        }
    }

    /// The shard that a client's command goes to.
    fn home(&self, command: &Command) -> u32 {
        match &command.body {
            Body::CreateAccount(create) => create.account.shard(self.count()),
            Body::ChangeAccount(change) => change.account.shard(self.count()),
            Body::Move(request) => request.deciding_account().shard(self.count()),
            Body::Refund(refund) => shard_of_text(&refund.deciding_account, self.count()),
            Body::Aliases(aliases) => aliases[0].transaction.shard(self.count()),
            Body::Step(_) | Body::StepDone(_) | Body::Unreadable { .. } => 0,
        }
    }

    pub fn submit(&mut self, command: Command) {
        let home = self.home(&command);
        self.queues[home as usize].push_back(command);
    }

    /// Puts a command into a shard's queue, as its log would.
    pub fn deliver(&mut self, shard: u32, command: Command) {
        self.queues[shard as usize].push_back(command);
    }

    /// Shards that have something to decide.
    pub fn busy(&self) -> Vec<u32> {
        (0..self.count()).filter(|shard| !self.queues[*shard as usize].is_empty()).collect()
    }

    /// The place of the command that a shard decides on next.
    pub fn next_of(&self, shard: u32) -> Position {
        Position { shard, offset: self.offsets[shard as usize] }
    }

    /// That command.
    pub fn next_command(&self, shard: u32) -> &Command {
        self.queues[shard as usize].front().expect("there is one")
    }

    /// Takes the next command of a shard away: it is on its way still.
    pub fn withhold(&mut self, shard: u32) -> Command {
        self.queues[shard as usize].pop_front().expect("there is one")
    }

    /// Puts a command before the others.
    pub fn interpose(&mut self, shard: u32, command: Command) {
        self.queues[shard as usize].push_front(command);
    }

    /// The owner of a shard dies, and another one begins at a snapshot.
    pub fn restart(&mut self, shard: u32) {
        let shard = &mut self.shards[shard as usize];
        *shard = Shard::of_image(shard.number(), shard.shards(), shard.image());
    }

    /// As [`Cluster::step`], and what the outcome sends gets lost.
    pub fn step_and_lose(&mut self, shard: u32) {
        let outcome = self.step(shard);
        for send in &outcome.sends {
            self.queues[send.shard as usize].pop_back();
        }
    }

    /// Every home asks again for the step that it waits for; whether any does.
    pub fn ask_again(&mut self) -> bool {
        let open: Vec<_> = self.shards.iter().flat_map(|shard| shard.open_steps(Timestamp(0))).collect();
        open.iter().for_each(|again| self.deliver(again.shard, again.command.clone()));
        !open.is_empty()
    }

    /// Decides on the next command of a shard, and checks what has to hold after every outcome.
    pub fn step(&mut self, number: u32) -> Outcome {
        let index = number as usize;
        let command = self.queues[index].pop_front().expect("nothing to decide");
        let offset = self.offsets[index];
        self.offsets[index] += 1;
        let at = Timestamp(self.journal.len() as i64);
        let shard = &mut self.shards[index];
        let before = shard.clone();
        let decision = decide(shard, &command, offset, at);
        assert_eq!(decision, decide(shard, &command, offset, at), "equal arguments, equal decisions");
        let mark = shard.mark();
        decision.events.iter().for_each(|event| evolve(shard, event));
        shard.rollback_to(mark);
        assert_eq!(*shard, before, "rolling back restores the state exactly");
        decision.events.iter().for_each(|event| evolve(shard, event));
        let now = shard.mark();
        shard.forget_before(now);
        let outcome = Outcome::new(number, offset, &command, at, decision);
        self.check(&outcome);
        for send in &outcome.sends {
            self.queues[send.shard as usize].push_back(send.command.clone());
        }
        self.journal.push(outcome.clone());
        outcome
    }

    fn check(&mut self, outcome: &Outcome) {
        let shard = &self.shards[outcome.shard as usize];
        for (currency, sum) in shard.sums() {
            assert!(sum.is_zero(), "shard {} is out of balance by {sum} {currency}: {outcome:#?}", outcome.shard);
        }
        let mut moved = BTreeMap::<Currency, Money>::new();
        for event in &outcome.events {
            evolve(&mut self.replicas[outcome.shard as usize], event);
            let (aggregate, version) = event.aggregate();
            let last = self.versions.insert(aggregate.to_string(), version);
            assert_eq!(last.unwrap_or(0) + 1, version, "{aggregate}: {version} after {last:?}");
            if let Event::BalanceChanged(changed) = event {
                let sum = moved.entry(changed.currency).or_default();
                *sum = sum.plus(changed.balance_after).minus(changed.balance_before);
                let account = shard.account(&changed.aggregate.id).unwrap();
                let user = account.account_type == AccountType::User;
                assert!(!user || self.forced || account.available() >= Money::ZERO, "below zero: {outcome:#?}");
            }
        }
        // A restart from a snapshot, now and then: what follows has to come out the same.
        if self.journal.len().is_multiple_of(5) {
            let replica = &mut self.replicas[outcome.shard as usize];
            *replica = Shard::of_image(replica.number(), replica.shards(), replica.image());
        }
        assert!(moved.values().all(|sum| sum.is_zero()), "movements do not sum to zero: {outcome:#?}");
        assert!(outcome.events.is_empty() || outcome.answer != Answer::Unreadable);
    }

    /// Decides until nothing is left, then checks what has to hold whenever no saga is under way.
    pub fn settle(&mut self) {
        while let Some(shard) = self.busy().first() {
            self.step(*shard);
        }
        self.check_quiet();
    }

    pub fn check_quiet(&self) {
        assert_eq!(self.shards, self.replicas, "the fold of the events, from snapshots as well, is the state");
        let open = self.shards.iter().flat_map(Shard::sagas).collect::<Vec<_>>();
        assert!(open.is_empty(), "sagas still under way: {open:#?}");
        for name in ["EUR", "USD"] {
            let in_transit: Money = self.shards.iter().map(|shard| shard.in_transit(currency(name))).sum();
            assert!(in_transit.is_zero(), "{in_transit} {name} in transit although no saga is under way");
        }
        for event in self.events() {
            if let Event::AccountCreated(AccountCreated { aggregate, .. }) = event {
                for account in self.shards.iter().filter_map(|shard| shard.account(&aggregate.id)) {
                    assert_eq!(account.open_steps, 0, "{aggregate} is still guarded");
                    assert!(account.reserved.is_zero(), "{aggregate} is still reserved");
                }
            }
        }
    }

    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.journal.iter().flat_map(|outcome| &outcome.events)
    }

    /// The names of all events since `from` outcomes, in order.
    pub fn names_since(&self, from: usize) -> Vec<&'static str> {
        self.journal[from..].iter().flat_map(|outcome| &outcome.events).map(Event::name).collect()
    }

    /// Submits, settles, and returns the final answer.
    pub fn ask(&mut self, command: Command) -> Answer {
        let to = command.id;
        self.submit(command);
        self.settle();
        self.answer_to(to)
    }

    pub fn answer_to(&self, to: CommandId) -> Answer {
        let answers = || self.journal.iter().map(|outcome| &outcome.answer);
        let own = answers().rfind(|answer| answer.to() == Some(to)).expect("every request is answered");
        match own {
            // The repeat of a running request shares its answer.
            Answer::Running { transaction, .. } => answers()
                .rfind(|answer| answer.is_final() && answer.transaction() == *transaction)
                .expect("what runs comes to an end"),
            answer => answer,
        }
        .clone()
    }

    pub fn ask_as(&mut self, mode: Mode, body: Body) -> Answer {
        let command = self.command(mode, body);
        self.ask(command)
    }

    pub fn ask_move(&mut self, request: Move) -> Seen {
        let answer = self.ask_as(Mode::Authority, Body::Move(request));
        self.seen(&answer)
    }

    /// What the client sees of an answer about a transaction.
    pub fn seen(&self, answer: &Answer) -> Seen {
        let mut seen = Seen { code: None, would_refuse: None, replay: false, sides: Vec::new() };
        match answer {
            Answer::Refused { rejection, .. } => seen.code = Some(*rejection),
            Answer::Dry { would_refuse, .. } | Answer::Account { would_refuse, .. } => {
                seen.would_refuse = *would_refuse;
            }
            Answer::Final { transaction, replay, .. } => {
                seen.replay = *replay;
                let last = self.events().rev().find(|event| match event {
                    Event::TransactionCompleted(completed) => completed.transaction == *transaction,
                    Event::TransactionFailed(failed) => failed.transaction == *transaction,
                    _ => false,
                });
                match last.expect("a final transaction has its event") {
                    Event::TransactionFailed(failed) => seen.code = Some(failed.rejection),
                    Event::TransactionCompleted(completed) => {
                        seen.would_refuse = completed.would_refuse;
                        for side in [&completed.source, &completed.destination] {
                            let shown = side.account_type == AccountType::User;
                            let levels = shown.then_some((side.balance_before, side.balance_after));
                            seen.sides.push((side.account.clone(), side.movement(), levels));
                        }
                    }
                    _ => unreachable!(),
                }
            }
            Answer::None | Answer::Running { .. } | Answer::Noted { .. } | Answer::Unreadable => {
                panic!("no final answer: {answer:?}")
            }
        }
        seen
    }

    pub fn create(&mut self, create: CreateAccount) {
        let answer = self.ask_as(Mode::Authority, Body::CreateAccount(create));
        assert!(matches!(answer, Answer::Account { .. }), "{answer:?}");
    }

    pub fn set_status(&mut self, account: &AccountId, status: Status) -> Answer {
        self.ask_as(Mode::Authority, Body::ChangeAccount(status_change(account, status)))
    }

    /// The balance of an account: of its one piece, or the sum of its stripes.
    pub fn balance(&self, account: &AccountId) -> Money {
        self.shards.iter().filter_map(|shard| shard.account(account)).map(|account| account.balance).sum()
    }

    /// Gives an account a balance out of nowhere, against a `nowhere` stripe on the same shard: what no request could
    /// bring about quickly.
    pub fn fund(&mut self, account: &AccountId, sum: Money) {
        let number = account.shard(self.count());
        let nowhere = id("nowhere");
        let mut events = Vec::new();
        let shard = &self.shards[number as usize];
        let funded = *shard.account(account).expect("only what exists can be funded");
        if shard.account(&nowhere).is_none() {
            events.push(Event::AccountCreated(AccountCreated {
                aggregate: AccountAggregate { id: nowhere.clone(), stripe: Some(number) },
                version: 1,
                owner_id: "".into(),
                owner_type: "".into(),
                account_type: AccountType::System,
                currency: funded.currency,
                limits: Limits::default(),
                metadata: None,
                key: None,
            }));
        }
        for (account, sum) in [(account, sum), (&nowhere, sum.negated())] {
            let now = shard.account(account);
            let balance_before = now.map_or(Money::ZERO, |now| now.balance);
            events.push(Event::BalanceChanged(BalanceChanged {
                aggregate: AccountAggregate {
                    id: account.clone(),
                    stripe: now.is_none_or(|now| is_striped(now.account_type, &now.limits)).then_some(number),
                },
                version: now.map_or(1, |now| now.version) + 1,
                currency: funded.currency,
                balance_before,
                balance_after: balance_before.plus(sum),
                reserved_after: now.map_or(Money::ZERO, |now| now.reserved),
                reason: Reason::Credit,
                transaction: TransactionId(Uuid::nil()),
            }));
        }
        for event in &events {
            evolve(&mut self.shards[number as usize], event);
            evolve(&mut self.replicas[number as usize], event);
            let (aggregate, version) = event.aggregate();
            self.versions.insert(aggregate.to_string(), version);
        }
    }

    /// A refund as the API would send it, having looked the original up on all shards.
    pub fn refund_of(&self, original: TransactionId, key: &str, sum: Option<&str>) -> Refund {
        let (mut found, mut earlier) = (None, None);
        for event in self.events() {
            match event {
                Event::TransactionRequested(requested) if requested.transaction == original => {
                    earlier = found;
                    found = requested.source.clone().zip(requested.destination.clone()).zip(requested.currency);
                }
                // What the key stood for before stands again.
                Event::TransactionFailed(failed) if failed.transaction == original && !failed.kept => {
                    found = earlier.take();
                }
                _ => {}
            }
        }
        let found =
            found.map(|((source, destination), currency)| Original { id: original, source, destination, currency });
        let limited = |account: &AccountId| {
            self.events().any(|event| {
                matches!(event, Event::AccountCreated(created)
                    if created.aggregate.id == *account && created.aggregate.stripe.is_none())
            })
        };
        let named = original.to_string();
        let deciding_account = match &found {
            Some(found) if limited(&found.destination) => found.destination.as_str(),
            Some(found) => found.source.as_str(),
            None => &named,
        };
        Refund {
            key: key.into(),
            named: named.as_str().into(),
            deciding_account: deciding_account.into(),
            original: found,
            amount: sum.map(amount),
            taken: None,
            reason: None,
        }
    }

    pub fn ask_refund(&mut self, original: TransactionId, key: &str, sum: Option<&str>) -> Seen {
        let refund = self.refund_of(original, key, sum);
        let answer = self.ask_as(Mode::Authority, Body::Refund(refund));
        self.seen(&answer)
    }
}

pub fn status_change(account: &AccountId, status: Status) -> ChangeAccount {
    ChangeAccount { account: account.clone(), status: Some(status), min: LimitChange::Keep, max: LimitChange::Keep }
}

pub fn limit_change(account: &AccountId, min: LimitChange, max: LimitChange) -> ChangeAccount {
    ChangeAccount { account: account.clone(), status: None, min, max }
}

/// The id that a move's key stands for.
pub fn transaction_of(request: &Move) -> TransactionId {
    TransactionId::derive("", request.deciding_account().as_str(), &request.key)
}

pub fn refusal(code: &str) -> Refusal {
    Refusal { status: 422, code: code.into(), body: "{}".into() }
}

pub fn alias(transaction: TransactionId, alias: &str) -> Alias {
    Alias { transaction, alias: alias.into() }
}

/// The kind of each move, with the types of accounts it goes from and to.
pub const MOVES: [(MoveKind, AccountType, AccountType); 3] = [
    (MoveKind::Topup, AccountType::External, AccountType::User),
    (MoveKind::Withdraw, AccountType::User, AccountType::External),
    (MoveKind::Transfer, AccountType::User, AccountType::User),
];
