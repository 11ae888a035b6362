//! Server-sent events, read as they come.

/// Longest event, bytes. A tool's largest output with its usage has less: one that
/// is longer is no event of this API.
const EVENT_BYTES_MAX: usize = crate::client::BODY_BYTES_MAX;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name, e.g. `progress`.
    pub name: String,
    /// What the stream can go on after.
    pub id: Option<String>,
    /// Its data; lines are joined with newlines.
    pub data: Vec<u8>,
}

/// Takes the bytes of a stream in any pieces and gives its events.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    event: Event,
    lines: usize,
    comments: u64,
}

impl Events {
    /// Comments so far: a server sends one to say that it is there.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    /// Takes the next piece, and gives what it completes to `on_event`.
    pub fn push(&mut self, piece: &[u8], on_event: &mut dyn FnMut(Event)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
                self.end_line(on_event);
            } else if self.line.len() > EVENT_BYTES_MAX {
                self.line.clear();
            }
        }
    }

    fn end_line(&mut self, on_event: &mut dyn FnMut(Event)) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.lines = 0;
            let event = std::mem::take(&mut self.event);
            if !event.name.is_empty() {
                on_event(event);
            }
        } else if line.starts_with(b":") {
            self.comments += 1;
        } else if let Some(name) = line.strip_prefix(b"event: ") {
            self.event.name = String::from_utf8_lossy(name).into_owned();
        } else if let Some(id) = line.strip_prefix(b"id: ") {
            self.event.id = Some(String::from_utf8_lossy(id).into_owned());
        } else if let Some(data) = line.strip_prefix(b"data: ")
            && self.event.data.len() + data.len() < EVENT_BYTES_MAX
        {
            if self.lines > 0 {
                self.event.data.push(b'\n');
            }
            self.lines += 1;
            self.event.data.extend_from_slice(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_in_whatever_pieces_they_come() {
        let text = b"event: progress\ndata: {\"done\":1}\n\n: still there\n\n\
            id: 7\nevent: result\ndata: {\ndata: \ndata: }\n\nevent: cut";
        let expect = [
            (None, "progress", "{\"done\":1}"),
            (Some("7"), "result", "{\n\n}"),
        ];
        for size in 1..=text.len() {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for piece in text.chunks(size) {
                events.push(piece, &mut |event| found.push(event));
            }
            let found: Vec<_> = found
                .iter()
                .map(|event| {
                    (
                        event.id.as_deref(),
                        event.name.as_str(),
                        std::str::from_utf8(&event.data).expect("text"),
                    )
                })
                .collect();
            assert_eq!(found, expect, "in pieces of {size}");
            assert_eq!(events.comments(), 1, "in pieces of {size}");
        }
    }
}
