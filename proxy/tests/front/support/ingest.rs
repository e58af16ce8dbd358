//! The relay's ingest: takes journals over TCP, drops what it gets twice, and fails when a test tells it to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wire::exchange::ExchangeRecord;
use wire::ingest::IngestFrame;
use wire::scalar::Timestamp;
use wire::stored::{decode, encode};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything.
    Well,
    /// Accepts connections and closes them.
    Down,
    /// Takes records and keeps them, but the acknowledgement never arrives.
    Mute,
    /// Takes one frame of records, acknowledges it twice, and closes.
    Flaky,
    /// Does not want anything.
    Refusing,
}

#[derive(Debug, Default)]
struct Kept {
    /// Stored bytes by front, boot and sequence.
    records: BTreeMap<(u64, u64), ExchangeRecord>,
    /// In the order of arrival, without repeats.
    arrived: Vec<(u64, u64)>,
    repeats: u64,
    instances: BTreeMap<u64, u64>,
    heartbeats: Vec<(u64, Timestamp, u64)>,
    connections: u64,
}

/// The ingest.
#[derive(Clone)]
pub struct Ingest {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    mood: watch::Sender<Mood>,
}

impl Ingest {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ingest = Self {
            address: listener.local_addr().unwrap(),
            kept: Arc::default(),
            mood: watch::Sender::new(Mood::Well),
        };
        let serving = ingest.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let ingest = serving.clone();
                tokio::spawn(async move {
                    // A change of mood breaks every connection off.
                    let mut mood = ingest.mood.subscribe();
                    tokio::select! {
                        _ = ingest.serve(stream) => {}
                        _ = mood.changed() => {}
                    }
                });
            }
        });
        ingest
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// All records, in the order of their numbers.
    pub fn records(&self) -> Vec<ExchangeRecord> {
        self.kept.lock().unwrap().records.values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.kept.lock().unwrap().records.len()
    }

    pub fn repeats(&self) -> u64 {
        self.kept.lock().unwrap().repeats
    }

    pub fn connections(&self) -> u64 {
        self.kept.lock().unwrap().connections
    }

    pub fn heartbeats(&self) -> Vec<(u64, Timestamp, u64)> {
        self.kept.lock().unwrap().heartbeats.clone()
    }

    /// Every boot's records are numbered from 1 without holes, arrived in order, and boots in order.
    pub fn assert_whole(&self) {
        let kept = self.kept.lock().unwrap();
        let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
        for (boot, sequence) in &kept.arrived {
            let next = expected.entry(*boot).or_insert(1);
            assert_eq!(sequence, next, "boot {boot} has a hole or is out of order: {:?}", kept.arrived);
            *next += 1;
        }
        assert!(kept.arrived.is_sorted(), "an earlier boot arrived after a later one: {:?}", kept.arrived);
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mood = *self.mood.borrow();
        if mood == Mood::Down {
            return Ok(());
        }
        let IngestFrame::Hello { front, boot, instance, token } = read(&mut stream).await? else {
            panic!("no hello");
        };
        assert_eq!((front.as_str(), token.as_str()), ("front-a", super::TOKEN));
        if mood == Mood::Refusing {
            return write(&mut stream, &IngestFrame::Refused { reason: "not today".into() }).await;
        }
        let durable = {
            let mut kept = self.kept.lock().unwrap();
            kept.connections += 1;
            let known = *kept.instances.entry(boot).or_insert(instance);
            assert_eq!(known, instance, "two processes with one boot");
            kept.records.range((boot, 0)..=(boot, u64::MAX)).next_back().map_or(0, |((_, sequence), _)| *sequence)
        };
        write(&mut stream, &IngestFrame::Welcome { durable }).await?;
        loop {
            match read(&mut stream).await? {
                IngestFrame::Records { records } => {
                    let durable = self.keep(boot, records.into_iter().map(|record| record.0));
                    if mood == Mood::Mute {
                        continue;
                    }
                    write(&mut stream, &IngestFrame::Ack { durable }).await?;
                    if mood == Mood::Flaky {
                        return write(&mut stream, &IngestFrame::Ack { durable }).await;
                    }
                }
                IngestFrame::Heartbeat { at, sequence } => {
                    self.kept.lock().unwrap().heartbeats.push((boot, at, sequence));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn keep(&self, boot: u64, records: impl Iterator<Item = Vec<u8>>) -> u64 {
        let mut kept = self.kept.lock().unwrap();
        let mut last = 0;
        for stored in records {
            let record: ExchangeRecord = decode(&stored).unwrap();
            assert_eq!(record.boot, boot);
            let number = (boot, record.sequence);
            last = record.sequence;
            match kept.records.get(&number) {
                Some(known) => {
                    assert_eq!(*known, record, "one number, two records");
                    kept.repeats += 1;
                }
                None => {
                    kept.records.insert(number, record);
                    kept.arrived.push(number);
                }
            }
        }
        last
    }
}

async fn read(stream: &mut TcpStream) -> std::io::Result<IngestFrame> {
    let length = stream.read_u32_le().await?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await?;
    Ok(decode(&frame).unwrap())
}

async fn write(stream: &mut TcpStream, frame: &IngestFrame) -> std::io::Result<()> {
    let stored = encode(frame);
    stream.write_u32_le(u32::try_from(stored.len()).unwrap()).await?;
    stream.write_all(&stored).await
}
