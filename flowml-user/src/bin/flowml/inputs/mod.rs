//! Opens inputs for training and evaluation: tables directly, captures by metering them, each with its labels.

mod captures;
mod meter;

pub(crate) use self::captures::{check_captures, meter_each, of_themselves};
pub(crate) use self::meter::{INTERVAL, meter};

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use flowml_user::capture::file;
use flowml_user::dataset::learnt::{Roles, indexes};
use flowml_user::dataset::names::listed;
use flowml_user::dataset::truth::{Truth, labelled};
use flowml_user::dataset::{RowType, TableReader};
use flowml_user::engine::learners::Learners;
use flowml_user::export::Target;
use flowml_user::learning::batch::Labelled;
use tempfile::TempDir;

use crate::args::InputArguments;
use crate::ui::progress::Step;

/// Opens inputs.
pub(crate) struct Inputs<'a> {
    arguments: InputArguments,
    truth: Option<Rc<Truth>>,
    step: &'a Step,
    /// The folder for tables of metered captures, until the run ends.
    folder: Option<TempDir>,
    metered: usize,
    /// The models that score captures while they are metered, if any.
    learners: Option<Learners>,
}

/// The location of an input's rows.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    input: PathBuf,
    /// The input itself, or the folder with the tables of a metered capture.
    rows: PathBuf,
}

impl<'a> Inputs<'a> {
    /// Inputs that are opened with these arguments, and with labels from a file if one is named.
    pub(crate) fn new(arguments: InputArguments, labels: Option<&Path>, step: &'a Step) -> Result<Self> {
        let truth = labels.map(Truth::open).transpose()?.map(Rc::new);
        Ok(Self { arguments, truth, step, folder: None, metered: 0, learners: None })
    }

    /// The same, but captures are scored while they are metered.
    pub(crate) fn judged_by(self, learners: Learners) -> Self {
        Self { learners: Some(learners), ..self }
    }

    /// Reads all rows of the inputs, as training and evaluation need them.
    pub(crate) fn read(&mut self, paths: &[PathBuf], roles: &Roles) -> Result<Labelled> {
        let tables = self.open(paths)?;
        self.step.show("reading");
        let table = roles.read(tables, |rows| self.step.show(format!("reading, {rows} rows")))?;
        for name in indexes(&table) {
            self.step.notice(&format!(
                "column '{name}' is not used: it has no name and contains whole numbers, like the index of a data frame, which \
                 is the position of a row in its file"
            ));
        }
        Ok(table)
    }

    /// Opens the inputs as tables.
    pub(crate) fn open(&mut self, paths: &[PathBuf]) -> Result<Vec<TableReader>> {
        let places = self.places(paths)?;
        let open = |place: Place| {
            let table = if place.rows.is_dir() {
                TableReader::open_folder(&place.rows, self.arguments.unit.unwrap_or_default().row_type())?
            } else {
                TableReader::open_as(&place.rows, self.arguments.reading())?
            };
            for notice in table.notices() {
                self.step.notice(&format!("{}: {notice}", place.input.display()));
            }
            self.of_input(&place.input, table)
        };
        places.into_iter().map(open).collect()
    }

    /// The locations of the inputs' rows, in order. Captures are metered for this, each separately.
    pub(crate) fn places(&mut self, paths: &[PathBuf]) -> Result<Vec<Place>> {
        let place = |path: &PathBuf| {
            let rows = if file::is_capture(path) { self.meter(path)? } else { path.clone() };
            Ok(Place { input: path.clone(), rows })
        };
        paths.iter().map(place).collect()
    }

    /// The rows of one type, of all inputs that have some. Flows and host windows have their labels.
    pub(crate) fn tables(&self, places: &[Place], of: RowType) -> Result<Vec<TableReader>> {
        let mut tables = Vec::new();
        for place in places {
            let Some(table) = TableReader::open_type(&place.rows, of)? else { continue };
            tables.push(if of == RowType::Incident { table } else { self.of_input(&place.input, table)? });
        }
        Ok(tables)
    }

    /// A table under the name of its input, with its labels.
    fn of_input(&self, input: &Path, table: TableReader) -> Result<TableReader> {
        let table = if table.path().starts_with(input) {
            table
        } else {
            let schema = Arc::clone(table.schema());
            table.changed(input, schema, |batch| Ok(batch.clone()))
        };
        let Some(truth) = self.truth.clone() else { return Ok(table) };
        truth.check(input)?;
        let (schema, file) = (labelled(table.schema()), input.to_owned());
        Ok(table.changed(input, schema, move |batch| truth.add(&file, batch)))
    }

    /// Meters a capture into a folder of tables.
    fn meter(&mut self, path: &Path) -> Result<PathBuf> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => TempDir::with_prefix("flowml-").context("cannot make a folder for the flows of captures")?,
        };
        let place = self.folder.insert(folder).path().join(self.metered.to_string());
        self.metered += 1;
        self.learners = meter(path, &[Target::Parquet(place.clone().into())], self.learners.take(), self.step)?;
        Ok(place)
    }
}

/// Checks that an output can be written and is none of the inputs, before any work starts.
///
/// # Errors
/// If the output would overwrite an input, or its folder does not exist.
pub(crate) fn check_output(output: &Path, inputs: &[PathBuf]) -> Result<()> {
    if output == Path::new("-") {
        return Ok(());
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "cannot write {}: the folder {} does not exist", output.display(), folder.display());
    let place = output.canonicalize().ok();
    let is_place = |path: PathBuf| place.is_some() && path.canonicalize().ok() == place;
    let has_place = |input: &PathBuf| {
        // An input that cannot be read is reported when it is opened.
        let mut tables = RowType::ALL.into_iter().flat_map(|of| of.files(input).unwrap_or_default());
        is_place(input.clone()) || tables.any(is_place)
    };
    let overwritten = inputs.iter().any(has_place);
    let output = output.display();
    ensure!(!overwritten, "{output} is an input and would be overwritten: expected another path for the output");
    Ok(())
}

/// The error that no row has this label, with the existing labels.
pub(crate) fn no_label(benign: &str, labels: &[Arc<str>]) -> String {
    let found: BTreeSet<&str> = labels.iter().map(AsRef::as_ref).collect();
    format!("no row has the label '{benign}' of '--benign'; the labels are {}", listed(found, benign))
}
