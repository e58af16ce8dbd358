//! One request after the other: what the answer must be.
//!
//! For accounts that only take part in requests whose order is known, like those of the bank replay.

use crate::answer::{Answer, Side};
use crate::money::Money;
use crate::request::{Ask, Change, MoveKind, NewAccount, Request, Status};
use crate::rules::{self, Account, Refusal};
use std::collections::BTreeMap;

/// A ledger that executes requests in the order in which it is shown them.
#[derive(Debug, Clone)]
pub struct Ledger {
    refusal_keeps_key: bool,
    accounts: BTreeMap<String, Account>,
    keys: BTreeMap<(String, String, String), (Ask, Prediction)>,
    transactions: Vec<Transaction>,
    /// The ids that systems gave to transactions.
    names: BTreeMap<String, usize>,
}

/// What the answer to a request must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The HTTP status.
    pub status: u16,
    /// The code of the refusal; `None` when applied.
    pub code: Option<&'static str>,
    /// Whether it repeats an earlier answer.
    pub replayed: bool,
    /// Both sides with their movement, and the levels of USER accounts; `None` for accounts.
    pub sides: Option<[Side; 2]>,
    /// The auditor's own number of the transaction, for [`Ledger::name`].
    pub transaction: Option<usize>,
}

#[derive(Debug, Clone)]
struct Transaction {
    source: String,
    destination: String,
    amount: Money,
    refunded: Money,
    refundable: bool,
}

/// A transaction about to be decided.
struct Case {
    source: String,
    destination: String,
    deciding: String,
    amount: Result<Money, Refusal>,
    original: Option<usize>,
}

impl Case {
    /// Both sides as a refusal shows them.
    fn unmoved(&self) -> Option<[Side; 2]> {
        let movement = Money::ZERO;
        Some([&self.source, &self.destination].map(|id| Side {
            account: id.clone(),
            levels: None,
            version: None,
            movement,
        }))
    }
}

