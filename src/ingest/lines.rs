//! Reads recorded events line by line: plain or compressed, and in two shapes.
//!
//! A line is an event, or a recording of one:
//! `{"data": "<the exact data line of the stream>", "recv_ns": <when it was received>}`. Of a
//! recording the data text is what counts, character for character; a line of any other shape is
//! an event and is taken byte for byte.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use serde::Deserialize;

/// The first bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER: usize = 256 * 1024;

/// Lines longer than this are cut: what comes behind is counted, not kept.
pub const MAX_LINE: usize = 64 * 1024 * 1024;

/// A file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened.
    #[error("open {}: {error}", .path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Its name says gzip, its first bytes do not.
    #[error(
        "open {}: it is not gzip, although its name ends in .gz; give it another name if it is plain NDJSON",
        .path.display()
    )]
    NotGzip {
        /// Which one.
        path: PathBuf,
    },
    /// It is cut off or damaged.
    #[error("read {} behind line {line}: {error}{}", .path.display(), help(.error))]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// The last line that could be read.
        line: u64,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// What to do about a file that cannot be read to its end.
fn help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ": it is cut off; get it again",
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => ": it is damaged; get it again",
        _ => "",
    }
}

/// The lines of a file.
pub struct Lines {
    path: PathBuf,
    input: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
}

/// An event out of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<'l> {
    /// Its bytes.
    pub event: Cow<'l, [u8]>,
    /// When it was received, in nanoseconds since whenever; none in a plain file.
    pub received_ns: Option<i64>,
}

