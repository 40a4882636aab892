//! Decompression that gives all that stands before a damage, and then the error.
//!
//! The readers of the libraries keep to themselves what they had in hand when they met an error. Here a step says how much
//! it gave, whether or not it failed.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// What a decompressor did with the bytes that it was given.
pub(super) struct Step {
    taken: usize,
    given: usize,
    /// Behind what it gave.
    error: Option<io::Error>,
}

/// A format of compression: members of a file, one behind the other.
pub(super) trait Decompressor {
    /// Gives what it has to `output`, and takes of `input` for it where that is needed.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step;

    /// Whether all that was taken is whole members.
    fn is_complete(&self) -> bool;
}

/// The bytes of a compressed stream.
pub(super) struct Decompressed<S, D> {
    source: S,
    decompressor: D,
    /// Behind what was given last.
    error: Option<io::Error>,
}

impl<S, D> Decompressed<S, D> {
    pub(super) const fn new(source: S, decompressor: D) -> Self {
        Self { source, decompressor, error: None }
    }
}

impl<S: BufRead, D: Decompressor> Read for Decompressed<S, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        // What is there is given before the source is asked for more, which may be long in coming.
        let mut step = self.decompressor.step(&[], buffer);
        loop {
            match step {
                Step { given: 0, error: Some(error), .. } => return Err(error),
                Step { given: 0, error: None, .. } => {}
                Step { given, error, .. } => {
                    self.error = error;
                    return Ok(given);
                }
            }
            let input = self.source.fill_buf()?;
            if input.is_empty() {
                return if self.decompressor.is_complete() { Ok(0) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            step = self.decompressor.step(input, buffer);
            self.source.consume(step.taken);
        }
    }
}

/// gzip (RFC 1952).
pub(super) struct Gzip {
    member: Decompress,
    complete: bool,
}

/// The binary logarithm of the longest distance that a reference of deflate can have (RFC 1951 §2).
const WINDOW_BITS: u8 = 15;

impl Gzip {
    /// Expects at least one member.
    pub(super) fn new() -> Self {
        Self { member: Decompress::new_gzip(WINDOW_BITS), complete: false }
    }
}

impl Decompressor for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        if self.complete && !input.is_empty() {
            *self = Self::new();
        }
        let (taken, given) = (self.member.total_in(), self.member.total_out());
        let result = self.member.decompress(input, output, FlushDecompress::None);
        self.complete = self.complete || matches!(result, Ok(Status::StreamEnd));
        Step {
            taken: (self.member.total_in() - taken) as usize,
            given: (self.member.total_out() - given) as usize,
            error: result.err().map(|error| io::Error::new(ErrorKind::InvalidData, error)),
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}

/// Zstandard (RFC 8878).
///
/// The library does not say what it gave before an error in the same call. So it is asked to decode without room to give
/// anything, which ends with the first block that has bytes, and then to give those without anything to decode. What is
/// lost is the block that the damage is in, at most 128 KiB: it is known to be right at its end.
pub(super) struct Zstandard {
    decoder: Decoder<'static>,
    /// Whether there may be decoded bytes to give.
    holds: bool,
    complete: bool,
}

impl Zstandard {
    /// Expects at least one frame.
    ///
    /// # Errors
    /// Without memory for it.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { decoder: Decoder::new()?, holds: false, complete: false })
    }

    fn take(&mut self, input: &[u8]) -> io::Result<usize> {
        let mut input = InBuffer::around(input);
        // The end of a frame is seen here alone: as long as not all of it is given its last byte stays in the input.
        let expected = self.decoder.run(&mut input, &mut OutBuffer::around(&mut [][..]))?;
        self.complete = expected == 0;
        self.holds = true;
        Ok(input.pos())
    }

    fn give(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if !self.holds {
            return Ok(0);
        }
        let room = output.len();
        let mut output = OutBuffer::around(output);
        self.decoder.run(&mut InBuffer::around(&[]), &mut output)?;
        self.holds = output.pos() == room;
        Ok(output.pos())
    }

    fn run(&mut self, input: &[u8], output: &mut [u8], step: &mut Step) -> io::Result<()> {
        step.given = self.give(output)?;
        if step.given == 0 && !input.is_empty() {
            step.taken = self.take(input)?;
            step.given = self.give(output)?;
        }
        Ok(())
    }
}

impl Decompressor for Zstandard {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step {
        let mut step = Step { taken: 0, given: 0, error: None };
        step.error = self.run(input, output, &mut step).err();
        step
    }

    fn is_complete(&self) -> bool {
        self.complete
    }
}
