//! A hash that distinguishes tables of columns.

/// FNV-1a (64 bit) over texts, each followed by a zero byte. It distinguishes tables of columns and gives no protection
/// against deliberate changes.
pub(crate) fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{fnv:016x}")
}
