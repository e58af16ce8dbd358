//! Accounts: made, changed, read.

use super::caller::{self, Caller};
use super::findings::Findings;
use super::incoming::{AccountSegment, Head, Incoming};
use super::openapi::{Conflict, Limit, NotFound, ReadProblems, Stale, WriteHeaders, WriteProblems};
use super::problem::Refusal;
use super::query::Query;
use super::refusals;
use super::requests::{self, ChangeAccount, CreateAccount};
use super::submit::{Write, json};
use super::{Api, unreadable};
use crate::view::read_model::{HistoryQuery, Projection};
use crate::view::{HistoryFilter, Status};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use engine_domain::{AccountId, Body, Kind, Rejection, command};
use std::sync::Arc;
use uuid::Uuid;
use wire::billing::{Account, AccountEventPage, AccountPage, Balance, Processing, TransactionPage};

/// The kinds of transactions, as clients write them; none of the last kind is ever found here.
const KINDS: [(&str, Option<Kind>); 5] = [
    (Kind::Topup.as_str(), Some(Kind::Topup)),
    (Kind::Withdraw.as_str(), Some(Kind::Withdraw)),
    (Kind::Transfer.as_str(), Some(Kind::Transfer)),
    (Kind::Refund.as_str(), Some(Kind::Refund)),
    ("payment", None),
];
/// What became of them, as clients write it; what becomes of payments is never found here.
const STATUSES: [(&str, Option<Status>); 7] = [
    (Status::Completed.as_str(), Some(Status::Completed)),
    (Status::Failed.as_str(), Some(Status::Failed)),
    (Status::Processing.as_str(), Some(Status::Processing)),
    ("authorized", None),
    ("captured", None),
    ("voided", None),
    ("expired", None),
];

/// Makes an account.
#[utoipa::path(
    post, path = "/accounts", tag = "accounts", operation_id = "createAccount", request_body = CreateAccount,
    params(WriteHeaders),
    responses(
        (status = 201, description = "made, or made before under the same key", body = Account),
        (status = 202, description = "not decided yet", body = Processing),
        WriteProblems, Conflict,
    ),
)]
pub async fn create(State(api): State<Arc<Api>>, request: Incoming) -> Result<Response, Refusal> {
    let Incoming { head, body } = request;
    let mut findings = Findings::new();
    let caller = Caller::of(&head.headers, head.correlation_id.clone(), &api.trust, &mut findings);
    let key = caller::key(&head.headers, None, &mut findings);
    let asked = requests::read::<CreateAccount>(&body, &mut findings);
    let asked = findings.conclude(asked)?;
    let limits = asked.limits();
    let account = asked.account_id.unwrap_or_else(|| made_account_id(&caller.tenant, key.as_deref()));
    let write = Write {
        tracking_id: key.clone().unwrap_or_else(|| account.as_str().into()),
        location: format!("/accounts/{account}"),
        command: api.command(
            caller,
            Body::CreateAccount(command::CreateAccount {
                key,
                account,
                owner_id: asked.owner_id,
                owner_type: asked.owner_type,
                account_type: asked.account_type,
                currency: asked.currency,
                limits,
                metadata: asked.metadata,
            }),
        ),
        original_amount: None,
    };
    api.answer(&head, write).await
}

/// Changes an account's status or limits.
#[utoipa::path(
    patch, path = "/accounts/{id}", tag = "accounts", operation_id = "changeAccount", request_body = ChangeAccount,
    params(("id" = String, Path, description = "the account")),
    responses(
        (status = 200, description = "the account after the change", body = Account),
        (status = 202, description = "not decided yet", body = Processing),
        WriteProblems, NotFound,
    ),
)]
pub async fn change(
    State(api): State<Arc<Api>>,
    AccountSegment(account): AccountSegment,
    request: Incoming,
) -> Result<Response, Refusal> {
    let Incoming { head, body } = request;
    let mut findings = Findings::new();
    let caller = Caller::of(&head.headers, head.correlation_id.clone(), &api.trust, &mut findings);
    let asked = requests::read::<ChangeAccount>(&body, &mut findings);
    let asked = findings.conclude(asked)?;
    let write = Write {
        tracking_id: account.as_str().into(),
        location: format!("/accounts/{account}"),
        command: api.command(
            caller,
            Body::ChangeAccount(command::ChangeAccount {
                account,
                status: asked.status,
                min: asked.min_balance,
                max: asked.max_balance,
            }),
        ),
        original_amount: None,
    };
    api.answer(&head, write).await
}

