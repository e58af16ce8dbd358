//! Many rows at once, in the text form of COPY.

use super::super::{self as store, NewTransaction, Rows};
use super::rows::escaped;
use crate::shapes::{Account, rfc3339};

const ACCOUNTS: &str = "COPY legacy.accounts (account_id, owner_id, owner_type, account_type, balance, currency, status, \
                        min_balance, max_balance, version, metadata, created_at) FROM STDIN";
const TRANSACTIONS: &str = "COPY legacy.transactions (transaction_id, sequence, idempotency_key, type, source_account_id, \
                            destination_account_id, amount, currency, status, error_code, created_at, completed_at, \
                            source_known, destination_known, result) FROM STDIN";
const KEYS: &str = "COPY legacy.idempotency_keys (tenant, idempotency_key, account_id, content, status, body, \
                    transaction_id) FROM STDIN";

/// The statements that keep `rows`, each with the lines that it takes.
pub(super) fn lines(rows: &Rows) -> Result<Vec<(&'static str, Vec<u8>)>, store::Error> {
    let mut all = Vec::new();
    for (statement, lines) in [
        (ACCOUNTS, rows.accounts.iter().map(account).collect::<Result<Vec<_>, _>>()?),
        (TRANSACTIONS, rows.transactions.iter().map(transaction).collect::<Result<_, _>>()?),
        (KEYS, rows.kept.iter().map(kept).collect::<Result<_, _>>()?),
    ] {
        if !lines.is_empty() {
            all.push((statement, lines.concat().into_bytes()));
        }
    }
    Ok(all)
}

fn account(account: &Account) -> Result<String, store::Error> {
    let metadata = account.metadata.as_ref().map(serde_json::to_string).transpose()?;
    let (minimum, maximum) = (account.min_balance, account.max_balance);
    Ok(line(&[
        Some(&account.account_id),
        Some(&escaped(&account.owner_id)),
        Some(&escaped(&account.owner_type)),
        Some(account.account_type.as_str()),
        Some(&account.balance.to_string()),
        Some(&account.currency),
        Some(account.status.as_str()),
        minimum.map(|limit| limit.to_string()).as_deref(),
        maximum.map(|limit| limit.to_string()).as_deref(),
        Some(&account.version.to_string()),
        metadata.as_deref(),
        Some(&rfc3339(account.created_at)),
    ]))
}

fn transaction(transaction: &NewTransaction) -> Result<String, store::Error> {
    let NewTransaction { sequence, result, known: [source_known, destination_known] } = transaction;
    Ok(line(&[
        Some(&result.transaction_id),
        Some(&sequence.to_string()),
        Some(&result.tracking_id),
        Some(result.kind.as_str()),
        Some(&result.source.account_id),
        Some(&result.destination.account_id),
        Some(&result.amount.to_string()),
        Some(&result.currency),
        Some(result.status.as_str()),
        result.error_code.map(|code| code.to_string()).as_deref(),
        Some(&result.created_at),
        Some(&result.completed_at),
        Some(&source_known.to_string()),
        Some(&destination_known.to_string()),
        Some(&serde_json::to_string(result)?),
    ]))
}

fn kept((scope, kept): &(store::OwnedScope, store::Kept)) -> Result<String, store::Error> {
    Ok(line(&[
        Some(&scope.tenant),
        Some(&escaped(&scope.key)),
        Some(&escaped(&scope.account)),
        Some(&serde_json::to_string(&kept.content)?),
        Some(&kept.status.to_string()),
        Some(&kept.body),
        kept.transaction_id.as_deref(),
    ]))
}

/// A line of columns, of which `None` is NULL.
fn line(columns: &[Option<&str>]) -> String {
    let mut line = String::new();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            line.push('\t');
        }
        match column {
            None => line.push_str("\\N"),
            Some(text) => {
                for character in text.chars() {
                    match character {
                        '\\' => line.push_str("\\\\"),
                        '\t' => line.push_str("\\t"),
                        '\n' => line.push_str("\\n"),
                        '\r' => line.push_str("\\r"),
                        other => line.push(other),
                    }
                }
            }
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_what_separates_lines_and_columns() {
        let columns = [Some("plain"), None, Some(""), Some("a\tb\nc\rd\\N"), Some("\\.")];
        assert_eq!(line(&columns), "plain\t\\N\t\ta\\tb\\nc\\rd\\\\N\t\\\\.\n");
    }
}
