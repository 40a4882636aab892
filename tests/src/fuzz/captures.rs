//! Reads any bytes as a capture file: frames up to the damage, then an error that states where it is.

use std::io::Cursor;
use std::time::Duration;

use flowml_common::table::Shape;
use flowml_user::capture::file::{CaptureFile, Captured, LONGEST, Problem};
use flowml_user::capture::vectors::VecTable;
use flowml_user::session::Timeouts;

use super::flows::SEED;
use super::offline::Run;

/// Largest number of frames of one input. Compressed ones can contain a thousand times their length.
const MOST: usize = 4096;

/// The shortest record of a packet in bytes: a simple packet block of pcapng without packet bytes.
const SHORTEST: usize = 16;

/// The fields of a frame, with a hash of its bytes instead of the bytes.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    time_ns: u64,
    length: u32,
    interface: u32,
    captured: usize,
    sum: u64,
}

impl Summary {
    fn of(captured: &Captured<'_>) -> Self {
        // FNV-1a (draft-eastlake-fnv).
        let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self {
            time_ns: captured.time_ns,
            length: captured.length,
            interface: captured.interface,
            captured: captured.bytes.len(),
            sum: captured.bytes.iter().fold(0xcbf2_9ce4_8422_2325, add),
        }
    }
}

/// The result of reading a file.
enum End {
    File,
    Enough,
    Problem(Problem),
}

pub(super) fn run(bytes: &[u8]) {
    let run = Run::begin(VecTable::new(Shape::for_capacity(64), SEED), Timeouts::default(), Duration::from_secs(1));
    let (frames, end) = read(bytes, Some(run));
    match &end {
        End::File | End::Enough => {}
        End::Problem(problem) => check_problem(problem, bytes),
    }
    let captured: usize = frames.iter().map(|frame| frame.captured).sum();
    let plain = matches!(bytes, [0x0a, 0x0d, ..] | [0xa1 | 0x4d | 0xd4 | 0x34 | 0x1c | 0xab | 0xac, ..]);
    let gzip = matches!(bytes, [0x1f, 0x8b, ..]);
    assert!(!plain || captured + SHORTEST * frames.len() <= bytes.len(), "more frames than bytes");
    // Frames before a cut are the same as in the complete file. zstd is an exception for the number of frames: a block
    // that is found to be damaged at its end is lost, while an uncompressed block that is cut off is returned up to the
    // cut.
    for cut in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let (part, end) = read(&bytes[..cut], None);
        assert!(!(plain || gzip) || part.len() <= frames.len(), "a cut at byte {cut} gives more frames");
        assert!(part.iter().zip(&frames).all(|(part, whole)| part == whole), "a cut at byte {cut}");
        if let End::Problem(problem) = end {
            check_problem(&problem, &bytes[..cut]);
        }
    }
}

fn read(bytes: &[u8], mut run: Option<Run>) -> (Vec<Summary>, End) {
    let mut frames = Vec::new();
    let mut file = match CaptureFile::over(Cursor::new(bytes.to_vec()), "input".to_owned()) {
        Ok(file) => file,
        Err(error) => return (frames, End::Problem(error.problem)),
    };
    let end = loop {
        if frames.len() == MOST {
            break End::Enough;
        }
        match file.next_frame() {
            Ok(Some(captured)) => {
                assert!(captured.bytes.len() <= LONGEST as usize && captured.length <= LONGEST);
                assert!(i64::try_from(captured.time_ns).is_ok());
                frames.push(Summary::of(&captured));
                if let Some(run) = &mut run {
                    run.count(&captured);
                }
            }
            Ok(None) => break End::File,
            Err(error) => break End::Problem(error.problem),
        }
    };
    if let Some(run) = run {
        run.finish();
    }
    (frames, end)
}

/// Checks that the error states a position within the bytes.
fn check_problem(problem: &Problem, bytes: &[u8]) {
    let (text, length) = (problem.to_string(), bytes.len());
    match problem {
        Problem::CutOff { offset, compressed, .. }
        | Problem::Corrupt { offset, compressed, .. }
        | Problem::Read { offset, compressed, .. } => {
            assert!(*compressed || *offset <= length as u64, "{text}, of {length} bytes");
            assert!(text.contains(&offset.to_string()), "{text}");
        }
        // Compressed data may be empty.
        Problem::Empty => assert!(matches!(bytes, [] | [0x1f, 0x8b, ..] | [0x28, 0xb5, ..]), "{text}"),
        Problem::NotACapture | Problem::Variant { .. } | Problem::LinkType { .. } => {}
        Problem::Open(_) | Problem::Directory => panic!("{text}"),
    }
}
