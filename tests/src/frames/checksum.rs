//! The checksums of headers.

/// The checksum of RFC 1071. All slices but the last have an even length.
pub fn internet_checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|bytes| bytes.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u64::from(low))).sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}

/// The checksum of SCTP (RFC 9260, appendix A).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const REFLECTED_POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { REFLECTED_POLYNOMIAL } else { 0 })
    })
}
