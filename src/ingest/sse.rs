//! Server-sent events, read incrementally: chunks of bytes in, frames out.
//!
//! Follows the HTML standard (section 9.2.6): lines end with LF, CR or CRLF, wherever the chunks
//! are cut; several `data` lines are joined; comments and unknown fields are skipped; a frame that
//! the end of the stream cuts off is never delivered. Data stays bytes: whoever reads it decides
//! what a bad character means. Memory is bounded: of a frame with too much data the beginning is
//! kept and the rest is counted.

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'p> {
    /// The type: `message` when the frame names none.
    pub event: &'p str,
    /// The last id that the server sent, in this frame or an earlier one; empty when there was none.
    pub id: &'p str,
    /// The data, at most as much as the parser keeps.
    pub data: &'p [u8],
    /// How much data there was; more than `data.len()` when it was too much.
    pub length: usize,
}

/// The state between two chunks.
#[derive(Debug)]
pub struct Parser {
    max_data: usize,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// What of that line was not kept.
    line_dropped: usize,
    /// The last line ended with CR: a LF that comes next belongs to it.
    after_cr: bool,
    /// No line has ended yet: there may be a byte order mark.
    at_start: bool,
    event: String,
    id: String,
    data: Vec<u8>,
    /// How much data the frame has so far, kept or not; none: no data line yet.
    length: Option<usize>,
    /// The frame has been handed out and is to be cleared.
    done: bool,
}

/// Longer ids and types than this are not kept.
const MAX_NAME: usize = 64 * 1024;

impl Parser {
    /// A parser for one response, which keeps at most `max_data` bytes of a frame's data.
    pub fn new(max_data: usize) -> Parser {
        Parser {
            max_data,
            line: Vec::new(),
            line_dropped: 0,
            after_cr: false,
            at_start: true,
            event: String::new(),
            id: String::new(),
            data: Vec::new(),
            length: None,
            done: false,
        }
    }

