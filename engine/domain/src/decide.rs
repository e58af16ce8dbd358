//! The rules: from a shard's state and a command to a decision.
//!
//! | module | what |
//! |---|---|
//! | `account` | accounts are made and changed |
//! | `transaction` | transactions are asked for: keys, modes, refusals |
//! | `saga` | works are carried out as far as this shard can, now or when an awaited step is done |
//! | `plan` | which step comes next, forwards or back |
//! | `step` | one step on one account: checked, and posted |
//! | `draft` | a decision while it is made |

mod account;
mod draft;
mod plan;
mod saga;
mod step;
mod transaction;

use crate::command::{Alias, Body, Command};
use crate::event::{AliasLearnt, Event};
use crate::ids::Timestamp;
use crate::outcome::{Answer, Decision};
use crate::shard::Shard;
use draft::Draft;

/// Decides on a command. `source_offset` is its place among the shard's commands; `at` is the log's time of it, made
/// never to fall within a shard. Equal arguments give equal decisions, whoever decides.
pub fn decide(shard: &Shard, command: &Command, source_offset: u64, at: Timestamp) -> Decision {
    let mut draft = Draft::new(shard, source_offset, at);
    let answer = match &command.body {
        Body::CreateAccount(create) => account::create(&mut draft, command, create),
        Body::ChangeAccount(change) => account::change(&mut draft, command, change),
        Body::Move(request) => transaction::request_move(&mut draft, command, request),
        Body::Refund(refund) => transaction::request_refund(&mut draft, command, refund),
        Body::Step(step) => saga::take_step(&mut draft, command, step),
        Body::StepDone(done) => saga::go_on(&mut draft, done),
        Body::Aliases(aliases) => learn(&mut draft, command, aliases),
        Body::Unreadable { .. } => Answer::Unreadable,
    };
    draft.into_decision(answer)
}

/// Notes the other system's ids. The first one stands; what is not remembered has no use for one.
fn learn(draft: &mut Draft<'_>, command: &Command, aliases: &[Alias]) -> Answer {
    let mut learnt = Vec::new();
    for Alias { transaction, alias } in aliases {
        let known = draft.shard.transaction(*transaction).filter(|known| known.alias.is_none());
        if let Some(known) = known.filter(|_| !learnt.contains(transaction)) {
            learnt.push(*transaction);
            let version = known.version + 1;
            draft.emit(Event::AliasLearnt(AliasLearnt { transaction: *transaction, version, alias: alias.clone() }));
        }
    }
    Answer::Noted { to: command.id }
}
