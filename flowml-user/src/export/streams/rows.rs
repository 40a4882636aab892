//! Encoded rows that are sent together.

/// Encoded rows with their sequence numbers, one after the other in memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    /// The end of each row in `bytes`, and its sequence number.
    ends: Vec<(usize, u64)>,
}

impl Rows {
    /// Adds the row that `write` appends.
    pub(super) fn push(&mut self, sequence: u64, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push((self.bytes.len(), sequence));
    }

    /// The rows with their sequence numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, sequence))| (*sequence, &self.bytes[start..*end]))
    }

    /// The number of rows.
    pub(super) fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The size of all rows, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// All rows as one text of bytes.
    pub(super) fn joined(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}
