//! Random histories. Sequential ones come out the same for every number of shards; concurrent ones keep every law
//! after every single outcome, in whatever order the shards get to decide.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{LimitChange, Move, MoveKind};
use engine_domain::{AccountId, AccountType, Answer, Body, Command, Mode, Money, Status, Timestamp, TransactionId};
use proptest::prelude::*;

/// Accounts, by index: USERs, some with limits; shared ones; limited shared ones; one that is never made.
const ACCOUNTS: [(&str, AccountType, Option<&str>, Option<&str>); 11] = [
    ("alice", AccountType::User, None, None),
    ("bob", AccountType::User, Some("2"), None),
    ("carol", AccountType::User, None, Some("30")),
    ("dave", AccountType::User, Some("0"), Some("15.5")),
    ("erin", AccountType::User, None, None),
    ("frank", AccountType::User, None, None),
    ("bank", AccountType::External, None, None),
    ("house", AccountType::System, None, None),
    ("till", AccountType::External, Some("-25"), None),
    ("fund", AccountType::System, Some("-40"), Some("10")),
    ("nobody", AccountType::User, None, None),
];

#[derive(Debug, Clone)]
struct Request {
    what: What,
    /// The key, among few: retries and duplicates happen.
    key: u8,
    mode: Mode,
    keeps_refusals: bool,
}

#[derive(Debug, Clone)]
enum What {
    Move(MoveKind, usize, usize, u32),
    /// The how-manieth move before, and how much of it.
    Refund(usize, Option<u32>),
    Status(usize, Status),
    Max(usize, Option<u32>),
}

fn requests(modes: bool, length: usize) -> impl Strategy<Value = Vec<Request>> {
    let account = || 0..ACCOUNTS.len();
    let user = || 0..6_usize;
    let shared = || 6..10_usize;
    // Hundredths, so that some amounts have decimals.
    let sum = || 1..1200_u32;
    let kind = prop_oneof![Just(MoveKind::Topup), Just(MoveKind::Withdraw), Just(MoveKind::Transfer)];
    let status = prop_oneof![3 => Just(Status::Active), 1 => Just(Status::Frozen), 1 => Just(Status::Closed)];
    let what = prop_oneof![
        6 => (shared(), user(), sum()).prop_map(|(from, to, sum)| What::Move(MoveKind::Topup, from, to, sum)),
        3 => (user(), shared(), sum()).prop_map(|(from, to, sum)| What::Move(MoveKind::Withdraw, from, to, sum)),
        6 => (user(), account(), sum()).prop_map(|(from, to, sum)| What::Move(MoveKind::Transfer, from, to, sum)),
        1 => (kind, account(), account(), sum()).prop_map(|(kind, from, to, sum)| What::Move(kind, from, to, sum)),
        3 => (0..8_usize, prop::option::of(sum())).prop_map(|(back, sum)| What::Refund(back, sum)),
        1 => (account(), status).prop_map(|(account, status)| What::Status(account, status)),
        1 => (account(), prop::option::of(0..4000_u32)).prop_map(|(account, max)| What::Max(account, max)),
    ];
    let mode = match modes {
        false => Just(Mode::Authority).boxed(),
        true => prop_oneof![
            4 => Just(Mode::Authority), 3 => Just(Mode::Shadow), 1 => Just(Mode::ShadowRefused), 1 => Just(Mode::Forced)
        ]
        .boxed(),
    };
    let request = (what, any::<u8>(), mode, prop::bool::weighted(0.8))
        .prop_map(|(what, key, mode, keeps_refusals)| Request { what, key: key % 60, mode, keeps_refusals });
    prop::collection::vec(request, 1..length)
}

/// The next number of a sequence that `state` began (SplitMix64).
fn next_random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) as usize
}

/// A ledger with its accounts, and the moves asked for so far.
struct Ledger {
    cluster: Cluster,
    moves: Vec<TransactionId>,
}

fn account(index: usize) -> AccountId {
    id(ACCOUNTS[index].0)
}

impl Ledger {
    fn new(shards: u32) -> Self {
        let mut cluster = Cluster::new(shards);
        for (name, account_type, min, max) in &ACCOUNTS[..10] {
            cluster.create(new_account(&id(name), *account_type, limits(*min, *max)));
        }
        Self { cluster, moves: Vec::new() }
    }

