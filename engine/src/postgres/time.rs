//! Points in time as the database keeps them: whole microseconds, as everywhere here, only counted from 2000 on.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef, Postgres};
use sqlx::{Decode, Encode, Type};

/// 2000-01-01T00:00:00Z in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

/// The first one that the database knows, 4714-11-24 BC: before it there is nothing either.
const FIRST: i64 = -211_813_488_000_000_000;

/// Microseconds since 1970-01-01T00:00:00Z, as a `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Micros(pub(super) i64);

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Micros {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_timestamptz")
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let since_2000 = self.0.saturating_sub(EPOCH).max(FIRST);
        Encode::<Postgres>::encode_by_ref(&since_2000, buffer)
    }
}

impl Decode<'_, Postgres> for Micros {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                let since_2000 = <i64 as Decode<'_, Postgres>>::decode(value)?;
                Ok(Self(since_2000.checked_add(EPOCH).ok_or("a time after all calendars")?))
            }
            // Only of statements that are not prepared; there are none here.
            PgValueFormat::Text => Err("a time in text form".into()),
        }
    }
}

/// The day that [`crate::analytics::Day`] counts from, in SQL.
pub(super) const DATE_EPOCH: &str = "date '1970-01-01'";
/// The first day that the database knows, counted so.
pub(super) const FIRST_DAY: i32 = -2_440_588;
