//! Unknown results: what to ask the authority, and what its answer says.
//!
//! A transaction is asked for by its key, a request about an account by the account: present, or with the fields
//! as asked, means that it was applied. What is found under the key may be another request's that used it too: then
//! this one is not there, and never will be. "Not there" is reported as it is; when that counts is the caller's
//! affair, for the request may still be running.

use super::aliases::Aliases;
use super::exchanges::ExchangeId;
use serde_json::{Map, Value};
use std::sync::Arc;
use wire::billing::{Problem, TransactionResult};
use wire::exchange::Intent;
use wire::ids::is_account_id;
use wire::scalar::{Body, Money};
use wire::shadow::ResolvedBy;
use wire::words::{Class, Operation, REFUSAL_CODES, System};

/// A question to the authority of an unknown exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The exchange.
    pub id: ExchangeId,
    /// Who is asked.
    pub system: System,
    /// Path and query.
    pub path: String,
    /// The tenant that scopes the key.
    pub tenant: String,
    /// The request that it is about.
    pub intent: Arc<Intent>,
    /// The earlier transaction that the request refers to, by the id that the asked system knows it by.
    pub original: Option<String>,
}

impl Question {
    /// The same, asked by the id of the transaction if there is one.
    pub fn by(self, id: Option<&str>) -> Self {
        match id {
            Some(id) => Self { path: format!("/transactions/{}", percent_encoded(id)), ..self },
            None => self,
        }
    }
}

/// What an answer says of the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It was decided: the class, and what the client would have had.
    Decided(Class, u16, Body),
    /// The authority has nothing of it.
    Absent,
    /// Nothing can be said yet.
    NotYet,
    /// It was not answered, or by an error.
    NoAnswer,
}

/// How an exchange is asked for.
pub(crate) fn asked_by(operation: Operation) -> ResolvedBy {
    match operation {
        Operation::CreateAccount | Operation::ChangeAccount => ResolvedBy::Account,
        Operation::Topup | Operation::Withdraw | Operation::Transfer | Operation::Refund => ResolvedBy::Key,
    }
}

/// The question to a system for an exchange; `None` when there is nothing to ask by. Then no system can have taken the request:
/// its account is none, or its key, and both refuse that before they look at anything else.
pub(crate) fn question(id: ExchangeId, intent: &Arc<Intent>, system: System, known: &Aliases) -> Option<Question> {
    if intent.account.as_deref().is_some_and(|account| !is_account_id(account)) {
        return None;
    }
    let path = match asked_by(intent.operation) {
        ResolvedBy::Account => format!("/accounts/{}", percent_encoded(intent.account.as_deref()?)),
        ResolvedBy::Key | ResolvedBy::Person { .. } => {
            let key = percent_encoded(intent.key.as_deref()?);
            match intent.account.as_deref() {
                Some(account) => format!("/transactions/status/{key}?account={}", percent_encoded(account)),
                None => format!("/transactions/status/{key}"),
            }
        }
    };
    let tenant = intent.tenant.clone();
    let original = intent.original.as_ref().and_then(|id| known.at(system, id));
    Some(Question { id, system, path, tenant, intent: Arc::clone(intent), original })
}

/// The question whether a change of an account, which is repeated by no key, has reached a system already.
pub(crate) fn was_changed(id: ExchangeId, intent: &Arc<Intent>, system: System) -> Option<Question> {
    let path = format!("/accounts/{}", percent_encoded(intent.account.as_deref()?));
    Some(Question { id, system, path, tenant: intent.tenant.clone(), intent: Arc::clone(intent), original: None })
}

/// Everything but the unreserved characters of RFC 3986 as `%XX`: a key may hold any printable character.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What an answer to a question says.
pub(crate) fn finding(question: &Question, status: u16, body: &[u8]) -> Finding {
    match asked_by(question.intent.operation) {
        ResolvedBy::Account => account_finding(&question.intent, status, body),
        ResolvedBy::Key | ResolvedBy::Person { .. } => key_finding(question, status, body),
    }
}

fn code_of(document: &Value) -> &str {
    document.get("code").and_then(Value::as_str).unwrap_or_default()
}

