//! The movements of one account must chain: each begins at the level where another ended, without gaps.

use crate::money::Money;
use std::collections::BTreeMap;

/// A movement on one account, as told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) before: Money,
    pub(crate) after: Money,
    pub(crate) version: Option<u64>,
    pub(crate) key: String,
}

/// What is wrong with the chain from nothing to `end`, if anything is.
///
/// `loose` are movements whose levels nobody told: each may fill one gap. `ordered` says that all versions come
/// from one system, so that they tell the order.
pub(crate) fn check(links: &[Link], end: Money, loose: &[Money], ordered: bool) -> Option<String> {
    if ordered && links.iter().all(|link| link.version.is_some()) {
        by_version(links, end, loose)
    } else if loose.is_empty() {
        by_level(links, end)
    } else {
        None
    }
}

fn by_version(links: &[Link], end: Money, loose: &[Money]) -> Option<String> {
    let mut links: Vec<&Link> = links.iter().collect();
    links.sort_by_key(|link| link.version);
    let mut gaps = Vec::new();
    let mut missing = Money::ZERO;
    let mut level = Money::ZERO;
    let mut version = None;
    for link in links {
        if version.is_some() && link.version == version {
            return Some(format!("two movements have the version {}", link.version.unwrap_or_default()));
        }
        if link.before != level {
            gaps.push(format!("{} begins at {} instead of {level}", link.key, link.before));
            missing += link.before - level;
        }
        (level, version) = (link.after, link.version);
    }
    if level != end {
        gaps.push(format!("the last movement ends at {level}, the balance is {end}"));
        missing += end - level;
    }
    let filled = gaps.len() <= loose.len() && missing == loose.iter().copied().sum();
    if gaps.is_empty() && missing == loose.iter().copied().sum() || filled { None } else { Some(explain(gaps, loose)) }
}

fn explain(gaps: Vec<String>, loose: &[Money]) -> String {
    let mut text = if gaps.is_empty() { "no gap is left".to_owned() } else { gaps.join("; ") };
    if !loose.is_empty() {
        text.push_str(&format!(" (movements without levels: {loose:?})"));
    }
    text
}

/// Without an order: the movements are edges between levels, and there must be one walk from nothing to the end
/// that takes each edge once (Euler): every other level is left as often as it is entered, and all hang together.
fn by_level(links: &[Link], end: Money) -> Option<String> {
    let mut leaves: BTreeMap<Money, i64> = BTreeMap::from([(Money::ZERO, 0), (end, 0)]);
    for link in links {
        *leaves.entry(link.before).or_default() += 1;
        *leaves.entry(link.after).or_default() -= 1;
    }
    *leaves.entry(Money::ZERO).or_default() -= 1;
    *leaves.entry(end).or_default() += 1;
    if let Some((level, excess)) = leaves.iter().find(|(_, excess)| **excess != 0) {
        let what = if *excess > 0 { "begin at" } else { "end at" };
        return Some(format!("{} more movements {what} {level} than fit", excess.abs()));
    }
    let mut reached = vec![Money::ZERO];
    let mut left: Vec<&Link> = links.iter().collect();
    while let Some(level) = reached.pop() {
        let (touching, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|link| link.before == level || link.after == level);
        reached.extend(touching.iter().flat_map(|link| [link.before, link.after]).filter(|other| *other != level));
        left = others;
    }
    left.first().map(|link| format!("the movement {} hangs together with nothing", link.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(levels: &[(i128, i128)]) -> Vec<Link> {
        let link = |(index, (before, after)): (usize, &(i128, i128))| Link {
            before: Money::units(*before),
            after: Money::units(*after),
            version: Some(2 + 3 * index as u64),
            key: format!("k{index}"),
        };
        levels.iter().enumerate().map(link).collect()
    }

    #[test]
    fn a_chain_without_gaps() {
        let chain = links(&[(0, 5), (5, 3), (3, 5), (5, 0), (0, 7)]);
        assert_eq!(check(&chain, Money::units(7), &[], true), None);
        assert_eq!(check(&chain, Money::units(7), &[], false), None);
        assert_eq!(check(&[], Money::ZERO, &[], true), None);
        assert_eq!(check(&[], Money::ZERO, &[], false), None);
    }

    #[test]
    fn the_order_matters_only_where_it_is_known() {
        let chain = links(&[(5, 3), (0, 5)]);
        assert!(check(&chain, Money::units(3), &[], true).is_some());
        assert_eq!(check(&chain, Money::units(3), &[], false), None);
    }

    #[test]
    fn gaps_are_found() {
        for (levels, end) in [
            (&[(0, 5), (6, 7)][..], 7),
            (&[(0, 5)], 6),
            (&[(1, 5)], 5),
            (&[], 1),
            (&[(0, 5), (0, 5)], 5),
            (&[(0, 5), (5, 0), (9, 8), (8, 9)], 0),
        ] {
            let chain = links(levels);
            assert!(check(&chain, Money::units(end), &[], true).is_some(), "{levels:?}");
            assert!(check(&chain, Money::units(end), &[], false).is_some(), "{levels:?}");
        }
        let mut twice = links(&[(0, 5), (5, 9)]);
        twice[1].version = twice[0].version;
        assert!(check(&twice, Money::units(9), &[], true).is_some());
    }

    #[test]
    fn a_movement_without_levels_fills_a_gap() {
        let chain = links(&[(0, 5), (6, 7)]);
        assert_eq!(check(&chain, Money::units(7), &[Money::units(1)], true), None);
        assert!(check(&chain, Money::units(7), &[Money::units(2)], true).is_some());
        let chain = links(&[(0, 5)]);
        assert!(check(&chain, Money::units(5), &[Money::units(1)], true).is_some(), "a movement that left no gap");
        assert_eq!(check(&chain, Money::units(5), &[Money::units(1), Money::units(-1)], true), None);
    }
}
