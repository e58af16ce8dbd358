//! engine-domain.