    fn command(&mut self, request: &Request) -> Command {
        let key = format!("key-{}", request.key);
        let hundredths = |sum: u32| format!("{}.{:02}", sum / 100, sum % 100);
        let body = match &request.what {
            What::Move(kind, source, destination, sum) => {
                let request = a_move(*kind, &key, &account(*source), &account(*destination), &hundredths(*sum));
                self.moves.push(transaction_of(&request));
                Body::Move(request)
            }
            What::Refund(back, sum) => {
                let newest_first = self.moves.iter().rev().nth(*back).copied();
                let original = newest_first.unwrap_or(TransactionId::derive("", "alice", "never"));
                Body::Refund(self.cluster.refund_of(original, &key, sum.map(hundredths).as_deref()))
            }
            What::Status(index, status) => Body::ChangeAccount(status_change(&account(*index), *status)),
            What::Max(index, max) => {
                let max = max.map_or(LimitChange::Remove, |max| LimitChange::Set(money(&hundredths(max))));
                Body::ChangeAccount(limit_change(&account(*index), LimitChange::Keep, max))
            }
        };
        let mut command = self.cluster.command(request.mode, body);
        command.keeps_refusals = request.keeps_refusals;
        command.refusal = (request.mode == Mode::ShadowRefused).then(|| refusal("InsufficientBalance"));
        command
    }

    fn balances(&self) -> Vec<Money> {
        (0..ACCOUNTS.len()).map(|index| self.cluster.balance(&account(index))).collect()
    }
}

fn sequentially(shards: u32, requests: &[Request]) -> (Vec<(bool, Seen)>, Vec<Money>) {
    let mut ledger = Ledger::new(shards);
    let mut all_seen = Vec::new();
    for request in requests {
        let command = ledger.command(request);
        let answer = ledger.cluster.ask(command);
        all_seen.push((matches!(answer, Answer::Final { .. }), ledger.cluster.seen(&answer)));
    }
    (all_seen, ledger.balances())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sequential_history_is_the_same_for_every_number_of_shards(requests in requests(true, 60)) {
        let one = sequentially(1, &requests);
        for shards in [2, 3, 10] {
            let many = sequentially(shards, &requests);
            for (index, request) in requests.iter().enumerate() {
                prop_assert_eq!(&one.0[index], &many.0[index], "request {}: {:?}", index, request);
            }
            prop_assert_eq!(&one.1, &many.1, "balances on {} shards", shards);
        }
    }

    #[test]
    fn any_order_of_shards_keeps_the_laws(requests in requests(false, 80), seed in any::<u64>()) {
        let mut ledger = Ledger::new(4);
        let mut random = seed;
        let mut asked = Vec::new();
        let mut pending = requests.iter();
        loop {
            let choice = next_random(&mut random);
            // Every few turns a new request comes in, or every awaited step is asked again.
            if choice.is_multiple_of(3) && let Some(request) = pending.next() {
                let command = ledger.command(request);
                asked.push(command.id);
                ledger.cluster.submit(command);
            }
            if choice.is_multiple_of(11) {
                for shard in 0..4 {
                    for again in ledger.cluster.shards[shard].open_steps(Timestamp(0)) {
                        ledger.cluster.deliver(again.shard, again.command);
                    }
                }
            }
            match ledger.cluster.busy()[..] {
                [] if pending.len() == 0 => break,
                [] => {}
                ref busy => drop(ledger.cluster.step(busy[(choice / 11) % busy.len()])),
            }
            prop_assert!(ledger.cluster.journal.len() < 20_000, "it never ends");
        }
        ledger.cluster.check_quiet();
        for to in asked {
            prop_assert!(ledger.cluster.answer_to(to).is_final());
        }
        let total: Money = ledger.balances().into_iter().sum();
        prop_assert_eq!(total, Money::ZERO);
    }
}

#[test]
fn keys_of_all_kinds_of_moves_are_distinct() {
    let (alice, bob) = (id("alice"), id("bob"));
    let contents: Vec<_> = MOVES.iter().map(|(kind, ..)| a_move(*kind, "key", &alice, &bob, "1").content()).collect();
    assert!(contents[0] != contents[1] && contents[1] != contents[2] && contents[0] != contents[2]);
    let other: Move = a_move(MoveKind::Topup, "other key", &alice, &bob, "1.0");
    assert_eq!(other.content(), contents[0], "the key itself is not part of what it stands for");
    assert_eq!(Limits::default(), limits(None, None));
}
