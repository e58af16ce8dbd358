//! Exhaustive breadth-first search: every state that any interleaving reaches, and the shortest way to a wrong one.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A protocol as states and the steps between them.
pub trait Model {
    /// Everything that decides what can happen next.
    type State: Copy + Eq + Hash;
    /// One thing that happens.
    type Action: Copy + fmt::Debug;
    /// What went wrong.
    type Violation: Copy + fmt::Debug;

    /// How it begins.
    fn initial(&self) -> Self::State;

    /// Everything that can happen next, with what comes of it.
    fn steps(&self, state: &Self::State, found: &mut Vec<(Self::Action, Result<Self::State, Self::Violation>)>);

    /// What is wrong with a state, whatever led to it.
    fn wrong(&self, state: &Self::State) -> Option<Self::Violation>;
}

/// What a search came to.
#[derive(Debug)]
pub struct Report<A, V> {
    /// How many different states were looked at.
    pub states: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// The shortest way to something wrong, if there is one.
    pub found: Option<Trace<A, V>>,
}

/// A way to something wrong.
#[derive(Debug, Clone)]
pub struct Trace<A, V> {
    /// What happened, in this order.
    pub actions: Vec<A>,
    /// What was wrong then.
    pub violation: V,
}

impl<A: fmt::Debug, V: fmt::Debug> fmt::Display for Trace<A, V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, action) in self.actions.iter().enumerate() {
            writeln!(out, "{:3}. {action:?}", index + 1)?;
        }
        write!(out, "  => {:?}", self.violation)
    }
}

/// Looks at every state, at most `bound` of them.
///
/// # Panics
/// When there are more: what was not looked at is not known to be right.
pub fn search<M: Model>(model: &M, bound: usize) -> Report<M::Action, M::Violation> {
    let mut seen: HashMap<M::State, u32, BuildHasherDefault<Fast>> = HashMap::default();
    // Per state the one before it and the step between; the first has none.
    let mut came: Vec<Option<(u32, M::Action)>> = vec![None];
    let mut open: VecDeque<(u32, u32, M::State)> = VecDeque::new();
    let first = model.initial();
    seen.insert(first, 0);
    open.push_back((0, 0, first));
    let (mut depth, mut steps) = (0, Vec::new());
    while let Some((index, at, state)) = open.pop_front() {
        depth = depth.max(at as usize);
        steps.clear();
        model.steps(&state, &mut steps);
        for (action, next) in steps.drain(..) {
            let violation = match next {
                Err(violation) => Some(violation),
                Ok(next) => {
                    let number = u32::try_from(came.len()).unwrap_or(u32::MAX);
                    if *seen.entry(next).or_insert(number) != number {
                        continue;
                    }
                    assert!(came.len() < bound, "more than {bound} states: bound the model more tightly");
                    came.push(Some((index, action)));
                    open.push_back((number, at + 1, next));
                    model.wrong(&next)
                }
            };
            if let Some(violation) = violation {
                let mut actions = way_to(&came, index);
                actions.push(action);
                return Report { states: came.len(), depth, found: Some(Trace { actions, violation }) };
            }
        }
    }
    Report { states: came.len(), depth, found: None }
}

fn way_to<A: Copy>(came: &[Option<(u32, A)>], mut index: u32) -> Vec<A> {
    let mut actions = Vec::new();
    while let Some((before, action)) = came[index as usize] {
        actions.push(action);
        index = before;
    }
    actions.reverse();
    actions
}

/// A hash for many small fields; nobody chooses the keys to make them collide.
#[derive(Default)]
struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters that must not both reach their end.
    struct Counters(u8);

    impl Model for Counters {
        type State = (u8, u8);
        type Action = char;
        type Violation = &'static str;

        fn initial(&self) -> (u8, u8) {
            (0, 0)
        }

        fn steps(&self, &(a, b): &(u8, u8), found: &mut Vec<(char, Result<(u8, u8), &'static str>)>) {
            if a < self.0 {
                found.push(('a', Ok((a + 1, b))));
            }
            if b < self.0 {
                found.push(('b', if b == 4 { Err("five times b") } else { Ok((a, b + 1)) }));
            }
        }

        fn wrong(&self, state: &(u8, u8)) -> Option<&'static str> {
            (*state == (3, 3)).then_some("both at the end")
        }
    }

    #[test]
    fn every_state_is_looked_at_once() {
        let report = search(&Counters(2), 100);
        assert_eq!((report.states, report.depth), (9, 4));
        assert!(report.found.is_none());
    }

    #[test]
    fn the_way_found_is_the_shortest() {
        let found = search(&Counters(9), 1_000).found.expect("there is one");
        assert_eq!((found.actions, found.violation), (vec!['b'; 5], "five times b"));
        let found = search(&Counters(3), 1_000).found.expect("there is one");
        assert_eq!((found.actions.len(), found.violation), (6, "both at the end"));
    }

    #[test]
    #[should_panic(expected = "more than 5 states")]
    fn a_bound_that_is_reached_is_no_success() {
        search(&Counters(3), 5);
    }
}
