//! Draws charts as SVG.

mod boxes;
mod chart;
mod cloud;
mod curves;
mod panels;
#[cfg(test)]
mod tests;
mod ticks;

pub(crate) use self::boxes::{Boxes, Spread, boxes};
pub(crate) use self::chart::Chart;
pub(crate) use self::cloud::{Cloud, cloud};
pub(crate) use self::curves::curves;
pub(crate) use self::panels::{Panel, panels};
