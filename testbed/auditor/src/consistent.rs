//! What is wrong with one answer by itself: it must fit the request, its own movements, and the accounts' rules.

use crate::answer::{Answer, Outcome, Side};
use crate::money::Money;
use crate::observe::{Known, Observer};
use crate::request::{Ask, Move, Refund, Request};
use crate::rules;

/// Collects what is wrong.
struct Findings(Vec<String>);

impl Findings {
    fn must(&mut self, is: bool, otherwise: impl FnOnce() -> String) {
        if !is {
            self.0.push(otherwise());
        }
    }
}

impl Observer {
    pub(crate) fn inconsistencies(&self, request: &Request, answer: &Answer, outcome: &Outcome) -> Vec<String> {
        let mut found = Findings(Vec::new());
        found.must(Some(&outcome.tracking_id) == request.key.as_ref(), || {
            format!("the answer has the trackingId {}", outcome.tracking_id)
        });
        let refused = answer.code.is_some();
        if refused {
            check_refused(answer, outcome, &mut found);
        } else {
            self.check_applied(outcome, &mut found);
        }
        match &request.ask {
            Ask::Move(asked) => self.check_move(asked, outcome, refused, &mut found),
            Ask::Refund(asked) => self.check_refund(asked, outcome, &mut found),
            Ask::Create(_) | Ask::Change(_) => {}
        }
        found.0
    }

    fn check_applied(&self, outcome: &Outcome, found: &mut Findings) {
        found.must(outcome.status == "completed", || format!("applied with status {}", outcome.status));
        let (debit, credit) = (outcome.source.movement, outcome.destination.movement);
        found.must(debit == -outcome.amount && credit == outcome.amount, || {
            format!("of {} the source shows {debit}, the destination {credit}", outcome.amount)
        });
        for side in outcome.sides() {
            self.check_side(side, found);
        }
    }

    /// Levels are shown for USER accounts only, fit the movement, and keep the limits.
    fn check_side(&self, side: &Side, found: &mut Findings) {
        let Some(Known { account, limits_changed }) = self.accounts.get(&side.account) else { return };
        let id = &side.account;
        found.must(side.levels.is_some() == account.is_user(), || format!("{id} shows the levels {:?}", side.levels));
        let Some((before, after)) = side.levels else { return };
        found.must(before + side.movement == after, || {
            format!("{id} goes from {before} by {} to {after}", side.movement)
        });
        let too_low = side.movement < Money::ZERO && account.floor().is_some_and(|floor| after < floor);
        let too_high = side.movement > Money::ZERO && account.max.is_some_and(|max| after > max);
        found.must(*limits_changed || !too_low && !too_high, || format!("{id} stands at {after}, outside its limits"));
    }

    /// A topup, withdrawal or transfer is answered as it was asked for, and only if its accounts may do it.
    fn check_move(&self, asked: &Move, outcome: &Outcome, refused: bool, found: &mut Findings) {
        let shown = (outcome.kind.as_str(), outcome.amount, outcome.currency.as_str());
        let expected = (asked.kind.as_str(), asked.amount, asked.currency.as_str());
        found.must(shown == expected, || format!("{shown:?} is the answer to {expected:?}"));
        let accounts = (&outcome.source.account, &outcome.destination.account);
        found.must(accounts == (&asked.source, &asked.destination), || format!("the answer names {accounts:?}"));
        if refused {
            return;
        }
        found.must(asked.source != asked.destination, || "applied between an account and itself".into());
        let allowed: [(_, fn(_, _) -> bool); 2] =
            [(&asked.source, rules::may_give), (&asked.destination, rules::may_take)];
        for (id, allowed) in allowed {
            if let Some(Known { account, .. }) = self.accounts.get(id) {
                found
                    .must(allowed(asked.kind, account.kind), || format!("applied although {id} is {:?}", account.kind));
                found.must(account.currency == asked.currency, || {
                    format!("applied in {} although {id} is in {}", asked.currency, account.currency)
                });
            }
        }
    }

    /// A refund goes back along its original.
    fn check_refund(&self, asked: &Refund, outcome: &Outcome, found: &mut Findings) {
        found.must(outcome.kind == "refund", || format!("a refund is answered as {}", outcome.kind));
        if let Some(amount) = asked.amount {
            found.must(outcome.amount == amount, || format!("{} for a refund of {amount}", outcome.amount));
        }
        if let Some((source, destination)) = self.parties_of(&asked.original) {
            let (debited, credited) = (&outcome.source.account, &outcome.destination.account);
            found.must((debited, credited) == (&destination, &source), || {
                let (status, code) = (&outcome.status, &outcome.error_code);
                let original = &asked.original;
                format!(
                    "a refund of {original}, {source} → {destination}, goes {debited} → {credited}: {status} {code:?}"
                )
            });
        }
    }
}

fn check_refused(answer: &Answer, outcome: &Outcome, found: &mut Findings) {
    found.must(outcome.status == "failed" && outcome.error_code == answer.code, || {
        format!("a refusal with status {} and errorCode {:?}", outcome.status, outcome.error_code)
    });
    let unmoved = |side: &Side| side.movement == Money::ZERO && side.levels.is_none();
    found.must(outcome.sides().into_iter().all(unmoved), || "a refusal shows movements or levels".into());
}
