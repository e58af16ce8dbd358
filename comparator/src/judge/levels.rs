//! Levels: balances before and after, as both answers show them.
//!
//! A level says something only where nothing else ran on the account: then the offset that discrepancies explain has
//! to account for the whole difference. Otherwise the account's next quiet point tells.

use super::diff::{Difference, difference};
use super::normalize::{Answer, Transaction};
use super::verdict::{Case, Level, Standing, extend};
use super::{less, plus};
use wire::scalar::Money;
use wire::words::Cause;

/// The levels that both answers show.
#[derive(Default)]
pub(super) struct Levels {
    /// Levels that were looked at, by account.
    pub(super) seen: Vec<(String, Level)>,
    /// Levels that the offset does not explain although nothing ran beside.
    pub(super) unfit: Vec<Unfit>,
    /// Answers that contradict themselves.
    pub(super) inconsistent: Vec<Difference>,
    /// Levels that differ, whether they should or not.
    pub(super) raw: Vec<Difference>,
    /// The discrepancies of the accounts whose levels differ.
    pub(super) roots: Vec<String>,
    /// Whether a level of a shared account differs.
    pub(super) hidden: bool,
}

/// A level that the offset does not explain.
pub(super) struct Unfit {
    pub(super) account: String,
    pub(super) currency: String,
    pub(super) rest: Money,
    pub(super) difference: Difference,
    /// The last exchange booked `forced` beside others since the last equal level.
    pub(super) suspect: Option<String>,
}

impl Unfit {
    /// What the suspect is to explain.
    pub(super) fn blame(&self) -> Option<(String, String, String, Money)> {
        Some((self.suspect.clone()?, self.account.clone(), self.currency.clone(), self.rest))
    }
}

impl Levels {
    /// Compares the levels of two answers.
    pub(super) fn of(case: &Case<'_>, answers: [&Answer; 2]) -> Self {
        let mut levels = Self::default();
        match answers {
            [Answer::Transaction(legacy), Answer::Transaction(engine)] => {
                for (index, (pointer, cause)) in
                    [("/source", Cause::SourceBalance), ("/destination", Cause::DestinationBalance)]
                        .into_iter()
                        .enumerate()
                {
                    levels.side(case, [legacy, engine], index, pointer, cause);
                }
            }
            [Answer::Account(legacy), Answer::Account(engine)] => {
                if let (Some(ours), Some(theirs)) = (legacy.balance, engine.balance)
                    && legacy.id == engine.id
                {
                    let shown = ["/balance", &legacy.id, &legacy.currency];
                    levels.compare(case, shown, Cause::Field, [ours, theirs]);
                }
            }
            _ => {}
        }
        levels
    }

    fn side(&mut self, case: &Case<'_>, legs: [&Transaction; 2], index: usize, pointer: &str, cause: Cause) {
        let sides = legs.map(|transaction| &transaction.sides[index]);
        let shared = standing(case, &sides[0].account).is_some_and(|standing| standing.shared);
        let after = format!("{pointer}/balanceAfter");
        // A shared account moves under the answer's feet; for any other one the answer has to add up.
        let expected = sides.map(|side| side.before.map(|before| plus(before, side.movement)));
        let adds_up =
            |leg: usize| sides[leg].after.is_none() || expected[leg].is_none() || sides[leg].after == expected[leg];
        let answers_add_up = adds_up(0) && adds_up(1);
        if !shared && !answers_add_up {
            let text = |leg: usize| {
                let show = |money: Option<Money>| money.map_or_else(|| "-".to_owned(), |money| money.to_string());
                if adds_up(leg) {
                    show(sides[leg].after)
                } else {
                    format!("{} where {} would add up", show(sides[leg].after), show(expected[leg]))
                }
            };
            self.inconsistent.push(difference(&after, cause, text(0), text(1)));
        }
        if let (Some(legacy), Some(engine)) = (sides[0].before, sides[1].before)
            && sides[0].account == sides[1].account
        {
            let shown = [&format!("{pointer}/balanceBefore"), &sides[0].account, &legs[0].currency];
            self.compare(case, shown.map(String::as_str), cause, [legacy, engine]);
        }
    }

    /// Compares one level. `shown`: pointer, account, currency.
    fn compare(&mut self, case: &Case<'_>, shown: [&str; 3], cause: Cause, [legacy, engine]: [Money; 2]) {
        let [pointer, account, currency] = shown;
        let unknown = Standing { account: account.to_owned(), ..Standing::default() };
        let standing = standing(case, account).unwrap_or(&unknown);
        let apart = less(legacy, engine);
        if standing.shared {
            self.hidden |= !apart.is_zero();
            return;
        }
        let found = difference(pointer, cause, legacy.to_string(), engine.to_string());
        if !apart.is_zero() {
            extend(&mut self.roots, standing.roots.clone());
            self.raw.push(found.clone());
        }
        if standing.overlap.any() || !case.levels_current {
            self.seen.push((account.to_owned(), Level::Deferred));
            return;
        }
        let total =
            standing.totals.iter().find(|(other, _)| other == currency).map_or(Money::ZERO, |(_, total)| *total);
        let rest = less(apart, total);
        if rest.is_zero() {
            self.seen.push((account.to_owned(), Level::Equal));
        } else {
            self.unfit.push(Unfit {
                account: account.to_owned(),
                currency: currency.to_owned(),
                rest,
                difference: found,
                suspect: standing.forced.clone(),
            });
        }
    }
}

fn standing<'a>(case: &'a Case<'_>, account: &str) -> Option<&'a Standing> {
    case.accounts.iter().find(|standing| standing.account == account)
}
