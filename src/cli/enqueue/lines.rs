//! Lines of a stream, one at a time, none ever larger than its limit.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// The lines of `reader` with their numbers, blank ones counted and skipped.
pub struct Lines<R> {
    reader: R,
    limit: usize,
    number: u64,
    read: u64,
    line: Vec<u8>,
    too_long: bool,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// 1 for the first.
    pub number: u64,
    /// Without its line end; `None` when it is longer than the limit.
    pub text: Option<Vec<u8>>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// `limit`: the longest line in bytes.
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, number: 0, read: 0, line: Vec::new(), too_long: false }
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next line that is not blank; `None` at the end. Cancel-safe: what was read stays for the next call.
    pub async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let buffer = self.reader.fill_buf().await?;
            if buffer.is_empty() {
                let begun = self.too_long || !self.line.is_empty();
                return Ok(if begun { self.end_line() } else { None });
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            if self.line.len() + piece.len() > self.limit {
                self.too_long = true;
                self.line = Vec::new();
            }
            if !self.too_long {
                self.line.extend_from_slice(piece);
            }
            let taken = piece.len() + usize::from(end.is_some());
            self.reader.consume(taken);
            self.read += taken as u64;
            if end.is_some()
                && let Some(line) = self.end_line()
            {
                return Ok(Some(line));
            }
        }
    }

    fn end_line(&mut self) -> Option<Line> {
        self.number += 1;
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.too_long) {
            return Some(Line { number: self.number, text: None });
        }
        if self.number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        let text = line.trim_ascii();
        (!text.is_empty()).then(|| Line { number: self.number, text: Some(text.to_vec()) })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing read is a failing test")]
mod tests {
    use super::*;

    async fn lines(text: &[u8]) -> Vec<(u64, Option<String>)> {
        // A tiny buffer, so that lines are put together from pieces.
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(3, text), 8);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push((line.number, line.text.map(|text| String::from_utf8(text).unwrap())));
        }
        assert_eq!(lines.bytes_read(), text.len() as u64);
        found
    }

    #[tokio::test]
    async fn blank_lines_are_counted_and_skipped_and_the_last_needs_no_end() {
        let found = lines("\u{feff}{1}\r\n\n  \n{4}\n{5}".as_bytes()).await;
        assert_eq!(found, [(1, Some("{1}".into())), (4, Some("{4}".into())), (5, Some("{5}".into()))]);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_refused_alone() {
        let found = lines(b"12345678\n123456789\nok\n").await;
        assert_eq!(found, [(1, Some("12345678".into())), (2, None), (3, Some("ok".into()))]);
    }
}
