//! Tests of the charts: each is drawn with few values.

use flowml_user::learning::metrics::Curve;

use super::super::colour::Colour;
use super::*;

fn is_drawn(chart: &Chart) {
    let svg = chart.markup().into_string();
    assert!(svg.contains("viewBox=\"0 0 ") && svg.ends_with("</svg></div>"), "{svg}");
    assert!(svg.contains("var(--") && !svg.contains("\"#"), "colours are the page's: {svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn every_chart_can_be_drawn_with_few_values() {
    let curve = Curve { x: vec![0.0, 0.5, 1.0], y: vec![0.0, 0.9, 1.0] };
    is_drawn(&curves("ROC", ["x", "y"], &[(Colour::Series(0), &curve)], true));
    let steps = vec![(0.0, 1000.0, 5.0), (1000.0, 2000.0, 0.0), (5000.0, 6000.0, 7.0)];
    for (steps, bands) in [(steps, vec![500.0..600.0]), (Vec::new(), Vec::new())] {
        let panel = Panel::new("packets/s", steps, Colour::Series(1));
        is_drawn(&panels("traffic", 0.0..6000.0, &[panel.clone(), panel], &bands));
    }
    for points in [vec![(0.0, 0.0), (1.0, -1.0)], vec![(2.0, 2.0)], Vec::new()] {
        let clouds = [false, true].map(|ringed| Cloud { colour: Colour::Series(2), points: points.clone(), ringed });
        is_drawn(&cloud("clusters", ["a", "b"], &clouds));
    }
    for (quantiles, logarithmic) in
        [([0.0, 1.0, 10.0, 1e3, 1e9], true), ([0.0; 5], true), ([0.1, 0.2, 0.3, 0.4, 1.0], false), ([-3.0; 5], false)]
    {
        let groups = vec![("1".to_owned(), Colour::Other, Spread { quantiles })];
        is_drawn(&boxes(&Boxes { name: "bytes".to_owned(), logarithmic, groups }));
    }
}
