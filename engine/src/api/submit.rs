//! From a command to the answer: submit, wait, render.

use super::Api;
use super::incoming::Head;
use super::problem::{REPLAYED, Refusal};
use super::sketch::{Sketch, dry_transaction};
use super::{caller, refusals};
use crate::config::DefaultAnswer;
use crate::ledger::{Answered, Submitted};
use crate::view::View;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine_domain::{Answer, Body, Command, Mode, Rejection, Text};
use serde::Serialize;
use std::time::Duration;
use wire::billing::{Account, Processing, TransactionResult};
use wire::leg;
use wire::scalar::Money;

/// A write, ready to be submitted.
pub struct Write {
    /// What is asked.
    pub command: Command,
    /// The name that the client may ask for the result by.
    pub tracking_id: Text,
    /// Where it may ask.
    pub location: String,
    /// Of a refund without an amount: the amount of the original.
    pub original_amount: Option<Money>,
}

impl Api {
    /// Submits a write and answers it: finally, or with 202 when the client does not want to wait, or the wait
    /// runs out.
    pub async fn answer(&self, head: &Head, write: Write) -> Result<Response, Refusal> {
        let preferred = caller::preferred_wait(&head.headers);
        let wait = self.wait(preferred, write.command.mode);
        let command = write.command.clone();
        let submitted = if wait.is_zero() {
            self.ledger.submit_only(command, host::clock::now() + self.answer_wait).await
        } else {
            self.ledger.submit(command, host::clock::now() + wait).await
        };
        self.answered(write, submitted, preferred)
    }

    /// Submits the writes of a batch together, and answers each as [`Api::answer`] would. What is no write is answered
    /// already.
    pub async fn answer_all(&self, head: &Head, writes: Vec<Result<Write, Refusal>>) -> Vec<Result<Response, Refusal>> {
        let preferred = caller::preferred_wait(&head.headers);
        let wait = self.wait(preferred, Mode::Authority);
        let commands = writes.iter().flatten().map(|write| write.command.clone()).collect();
        let deadline = host::clock::now() + if wait.is_zero() { self.answer_wait } else { wait };
        let mut submitted = self.ledger.submit_all(commands, deadline, !wait.is_zero()).await.into_iter();
        let answer = |write: Result<Write, Refusal>| {
            let submitted = write.is_ok().then(|| submitted.next()).flatten();
            let unsaid = || Submitted::NotAppended("the ledger did not say".to_owned());
            write.and_then(|write| self.answered(write, submitted.unwrap_or_else(unsaid), preferred))
        };
        writes.into_iter().map(answer).collect()
    }

    fn answered(&self, write: Write, submitted: Submitted, preferred: Option<Duration>) -> Result<Response, Refusal> {
        match submitted {
            Submitted::Answered(answered) => write.render(*answered, self.ledger.view()),
            Submitted::Pending => Ok(write.processing(preferred)),
            Submitted::NotAppended(why) => {
                tracing::warn!(correlation_id = %write.command.correlation_id, why, "a command was not appended");
                let detail = "nothing was written: send the same request again, with the same key";
                Err(Refusal::unavailable("NotAppended", detail))
            }
        }
    }

    /// How long this request waits for its final answer.
    fn wait(&self, preferred: Option<Duration>, mode: Mode) -> Duration {
        let default = match (self.default_answer, mode) {
            (DefaultAnswer::Async, Mode::Authority) => Duration::ZERO,
            (DefaultAnswer::Async, Mode::Shadow | Mode::ShadowRefused | Mode::Forced) | (DefaultAnswer::Final, _) => {
                self.answer_wait
            }
        };
        preferred.unwrap_or(default).min(self.answer_wait)
    }
}

impl Write {
    /// The answer that goes with what the shard answered, and the view includes.
    fn render(self, answered: Answered, view: &View) -> Result<Response, Refusal> {
        match answered.answer {
            Answer::Final { replay, .. } => self.render_final(answered, replay),
            Answer::Refused { rejection, .. } => Err(self.refused(rejection, &answered)),
            Answer::Dry { would_refuse: Some(rejection), .. } => Err(self.refused(rejection, &answered)),
            Answer::Dry { would_refuse: None, .. } => self.render_dry(&answered, view),
            Answer::Account { replay, would_refuse, .. } => match &answered.account {
                Some(account) => {
                    let response = self.render_account(account);
                    Ok(marked(response, replay, would_refuse))
                }
                None => Err(unexpected("an account that the view does not have")),
            },
            Answer::Running { .. } => Ok(self.processing(None)),
            Answer::None | Answer::Noted { .. } | Answer::Unreadable => {
                Err(unexpected("an answer that belongs to no request"))
            }
        }
    }

