//! Moments between two steps at which trials have a process die, as `kill -9` would have it.
//!
//! `CROSSFADE_DIES_AT=leg-answered` ends the process when it comes there; `CROSSFADE_DIES_AT=leg-answered:FILE` when it comes
//! there and the file is there, so that a trial can say when. Without the feature `moments`, which no package has, nothing of
//! it is there.

/// The process may die here.
#[cfg(feature = "moments")]
pub fn passes(moment: &str) {
    use std::path::PathBuf;
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<(String, Option<PathBuf>)>> = LazyLock::new(|| {
        let text = std::env::var("CROSSFADE_DIES_AT").ok()?;
        let (name, armed) = text.split_once(':').map_or((&*text, None), |(name, file)| (name, Some(file.into())));
        Some((name.to_owned(), armed))
    });
    let Some((chosen, armed)) = &*CHOSEN else { return };
    let is_armed = || armed.as_ref().is_none_or(|file| crate::disk::read(file).is_ok_and(|found| found.is_some()));
    if chosen == moment && is_armed() {
        tracing::error!(moment, "dies, as it was told to");
        std::process::abort();
    }
}

/// The process may die here: not in a package.
#[cfg(not(feature = "moments"))]
pub const fn passes(_: &str) {}
