//! The result of a measurement: the ratio of two costs over many rounds.

use serde_json::json;

/// flowml's cost divided by the cost of its peer, for each round.
pub(crate) struct Ratio {
    pub(crate) name: String,
    /// The largest acceptable median, if there is a goal.
    pub(crate) goal: Option<f64>,
    pub(crate) rounds: Vec<f64>,
}

impl Ratio {
    /// Whether the goal is met. Without a goal it is.
    pub(crate) fn is_met(&self) -> bool {
        self.goal.is_none_or(|goal| median(&self.rounds) <= goal)
    }

    fn spread(&self) -> [f64; 2] {
        let fold = |pick: fn(f64, f64) -> f64| self.rounds.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        [fold(f64::min), fold(f64::max)]
    }
}

/// The median: the middle value, or the mean of the two middle values. NaN without values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)])
}

pub(crate) fn print(ratios: &[Ratio]) {
    println!("{:<45} {:>7} {:>7}  {:<14}", "ratio (ours / theirs)", "median", "goal", "spread");
    for ratio in ratios {
        let [least, most] = ratio.spread();
        let goal = ratio.goal.map_or_else(|| "–".to_owned(), |goal| format!("≤ {goal:.2}"));
        let verdict = match (ratio.goal, ratio.is_met()) {
            (None, _) => "",
            (Some(_), true) => "met",
            (Some(_), false) => "MISSED",
        };
        let spread = format!("{least:.3}–{most:.3}");
        println!("{:<45} {:>7.3} {goal:>7}  {spread:<14} {verdict}", ratio.name, median(&ratio.rounds));
    }
}

/// The ratios as JSON.
pub(crate) fn json(ratios: &[Ratio]) -> String {
    let rows = ratios.iter().map(|ratio| {
        json!({ "name": ratio.name, "median": median(&ratio.rounds), "goal": ratio.goal, "spread": ratio.spread() })
    });
    let mut text = json!({ "ratios": rows.collect::<Vec<_>>() }).to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{Ratio, median};

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_goal_is_met_by_the_median_and_never_without_values() {
        let ratio = |rounds: &[f64]| Ratio { name: String::new(), goal: Some(0.5), rounds: rounds.to_vec() };
        assert!(ratio(&[0.1, 0.5, 9.0]).is_met());
        assert!(!ratio(&[0.1, 0.6, 0.6]).is_met());
        assert!(!ratio(&[]).is_met());
    }
}
