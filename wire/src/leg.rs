//! Headers between the relay and the engine (`X-Crossfade-*`): what kind of leg a request is.
//!
//! The engine honours them only together with a `service` token; the front strips them from clients.

use crate::scalar::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;

/// The number of the exchange that the leg belongs to.
pub const EXCHANGE: &str = "x-crossfade-exchange";
/// A [`crate::words::Mode`].
pub const MODE: &str = "x-crossfade-mode";
/// The transaction's id at the other system.
pub const ALIAS: &str = "x-crossfade-alias";
/// An [`AuthorityRefusal`]; with mode `shadow-refused`.
pub const REFUSAL: &str = "x-crossfade-refusal";
/// What the authority took, as text; with a refund, whose own amount may be left open.
pub const AMOUNT: &str = "x-crossfade-amount";
/// In the answer to a forced leg: the code of the refusal that it would have been.
pub const WOULD_REFUSE: &str = "x-crossfade-would-refuse";

/// How the authority refused: the value of [`REFUSAL`], base64 of the status as three digits, then the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityRefusal {
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Body,
}

/// The text is no base64 of a status and a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of a refusal's status and its body")]
pub struct NotARefusal;

impl fmt::Display for AuthorityRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = [format!("{:03}", self.status).as_bytes(), &self.body.0].concat();
        f.pad(&STANDARD.encode(plain))
    }
}

impl FromStr for AuthorityRefusal {
    type Err = NotARefusal;

    fn from_str(text: &str) -> Result<Self, NotARefusal> {
        let plain = STANDARD.decode(text).map_err(|_| NotARefusal)?;
        let (status, body) = plain.split_first_chunk::<3>().ok_or(NotARefusal)?;
        let status = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok()).ok_or(NotARefusal)?;
        if !(400..=499).contains(&status) {
            return Err(NotARefusal);
        }
        Ok(Self { status, body: Body(body.to_vec()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_travels_in_a_header() {
        let refusal = AuthorityRefusal { status: 422, body: Body(br#"{"code":"InsufficientBalance"}"#.to_vec()) };
        let text = refusal.to_string();
        assert_eq!(text, "NDIyeyJjb2RlIjoiSW5zdWZmaWNpZW50QmFsYW5jZSJ9");
        assert_eq!(text.parse(), Ok(refusal));
        for wrong in ["", "422{}", "NDI=", "MjAwe30=", "NDJ4e30="] {
            assert_eq!(wrong.parse::<AuthorityRefusal>(), Err(NotARefusal), "{wrong}");
        }
    }
}
