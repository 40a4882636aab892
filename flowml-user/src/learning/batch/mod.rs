//! The learner of tables: it trains once on a complete table.
//!
//! ```
//! use flowml_user::learning::batch::{Judgement, Labelled, Plan, TableModel, Task};
//! use flowml_user::learning::detect::DetectorKind;
//! use flowml_user::learning::preprocess::{Frame, FrameColumn, Values};
//!
//! let frame = |values: Vec<f64>| {
//!     let rows = values.len();
//!     Frame::new(rows, vec![FrameColumn { name: "bytes".to_owned(), learn: None, values: Values::Numbers(values) }])
//! };
//! let train = Labelled { frame: frame((0..200).map(|row| f64::from(100 + row % 7)).collect()), labels: None, inputs: vec![0; 200] };
//! let plan = Plan {
//!     task: Task::Detect(DetectorKind::Kmeans),
//!     scaling: None,
//!     selection: None,
//!     k: Some(1),
//!     seed: 1,
//!     alpha: 0.01,
//!     benign: None,
//!     all_rows: true,
//! };
//! let (model, _) = TableModel::train(&train, plan)?;
//! let (rows, _) = model.preprocess(&frame(vec![103.0, 1e9]))?;
//! let Judgement::Scores { scores, .. } = model.judge(rows.view()) else { panic!("it is a detector") };
//! assert!(scores[1] > scores[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod labelled;
mod model;
mod plan;
#[cfg(test)]
mod tests;
mod train;

pub use self::labelled::Labelled;
pub use self::model::{Judgement, Summary, TableModel};
pub use self::plan::{ATTACK, Plan, Task};
