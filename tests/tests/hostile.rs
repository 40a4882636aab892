//! Refuses files that are made to fill memory, to never end or to nest without a limit. The error states the limit.

use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use arrow_array::RecordBatch;
use flowml_tests::agent::binary;
use flowml_tests::captures::gzip;
use flowml_tests::fuzz::read_configuration;
use flowml_tests::proc_status::field;
use flowml_user::capture::file::CaptureFile;
use flowml_user::dataset::rules::Rules;
use flowml_user::dataset::{TableFormat, TableReader, TableWriter};
use flowml_user::learning::TrafficModel;
use flowml_user::learning::batch::TableModel;
use tempfile::TempDir;

/// Length in bytes of the hole that a file is filled with. It takes no room on the disk.
const HOLE: u64 = 1 << 30;

struct Folder(TempDir);

impl Folder {
    fn new() -> Result<Self> {
        Ok(Self(TempDir::with_prefix("flowml-hostile-")?))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.0.path().join(name);
        fs::write(&path, bytes)?;
        Ok(path)
    }

    /// A file that continues with a gigabyte of zeros.
    fn long(&self, name: &str, begin: &str) -> Result<PathBuf> {
        let path = self.file(name, begin)?;
        File::options().write(true).open(&path)?.set_len(HOLE)?;
        Ok(path)
    }
}

fn rows(path: &Path) -> Result<Vec<RecordBatch>> {
    Ok(TableReader::open(path)?.collect::<Result<_, _>>()?)
}

/// Reads a table, which must fail, and returns the error.
fn refusal(path: &Path) -> Result<String> {
    match rows(path) {
        Ok(batches) => Err(anyhow::anyhow!("{} was read: {} batches", path.display(), batches.len())),
        Err(error) => Ok(error.to_string()),
    }
}

fn assert_refused(path: &Path, expected: &str) -> Result<()> {
    let error = refusal(path)?;
    ensure!(error.contains(expected), "{}: expected '{expected}' in '{error}'", path.display());
    Ok(())
}

/// The peak memory of this process in bytes. It includes all tests that run at the same time. Together they take less
/// than a gigabyte if each keeps to its limits.
fn peak() -> Result<u64> {
    Ok(field(std::process::id(), "VmHWM")? * 1024)
}

#[test]
fn a_line_of_a_gigabyte_is_refused_before_it_is_in_memory() -> Result<()> {
    let folder = Folder::new()?;
    let before = peak()?;
    assert_refused(
        &folder.long("row.csv", "a,b\n1,2\n3,")?,
        "line 3: a row of more than the maximum of 1048576 bytes",
    )?;
    assert_refused(&folder.long("quote.csv", "a,b\n1,\"2\n3,4\n")?, "is a closing quote missing?")?;
    assert_refused(&folder.long("header.csv", "a,b")?, "line 1: a row of more than the maximum of 1048576 bytes")?;
    let flow = "{\"type\":\"flow\",\"src_ip\":\"";
    assert_refused(&folder.long("row.jsonl", flow)?, "line 1: expected a line of at most 1048576 bytes")?;
    let zeek = "#separator \\x09\n#fields\tts\n#types\ttime\n";
    assert_refused(&folder.long("conn.log", zeek)?, "line 4: expected a line of at most 1048576 bytes")?;
    let taken = peak()? - before;
    assert!(taken < HOLE, "{taken} bytes");
    Ok(())
}

#[test]
fn columns_of_a_table_and_values_of_a_batch_have_a_limit() -> Result<()> {
    let folder = Folder::new()?;
    let table = |columns: usize, rows: usize| {
        let row = |value: &dyn Fn(usize) -> String| (0..columns).map(value).collect::<Vec<_>>().join(",") + "\n";
        row(&|column| format!("c{column}")) + &row(&|column| column.to_string()).repeat(rows)
    };
    assert_refused(&folder.file("wide.csv", table(100_000, 1))?, "100000 columns: expected at most 16384")?;
    let names: Vec<String> = (0..40_000).map(|name| format!("\"match_{name}\":1")).collect();
    let content = "\"application_name\":null,\"requested_server_name\":null,\"application_detail\":null";
    let wide = format!("{{\"type\":\"flow\",{content},{}}}\n", names.join(","));
    assert_refused(&folder.file("wide.jsonl", wide)?, "columns: expected at most 16384")?;
    let batches = rows(&folder.file("many.csv", table(16_384, 300))?)?;
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [256, 44]);
    Ok(())
}

