//! Moments between two steps at which trials have a process die, as `kill -9` would have it.
//!
//! `CROSSFADE_DIES_AT=leg-answered:40` ends the process when it comes there for the 40th time, `CROSSFADE_DIES_AT=leg-answered`
//! for the first. Without the feature `moments`, which no package has, nothing of it is there.

/// The process may die here.
#[cfg(feature = "moments")]
pub fn passes(moment: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static CHOSEN: LazyLock<Option<(String, AtomicU64)>> = LazyLock::new(|| {
        let text = std::env::var("CROSSFADE_DIES_AT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        let times = times.parse().expect("CROSSFADE_DIES_AT is MOMENT or MOMENT:TIMES");
        Some((name.to_owned(), AtomicU64::new(times)))
    });
    if let Some((chosen, left)) = &*CHOSEN
        && chosen == moment
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        tracing::error!(moment, "dies, as it was told to");
        std::process::abort();
    }
}

/// The process may die here: not in a package.
#[cfg(not(feature = "moments"))]
pub const fn passes(_: &str) {}
