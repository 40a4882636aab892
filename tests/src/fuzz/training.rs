//! Trains on small tables from any bytes, and scores them in every way. Values include numbers that no measurement has.

use std::sync::Arc;

use flowml_user::features::Learn;
use flowml_user::learning::batch::{Labelled, Plan, Task};
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::preprocess::Scaling;
use flowml_user::learning::preprocess::{Frame, FrameColumn, Values};
use flowml_user::learning::select::Selection;

use super::learning;

/// Largest number of rows of a table.
const MOST_ROWS: usize = 128;

/// The values of the bytes from [`SPECIAL`] on.
const SPECIALS: [f64; 16] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    -0.0,
    1e153,
    -1e153,
    1e20,
    -1e60,
    3.4e38,
    9_007_199_254_740_993.0,
    1.7e9,
    1e-61,
];
const SPECIAL: u8 = 192;

/// After this byte, the next eight bytes are a number as it is in memory.
const RAW: u8 = 255;

const LABELS: [&str; 4] = ["benign", "scan", "", "a\nb"];

const LEARNS: [Option<Learn>; 4] = [None, Some(Learn::Never), Some(Learn::LogScaled), Some(Learn::Category)];

/// The bytes that have not been read yet. After their end it returns zeros.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or_default()
    }

    fn number(&mut self) -> f64 {
        match self.byte() {
            RAW => f64::from_bits(u64::from_le_bytes(std::array::from_fn(|_| self.byte()))),
            byte @ SPECIAL.. => SPECIALS[usize::from(byte - SPECIAL) % SPECIALS.len()],
            byte @ 128.. => f64::from(byte - 128) * 0.37 - 11.0,
            byte => byte.into(),
        }
    }

    fn text(&mut self) -> Option<Arc<str>> {
        match self.byte() {
            0 => None,
            byte => Some(Arc::from(format!("c{}", byte % 32))),
        }
    }
}

/// Rows of two kinds, for every task and selection.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let rows =
        (0..40u8).flat_map(|n| if n % 4 == 3 { [1, 200 + n % 8, 130, 9] } else { [n % 8 * 4, n % 7, 128 + n, n % 3] });
    let rows: Vec<u8> = rows.collect();
    let tasks = (DetectorKind::ALL.len() + ClassifierKind::ALL.len()) as u8;
    let seed = |task: u8| {
        let plan = [task, task % 4, task % 7, task, 3, task % 2];
        (format!("task_{task}"), [&plan, &[2, 0b100, 0, 0, 2, 0][..], &rows].concat())
    };
    (0..tasks).map(seed).collect()
}

pub(super) fn run(bytes: &[u8]) {
    let mut source = Source(bytes);
    let plan = plan(&mut source);
    let table = table(&mut source);
    learning::check(&table, plan);
}

/// A task and its parameters.
fn plan(source: &mut Source<'_>) -> Plan {
    let tasks = DetectorKind::ALL.iter().map(|kind| Task::Detect(*kind));
    let tasks: Vec<Task> = tasks.chain(ClassifierKind::ALL.iter().map(|kind| Task::Classify(*kind))).collect();
    let task = tasks[usize::from(source.byte()) % tasks.len()];
    let [scaling, selection, slots, clusters, flags] = std::array::from_fn(|_| source.byte());
    let slots = usize::from(slots % 8) + 1;
    let selections = [
        None,
        Some(Selection::Variance(f64::from(selection / 8))),
        Some(Selection::Chi2(slots)),
        Some(Selection::MutualInformation(slots)),
        Some(Selection::Rfe(slots)),
        Some(Selection::L1(slots)),
        Some(Selection::Tree(slots)),
    ];
    Plan {
        task,
        scaling: [None, Some(Scaling::Standard), Some(Scaling::MinMax), Some(Scaling::Robust)]
            [usize::from(scaling % 4)],
        selection: selections[usize::from(selection) % selections.len()],
        k: (clusters > 0).then_some(usize::from(clusters % 32) + 1),
        seed: 1,
        alpha: 0.01,
        benign: (flags & 1 != 0).then(|| LABELS[0].to_owned()),
        all_rows: flags & 2 != 0,
    }
}

/// A table of up to eight columns, as long as there are bytes.
fn table(source: &mut Source<'_>) -> Labelled {
    let (columns, texts, flags) = (usize::from(source.byte() % 8) + 1, source.byte(), source.byte());
    let learns: Vec<u8> = (0..columns).map(|_| source.byte()).collect();
    let is_text = |column: usize| texts >> column & 1 != 0;
    let mut values: Vec<Values> = (0..columns)
        .map(|column| if is_text(column) { Values::Texts(Vec::new()) } else { Values::Numbers(Vec::new()) })
        .collect();
    let (mut labels, mut inputs) = (Vec::new(), Vec::new());
    while !source.0.is_empty() && inputs.len() < MOST_ROWS {
        let row = source.byte();
        labels.push(Arc::from(LABELS[usize::from(row) % LABELS.len()]));
        inputs.push(u32::from(row >> 2) % 6);
        for column in &mut values {
            match column {
                Values::Numbers(numbers) => numbers.push(source.number()),
                Values::Texts(texts) => texts.push(source.text()),
            }
        }
    }
    inputs.sort_unstable();
    let columns = values.into_iter().zip(learns).enumerate().map(|(at, (values, learn))| {
        let learn = match &values {
            Values::Numbers(_) => LEARNS[usize::from(learn) % LEARNS.len()],
            Values::Texts(_) => LEARNS[usize::from(learn) % 2],
        };
        FrameColumn { name: format!("x{at}"), learn, values }
    });
    let frame = Frame::new(inputs.len(), columns.collect());
    Labelled { frame, labels: (flags & 1 == 0).then_some(labels), inputs }
}
