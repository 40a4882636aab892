//! A parser for Thrift's compact protocol, to check a Parquet file before the library reads it.
//!
//! The protocol is specified in `doc/specs/thrift-compact-protocol.md` in Thrift's sources.

use std::io::{self, ErrorKind, Read};

/// The wire types of values. A boolean field is encoded in its type.
mod kind {
    pub(super) const STOP: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCTURE: u8 = 12;
}

/// Maximum nesting depth of structures. The structures of Parquet have fewer than ten levels.
const DEEPEST: u8 = 32;

/// A value whose type was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Met {
    kind: u8,
    depth: u8,
}

impl Met {
    /// Whether the value is a boolean and true.
    pub(super) const fn is_set(self) -> bool {
        self.kind == kind::TRUE
    }
}

/// A parser that counts the bytes it has read.
pub(super) struct Thrift<R> {
    source: R,
    taken: u64,
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

impl<R: Read> Thrift<R> {
    pub(super) const fn new(source: R) -> Self {
        Self { source, taken: 0 }
    }

    /// Number of bytes read.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.source.read_exact(&mut byte)?;
        self.taken += 1;
        Ok(byte[0])
    }

    fn natural(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(wrong("a number of more than 64 bits"))
    }

    fn skip_bytes(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
        self.taken += skipped;
        if skipped == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// Parses the structure at the current position. `each` gets the ID of each field, and must read or skip its value.
    pub(super) fn structure(&mut self, each: impl FnMut(&mut Self, i64, Met) -> io::Result<()>) -> io::Result<()> {
        self.fields(Met { kind: kind::STRUCTURE, depth: 0 }, each)
    }

    /// The same for a structure whose type was read.
    pub(super) fn fields(
        &mut self,
        met: Met,
        mut each: impl FnMut(&mut Self, i64, Met) -> io::Result<()>,
    ) -> io::Result<()> {
        let depth = Self::below(met, kind::STRUCTURE)?;
        let mut number = 0;
        loop {
            let head = self.byte()?;
            let kind = head & 0xf;
            if kind == kind::STOP {
                return Ok(());
            }
            number = match head >> 4 {
                0 => self.integer_value()?,
                step => number + i64::from(step),
            };
            each(self, number, Met { kind, depth })?;
        }
    }

    /// Parses the elements of a list whose type was read.
    pub(super) fn elements(
        &mut self,
        met: Met,
        mut each: impl FnMut(&mut Self, Met) -> io::Result<()>,
    ) -> io::Result<()> {
        let depth = Self::below(met, kind::LIST)?;
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.natural()?,
            length => length.into(),
        };
        // A boolean in a list takes one byte.
        let kind = match head & 0xf {
            kind::TRUE | kind::FALSE => kind::BYTE,
            kind => kind,
        };
        (0..length).try_for_each(|_| each(self, Met { kind, depth }))
    }

    /// Reads an integer whose type was read.
    pub(super) fn integer(&mut self, met: Met) -> io::Result<i64> {
        if matches!(met.kind, kind::I16..=kind::I64) {
            self.integer_value()
        } else {
            Err(wrong("expected a whole number"))
        }
    }

    /// Reads an integer into `place`.
    pub(super) fn integer_to(&mut self, met: Met, place: &mut i64) -> io::Result<()> {
        *place = self.integer(met)?;
        Ok(())
    }

    /// An integer in zigzag encoding, in which the signs alternate.
    fn integer_value(&mut self) -> io::Result<i64> {
        let natural = self.natural()?;
        Ok((natural >> 1) as i64 ^ -((natural & 1) as i64))
    }

    /// Skips a value whose type was read.
    pub(super) fn skip(&mut self, met: Met) -> io::Result<()> {
        match met.kind {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.skip_bytes(1),
            kind::I16..=kind::I64 => self.natural().map(drop),
            kind::DOUBLE => self.skip_bytes(8),
            kind::BINARY => {
                let length = self.natural()?;
                self.skip_bytes(length)
            }
            kind::LIST | kind::SET => self.elements(Met { kind: kind::LIST, ..met }, Self::skip),
            kind::STRUCTURE => self.fields(met, |thrift, _, met| thrift.skip(met)),
            kind::MAP => Err(wrong("a map, which Parquet does not use")),
            _ => Err(wrong("a value of unknown type")),
        }
    }

    fn below(met: Met, expected: u8) -> io::Result<u8> {
        match met {
            Met { kind, depth } if kind == expected && depth < DEEPEST => Ok(depth + 1),
            Met { kind, .. } if kind == expected => Err(wrong("values that are nested too deep")),
            _ => Err(wrong("a value of an unexpected type")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_is_read_and_other_fields_are_skipped() {
        // 1: −3, 2: true, 4: "ab", 5: [7, 8], 6: { 1: 1 }, 7: 300.
        let bytes = [0x15, 5, 0x11, 0x28, 2, b'a', b'b', 0x19, 0x25, 14, 16, 0x1c, 0x15, 2, 0, 0x15, 0xd8, 4, 0, 99];
        let (mut numbers, mut list, mut flags) = (Vec::new(), Vec::new(), 0);
        let mut thrift = Thrift::new(&bytes[..]);
        let read = thrift.structure(|thrift, number, met| {
            match number {
                1 | 7 => numbers.push(thrift.integer(met)?),
                2 => flags += u32::from(met.is_set()),
                5 => thrift.elements(met, |thrift, met| {
                    list.push(thrift.integer(met)?);
                    Ok(())
                })?,
                _ => thrift.skip(met)?,
            }
            Ok(())
        });
        read.expect("it is one");
        assert_eq!((numbers, list, flags, thrift.taken()), (vec![-3, 300], vec![7, 8], 1, 19));
    }

    #[test]
    fn endless_and_truncated_input_is_an_error() {
        let skipped = |bytes: &[u8]| Thrift::new(bytes).structure(|thrift, _, met| thrift.skip(met));
        assert!(skipped(&[0x1c; 1000]).expect_err("a thousand deep").to_string().contains("too deep"));
        assert!(skipped(&[0x19; 1000]).expect_err("lists too").to_string().contains("too deep"));
        let cases: [&[u8]; 6] =
            [&[], &[0x15], &[0x15, 0x80], &[0x18, 0xff, 0xff, 0xff, 0xff, 1, 0], &[0x15, 0xff], &[0x1b, 0, 0]];
        assert!(cases.into_iter().all(|bytes| skipped(bytes).is_err()));
        assert!(skipped(&[[0x15].as_slice(), &[0xff; 20]].concat()).is_err(), "a number without an end");
    }
}
