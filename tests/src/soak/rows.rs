//! Counts the packets in the agent's rows, in rotated files and in the lines of a FIFO.
//!
//! Each packet in a flow must be in one row.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use flowml_user::dataset::TableReader;

/// The column that counts packets, of flows and aggregates.
const PACKETS: &str = "bidirectional_packets";

/// The packets in JSON lines, and the last line that is no flow.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) packets: u64,
    pub(super) last: String,
}

impl Lines {
    /// Reads lines to the end of the input. A line without a line feed is left for later.
    pub(super) fn take_all(&mut self, mut input: impl BufRead) -> std::io::Result<()> {
        let mut line = String::new();
        while input.read_line(&mut line)? > 0 {
            self.take(&line);
            line.clear();
        }
        Ok(())
    }

    pub(super) fn take(&mut self, line: &str) {
        if !line.ends_with('\n') {
            return;
        }
        if line.starts_with(r#"{"type":"flow","#) || line.starts_with(r#"{"type":"aggregate","#) {
            self.packets += packets_of(line);
        } else {
            line.clone_into(&mut self.last);
        }
    }
}

/// The packets of a row. Only that number is parsed, because there are millions of rows.
fn packets_of(row: &str) -> u64 {
    let number = row.split_once(&format!("\"{PACKETS}\":")).map_or("", |(_, number)| number);
    let end = number.bytes().take_while(u8::is_ascii_digit).count();
    number[..end].parse().unwrap_or_default()
}

/// The rotated files of an output. Complete files are read once, and removed.
#[derive(Debug)]
pub(super) struct RowFiles {
    folder: PathBuf,
    whole: Lines,
}

impl RowFiles {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), whole: Lines::default() }
    }

    /// The packets in all rows so far.
    pub(super) fn packets(&mut self) -> Result<u64> {
        let mut growing = Lines::default();
        for path in listed(&self.folder)? {
            let is_whole = path.extension() == Some(OsStr::new("jsonl"));
            let file = match File::open(&path) {
                // The file has just been renamed to its final name.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                file => BufReader::new(file.with_context(|| format!("opening {}", path.display()))?),
            };
            let lines = if is_whole { &mut self.whole } else { &mut growing };
            lines.take_all(file).with_context(|| format!("reading {}", path.display()))?;
            if is_whole {
                fs::remove_file(&path)?;
            }
        }
        Ok(self.whole.packets + growing.packets)
    }

    /// The last row that is no flow. After the end of the agent it is the summary.
    pub(super) fn last(&self) -> &str {
        &self.whole.last
    }
}

/// The tables of a live data set. Their files are read once, and removed.
#[derive(Debug)]
pub(super) struct Tables {
    folder: PathBuf,
    packets: u64,
}

impl Tables {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), packets: 0 }
    }

    /// The packets in the rows of all complete files.
    pub(super) fn packets(&mut self) -> Result<u64> {
        for table in ["flows", "aggregates", "hosts", "anomalies", "incidents"] {
            let whole = |path: &PathBuf| path.extension() == Some(OsStr::new("parquet"));
            for path in listed(&self.folder.join(table))?.into_iter().filter(whole) {
                if ["flows", "aggregates"].contains(&table) {
                    self.packets += packets_in(&path).with_context(|| format!("reading {}", path.display()))?;
                }
                fs::remove_file(&path)?;
            }
        }
        Ok(self.packets)
    }
}

fn packets_in(path: &Path) -> Result<u64> {
    let mut packets = 0;
    for batch in TableReader::open(path)? {
        let batch = batch?;
        let column = batch.column_by_name(PACKETS).with_context(|| format!("there is no column {PACKETS}"))?;
        packets += column.as_primitive::<Int64Type>().values().iter().sum::<i64>() as u64;
    }
    Ok(packets)
}

/// The files of a folder sorted by name, which is the order of their times.
pub(super) fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_once_in_growing_and_in_complete_files() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut files = RowFiles::new(folder.path());
        let row =
            |packets: u64| format!("{{\"type\":\"flow\",\"id\":1,\"bidirectional_packets\":{packets},\"x\":2}}\n");
        let growing = folder.path().join(".rows-1.jsonl.part");
        fs::write(&growing, row(3) + "{\"type\":\"flow\",\"bidirectional_packets\":4")?;
        assert_eq!(files.packets()?, 3);
        fs::write(&growing, row(3) + &row(4) + "{\"type\":\"host\",\"bidirectional_packets\":9}\n")?;
        fs::rename(&growing, folder.path().join("rows-1.jsonl"))?;
        assert_eq!((files.packets()?, files.packets()?), (7, 7));
        assert!(files.last().starts_with("{\"type\":\"host\""));
        assert!(listed(folder.path())?.is_empty());
        Ok(())
    }
}