fn key_finding(question: &Question, status: u16, body: &[u8]) -> Finding {
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return Finding::NotYet };
    match status {
        200 if !is_of(question, &document) => Finding::Absent,
        404 if code_of(&document) == "TransactionNotFound" => Finding::Absent,
        200 => match document.get("status").and_then(Value::as_str) {
            Some("completed") => Finding::Decided(Class::Applied, 200, Body(body.to_vec())),
            Some("failed") => refused(&document),
            // `processing`, and whatever else is no end.
            _ => Finding::NotYet,
        },
        _ => Finding::NotYet,
    }
}

/// Whether a transaction can be the one that was asked for: nothing that both name differs.
fn is_of(question: &Question, found: &Value) -> bool {
    let asked = serde_json::from_slice::<Map<String, Value>>(&question.intent.body.0).unwrap_or_default();
    let agree = |field: &str, pointer: &str| match (asked.get(field), found.pointer(pointer)) {
        (Some(asked), Some(found)) => same_value(asked, found),
        _ => true,
    };
    let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str);
    let operation = question.intent.operation.to_string();
    let original = question.original.as_deref();
    text("/type").is_none_or(|kind| kind == operation)
        && text("/originalTransactionId").is_none_or(|found| original.is_none_or(|asked| asked == found))
        && agree("sourceAccountId", "/source/accountId")
        && agree("destinationAccountId", "/destination/accountId")
        && agree("amount", "/amount")
        && agree("currency", "/currency")
        && agree("reference", "/reference")
        && agree("metadata", "/metadata")
}

/// A failed transaction as the problem that the client would have had.
fn refused(document: &Value) -> Finding {
    let Some(code) = document.get("errorCode").and_then(Value::as_str).filter(|code| REFUSAL_CODES.contains(code))
    else {
        return Finding::NotYet;
    };
    let status = status_of(code);
    let mut problem = Problem::new(status, code, format!("refused: {code}"));
    problem.correlation_id = document.get("correlationId").and_then(Value::as_str).map(str::to_owned);
    problem.result = serde_json::from_value::<TransactionResult>(document.clone()).ok();
    match serde_json::to_vec(&problem) {
        Ok(body) => Finding::Decided(Class::Refused, status, Body(body)),
        Err(_) => Finding::NotYet,
    }
}

/// The status of a refusal (FORMATS, "Refusals and their status").
fn status_of(code: &str) -> u16 {
    match code {
        "AccountNotFound" | "OriginalNotFound" => 404,
        "AccountExists" => 409,
        _ => 422,
    }
}

fn account_finding(intent: &Intent, status: u16, body: &[u8]) -> Finding {
    let Ok(document) = serde_json::from_slice::<Value>(body) else { return Finding::NotYet };
    let creates = intent.operation == Operation::CreateAccount;
    match status {
        404 if code_of(&document) == "AccountNotFound" => Finding::Absent,
        200 => {
            let asked = serde_json::from_slice::<Map<String, Value>>(&intent.body.0).unwrap_or_default();
            match (creates, as_asked(&asked, &document, creates)) {
                (true, true) => Finding::Decided(Class::Applied, 201, Body(body.to_vec())),
                (false, true) => Finding::Decided(Class::Applied, 200, Body(body.to_vec())),
                (true, false) => account_exists(intent),
                (false, false) => Finding::Absent,
            }
        }
        _ => Finding::NotYet,
    }
}

/// The account is there, but another request has made it.
pub(super) fn account_exists(intent: &Intent) -> Finding {
    let account = intent.account.as_deref().unwrap_or_default();
    let problem = Problem::new(409, "AccountExists", format!("the account {account} exists already"));
    match serde_json::to_vec(&problem) {
        Ok(body) => Finding::Decided(Class::Refused, 409, Body(body)),
        Err(_) => Finding::NotYet,
    }
}

/// Whether an account has every field as the request asked for it. Of a new account only what no later request
/// can have changed is looked at.
fn as_asked(asked: &Map<String, Value>, account: &Value, creates: bool) -> bool {
    let fields: &[&str] = match creates {
        true => &["ownerId", "ownerType", "accountType", "currency"],
        false => &["status", "minBalance", "maxBalance"],
    };
    fields.iter().all(|field| match asked.get(*field) {
        None => true,
        Some(wanted) => same_value(wanted, account.get(*field).unwrap_or(&Value::Null)),
    })
}

