//! Refusals by a rule, for people: what, where, what to do.

use super::problem::Refusal;
use axum::http::StatusCode;
use engine_domain::Rejection;
use wire::billing::TransactionResult;

/// The problem that a refusal is answered with. Its text depends on the refusal and the result alone, so that a
/// repeat reads the same.
pub fn of(rejection: Rejection, subject: &str, result: Option<TransactionResult>) -> Refusal {
    let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    let place = result.as_ref().map_or_else(|| format!("`{subject}`"), place_of);
    let detail = format!("{place}: {}; {}", rejection.reason(), remedy(rejection));
    let refusal = Refusal::new(status, rejection.code(), detail);
    match result {
        Some(result) => refusal.with_result(result),
        None => refusal,
    }
}

/// `topup of 10 EUR from bank to alice`, as far as it is known.
fn place_of(result: &TransactionResult) -> String {
    if result.source.account_id.is_empty() {
        let original = result.original_transaction_id.as_deref().unwrap_or_default();
        return format!("{} of transaction `{original}`", result.kind);
    }
    format!(
        "{} of {} {} from `{}` to `{}`",
        result.kind, result.amount, result.currency, result.source.account_id, result.destination.account_id
    )
}

/// What somebody can do about it.
const fn remedy(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::SameAccount => "name two different accounts",
        Rejection::DuplicateKey => "take a new key for a new request, or repeat the first one unchanged",
        Rejection::OriginalNotFound => "check the transaction's id",
        Rejection::NotRefundable => "only completed topups, withdrawals and transfers can be refunded",
        Rejection::RefundExceedsOriginal => "ask for less, or leave the amount out to refund what is left",
        Rejection::AccountExists => "take another id, or use the account that is there",
        Rejection::AccountNotFound => "create it first, or check its id",
        Rejection::AccountTypeNotAllowed => {
            "a topup goes from EXTERNAL or SYSTEM to USER, a withdrawal the other way, a transfer from USER"
        }
        Rejection::AccountFrozen => "set its status to ACTIVE first",
        Rejection::AccountClosed => "a closed account stays closed: use another one",
        Rejection::CurrencyMismatch => "use the currency of both accounts",
        Rejection::InsufficientBalance => "ask for less, or top it up first",
        Rejection::BalanceLimitExceeded => "ask for less, or raise its maxBalance first",
        Rejection::BalanceOverflow => "ask for less, or spread it over several accounts",
        Rejection::InvalidLimits => "minBalance may not be above maxBalance, nor below 0 for a USER account",
        Rejection::LimitsFixed => {
            "an EXTERNAL or SYSTEM account made without limits keeps none, one made with limits keeps at least one"
        }
        Rejection::AccountNotEmpty => "bring its balance and reservations to 0 first",
        Rejection::OpenSteps => "wait until the transactions under way have ended, and try again",
    }
}