    /// Reads on in `chunk`, up to the end of the next frame; none when the chunk is used up.
    pub fn next_frame(&mut self, chunk: &mut &[u8]) -> Option<Frame<'_>> {
        self.clear_after_frame();
        while self.next_line(chunk) {
            if self.done {
                return Some(Frame {
                    event: if self.event.is_empty() {
                        "message"
                    } else {
                        &self.event
                    },
                    id: &self.id,
                    data: &self.data,
                    length: self.length.unwrap_or(0),
                });
            }
        }
        None
    }

    fn clear_after_frame(&mut self) {
        if std::mem::take(&mut self.done) {
            self.event.clear();
            self.data.clear();
            self.length = None;
        }
    }

    /// Reads one line; false when the chunk ends before the line does.
    fn next_line(&mut self, chunk: &mut &[u8]) -> bool {
        if self.after_cr && !chunk.is_empty() {
            self.after_cr = false;
            *chunk = chunk.strip_prefix(b"\n").unwrap_or(chunk);
        }
        let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) else {
            self.keep(chunk);
            *chunk = &[];
            return false;
        };
        let line = &chunk[..end];
        self.after_cr = chunk[end] == b'\r';
        *chunk = &chunk[end + 1..];
        if self.line.is_empty() {
            self.read_line(line, 0);
        } else {
            self.keep(line);
            let whole = std::mem::take(&mut self.line);
            self.read_line(&whole, self.line_dropped);
            self.line = whole;
            self.line.clear();
            self.line_dropped = 0;
        }
        true
    }

    /// Keeps the beginning of a line until its end comes.
    fn keep(&mut self, part: &[u8]) {
        let room = (self.max_data + MAX_NAME).saturating_sub(self.line.len());
        let kept = part.len().min(room);
        self.line.extend_from_slice(&part[..kept]);
        self.line_dropped += part.len() - kept;
    }

    fn read_line(&mut self, mut line: &[u8], dropped: usize) {
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            match self.length {
                Some(_) => self.done = true,
                None => self.event.clear(),
            }
            return;
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let name = &line[..colon];
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.add_data(value, dropped),
            b"event" => set_name(&mut self.event, value),
            b"id" if !value.contains(&0) => set_name(&mut self.id, value),
            // A comment has no name. `retry` is for browsers; our back-off is our own.
            _ => {}
        }
    }

    fn add_data(&mut self, value: &[u8], dropped: usize) {
        let before = match self.length {
            Some(length) => {
                self.add_within_bound(b"\n");
                length + 1
            }
            None => 0,
        };
        self.add_within_bound(value);
        self.length = Some(before + value.len() + dropped);
    }

    fn add_within_bound(&mut self, bytes: &[u8]) {
        let room = self.max_data.saturating_sub(self.data.len());
        self.data.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn set_name(name: &mut String, value: &[u8]) {
    name.clear();
    name.push_str(&String::from_utf8_lossy(
        &value[..value.len().min(MAX_NAME)],
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (String, String, String);

    fn frames_of<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> Vec<Owned> {
        let mut parser = Parser::new(1000);
        let mut frames = Vec::new();
        for mut chunk in chunks {
            while let Some(frame) = parser.next_frame(&mut chunk) {
                let data = String::from_utf8_lossy(frame.data).into_owned();
                frames.push((frame.event.to_owned(), frame.id.to_owned(), data));
            }
        }
        frames
    }

    /// The same frames come out however the text is cut into chunks.
    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, &str)]) {
        let expected: Vec<Owned> = expected
            .iter()
            .map(|(event, id, data)| ((*event).into(), (*id).into(), (*data).into()))
            .collect();
        let bytes = text.as_bytes();
        for size in 1..=bytes.len().max(1) {
            assert_eq!(frames_of(bytes.chunks(size)), expected, "chunks of {size}");
        }
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(
                frames_of([head, tail].into_iter()),
                expected,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_frame_of_eventstreams_is_read() {
        check(
            ":ok\n\nevent: message\nid: [{\"topic\":\"t\"}]\ndata: {\"a\":\"ü😀\"}\n\n",
            &[("message", r#"[{"topic":"t"}]"#, r#"{"a":"ü😀"}"#)],
        );
    }

    #[test]
    fn lines_end_with_lf_cr_or_crlf() {
        check(
            "data:a\n\ndata: b\n\n",
            &[("message", "", "a"), ("message", "", "b")],
        );
        check(
            "data:a\r\rdata: b\r\r",
            &[("message", "", "a"), ("message", "", "b")],
        );
        check(
            "data:a\r\n\r\ndata: b\r\n\r\n",
            &[("message", "", "a"), ("message", "", "b")],
        );
        check(
            "data:a\r\n\ndata:b\n\r",
            &[("message", "", "a"), ("message", "", "b")],
        );
    }

    #[test]
    fn several_data_lines_are_joined_and_one_leading_space_is_taken_off() {
        check(
            "data:a\ndata:  b\ndata\ndata:\n\n",
            &[("message", "", "a\n b\n\n")],
        );
        check("data:\n\n", &[("message", "", "")]);
    }

    #[test]
    fn comments_unknown_fields_and_frames_without_data_are_skipped() {
        check(
            ":\n:keep-alive\n\nretry: 10\nfoo: bar\nfoo\n\nevent: x\n\n\n\n",
            &[],
        );
        check("event: x\n\ndata: y\n\n", &[("message", "", "y")]);
        check("event: error\ndata: y\n\n", &[("error", "", "y")]);
    }

    #[test]
    fn an_id_holds_until_the_next_one_and_may_come_without_data() {
        check("id: 1\n\ndata: a\n\n", &[("message", "1", "a")]);
        check(
            "id: 1\ndata: a\n\ndata: b\n\n",
            &[("message", "1", "a"), ("message", "1", "b")],
        );
        check(
            "id: 1\ndata: a\n\nid\ndata: b\n\n",
            &[("message", "1", "a"), ("message", "", "b")],
        );
        check("id: 1\nid: 2\0\ndata: a\n\n", &[("message", "1", "a")]);
    }

    #[test]
    fn a_frame_without_its_empty_line_is_not_delivered() {
        check("data: a\n\ndata: b\n", &[("message", "", "a")]);
        check("data: a\n\ndata: b", &[("message", "", "a")]);
        check("", &[]);
    }

    #[test]
    fn a_byte_order_mark_at_the_very_start_is_skipped() {
        check("\u{feff}data: a\n\n", &[("message", "", "a")]);
        check("\ndata: a\n\n\u{feff}data: b\n\n", &[("message", "", "a")]);
    }

    #[test]
    fn of_too_much_data_the_beginning_is_kept_and_all_of_it_is_counted() {
        let megabytes = "x".repeat(10_000_000);
        let text = format!("id: 7\ndata: {megabytes}\n\ndata: a\n\n");
        for size in [1 << 14, 100_000_000] {
            let mut parser = Parser::new(1000);
            let mut lengths = Vec::new();
            for mut chunk in text.as_bytes().chunks(size) {
                while let Some(frame) = parser.next_frame(&mut chunk) {
                    lengths.push((frame.data.len(), frame.length, frame.id.to_owned()));
                }
                assert!(parser.line.capacity() < 300_000, "memory is bounded");
            }
            assert_eq!(
                lengths,
                [(1000, 10_000_000, "7".into()), (1, 1, "7".into())]
            );
        }
        // Many short lines make too much, too.
        let mut parser = Parser::new(1000);
        let text = "data: 0123456789\n".repeat(200) + "\n";
        let mut chunk = text.as_bytes();
        let frame = parser.next_frame(&mut chunk).expect("a frame");
        assert_eq!((frame.data.len(), frame.length), (1000, 200 * 11 - 1));
    }
}
