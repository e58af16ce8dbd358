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

/// What it does now.
#[derive(Debug, Clone, Copy)]
struct Now {
    state: State,
    /// How often it fell silent: what is there then is lost, also when it is up again before anybody looks.
    silences: usize,
}

/// A line.
#[derive(Debug)]
pub struct Line {
    /// Its end on this side, at 127.0.0.1.
    pub port: u16,
    now: watch::Sender<Now>,
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
        let (now, seen) = watch::channel(Now { state: State::Up, silences: 0 });
        let (losing, lost) = watch::channel(0);
        host::task::spawn(accept(listener, server, seen, losing));
        Self { port, now, lost }
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
        self.now.send_modify(|now| {
            now.state = state;
            now.silences += usize::from(state == State::Silent);
        });
    }
}

async fn accept(listener: TcpListener, server: (String, u16), now: watch::Receiver<Now>, losing: watch::Sender<usize>) {
    while let Ok((client, _)) = listener.accept().await {
        host::task::spawn(carry(client, server.clone(), now.clone(), losing.clone()));
    }
}

/// Whether it is asked for, or said to be done.
fn is_commit(said: &[u8]) -> bool {
    said.windows(6).any(|word| word == b"COMMIT")
}

async fn carry(
    mut client: TcpStream,
    server: (String, u16),
    mut now: watch::Receiver<Now>,
    losing: watch::Sender<usize>,
) {
    let Now { state, silences } = *now.borrow_and_update();
    match state {
        State::Down => return,
        State::Silent => return std::future::pending().await,
        State::Up | State::LosesCommit => {}
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut asked, mut answered) = ([0; 1 << 14], [0; 1 << 14]);
    loop {
        tokio::select! {
            // What it does by now counts for what comes by now.
            biased;
            changed = now.changed() => {
                let now = *now.borrow();
                if changed.is_err() || now.state == State::Down {
                    return;
                }
                if now.silences > silences {
                    return std::future::pending().await;
                }
            },
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                if server.write_all(&asked[..length]).await.is_err() { return }
                if is_commit(&asked[..length]) && now.borrow().state == State::LosesCommit {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts one connection through the line, over which something was carried.
    async fn connected(line: &Line, server: &TcpListener) -> (TcpStream, TcpStream) {
        let mut client = TcpStream::connect(("127.0.0.1", line.port)).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        served.write_all(b"up").await.unwrap();
        client.read_exact(&mut [0; 2]).await.unwrap();
        (client, served)
    }

    /// On one thread: an answer and the silence are both there before the line gets to look at either.
    #[tokio::test]
    async fn what_it_does_by_now_counts_for_what_comes_by_now() {
        let server = host::net::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let line = Line::to(("127.0.0.1".to_owned(), port)).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(connected(&line, &server).await);
        }
        let mut direct = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (here, _) = server.accept().await.unwrap();
        for (_, served) in &silent {
            served.try_write(b"answer").unwrap();
        }
        here.try_write(b"!").unwrap();
        direct.read_exact(&mut [0]).await.unwrap();
        line.is(State::Silent);
        line.is(State::Up);
        // What is carried all the way was looked at after those.
        connected(&Line::to(("127.0.0.1".to_owned(), port)).await, &server).await;
        for (client, _) in &silent {
            let read = client.try_read(&mut [0; 6]).map_err(|error| error.kind());
            assert_eq!(read, Err(std::io::ErrorKind::WouldBlock));
        }
    }
}
