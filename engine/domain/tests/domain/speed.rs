//! How much a shard keeps. How fast it decides is measured by `crossfade bench core`.

use engine_domain::{Account, Remembered, TransactionId};

#[test]
fn what_is_remembered_of_a_transaction_is_small() {
    assert!(size_of::<(TransactionId, Remembered)>() <= 128);
    assert!(size_of::<Account>() <= 128);
}
