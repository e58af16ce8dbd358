//! Rules that hide a difference: which field, why, who answers for it, and until when.
//!
//! The one built-in rule is [`SHARED_ACCOUNT`]. Rules that users write come later; they are already what the verdict
//! asks, so that nothing else has to change then.

use super::diff::Difference;
use wire::scalar::Timestamp;

/// EXTERNAL and SYSTEM accounts are shared by many exchanges at once, so their levels in one answer say nothing;
/// reconciliation compares them.
pub const SHARED_ACCOUNT: &str = "shared-account";

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub id: String,
    /// JSON pointer; also everything below it is hidden.
    pub field: String,
    /// Why the difference does not matter.
    pub reason: String,
    /// Who answers for that.
    pub owner: String,
    /// From then on it hides nothing; `None` only for built-in rules.
    pub until: Option<Timestamp>,
}

impl Rule {
    /// Whether it hides this difference at this time.
    pub fn hides(&self, difference: &Difference, at: Timestamp) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.until.is_none_or(|until| at < until)
            && difference.field.strip_prefix(self.field.as_str()).is_some_and(below)
    }
}

/// Splits differences into those that stay and, for those that are hidden, the rules that hide them.
pub fn apply(rules: &[Rule], at: Timestamp, differences: Vec<Difference>) -> (Vec<Difference>, Vec<String>) {
    let mut hidden_by: Vec<String> = Vec::new();
    let mut stay = Vec::new();
    for difference in differences {
        match rules.iter().find(|rule| rule.hides(&difference, at)) {
            None => stay.push(difference),
            Some(rule) if hidden_by.contains(&rule.id) => {}
            Some(rule) => hidden_by.push(rule.id.clone()),
        }
    }
    (stay, hidden_by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::words::Cause;

    fn rule(field: &str, until: Option<i64>) -> Rule {
        Rule {
            id: "r".into(),
            field: field.into(),
            reason: "known".into(),
            owner: "team".into(),
            until: until.map(Timestamp),
        }
    }

    fn difference(field: &str) -> Difference {
        Difference { field: field.into(), cause: Cause::Field, legacy: "a".into(), engine: "b".into() }
    }

    #[test]
    fn a_rule_hides_its_field_and_what_is_below_until_it_ends() {
        for (field, until, hides) in [
            ("/metadata", None, true),
            ("/metadata/channel", None, false),
            ("/meta", None, false),
            ("/metadata", Some(11), true),
            ("/metadata", Some(10), false),
        ] {
            let (stay, by) = apply(&[rule(field, until)], Timestamp(10), vec![difference("/metadata")]);
            assert_eq!((stay.is_empty(), by.len()), (hides, usize::from(hides)), "{field} {until:?}");
        }
        let (stay, by) = apply(&[rule("/source", None)], Timestamp(0), vec![difference("/source/movement"); 2]);
        assert!(stay.is_empty());
        assert_eq!(by, ["r"], "a rule is named once");
    }
}
