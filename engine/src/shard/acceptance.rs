//! Which records of a journal partition count: compare-and-append without any help of the log.
//!
//! A record counts if it names the hash of the last one that counted *and* the source offset that comes next.
//! Everything else in the partition — of a zombie owner, of a repeated append, of an append whose predecessor was
//! lost, of a build that decides otherwise, of another ledger — is ignored, by every reader alike. So readers
//! cannot disagree, whoever writes.

use crate::planted::{Mistake, planted};
use wire::scalar::Digest;

/// The end of the accepted chain of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    parent: Digest,
    next_source: u64,
}

/// What the rule says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It extends the chain.
    Accepted,
    /// It extends another chain, or an earlier end of this one.
    OtherParent,
    /// It extends this chain with an outcome that is not the next: a broken writer, since the parent is right.
    OtherSource,
}

impl Chain {
    /// The chain without outcomes, of one shard of one ledger.
    pub fn genesis(ledger: &str, shard: u32, shards: u32) -> Self {
        Self { parent: wire::journal::genesis(ledger, shard, shards), next_source: 0 }
    }

    /// The chain whose last outcome has this hash, and decided on the command before this offset.
    pub fn at(parent: Digest, next_source: u64) -> Self {
        Self { parent, next_source }
    }

    /// What the next outcome has to name as its parent.
    pub fn parent(&self) -> Digest {
        self.parent
    }

    /// The offset of the command that the next outcome has to decide.
    pub fn next_source(&self) -> u64 {
        self.next_source
    }

    /// The rule.
    pub fn judge(&self, parent: Digest, source: u64) -> Acceptance {
        if planted(Mistake::AcceptedByOffset) {
            return if source >= self.next_source { Acceptance::Accepted } else { Acceptance::OtherParent };
        }
        match (parent == self.parent, source == self.next_source) {
            (true, true) => Acceptance::Accepted,
            (true, false) => Acceptance::OtherSource,
            (false, _) => Acceptance::OtherParent,
        }
    }

    /// The chain behind an accepted outcome with this hash, on the command at this offset.
    #[must_use]
    pub fn extended(self, hash: Digest, source: u64) -> Self {
        Self { parent: hash, next_source: source + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An outcome, as far as the rule is concerned.
    #[derive(Clone)]
    struct Written {
        parent: Digest,
        source: u64,
        content: &'static str,
    }

    impl Written {
        fn hash(&self) -> Digest {
            Digest::of(format!("{} {} {}", self.parent, self.source, self.content).as_bytes())
        }

        fn next(&self, content: &'static str) -> Self {
            Self { parent: self.hash(), source: self.source + 1, content }
        }
    }

    fn genesis() -> Chain {
        Chain::genesis("demo", 3, 10)
    }

    fn first(content: &'static str) -> Written {
        Written { parent: genesis().parent(), source: 0, content }
    }

    /// The contents that a reader of `partition` accepts.
    fn accepted(partition: &[Written]) -> Vec<&'static str> {
        let mut chain = genesis();
        let mut accepted = Vec::new();
        for record in partition {
            if chain.judge(record.parent, record.source) == Acceptance::Accepted {
                chain = chain.extended(record.hash(), record.source);
                accepted.push(record.content);
            }
        }
        accepted
    }

    #[test]
    fn a_chain_is_accepted_in_order() {
        let a = first("a");
        let b = a.next("b");
        assert_eq!(accepted(&[a.clone(), b.clone(), b.next("c")]), ["a", "b", "c"]);
    }

    #[test]
    fn what_does_not_extend_the_chain_is_ignored() {
        let a = first("a");
        let (b, zombie) = (a.next("b"), a.next("zombie"));
        let c = b.next("c");
        for (partition, expected, why) in [
            (vec![a.clone(), a.clone(), b.clone(), b.clone(), c.clone()], vec!["a", "b", "c"], "duplicates"),
            (
                vec![a.clone(), b.clone(), zombie.clone(), zombie.next("more"), c.clone()],
                vec!["a", "b", "c"],
                "a zombie",
            ),
            (vec![a.clone(), zombie.clone(), b.clone(), c.clone()], vec!["a", "zombie"], "the first of two wins"),
            (vec![b.clone(), a.clone(), c.clone()], vec!["a"], "out of order"),
            (vec![a.clone(), c.clone()], vec!["a"], "a lost append takes its successors along"),
            (vec![a.clone(), c.clone(), b.clone(), c.clone()], vec!["a", "b", "c"], "and they count when repeated"),
            (vec![Written { source: 1, ..first("skips") }, a.clone()], vec!["a"], "the right parent, another source"),
        ] {
            assert_eq!(accepted(&partition), expected, "{why}");
        }
    }

    #[test]
    fn other_ledgers_shards_and_numbers_of_shards_have_other_chains() {
        let parents = [("demo", 3, 10), ("demo", 4, 10), ("demo", 3, 11), ("other", 3, 10)]
            .map(|(ledger, shard, shards)| Chain::genesis(ledger, shard, shards).parent());
        for (index, parent) in parents.iter().enumerate() {
            assert!(!parents[..index].contains(parent));
        }
        let foreign = Written { parent: parents[3], source: 0, content: "foreign" };
        assert_eq!(accepted(&[foreign.clone(), foreign.next("more"), first("a")]), ["a"]);
    }

    #[test]
    fn the_rule_names_what_is_wrong() {
        let chain = genesis();
        assert_eq!(chain.judge(chain.parent(), 1), Acceptance::OtherSource);
        assert_eq!(chain.judge(Digest::of(b"x"), 0), Acceptance::OtherParent);
        assert_eq!(chain.judge(Digest::of(b"x"), 1), Acceptance::OtherParent);
    }
}
