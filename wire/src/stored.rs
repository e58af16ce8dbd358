//! The tag in front of every stored record: `u16 type, u16 version` (little endian), then the body in postcard.
//!
//! Old versions are upcast on read; a type or version that this program does not know stops the reader: it is
//! never skipped (DESIGN 3.1). Bytes that no program of this project can have written are damage or somebody else's: what
//! becomes of those is each reader's to say (decision 14).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that is stored, or sent between parts, under a tag of its own.
pub trait Stored: Serialize + DeserializeOwned {
    /// Its number; never reused.
    const TYPE: u16;
    /// The version that this program writes.
    const VERSION: u16;
    /// The oldest version that this program reads.
    const OLDEST: u16 = Self::VERSION;

    /// Reads a body of any version from the oldest to the newest. Unless a type says otherwise, the newest version reads
    /// them as they are: since the oldest there are only more variants, each behind those of before.
    ///
    /// # Errors
    /// [`DecodeError::Damaged`], when the body does not follow that version.
    fn upcast(version: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let _ = version;
        whole(body)
    }
}

/// Every type there is. A number below [`RESERVED`] that is not among them belongs to a newer program.
const TYPES: [u16; 12] =
    [0x0001, 0x0002, 0x0003, 0x0101, 0x0102, 0x0103, 0x0104, 0x0105, 0x0106, 0x0201, 0x0302, 0x0303];

/// Numbers of types are below it, so that no text begins like a record: a text's second byte is larger.
const RESERVED: u16 = 0x1000;

/// Why stored bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than a tag.
    #[error("{0} bytes are too few for a record")]
    TooShort(usize),
    /// Another type than the one asked for.
    #[error("record type {found:#06x} where {expected:#06x} was expected")]
    OtherType {
        /// The type in the tag.
        found: u16,
        /// The type that the reader wanted.
        expected: u16,
    },
    /// A type that this program does not know: a newer program wrote it.
    #[error("record type {0:#06x} is not known to this program")]
    UnknownType(u16),
    /// A version that this program does not know: a newer program wrote it.
    #[error("version {found} of record type {record_type:#06x} is not known to this program (it knows {known})")]
    UnknownVersion {
        /// The type in the tag.
        record_type: u16,
        /// The version in the tag.
        found: u16,
        /// The newest version that this program knows.
        known: u16,
    },
    /// The body does not follow its type.
    #[error("record body is damaged: {0}")]
    Damaged(String),
}

impl DecodeError {
    /// Whether a newer program wrote the record: it knows what it means, so it is never passed over.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::UnknownType(_) | Self::UnknownVersion { .. })
    }
}

/// Bytes of the tag.
pub const TAG: usize = 4;

/// Writes a record with its tag.
pub fn encode<T: Stored>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&T::TYPE.to_le_bytes());
    bytes.extend_from_slice(&T::VERSION.to_le_bytes());
    // Every stored type is plain data of known shape, for which postcard has no way to fail on a growing vector.
    postcard::to_extend(record, bytes).expect("plain data always encodes")
}

/// Reads a record with its tag; all bytes have to belong to it.
///
/// # Errors
/// [`DecodeError`], when the bytes are another type, of a newer program, or damaged.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (version, body) = body::<T>(bytes)?;
    T::upcast(version, body)
}

/// The version of a record of this type, and what stands behind the tag.
///
/// # Errors
/// [`DecodeError`], when the bytes are another type or a version that this program does not know.
pub(crate) fn body<T: Stored>(bytes: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let (record_type, version, body) = untag(bytes)?;
    if record_type != T::TYPE {
        let is_newer = (1..RESERVED).contains(&record_type) && !TYPES.contains(&record_type);
        let other = DecodeError::OtherType { found: record_type, expected: T::TYPE };
        return Err(if is_newer { DecodeError::UnknownType(record_type) } else { other });
    }
    if !(T::OLDEST..=T::VERSION).contains(&version) {
        return Err(DecodeError::UnknownVersion { record_type, found: version, known: T::VERSION });
    }
    Ok((version, body))
}

/// Reads a body that has the shape of `T`; all bytes have to belong to it.
///
/// # Errors
/// [`DecodeError::Damaged`].
pub(crate) fn whole<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(DecodeError::Damaged(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(DecodeError::Damaged(error.to_string())),
    }
}

fn untag(bytes: &[u8]) -> Result<(u16, u16, &[u8]), DecodeError> {
    match bytes {
        [type_low, type_high, version_low, version_high, body @ ..] => {
            Ok((u16::from_le_bytes([*type_low, *type_high]), u16::from_le_bytes([*version_low, *version_high]), body))
        }
        _ => Err(DecodeError::TooShort(bytes.len().min(TAG))),
    }
}

/// Reads any stored record as JSON, for people.
///
/// # Errors
/// As [`decode`]; a type that no topic holds is [`DecodeError::OtherType`] with 0 expected.
pub fn to_json(bytes: &[u8]) -> Result<serde_json::Value, DecodeError> {
    fn json<T: Stored>(bytes: &[u8]) -> Result<serde_json::Value, DecodeError> {
        serde_json::to_value(decode::<T>(bytes)?).map_err(|error| DecodeError::Damaged(error.to_string()))
    }
    match untag(bytes)?.0 {
        crate::journal::Command::TYPE => json::<crate::journal::Command>(bytes),
        crate::journal::Outcome::TYPE => json::<crate::journal::Outcome>(bytes),
        crate::snapshot::SnapshotRecord::TYPE => json::<crate::snapshot::SnapshotRecord>(bytes),
        crate::exchange::ExchangeRecord::TYPE => json::<crate::exchange::ExchangeRecord>(bytes),
        crate::shadow::ShadowRecord::TYPE => json::<crate::shadow::ShadowRecord>(bytes),
        crate::rollout::RolloutRecord::TYPE => json::<crate::rollout::RolloutRecord>(bytes),
        crate::decision::DecisionRecord::TYPE => json::<crate::decision::DecisionRecord>(bytes),
        crate::dead_letter::DeadLetter::TYPE => json::<crate::dead_letter::DeadLetter>(bytes),
        crate::order::OrderMark::TYPE => json::<crate::order::OrderMark>(bytes),
        found => Err(DecodeError::OtherType { found, expected: 0 }),
    }
}
