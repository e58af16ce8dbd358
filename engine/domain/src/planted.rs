//! Mistakes that simulations plant, one at a time and in their own thread, to see that they are found.
//!
//! Without the feature `planted`, which no package has, [`planted`] is `false` and costs nothing.

/// A mistake that this crate could have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Undoing a debit asks the rules of a credit, and takes a refusal for the end of it.
    CompensationRefused,
    /// A reservation that was drawn on is released once more.
    ReservationReleasedTwice,
    /// Going back to accepted outcomes leaves what a key was answered with in a draft.
    ReplyCachedBeforeAcceptance,
}

#[cfg(feature = "planted")]
mod thread {
    use super::Mistake;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Plants a mistake in this thread, or none.
    pub fn plant(mistake: Option<Mistake>) {
        PLANTED.set(mistake);
    }

    /// Whether a mistake is planted.
    pub(crate) fn planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }
}

#[cfg(feature = "planted")]
pub use thread::plant;
#[cfg(feature = "planted")]
pub(crate) use thread::planted;

/// Whether a mistake is planted: there is none.
#[cfg(not(feature = "planted"))]
pub(crate) const fn planted(_: Mistake) -> bool {
    false
}
