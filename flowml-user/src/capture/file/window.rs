//! A window that moves over a stream: what is asked for lies in memory in one piece, and little more.

use std::io::{self, ErrorKind, Read};

/// What is read at once, bytes.
const CHUNK: usize = 256 * 1024;

/// The part of a stream that is being looked at.
pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Of `begin` in the stream, bytes.
    offset: u64,
    ended: bool,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: vec![0; CHUNK], begin: 0, end: 0, offset: 0, ended: false }
    }

    /// Where in the stream the window begins, bytes.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether nothing is in it that has not been taken.
    pub(super) const fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// The next `length` bytes; fewer where the stream ends before. The caller bounds `length`, and so the memory.
    ///
    /// # Errors
    /// Where the stream fails before that many have come. What came until then is still there, and may be asked for again.
    pub(super) fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        if self.end - self.begin < length {
            self.fill(length)?;
        }
        Ok(&self.buffer[self.begin..self.end.min(self.begin + length)])
    }

    /// Moves `length` bytes on, and answers those. They have been seen ([`peek`](Self::peek)).
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        let taken = self.begin..self.begin + length;
        self.begin = taken.end;
        self.offset += length as u64;
        &self.buffer[taken]
    }

    #[cold]
    fn fill(&mut self, length: usize) -> io::Result<()> {
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        if self.buffer.len() < length {
            self.buffer.resize(length.next_multiple_of(CHUNK), 0);
        }
        while self.end < length && !self.ended {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(more) => self.end += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time and then fails.
    struct Drip(u8);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 9 {
                return Err(ErrorKind::InvalidData.into());
            }
            let piece = [self.0, self.0 + 1, self.0 + 2];
            self.0 += 3;
            buffer[..3].copy_from_slice(&piece);
            Ok(3)
        }
    }

    #[test]
    fn what_came_before_a_failure_is_given() {
        let mut window = Window::new(Box::new(Drip(0)));
        assert_eq!(window.peek(4).expect("six are there"), [0, 1, 2, 3]);
        assert_eq!(window.take(4), [0, 1, 2, 3]);
        assert_eq!(window.peek(5).expect("nine are there"), [4, 5, 6, 7, 8]);
        assert_eq!(window.peek(6).expect_err("the tenth fails").kind(), ErrorKind::InvalidData);
        assert_eq!((window.offset(), window.peek(5).expect("still there").len()), (4, 5));
    }

    #[test]
    fn a_piece_may_be_longer_than_a_chunk_and_the_end_is_no_failure() {
        let bytes: Vec<u8> = (0..CHUNK * 3).map(|n| (n % 251) as u8).collect();
        let mut window = Window::new(Box::new(io::Cursor::new(bytes.clone())));
        window.peek(10).expect("memory does not fail");
        window.take(10);
        assert_eq!(window.peek(2 * CHUNK).expect("memory does not fail"), &bytes[10..10 + 2 * CHUNK]);
        assert_eq!(window.peek(4 * CHUNK).expect("nor here").len(), 3 * CHUNK - 10);
        window.take(3 * CHUNK - 10);
        assert!(window.peek(1).expect("nor at the end").is_empty());
    }
}