/// An account.
#[utoipa::path(
    get, path = "/accounts/{id}", tag = "accounts", operation_id = "getAccount",
    params(
        ("id" = String, Path, description = "the account"),
        Stale,
    ),
    responses(
        (status = 200, description = "the account", body = Account),
        ReadProblems, NotFound,
    ),
)]
pub async fn get(
    State(api): State<Arc<Api>>,
    AccountSegment(account): AccountSegment,
    head: Head,
) -> Result<Response, Refusal> {
    let _timer = api.timer("account");
    let mut findings = Findings::new();
    let stale = Query::of(&head.uri, &mut findings).flag("stale");
    findings.conclude(Some(()))?;
    if !stale {
        api.include_account(&account, &head).await?;
    }
    found(api.ledger.view().account(account.as_str()), &account)
}

/// All accounts, in order of their ids.
#[utoipa::path(
    get, path = "/accounts", tag = "accounts", operation_id = "listAccounts",
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        Limit,
        Stale,
    ),
    responses(
        (status = 200, description = "a page", body = AccountPage),
        ReadProblems,
    ),
)]
pub async fn list(State(api): State<Arc<Api>>, head: Head) -> Result<Response, Refusal> {
    let _timer = api.timer("accounts");
    let mut findings = Findings::new();
    let mut query = Query::of(&head.uri, &mut findings);
    let (after, limit, stale) = (query.text("after"), query.limit(), query.flag("stale"));
    findings.conclude(Some(()))?;
    if !stale {
        api.include(&api.all_shards()).await?;
    }
    Ok(json(StatusCode::OK, &api.ledger.view().accounts(after.as_deref(), limit)))
}

/// A balance, now or as it was.
#[utoipa::path(
    get, path = "/accounts/{id}/balance", tag = "accounts", operation_id = "getBalance",
    params(
        ("id" = String, Path, description = "the account"),
        ("at" = Option<String>, Query, description = "the balance as it was at this time (RFC 3339)"),
        Stale,
    ),
    responses(
        (status = 200, description = "the balance", body = Balance),
        ReadProblems, NotFound,
    ),
)]
pub async fn balance(
    State(api): State<Arc<Api>>,
    AccountSegment(account): AccountSegment,
    head: Head,
) -> Result<Response, Refusal> {
    let _timer = api.timer("balance");
    let mut findings = Findings::new();
    let mut query = Query::of(&head.uri, &mut findings);
    let (at, stale) = (query.time("at"), query.flag("stale"));
    findings.conclude(Some(()))?;
    let position = if stale { None } else { Some(api.include_account(&account, &head).await?) };
    let balance = match at {
        Some(at) => api.balance_at(&account, at, stale).await?,
        None => api.ledger.view().balance(account.as_str()).map(|balance| Balance { position, ..balance }),
    };
    found(balance, &account)
}

impl Api {
    /// A balance as it was; `None` if the account was not there yet.
    async fn balance_at(
        &self,
        account: &AccountId,
        at: wire::scalar::Timestamp,
        stale: bool,
    ) -> Result<Option<Balance>, Refusal> {
        let view = self.ledger.view();
        let Some(shards) = view.shards_of(account) else { return Ok(None) };
        if !stale {
            self.look_back_includes(Projection::Balance, &shards).await?;
        }
        let stood = self.look_back.standings_at(account, &shards, engine_domain::Timestamp(at.0)).await;
        let stood = stood.map_err(|error| unreadable(&error))?;
        Ok(view.balance_of(account, &stood, at))
    }
}