impl Ledger {
    /// An empty ledger. `refusal_keeps_key`: whether a refusal by a rule consumes its key.
    pub fn new(refusal_keeps_key: bool) -> Self {
        Self {
            refusal_keeps_key,
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            transactions: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// Executes a request, and says what the answer must be.
    pub fn predict(&mut self, request: &Request) -> Prediction {
        match &request.ask {
            Ask::Create(asked) => self.create(request, asked),
            Ask::Change(asked) => self.change(asked),
            Ask::Move(_) | Ask::Refund(_) => self.transact(request),
        }
    }

    /// Tells which id a system gave to a predicted transaction, so that refunds can name it.
    pub fn name(&mut self, transaction: usize, id: &str) {
        self.names.insert(id.to_owned(), transaction);
    }

    /// The balance of an account.
    pub fn balance(&self, account: &str) -> Option<Money> {
        self.accounts.get(account).map(|account| account.balance)
    }

    /// All balances.
    pub fn balances(&self) -> BTreeMap<String, Money> {
        self.accounts.iter().map(|(id, account)| (id.clone(), account.balance)).collect()
    }

    fn create(&mut self, request: &Request, asked: &NewAccount) -> Prediction {
        // An account without id gets one that cannot be predicted, nor used before it is known.
        let Some(id) = asked.id.clone() else { return Prediction::plain(201) };
        let scope = request.key.clone().map(|key| (request.tenant.clone(), id.clone(), key));
        if let Some((known, prediction)) = scope.as_ref().and_then(|scope| self.keys.get(scope)) {
            let same = *known == request.ask;
            return if same { prediction.repeated() } else { Prediction::refused("DuplicateKey") };
        }
        if self.accounts.contains_key(&id) {
            return Prediction::refused("AccountExists");
        }
        if let Err(code) = rules::check_limits(asked.kind, asked.min, asked.max) {
            return Prediction::refused(code);
        }
        let (kind, currency) = (asked.kind, asked.currency.clone());
        let (status, balance) = (Status::Active, Money::ZERO);
        self.accounts.insert(id, Account { kind, currency, status, min: asked.min, max: asked.max, balance });
        let prediction = Prediction::plain(201);
        if let Some(scope) = scope {
            self.keys.insert(scope, (request.ask.clone(), prediction.clone()));
        }
        prediction
    }

    fn change(&mut self, asked: &Change) -> Prediction {
        let account = self.accounts.get_mut(&asked.account);
        match account.ok_or("AccountNotFound").and_then(|account| Ok((rules::change(account, asked)?, account))) {
            Err(code) => Prediction::refused(code),
            Ok((changed, account)) => {
                *account = changed;
                Prediction::plain(200)
            }
        }
    }

    fn transact(&mut self, request: &Request) -> Prediction {
        let case = self.case(&request.ask);
        let key = request.key.clone().unwrap_or_default();
        let scope = (request.tenant.clone(), case.deciding.clone(), key);
        if let Some((known, prediction)) = self.keys.get(&scope) {
            if *known == request.ask {
                return prediction.repeated();
            }
            let same_account = matches!(&request.ask, Ask::Move(asked) if asked.source == asked.destination);
            let code = if same_account { "SameAccount" } else { "DuplicateKey" };
            return Prediction { sides: case.unmoved(), ..Prediction::refused(code) };
        }
        let transaction = self.transactions.len();
        let prediction = match self.decide(&request.ask, &case) {
            Ok(amount) => {
                let sides = Some([self.book(&case.source, -amount), self.book(&case.destination, amount)]);
                if let Some(original) = case.original {
                    self.transactions[original].refunded += amount;
                }
                Prediction { sides, transaction: Some(transaction), ..Prediction::plain(200) }
            }
            Err(code) => {
                let sides = case.unmoved();
                Prediction { sides, transaction: Some(transaction), ..Prediction::refused(code) }
            }
        };
        let applied = prediction.code.is_none();
        self.transactions.push(Transaction {
            refundable: applied && matches!(request.ask, Ask::Move(_)),
            amount: case.amount.unwrap_or_default(),
            source: case.source,
            destination: case.destination,
            refunded: Money::ZERO,
        });
        if applied || self.refusal_keeps_key {
            self.keys.insert(scope, (request.ask.clone(), prediction.clone()));
        }
        prediction
    }

    fn case(&self, ask: &Ask) -> Case {
        match ask {
            Ask::Move(asked) => Case {
                source: asked.source.clone(),
                destination: asked.destination.clone(),
                deciding: if asked.kind == MoveKind::Topup { &asked.destination } else { &asked.source }.clone(),
                amount: Ok(asked.amount),
                original: None,
            },
            Ask::Refund(asked) => {
                let number = self.names.get(&asked.original).copied();
                let original = number.map(|number| &self.transactions[number]);
                let Some(original) = original.filter(|original| !original.source.is_empty()) else {
                    // Nobody decides on it, so its key is unique in what it names.
                    let (source, destination, deciding) = (String::new(), String::new(), asked.original.clone());
                    return Case { source, destination, deciding, amount: Err("OriginalNotFound"), original: None };
                };
                let (source, destination) = (original.destination.clone(), original.source.clone());
                let debited_decides = self.accounts.get(&source).is_none_or(Account::is_limited);
                let deciding = if debited_decides { source.clone() } else { destination.clone() };
                let left = original.amount - original.refunded;
                let amount = match asked.amount.unwrap_or(left) {
                    _ if !original.refundable => Err("NotRefundable"),
                    amount if amount > left || amount <= Money::ZERO => Err("RefundExceedsOriginal"),
                    amount => Ok(amount),
                };
                Case { source, destination, deciding, amount, original: number }
            }
            Ask::Create(_) | Ask::Change(_) => unreachable!("only transactions are decided here"),
        }
    }

    fn decide(&self, ask: &Ask, case: &Case) -> Result<Money, Refusal> {
        let amount = case.amount?;
        let (source, destination) = (self.accounts.get(&case.source), self.accounts.get(&case.destination));
        match ask {
            Ask::Move(asked) => rules::check_move(asked, source, destination)?,
            _ => rules::check_refund(amount, source.ok_or("AccountNotFound")?, destination.ok_or("AccountNotFound")?)?,
        }
        Ok(amount)
    }

    fn book(&mut self, id: &str, movement: Money) -> Side {
        let mut side = Side { account: id.to_owned(), levels: None, version: None, movement };
        if let Some(account) = self.accounts.get_mut(id) {
            let before = account.balance;
            account.balance += movement;
            side.levels = account.is_user().then_some((before, account.balance));
        }
        side
    }
}

impl Prediction {
    fn plain(status: u16) -> Self {
        Self { status, code: None, replayed: false, sides: None, transaction: None }
    }

    fn refused(code: Refusal) -> Self {
        let status = match code {
            "AccountNotFound" | "OriginalNotFound" => 404,
            "AccountExists" => 409,
            _ => 422,
        };
        Self { code: Some(code), ..Self::plain(status) }
    }

    fn repeated(&self) -> Self {
        Self { replayed: true, ..self.clone() }
    }

    /// Whether the request is refused.
    pub fn is_refused(&self) -> bool {
        self.code.is_some()
    }

    /// Everything in which an answer differs from what it must be; versions and ids may be what they like.
    pub fn differences(&self, answer: &Answer) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: String, found: String| {
            if expected != found {
                differences.push(format!("{what} should be {expected}, is {found}"));
            }
        };
        compare("status", self.status.to_string(), answer.status.to_string());
        compare("code", format!("{:?}", self.code), format!("{:?}", answer.code.as_deref()));
        let (Some(sides), Some(result)) = (&self.sides, &answer.result) else {
            let (expected, found) = (self.sides.is_some(), answer.result.is_some());
            compare("whether there is a result", expected.to_string(), found.to_string());
            return differences;
        };
        for (name, expected, found) in
            [("source", &sides[0], &result.source), ("destination", &sides[1], &result.destination)]
        {
            compare(&format!("{name} account"), expected.account.clone(), found.account.clone());
            compare(&format!("{name} movement"), expected.movement.to_string(), found.movement.to_string());
            compare(&format!("{name} levels"), format!("{:?}", expected.levels), format!("{:?}", found.levels));
        }
        differences
    }
}
