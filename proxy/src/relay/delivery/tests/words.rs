//! Stories of effects that nobody could find out, and of what a person says of them.

use super::super::Facts;
use super::super::answer::Answer;
use super::super::{Rules, resolve::Finding};
use super::given;
use super::story::Story;
use wire::decision::{DecisionBody, DecisionRecord};
use wire::exchange::Intent;
use wire::ids::ExchangeNumber;
use wire::scalar::{Digest, Timestamp};
use wire::shadow::{ResolvedBy, ShadowBody};
use wire::words::System::{Engine, Legacy};
use wire::words::{Class, Mode, Stage, System};

fn story() -> Story {
    let mut story = Story::with(Rules { legacy_deduplicates: false, ..given::rules() });
    story.delivery.learnt(&"bank".into(), Some(Facts { limited: false }), Timestamp(story.now));
    story
}

fn say(story: &mut Story, sequence: u64, system: System, applied: bool) {
    let exchange = ExchangeNumber { front: given::FRONT.to_owned(), boot: 1, sequence };
    let body = DecisionBody::Told { exchange, system, applied };
    let (at, parent) = (Timestamp(story.now), Digest::default());
    let (actor, reason) = ("anna".to_owned(), "seen in the books".to_owned());
    story.delivery.take_decision(DecisionRecord { parent, at, actor, reason, body });
    story.act();
}

/// What was said of an exchange and written down: class, system, and by whom.
fn said(story: &Story) -> Vec<(Class, System, ResolvedBy)> {
    let resolution = |record: &wire::shadow::ShadowRecord| match &record.body {
        ShadowBody::Resolved(resolution) => Some((resolution.class, resolution.system, resolution.by.clone())),
        _ => None,
    };
    story.shadows.iter().filter_map(|(_, record)| resolution(record)).collect()
}

fn anna() -> ResolvedBy {
    ResolvedBy::Person { actor: "anna".into(), reason: "seen in the books".into() }
}

/// A result of the legacy that nobody knows, and an exchange behind it.
fn unknown_at_the_authority(story: &mut Story) -> (u64, u64) {
    let unknown = story.intent("k1", given::topup(Legacy, "alice"));
    story.result(unknown, Class::Unknown, 0, "");
    let behind = story.applied("k2", given::withdraw(Legacy, "alice"));
    story.settle();
    story.find(Finding::NotYet);
    assert!(story.sent.is_empty());
    (unknown, behind)
}

#[test]
fn what_was_applied_at_the_authority_has_its_leg() {
    let mut story = story();
    let (unknown, behind) = unknown_at_the_authority(&mut story);
    say(&mut story, unknown, Engine, true);
    assert!(story.sent.is_empty(), "the engine was not asked for anything yet");
    say(&mut story, unknown, Legacy, true);
    assert_eq!(said(&story), [(Class::Applied, Legacy, anna())]);
    assert_eq!(story.under_way(), [behind], "its place is that of the word");
    story.ok(behind);
    assert_eq!(story.leg(unknown).map(|leg| leg.target), Some(Engine));
    story.restart();
    assert_eq!(story.leg(unknown).map(|leg| leg.target), Some(Engine), "what was written down stands");
}

#[test]
fn what_had_no_effect_at_the_authority_has_no_leg() {
    let mut story = story();
    let (unknown, behind) = unknown_at_the_authority(&mut story);
    say(&mut story, unknown, Legacy, false);
    assert_eq!(said(&story), [], "the legacy may still be working on it");
    while said(&story).is_empty() {
        assert!(story.sent.is_empty());
        story.wait(1_000);
        if !story.asked.is_empty() {
            assert_eq!(said(&story), [], "not while a question is on its way");
            story.find(Finding::NotYet);
        }
    }
    assert_eq!(said(&story), [(Class::NotExecuted, Legacy, anna())]);
    assert!(story.written().contains(&format!("skipped {unknown} not-executed")));
    assert_eq!(story.under_way(), [behind]);
}

#[test]
fn a_leg_that_cannot_be_found_out_ends_as_a_person_says() {
    for (applied, class) in [(true, Class::Applied), (false, Class::NotExecuted)] {
        let mut story = story();
        let topup = Intent { stage: Stage::Engine, ..given::topup(Engine, "alice") };
        let leg = story.applied("k1", topup.clone());
        let behind = story.applied("k2", topup);
        story.settle();
        story.answer(leg, Answer::Unanswered { duration_micros: 1 });
        story.wait(1_000_000);
        story.look(Finding::NotYet);
        say(&mut story, leg, Legacy, applied);
        assert_eq!(said(&story).is_empty(), !applied, "the legacy may still be executing it");
        while said(&story).is_empty() {
            assert_eq!(story.under_way(), [0; 0], "the account waits");
            story.wait(1_000_000);
            if !story.looking.is_empty() {
                assert_eq!(said(&story), [], "not while a question is on its way");
                story.look(Finding::NotYet);
            }
        }
        assert_eq!(said(&story), [(class, Legacy, anna())]);
        assert_eq!(story.under_way(), [behind], "its account goes on");
        assert!(story.delivery.exchanges.iter().all(|(_, exchange)| exchange.number.sequence != leg), "concluded");
        story.restart();
        assert!(story.delivery.exchanges.iter().all(|(_, exchange)| exchange.number.sequence != leg), "for good");
    }
}

#[test]
fn what_was_found_out_goes_before_what_is_said() {
    let mut story = story();
    let (unknown, _) = unknown_at_the_authority(&mut story);
    story.wait(1_000_000);
    let body = given::applied("L-1", "bank", "alice", None).into_bytes();
    story.find(Finding::Decided(Class::Applied, 200, wire::scalar::Body(body)));
    say(&mut story, unknown, Legacy, false);
    assert_eq!(said(&story), [(Class::Applied, Legacy, ResolvedBy::Key)]);
}

#[test]
fn nobody_can_say_what_the_engine_did_with_a_leg_that_is_sent_again() {
    let mut story = story();
    let leg = story.applied("k1", given::topup(Legacy, "alice"));
    story.settle();
    story.answer(leg, Answer::Unanswered { duration_micros: 1 });
    say(&mut story, leg, Engine, false);
    story.wait(1_000_000);
    assert_eq!(said(&story), [], "it may be executed in this moment");
    assert_eq!(story.under_way(), [leg]);
}

#[test]
fn a_word_waits_until_its_exchange_is_read() {
    let mut story = story();
    let unknown = story.intent("k1", given::topup(Legacy, "alice"));
    story.result(unknown, Class::Unknown, 0, "");
    say(&mut story, unknown, Legacy, true);
    assert_eq!(said(&story), []);
    story.settle();
    assert_eq!(said(&story), [(Class::Applied, Legacy, anna())]);
    assert_eq!(story.leg(unknown).map(|leg| (leg.target, leg.headers.iter().any(is_shadow))), Some((Engine, true)));
}

fn is_shadow((name, value): &wire::exchange::Header) -> bool {
    name == wire::leg::MODE && value.parse() == Ok(Mode::Shadow)
}
