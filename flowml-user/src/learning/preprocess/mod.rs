//! Preprocessing: encodes columns as features of comparable size, fitted once.
//!
//! [`Preprocessing`] encodes the columns of any table, whose types are derived from their values. The learner of a run
//! has columns that are known, and encodes one row after the other (`scaler`). Both use these
//! modules: `number` encodes numeric columns, `categories` limits the categories of a column, and `defined` rejects
//! invalid values.
//!
//! ```
//! use flowml_user::learning::preprocess::{Frame, FrameColumn, Parameters, Preprocessing, Scaling, Values};
//!
//! let values = Values::Numbers(vec![-2.0, -1.0, 0.0, 3.0]);
//! let frame = Frame::new(4, vec![FrameColumn { name: "change".to_owned(), learn: None, values }]);
//! let preprocessing = Preprocessing::fit(&frame, Parameters::for_classifiers(Scaling::MinMax));
//! let (rows, _) = preprocessing.apply(&frame)?;
//! assert_eq!(rows.column(0).to_vec(), [0.0, 0.2, 0.4, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod categories;
mod context;
mod defined;
mod encoder;
mod few;
mod frame;
mod groups;
mod logarithm;
mod number;
mod parameters;
pub(crate) mod scaler;
pub(crate) mod statistics;
mod table;

pub use self::frame::{Frame, FrameColumn, Values};
pub(crate) use self::parameters::LARGEST_ENCODED;
pub use self::parameters::{Below, Floors, Height, Parameters, Scaling};
pub use self::table::{Cleaning, LeftOut, Preprocessing, Unfit};