/// Equal texts, or equal amounts: `10.0` is `10`.
fn same_value(wanted: &Value, found: &Value) -> bool {
    if wanted == found {
        return true;
    }
    let money = |value: &Value| value.as_str().and_then(|text| text.parse::<Money>().ok());
    matches!((money(wanted), money(found)), (Some(wanted), Some(found)) if wanted == found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::given;
    use super::*;

    fn intent(operation: Operation, body: &str) -> Intent {
        given::intent(operation, System::Legacy, &["alice"], body)
    }

    fn found(intent: &Intent, status: u16, body: &[u8]) -> Finding {
        let intent = Arc::new(intent.clone());
        let asked = question(ExchangeId(1), &intent, intent.authority, &Aliases::default())
            .expect("there is something to ask by");
        finding(&asked, status, body)
    }

    fn applied(status: u16, body: &str) -> Finding {
        Finding::Decided(Class::Applied, status, Body(body.as_bytes().to_vec()))
    }

    #[test]
    fn a_transaction_is_found_by_its_key() {
        let topup = intent(Operation::Topup, "{}");
        let completed = r#"{"transactionId":"t","status":"completed"}"#;
        for (status, body, expected) in [
            (200, completed, applied(200, completed)),
            (200, r#"{"status":"processing"}"#, Finding::NotYet),
            (200, r#"{"status":"authorized"}"#, Finding::NotYet),
            (200, r#"{"status":"failed"}"#, Finding::NotYet),
            (200, r#"{"status":"failed","errorCode":"Moody"}"#, Finding::NotYet),
            (200, "<html>", Finding::NotYet),
            (404, r#"{"code":"TransactionNotFound"}"#, Finding::Absent),
            (404, r#"{"code":"NoSuchRoute"}"#, Finding::NotYet),
            (404, "", Finding::NotYet),
            (409, r#"{"code":"AmbiguousKey"}"#, Finding::NotYet),
            (500, r#"{"code":"TransactionNotFound"}"#, Finding::NotYet),
            (503, "", Finding::NotYet),
        ] {
            assert_eq!(found(&topup, status, body.as_bytes()), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_failed_transaction_becomes_the_refusal_that_the_client_would_have_had() {
        let body = given::failed_result("t9", "alice", "bank", "InsufficientBalance");
        let Finding::Decided(Class::Refused, 422, problem) =
            found(&intent(Operation::Withdraw, "{}"), 200, body.as_bytes())
        else {
            panic!("it was refused")
        };
        let problem: Problem = serde_json::from_slice(&problem.0).expect("it is a problem");
        assert_eq!((problem.status, problem.code.as_str()), (422, "InsufficientBalance"));
        assert_eq!(problem.result.map(|result| result.transaction_id).as_deref(), Some("t9"));
        let missing = r#"{"status":"failed","errorCode":"AccountNotFound"}"#;
        assert!(matches!(
            found(&intent(Operation::Withdraw, "{}"), 200, missing.as_bytes()),
            Finding::Decided(Class::Refused, 404, _)
        ));
    }

    #[test]
    fn another_request_under_the_same_key_is_not_the_one() {
        let asked = r#"{"sourceAccountId":"bank","destinationAccountId":"alice","amount":"10.0","currency":"EUR"}"#;
        let found_with = |other: &str| {
            let (from, to) = other.split_once(" is ").unwrap_or_default();
            r#"{"type":"topup","status":"completed","source":{"accountId":"bank"},"destination":{"accountId":"alice"},
               "amount":"10","currency":"EUR"}"#
                .replace(from, to)
        };
        let topup = intent(Operation::Topup, asked);
        let same = found_with("");
        assert_eq!(found(&topup, 200, same.as_bytes()), applied(200, &same), "amounts are equal by value");
        for other in
            ["topup is withdraw", "bank is shop", "alice is bob", "10 is 11", "EUR is USD", "completed is failed"]
        {
            let document =
                if other.starts_with("completed") { found_with(other).replace("10", "11") } else { found_with(other) };
            assert_eq!(found(&topup, 200, document.as_bytes()), Finding::Absent, "{other}");
        }
    }

    #[test]
    fn a_refund_is_known_by_what_it_refunds() {
        let mut refund = intent(Operation::Refund, r#"{"transactionId":"cf00aabb-1234-8abc-8def-0123456789ab"}"#);
        refund.original = Some("cf00aabb-1234-8abc-8def-0123456789ab".to_owned());
        let mut known = Aliases::default();
        let document = |original: &str| format!(r#"{{"status":"completed","originalTransactionId":"{original}"}}"#);
        let finds = |known: &Aliases, original: &str| {
            let asked =
                question(ExchangeId(1), &Arc::new(refund.clone()), System::Legacy, known).expect("there is a key");
            finding(&asked, 200, document(original).as_bytes()) != Finding::Absent
        };
        assert!(finds(&known, "L-1") && finds(&known, "L-2"), "without an alias nobody can tell");
        known.made("cf00aabb-1234-8abc-8def-0123456789ab", Operation::Transfer, "a".into(), "b".into());
        known.link("cf00aabb-1234-8abc-8def-0123456789ab", "L-1");
        assert!(finds(&known, "L-1") && !finds(&known, "L-2"));
    }

    #[test]
    fn a_new_account_was_applied_if_it_is_there_as_asked() {
        let asked = r#"{"accountId":"alice","ownerId":"o","ownerType":"p","accountType":"USER","currency":"EUR"}"#;
        let create = intent(Operation::CreateAccount, asked);
        let there = r#"{"accountId":"alice","ownerId":"o","ownerType":"p","accountType":"USER","currency":"EUR","status":"FROZEN"}"#;
        assert_eq!(found(&create, 200, there.as_bytes()), applied(201, there));
        let other = there.replace("EUR", "USD");
        assert!(matches!(found(&create, 200, other.as_bytes()), Finding::Decided(Class::Refused, 409, _)));
        assert_eq!(found(&create, 404, br#"{"code":"AccountNotFound"}"#), Finding::Absent);
        assert_eq!(found(&create, 502, b""), Finding::NotYet);
    }

    #[test]
    fn a_change_was_applied_if_the_fields_are_as_asked() {
        for (asked, account, expected) in [
            (r#"{"status":"FROZEN"}"#, r#"{"status":"FROZEN"}"#, true),
            (r#"{"status":"FROZEN"}"#, r#"{"status":"ACTIVE"}"#, false),
            (r#"{"minBalance":"10.0"}"#, r#"{"minBalance":"10"}"#, true),
            (r#"{"minBalance":null}"#, r#"{"status":"ACTIVE"}"#, true),
            (r#"{"minBalance":null}"#, r#"{"minBalance":"1"}"#, false),
            (r#"{"minBalance":"1","maxBalance":"2"}"#, r#"{"minBalance":"1","maxBalance":"3"}"#, false),
        ] {
            let finding = found(&intent(Operation::ChangeAccount, asked), 200, account.as_bytes());
            assert_eq!(finding == applied(200, account), expected, "{asked} {account}");
            assert!(expected || finding == Finding::Absent);
        }
    }

    #[test]
    fn questions_name_key_account_and_tenant() {
        let mut topup = intent(Operation::Topup, "{}");
        topup.key = Some("a/b c?%".to_owned());
        topup.tenant = "shop".to_owned();
        let asked = question(ExchangeId(3), &Arc::new(topup.clone()), System::Legacy, &Aliases::default())
            .expect("there is a key");
        assert_eq!(asked.path, "/transactions/status/a%2Fb%20c%3F%25?account=alice");
        assert_eq!((asked.system, asked.tenant.as_str()), (System::Legacy, "shop"));
        topup.account = None;
        let asked = question(ExchangeId(3), &Arc::new(topup.clone()), System::Legacy, &Aliases::default())
            .expect("there is a key");
        assert_eq!(asked.path, "/transactions/status/a%2Fb%20c%3F%25");
        topup.key = None;
        assert_eq!(question(ExchangeId(3), &Arc::new(topup), System::Legacy, &Aliases::default()), None);
        let create = intent(Operation::CreateAccount, "{}");
        assert_eq!(
            question(ExchangeId(3), &Arc::new(create), System::Legacy, &Aliases::default())
                .expect("there is an account")
                .path,
            "/accounts/alice"
        );
    }
}
