//! Decompression that delivers all bytes before damage, and then the error.
//!
//! The readers of the libraries discard the decoded bytes that they hold when they meet an error. Here each step
//! returns how many bytes it delivered, whether it failed or not.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// The result of one call of a decompressor.
pub(super) struct Step {
    taken: usize,
    given: usize,
    /// An error that occurred after the delivered bytes.
    error: Option<io::Error>,
}

/// A compression format: a file of consecutive members.
pub(super) trait Decompressor {
    /// Writes decoded bytes to `output`, and takes bytes of `input` if it needs them.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Step;

    /// Whether the input so far consists of complete members.
    fn is_complete(&self) -> bool;
}

/// The bytes of a compressed stream.
pub(super) struct Decompressed<S, D> {
    source: S,
    decompressor: D,
    /// An error that occurred after the bytes delivered last.
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
        // Decoded bytes are delivered before the source is asked for more, which may take long.
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

/// Binary logarithm of the longest distance of a deflate reference, in bytes (RFC 1951 §2).
const WINDOW_BITS: u8 = 15;

impl Gzip {
    /// A decoder that expects at least one member.
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
/// The library does not return how many bytes it delivered before an error in the same call. Therefore each step has
/// two calls. The first decodes without an output buffer, and stops at the first block with bytes. The second delivers
/// these bytes without input. Damage destroys only its block, at most 128 KiB, because a block is verified only at its
/// end.
pub(super) struct Zstandard {
    decoder: Decoder<'static>,
    /// Whether the decoder may hold decoded bytes.
    holds: bool,
    complete: bool,
}

impl Zstandard {
    /// A decoder that expects at least one frame.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { decoder: Decoder::new()?, holds: false, complete: false })
    }

    fn take(&mut self, input: &[u8]) -> io::Result<usize> {
        let mut input = InBuffer::around(input);
        // Only this call detects the end of a frame: the last byte stays in the input until everything is delivered.
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
