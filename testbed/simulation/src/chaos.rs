//! What happens to processes, duties and clocks.

use crate::fired::What;
use crate::process::Process;
use crate::world::World;
use host::{clock, task};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use wire::journal::{COMMANDS, JOURNAL};

/// A process that was killed or stopped comes back within this time.
const BACK_WITHIN_MS: u64 = 3_000;
/// A process that stands still does so for up to this long: others have long been given its shards.
const LONGEST_PAUSE_MS: u64 = 40_000;
/// What is written by somebody who knows nothing of the ledger.
pub const LITTER: &[u8] = b"{\"not\":\"of this ledger\"}";
/// A clock is moved by up to an hour.
const CLOCK_MICROS: i64 = 3_600_000_000;

/// Strikes again and again, until it is aborted.
pub async fn run(world: Arc<World>) {
    loop {
        let calm = world.draw(|random| random.u64(..=world.shape.calm.as_millis() as u64 * 2));
        clock::sleep(Duration::from_millis(calm)).await;
        let (blow, victim) = world.draw(|random| (random.u8(..12), random.usize(..world.processes.len())));
        let process = &world.processes[victim];
        match blow {
            0..3 if process.kill() => {
                world.happened(What::Killed, &victim.to_string());
                task::spawn(back(Arc::clone(&world), victim));
            }
            3 if process.stop() => {
                world.happened(What::Restarted, &victim.to_string());
                task::spawn(back(Arc::clone(&world), victim));
            }
            4..6 => pause(&world, process),
            6..9 => reassign(&world),
            9 => move_clock(&world),
            10 => rot(&world),
            11 => litter(&world),
            _ => {}
        }
    }
}

async fn back(world: Arc<World>, victim: usize) {
    let after = world.draw(|random| random.u64(..=BACK_WITHIN_MS));
    clock::sleep(Duration::from_millis(after)).await;
    if world.heals() {
        return;
    }
    world.processes[victim].start(&world);
    world.note(&format!("{victim} is back"));
    reassign(&world);
}

fn pause(world: &Arc<World>, process: &Process) {
    let Some(running) = process.running() else { return };
    world.happened(What::Paused, &process.number.to_string());
    running.client.pause();
    let longest = world.draw(|random| if random.bool() { LONGEST_PAUSE_MS } else { LONGEST_PAUSE_MS / 40 });
    let pause = world.draw(|random| random.u64(..=longest));
    task::spawn(async move {
        clock::sleep(Duration::from_millis(pause)).await;
        running.client.resume();
    });
}

/// Gives every shard to somebody: mostly one, sometimes several or nobody.
pub fn reassign(world: &World) {
    let mut duties = vec![BTreeSet::new(); world.processes.len()];
    for shard in 0..world.shape.shards {
        let (kind, first, second) = world.draw(|random| {
            let processes = world.processes.len();
            (random.u8(..10), random.usize(..processes), random.usize(..processes))
        });
        match kind {
            0 => world.happened(What::NobodysDuty, &shard.to_string()),
            1..4 => {
                if first != second {
                    world.happened(What::SharedDuty, &shard.to_string());
                }
                duties[first].insert(shard);
                duties[second].insert(shard);
            }
            _ => {
                duties[first].insert(shard);
            }
        }
    }
    world.happened(What::Reassigned, &format!("{duties:?}"));
    world.processes.iter().zip(&duties).for_each(|(process, shards)| process.assign(shards));
}

fn rot(world: &World) {
    let shard = world.draw(|random| random.u32(..world.shape.shards));
    if world.broker.rot(wire::snapshot::TOPIC, shard, |bound| world.draw(|random| random.usize(..bound))) {
        world.happened(What::SnapshotRotten, &shard.to_string());
    }
}

fn litter(world: &World) {
    let (topic, shard) = world.draw(|random| {
        let topic = if random.bool() { COMMANDS } else { JOURNAL };
        (topic, random.u32(..world.shape.shards))
    });
    let offset = world.broker.put(topic, shard, LITTER);
    world.happened(What::Garbage, &format!("{topic} {shard} {offset}"));
}

fn move_clock(world: &World) {
    let micros = world.draw(|random| random.i64(-CLOCK_MICROS..=CLOCK_MICROS));
    world.happened(if micros < 0 { What::ClockBack } else { What::ClockAhead }, &micros.to_string());
    world.broker.move_clock(micros);
}
