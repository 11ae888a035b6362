//! Server-sent events, from bytes as they come.
//!
//! What must stay true: how the bytes are divided makes no difference; no line
//! and no event grows beyond a bound. As in the HTML standard, section "Server-sent
//! events", but that text which is no UTF-8 is an error: replaced characters would
//! look like what the model said.

/// An event with data. Comments, ids and retry times are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Empty where the stream names none.
    pub name: String,
    /// The data lines, with line feeds between them.
    pub data: String,
}

/// Why a stream can't be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line or an event goes beyond its bound.
    #[error("an event of the stream is larger than {0} bytes")]
    TooLarge(usize),
    /// It holds bytes that are no text.
    #[error("the stream is no UTF-8")]
    NotUtf8,
}

/// Reads events.
#[derive(Debug)]
pub struct SseParser {
    bytes_max: usize,
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed right after it belongs to
    /// the same end of line.
    after_cr: bool,
    first_line: bool,
    event: SseEvent,
    has_data: bool,
    ready: Vec<SseEvent>,
}

const BOM: &[u8] = "\u{feff}".as_bytes();

impl SseParser {
    /// `bytes_max`: longest line and longest event.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            event: SseEvent::default(),
            has_data: false,
            ready: Vec::new(),
        }
    }

    /// Takes more bytes; the events that are whole now, in order.
    ///
    /// # Errors
    /// The stream is of no use from here on.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<SseEvent>, SseError> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&bytes[..end])?;
            self.line_ends()?;
            let ending = bytes[end];
            bytes = &bytes[end + 1..];
            if ending == b'\r' {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.extend(bytes)?;
        Ok(std::mem::take(&mut self.ready))
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + bytes.len() > self.bytes_max {
            return Err(SseError::TooLarge(self.bytes_max));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn line_ends(&mut self) -> Result<(), SseError> {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.first_line) && line.starts_with(BOM) {
            line.drain(..BOM.len());
        }
        let line = String::from_utf8(line).map_err(|_| SseError::NotUtf8)?;
        if line.is_empty() {
            self.event_ends();
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => self.data(value)?,
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, value: &str) -> Result<(), SseError> {
        if self.event.data.len() + value.len() >= self.bytes_max {
            return Err(SseError::TooLarge(self.bytes_max));
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.event.data.push('\n');
        }
        self.event.data.push_str(value);
        Ok(())
    }

    fn event_ends(&mut self) {
        let event = std::mem::take(&mut self.event);
        if std::mem::take(&mut self.has_data) {
            self.ready.push(event);
        }
    }
}
