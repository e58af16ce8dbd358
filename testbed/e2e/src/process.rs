//! One `crossfade` process: started, awaited until ready, stopped in order or killed.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starting includes folding the log of everything that ran before.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Stopping in order finishes requests in flight.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running process; killed when dropped, so that a failed test leaves nothing behind.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `binary` with `arguments`, and `settings` in its environment; standard error goes to `<folder>/<name>.log`.
    pub fn start(
        binary: &Path,
        name: &str,
        arguments: &[&str],
        settings: &[(&str, String)],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let child = Command::new(binary)
            .args(arguments)
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so; fails when the process ends before, with the end of its log.
    pub async fn until_ready(&mut self, mut ready: impl AsyncFnMut() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        while !ready().await {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{} ended with {status}:\n{}", self.name, self.last_lines());
            }
            ensure!(Instant::now() < deadline, "{} is not ready in time:\n{}", self.name, self.last_lines());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// SIGSTOP: the process does nothing, and knows nothing of it, until it is [woken](Self::wake).
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// SIGCONT.
    pub fn wake(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        // The shell's own `kill`: a bare Debian has no other.
        let script = format!("kill -{signal} \"$1\"");
        let status = Command::new("sh").args(["-c", &script, "sh", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "cannot signal {}", self.name);
        Ok(())
    }

    /// `kill -9`: the process gets no chance to do anything.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the orderly end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal("TERM")?;
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}:\n{}", self.name, self.last_lines());
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} does not stop:\n{}", self.name, self.last_lines());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it has ended by itself; the end of its log.
    pub async fn until_ended(&mut self) -> anyhow::Result<String> {
        let deadline = Instant::now() + STOP_DEADLINE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "{} goes on:\n{}", self.name, self.last_lines());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(self.last_lines())
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
