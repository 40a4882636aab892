//! A reader for the fields of a message. Its methods return `None` if the bytes end within the field.

/// The remaining bytes of a message.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A big-endian number of `BYTES` bytes.
    fn number<const BYTES: usize>(&mut self) -> Option<u32> {
        Some(self.take(BYTES)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.number::<1>().map(|number| number as u8)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.number::<2>().map(|number| number as u16)
    }

    pub(super) fn u24(&mut self) -> Option<u32> {
        self.number::<3>()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.number::<4>()
    }

    /// The bytes that follow a length of one byte.
    pub(super) fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// The bytes that follow a length of two bytes.
    pub(super) fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A reader for the next `count` bytes, or for fewer if the message ends before.
    pub(super) fn up_to(&mut self, count: usize) -> Self {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        Self(taken)
    }
}
