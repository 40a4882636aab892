//! Metrics of a live run, and the server from which Prometheus scrapes them.

mod metrics;
mod observer;
mod scrape;
#[cfg(test)]
mod tests;

pub(crate) use self::metrics::Metrics;
pub(crate) use self::scrape::Scrapes;