impl Lines {
    /// Opens a file; `-` is the standard input. Whether it is compressed is seen from its first
    /// bytes; a name that ends in `.gz` must not promise more.
    ///
    /// # Errors
    /// When there is no such file, it cannot be read, or it is not the gzip that its name promises.
    pub fn open(path: &Path) -> Result<Lines, ReadError> {
        let failed = |error| ReadError::Open {
            path: path.to_owned(),
            error,
        };
        if path == Path::new("-") {
            return Lines::from_reader(path, io::stdin()).map_err(failed);
        }
        let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(failed)?);
        let is_gzip = starts_with_gzip(&mut file).map_err(failed)?;
        if !is_gzip && path.extension().is_some_and(|end| end == "gz") {
            return Err(ReadError::NotGzip {
                path: path.to_owned(),
            });
        }
        Lines::from_reader(path, file).map_err(failed)
    }

    /// Reads what is given; `path` is for messages.
    ///
    /// # Errors
    /// When not even the first bytes can be read.
    pub fn from_reader(path: &Path, input: impl Read + 'static) -> io::Result<Lines> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let compressed = starts_with_gzip(&mut input)?;
        let input: Box<dyn BufRead> = if compressed {
            Box::new(BufReader::with_capacity(BUFFER, Members::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Lines {
            path: path.to_owned(),
            input,
            line: Vec::new(),
            number: 0,
        })
    }

    /// The next line that is not blank, without its end, and its number, from 1; none behind the
    /// last. A last line without an end is one.
    ///
    /// # Errors
    /// When the file is damaged or cut off.
    pub fn next_line(&mut self) -> Result<Option<(u64, &[u8])>, ReadError> {
        loop {
            self.line.clear();
            let found = self.read_line();
            let damaged = |error| ReadError::Damaged {
                path: self.path.clone(),
                line: self.number,
                error,
            };
            if !found.map_err(damaged)? {
                return Ok(None);
            }
            self.number += 1;
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let first = self.number == 1;
        let marked = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| first);
        Ok(Some((self.number, marked.unwrap_or(line))))
    }

    /// Fills the line up to its end; false when there is none.
    fn read_line(&mut self) -> io::Result<bool> {
        let mut found = false;
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                return Ok(found);
            }
            found = true;
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

/// What the members of a gzip file hold, one behind the other. Zeros behind the last are padding.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Members<R> {
    fn new(input: R) -> Members<R> {
        Members(Some(GzDecoder::new(input)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.0.take() {
            let read = member.read(out);
            if !matches!(read, Ok(0)) || out.is_empty() {
                self.0 = Some(member);
                return read;
            }
            let mut rest = member.into_inner();
            self.0 = skip_zeros(&mut rest)?.then(|| GzDecoder::new(rest));
        }
        Ok(0)
    }
}

/// Whether another member comes behind the zeros.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        match buffer[zeros..].first() {
            None => input.consume(zeros),
            Some(first) if *first == GZIP[0] => {
                input.consume(zeros);
                return Ok(true);
            }
            Some(_) => {
                let message = "something follows that is not gzip";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
}

/// Looks at the first bytes without taking them.
fn starts_with_gzip(input: &mut BufReader<impl Read>) -> io::Result<bool> {
    let buffer = input.fill_buf()?;
    // A pipe may give one byte at first. No text begins with this one.
    let known = buffer.len().min(GZIP.len());
    Ok(known > 0 && buffer[..known] == GZIP[..known])
}

impl<'l> Recorded<'l> {
    /// Reads a line, of either shape.
    pub fn from_line(line: &'l [u8]) -> Recorded<'l> {
        /// A recording; anything else with these two names is one too.
        #[derive(Deserialize)]
        struct Shape<'s> {
            #[serde(borrow)]
            data: Cow<'s, str>,
            recv_ns: i64,
        }
        // An event of another shape is not worth a whole parse.
        if memchr::memmem::find(line, b"\"recv_ns\"").is_some()
            && let Ok(shape) = serde_json::from_slice::<Shape<'l>>(line)
        {
            let event = match shape.data {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
            return Recorded {
                event,
                received_ns: Some(shape.recv_ns),
            };
        }
        Recorded {
            event: Cow::Borrowed(line),
            received_ns: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_compressed_file_may_have_several_members_and_be_padded_with_zeros() {
        let mut file = [gzip(b"a\nb"), gzip(b"c\n"), vec![0; 1_000]].concat();
        assert_eq!(lines(&file).unwrap(), ["a", "bc"]);
        file.push(b'x');
        let (number, error) = lines(&file).unwrap_err();
        assert_eq!(number, 2);
        assert!(
            error.to_string().ends_with("it is damaged; get it again"),
            "{error}"
        );
    }

    fn lines(bytes: &[u8]) -> Result<Vec<String>, (u64, ReadError)> {
        let input = io::Cursor::new(bytes.to_vec());
        let mut lines = Lines::from_reader(Path::new("x.ndjson"), input).unwrap();
        let mut found = Vec::new();
        loop {
            match lines.next_line() {
                Ok(Some((_, line))) => found.push(String::from_utf8_lossy(line).into_owned()),
                Ok(None) => return Ok(found),
                Err(error) => return Err((found.len() as u64, error)),
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(lines(text.as_bytes()).unwrap(), expected, "plain");
        assert_eq!(
            lines(&gzip(text.as_bytes())).unwrap(),
            expected,
            "compressed"
        );
    }

    #[test]
    fn lines_come_without_their_ends_and_blank_ones_not_at_all() {
        check("a\nb\n", &["a", "b"]);
        check("a\nb", &["a", "b"]);
        check("a\r\n\r\n  \n\n b \n", &["a", " b "]);
        check("", &[]);
        check("\n\n", &[]);
        check("\u{feff}a\n\u{feff}b\n", &["a", "\u{feff}b"]);
    }

    #[test]
    fn several_compressed_streams_behind_each_other_are_one_file() {
        let both = [gzip(b"a\nb"), gzip(b"c\nd\n")].concat();
        assert_eq!(lines(&both).unwrap(), ["a", "bc", "d"]);
    }

    #[test]
    fn a_compressed_file_that_is_cut_off_is_an_error_that_names_it_and_the_place() {
        let text: String = (0..20_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let whole = gzip(text.as_bytes());
        let (read, error) = lines(&whole[..whole.len() / 2]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("read x.ndjson behind line {read}: ")),
            "{text}"
        );
        assert!(text.ends_with("it is cut off; get it again"), "{text}");
        assert!(read > 100, "what was readable is read: {read}");
    }

    #[test]
    fn a_damaged_stream_is_called_so() {
        let mut damaged = gzip(b"a\nb\n");
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;
        let (read, error) = lines(&damaged).unwrap_err();
        assert_eq!(read, 2);
        let text = error.to_string();
        assert!(text.ends_with("it is damaged; get it again"), "{text}");
    }

    #[test]
    fn a_name_that_promises_gzip_is_held_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Lines::open(&path).map(|_| ())
        };
        for bytes in [b"{}\n".as_slice(), b"PK\x03\x04", b""] {
            let error = open("x.gz", bytes).unwrap_err().to_string();
            assert!(error.contains("x.gz: it is not gzip"), "{error}");
        }
        open("x.gz", &gzip(b"")).unwrap();
        open("x.ndjson", &gzip(b"{}\n")).unwrap();
        open("x.ndjson", b"{}\n").unwrap();
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Lines::open(Path::new("/nowhere/x.gz"))
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with("open /nowhere/x.gz: "), "{error}");
    }

    #[test]
    fn of_a_recording_the_exact_data_counts_and_any_other_line_is_an_event() {
        let check = |line: &str, event: &str, received_ns| {
            let found = Recorded::from_line(line.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found.event), event, "{line}");
            assert_eq!(found.received_ns, received_ns, "{line}");
        };
        check(
            r#"{"data":"{\"a\":\"ü\\n\"}","recv_ns":12}"#,
            r#"{"a":"ü\n"}"#,
            Some(12),
        );
        check(r#"{"recv_ns":1,"data":"plain"}"#, "plain", Some(1));
        for event in [
            r#"{"a":1}"#,
            r#"{"data":{"x":1},"recv_ns":1}"#,
            r#"{"recv_ns":1}"#,
            "not \"recv_ns\"",
        ] {
            check(event, event, None);
        }
    }
}
