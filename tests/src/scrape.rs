//! Reads the agent's metrics.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::Host;

/// The address at which agents serve metrics in tests. Each agent is in a namespace of its own.
pub const METRICS: &str = "127.0.0.1:9750";

/// Longest time for an answer on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer of `/metrics`.
#[derive(Debug, Clone)]
pub struct Scrape(String);

impl Scrape {
    /// Requests the metrics that an agent serves at [`METRICS`] of a host.
    pub fn of(host: &Host) -> Result<Self> {
        host.enter(|| {
            let mut stream = TcpStream::connect(METRICS).context("connecting to the agent's metrics")?;
            stream.set_read_timeout(Some(LIMIT))?;
            write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).context("reading the agent's metrics")?;
            ensure!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
            Ok(Self(answer))
        })?
    }

    /// The value of a series. `series` is the name of a metric, with labels if it has any.
    pub fn value(&self, series: &str) -> Result<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.with_context(|| format!("there is no metric {series}"))?;
        value.trim().parse().with_context(|| format!("{value} of {series}"))
    }

    /// As [`Self::value`], for a counter of whole numbers.
    pub fn count(&self, series: &str) -> Result<u64> {
        self.value(series).map(|value| value as u64)
    }

    /// All series of a metric with labels: labels and value.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
            Some((labels, value.trim().parse().ok()?))
        })
    }

    /// The sum of all series of a metric with labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.series(name).map(|(_, value)| value).sum()
    }

    /// Reads a histogram.
    pub fn histogram(&self, name: &str) -> Result<Histogram> {
        let bucket = |(labels, value): (&str, f64)| {
            let bound = labels.split_once("le=\"")?.1.split('"').next()?;
            Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, value))
        };
        Ok(Histogram {
            sum: self.value(&format!("{name}_sum"))?,
            count: self.value(&format!("{name}_count"))?,
            buckets: self.series(&format!("{name}_bucket")).filter_map(bucket).collect(),
        })
    }
}

/// A histogram of a metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// The sum of all observed values.
    pub sum: f64,
    /// The number of observed values.
    pub count: f64,
    /// Upper bounds in ascending order, each with the number of values that do not exceed it.
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// The values that were added since an earlier scrape.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |n: usize| earlier.buckets.get(n).map_or(0.0, |bucket| bucket.1);
        let buckets = self.buckets.iter().enumerate().map(|(n, (bound, count))| (*bound, count - before(n)));
        Self { sum: self.sum - earlier.sum, count: self.count - earlier.count, buckets: buckets.collect() }
    }

    /// The mean, or 0 without values.
    pub fn mean(&self) -> f64 {
        if self.count > 0.0 { self.sum / self.count } else { 0.0 }
    }

    /// The number of values above `bound`, which must be one of the bounds.
    pub fn beyond(&self, bound: f64) -> f64 {
        self.count - self.buckets.iter().filter(|bucket| bucket.0 <= bound).map(|bucket| bucket.1).fold(0.0, f64::max)
    }

    /// The smallest bound that no value exceeds.
    pub fn at_most(&self) -> f64 {
        let whole = self.buckets.iter().find(|bucket| bucket.1 >= self.count);
        whole.filter(|_| self.count > 0.0).map_or(0.0, |bucket| bucket.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_read() -> Result<()> {
        let text = "# TYPE a counter\na_total 3\nb_total{of=\"x y\"} 1\nb_total{of=\"z\"} 2\nc_sum 0.5\nc_count 4\n\
                    c_bucket{le=\"0.1\"} 2\nc_bucket{le=\"0.3\"} 4\nc_bucket{le=\"+Inf\"} 4\n# EOF\n";
        let scrape = Scrape(text.to_owned());
        assert_eq!(
            (scrape.count("a_total")?, scrape.value("b_total{of=\"z\"}")?, scrape.sum("b_total")),
            (3, 2.0, 3.0)
        );
        assert!(scrape.value("a").is_err());
        let histogram = scrape.histogram("c")?;
        assert_eq!((histogram.mean(), histogram.beyond(0.1), histogram.at_most()), (0.125, 2.0, 0.3));
        let nothing = histogram.since(&histogram);
        assert_eq!((nothing.mean(), nothing.beyond(0.1), nothing.at_most()), (0.0, 0.0, 0.0));
        Ok(())
    }
}
