//! How many legs a second go through, on the embedded log.

use super::rig::{Front, Relay, config, systems, transfer};
use super::systems::applied;
use eventlog::{EmbeddedLog, Log, NewRecord};
use std::sync::Arc;
use std::time::Instant;
use wire::rollout::{RolloutBody, RolloutRecord, Setting};
use wire::scalar::{Percent, Timestamp};
use wire::shadow::{ShadowBody, ShadowRecord};
use wire::stored::{decode, encode};
use wire::words::{Class, Stage, System};
use wire::{rollout, shadow};

const LEGS: u64 = 10_000;

async fn in_shadow(log: &EmbeddedLog) {
    let to = Setting { stage: Stage::Shadow, percent: Percent::NONE };
    let body = RolloutBody::Moved { version: 1, to, forced: false, evidence: Vec::new() };
    let parent = wire::chain::genesis(super::rig::LEDGER, rollout::TOPIC);
    let record = RolloutRecord { parent, at: Timestamp(1), actor: "t".into(), reason: "t".into(), body };
    log.append(rollout::TOPIC, 0, vec![NewRecord::of(encode(&record))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run alone, with --nocapture"]
async fn legs_per_second() {
    let directory = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(directory.path()).unwrap();
    in_shadow(&log).await;
    let (legacy, engine) = systems().await;
    let relay = Relay::on(config(&legacy.url(), &engine.url()), Arc::clone(&log) as Arc<dyn Log>).await;
    let mut front = Front::connect(&relay).await;
    let began = Instant::now();
    for index in 1..=LEGS {
        let sequence = front.write_intent(transfer(System::Legacy, index));
        let (from, to) = (format!("from-{index}"), format!("to-{index}"));
        front.write_result(sequence, Class::Applied, 200, &applied(&format!("L-{index}"), &from, &to));
        if index % 100 == 0 {
            front.ship_from(2 * (index - 100) + 1).await;
        }
    }
    let mut concluded = 0;
    let mut tail = log.tail(shadow::TOPIC, 0, 0);
    while concluded < LEGS {
        for record in tail.next(1_000).await.unwrap() {
            let shadow: ShadowRecord = decode(&record.value).unwrap();
            concluded += u64::from(matches!(shadow.body, ShadowBody::Result(result) if result.last));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{LEGS} legs in {seconds:.2} s: {:.0}/s, {:?}", LEGS as f64 / seconds, log.counters());
    relay.stop().await.unwrap();
}
