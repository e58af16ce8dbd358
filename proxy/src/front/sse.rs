//! Server-sent events, as far as the rollout stream uses them: the `data:` of each event. Pure.

/// An event longer than this is not one of ours.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// Puts bytes together to events.
#[derive(Debug, Default)]
pub struct Events {
    /// The line so far.
    line: Vec<u8>,
    /// The data lines of the event so far.
    data: Vec<u8>,
    has_data: bool,
}

/// An event grows without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT} bytes")]
pub struct TooLong;

impl Events {
    /// Takes bytes as they come; answers the data of each event that they complete.
    ///
    /// # Errors
    /// [`TooLong`], when the other side does not send events at all.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut events = Vec::new();
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                if std::mem::take(&mut self.has_data) {
                    events.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix(b"data:") {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            }
            // Comments, ids, names and retry times are not used.
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.data.len() > MAX_EVENT { Err(TooLong) } else { Ok(events) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = b":hello\n\ndata: one\n\nid: 7\ndata:two\r\ndata: lines\r\n\r\nevent: x\n\ndata: half";
        for cut in 1..text.len() {
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in text.chunks(cut) {
                found.extend(events.take(piece).unwrap());
            }
            assert_eq!(found, [b"one".to_vec(), b"two\nlines".to_vec()], "in pieces of {cut}");
            assert_eq!(events.take(b"\n\n").unwrap(), [b"half".to_vec()]);
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut events = Events::default();
        let piece = vec![b'x'; MAX_EVENT / 2 + 1];
        assert_eq!(events.take(&piece), Ok(Vec::new()));
        assert_eq!(events.take(&piece), Err(TooLong));
    }
}
