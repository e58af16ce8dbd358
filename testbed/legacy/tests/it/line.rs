//! A line to a server, which can be down, and can lose an answer.

use host::net::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Carries everything.
    Up,
    /// Ends what is there, and everything that comes.
    Down,
    /// Carries everything up to the next `COMMIT`, whose answer it loses, with the connection.
    LosesCommit,
}

/// A line.
pub struct Line {
    pub port: u16,
    state: watch::Sender<State>,
}

impl Line {
    pub async fn to(server: (String, u16)) -> Self {
        let listener = host::net::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, seen) = watch::channel(State::Up);
        host::task::spawn(accept(listener, server, seen));
        Self { port, state }
    }

    pub fn is(&self, state: State) {
        self.state.send(state).unwrap();
    }
}

async fn accept(listener: TcpListener, server: (String, u16), state: watch::Receiver<State>) {
    while let Ok((client, _)) = listener.accept().await {
        host::task::spawn(carry(client, server.clone(), state.clone()));
    }
}

async fn carry(mut client: TcpStream, server: (String, u16), mut state: watch::Receiver<State>) {
    if *state.borrow() == State::Down {
        return;
    }
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut asked, mut answered) = ([0; 1 << 14], [0; 1 << 14]);
    loop {
        tokio::select! {
            changed = state.changed() => if changed.is_err() || *state.borrow() == State::Down { return },
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                server.write_all(&asked[..length]).await.unwrap();
                let commits = asked[..length].windows(6).any(|word| word == b"COMMIT");
                if commits && *state.borrow() == State::LosesCommit {
                    // The answer is there when it is done.
                    let _ = server.read(&mut answered).await;
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
