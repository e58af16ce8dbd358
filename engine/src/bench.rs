//! How fast this machine decides, without log, network or waiting: `crossfade bench core`.

use engine_domain::command::{CreateAccount, Move, MoveKind};
use engine_domain::money::Amount;
use engine_domain::{
    AccountId, AccountType, Body, Command, CommandId, Currency, Limits, Mode, Money, Shard, Timestamp, decide, evolve,
};
use std::time::Duration;
use uuid::Uuid;

/// Accounts that take part: more than a processor's nearest cache holds.
const ACCOUNTS: usize = 10_000;
/// Commands that are made before the clock runs.
const AT_ONCE: usize = 50_000;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Core {
    /// Commands decided on, and their events taken into the state.
    pub decisions: u64,
    /// How long that took, on one core.
    pub took: Duration,
}

/// Decides on `decisions` commands of one shard: of ten, five topups, two withdrawals, three transfers; `done` hears how many
/// there were so far. What an owner does besides is done too: it can go back to before each of them.
pub fn core(decisions: u64, mut done: impl FnMut(u64)) -> Core {
    let (mut shard, mut offset) = (Shard::new(0, 1), 0);
    let accounts = accounts();
    for (account, account_type) in &accounts {
        take(&mut shard, &command(offset, create(account, *account_type)), &mut offset);
    }
    let (mut took, mut left, mut number) = (Duration::ZERO, decisions, 0);
    while left > 0 {
        let count = left.min(AT_ONCE as u64);
        let commands: Vec<Command> =
            (number..number + count).map(|number| command(number + 1_000_000, movement(&accounts, number))).collect();
        let began = host::clock::now();
        commands.iter().for_each(|command| take(&mut shard, command, &mut offset));
        took += began.elapsed();
        (number, left) = (number + count, left - count);
        done(decisions - left);
    }
    Core { decisions, took }
}

fn take(shard: &mut Shard, command: &Command, offset: &mut u64) {
    let decision = decide(shard, command, *offset, Timestamp(0));
    *offset += 1;
    decision.events.iter().for_each(|event| evolve(shard, event));
    let now = shard.mark();
    shard.forget_before(now);
}

/// The outside world, and users.
fn accounts() -> Vec<(AccountId, AccountType)> {
    let id = |text: String| AccountId::new(&text).expect("an id in the grammar");
    let users = (0..ACCOUNTS).map(|number| (id(format!("user-{number}")), AccountType::User));
    std::iter::once((id("world".to_owned()), AccountType::External)).chain(users).collect()
}

fn create(account: &AccountId, account_type: AccountType) -> Body {
    Body::CreateAccount(CreateAccount {
        key: None,
        account: account.clone(),
        owner_id: "bench".into(),
        owner_type: "bench".into(),
        account_type,
        currency: euro(),
        limits: Limits::default(),
        metadata: None,
    })
}

fn movement(accounts: &[(AccountId, AccountType)], number: u64) -> Body {
    let user = |number: u64| accounts[1 + (number % ACCOUNTS as u64) as usize].0.clone();
    let world = || accounts[0].0.clone();
    // Far apart, and every user comes about as often as any other.
    let (one, two) = (user(number.wrapping_mul(7_919)), user(number.wrapping_mul(104_729) + 1));
    let (kind, source, destination, cents) = match number % 10 {
        0..5 => (MoveKind::Topup, world(), one, 1_250),
        5..7 => (MoveKind::Withdraw, one, world(), 310),
        _ => (MoveKind::Transfer, one, two, 275),
    };
    let amount = Money::new(rust_decimal::Decimal::new(cents, 2)).and_then(Amount::new).expect("an amount");
    Body::Move(Move {
        kind,
        key: format!("key-{number}").into(),
        source,
        destination,
        amount,
        currency: euro(),
        reference: None,
        metadata: None,
    })
}

fn command(number: u64, body: Body) -> Command {
    Command {
        id: CommandId(Uuid::from_u128(u128::from(number))),
        at: Timestamp(0),
        correlation_id: "bench".into(),
        actor: "bench".into(),
        mode: Mode::Authority,
        tenant: "".into(),
        keeps_refusals: true,
        alias: None,
        refusal: None,
        body,
    }
}

fn euro() -> Currency {
    Currency::new("EUR").expect("a currency")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_decides_on_as_many_as_it_says() {
        let mut heard = Vec::new();
        let measured = core(120_000, |done| heard.push(done));
        assert_eq!((measured.decisions, heard), (120_000, vec![50_000, 100_000, 120_000]));
        assert!(measured.took > Duration::ZERO);
    }
}
