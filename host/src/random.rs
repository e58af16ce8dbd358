//! Randomness for ids and nonces. Decisions never depend on it.

/// A random id (UUID version 4).
pub fn uuid() -> uuid::Uuid {
    #[cfg(feature = "simulated")]
    if let Some(bytes) = crate::simulated::random_bytes() {
        return uuid::Builder::from_random_bytes(bytes).into_uuid();
    }
    uuid::Uuid::new_v4()
}

/// A random 64-bit number.
pub fn u64() -> u64 {
    uuid().as_u64_pair().0 ^ uuid().as_u64_pair().1
}

/// A random token of 128 bits, in hexadecimal.
pub fn token() -> String {
    uuid().simple().to_string()
}
