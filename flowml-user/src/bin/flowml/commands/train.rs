//! `flowml train`, `flowml score` and `flowml model`: trains on tables, scores tables, and describes models.

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use flowml_user::dataset::learnt::Roles;
use flowml_user::dataset::{Shape, TableFormat, TableWriter};
use flowml_user::learning::ModelKind;
use flowml_user::learning::batch::{Judgement, Labelled, Plan, TableModel, Task};
use flowml_user::learning::preprocess::Cleaning;
use flowml_user::process::plain::{self, print, print_lines};

use super::traffic;
use crate::args::{Model, ModelCommand, Score, Train};
use crate::inputs::{Inputs, check_output, no_label};
use crate::ui::progress::Step;

/// Maximum number of columns of one kind that are listed by name.
const LISTED_COLUMNS: usize = 12;

/// Trains on tables, and saves the model.
///
/// # Errors
/// If the tables cannot be read or used for training, or the model cannot be written.
pub(crate) async fn run(arguments: &Train) -> Result<()> {
    if traffic::is_meant(arguments) {
        return traffic::run(arguments).await;
    }
    let step = Step::begin(!arguments.quiet);
    let table = read(arguments, &step)?;
    let (model, cleaning) = learn(&table, arguments.plan(), &step)?;
    model.save(&arguments.model)?;
    drop(step);
    if !arguments.quiet {
        print_lines(&format!("flowml: {}\n", description(&model)));
        report_cleaning(&cleaning);
        print(&format!("flowml: wrote the model to {}", arguments.model.display()));
    }
    Ok(())
}

fn read(arguments: &Train, step: &Step) -> Result<Labelled> {
    let table = &arguments.table;
    Inputs::new(table.input, table.labels.as_deref(), step)?.read(&arguments.inputs, &table.roles())
}

/// Trains a model by a plan.
pub(super) fn learn(table: &Labelled, plan: Plan, step: &Step) -> Result<(TableModel, Cleaning)> {
    let name = plan.task.name();
    if let (Some(benign), Some(labels)) = (&plan.benign, &table.labels)
        && !labels.iter().any(|label| **label == **benign)
    {
        bail!("{}", no_label(benign, labels));
    }
    step.show(format!("training: {name}"));
    TableModel::train(table, plan).with_context(|| format!("cannot train: {name}"))
}

/// A description of a model as text.
fn description(model: &TableModel) -> String {
    let (plan, summary) = (model.plan(), model.summary());
    let held_out = match summary.held_out_rows {
        0 => String::new(),
        rows => format!(", calibrated on {rows} other rows"),
    };
    let learnt = format!("{} trained on {} of {} rows{held_out}", plan.task.name(), summary.learnt_rows, summary.rows);
    let labels: Vec<String> = summary.labels.iter().map(|(label, rows)| format!("{label} ({rows})")).collect();
    let mut lines = vec![learnt, format!("  {}", plain::line(&model.describe()))];
    lines.extend(names_line("labels", &labels));
    for kind in ["log number", "number", "category"] {
        let columns = model.preprocessing().columns().filter(|(_, learnt)| *learnt == Some(kind));
        let names: Vec<String> = columns.map(|(name, _)| name.to_owned()).collect();
        lines.extend(names_line(&format!("used as {kind}"), &names));
    }
    let left_out: Vec<String> =
        model.preprocessing().left_out().map(|(name, because)| format!("{name} ({})", because.reason())).collect();
    lines.extend(names_line("not used", &left_out));
    if plan.selection.is_some() {
        lines.extend(names_line("selected", &model.encoded_names()));
    }
    lines.join("\n")
}

fn names_line(what: &str, names: &[String]) -> Option<String> {
    let more = match names.len().saturating_sub(LISTED_COLUMNS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed: Vec<&str> = names.iter().take(LISTED_COLUMNS).map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("  {} {what}: {}{more}", names.len(), plain::line(&listed.join(", "))))
}

/// Prints the faults of the values.
pub(super) fn report_cleaning(cleaning: &Cleaning) {
    for (column, rows) in &cleaning.undefined {
        print(&format!("  {column}: missing in {rows} rows; the middle of its scale replaces the values"));
    }
    for (column, rows) in &cleaning.unseen {
        print(&format!("  {column}: {rows} rows have a category that is not in the training set"));
    }
}

