//! Path patterns and query parameters: percent-encoding undone, nothing else normalised.

use std::borrow::Cow;

/// A path with named segments.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Segment>);

#[derive(Debug)]
enum Segment {
    Literal(String),
    Parameter(String),
}

impl Pattern {
    /// Reads `/accounts/{id}`.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let rest = path.strip_prefix('/').ok_or_else(|| format!("`{path}` does not begin with a slash"))?;
        let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Segment::Parameter(name.to_owned())),
            None if !text.is_empty() && !text.contains(['{', '}', '%', '?', '#']) => {
                Ok(Segment::Literal(text.to_owned()))
            }
            _ => Err(format!("`{text}` in `{path}` is neither a plain segment nor {{name}}")),
        };
        rest.split('/').map(segment).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a path follows the pattern. A parameter takes one segment that is not empty.
    pub(super) fn fits(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut given = rest.split('/');
        let fits = self.0.iter().all(|segment| match (segment, given.next()) {
            (Segment::Literal(literal), Some(given)) => literal == given,
            (Segment::Parameter(_), Some(given)) => !given.is_empty(),
            (_, None) => false,
        });
        fits && given.next().is_none()
    }

    /// The decoded segment that stands for a parameter; `None` when it is no text.
    pub(super) fn parameter(&self, path: &str, name: &str) -> Option<String> {
        let index = self.0.iter().position(|segment| matches!(segment, Segment::Parameter(this) if this == name))?;
        decode(path.split('/').nth(index + 1)?, false).map(Cow::into_owned)
    }

    pub(super) fn has_parameter(&self, name: &str) -> bool {
        self.0.iter().any(|segment| matches!(segment, Segment::Parameter(this) if this == name))
    }

    /// Sorts patterns so that of two which fit one path the one with the earlier literal comes first.
    pub(super) fn specificity(&self) -> Vec<bool> {
        self.0.iter().map(|segment| matches!(segment, Segment::Parameter(_))).collect()
    }
}

/// The first query parameter of that name, decoded.
pub(super) fn query_parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(this, _)| decode(this, true).is_some_and(|this| this == name))?;
    decode(value, true).map(Cow::into_owned)
}

/// Undoes percent-encoding, in queries also `+`; `None` when it is broken or no text.
fn decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let is_coded = text.contains('%') || plus_is_space && text.contains('+');
    if !is_coded {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                decoded.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus_is_space => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_whole_paths() {
        let pattern = Pattern::parse("/accounts/{id}/balance").unwrap();
        for (path, id) in [
            ("/accounts/alice/balance", Some("alice")),
            ("/accounts/al%69ce/balance", Some("alice")),
            ("/accounts//balance", None),
            ("/accounts/alice/balance/", None),
            ("/accounts/alice", None),
            ("accounts/alice/balance", None),
            ("/accounts/alice/Balance", None),
        ] {
            assert_eq!(pattern.fits(path).then(|| pattern.parameter(path, "id").unwrap()).as_deref(), id, "{path}");
        }
        assert_eq!(pattern.parameter("/accounts/%ff/balance", "id"), None);
        for wrong in ["", "accounts", "/", "/a//b", "/{}", "/{a", "/a{b}", "/a%20b"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn query_parameters_are_decoded() {
        for (query, value) in [
            (Some("account=alice"), Some("alice")),
            (Some("x=1&account=a%3Ab"), Some("a:b")),
            (Some("account=a+b&account=c"), Some("a b")),
            (Some("account=%zz"), None),
            (Some("accounts=x"), None),
            (Some("account"), Some("")),
            (None, None),
        ] {
            assert_eq!(query_parameter(query, "account").as_deref(), value, "{query:?}");
        }
    }
}