    fn render_final(self, answered: Answered, replay: bool) -> Result<Response, Refusal> {
        if let Some(refusal) = &answered.elsewhere {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
            let headers = [(header::CONTENT_TYPE, "application/problem+json")];
            return Ok(marked((status, headers, refusal.body.to_string()).into_response(), replay, None));
        }
        let Some(result) = answered.transaction else {
            return Err(unexpected("a transaction that the view does not have"));
        };
        match result.error_code.as_deref().map(Rejection::from_code) {
            None => Ok(marked(json(StatusCode::OK, &result), replay, answered.would_refuse)),
            Some(Some(rejection)) => {
                let refusal = refusals::of(rejection, &self.tracking_id, Some(result));
                Err(if replay { refusal.replayed() } else { refusal })
            }
            Some(None) => Err(unexpected("a refusal of a code that this program does not know")),
        }
    }

    /// A refusal of which nothing is kept.
    fn refused(&self, rejection: Rejection, answered: &Answered) -> Refusal {
        let result = self
            .sketch()
            .and_then(|sketch| sketch.refused(rejection, answered.at))
            .map(|result| TransactionResult { position: positions(answered), ..result });
        refusals::of(rejection, self.subject(), result)
    }

    /// What a refusal without a result is about.
    fn subject(&self) -> &str {
        match &self.command.body {
            Body::CreateAccount(asked) => asked.account.as_str(),
            Body::ChangeAccount(asked) => asked.account.as_str(),
            Body::Move(_)
            | Body::Refund(_)
            | Body::Step(_)
            | Body::StepDone(_)
            | Body::Aliases(_)
            | Body::Unreadable { .. } => &self.tracking_id,
        }
    }

    /// What would have been answered, had the decision counted.
    fn render_dry(&self, answered: &Answered, view: &View) -> Result<Response, Refusal> {
        match self.sketch() {
            Some(Sketch::Transaction(result)) => {
                let result = dry_transaction(*result, self.original_amount, answered.at);
                Ok(json(StatusCode::OK, &TransactionResult { position: positions(answered), ..result }))
            }
            Some(Sketch::NewAccount(account)) => {
                Ok(self.render_account(&Account { created_at: answered.at, ..*account }))
            }
            Some(Sketch::Change(change)) => match view.account(change.account()) {
                Some(account) => Ok(self.render_account(&change.applied_to(&account))),
                None => Err(unexpected("a change of an account that the view does not have")),
            },
            None => Err(unexpected("a dry decision on what cannot be shown")),
        }
    }

    fn render_account(&self, account: &Account) -> Response {
        match self.command.body {
            Body::CreateAccount(_) => {
                let mut response = json(StatusCode::CREATED, account);
                insert(&mut response, header::LOCATION, &format!("/accounts/{}", account.account_id));
                response
            }
            _ => json(StatusCode::OK, account),
        }
    }

    /// 202: it is in the log, and will be decided.
    fn processing(&self, preferred: Option<Duration>) -> Response {
        let body = Processing {
            status: "processing".to_owned(),
            tracking_id: self.tracking_id.to_string(),
            correlation_id: self.command.correlation_id.to_string(),
            message: format!("accepted; ask GET {} for the result", self.location),
        };
        let mut response = json(StatusCode::ACCEPTED, &body);
        insert(&mut response, header::LOCATION, &self.location);
        if preferred == Some(Duration::ZERO) {
            insert(&mut response, HeaderName::from_static("preference-applied"), "respond-async");
        }
        response
    }

    fn sketch(&self) -> Option<Sketch> {
        Sketch::of(&self.command)
    }
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let body = serde_json::to_vec(body).expect("answers are plain data with text keys");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// With the headers that stand beside an answer.
fn marked(mut response: Response, replay: bool, would_refuse: Option<Rejection>) -> Response {
    if replay {
        insert(&mut response, REPLAYED, "true");
    }
    if let Some(rejection) = would_refuse {
        insert(&mut response, HeaderName::from_static(leg::WOULD_REFUSE), rejection.code());
    }
    response
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    // Everything that comes here is percent-encoded or a word of ours.
    let value = HeaderValue::try_from(value).expect("printable ASCII is a header value");
    response.headers_mut().insert(name, value);
}

fn positions(answered: &Answered) -> Option<Vec<String>> {
    (!answered.position.is_empty()).then(|| answered.position.iter().map(ToString::to_string).collect())
}

/// The engine contradicts itself: a defect, but the request may have had its effect.
fn unexpected(what: &str) -> Refusal {
    tracing::error!(what, "a command was answered unexpectedly");
    let detail = format!("the engine answered with {what}: ask for the result by the key, and report this");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", detail)
}