/// Scores tables with a model.
///
/// # Errors
/// If tables or model cannot be read or do not fit each other, or the output cannot be written.
pub(crate) fn score(arguments: &Score) -> Result<()> {
    check_output(&arguments.output, &arguments.inputs)?;
    let model = match &arguments.model {
        Some(model) if traffic::kind(model)? == ModelKind::Table => TableModel::load(model)?,
        _ => return traffic::score(arguments),
    };
    let step = Step::begin(!arguments.quiet);
    let tables = Inputs::new(arguments.input, None, &step)?.open(&arguments.inputs)?;
    let shape = Shape::of(&tables)?;
    let verdict = Verdict::of(&model);
    let (schema, kept) = verdict.behind(shape.schema());
    let format = TableFormat::of(&arguments.output).context("expected a .csv or .parquet file as the output")?;
    let mut writer: Option<TableWriter> = None;
    let (mut rows, mut anomalies, mut cleaning) = (0, 0, Cleaning::default());
    for batch in tables.into_iter().flatten() {
        let batch = shape.take(&batch?)?;
        let frame = Roles::default().frame(&batch)?;
        let (preprocessed, found) = model.preprocess(&frame).context("the table does not fit the model")?;
        let (columns, anomalous) = verdict.columns(&model.judge(preprocessed.view()), &model);
        let columns = kept.iter().map(|&place| Arc::clone(batch.column(place))).chain(columns).collect();
        // Opened only after the first batch was scored, so that an error before that does not overwrite a file.
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(TableWriter::open(&arguments.output, format, &schema)?),
        };
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        cleaning.add(&found);
        rows += batch.num_rows();
        anomalies += anomalous;
        step.show(format!("scoring, {rows} rows"));
    }
    match writer {
        Some(writer) => writer.finish()?,
        None => TableWriter::open(&arguments.output, format, &schema)?.finish()?,
    }
    drop(step);
    if !arguments.quiet {
        match verdict {
            Verdict::Scores => print(&format!("flowml: {rows} rows scored, {anomalies} are anomalies")),
            Verdict::Class => print(&format!("flowml: {rows} rows classified")),
        }
        report_cleaning(&cleaning);
    }
    Ok(())
}

/// The columns that a model adds.
#[derive(Clone, Copy)]
enum Verdict {
    Scores,
    Class,
}

impl Verdict {
    fn of(model: &TableModel) -> Self {
        match model.plan().task {
            Task::Detect(_) => Self::Scores,
            Task::Classify(_) => Self::Class,
        }
    }

    fn fields(self) -> Vec<Field> {
        match self {
            Self::Scores => vec![
                Field::new("score", DataType::Float64, false),
                Field::new("probability", DataType::Float64, false),
                Field::new("anomaly", DataType::Boolean, false),
            ],
            Self::Class => vec![Field::new("class", DataType::Utf8, false)],
        }
    }

    /// The columns with the added ones appended, and the positions of those that are kept.
    fn behind(self, schema: &Schema) -> (SchemaRef, Vec<usize>) {
        let own = self.fields();
        let stays = |place: &usize| own.iter().all(|field| field.name() != schema.field(*place).name());
        let kept: Vec<usize> = (0..schema.fields().len()).filter(stays).collect();
        let fields = kept.iter().map(|&place| Arc::clone(&schema.fields()[place])).chain(own.into_iter().map(Arc::new));
        (Arc::new(Schema::new(fields.collect::<Vec<_>>())), kept)
    }

    /// The values of the added columns, and the number of anomalies.
    fn columns(self, judgement: &Judgement, model: &TableModel) -> (Vec<ArrayRef>, usize) {
        match judgement {
            Judgement::Scores { scores, probabilities, .. } => {
                let anomalies: Vec<bool> = probabilities.iter().map(|p| *p < model.plan().alpha).collect();
                let count = anomalies.iter().filter(|anomaly| **anomaly).count();
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(Float64Array::from(scores.clone())),
                    Arc::new(Float64Array::from(probabilities.clone())),
                    Arc::new(BooleanArray::from(anomalies)),
                ];
                (columns, count)
            }
            Judgement::Classes(classes) => {
                let names = classes.iter().map(|class| model.classes()[*class].as_str());
                (vec![Arc::new(StringArray::from_iter_values(names)) as Arc<dyn Array>], 0)
            }
        }
    }
}

/// Prints a description of a model file, of a table or of traffic.
///
/// # Errors
/// If the file is not a model.
pub(crate) fn show(arguments: &Model) -> Result<()> {
    let ModelCommand::Show { file } = &arguments.command;
    let text = match traffic::kind(file)? {
        ModelKind::Traffic => traffic::describe_identity(file)? + &traffic::describe(&traffic::learners(file, None)?),
        ModelKind::Table => description(&TableModel::load(file)?) + "\n",
    };
    // A reader that closes the pipe early is no error.
    match write!(io::stdout(), "{}", plain::lines(&text)) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
