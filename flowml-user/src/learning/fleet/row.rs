//! A row of statistics as it is received, and its checks.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;

use crate::learning::checked::{Outcome, as_many};
use crate::learning::cluster::kmeans::Clusters;
use crate::learning::preprocess::LARGEST_ENCODED;
use crate::learning::statistics::sketch::BINS;
use crate::learning::statistics::{ModelHash, ModelIdentity};

/// The type of rows of statistics.
const TYPE: &str = "statistics";

/// The longest identifier of an agent, bytes.
const LONGEST_AGENT: usize = 128;

/// The largest number that JSON readers represent exactly.
const MOST: u64 = 1 << 53;

/// The relative error of sums that were added in another order.
const ROUNDING: f64 = 1e-6;

/// The type of any row.
#[derive(Deserialize)]
struct Kind {
    r#type: Option<String>,
}

/// A row of statistics. The sums of an engine have no agent, generation, sequence and type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatisticsRow {
    #[serde(rename = "type")]
    _kind: Option<String>,
    agent: Option<String>,
    generation: Option<u64>,
    sequence: Option<u64>,
    model: ModelHash,
    model_number: u64,
    pub(super) learner: String,
    pub(super) cluster: usize,
    start_ms: u64,
    end_ms: u64,
    pub(super) rows: u64,
    pub(super) distance: f64,
    pub(super) sums: Vec<f64>,
    pub(super) squares: Vec<f64>,
    pub(super) scores: Vec<u64>,
}

/// The number of a row among those of all agents.
pub(super) type Number<'a> = (&'a str, u64, u64);

impl StatisticsRow {
    /// Reads a line of JSON; `None` for a row of another type.
    pub(super) fn parse(line: &[u8]) -> Result<Option<Self>, String> {
        if line.first() != Some(&b'{') {
            return Err("expected a row of statistics as a JSON object".to_owned());
        }
        let Kind { r#type } = serde_json::from_slice(line).map_err(|error| not_json(&error))?;
        if r#type.is_some_and(|kind| kind != TYPE) {
            return Ok(None);
        }
        serde_json::from_slice(line).map(Some).map_err(|error| not_json(&error))
    }

    /// The agent, generation and sequence; `None` for the sums of an engine and for rows of files.
    pub(super) fn number(&self) -> Result<Option<Number<'_>>, String> {
        match (&self.agent, self.generation, self.sequence) {
            (None, None, None) => Ok(None),
            (Some(agent), Some(generation), Some(sequence)) if (1..=LONGEST_AGENT).contains(&agent.len()) => {
                Ok(Some((agent, generation, sequence)))
            }
            (Some(agent), Some(_), Some(_)) => {
                Err(format!("'agent' has {} bytes; expected 1 to {LONGEST_AGENT}", agent.len()))
            }
            _ => Err("expected all of 'agent', 'generation' and 'sequence', or none of them".to_owned()),
        }
    }

    /// A hash of the statistics, which distinguishes different rows of the same number.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.learner, self.cluster, self.start_ms, self.end_ms, self.rows, &self.scores).hash(&mut hasher);
        let numbers = [self.distance].into_iter().chain(self.sums.iter().chain(&self.squares).copied());
        numbers.for_each(|number| number.to_bits().hash(&mut hasher));
        hasher.finish()
    }

    /// Checks that the row is of this model.
    pub(super) fn check_model(&self, expected: &ModelIdentity) -> Outcome {
        let (&Self { model, model_number: found, .. }, &ModelIdentity { hash, number }) = (self, expected);
        require(model == hash, || format!("the statistics are of the model {model}; expected {hash}"))?;
        require(found == number, || format!("'model_number' is {found}; expected {number}, that of the model"))
    }

    /// Checks the values, which are of these clusters.
    pub(super) fn check_values(&self, clusters: &Clusters) -> Outcome {
        let &Self { cluster, rows, distance, start_ms, end_ms, .. } = self;
        let (last, width) = (clusters.len().saturating_sub(1), clusters.width());
        require(cluster <= last, || format!("'cluster' is {cluster}; expected 0 to {last}"))?;
        require(start_ms <= end_ms, || format!("'end_ms' is {end_ms}; expected at least 'start_ms', {start_ms}"))?;
        as_many("sums", self.sums.len(), width)?;
        as_many("squares", self.squares.len(), width)?;
        as_many("scores", self.scores.len(), BINS)?;
        require(rows <= MOST, || format!("'rows' is {rows}; expected at most {MOST}"))?;
        let counted = self.scores.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
        let counted =
            counted.filter(|sum| *sum <= MOST).ok_or_else(|| format!("the sum of 'scores' is above {MOST}"))?;
        // Each row is counted, and a few unusual ones besides.
        require(rows <= counted, || format!("'scores' count {counted} rows; expected at least 'rows', {rows}"))?;
        let rows = rows as f64;
        let most = rows * clusters.largest_distance2(2.0 * LARGEST_ENCODED);
        let is_distance = (0.0..=most * (1.0 + ROUNDING)).contains(&distance);
        require(is_distance, || format!("'distance' is {distance}; expected 0 to {most}"))?;
        let mut sums = self.sums.iter().zip(&self.squares).enumerate();
        sums.try_for_each(|(place, (sum, square))| check_sums(place, rows, *sum, *square))
    }
}

/// Checks the sum and the sum of squares of `rows` values.
fn check_sums(place: usize, rows: f64, sum: f64, square: f64) -> Outcome {
    let most = rows * LARGEST_ENCODED * LARGEST_ENCODED;
    let is_square = (0.0..=most * (1.0 + ROUNDING)).contains(&square);
    require(is_square, || format!("'squares' has the value {square} at {place}; expected 0 to {most}"))?;
    // The inequality of Cauchy and Schwarz.
    let most = (rows * square).sqrt() * (1.0 + ROUNDING);
    require((-most..=most).contains(&sum), || {
        format!("'sums' has the value {sum} at {place}; expected -{most} to {most}, because of 'rows' and 'squares'")
    })
}

/// Checks a condition. A row has some hundred, so the error is made only where one is not met.
fn require(what: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if what { Ok(()) } else { Err(otherwise()) }
}

/// The error of a line, without its position, which is that of the line.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    format!("expected a row of statistics as a JSON object: {reason} (byte {})", error.column())
}
