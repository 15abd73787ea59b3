//! Server-sent events out of pieces of a body, as they come.
//!
//! Lines end with LF, CRLF or CR. Comments, which keep a connection open, are passed over. Of an event only its kind and
//! its data are kept, since nothing here resumes a stream.
//!
//! # Invariants
//!
//! - No event takes more memory than its limit and one piece, however it is cut.
//! - The same bytes give the same events, however they are cut.
//!
//! Source: "Server-sent events" in the HTML standard, section 9.2.6.

/// Most bytes of one event: an answer's piece is far smaller.
pub(super) const MAX_EVENT_BYTES: usize = 4 << 20;

/// What one event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventKind {
    /// The ordinary one.
    Message,
    /// Named `error`, or sent in a field of this name, as old llama.cpp servers do.
    Error,
}

/// A whole event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: EventKind,
    pub(super) data: Vec<u8>,
}

/// An event is longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventTooLong;

/// Puts events together.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    /// What has come and is not read yet, from `read` on.
    pending: Vec<u8>,
    /// Bytes of `pending` that are read.
    read: usize,
    /// Bytes of `pending` that are known to hold no end of an unread line.
    searched: usize,
    /// The last line ended with CR: an LF that follows belongs to it.
    skip_line_feed: bool,
    /// The event that is being read; absent before its first field.
    open: Option<Event>,
}

impl EventReader {
    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.pending.drain(..self.read);
        self.searched -= self.read;
        self.read = 0;
        self.pending.extend_from_slice(piece);
    }

    /// The next whole event, if there is one. An event without data is none.
    pub(super) fn next(&mut self) -> Result<Option<Event>, EventTooLong> {
        while let Some((begin, end)) = self.line() {
            if begin == end {
                match self.open.take() {
                    Some(event) if !event.data.is_empty() => return Ok(Some(event)),
                    Some(_) | None => continue,
                }
            }
            self.field(begin, end)?;
        }
        let held = self.open.as_ref().map_or(0, |event| event.data.len());
        if self.pending.len() - self.read + held > MAX_EVENT_BYTES { Err(EventTooLong) } else { Ok(None) }
    }

    /// Where the next whole line lies in `pending`, without its end.
    fn line(&mut self) -> Option<(usize, usize)> {
        if self.skip_line_feed && self.read < self.pending.len() {
            if self.pending[self.read] == b'\n' {
                self.read += 1;
            }
            self.skip_line_feed = false;
        }
        let from = self.searched.max(self.read);
        let Some(found) = self.pending[from..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.pending.len();
            return None;
        };
        let (begin, end) = (self.read, from + found);
        self.skip_line_feed = self.pending[end] == b'\r';
        self.read = end + 1;
        self.searched = self.read;
        Some((begin, end))
    }

    /// Takes a line of an event.
    fn field(&mut self, begin: usize, end: usize) -> Result<(), EventTooLong> {
        let line = &self.pending[begin..end];
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let is_error = name == b"error" || (name == b"event" && value == b"error");
        let is_data = name == b"data" || name == b"error";
        if !is_error && !is_data {
            return Ok(());
        }
        let event = self.open.get_or_insert_with(|| Event { kind: EventKind::Message, data: Vec::new() });
        if is_error {
            event.kind = EventKind::Error;
        }
        if is_data {
            if !event.data.is_empty() {
                event.data.push(b'\n');
            }
            event.data.extend_from_slice(value);
        }
        if event.data.len() > MAX_EVENT_BYTES { Err(EventTooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": keep-alive\n\ndata: {\"a\":1}\r\n\r\nevent: error\rdata: x\r\rid: 7\ndata:one\ndata: two\n\n\
        event: ping\n\nerror: {\"code\":500}\n\ndata: [DONE]\n\ndata: cut";

    fn events(pieces: impl IntoIterator<Item = &'static [u8]>) -> Vec<(EventKind, String)> {
        let mut reader = EventReader::default();
        let mut events = Vec::new();
        for piece in pieces {
            reader.push(piece);
            while let Some(event) = reader.next().expect("they are short") {
                events.push((event.kind, String::from_utf8(event.data).expect("text")));
            }
        }
        events
    }

    #[test]
    fn events_are_the_same_however_their_bytes_are_cut() {
        use EventKind::{Error, Message};
        let wanted = [
            (Message, "{\"a\":1}"),
            (Error, "x"),
            (Message, "one\ntwo"),
            (Error, "{\"code\":500}"),
            (Message, "[DONE]"),
        ];
        let wanted = wanted.map(|(kind, data)| (kind, data.to_owned()));
        for size in 1..=STREAM.len() {
            assert_eq!(events(STREAM.chunks(size)), wanted, "pieces of {size} bytes");
        }
    }

    #[test]
    fn an_event_without_end_is_refused_at_its_limit() {
        let mut endless = EventReader::default();
        let mut lines = EventReader::default();
        let piece = vec![b'a'; 1 << 16];
        let mut line = b"data: ".to_vec();
        line.extend_from_slice(&piece);
        line.push(b'\n');
        let num_pieces = MAX_EVENT_BYTES / piece.len();
        for _ in 0..num_pieces {
            endless.push(&piece);
            assert_eq!(endless.next(), Ok(None));
        }
        endless.push(b"a");
        assert_eq!(endless.next(), Err(EventTooLong));
        let refused = (0..=num_pieces).find_map(|_| {
            lines.push(&line);
            lines.next().err()
        });
        assert_eq!(refused, Some(EventTooLong));
    }
}
