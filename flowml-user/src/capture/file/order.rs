//! Sorts capture files by the times of their packets, whatever names rotated files have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{CaptureFile, FileError};

/// Number of packets at the start of a file in which the first packet of each interface is searched.
const LOOKED_AT: usize = 1000;

/// Time of the first packet of each interface, in ns, by the number of the interface.
type FirstTimes = BTreeMap<u32, u64>;

/// The files in the order of the times of their first packets. Only times of the same interface are compared, because
/// interfaces may have different clocks. Inputs that cannot be examined beforehand keep their position: standard input,
/// pipes, files without a packet, and files that are not captures.
#[must_use]
pub fn in_order_of_time(paths: &[PathBuf]) -> Vec<PathBuf> {
    if paths.len() < 2 {
        return paths.to_vec();
    }
    let times: Vec<_> = paths.iter().map(|path| first_times(path)).collect();
    let mut ordered = order(&times).into_iter();
    let placed = (0..paths.len()).map(|at| if times[at].is_empty() { at } else { ordered.next().unwrap_or(at) });
    placed.map(|at| paths[at].clone()).collect()
}

/// The indices of the files with packets: each file comes after those that are earlier on one of its interfaces. If no
/// interface determines which of two files is earlier, or if interfaces contradict each other, the files keep the given
/// order.
fn order(times: &[FirstTimes]) -> Vec<usize> {
    let mut of_interfaces: BTreeMap<u32, Vec<(u64, usize)>> = BTreeMap::new();
    for (file, times) in times.iter().enumerate() {
        for (interface, time_ns) in times {
            of_interfaces.entry(*interface).or_default().push((*time_ns, file));
        }
    }
    let mut followers = vec![Vec::new(); times.len()];
    let mut earlier = vec![0; times.len()];
    for files in of_interfaces.values_mut() {
        files.sort_unstable();
        for pair in files.windows(2) {
            let [(_, before), (_, behind)] = [pair[0], pair[1]];
            followers[before].push(behind);
            earlier[behind] += 1;
        }
    }
    let mut left: BTreeSet<usize> = (0..times.len()).filter(|file| !times[*file].is_empty()).collect();
    let mut ready: BTreeSet<usize> = left.iter().copied().filter(|file| earlier[*file] == 0).collect();
    let mut ordered = Vec::new();
    // If each of the remaining files is later than another one, their interfaces contradict each other.
    while let Some(file) = ready.pop_first().or_else(|| left.first().copied()) {
        left.remove(&file);
        ordered.push(file);
        for behind in &followers[file] {
            earlier[*behind] -= 1;
            if earlier[*behind] == 0 && left.contains(behind) {
                ready.insert(*behind);
            }
        }
    }
    ordered
}

/// Times of the first packets at the start of a file, by interface. A time of 0 is ignored.
fn first_times(path: &Path) -> FirstTimes {
    let mut times = FirstTimes::new();
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        // An error in the file is reported when the file is read.
        let _ = look_at(path, &mut times);
    }
    times
}

/// Reads packets until one of each interface was found.
fn look_at(path: &Path, times: &mut FirstTimes) -> Result<(), FileError> {
    let mut file = CaptureFile::open(path)?;
    for _ in 0..LOOKED_AT {
        let Some(captured) = file.next_frame()? else { break };
        let (interface, time_ns) = (captured.interface, captured.time_ns);
        if time_ns > 0 {
            times.entry(interface).or_insert(time_ns);
        }
        if times.len() >= file.interfaces() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A capture of one packet.
    fn capture(second: u32) -> Vec<u8> {
        let header = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65535, 101];
        header.into_iter().chain([second, 0, 1, 1]).flat_map(u32::to_le_bytes).chain([0x45]).collect()
    }

    #[test]
    fn inputs_without_a_time_keep_their_position() {
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

    fn times<const N: usize>(times: [&[(u32, u64)]; N]) -> Vec<FirstTimes> {
        times.map(|times| times.iter().copied().collect()).to_vec()
    }

    #[test]
    fn times_of_different_clocks_are_not_compared() {
        let cases: [(Vec<FirstTimes>, &[usize]); 6] = [
            // Interface 2 is one minute slow, and the second file starts with it.
            (times([&[(1, 100), (2, 41)], &[(2, 42), (1, 103)], &[(1, 106), (2, 45)]]), &[0, 1, 2]),
            (times([&[(2, 45), (1, 106)], &[(1, 100), (2, 41)], &[(2, 42), (1, 103)]]), &[1, 2, 0]),
            // One interface determines the order, and another has packets in only some of the files.
            (times([&[(1, 106)], &[(1, 103), (2, 42)], &[(2, 41)]]), &[2, 1, 0]),
            // No interface determines the order.
            (times([&[(3, 9)], &[(2, 5)], &[(1, 1)]]), &[0, 1, 2]),
            // Interfaces contradict each other; the last file is the earliest on both.
            (times([&[(1, 5), (2, 8)], &[(1, 7), (2, 6)], &[(1, 1), (2, 2)]]), &[2, 0, 1]),
            (times([&[(1, 5)], &[(1, 5)], &[], &[(1, 5)]]), &[0, 1, 3]),
        ];
        for (files, expected) in cases {
            assert_eq!(order(&files), expected, "{files:?}");
        }
    }

    proptest! {
        /// A capture whose interfaces have different clocks, cut at arbitrary positions, with its files in any order.
        #[test]
        fn rotated_files_are_in_order_on_every_interface(
            packets in prop::collection::vec(0..3u32, 1..60),
            clocks in prop::array::uniform3(1_000_000..2_000_000u64),
            cuts in prop::collection::vec(1..8usize, 60),
            seed: u64,
        ) {
            let mut files = Vec::new();
            let mut seen = (0u64..).zip(&packets).map(|(n, interface)| (*interface, clocks[*interface as usize] + n));
            for length in cuts {
                let mut times = FirstTimes::new();
                for (interface, time_ns) in seen.by_ref().take(length) {
                    times.entry(interface).or_insert(time_ns);
                }
                files.push(times);
            }
            files.sort_by_key(|times| times.values().fold(seed, |hash, time| (hash ^ time).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let ordered = order(&files);
            let mut all = ordered.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..files.len()).filter(|file| !files[*file].is_empty()).collect::<Vec<_>>());
            for interface in 0..3 {
                prop_assert!(ordered.iter().filter_map(|file| files[*file].get(&interface)).is_sorted());
            }
        }
    }
}
