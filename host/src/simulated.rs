//! Random ids and the wall clock of a thread, as its simulation says: then a seed says everything that happens.
//!
//! The monotonic clock and the timers are those of the runtime, which a simulation pauses.

use std::cell::RefCell;

/// What a simulation says.
pub struct Simulated {
    /// The next sixteen random bytes.
    pub random_bytes: Box<dyn FnMut() -> [u8; 16]>,
    /// The wall clock, in microseconds since 1970.
    pub unix_micros: Box<dyn Fn() -> i64>,
}

thread_local! {
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// This thread is in a simulation as long as this lives.
#[must_use]
pub struct Entered(());

/// From now on this thread asks the simulation.
pub fn enter(simulated: Simulated) -> Entered {
    SIMULATED.set(Some(simulated));
    Entered(())
}

impl Drop for Entered {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}

pub(crate) fn random_bytes() -> Option<[u8; 16]> {
    SIMULATED.with_borrow_mut(|simulated| simulated.as_mut().map(|simulated| (simulated.random_bytes)()))
}

pub(crate) fn unix_micros() -> Option<i64> {
    SIMULATED.with_borrow(|simulated| simulated.as_ref().map(|simulated| (simulated.unix_micros)()))
}
