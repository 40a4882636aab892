//! Checks a Parquet file before it is read, so that no file needs more memory than the limits below.
//!
//! The Parquet library itself has no such limits. It recurses to any depth of a schema, allocates what a page header
//! states, decompresses gzip and LZ4 to any size, and copies a dictionary text as often as a batch refers to it.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Type};
use parquet::column::page::{Page, PageReader as _};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::limits::{MOST_COLUMNS, batch_rows};
use super::thrift::{Met, Thrift};

/// Maximum length of the footer, bytes.
const LONGEST_FOOTER: u64 = 64 << 20;

/// Maximum nesting depth of columns.
const DEEPEST: usize = 64;

/// Maximum number of schema elements: columns and their groups.
const MOST_ELEMENTS: usize = 4 * MOST_COLUMNS;

/// Maximum number of rows. Rows without values may take no space in a file.
const MOST_ROWS: i64 = 1 << 32;

/// Maximum length of a decompressed page, bytes. Typical pages have one megabyte, those of some tools up to a hundred.
const LONGEST_PAGE: u64 = 256 << 20;

/// Maximum total of the largest page and the dictionary of every column of a row group, bytes. They are in memory at
/// the same time.
const MOST_IN_PAGES: u64 = 2 << 30;

/// Maximum number of list values in a column of a row group, as a single row may have all of them.
const MOST_IN_LISTS: i64 = 1 << 26;

/// Maximum amount of text in a batch, bytes.
const MOST_TEXT: u64 = 1 << 30;

/// Maximum compression ratio of LZ4.
const LZ4_RATIO: u64 = 255;

/// A result; the error states why the file is not read.
type Outcome<T> = Result<T, String>;

fn cannot(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "it is not a complete Parquet file".to_owned(),
        _ => error.to_string(),
    }
}

/// Checks that the footer can be parsed.
pub(super) fn check_footer(file: &File) -> Outcome<()> {
    // Length of the fields after the footer: its length and the magic bytes.
    const BEHIND: u64 = 8;
    let length = file.metadata().map_err(|error| cannot(&error))?.len();
    let mut end = [0; BEHIND as usize];
    let at = length.checked_sub(BEHIND).ok_or("it is not a complete Parquet file")?;
    file.read_exact_at(&mut end, at).map_err(|error| cannot(&error))?;
    let [a, b, c, d, ..] = end;
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer > LONGEST_FOOTER {
        return Err(format!("a footer of {footer} bytes: expected at most {LONGEST_FOOTER}"));
    }
    let begin = at.checked_sub(footer).ok_or("it is not a complete Parquet file")?;
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(begin)).map_err(|error| cannot(&error))?;
    let mut schema = Schema::default();
    Thrift::new(reader.take(footer))
        .structure(|thrift, number, met| match number {
            2 => {
                schema = Schema::default();
                thrift.elements(met, |thrift, met| schema.add(thrift, met))
            }
            _ => thrift.skip(met),
        })
        .map_err(|error| cannot(&error))
}

/// The state of reading a schema, a list of elements in depth-first order with the number of children of each.
#[derive(Default)]
struct Schema {
    elements: usize,
    /// For each enclosing element the number of remaining children.
    open: Vec<i64>,
}

impl Schema {
    fn add<R: Read>(&mut self, thrift: &mut Thrift<R>, met: Met) -> io::Result<()> {
        let mut children = 0;
        thrift.fields(met, |thrift, number, met| match number {
            5 => thrift.integer_to(met, &mut children),
            _ => thrift.skip(met),
        })?;
        self.elements += 1;
        while self.open.last().is_some_and(|to_come| *to_come <= 0) {
            self.open.pop();
        }
        if let Some(to_come) = self.open.last_mut() {
            *to_come -= 1;
        }
        self.open.push(children);
        if self.elements <= MOST_ELEMENTS && self.open.len() <= DEEPEST {
            return Ok(());
        }
        let message = format!("a schema of more than {MOST_ELEMENTS} elements, or nested deeper than {DEEPEST} levels");
        Err(io::Error::new(ErrorKind::InvalidData, message))
    }
}

