//! A line between two parts that trials can disturb: a TCP proxy which delays what passes, stops passing it, or leads
//! elsewhere.
//!
//! It knows nothing of what passes: bytes of one connection and direction keep their order, and each piece of them
//! arrives up to so much later, drawn anew from a seeded generator. Two lines with delays of their own therefore put
//! what two senders send into another order than that in which they sent it.

use bytes::Bytes;
use fastrand::Rng;
use host::clock::{self, Instant};
use host::net::{self, TcpListener, TcpStream};
use host::task::{self, Shutdown};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// Bytes taken at once: a piece that is delayed as a whole.
const PIECE: usize = 16 * 1024;
/// Pieces of one direction that may be on their way; more of them wait at their sender.
const ON_THEIR_WAY: usize = 1024;

/// What a line does with what it is handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// It passes.
    Open,
    /// It waits, in both directions, as if packets were lost until further notice: also that a side has hung up, and new
    /// connections. Those there are stay.
    Silent,
    /// Every connection is broken, and new ones are closed at once.
    Broken,
}

/// A line, until dropped.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    state: watch::Sender<State>,
    over: Shutdown,
}

#[derive(Debug, Clone)]
struct State {
    passing: Passing,
    /// Where new connections lead, as `host:port`.
    target: String,
    /// Raised when the connections that there are have to end.
    generation: u64,
}

impl Line {
    /// A line to `target` (`host:port`), on a free port of 127.0.0.1. Each piece arrives up to `delay` later.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn to(target: impl Into<String>, delay: Duration, seed: u64) -> io::Result<Self> {
        let listener = net::listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State { passing: Passing::Open, target: target.into(), generation: 0 });
        let over = Shutdown::new();
        task::spawn(accept(listener, state.subscribe(), Rng::with_seed(seed), delay, over.clone()));
        Ok(Self { address, state, over })
    }

    /// Where to connect to, as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Goes on passing, or ceases to.
    pub fn set(&self, passing: Passing) {
        self.state.send_modify(|state| {
            state.passing = passing;
            state.generation += u64::from(passing == Passing::Broken);
        });
    }

    /// Leads to another target from now on; connections to the one before are broken.
    pub fn lead_to(&self, target: impl Into<String>) {
        self.state.send_modify(|state| {
            state.target = target.into();
            state.generation += 1;
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.stop();
    }
}

async fn accept(
    listener: TcpListener,
    state: watch::Receiver<State>,
    mut random: Rng,
    delay: Duration,
    over: Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over.stopped() => return,
        };
        // One that failed before it was accepted is nobody's connection.
        let Ok((stream, _)) = accepted else { continue };
        let (state, random, over) = (state.clone(), random.fork(), over.clone());
        task::spawn(async move {
            let connection = connect(stream, state.clone(), random, delay);
            tokio::select! {
                // Either side's end, or an error: both connections are dropped with it.
                _ = connection => {}
                () = broken(state) => {}
                () = over.stopped() => {}
            }
        });
    }
}

/// Resolves when connections of this moment have to end.
async fn broken(mut state: watch::Receiver<State>) {
    let generation = state.borrow().generation;
    // Without a line there is nothing to pass.
    let _ = state.wait_for(|now| now.generation != generation || now.passing == Passing::Broken).await;
}

async fn connect(
    stream: TcpStream,
    mut state: watch::Receiver<State>,
    mut random: Rng,
    delay: Duration,
) -> io::Result<()> {
    opened(&mut state).await?;
    let target = state.borrow().target.clone();
    let other = net::connect(&target).await?;
    stream.set_nodelay(true)?;
    let (from_client, to_client) = stream.into_split();
    let (from_target, to_target) = other.into_split();
    let there = pass(from_client, to_target, state.clone(), random.fork(), delay);
    let back = pass(from_target, to_client, state, random, delay);
    let (there, back) = tokio::join!(there, back);
    there.and(back)
}

/// Waits until the line passes.
async fn opened(state: &mut watch::Receiver<State>) -> io::Result<()> {
    state.wait_for(|state| state.passing == Passing::Open).await.map(drop).map_err(io::Error::other)
}

/// One direction, to its end.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut state: watch::Receiver<State>,
    mut random: Rng,
    delay: Duration,
) -> io::Result<()> {
    let (pieces, mut on_their_way) = mpsc::channel::<(Instant, Bytes)>(ON_THEIR_WAY);
    let taking = async move {
        let mut buffer = vec![0; PIECE];
        loop {
            let taken = from.read(&mut buffer).await?;
            if taken == 0 {
                return io::Result::Ok(());
            }
            let late = Duration::from_micros(random.u64(0..=u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)));
            let piece = Bytes::copy_from_slice(&buffer[..taken]);
            if pieces.send((clock::now() + late, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let giving = async move {
        while let Some((due, piece)) = on_their_way.recv().await {
            clock::sleep_until(due).await;
            opened(&mut state).await?;
            to.write_all(&piece).await?;
        }
        opened(&mut state).await?;
        to.shutdown().await
    };
    let (taken, given) = tokio::join!(taking, giving);
    taken.and(given)
}
