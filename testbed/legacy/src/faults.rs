//! The fault switch: which faults the legacy makes, how often, and when next.
//!
//! Kept in memory only: a restarted legacy makes no faults until told again. What was done stands in the store.

use crate::refusal::{Finding, Problem};
use crate::shapes::FaultKind;
use crate::strict;
use serde::Serialize;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an operator can ask for: one kind of fault, or a kind that alternates before and after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    One(FaultKind),
    Alternating { name: &'static str, before: FaultKind, after: FaultKind },
}

/// The kinds that alternate when neither `-before` nor `-after` is said.
const ALTERNATING: [Asked; 3] = [
    Asked::Alternating { name: "hang", before: FaultKind::HangBefore, after: FaultKind::HangAfter },
    Asked::Alternating { name: "5xx", before: FaultKind::FailBefore, after: FaultKind::FailAfter },
    Asked::Alternating { name: "drop-connection", before: FaultKind::DropBefore, after: FaultKind::DropAfter },
];

impl Asked {
    fn of(name: &str) -> Option<Self> {
        let alternating = ALTERNATING.into_iter().find(|asked| asked.name() == name);
        alternating.or_else(|| FaultKind::of(name).map(Asked::One))
    }

    fn name(self) -> &'static str {
        match self {
            Asked::One(kind) => kind.as_str(),
            Asked::Alternating { name, .. } => name,
        }
    }
}

/// A fault that is switched on.
#[derive(Debug)]
struct Active {
    asked: Asked,
    rate: f64,
    seed: u64,
    random: fastrand::Rng,
    hits: u64,
}

impl Active {
    /// Draws once: is the next request hit, and how?
    fn draw(&mut self) -> Option<FaultKind> {
        if self.random.f64() >= self.rate {
            return None;
        }
        self.hits += 1;
        Some(match self.asked {
            Asked::One(kind) => kind,
            Asked::Alternating { before, .. } if self.hits % 2 == 1 => before,
            Asked::Alternating { after, .. } => after,
        })
    }
}

/// A fault as shown by `GET /faults`.
#[derive(Debug, Serialize)]
pub struct Shown {
    kind: &'static str,
    rate: f64,
    seed: u64,
}

/// The faults that are switched on.
#[derive(Debug)]
pub struct FaultSwitch {
    active: Mutex<Vec<Active>>,
    default_seed: u64,
}

impl FaultSwitch {
    /// A switch with everything off; faults without a seed of their own take `default_seed`.
    pub fn new(default_seed: u64) -> Self {
        Self { active: Mutex::default(), default_seed }
    }

    /// Draws for one execution, which is the first one of its key unless keys mean nothing. Every fault draws, so that none changes the sequence of another; the first
    /// one that hits is made.
    pub fn draw(&self) -> Option<FaultKind> {
        let draws = self.lock().iter_mut().map(Active::draw).collect::<Vec<_>>();
        draws.into_iter().flatten().next()
    }

    /// What is switched on.
    pub fn shown(&self) -> Vec<Shown> {
        let show = |active: &Active| Shown { kind: active.asked.name(), rate: active.rate, seed: active.seed };
        self.lock().iter().map(show).collect()
    }

    /// Replaces what is switched on by `{"faults":[{"kind", "rate", "seed"?}]}`.
    ///
    /// # Errors
    /// The problem to answer; nothing was changed then.
    pub fn put(&self, body: &[u8]) -> Result<(), Problem> {
        let active = self.parse(body).map_err(|finding| Problem::malformed(vec![finding]))?;
        *self.lock() = active;
        Ok(())
    }

    fn parse(&self, body: &[u8]) -> Result<Vec<Active>, Finding> {
        let Value::Object(mut members) = strict::parse(body)? else {
            return Err(Finding::new("", "WrongType", "the body must be an object"));
        };
        let faults = members.shift_remove("faults");
        if let Some(name) = members.keys().next() {
            return Err(Finding::new(format!("/{name}"), "UnknownField", "only faults can be set"));
        }
        let Some(Value::Array(faults)) = faults else {
            return Err(Finding::new("/faults", "MissingField", "must be a list of kind, rate and, if wanted, seed"));
        };
        let mut active: Vec<Active> = Vec::new();
        for (index, fault) in faults.into_iter().enumerate() {
            let fault = self.parse_one(&format!("/faults/{index}"), fault)?;
            if active.iter().any(|other| other.asked == fault.asked) {
                return Err(Finding::new(format!("/faults/{index}/kind"), "InvalidValue", "stands twice in the list"));
            }
            active.push(fault);
        }
        Ok(active)
    }

