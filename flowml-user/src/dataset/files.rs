//! Labels by file: a list that assigns a label to each capture or table.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use glob::{MatchOptions, Pattern};

use super::columns::texts_of;
use super::keys::Subject;
use super::labels::BENIGN;
use super::{DatasetError, TableReader};

/// The required columns: a path or a pattern, and the label.
const COLUMNS: [&str; 2] = ["file", "label"];

/// Optional column: which rows of the file have the label, `all` or those `between` two addresses.
const SCOPE: &str = "scope";

/// Optional columns: the two addresses.
const ENDS: [&str; 2] = ["attacker", "victim"];

/// The labels of files.
#[derive(Debug)]
pub struct FileLabels {
    path: PathBuf,
    /// In the order of the list.
    files: Vec<FileLabel>,
}

#[derive(Debug)]
struct FileLabel {
    pattern: Pattern,
    /// Number of names in the pattern. The pattern is matched against as many names at the end of a path.
    names: usize,
    label: String,
    scope: Scope,
}

#[derive(Debug)]
enum Scope {
    All,
    Between([Option<IpAddr>; 2]),
}

impl Scope {
    fn has(&self, subject: &Subject) -> bool {
        let Self::Between(ends) = self else { return true };
        let is = |end: Option<IpAddr>, address: IpAddr| end.is_none_or(|end| end == address);
        match subject {
            Subject::Flow(key) => {
                let (one, other) = (key.source.address, key.destination.address);
                is(ends[0], one) && is(ends[1], other) || is(ends[0], other) && is(ends[1], one)
            }
            Subject::Host(host) => ends.contains(&Some(host.address)),
        }
    }
}

impl FileLabels {
    /// Whether a table with these columns is such a list.
    #[must_use]
    pub(crate) fn is_one(schema: &Schema) -> bool {
        COLUMNS.iter().all(|name| schema.index_of(name).is_ok())
    }

    /// Reads a list.
    ///
    /// # Errors
    /// If the list cannot be read, or a row is invalid.
    pub fn read(table: TableReader) -> Result<Self, DatasetError> {
        let path = table.path().to_owned();
        let mut files = Vec::new();
        for batch in table {
            read_rows(&batch?, &mut files)
                .map_err(|message| DatasetError::Malformed { path: path.clone(), message })?;
        }
        Ok(Self { path, files })
    }

    fn find(&self, file: &Path) -> Option<&FileLabel> {
        let names: Vec<&str> = file
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        let fits = |own: &&FileLabel| {
            let last = names.len().checked_sub(own.names).map(|first| names[first..].join("/"));
            last.is_some_and(|last| own.pattern.matches_with(&last, options))
        };
        self.files.iter().find(fits)
    }

    /// Checks that the file is in the list.
    ///
    /// # Errors
    /// If the file is not in the list.
    pub fn check(&self, file: &Path) -> Result<(), DatasetError> {
        let message = || format!("expected a row for {}", file.display());
        let missing = || DatasetError::Malformed { path: self.path.clone(), message: message() };
        self.find(file).map(|_| ()).ok_or_else(missing)
    }

    /// The label of a row of a file.
    #[must_use]
    pub fn label(&self, file: &Path, subject: &Subject) -> Option<&str> {
        let own = self.find(file)?;
        Some(if own.scope.has(subject) { &own.label } else { BENIGN })
    }
}

