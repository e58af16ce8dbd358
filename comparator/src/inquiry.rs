//! Inquiries: what the index wants to know of both systems' histories is read there, and the answer written down
//! as a decision, which the index then folds. An answer that cannot be had yet is tried again until it can.

use crate::decisions::Decisions;
use crate::index::{self, Index, Inquiry};
use crate::ingest::Ingest;
use crate::marks::{Marks, NoMark, new_id};
use crate::merge::DECISIONS;
use crate::rollout::COMPARATOR;
use crate::systems::{ReadFailed, Systems};
use host::clock;
use host::task::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use wire::billing::TransactionResult;
use wire::decision::{DecisionBody, Finding};
use wire::words::{Cause, System};

/// After a failed attempt to answer, growing to the second number.
const PAUSE: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
/// How long marks are asked for before rows of unknown keys are left out of an answer: the exchange that gave the
/// reason waits all the while, and the next inquiry or reconciliation finds them again. Fronts come back within a
/// second or two of a restart.
const MARK_PATIENCE: Duration = Duration::from_secs(10);
/// How long the index may take to show what was written down.
const FOLDED_WITHIN: Duration = Duration::from_secs(5);
/// Names what an answer without a mark could not explain.
const UNMARKED: &str = "unmarked";

/// Answers inquiries.
pub struct Inquirer {
    ingest: Arc<Ingest>,
    decisions: Arc<Decisions>,
    marks: Arc<Marks>,
    systems: Systems,
    /// Held while writes that bypassed the front are reported: of two inquiries that see the same one, the second has
    /// to know what the first has written down.
    reporting: tokio::sync::Mutex<()>,
}

/// An answer could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system could not be read.
    #[error(transparent)]
    Reading(#[from] ReadFailed),
    /// The log did not take the answer.
    #[error("cannot write down what was found: {0}")]
    Writing(String),
}

/// The rows of both systems, read for one inquiry.
struct Histories {
    legacy: Vec<TransactionResult>,
    engine: Vec<TransactionResult>,
}

impl Inquirer {
    /// Answers with what these can tell.
    pub fn new(ingest: Arc<Ingest>, decisions: Arc<Decisions>, marks: Arc<Marks>, systems: Systems) -> Self {
        Self { ingest, decisions, marks, systems, reporting: tokio::sync::Mutex::new(()) }
    }

    /// Answers what comes, several at once: an inquiry holds back later exchanges of its own accounts only.
    pub async fn run(
        self: Arc<Self>,
        mut inquiries: mpsc::UnboundedReceiver<Inquiry>,
        at_once: usize,
        shutdown: Shutdown,
    ) {
        let places = Arc::new(Semaphore::new(at_once));
        loop {
            let inquiry = tokio::select! {
                inquiry = inquiries.recv() => inquiry,
                () = shutdown.stopped() => return,
            };
            let (Some(inquiry), Ok(place)) = (inquiry, places.clone().acquire_owned().await) else { return };
            let (inquirer, shutdown) = (self.clone(), shutdown.clone());
            host::task::spawn(async move {
                let _place = place;
                tokio::select! {
                    () = inquirer.answer_until_done(&inquiry) => {}
                    () = shutdown.stopped() => {}
                }
            });
        }
    }