    fn parse_one(&self, pointer: &str, fault: Value) -> Result<Active, Finding> {
        let at = |name: &str| format!("{pointer}/{name}");
        let Value::Object(mut members) = fault else {
            return Err(Finding::new(pointer, "WrongType", "must be an object"));
        };
        let kind = members.shift_remove("kind").unwrap_or_default();
        let asked = kind.as_str().and_then(Asked::of).ok_or_else(|| {
            let names =
                FaultKind::ALL.iter().map(|kind| kind.as_str()).chain(ALTERNATING.iter().map(|kind| kind.name()));
            let names = names.collect::<Vec<_>>().join(", ");
            Finding::new(at("kind"), "InvalidValue", format!("must be one of {names}"))
        })?;
        let rate = members.shift_remove("rate").and_then(|rate| rate.as_f64());
        let rate = rate
            .filter(|rate| (0.0..=1.0).contains(rate))
            .ok_or_else(|| Finding::new(at("rate"), "InvalidValue", "must be a number from 0 to 1"))?;
        let seed = match members.shift_remove("seed") {
            None => self.default_seed,
            Some(seed) => seed
                .as_u64()
                .ok_or_else(|| Finding::new(at("seed"), "InvalidValue", "must be a whole number from 0 on"))?,
        };
        if let Some(name) = members.keys().next() {
            return Err(Finding::new(at(name), "UnknownField", "a fault has kind, rate and seed"));
        }
        Ok(Active { asked, rate, seed, random: fastrand::Rng::with_seed(seed), hits: 0 })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(body: &str) -> FaultSwitch {
        let switch = FaultSwitch::new(7);
        switch.put(body.as_bytes()).unwrap();
        switch
    }

    #[test]
    fn a_rate_and_a_seed_give_the_same_sequence() {
        let draws = |switch: &FaultSwitch| (0..10_000).map(|_| switch.draw()).collect::<Vec<_>>();
        let one = draws(&switch(r#"{"faults":[{"kind":"wrong-fee","rate":0.01,"seed":3}]}"#));
        let hits = one.iter().flatten().count();
        assert!((60..140).contains(&hits), "{hits} hits in 10,000 draws at 1 %");
        let two = draws(&switch(r#"{"faults":[{"kind":"slow","rate":0},{"kind":"wrong-fee","rate":0.01,"seed":3}]}"#));
        assert_eq!(one, two, "a second fault leaves the sequence of the first alone");
        assert_ne!(one, draws(&switch(r#"{"faults":[{"kind":"wrong-fee","rate":0.01,"seed":4}]}"#)));
    }

    #[test]
    fn what_hides_an_answer_alternates() {
        use FaultKind::{DropAfter, DropBefore, FailAfter, FailBefore, HangAfter, HangBefore};
        let cases = [
            ("hang", HangBefore, HangAfter),
            ("5xx", FailBefore, FailAfter),
            ("drop-connection", DropBefore, DropAfter),
        ];
        for (name, before, after) in cases {
            let switch = switch(&format!(r#"{{"faults":[{{"kind":"{name}","rate":1}}]}}"#));
            let draws = [(); 4].map(|()| switch.draw());
            assert_eq!(draws, [Some(before), Some(after), Some(before), Some(after)], "{name}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let switch = switch(r#"{"faults":[{"kind":"slow","rate":1}]}"#);
        for body in [
            "",
            "[]",
            "{}",
            r#"{"faults":{}}"#,
            r#"{"faults":[],"more":1}"#,
            r#"{"faults":[1]}"#,
            r#"{"faults":[{"kind":"nonsense","rate":1}]}"#,
            r#"{"faults":[{"rate":1}]}"#,
            r#"{"faults":[{"kind":"slow"}]}"#,
            r#"{"faults":[{"kind":"slow","rate":1.5}]}"#,
            r#"{"faults":[{"kind":"slow","rate":-0.1}]}"#,
            r#"{"faults":[{"kind":"slow","rate":"1"}]}"#,
            r#"{"faults":[{"kind":"slow","rate":1,"seed":-1}]}"#,
            r#"{"faults":[{"kind":"slow","rate":1,"sed":1}]}"#,
            r#"{"faults":[{"kind":"slow","rate":1},{"kind":"slow","rate":1}]}"#,
        ] {
            assert_eq!(switch.put(body.as_bytes()).expect_err(body).status(), 400, "{body}");
        }
        assert_eq!(switch.draw(), Some(FaultKind::Slow));
        switch.put(br#"{"faults":[]}"#).unwrap();
        assert_eq!(switch.draw(), None);
    }
}
