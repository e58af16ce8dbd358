//! A line to a server, which can be down or silent, and can lose an answer.

use host::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Carries everything.
    Up,
    /// Ends what is there, and everything that comes.
    Down,
    /// Ends nothing, and never again carries anything of what is there: as a machine that is gone without a word.
    Silent,
    /// Carries everything up to the next `COMMIT`, whose answer it loses, with the connection.
    LosesCommit,
}

/// A line.
#[derive(Debug)]
pub struct Line {
    /// Its end on this side, at 127.0.0.1.
    pub port: u16,
    state: watch::Sender<State>,
    lost: watch::Receiver<usize>,
}

impl Line {
    /// A line to a server at host and port.
    ///
    /// # Panics
    /// When there is no port for it.
    pub async fn to(server: (String, u16)) -> Self {
        let listener = host::net::listen(([127, 0, 0, 1], 0).into()).await.expect("there is a free port");
        let port = listener.local_addr().expect("it listens").port();
        let (state, seen) = watch::channel(State::Up);
        let (losing, lost) = watch::channel(0);
        host::task::spawn(accept(listener, server, seen, losing));
        Self { port, state, lost }
    }

    /// Waits until the answer to a `COMMIT` was lost.
    ///
    /// # Panics
    /// When the line has ended.
    pub async fn has_lost_a_commit(&self) {
        self.lost.clone().wait_for(|lost| *lost > 0).await.expect("the line is there");
    }

    /// Changes what it does.
    pub fn is(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn accept(
    listener: TcpListener,
    server: (String, u16),
    state: watch::Receiver<State>,
    losing: watch::Sender<usize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        host::task::spawn(carry(client, server.clone(), state.clone(), losing.clone()));
    }
}

/// Whether it is asked for, or said to be done.
fn is_commit(said: &[u8]) -> bool {
    said.windows(6).any(|word| word == b"COMMIT")
}

async fn carry(
    mut client: TcpStream,
    server: (String, u16),
    mut state: watch::Receiver<State>,
    losing: watch::Sender<usize>,
) {
    if *state.borrow() == State::Down {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut asked, mut answered) = ([0; 1 << 14], [0; 1 << 14]);
    loop {
        tokio::select! {
            changed = state.changed() => {
                let now = *state.borrow();
                match now {
                    _ if changed.is_err() => return,
                    State::Down => return,
                    // Also when it is up again: only for what comes then.
                    State::Silent => return std::future::pending().await,
                    State::Up | State::LosesCommit => {}
                }
            },
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                if server.write_all(&asked[..length]).await.is_err() { return }
                if is_commit(&asked[..length]) && *state.borrow() == State::LosesCommit {
                    // The answer is there when it is done.
                    let length = server.read(&mut answered).await.unwrap_or(0);
                    if is_commit(&answered[..length]) {
                        losing.send_modify(|lost| *lost += 1);
                    }
                    return;
                }
            },
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() { return }
            },
        }
    }
}