    async fn answer_until_done(&self, inquiry: &Inquiry) {
        let reason = match &inquiry.exchange {
            Some(exchange) => format!("exchange {exchange} does not fit"),
            None => "a reconciliation found a difference".to_owned(),
        };
        let [mut pause, longest] = PAUSE;
        loop {
            match self.answer(inquiry, None, &reason).await {
                Ok(_) => return,
                Err(error) => {
                    let exchange = inquiry.exchange.as_ref().map(ToString::to_string);
                    tracing::warn!(exchange, %error, "an inquiry waits for its answer");
                }
            }
            clock::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// Reads both histories, and appends what they say; answers the offset and how much was found. `measured_at`
    /// names what no history explains: the reconciliation that measured it.
    ///
    /// # Errors
    /// [`Error`]; nothing was appended then, as far as is known.
    pub async fn answer(
        &self,
        inquiry: &Inquiry,
        measured_at: Option<&str>,
        reason: &str,
    ) -> Result<(u64, Vec<Finding>), Error> {
        let histories = self.read(inquiry).await?;
        let mark = self.mark().await;
        let mut findings = self.findings(inquiry, measured_at, &histories, mark.as_deref());
        let reporting = if findings.iter().any(|finding| finding.cause == Cause::Bypass) {
            let reporting = self.reporting.lock().await;
            findings = self.findings(inquiry, measured_at, &histories, mark.as_deref());
            Some(reporting)
        } else {
            None
        };
        let body = DecisionBody::Inquired {
            exchange: inquiry.exchange.clone(),
            accounts: inquiry.accounts.clone(),
            findings: findings.clone(),
        };
        let offset = self.decisions.append(COMPARATOR, reason, body).await.map_err(Error::Writing)?;
        if reporting.is_some() && !self.ingest.folded(DECISIONS, offset, FOLDED_WITHIN).await {
            tracing::warn!(offset, "what was found is written down, but the index does not show it yet");
        }
        drop(reporting);
        tracing::info!(
            offset,
            exchange = inquiry.exchange.as_ref().map(ToString::to_string),
            accounts = inquiry.accounts.len(),
            findings = findings.len(),
            "an inquiry is answered"
        );
        Ok((offset, findings))
    }

    async fn read(&self, inquiry: &Inquiry) -> Result<Histories, ReadFailed> {
        let (legacy, engine) =
            tokio::try_join!(self.read_system(System::Legacy, inquiry), self.read_system(System::Engine, inquiry),)?;
        Ok(Histories { legacy, engine })
    }

    /// The rows of all accounts of the inquiry in one system, as far back as it has to know.
    async fn read_system(&self, system: System, inquiry: &Inquiry) -> Result<Vec<TransactionResult>, ReadFailed> {
        let mut all = Vec::new();
        for account in &inquiry.accounts {
            let mut rows: Vec<TransactionResult> = Vec::new();
            let mut before: Option<String> = None;
            loop {
                let page = self.systems.history(system, account, before.as_deref()).await?;
                rows.extend(page.transactions);
                before = page.next;
                if before.is_none() || inquiry.covered(&rows) {
                    break;
                }
            }
            all.append(&mut rows);
        }
        Ok(all)
    }

    /// A mark of every front: they have shipped what they had written while histories were read. An exchange that was
    /// on its way is no write that bypassed the front, and it may have run beside the one that asks. `None` when they
    /// do not give one in time.
    async fn mark(&self) -> Option<String> {
        let patient_until = clock::now() + MARK_PATIENCE;
        loop {
            let error = match self.marks.shared().await {
                Ok(mark) => return Some(mark),
                Err(error) => error,
            };
            // Fronts that have all ended in order have shipped everything.
            let nobody_serves = self.ingest.look(Index::gates_inputs).serving.is_empty();
            if error == NoMark::NobodyConnected && nobody_serves {
                return Some(new_id());
            }
            if clock::now() >= patient_until {
                tracing::warn!(%error, "an inquiry is answered without a mark: rows of unknown keys are left out");
                return None;
            }
            clock::sleep(PAUSE[0]).await;
        }
    }

    fn findings(
        &self,
        inquiry: &Inquiry,
        measured_at: Option<&str>,
        Histories { legacy, engine }: &Histories,
        mark: Option<&str>,
    ) -> Vec<Finding> {
        let name = mark.unwrap_or(UNMARKED);
        self.ingest.look(|index| {
            let inquiry = index.looked_at_now(inquiry);
            let is_known = |row: &TransactionResult| mark.is_none() || index.is_known_key(row);
            index::findings(&inquiry, name, measured_at.unwrap_or(name), legacy, engine, &is_known)
        })
    }
}
