//! `flowml features`: prints the columns of the records.

use std::io::{self, BufWriter, ErrorKind, Write};

use anyhow::{Context, Result};
use flowml_user::export::{catalogue, write_clickhouse, write_schema};

use crate::args::{Features, ListFormat};

/// Prints the columns of the records. A closed standard output is not an error.
pub(crate) fn run(Features { format }: Features) -> Result<()> {
    let mut stream = BufWriter::new(io::stdout().lock());
    let written = match format {
        ListFormat::Text => catalogue::write_text(&mut stream),
        ListFormat::Json => catalogue::write_json(&mut stream),
        ListFormat::Schema => write_schema(&mut stream),
        ListFormat::Clickhouse => write_clickhouse(&mut stream),
    };
    match written.and_then(|()| stream.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}