/// Checks all pages of a file. Returns the number of rows that can be read at once.
pub(super) fn check_pages(file: &File, metadata: &ParquetMetaData) -> Outcome<usize> {
    let length = file.metadata().map_err(|error| cannot(&error))?.len();
    let columns = metadata.file_metadata().schema_descr().num_columns();
    let rows = metadata.file_metadata().num_rows();
    if columns == 0 {
        return Err("it has no columns".to_owned());
    }
    if !(0..=MOST_ROWS).contains(&rows) {
        return Err(format!("{rows} rows: expected at most {MOST_ROWS}"));
    }
    let file = Arc::new(file.try_clone().map_err(|error| cannot(&error))?);
    let (mut left, mut longest_row) = (length, 0);
    for group in metadata.row_groups() {
        longest_row = longest_row.max(check_group(&file, group, &mut left)?);
    }
    let most = (MOST_TEXT / longest_row.max(1)).max(1);
    Ok(batch_rows(columns).min(usize::try_from(most).unwrap_or(usize::MAX)))
}

/// Checks the pages of a row group. Its columns share the remaining bytes of the file, `left`. Returns the maximum text
/// of a row, bytes.
fn check_group(file: &Arc<File>, group: &RowGroupMetaData, left: &mut u64) -> Outcome<u64> {
    let (mut in_pages, mut longest_row) = (0, 0);
    for column in group.columns() {
        let name = column.column_path().string();
        let named = |wrong: String| format!("column '{name}': {wrong}");
        let seen = Chunk::check(file, column, left).map_err(named)?;
        in_pages += seen.longest_page + seen.dictionary;
        let text = seen.longest_text(file, column).map_err(named)?;
        let is_list = column.column_descr().max_rep_level() > 0;
        if is_list && (seen.values > MOST_IN_LISTS || text.saturating_mul(seen.values.unsigned_abs()) > MOST_TEXT) {
            return Err(named(format!(
                "{} values in lists: expected at most {MOST_IN_LISTS}, and {MOST_TEXT} bytes of text",
                seen.values
            )));
        }
        longest_row += text;
    }
    if in_pages > MOST_IN_PAGES {
        return Err(format!("pages of {in_pages} bytes in a row group: expected at most {MOST_IN_PAGES}"));
    }
    Ok(longest_row)
}

/// The sizes of the pages in a column chunk.
#[derive(Default)]
struct Chunk {
    longest_page: u64,
    /// Length of the dictionary, bytes.
    dictionary: u64,
    values: i64,
    /// The longest delta-encoded page, bytes: its texts share prefixes with earlier texts.
    longest_delta: u64,
}

impl Chunk {
    fn check(file: &File, column: &ColumnChunkMetaData, left: &mut u64) -> Outcome<Self> {
        let begin = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let (begin, length) = (u64::try_from(begin), u64::try_from(column.compressed_size()));
        let (Ok(begin), Ok(length)) = (begin, length) else {
            return Err("its offset or length is negative".to_owned());
        };
        *left = left.checked_sub(length).ok_or("the columns are longer than the file")?;
        let (mut at, end) = (begin, begin.saturating_add(length));
        let mut chunk = Self::default();
        while at < end {
            at = chunk.page(file, at, end, column.compression())?;
        }
        Ok(chunk)
    }

