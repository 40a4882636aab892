//! A window that moves over a stream: requested bytes are contiguous in memory, with little read ahead.

use std::io::{self, ErrorKind, Read};

/// Size of one read, in bytes.
const CHUNK: usize = 256 * 1024;

/// The part of a stream that is in memory.
pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Position of `begin` in the stream, in bytes.
    offset: u64,
    ended: bool,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: vec![0; CHUNK], begin: 0, end: 0, offset: 0, ended: false }
    }

    /// Position of the window's start in the stream, in bytes.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether all bytes that were read have been taken.
    pub(super) const fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// The next `length` bytes, or fewer if the stream ends before. The caller bounds `length`, and thereby the memory.
    ///
    /// # Errors
    /// If the stream fails before it has delivered `length` bytes. The bytes before the failure stay in the window and
    /// can be requested again.
    pub(super) fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        if self.end - self.begin < length {
            self.fill(length)?;
        }
        Ok(&self.buffer[self.begin..self.end.min(self.begin + length)])
    }

    /// Moves on by `length` bytes and returns them. They must have been requested by [`peek`](Self::peek) before.
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

    /// Delivers three bytes at a time, then fails.
    struct Drip(u8);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 9 {
                return Err(ErrorKind::InvalidData.into());
            }
            let chunk = [self.0, self.0 + 1, self.0 + 2];
            self.0 += 3;
            buffer[..3].copy_from_slice(&chunk);
            Ok(3)
        }
    }

    #[test]
    fn bytes_before_a_failure_are_returned() {
        let mut window = Window::new(Box::new(Drip(0)));
        assert_eq!(window.peek(4).expect("six are there"), [0, 1, 2, 3]);
        assert_eq!(window.take(4), [0, 1, 2, 3]);
        assert_eq!(window.peek(5).expect("nine are there"), [4, 5, 6, 7, 8]);
        assert_eq!(window.peek(6).expect_err("the tenth fails").kind(), ErrorKind::InvalidData);
        assert_eq!((window.offset(), window.peek(5).expect("still there").len()), (4, 5));
    }

    #[test]
    fn a_request_may_be_longer_than_a_read_and_the_end_is_not_a_failure() {
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
