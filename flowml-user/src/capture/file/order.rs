//! The order of several captures: that of the times of their first packets, as rotated files have it whatever their names are.

use std::fs;
use std::path::{Path, PathBuf};

use super::CaptureFile;

/// The files in the order of the times of their first packets. What cannot be looked into beforehand keeps its place:
/// standard input, pipes, files without a packet, and what is no capture.
#[must_use]
pub fn in_order_of_time(paths: &[PathBuf]) -> Vec<PathBuf> {
    if paths.len() < 2 {
        return paths.to_vec();
    }
    let times: Vec<_> = paths.iter().map(|path| first_ns(path)).collect();
    let mut order: Vec<_> = times.iter().zip(paths).filter_map(|(time_ns, path)| Some(((*time_ns)?, path))).collect();
    order.sort_by_key(|(time_ns, _)| *time_ns);
    let mut ordered = order.into_iter().map(|(_, path)| path);
    let placed = times.iter().zip(paths).map(|(time_ns, path)| time_ns.and_then(|_| ordered.next()).unwrap_or(path));
    placed.cloned().collect()
}

/// When the first packet was seen; 0 is no time.
fn first_ns(path: &Path) -> Option<u64> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = CaptureFile::open(path).ok()?;
    let first = file.next_frame().ok()??;
    Some(first.time_ns).filter(|time_ns| *time_ns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture of one packet.
    fn capture(second: u32) -> Vec<u8> {
        let header = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65535, 101];
        header.into_iter().chain([second, 0, 1, 1]).flat_map(u32::to_le_bytes).chain([0x45]).collect()
    }

    #[test]
    fn what_has_no_time_keeps_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("the folder is ours");
            path
        };
        let [late, early, middle] = [30, 10, 20].map(|second| write(&second.to_string(), &capture(second)));
        let no_packets = write("empty", &capture(5)[..24]);
        let missing = folder.path().join("missing");
        let no_capture = write("table.csv", b"a,b\n");
        let input = PathBuf::from("-");
        let named = [&late, &input, &early, &no_packets, &missing, &no_capture, &middle].map(Clone::clone);
        let ordered = [early, input, middle, no_packets, missing, no_capture, late];
        assert_eq!(in_order_of_time(&named), ordered);
    }
}