/// The history of an account, newest first.
#[utoipa::path(
    get, path = "/accounts/{id}/transactions", tag = "accounts", operation_id = "listAccountTransactions",
    params(
        ("id" = String, Path, description = "the account"),
        ("before" = Option<String>, Query, description = "`next` of the page before"),
        Limit,
        ("type" = Option<String>, Query, description = "`topup`, `withdraw`, `transfer`, `refund` or `payment`"),
        ("status" = Option<String>, Query, description = "`completed`, `failed` or `processing`"),
        Stale,
    ),
    responses(
        (status = 200, description = "a page", body = TransactionPage),
        ReadProblems, NotFound,
    ),
)]
pub async fn transactions(
    State(api): State<Arc<Api>>,
    AccountSegment(account): AccountSegment,
    head: Head,
) -> Result<Response, Refusal> {
    let _timer = api.timer("account-transactions");
    let mut findings = Findings::new();
    let mut query = Query::of(&head.uri, &mut findings);
    let (kind, status) = (query.word("type", &KINDS), query.word("status", &STATUSES));
    let before = api.cursor(&mut query, "before");
    let (limit, stale) = (query.limit(), query.flag("stale"));
    findings.conclude(Some(()))?;
    if !stale {
        // A transfer stands in the histories of both its accounts, whichever shard decided it.
        api.include_account(&account, &head).await?;
        api.include(&api.all_shards()).await?;
    }
    let Some(made_at) = api.ledger.view().made_at(&account) else { return found(None::<TransactionPage>, &account) };
    if kind == Some(None) || status == Some(None) {
        return found(Some(TransactionPage { transactions: Vec::new(), next: None }), &account);
    }
    if !stale {
        api.look_back_includes(Projection::History, &api.all_shards()).await?;
    }
    let filter = HistoryFilter { kind: kind.flatten(), status: status.flatten() };
    let query = HistoryQuery { account: &account, made_at, before: before.as_ref(), limit, filter };
    let page = api.look_back.history(&query).await.map_err(|error| unreadable(&error))?;
    found(Some(page), &account)
}

/// The audit trail of an account, in version order.
#[utoipa::path(
    get, path = "/accounts/{id}/events", tag = "accounts", operation_id = "listAccountEvents",
    params(
        ("id" = String, Path, description = "the account"),
        ("fromVersion" = Option<u64>, Query, description = "the first version wanted; `next` of the page before"),
        Limit,
        Stale,
    ),
    responses(
        (status = 200, description = "a page", body = AccountEventPage),
        ReadProblems, NotFound,
    ),
)]
pub async fn events(
    State(api): State<Arc<Api>>,
    AccountSegment(account): AccountSegment,
    head: Head,
) -> Result<Response, Refusal> {
    let _timer = api.timer("account-events");
    let mut findings = Findings::new();
    let mut query = Query::of(&head.uri, &mut findings);
    let from = query.parsed("fromVersion", "is no version: write a whole number");
    let (limit, stale) = (query.limit(), query.flag("stale"));
    findings.conclude(Some(()))?;
    if !stale {
        api.include_account(&account, &head).await?;
    }
    match api.ledger.account_events(account.as_str(), from.unwrap_or(0), limit).await {
        Ok(page) => found(page, &account),
        Err(error) => Err(super::unreadable(&error)),
    }
}

/// What was found of an account, or 404.
fn found<T: serde::Serialize>(found: Option<T>, account: &AccountId) -> Result<Response, Refusal> {
    match found {
        Some(found) => Ok(json(StatusCode::OK, &found)),
        None => Err(refusals::of(Rejection::AccountNotFound, account.as_str(), None)),
    }
}

/// The id of an account for which the client chose none: by its key if it has one, so that a repeat makes the same.
fn made_account_id(tenant: &str, key: Option<&str>) -> AccountId {
    let id = match key {
        Some(key) => {
            let name = [tenant.as_bytes(), &[0], key.as_bytes()].concat();
            Uuid::new_v5(&Uuid::NAMESPACE_OID, &name)
        }
        None => host::random::uuid(),
    };
    AccountId::new(&id.to_string()).expect("a UUID follows the grammar of account ids")
}
