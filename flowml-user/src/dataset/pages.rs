//! A look at a Parquet file before it is read, so that no file takes more memory than stated, whatever it says of itself.
//!
//! The library descends into a schema as deep as that is, makes room for what a page's header says, lets gzip and LZ4 write as
//! much as they hold, and writes a text of a dictionary as often as a batch names it.

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

/// The description at the end of a file, bytes.
const LONGEST_FOOTER: u64 = 64 << 20;

/// How deep columns may stand in each other.
const DEEPEST: usize = 64;

/// Elements of a schema: columns, and what they stand in.
const MOST_ELEMENTS: usize = 4 * MOST_COLUMNS;

/// Rows of a file: those that say nothing take no room in it.
const MOST_ROWS: i64 = 1 << 32;

/// A page, decompressed, bytes. They have a megabyte, and of some tools up to a hundred.
const LONGEST_PAGE: u64 = 256 << 20;

/// The largest page and the dictionary of every column of a row group together, bytes: so much is in memory at once.
const MOST_IN_PAGES: u64 = 2 << 30;

/// The numbers in the lists of a column of a row group, as one row may have all of them.
const MOST_IN_LISTS: i64 = 1 << 26;

/// The text of a batch, bytes.
const MOST_TEXT: u64 = 1 << 30;

/// How much longer LZ4 can make what it has compressed.
const LZ4_RATIO: u64 = 255;

/// Why a file is not read: for people.
type Outcome<T> = Result<T, String>;

fn cannot(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "it is no whole Parquet file".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the description of a file can be read.
pub(super) fn check_footer(file: &File) -> Outcome<()> {
    // Its length and a mark are behind it.
    const BEHIND: u64 = 8;
    let length = file.metadata().map_err(|error| cannot(&error))?.len();
    let mut end = [0; BEHIND as usize];
    let at = length.checked_sub(BEHIND).ok_or("it is no whole Parquet file")?;
    file.read_exact_at(&mut end, at).map_err(|error| cannot(&error))?;
    let [a, b, c, d, ..] = end;
    let footer = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer > LONGEST_FOOTER {
        return Err(format!("a description of {footer} bytes: expected at most {LONGEST_FOOTER}"));
    }
    let begin = at.checked_sub(footer).ok_or("it is no whole Parquet file")?;
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

/// A schema as it stands there: each element with the number of those within it, which follow.
#[derive(Default)]
struct Schema {
    elements: usize,
    /// Of each element that we are within, those that are to come.
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
        let message =
            format!("a schema of more than {MOST_ELEMENTS} elements, or of more than {DEEPEST} within each other");
        Err(io::Error::new(ErrorKind::InvalidData, message))
    }
}

/// Whether all pages of a file can be read, and if so how many of its rows at once.
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

/// Checks the pages of a row group, whose columns share what is left of the file. Answers the text of its longest row, bytes.
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

/// What the pages of a column of a row group say.
#[derive(Default)]
struct Chunk {
    longest_page: u64,
    /// Bytes of the dictionary.
    dictionary: u64,
    values: i64,
    /// The longest page whose texts are written by what they have in common with those before.
    longest_delta: u64,
}

impl Chunk {
    fn check(file: &File, column: &ColumnChunkMetaData, left: &mut u64) -> Outcome<Self> {
        let begin = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let (begin, length) = (u64::try_from(begin), u64::try_from(column.compressed_size()));
        let (Ok(begin), Ok(length)) = (begin, length) else {
            return Err("it lies before the file".to_owned());
        };
        *left = left.checked_sub(length).ok_or("the columns are longer than the file")?;
        let (mut at, end) = (begin, begin.saturating_add(length));
        let mut chunk = Self::default();
        while at < end {
            at = chunk.page(file, at, end, column.compression())?;
        }
        Ok(chunk)
    }

    /// Takes note of the page at `at`, and answers where the next one is.
    fn page(&mut self, file: &File, at: u64, end: u64, codec: Compression) -> Outcome<u64> {
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(at)).map_err(|error| cannot(&error))?;
        let mut thrift = Thrift::new(reader.take(end - at));
        let header = Header::read(&mut thrift).map_err(|error| cannot(&error))?;
        let begin = at + thrift.taken();
        let (Ok(compressed), Ok(length)) = (u64::try_from(header.compressed), u64::try_from(header.length)) else {
            return Err("a page of less than no bytes".to_owned());
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

    /// The longest text of the column that can be written again and again, bytes.
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

/// The longest of the texts that follow each other, each behind its length, bytes.
fn longest_of(mut texts: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((length, behind)) = texts.split_first_chunk() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(length.into());
        texts = behind.get(length as usize..).unwrap_or_default();
    }
    longest
}

/// Whether these bytes are no longer than they should be without their compression. Of the other codecs the library sees to it.
fn check_length(file: &File, codec: Compression, bytes: std::ops::Range<u64>, length: u64) -> Outcome<()> {
    let compressed = bytes.end.saturating_sub(bytes.start);
    let is_longer = match codec {
        Compression::GZIP(_) => {
            let mut reader = BufReader::new(file);
            reader.seek(SeekFrom::Start(bytes.start)).map_err(|error| cannot(&error))?;
            let mut whole = MultiGzDecoder::new(reader.take(compressed)).take(length + 1);
            // What is damaged is the library's to find.
            io::copy(&mut whole, &mut io::sink()).is_ok_and(|all| all > length)
        }
        Compression::LZ4 => compressed > LONGEST_PAGE / LZ4_RATIO,
        _ => false,
    };
    if is_longer { Err(format!("a page that is longer than the {length} bytes that it should have")) } else { Ok(()) }
}

/// The header of a page.
#[derive(Default)]
struct Header {
    kind: i64,
    /// Without compression, bytes.
    length: i64,
    compressed: i64,
    values: i64,
    encoding: i64,
    /// Bytes that stand uncompressed before the others.
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
            // Of a page of the first version, and of a dictionary.
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