    /// Checks the page at offset `at`. Returns the offset of the next page.
    fn page(&mut self, file: &File, at: u64, end: u64, codec: Compression) -> Outcome<u64> {
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(at)).map_err(|error| cannot(&error))?;
        let mut thrift = Thrift::new(reader.take(end - at));
        let header = Header::read(&mut thrift).map_err(|error| cannot(&error))?;
        let begin = at + thrift.taken();
        let (Ok(compressed), Ok(length)) = (u64::try_from(header.compressed), u64::try_from(header.length)) else {
            return Err("a page of negative length".to_owned());
        };
        if compressed > end - begin || length > LONGEST_PAGE {
            return Err(format!(
                "a page of {compressed} bytes and {length} without compression: expected at most {} and {LONGEST_PAGE}",
                end - begin
            ));
        }
        if header.is_compressed && header.levels <= length {
            check_length(file, codec, begin + header.levels..begin + compressed, length - header.levels)?;
        }
        match header.kind {
            Header::DICTIONARY => self.dictionary = self.dictionary.max(length),
            _ => self.longest_page = self.longest_page.max(length),
        }
        if header.encoding == Header::DELTA_BYTE_ARRAY {
            self.longest_delta = self.longest_delta.max(length);
        }
        self.values = self.values.saturating_add(header.values.max(0));
        Ok(begin + compressed)
    }

    /// The maximum length of a text that can be repeated in the column, bytes.
    fn longest_text(&self, file: &Arc<File>, column: &ColumnChunkMetaData) -> Outcome<u64> {
        match column.column_type() {
            Type::FIXED_LEN_BYTE_ARRAY => Ok(column.column_descr().type_length().unsigned_abs().into()),
            Type::BYTE_ARRAY if self.dictionary > 0 => {
                let failed = |error: ParquetError| error.to_string();
                let pages = SerializedPageReader::new(Arc::clone(file), column, usize::MAX, None);
                let first = pages.and_then(|mut pages| pages.get_next_page()).map_err(failed)?;
                let longest = match first {
                    Some(Page::DictionaryPage { buf, .. }) => longest_of(&buf),
                    _ => self.dictionary,
                };
                Ok(longest.max(self.longest_delta))
            }
            Type::BYTE_ARRAY => Ok(self.longest_delta),
            _ => Ok(0),
        }
    }
}

/// The length of the longest text in a sequence of length-prefixed texts, bytes.
fn longest_of(mut texts: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((length, behind)) = texts.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(length.into());
        texts = behind.get(length as usize..).unwrap_or_default();
    }
    longest
}

/// Checks that a page does not decompress to more than `length` bytes. For other codecs the library checks it.
fn check_length(file: &File, codec: Compression, bytes: std::ops::Range<u64>, length: u64) -> Outcome<()> {
    let compressed = bytes.end.saturating_sub(bytes.start);
    let is_longer = match codec {
        Compression::GZIP(_) => {
            let mut reader = BufReader::new(file);
            reader.seek(SeekFrom::Start(bytes.start)).map_err(|error| cannot(&error))?;
            let mut whole = MultiGzDecoder::new(reader.take(compressed)).take(length + 1);
            // The library reports damaged data.
            io::copy(&mut whole, &mut io::sink()).is_ok_and(|all| all > length)
        }
        Compression::LZ4 => compressed > LONGEST_PAGE / LZ4_RATIO,
        _ => false,
    };
    if is_longer {
        Err(format!("a page that is longer than the {length} bytes that its header states"))
    } else {
        Ok(())
    }
}

/// A page header.
#[derive(Default)]
struct Header {
    kind: i64,
    /// Uncompressed length, bytes.
    length: i64,
    compressed: i64,
    values: i64,
    encoding: i64,
    /// Length of the uncompressed levels before the values, bytes.
    levels: u64,
    is_compressed: bool,
}

impl Header {
    const DICTIONARY: i64 = 2;
    const DELTA_BYTE_ARRAY: i64 = 7;

    fn read<R: Read>(thrift: &mut Thrift<R>) -> io::Result<Self> {
        let mut header = Self { is_compressed: true, ..Self::default() };
        thrift.structure(|thrift, number, met| match number {
            1 => thrift.integer_to(met, &mut header.kind),
            2 => thrift.integer_to(met, &mut header.length),
            3 => thrift.integer_to(met, &mut header.compressed),
            // The header of a version 1 data page, or of a dictionary page.
            5 | 7 => thrift.fields(met, |thrift, number, met| match number {
                1 => thrift.integer_to(met, &mut header.values),
                2 => thrift.integer_to(met, &mut header.encoding),
                _ => thrift.skip(met),
            }),
            8 => header.second_version(thrift, met),
            _ => thrift.skip(met),
        })?;
        Ok(header)
    }

    fn second_version<R: Read>(&mut self, thrift: &mut Thrift<R>, met: Met) -> io::Result<()> {
        thrift.fields(met, |thrift, number, met| match number {
            1 => thrift.integer_to(met, &mut self.values),
            4 => thrift.integer_to(met, &mut self.encoding),
            5 | 6 => {
                self.levels = self.levels.saturating_add(thrift.integer(met)?.max(0).unsigned_abs());
                Ok(())
            }
            7 => {
                self.is_compressed = met.is_set();
                Ok(())
            }
            _ => thrift.skip(met),
        })
    }
}