/// Adds the rows of a batch to the list. The error states what is wrong.
fn read_rows(batch: &RecordBatch, files: &mut Vec<FileLabel>) -> Result<(), String> {
    let column = |name| texts_of(batch, name).map_err(|error| error.to_string());
    let optional = |name| texts_of(batch, name).unwrap_or_else(|_| vec![None; batch.num_rows()]);
    let [file, label] = COLUMNS.map(column);
    let (file, label, scope, ends) = (file?, label?, optional(SCOPE), ENDS.map(optional));
    for row in 0..batch.num_rows() {
        let name = file[row].filter(|name| !name.is_empty()).ok_or("expected a path in each row of 'file'")?;
        let wrong = |what: String| format!("{name}: {what}");
        // Paths are compared name by name, so a path may be absolute or begin with './'.
        let names: Vec<&str> = name.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let pattern = Pattern::new(&names.join("/")).map_err(|error| wrong(error.to_string()))?;
        let label = label[row].filter(|label| !label.is_empty()).ok_or_else(|| wrong("expected a label".to_owned()))?;
        let address = |place: usize| match ends[place][row].filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| wrong(format!("expected an address in '{}', found '{text}'", ENDS[place]))),
        };
        let scope = match scope[row].unwrap_or_default() {
            "" | "all" => Scope::All,
            "between" => match [address(0)?, address(1)?] {
                [None, None] => return Err(wrong(format!("expected an address in '{}' or '{}'", ENDS[0], ENDS[1]))),
                ends => Scope::Between(ends),
            },
            other => return Err(wrong(format!("expected the scope 'all' or 'between', found '{other}'"))),
        };
        files.push(FileLabel { pattern, names: names.len(), label: label.to_owned(), scope });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::keys::{End, HostKey, Key};
    use super::*;

    fn read(text: &str) -> Result<FileLabels, DatasetError> {
        let path = std::env::temp_dir().join(format!("flowml-files-{:p}.csv", &raw const *text));
        std::fs::write(&path, text).expect("there is room");
        let files = TableReader::open(&path).and_then(FileLabels::read);
        std::fs::remove_file(path).expect("the file is ours");
        files
    }

    fn flow(source: &str, destination: &str) -> Subject {
        let end = |address: &str| End { address: address.parse().expect("an address"), port: 1 };
        Subject::Flow(Key { source: end(source), destination: end(destination), protocol: 6, start_ms: 0 })
    }

    #[test]
    fn a_file_has_the_label_of_the_first_row_that_matches_the_end_of_its_path() {
        let list = "file,label,scope,attacker,victim\n\
            a.pcap,scan,,,\n\
            day/*.pcap,benign,all,,\n\
            night/x*.pcap,flood,between,10.0.0.1,10.0.0.2\n\
            night/y.pcap,probe,between,,10.0.0.2\n\
            /captures/c.pcap,tunnel,,,\n\
            ./d.pcap,beacon,,,\n";
        let files = read(list).expect("a list");
        let label = |file: &str, subject| files.label(Path::new(file), &subject);
        assert_eq!(label("/captures/a.pcap", flow("1.1.1.1", "1.1.1.2")), Some("scan"));
        assert_eq!(label("day/b.pcap", flow("1.1.1.1", "1.1.1.2")), Some("benign"));
        assert_eq!(label("day/deep/b.pcap", flow("1.1.1.1", "1.1.1.2")), None);
        assert_eq!(label("night/x1.pcap", flow("10.0.0.2", "10.0.0.1")), Some("flood"));
        assert_eq!(label("night/x1.pcap", flow("10.0.0.3", "10.0.0.1")), Some(BENIGN));
        assert_eq!(label("night/y.pcap", flow("10.0.0.3", "10.0.0.2")), Some("probe"));
        assert_eq!(label("/captures/c.pcap", flow("1.1.1.1", "1.1.1.2")), Some("tunnel"));
        assert_eq!(label("/other/c.pcap", flow("1.1.1.1", "1.1.1.2")), None);
        assert_eq!(label("d.pcap", flow("1.1.1.1", "1.1.1.2")), Some("beacon"));
        let host =
            |text: &str| Subject::Host(HostKey { address: text.parse().expect("an address"), window_ms: (0, 2000) });
        assert_eq!(label("night/y.pcap", host("10.0.0.2")), Some("probe"));
        assert_eq!(label("night/y.pcap", host("10.0.0.3")), Some(BENIGN));
        let error = files.check(Path::new("b.pcap")).expect_err("it is not there");
        assert!(error.to_string().contains("expected a row for b.pcap"), "{error}");
    }

    #[test]
    fn an_invalid_row_is_reported() {
        let cases = [
            ("file,label\na,\n", "expected a label"),
            ("file,label\n,x\n", "expected a path"),
            ("file,label\n***,x\n", "***"),
            ("file,label,scope\na,x,some\n", "expected the scope 'all' or 'between'"),
            ("file,label,scope\na,x,between\n", "expected an address"),
            ("file,label,scope,victim\na,x,between,me\n", "found 'me'"),
        ];
        for (text, expected) in cases {
            let error = read(text).expect_err(text);
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }
}
