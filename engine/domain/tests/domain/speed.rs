//! How much a shard keeps, and how fast it decides and evolves on one core. The latter is not a gate: run it with
//! `cargo test --release -p engine-domain speed -- --ignored --nocapture`.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{Command, MoveKind};
use engine_domain::{Account, AccountType, Body, Mode, Remembered, Shard, Timestamp, TransactionId, decide, evolve};

#[test]
fn what_is_remembered_of_a_transaction_is_small() {
    assert!(size_of::<(TransactionId, Remembered)>() <= 128);
    assert!(size_of::<Account>() <= 128);
}

const ACCOUNTS: u32 = 10_000;
const TOPUPS: u32 = 500_000;

#[test]
#[ignore = "a measurement"]
fn topups_per_second() {
    let mut cluster = Cluster::new(1);
    let mut shard = Shard::new(0, 1);
    let mut offset = 0;
    let mut run = |shard: &mut Shard, command: &Command| {
        let decision = decide(shard, command, offset, Timestamp(0));
        offset += 1;
        decision.events.iter().for_each(|event| evolve(shard, event));
        let now = shard.mark();
        shard.forget_before(now);
    };
    let bank = id("bank");
    let users: Vec<_> = (0..ACCOUNTS).map(|number| id(&format!("user-{number}"))).collect();
    let bank_account = new_account(&bank, AccountType::External, Limits::default());
    let user_accounts = users.iter().map(|user| new_account(user, AccountType::User, Limits::default()));
    for create in std::iter::once(bank_account).chain(user_accounts) {
        let command = cluster.command(Mode::Authority, Body::CreateAccount(create));
        run(&mut shard, &command);
    }
    let commands: Vec<_> = (0..TOPUPS)
        .map(|number| {
            let user = &users[(number % ACCOUNTS) as usize];
            let request = a_move(MoveKind::Topup, &format!("key-{number}"), &bank, user, "1.25");
            cluster.command(Mode::Authority, Body::Move(request))
        })
        .collect();
    #[expect(clippy::disallowed_types, reason = "a measurement needs a clock")]
    let began = std::time::Instant::now();
    commands.iter().for_each(|command| run(&mut shard, command));
    let took = began.elapsed();
    println!("{TOPUPS} topups in {took:?}: {} per second", u128::from(TOPUPS) * 1000 / took.as_millis());
}
