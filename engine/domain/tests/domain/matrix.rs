//! Each saga, each of its steps, and what can happen at it: refused, its owner dead before or after, twice, late. The table of
//! what comes of it is `docs/sagas.md`.

use crate::cluster::*;
use engine_domain::account::Limits;
use engine_domain::command::{CreateAccount, MoveKind, Step};
use engine_domain::saga::{Action, Stage, Taken};
use engine_domain::{AccountId, AccountType, Answer, Body, Command, Event, Mode, Money, Position, Status};
use std::fmt::Write as _;

/// What happens to the command in whose outcome a step is done.
#[derive(Clone)]
enum Disturbance {
    /// Something is decided just before it, so that a rule refuses the step.
    Refused(Box<Command>),
    /// The owner dies before it decides. Whoever waits asks again.
    DeadBefore,
    /// The owner dies once the outcome is accepted: what it was to send is lost.
    DeadAfter,
    /// It comes twice.
    Twice,
    /// It comes when everything is over. Whoever waits asks again before that.
    Late,
}

/// A saga: the ledger before it, and the request.
struct Saga {
    cluster: Cluster,
    request: Command,
    /// The accounts whose balances it may change.
    accounts: Vec<AccountId>,
    /// What is decided on a shard just before it blocks its stripe.
    between: Option<(u32, Command)>,
}

/// How a saga ended.
#[derive(Debug, Clone, PartialEq)]
struct Ended {
    /// The answer, without which command it answers.
    answer: String,
    /// The steps, in order.
    taken: Vec<Taken>,
    balances: Vec<Money>,
}

const SHARDS: u32 = 3;
type Make = fn() -> Saga;

/// Sagas that end well, and the same ones where the last step forwards is refused, so that all others are undone.
const SAGAS: [(&str, Make); 11] = [
    ("topup from a limited account", || moves(MoveKind::Topup, "capped", "alice", None)),
    ("… refused by its destination", || moves(MoveKind::Topup, "capped", "alice", Some("alice"))),
    ("withdrawal to a limited account", || moves(MoveKind::Withdraw, "alice", "capped", None)),
    ("transfer", || moves(MoveKind::Transfer, "alice", "bob", None)),
    ("… refused by its destination", || moves(MoveKind::Transfer, "alice", "bob", Some("bob"))),
    ("refund of a transfer", || refunds(None)),
    ("… refused by its destination", || refunds(Some("alice"))),
    ("shared account: made", made),
    ("shared account: frozen", || changed(Status::Frozen)),
    ("shared account: closed", || changed(Status::Closed)),
    ("… while something moves", closed_too_early),
];

/// Alice's home is shard 0, Bob's 1, Carol's 2, as a limited EXTERNAL account's; a shared one is everywhere, its home is 0.
fn ledger() -> Cluster {
    let mut cluster = Cluster::new(SHARDS);
    for name in ["alice", "bob", "carol"] {
        cluster.create(new_account(&named(name), AccountType::User, Limits::default()));
        cluster.fund(&named(name), money("20"));
    }
    cluster.create(new_account(&named("capped"), AccountType::External, limits(Some("-50"), Some("50"))));
    cluster
}

fn named(name: &str) -> AccountId {
    let home = match name {
        "bob" => 1,
        "carol" | "capped" => 2,
        _ => 0,
    };
    id_on(name, home, SHARDS)
}

fn moves(kind: MoveKind, from: &str, to: &str, frozen: Option<&str>) -> Saga {
    let mut cluster = ledger();
    frozen.into_iter().for_each(|name| drop(cluster.set_status(&named(name), Status::Frozen)));
    let request = a_move(kind, "key", &named(from), &named(to), "5");
    let request = cluster.command(Mode::Authority, Body::Move(request));
    Saga { cluster, request, accounts: vec![named(from), named(to)], between: None }
}

fn refunds(frozen: Option<&str>) -> Saga {
    let mut cluster = ledger();
    let original = a_move(MoveKind::Transfer, "original", &named("alice"), &named("bob"), "10");
    let transaction = transaction_of(&original);
    assert_eq!(cluster.ask_move(original).code, None);
    frozen.into_iter().for_each(|name| drop(cluster.set_status(&named(name), Status::Frozen)));
    let refund = cluster.refund_of(transaction, "key", Some("4"));
    let request = cluster.command(Mode::Authority, Body::Refund(refund));
    Saga { cluster, request, accounts: vec![named("alice"), named("bob")], between: None }
}

fn made() -> Saga {
    let mut cluster = ledger();
    let create = new_account(&named("bank"), AccountType::External, Limits::default());
    let request =
        cluster.command(Mode::Authority, Body::CreateAccount(CreateAccount { key: Some("key".into()), ..create }));
    Saga { cluster, request, accounts: vec![named("bank")], between: None }
}

