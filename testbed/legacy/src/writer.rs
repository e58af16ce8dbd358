//! The one thread that executes requests: in the order of their arrival, one durable transaction each. One that is put off
//! on purpose waits here until it was overtaken, or for long enough.
//!
//! Waiting in its queue is how a retry waits for the first request with its key.

use crate::execute::{Asked, Executor, Reply};
use crate::store::Error;
use host::clock::Instant;
use host::task::Shutdown;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait; more wait in their connections.
const QUEUE: usize = 1024;

/// A request in the queue.
enum Job {
    Execute(Request),
    Stop,
}

/// A request, and who waits for the reply.
struct Request {
    asked: Box<Asked>,
    reply: oneshot::Sender<Reply>,
}

/// The way to the writer. Clones share one queue.
#[derive(Clone)]
pub(crate) struct Writer(mpsc::Sender<Job>);

/// The writer's thread; it ends with what went wrong, if anything did.
pub(crate) type Thread = std::thread::JoinHandle<Result<(), Error>>;

impl Writer {
    /// Starts the thread, inside of a runtime. What is put off waits for `longest` at most, and not any more once it is time
    /// to stop. When the thread ends, for whatever reason, it tells `stop`.
    pub(crate) fn start(
        executor: Executor<'static>,
        longest: Duration,
        stop: Shutdown,
    ) -> std::io::Result<(Self, Thread)> {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let line = Line { executor, jobs, put_off: None, longest, runtime: Handle::current(), stop: stop.clone() };
        let thread = host::task::thread("legacy-writer", move || {
            let ended = line.work();
            stop.stop();
            ended
        })?;
        Ok((Self(sender), thread))
    }

    /// Executes a request; `None` when the writer has stopped, in which case nobody can say what became of it.
    pub(crate) async fn execute(&self, asked: Asked) -> Option<Reply> {
        self.queue(asked).await?.await.ok()
    }

    /// Lets the writer finish what waits, and end.
    pub(crate) async fn stop(&self) {
        // An error says that it has ended already.
        let _ = self.0.send(Job::Stop).await;
    }

    async fn queue(&self, asked: Asked) -> Option<oneshot::Receiver<Reply>> {
        let (reply, answered) = oneshot::channel();
        self.0.send(Job::Execute(Request { asked: Box::new(asked), reply })).await.ok()?;
        Some(answered)
    }
}

/// The requests that wait, and the one who executes them.
struct Line {
    executor: Executor<'static>,
    jobs: mpsc::Receiver<Job>,
    /// What is put off, and until when at most.
    put_off: Option<(Request, Instant)>,
    longest: Duration,
    runtime: Handle,
    stop: Shutdown,
}

impl Line {
    /// After a failed write nobody knows what is on the disk, so the writer ends instead of trying again, unless it is
    /// certain that nothing was written.
    fn work(mut self) -> Result<(), Error> {
        loop {
            match self.next() {
                Some(Job::Execute(request)) => self.execute(request)?,
                Some(Job::Stop) => return self.execute_late(),
                None => self.execute_late()?,
            }
            if self.executor.put_off_is_due() {
                self.execute_late()?;
            }
        }
    }

    /// What comes next; `None` when what is put off has waited for long enough.
    fn next(&mut self) -> Option<Job> {
        let Some((_, until)) = self.put_off else {
            return Some(self.jobs.blocking_recv().unwrap_or(Job::Stop));
        };
        // Inside of the runtime, where the timer is.
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.stopped() => None,
                () = host::clock::sleep_until(until) => None,
                job = self.jobs.recv() => Some(job.unwrap_or(Job::Stop)),
            }
        })
    }

    fn execute(&mut self, request: Request) -> Result<(), Error> {
        match settled(&request.asked, self.executor.execute(&request.asked))? {
            Some(reply) => answer(request, reply),
            None => self.put_off = Some((request, host::clock::now() + self.longest)),
        }
        Ok(())
    }

    fn execute_late(&mut self) -> Result<(), Error> {
        let Some((request, _)) = self.put_off.take() else { return Ok(()) };
        if let Some(reply) = settled(&request.asked, self.executor.execute_late(&request.asked))? {
            answer(request, reply);
        }
        Ok(())
    }
}

/// What came of an execution, unless it is not certain what did.
fn settled(asked: &Asked, executed: Result<Option<Reply>, Error>) -> Result<Option<Reply>, Error> {
    match executed {
        Err(error) if error.nothing_written() => {
            tracing::warn!(%error, correlation_id = asked.correlation_id, "a request could not be executed");
            Ok(Some(Reply::Unavailable))
        }
        other => other,
    }
}

fn answer(request: Request, reply: Reply) {
    // A client that has gone does not take its request along.
    let _ = request.reply.send(reply);
}

#[cfg(test)]
mod tests;
