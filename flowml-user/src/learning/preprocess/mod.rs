//! Preprocessing: encodes columns as features of comparable size.

pub(crate) mod defined;
mod encoder;
mod few;
mod frame;
pub(crate) mod scaler;
mod table;

pub use self::frame::{Frame, FrameColumn, Values};
pub use self::scaler::Below;
pub use self::table::{Cleaning, Height, LeftOut, Parameters, Preprocessing, Scaling, Unfit};