fn changed(to: Status) -> Saga {
    let mut cluster = ledger();
    cluster.create(new_account(&named("bank"), AccountType::External, Limits::default()));
    let request = cluster.command(Mode::Authority, Body::ChangeAccount(status_change(&named("bank"), to)));
    Saga { cluster, request, accounts: vec![named("bank"), named("alice"), named("bob")], between: None }
}

/// Nothing is on it when its stripes are asked, and something when they are blocked.
fn closed_too_early() -> Saga {
    let mut saga = changed(Status::Closed);
    let moved = a_move(MoveKind::Topup, "between", &named("bank"), &named("bob"), "1");
    let command = saga.cluster.command(Mode::Authority, Body::Move(moved));
    saga.between = Some((named("bob").shard(SHARDS), command));
    saga
}

fn blocks(command: &Command) -> bool {
    matches!(&command.body, Body::Step(step) if step.action.stage() == Stage::BlockStripe)
}

/// Runs a saga to its end, with a disturbance at the command of that place.
fn run(saga: Saga, mut at: Option<(Position, Disturbance)>) -> Ended {
    let Saga { mut cluster, request, accounts, mut between } = saga;
    let from = cluster.journal.len();
    cluster.submit(request.clone());
    let mut late = None;
    loop {
        let Some(&shard) = cluster.busy().first() else {
            if cluster.ask_again() {
                continue;
            }
            let Some((shard, command)) = late.take() else { break };
            cluster.deliver(shard, command);
            continue;
        };
        if let Some((_, command)) = between.take_if(|(at, _)| *at == shard && blocks(cluster.next_command(shard))) {
            cluster.interpose(shard, command);
            continue;
        }
        match at.take_if(|(place, _)| *place == cluster.next_of(shard)) {
            None => drop(cluster.step(shard)),
            Some((_, Disturbance::Refused(command))) => {
                cluster.interpose(shard, *command);
                cluster.step(shard);
            }
            Some((_, Disturbance::DeadBefore)) => {
                cluster.restart(shard);
                let command = cluster.withhold(shard);
                cluster.interpose(shard, command.clone());
                cluster.deliver(shard, command);
            }
            Some((_, Disturbance::DeadAfter)) => {
                cluster.step_and_lose(shard);
                cluster.restart(shard);
            }
            Some((_, Disturbance::Twice)) => {
                let command = cluster.withhold(shard);
                cluster.interpose(shard, command.clone());
                cluster.interpose(shard, command);
            }
            Some((_, Disturbance::Late)) => {
                let command = cluster.withhold(shard);
                if command == request {
                    // A client that hears nothing sends its request again.
                    cluster.deliver(shard, command.clone());
                }
                late = Some((shard, command));
            }
        }
        assert!(cluster.journal.len() < 1_000, "it never ends");
    }
    assert!(at.is_none(), "the step was never reached");
    cluster.check_quiet();
    let taken = taken(&cluster, from);
    // The first one: whoever asks for a change twice, without a key, may be told that there is nothing to change.
    let mut answers = cluster.journal[from..].iter().map(|outcome| &outcome.answer);
    let first = answers.find(|answer| answer.is_final() && answer.to() == Some(request.id)).expect("it is answered");
    let answer = answer(&cluster, first);
    Ended { answer, taken, balances: accounts.iter().map(|account| cluster.balance(account)).collect() }
}

fn answer(cluster: &Cluster, answer: &Answer) -> String {
    match answer {
        Answer::Final { .. } => cluster.seen(answer).code.map_or("completed".to_owned(), |code| code.to_string()),
        Answer::Account { .. } => "completed".to_owned(),
        Answer::Refused { rejection, .. } => rejection.to_string(),
        other => panic!("no end: {other:?}"),
    }
}

/// The steps of the saga that began since `from`, as they were taken.
fn taken(cluster: &Cluster, from: usize) -> Vec<Taken> {
    let mut all = Vec::new();
    for event in cluster.journal[from..].iter().flat_map(|outcome| &outcome.events) {
        match event {
            Event::SagaStarted(saga) => all.extend(saga.taken.clone()),
            Event::SagaStepCompleted(step) => all.push(step.taken.clone()),
            Event::SagaStepFailed(step) => all.push(step.taken.clone()),
            _ => {}
        }
    }
    all
}

