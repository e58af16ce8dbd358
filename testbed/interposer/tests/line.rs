//! Lines between a client and an echo.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::time::Duration;
use testbed_interposer::{Line, Passing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Says back what it hears, with its own letter in front of each piece.
async fn echo(letter: u8) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = [0; 4];
                while stream.read_exact(&mut piece).await.is_ok() {
                    stream.write_all(&[&[letter], &piece[..]].concat()).await.unwrap();
                }
            });
        }
    });
    address
}

async fn said_back(stream: &mut TcpStream, piece: &[u8; 4]) -> std::io::Result<[u8; 5]> {
    stream.write_all(piece).await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn what_passes_keeps_its_order() {
    let line = Line::to(echo(b'a').await, Duration::from_millis(5), 7).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    for number in 0..50_u32 {
        let piece = number.to_le_bytes();
        assert_eq!(said_back(&mut stream, &piece).await.unwrap()[1..], piece);
    }
}

#[tokio::test]
async fn a_silent_line_says_nothing_until_it_is_open_again() {
    let line = Line::to(echo(b'a').await, Duration::ZERO, 7).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    line.set(Passing::Silent);
    stream.write_all(b"lost").await.unwrap();
    let mut answer = [0; 5];
    // Nothing can say that something will never come; what comes at once would come within this.
    let heard = tokio::time::timeout(Duration::from_millis(50), stream.read_exact(&mut answer)).await;
    assert!(heard.is_err(), "{answer:?}");
    line.set(Passing::Open);
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"alost");
}

#[tokio::test]
async fn a_silent_line_does_not_say_that_somebody_hung_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let line = Line::to(listener.local_addr().unwrap().to_string(), Duration::ZERO, 7).await.unwrap();
    let stream = TcpStream::connect(line.address()).await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    line.set(Passing::Silent);
    drop(stream);
    let mut end = [0];
    assert!(tokio::time::timeout(Duration::from_millis(50), other.read(&mut end)).await.is_err(), "it was heard of");
    let _waits = TcpStream::connect(line.address()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "nobody can call");
    line.set(Passing::Open);
    assert_eq!(other.read(&mut end).await.unwrap(), 0);
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn a_broken_line_takes_its_connections_with_it() {
    let line = Line::to(echo(b'a').await, Duration::ZERO, 7).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(said_back(&mut stream, b"here").await.unwrap(), *b"ahere");
    line.set(Passing::Broken);
    assert!(said_back(&mut stream, b"gone").await.is_err());
    let mut refused = TcpStream::connect(line.address()).await.unwrap();
    assert!(said_back(&mut refused, b"gone").await.is_err());
    line.set(Passing::Open);
    let mut again = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(said_back(&mut again, b"back").await.unwrap(), *b"aback");
}

#[tokio::test]
async fn a_line_that_leads_elsewhere_breaks_with_the_target_before() {
    let line = Line::to(echo(b'a').await, Duration::ZERO, 7).await.unwrap();
    let mut stream = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(said_back(&mut stream, b"here").await.unwrap(), *b"ahere");
    line.lead_to(echo(b'b').await);
    assert!(said_back(&mut stream, b"gone").await.is_err());
    let mut other = TcpStream::connect(line.address()).await.unwrap();
    assert_eq!(said_back(&mut other, b"here").await.unwrap(), *b"bhere");
}
