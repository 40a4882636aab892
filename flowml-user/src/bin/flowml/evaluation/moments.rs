//! The times of a table's rows, and the times at which the meter wrote them.

use std::collections::BTreeMap;

use flowml_user::learning::batch::Labelled;
use flowml_user::learning::metrics::Moment;
use flowml_user::learning::preprocess::Values;
use flowml_user::session::{EndReason, Timeouts};

use crate::inputs::INTERVAL;

/// The times of all rows; None if the table has neither flows with their times nor host windows.
pub(crate) fn moments(table: &Labelled) -> Option<Vec<Moment>> {
    let numbers = |name: &str| match &table.frame.column(name)?.values {
        Values::Numbers(numbers) => Some(numbers),
        Values::Texts(_) => None,
    };
    if let (Some(from), Some(to)) = (numbers("window_start_ms"), numbers("window_end_ms")) {
        // A window is scored at the end of its last interval.
        let moment = |(&begin_ms, &end_ms): (&f64, &f64)| Moment { begin_ms, last_ms: end_ms, written_ms: end_ms };
        return Some(from.iter().zip(to).map(moment).collect());
    }
    let (first, last) = (numbers("bidirectional_first_seen_ms")?, numbers("bidirectional_last_seen_ms")?);
    let reasons = match table.frame.column("end_reason").map(|column| &column.values) {
        Some(Values::Texts(texts)) => Some(texts),
        _ => None,
    };
    let spans = spans(&table.inputs, first, last);
    let moment = |row: usize| {
        let (begin_ms, last_ms) = (first[row], last[row]);
        let span = spans[&table.inputs[row]];
        let reason = reasons.and_then(|reasons| EndReason::named(reasons[row].as_deref()?));
        let written_ms = reason.map_or(last_ms, |reason| written_ms(reason, begin_ms, last_ms, span));
        Moment { begin_ms, last_ms, written_ms }
    };
    Some((0..table.frame.rows()).map(moment).collect())
}

/// The times of the first and last packet of each input.
fn spans(inputs: &[u32], first: &[f64], last: &[f64]) -> BTreeMap<u32, (f64, f64)> {
    let mut spans = BTreeMap::new();
    for ((&input, &from), &to) in inputs.iter().zip(first).zip(last) {
        let span: &mut (f64, f64) = spans.entry(input).or_insert((from, to));
        *span = (span.0.min(from), span.1.max(to));
    }
    spans
}

/// The time at which a flow row was written, ms: the end of the interval in which its session ended, by the default
/// timeouts. If the end of the capture ended the session, it is that time. Intervals start at the first packet.
fn written_ms(reason: EndReason, first_ms: f64, last_ms: f64, (begin_ms, end_ms): (f64, f64)) -> f64 {
    let interval_ms = INTERVAL.as_secs_f64() * 1000.0;
    let Some(over_ms) = Timeouts::default().over_ms(reason, first_ms, last_ms) else { return end_ms };
    let intervals = ((over_ms - begin_ms) / interval_ms).ceil();
    (begin_ms + intervals * interval_ms).clamp(last_ms, end_ms)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flowml_user::learning::preprocess::{Frame, FrameColumn};

    use super::*;

    type Row = (f64, f64, Option<&'static str>, u32, f64);

    fn numbers(name: &str, values: &[f64]) -> FrameColumn {
        FrameColumn { name: name.to_owned(), learn: None, values: Values::Numbers(values.to_vec()) }
    }

    fn written(table: &Labelled) -> Vec<f64> {
        moments(table).expect("it has times").iter().map(|moment| moment.written_ms).collect()
    }

    #[test]
    fn a_flow_is_written_at_the_end_of_the_interval_in_which_it_ended() {
        let rows: [Row; 9] = [
            // first, last, reason, input, time of writing
            (100.0, 200_000.0, Some("forced_end"), 0, 200_000.0),
            (1000.0, 2000.0, Some("end_of_flow"), 0, 4100.0),
            (1000.0, 2100.0, Some("end_of_flow"), 0, 4100.0),
            (1000.0, 2101.0, Some("end_of_flow"), 0, 5100.0),
            (1000.0, 2000.0, Some("idle_timeout"), 0, 17_100.0),
            (5000.0, 120_000.0, Some("active_timeout"), 0, 130_100.0),
            // No reason, as in tables of NFStream.
            (1000.0, 2000.0, None, 0, 2000.0),
            // The capture ends before the interval.
            (50.0, 150.0, Some("end_of_flow"), 1, 2151.0),
            (50.0, 2151.0, Some("forced_end"), 1, 2151.0),
        ];
        let column = |of: fn(&Row) -> f64| rows.iter().map(of).collect::<Vec<_>>();
        let reasons = rows.iter().map(|row| row.2.map(Arc::from)).collect();
        let columns = vec![
            numbers("bidirectional_first_seen_ms", &column(|row| row.0)),
            numbers("bidirectional_last_seen_ms", &column(|row| row.1)),
            FrameColumn { name: "end_reason".to_owned(), learn: None, values: Values::Texts(reasons) },
        ];
        let inputs = rows.iter().map(|row| row.3).collect();
        let table = Labelled { frame: Frame::new(rows.len(), columns), labels: None, inputs };
        assert_eq!(written(&table), column(|row| row.4));
    }

    #[test]
    fn a_host_window_is_written_at_its_end_and_other_tables_have_no_times() {
        let columns = vec![numbers("window_start_ms", &[0.0]), numbers("window_end_ms", &[2000.0])];
        let table = Labelled { frame: Frame::new(1, columns), labels: None, inputs: vec![0] };
        assert_eq!(written(&table), [2000.0]);
        let other = Labelled { frame: Frame::new(1, vec![numbers("a", &[1.0])]), labels: None, inputs: vec![0] };
        assert_eq!(moments(&other), None);
    }
}
