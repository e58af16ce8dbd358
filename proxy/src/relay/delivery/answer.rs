//! What a leg's answer means for the leg: pure, one table.

use wire::exchange::Header;
use wire::scalar::Body;
use wire::words::{Class, Mode, REASONS_OF_STATE, System};

/// What came back from a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A whole answer.
    Whole {
        /// The status.
        status: u16,
        /// The recorded headers.
        headers: Vec<Header>,
        /// The body.
        body: Body,
        /// Whether it repeats an earlier answer.
        replayed: bool,
        /// From the first byte sent to the last byte received.
        duration_micros: u64,
    },
    /// No byte was sent: the system is down.
    NotSent,
    /// No byte was sent: the record that announces it is so old that another relay may have taken over meanwhile.
    TooLate,
    /// It was sent, and no whole answer came.
    Unanswered {
        /// From the first byte sent until it was given up.
        duration_micros: u64,
    },
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Nothing happened there: send it again after a while.
    Again,
    /// Nobody knows what happened there: write that down; then send it again after a while if the system deduplicates,
    /// else ask.
    Unknown,
    /// It may be a matter of order: write it down, leave the lanes, come back later.
    OutOfOrder,
    /// That is the leg's result.
    Final(Class),
}

impl Answer {
    /// What is written down of a leg that nobody answered.
    pub fn nothing(duration_micros: u64) -> Self {
        let (headers, body) = (Vec::new(), Body::default());
        Answer::Whole { status: 0, headers, body, replayed: false, duration_micros }
    }
}

/// The codes of refusals that no force helps against: there is nothing to book on.
pub(crate) const CANNOT_BE_FORCED: [&str; 2] = ["AccountNotFound", "OriginalNotFound"];

/// What follows from a whole answer with this status and problem code of a system that deduplicates, or does not.
pub(crate) fn consequence(
    target: System,
    mode: Mode,
    deduplicates: bool,
    status: u16,
    code: Option<&str>,
) -> Consequence {
    // Too busy, or the relay's credentials are wrong: none of these is about the leg, and it was not executed.
    if matches!(status, 401 | 403 | 429) {
        return Consequence::Again;
    }
    // Not ready, says the system or somebody before it. Whether it has begun, only one that deduplicates need not care.
    if deduplicates && matches!(status, 407 | 503) {
        return Consequence::Again;
    }
    match Class::of(status, code) {
        Class::Unknown => Consequence::Unknown,
        Class::Refused if target == System::Engine && mode == Mode::Shadow && is_reason_of_state(code) => {
            Consequence::OutOfOrder
        }
        class => Consequence::Final(class),
    }
}

fn is_reason_of_state(code: Option<&str>) -> bool {
    code.is_some_and(|code| REASONS_OF_STATE.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences() {
        use Consequence::{Again, Final, OutOfOrder, Unknown};
        use Mode::{Forced, Shadow, ShadowRefused};
        use System::{Engine, Legacy};
        let short = Some("InsufficientBalance");
        for (target, mode, status, code, expected) in [
            (Engine, Shadow, 200, None, Final(Class::Applied)),
            (Engine, Shadow, 201, None, Final(Class::Applied)),
            (Engine, Shadow, 202, None, Unknown),
            (Engine, Shadow, 302, None, Unknown),
            (Engine, Shadow, 400, Some("MalformedRequest"), Final(Class::NotExecuted)),
            (Engine, Shadow, 413, None, Final(Class::NotExecuted)),
            (Engine, Shadow, 401, None, Again),
            (Engine, Shadow, 403, None, Again),
            (Engine, Shadow, 429, None, Again),
            (Engine, Shadow, 503, None, Again),
            (Engine, Shadow, 500, None, Unknown),
            (Engine, Shadow, 504, None, Unknown),
            (Engine, Shadow, 404, Some("NoSuchRoute"), Unknown),
            (Engine, Shadow, 422, short, OutOfOrder),
            (Engine, Shadow, 404, Some("AccountNotFound"), OutOfOrder),
            (Engine, Shadow, 404, Some("OriginalNotFound"), OutOfOrder),
            (Engine, Shadow, 422, Some("SameAccount"), Final(Class::Refused)),
            (Engine, Shadow, 422, Some("DuplicateKey"), Final(Class::Refused)),
            (Engine, Shadow, 409, Some("AccountExists"), Final(Class::Refused)),
            (Engine, Shadow, 422, None, Unknown),
            (Engine, ShadowRefused, 422, short, Final(Class::Refused)),
            (Engine, ShadowRefused, 200, None, Final(Class::Applied)),
            (Engine, Forced, 200, None, Final(Class::Applied)),
            (Engine, Forced, 404, Some("AccountNotFound"), Final(Class::Refused)),
            (Legacy, Shadow, 422, short, Final(Class::Refused)),
            (Legacy, Shadow, 200, None, Final(Class::Applied)),
            (Legacy, Shadow, 503, None, Again),
        ] {
            assert_eq!(consequence(target, mode, true, status, code), expected, "{target} {mode} {status} {code:?}");
        }
    }

    #[test]
    fn a_system_that_does_not_deduplicate_is_not_sent_anything_it_may_have_begun() {
        use Consequence::{Again, Final, Unknown};
        for (status, code, expected) in [
            (401, None, Again),
            (429, None, Again),
            (407, None, Unknown),
            (500, None, Unknown),
            (503, None, Unknown),
            (200, None, Final(Class::Applied)),
            (422, Some("InsufficientBalance"), Final(Class::Refused)),
        ] {
            assert_eq!(consequence(System::Legacy, Mode::Shadow, false, status, code), expected, "{status}");
        }
    }
}
