//! Mistakes that trials plant, one at a time, to see that they are found.
//!
//! Unit tests plant them in their own thread, end-to-end trials in a process by `CROSSFADE_PLANTED`. Without the feature
//! `planted`, which no package has, [`planted`] is `false` and costs nothing.

/// A mistake that this crate could have made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The relay calls a move drained before every front has told its mark.
    NoBarrier,
    /// What the authority refused is executed at the shadow.
    RefusedLegExecuted,
    /// A re-offer is given up before every front has shipped past it.
    ReofferGivenUpEarly,
    /// A leg is sent without being announced.
    SendingNotRecorded,
    /// A leg waits in the lane of its first account only.
    SecondLaneIgnored,
    /// An authority that cannot say anything yet, or has nothing yet, is taken to have done nothing.
    UnknownTakenForAbsent,
    /// The id of an earlier transaction is looked up at the wrong system.
    AliasOfTheOtherSystem,
    /// A request that was held goes where it would have gone before.
    PercentReadTwice,
}

/// Whether a mistake is planted.
#[cfg(test)]
pub(crate) fn planted(mistake: Mistake) -> bool {
    tests::PLANTED.get() == Some(mistake)
}

/// Whether a mistake is planted.
#[cfg(all(not(test), feature = "planted"))]
pub(crate) fn planted(mistake: Mistake) -> bool {
    static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let named = NAMED.get_or_init(|| std::env::var("CROSSFADE_PLANTED").ok());
    named.as_deref().is_some_and(|named| named == format!("{mistake:?}"))
}

/// Whether a mistake is planted: there is none.
#[cfg(not(any(test, feature = "planted")))]
pub(crate) const fn planted(_: Mistake) -> bool {
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Mistake;
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    thread_local! {
        /// What is planted in this thread.
        pub(super) static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Whether `trial` fails with a mistake planted in this thread.
    pub(crate) fn is_found(mistake: Mistake, trial: impl FnOnce()) -> bool {
        PLANTED.set(Some(mistake));
        let found = catch_unwind(AssertUnwindSafe(trial)).is_err();
        PLANTED.set(None);
        found
    }
}
