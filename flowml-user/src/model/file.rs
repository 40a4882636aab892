//! How model files are written: JSON of which people can read the first part.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::process::replace::replace;

/// An object in lines, with a last member in one line: what was learnt is numbers that nobody reads.
pub(super) fn lines_and(header: &impl Serialize, last: &str, value: &impl Serialize) -> serde_json::Result<String> {
    let header = serde_json::to_string_pretty(header)?;
    let header = header.strip_suffix("\n}").expect("an object in lines ends so");
    Ok(format!("{header},\n  \"{last}\": {}\n}}", serde_json::to_string(value)?))
}

/// Writes a file by way of a neighbour that is then renamed: a reader sees the old file or the new one, after a power
/// loss too. What cannot be written whole is removed.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    fs::write(partial, text).and_then(|()| replace(partial, path)).inspect_err(|_| {
        // The error that is reported is why it was not written.
        let _ = fs::remove_file(partial);
    })
}

/// FNV-1a (64 bit) over texts, each ended by a zero byte: tells tables of columns apart at a glance, and is no protection
/// against someone who edits the file.
pub(super) fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{fnv:016x}")
}