#[test]
fn deeply_nested_json_is_refused() -> Result<()> {
    let folder = Folder::new()?;
    let deep = format!("{{\"type\":\"flow\",\"a\":{}", "[".repeat(100_000));
    assert_refused(&folder.file("deep.jsonl", &deep)?, "recursion limit exceeded")?;
    let error = TableModel::load(&folder.file("deep.json", &deep)?).expect_err("it is no model").to_string();
    assert!(error.contains("is not a flowml model"), "{error}");
    Ok(())
}

#[test]
fn files_that_are_read_whole_have_a_limit() -> Result<()> {
    let folder = Folder::new()?;
    let before = peak()?;
    let message = |error: &dyn std::error::Error| {
        std::iter::successors(Some(error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    };
    let rules = Rules::read(&folder.long("rules.toml", "")?).expect_err("they are too long");
    assert!(message(&rules).contains("longer than 16777216 bytes"), "{}", message(&rules));
    let model = TableModel::load(&folder.long("model.json", "{")?).expect_err("it is too long");
    assert!(message(&model).contains("longer than 268435456 bytes"), "{}", message(&model));
    let shipped = include_str!("../../flowml-user/models/both.json");
    let (header, _) = shipped.split_once("\"learners\"").context("the shipped model has learners")?;
    let begin = format!("{header}\"learners\":{{}}}}");
    let learners = folder.file("learners.json", format!("{begin}{}", " ".repeat(17 << 20)))?;
    let learners = TrafficModel::read(&learners).err().context("it is too long")?;
    assert!(message(&learners).contains("expected at most 16777216"), "{}", message(&learners));
    let configuration = read_configuration(Path::new("/dev/zero")).expect_err("it has no end");
    assert!(configuration.contains("longer than 1048576 bytes"), "{configuration}");
    assert!(peak()? - before < HOLE, "so much was taken: {}", peak()? - before);
    Ok(())
}

#[test]
fn captures_take_no_more_memory_than_their_window() -> Result<()> {
    let before = peak()?;
    let header = |kind: u32, length: u32| [kind.to_le_bytes(), length.to_le_bytes()].concat();
    let section =
        [header(0x0a0d_0d0a, 28), vec![0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0], vec![0xff; 8], 28u32.to_le_bytes().into()];
    let huge = [section.concat(), header(6, 0xffff_fffc), vec![0; 64]].concat();
    let mut file = CaptureFile::over(Cursor::new(huge), "huge".to_owned())?;
    let error = file.next_frame().expect_err("no block is so long").to_string();
    assert!(error.contains("a block of 4294967292 bytes; expected 12 to 16777216"), "{error}");
    let pcap = [&0xa1b2_c3d4_u32.to_le_bytes()[..], &[2, 0, 4, 0], &[0; 8], &[0xff, 0xff, 0, 0, 1, 0, 0, 0]].concat();
    let length = [0, 0, 0x10, 0];
    let packet = gzip(&[&[&[0; 8], &length[..], &length, &vec![0; 1 << 20]].concat()])?;
    let bomb = [gzip(&[&pcap])?, packet.repeat(1 << 11)].concat();
    let mut file = CaptureFile::over(Cursor::new(bomb), "bomb".to_owned())?;
    let mut frames = 0;
    while let Some(frame) = file.next_frame()? {
        assert_eq!(frame.bytes.len(), 1 << 20);
        frames += 1;
    }
    assert_eq!(frames, 1 << 11);
    let taken = peak()? - before;
    assert!(taken < HOLE, "{taken} bytes");
    Ok(())
}

/// This many MiB of zeros, compressed with gzip.
fn zeroes(mebibytes: usize) -> Result<Vec<u8>> {
    Ok(gzip(&[&vec![0; 1 << 20]])?.repeat(mebibytes))
}

/// Thrift's compact protocol, as far as it is needed to write a Parquet file by hand.
mod thrift {
    pub(super) fn natural(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    /// Encodes a structure from its fields: field number, type, and value.
    pub(super) fn structure(fields: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let (mut bytes, mut last) = (Vec::new(), 0);
        for (number, kind, value) in fields {
            bytes.push((number - last) << 4 | kind);
            bytes.extend(value);
            last = *number;
        }
        bytes.push(0);
        bytes
    }

    pub(super) fn integer(number: u8, value: i64) -> (u8, u8, Vec<u8>) {
        (number, 6, natural((value << 1 ^ value >> 63) as u64))
    }

    /// A field of 32 bits.
    pub(super) fn int(number: u8, value: i32) -> (u8, u8, Vec<u8>) {
        (number, 5, integer(number, value.into()).2)
    }

    pub(super) fn text(number: u8, text: &str) -> (u8, u8, Vec<u8>) {
        (number, 8, [natural(text.len() as u64), text.as_bytes().to_vec()].concat())
    }

    pub(super) fn list(number: u8, kind: u8, elements: &[Vec<u8>]) -> (u8, u8, Vec<u8>) {
        (number, 9, [vec![0xf0 | kind], natural(elements.len() as u64), elements.concat()].concat())
    }
}

/// A Parquet file with one page of whole numbers, whose fields may be wrong.
#[derive(Clone)]
struct Written {
    codec: i32,
    rows: i64,
    begin: i64,
    /// The uncompressed length of the page in bytes, as the file states it.
    length: i32,
    page: Vec<u8>,
    /// Number of columns, all of which refer to the same page.
    columns: usize,
}

impl Written {
    /// A valid file with one row, the number 7.
    fn valid() -> Self {
        Self { codec: 0, rows: 1, begin: 4, length: 8, page: 7i64.to_le_bytes().into(), columns: 1 }
    }

    fn bytes(&self) -> Vec<u8> {
        use thrift::{int, integer, list, structure, text};
        let Self { codec, rows, begin, length, page, columns } = self;
        let values = (5, 12, structure(&[int(1, *rows as i32), int(2, 0), int(3, 3), int(4, 3)]));
        let header = structure(&[int(1, 0), int(2, *length), int(3, page.len() as i32), values]);
        let chunk = [header, page.clone()].concat();
        let name = |column: usize| format!("c{column}");
        let leaf = |column| structure(&[int(1, 2), int(3, 0), text(4, &name(column))]);
        let root = structure(&[text(4, "schema"), int(5, *columns as i32)]);
        let schema: Vec<_> = std::iter::once(root).chain((0..*columns).map(leaf)).collect();
        let column = |column: usize| {
            let path = text(0, &name(column)).2;
            let about = structure(&[
                int(1, 2),
                list(2, 5, &[vec![0]]),
                list(3, 8, &[path]),
                int(4, *codec),
                integer(5, *rows),
                integer(6, i64::from(*length)),
                integer(7, chunk.len() as i64),
                integer(9, *begin),
            ]);
            structure(&[integer(2, 4), (3, 12, about)])
        };
        let all: Vec<_> = (0..*columns).map(column).collect();
        let group = structure(&[list(1, 12, &all), integer(2, 8), integer(3, *rows)]);
        let footer = structure(&[int(1, 1), list(2, 12, &schema), integer(3, *rows), list(4, 12, &[group])]);
        let length = (footer.len() as u32).to_le_bytes();
        [b"PAR1", chunk.as_slice(), &footer, &length, b"PAR1"].concat()
    }
}

#[test]
fn parquet_with_wrong_lengths_is_refused() -> Result<()> {
    let folder = Folder::new()?;
    let valid = Written::valid();
    let file = |written: Written| folder.file("a.parquet", written.bytes());
    assert_eq!(rows(&file(valid.clone())?)?.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    let before = peak()?;
    let bomb = zeroes(1 << 11)?;
    let cases = [
        (Written { length: i32::MAX, codec: 6, ..valid.clone() }, "without compression: expected at most"),
        (
            Written { length: 8, codec: 2, page: bomb, ..valid.clone() },
            "longer than the 8 bytes that its header states",
        ),
        (Written { codec: 5, page: vec![0; 2 << 20], ..valid.clone() }, "longer than the 8 bytes"),
        (Written { rows: 1 << 40, ..valid.clone() }, "1099511627776 rows: expected at most 4294967296"),
        (Written { rows: -1, ..valid.clone() }, ""),
        (Written { begin: -4, ..valid.clone() }, "its offset or length is negative"),
        (Written { columns: 50, page: vec![0; 4000], length: 4000, ..valid.clone() }, "longer than the file"),
        (Written { columns: 0, ..valid.clone() }, ""),
    ];
    for (written, expected) in cases {
        assert_refused(&file(written)?, expected)?;
    }
    let taken = peak()? - before;
    assert!(taken < HOLE, "{taken} bytes");
    let deep = vec![thrift::structure(&[thrift::text(4, "a"), thrift::int(5, 1)]); 100_000];
    let footer = thrift::structure(&[thrift::int(1, 1), thrift::list(2, 12, &deep)]);
    let footer = [b"PAR1", footer.as_slice(), &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat();
    assert_refused(&folder.file("deep.parquet", footer)?, "deeper than 64 levels")?;
    let long = [b"PAR1", &[0; 100][..], &u32::MAX.to_le_bytes(), b"PAR1"].concat();
    assert_refused(&folder.file("long.parquet", long)?, "a footer of 4294967295 bytes: expected at most 67108864")
}

#[test]
fn truncated_and_damaged_parquet_gives_rows_or_an_error() -> Result<()> {
    let folder = Folder::new()?;
    let whole = Written::valid().bytes();
    for at in 0..whole.len() {
        let _ = rows(&folder.file("cut.parquet", &whole[..at])?);
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= change;
            let _ = rows(&folder.file("damaged.parquet", damaged)?);
        }
    }
    Ok(())
}

#[test]
fn a_formula_is_marked_in_csv_and_read_back_unchanged() -> Result<()> {
    let folder = Folder::new()?;
    let text = "=cmd|'/C calc'!A0,host\n\"=HYPERLINK(\"\"http://x\"\")\",'=1\n@SUM(A1),-\n+1,-x\n";
    let batches = rows(&folder.file("a.csv", text)?)?;
    let path = folder.0.path().join("b.csv");
    let mut writer = TableWriter::open(&path, TableFormat::Csv, &batches[0].schema())?;
    batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.finish()?;
    let written = fs::read_to_string(&path)?;
    let expected = "\"'=cmd|'/C calc'!A0\",host\n\"'=HYPERLINK(\"\"http://x\"\")\",'=1\n'@SUM(A1),-\n+1,'-x\n";
    assert_eq!(written, expected);
    assert_eq!(rows(&path)?, batches);
    Ok(())
}

#[test]
fn names_of_files_and_labels_do_not_control_a_terminal() -> Result<()> {
    let folder = Folder::new()?;
    let path = folder.file("\x1b]0;owned\x07\u{202e}.csv", "a,\x1b[2Jb\n1,2\n")?;
    for arguments in [["read"].as_slice(), &["score", "--model"], &["train", "--model", "m.json"]] {
        let output = Command::new(binary()?).args(arguments).arg(&path).current_dir(folder.0.path()).output()?;
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!message.contains(['\x1b', '\x07', '\u{202e}']), "{arguments:?}: {message:?}");
        assert!(arguments.len() != 1 || message.contains("\\u{1b}]0;owned"), "{message:?}");
    }
    Ok(())
}
