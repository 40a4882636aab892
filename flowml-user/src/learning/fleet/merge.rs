//! Reads rows of statistics of one model, and makes the next model of them.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use ahash::RandomState;

use super::error::FleetError;
use super::next::Next;
use super::row::StatisticsRow;
use super::total::Total;
use crate::learning::checked::Checked;
use crate::learning::model_file::{FleetOrigin, ModelError, TrafficModel};
use crate::learning::online::fitted::Fitted;
use crate::learning::online::settings::Settings;
use crate::learning::statistics::{ModelHash, ModelIdentity};

/// The longest line, bytes. A row of statistics has some ten thousand.
const LONGEST_LINE: usize = 1 << 20;

/// The largest number of rows with a number of their own, which are remembered to find doubled ones. An engine adds more
/// rows than that.
const MOST_NUMBERED: usize = 1 << 22;

/// The least number of rows of a learner, that of a warm-up. With fewer its model stays as it is.
const LEAST_ROWS: u64 = 300;

/// A learner of the model, and the statistics of its rows.
struct Merging {
    name: String,
    settings: Settings,
    parent: Fitted,
    totals: Vec<Total>,
}

/// Adds rows of statistics of a model.
pub struct Merge {
    model: TrafficModel,
    identity: ModelIdentity,
    learners: Vec<Merging>,
    /// The agents, each with a number of its own.
    agents: HashMap<String, u32, RandomState>,
    /// The rows with agent, generation and sequence, and a fingerprint of their content.
    numbered: HashMap<(u32, u64, u64), u64, RandomState>,
    taken: u64,
    doubled: u64,
    other: u64,
}

/// The merged statistics of a learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedLearner {
    /// The name: `flows` or `hosts`.
    pub name: String,
    /// The number of its rows.
    pub rows: u64,
    /// Whether the rows were enough. If not, its model is that of the parent.
    pub is_new: bool,
    /// The number of columns whose scale is new.
    pub rescaled: usize,
}

/// The next model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The content of its file.
    pub text: String,
    /// Its identity.
    pub identity: ModelIdentity,
    /// The learners.
    pub learners: Vec<MergedLearner>,
    /// The rows of statistics that were added.
    pub taken: u64,
    /// The rows of statistics that were received before.
    pub doubled: u64,
    /// The rows of other types.
    pub other: u64,
    /// The number of agents, as far as rows name them.
    pub agents: usize,
}

impl Merged {
    /// Writes the file of the model.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ModelError> {
        TrafficModel::write_text(path, &self.text)
    }
}

impl Merge {
    /// Begins with the model under which the statistics were gathered.
    ///
    /// # Errors
    /// If its learners are inconsistent.
    pub fn new(model: TrafficModel) -> Result<Self, ModelError> {
        let learner = |(name, settings, parent): (String, Settings, Fitted)| {
            let totals = vec![Total::new(parent.clusters.width()); parent.clusters.len()];
            Merging { name, settings, parent, totals }
        };
        let learners = model.models()?.into_iter().map(learner).collect();
        let (identity, agents, numbered) = (model.identity(), HashMap::default(), HashMap::default());
        Ok(Self { model, identity, learners, agents, numbered, taken: 0, doubled: 0, other: 0 })
    }

    /// Adds the rows of a stream of JSON lines. `place` is for error messages. Rows of other types are left out.
    ///
    /// # Errors
    /// If the stream cannot be read, or a line is no row of statistics of this model.
    pub fn add(&mut self, place: &str, mut lines: impl BufRead) -> Result<(), FleetError> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = lines.by_ref().take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line);
            let read = read.map_err(|source| FleetError::Read { place: place.to_owned(), source })?;
            if read == 0 {
                break;
            }
            let added = match line.len() {
                ..=LONGEST_LINE => self.add_line(line.trim_ascii()),
                _ => Err(format!("the line is longer than {LONGEST_LINE} bytes, the limit")),
            };
            added.map_err(|reason| FleetError::Row { place: place.to_owned(), line: number, reason })?;
        }
        Ok(())
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        let Some(row) = StatisticsRow::parse(line)? else {
            self.other += 1;
            return Ok(());
        };
        row.check_model(&self.identity)?;
        let names =
            || self.learners.iter().map(|learner| format!("'{}'", learner.name)).collect::<Vec<_>>().join(" or ");
        let place = self.learners.iter().position(|learner| learner.name == row.learner);
        let place = place.ok_or_else(|| format!("'learner' is {:?}; expected {}", row.learner, names()))?;
        let clusters = &self.learners[place].parent.clusters;
        row.check_values(clusters)?;
        if self.is_doubled(&row)? {
            self.doubled += 1;
            return Ok(());
        }
        self.taken += 1;
        self.learners[place].totals[row.cluster].add(&row);
        Ok(())
    }

    /// Whether a row of the same number was added before.
    fn is_doubled(&mut self, row: &StatisticsRow) -> Result<bool, String> {
        let Some((agent, generation, sequence)) = row.number()? else { return Ok(false) };
        let next = self.agents.len() as u32;
        let agent = match self.agents.get(agent) {
            Some(known) => *known,
            None => *self.agents.entry(agent.to_owned()).or_insert(next),
        };
        let (number, fingerprint) = ((agent, generation, sequence), row.fingerprint());
        match self.numbered.get(&number) {
            Some(known) if *known == fingerprint => Ok(true),
            Some(_) => Err("an earlier row with the same agent, generation and sequence has other values".to_owned()),
            None if self.numbered.len() >= MOST_NUMBERED => Err(format!(
                "there are more than {MOST_NUMBERED} rows with a number of their own; add them in an engine first"
            )),
            None => {
                self.numbered.insert(number, fingerprint);
                Ok(false)
            }
        }
    }

    /// Makes the next model.
    ///
    /// # Errors
    /// If the rows are too few, or the model cannot be serialised.
    pub fn finish(self) -> Result<Merged, FleetError> {
        let Self { model, identity, learners, agents, taken, doubled, other, .. } = self;
        let mut models = Vec::new();
        let mut merged = Vec::new();
        for Merging { name, settings, parent, totals } in learners {
            let rows = totals.iter().map(Total::rows).fold(0, u64::saturating_add);
            let next = (rows >= LEAST_ROWS).then(|| Next::new(&parent, &totals).fitted(&settings));
            let rescaled = next.as_ref().map_or(0, |(_, rescaled)| *rescaled);
            merged.push(MergedLearner { name: name.clone(), rows, is_new: next.is_some(), rescaled });
            models.extend(next.map(|(fitted, _)| (name, fitted)));
        }
        if models.is_empty() {
            let found: Vec<String> =
                merged.iter().map(|learner| format!("{} of {}", learner.rows, learner.name)).collect();
            return Err(FleetError::TooFew { found: found.join(", "), least: LEAST_ROWS });
        }
        for (name, fitted) in &models {
            // No model is written that cannot be read.
            fitted
                .check()
                .and_then(|()| fitted.clusters.check())
                .map_err(|reason| ModelError::NotAModel { path: Path::new(name).to_owned(), reason })?;
        }
        let rows = merged.iter().map(|learner| (learner.name.clone(), learner.rows)).collect();
        let origin = FleetOrigin { number: identity.number.saturating_add(1), parent: identity.hash, rows };
        let text = model.with_models(&origin, models)?;
        let identity = ModelIdentity { hash: ModelHash::of(text.as_bytes()), number: origin.number };
        Ok(Merged { text, identity, learners: merged, taken, doubled, other, agents: agents.len() })
    }
}
