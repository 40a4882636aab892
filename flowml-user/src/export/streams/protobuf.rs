//! Writes fields of Protocol Buffers (protobuf.dev, "Encoding"), and reads those of an answer.

/// Appends a number in as few bytes as it needs.
fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The types of fields.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

fn key(bytes: &mut Vec<u8>, field: u64, kind: u64) {
    varint(bytes, field << 3 | kind);
}

/// Appends an integer, a flag or an enum.
pub(super) fn integer(bytes: &mut Vec<u8>, field: u64, number: u64) {
    key(bytes, field, VARINT);
    varint(bytes, number);
}

/// Appends a `fixed64`.
pub(super) fn fixed(bytes: &mut Vec<u8>, field: u64, number: u64) {
    key(bytes, field, FIXED64);
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// Appends a `double`.
pub(super) fn double(bytes: &mut Vec<u8>, field: u64, number: f64) {
    fixed(bytes, field, number.to_bits());
}

/// Appends a text, bytes or an encoded message.
pub(super) fn content(bytes: &mut Vec<u8>, field: u64, content: &[u8]) {
    key(bytes, field, LENGTH);
    varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

/// Appends the message that `write` appends.
pub(super) fn message(bytes: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
    key(bytes, field, LENGTH);
    let start = bytes.len();
    write(bytes);
    // The length is before the message, and is known only now. It has at most ten bytes.
    let mut length = Vec::with_capacity(10);
    varint(&mut length, (bytes.len() - start) as u64);
    bytes.splice(start..start, length);
}

/// A value of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Integer(u64),
    Content(&'a [u8]),
    /// A value that is not needed.
    Other,
}

/// The fields of a message with their numbers. Ends before a field that is not valid.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Field<'_>)> {
    std::iter::from_fn(move || {
        let key = read_varint(&mut bytes)?;
        let value = match key & 7 {
            VARINT => Field::Integer(read_varint(&mut bytes)?),
            FIXED64 => take(&mut bytes, 8).map(|_| Field::Other)?,
            FIXED32 => take(&mut bytes, 4).map(|_| Field::Other)?,
            LENGTH => {
                let length = usize::try_from(read_varint(&mut bytes)?).ok()?;
                Field::Content(take(&mut bytes, length)?)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_those_of_the_specification() {
        let mut bytes = Vec::new();
        integer(&mut bytes, 1, 150);
        content(&mut bytes, 2, b"testing");
        message(&mut bytes, 3, |bytes| integer(bytes, 1, 150));
        // The examples of the specification.
        let expected = [&[0x08, 0x96, 0x01][..], &[0x12, 0x07], b"testing", &[0x1a, 0x03, 0x08, 0x96, 0x01]].concat();
        assert_eq!(bytes, expected);
        fixed(&mut bytes, 4, 1);
        double(&mut bytes, 5, 1.0);
        let read: Vec<(u64, Field<'_>)> = fields(&bytes).collect();
        let inner = [0x08, 0x96, 0x01];
        let values =
            [Field::Integer(150), Field::Content(b"testing"), Field::Content(&inner), Field::Other, Field::Other];
        assert_eq!(read, (1..).zip(values).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_number_and_any_content_are_read_again(number: u64, text: Vec<u8>) {
            let mut bytes = Vec::new();
            integer(&mut bytes, 7, number);
            message(&mut bytes, 300, |bytes| bytes.extend_from_slice(&text));
            let read: Vec<(u64, Field<'_>)> = fields(&bytes).collect();
            prop_assert_eq!(read, vec![(7, Field::Integer(number)), (300, Field::Content(&text))]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }
    }
}