/// What has to be decided before a step for a rule to refuse it; `None` if none can.
fn refusing(saga: &mut Saga, step: &Taken) -> Option<Command> {
    let freeze = |name: &str| Body::ChangeAccount(status_change(&named(name), Status::Frozen));
    let (request, home) = (&saga.request.body, step.done_at.shard);
    let body = match (request, step.stage) {
        (Body::Move(asked), Stage::Reserve) => Body::ChangeAccount(status_change(&asked.source, Status::Frozen)),
        // What was reserved is there to be drawn.
        (Body::Move(asked), Stage::Debit) if asked.kind != MoveKind::Transfer => {
            Body::ChangeAccount(status_change(&asked.source, Status::Frozen))
        }
        (Body::Move(asked), Stage::Credit) => Body::ChangeAccount(status_change(&asked.destination, Status::Frozen)),
        (Body::Refund(refund), Stage::Hold) => {
            // Another refund takes all that is left.
            let original = refund.original.clone()?.id;
            let action = Action::Hold { original, refund: original, amount: None };
            Body::Step(Step { saga: Position { shard: 1, offset: 999 }, action })
        }
        (Body::Refund(_), Stage::Debit) => freeze("bob"),
        (Body::Refund(_), Stage::Credit) => freeze("alice"),
        (Body::ChangeAccount(change), Stage::AskStripe | Stage::BlockStripe)
            if change.status == Some(Status::Closed) =>
        {
            // Something moves on this stripe.
            let user = ["alice", "bob", "carol"].into_iter().find(|name| named(name).shard(SHARDS) == home)?;
            Body::Move(a_move(MoveKind::Topup, "between", &named("bank"), &named(user), "1"))
        }
        _ => return None,
    };
    Some(saga.cluster.command(Mode::Authority, body))
}

/// One line of the table, and everything that has to hold for it.
fn line(name: &str, make: Make, well: &Ended, step: &Taken) -> String {
    let mut saga = make();
    let before: Vec<Money> = saga.accounts.iter().map(|account| saga.cluster.balance(account)).collect();
    let refused = match refusing(&mut saga, step) {
        _ if step.answer.rejection().is_some() => format!("it is: {}", well.answer),
        None => "cannot be".to_owned(),
        Some(command) => {
            let moves = matches!(command.body, Body::Move(_));
            let ended = run(saga, Some((step.done_at, Disturbance::Refused(Box::new(command)))));
            assert_ne!(ended.answer, "completed", "{name}, {step:?}");
            assert!(moves || ended.balances == before, "{name}, {step:?}: something is left of it: {ended:?}");
            let undone = ended
                .taken
                .iter()
                .filter(|taken| undoes(taken.stage, &ended))
                .map(|taken| format!("{:?}", taken.stage));
            let undone = undone.collect::<Vec<_>>().join(", ");
            format!(
                "{}{}",
                ended.answer,
                if undone.is_empty() { String::new() } else { format!("; undone by {undone}") }
            )
        }
    };
    let mut line = format!("| {name} | {:?}, shard {} | {refused} |", step.stage, step.done_at.shard);
    for disturbance in [Disturbance::DeadBefore, Disturbance::DeadAfter, Disturbance::Twice, Disturbance::Late] {
        let ended = run(make(), Some((step.done_at, disturbance)));
        assert_eq!((&ended.answer, &ended.balances), (&well.answer, &well.balances), "{name}, {step:?}");
        let stages =
            |ended: &Ended| ended.taken.iter().map(|taken| (taken.stage, taken.done_at.shard)).collect::<Vec<_>>();
        // A change has no key: one that comes late is another attempt, when the first one is over.
        let (once, done) = (stages(well), stages(&ended));
        let again = matches!(make().request.body, Body::ChangeAccount(_)) && done.starts_with(&once);
        assert!(done == once || again, "{name}, {step:?}: every step is done once, not {done:?}");
        let _ = write!(line, " {} |", ended.answer);
    }
    line
}

/// Whether a step that was taken undoes another one.
fn undoes(stage: Stage, ended: &Ended) -> bool {
    match stage {
        Stage::GiveBack | Stage::Unhold | Stage::UnblockStripe => true,
        Stage::Release => ended.taken.iter().any(|taken| taken.answer.rejection().is_some()),
        _ => false,
    }
}

fn table() -> String {
    let mut table = "| saga | step | refused | owner dead before | owner dead after | twice | late |\n".to_owned();
    table.push_str("|---|---|---|---|---|---|---|\n");
    let mut whole = "";
    for (name, make) in SAGAS {
        let well = run(make(), None);
        whole = if name.starts_with('…') { whole } else { name };
        let name = name.replace('…', whole);
        for step in &well.taken {
            table.push_str(&line(&name, make, &well, step));
            table.push('\n');
        }
    }
    table
}

const GENERATED: &str = "<!-- from here on written by engine/domain/tests/domain/matrix.rs: `./dev golden` -->\n";

#[test]
#[expect(clippy::disallowed_methods, reason = "whoever wants the table to be written says so")]
fn golden_table_of_sagas() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sagas.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (said, found) = document.split_once(GENERATED).unwrap();
    let table = format!("\n{}", table());
    if std::env::var("CROSSFADE_WRITE_GOLDEN").is_ok() {
        return std::fs::write(&path, format!("{said}{GENERATED}{table}")).unwrap();
    }
    assert_eq!(found, table, "docs/sagas.md says something else than the rules do: `./dev golden`");
}
