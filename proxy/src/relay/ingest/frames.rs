//! Frames on a connection: a 32-bit length (little endian), then one stored [`IngestFrame`].

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::ingest::{IngestFrame, MAX_FRAME_BYTES};
use wire::stored::{DecodeError, decode, encode};

/// Before a front has shown its token, nothing longer than this is read from it.
const MAX_HELLO_BYTES: u32 = 16 * 1024;
/// Bytes of the length.
const LENGTH: usize = 4;

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream ended inside a frame.
    #[error("the connection was cut in the middle of a frame")]
    Cut,
    /// No frame of ours is that long.
    #[error("a frame of {length} bytes, where at most {allowed} are allowed")]
    TooLong {
        /// As announced.
        length: u32,
        /// As allowed.
        allowed: u32,
    },
    /// The bytes are no frame.
    #[error("not a frame: {0}")]
    Garbage(#[from] DecodeError),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads frames. Dropping the future of [`FrameReader::next`] loses nothing.
#[derive(Debug)]
pub(super) struct FrameReader<S> {
    stream: S,
    buffer: BytesMut,
    allowed: u32,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    /// Reads from `stream`, first nothing longer than a greeting.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new(), allowed: MAX_HELLO_BYTES }
    }

    /// Whoever speaks has shown its token: frames may be as long as any of ours.
    pub(super) fn trust(&mut self) {
        self.allowed = MAX_FRAME_BYTES;
    }

    /// The next frame; `None` when the stream ended between frames.
    pub(super) async fn next(&mut self) -> Result<Option<IngestFrame>, FrameError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Cut) };
            }
        }
    }

    /// The next frame, if all of it was read.
    fn take(&mut self) -> Result<Option<IngestFrame>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix);
        if length > self.allowed {
            return Err(FrameError::TooLong { length, allowed: self.allowed });
        }
        let whole = LENGTH + length as usize;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let frame = decode(&self.buffer[LENGTH..whole])?;
        self.buffer.advance(whole);
        Ok(Some(frame))
    }
}

/// Writes a frame.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &IngestFrame) -> std::io::Result<()> {
    let body = encode(frame);
    let length = u32::try_from(body.len()).map_err(|_| std::io::Error::other("a frame longer than 4 GiB"))?;
    stream.write_all(&[&length.to_le_bytes()[..], &body].concat()).await
}
