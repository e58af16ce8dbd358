//! The routes of the billing API (CONTRACT), used when none are configured.

use super::{DecidedBy, Kind, RouteConfig, Routes};
use wire::words::Operation;

/// Where transactions carry their key.
const KEY: &str = "/idempotencyKey";
const SOURCE: &str = "/sourceAccountId";
const DESTINATION: &str = "/destinationAccountId";

impl Routes {
    /// The routes of the billing API.
    pub fn standard() -> Self {
        Self::new(configs()).expect("the built-in routes are checked by a test")
    }
}

/// The same as configuration.
pub fn configs() -> Vec<RouteConfig> {
    let mut routes = accounts();
    routes.extend(transactions());
    routes.extend(engine_only());
    routes
}

fn accounts() -> Vec<RouteConfig> {
    let by_path = || Some(DecidedBy::Path("id".to_owned()));
    vec![
        RouteConfig {
            operation: Some(Operation::CreateAccount),
            account: Some(DecidedBy::Body("/accountId".to_owned())),
            add_account: true,
            ..plain("create-account", "POST", "/accounts", Kind::DualWrite)
        },
        RouteConfig {
            operation: Some(Operation::ChangeAccount),
            account: by_path(),
            ..plain("change-account", "PATCH", "/accounts/{id}", Kind::DualWrite)
        },
        plain("accounts", "GET", "/accounts", Kind::Passthrough),
        RouteConfig { account: by_path(), ..plain("account", "GET", "/accounts/{id}", Kind::Passthrough) },
        RouteConfig { account: by_path(), ..plain("balance", "GET", "/accounts/{id}/balance", Kind::Passthrough) },
        RouteConfig {
            account: by_path(),
            ..plain("account-transactions", "GET", "/accounts/{id}/transactions", Kind::Passthrough)
        },
        RouteConfig {
            account: by_path(),
            ..plain("account-events", "GET", "/accounts/{id}/events", Kind::Passthrough)
        },
    ]
}

fn transactions() -> Vec<RouteConfig> {
    vec![
        transaction("topup", Operation::Topup, DESTINATION),
        transaction("withdraw", Operation::Withdraw, SOURCE),
        transaction("transfer", Operation::Transfer, SOURCE),
        RouteConfig {
            operation: Some(Operation::Refund),
            account: Some(DecidedBy::Transaction("/transactionId".to_owned())),
            key: Some(KEY.to_owned()),
            ..plain("refund", "POST", "/transactions/refund", Kind::DualWrite)
        },
        plain("transactions", "GET", "/transactions", Kind::Passthrough),
        RouteConfig {
            account: Some(DecidedBy::Maker("id".to_owned())),
            ..plain("transaction", "GET", "/transactions/{id}", Kind::Passthrough)
        },
        RouteConfig {
            account: Some(DecidedBy::Tracking("account".to_owned())),
            ..plain("transaction-status", "GET", "/transactions/status/{id}", Kind::Passthrough)
        },
    ]
}

fn engine_only() -> Vec<RouteConfig> {
    vec![
        plain("payment", "POST", "/transactions/payment", Kind::EngineOnly),
        plain("capture", "POST", "/transactions/{id}/capture", Kind::EngineOnly),
        plain("void", "POST", "/transactions/{id}/void", Kind::EngineOnly),
        plain("batch", "POST", "/transactions/batch", Kind::EngineOnly),
    ]
}

fn transaction(name: &str, operation: Operation, deciding: &str) -> RouteConfig {
    RouteConfig {
        operation: Some(operation),
        account: Some(DecidedBy::Body(deciding.to_owned())),
        accounts: vec![SOURCE.to_owned(), DESTINATION.to_owned()],
        key: Some(KEY.to_owned()),
        ..plain(name, "POST", &format!("/transactions/{name}"), Kind::DualWrite)
    }
}

fn plain(name: &str, method: &str, path: &str, kind: Kind) -> RouteConfig {
    RouteConfig {
        name: name.to_owned(),
        method: method.to_owned(),
        path: path.to_owned(),
        kind,
        operation: None,
        account: None,
        accounts: Vec::new(),
        key: None,
        add_account: false,
    }
}
