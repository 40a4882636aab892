//! Host windows: what each address did as initiator and as responder over the last two seconds.

mod observation;
mod role;
mod slice;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use ahash::RandomState;
use flowml_common::flow::{Address, FlowKey, FlowStats, PartialFlow, Sender};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub(crate) use self::observation::hash_address;
pub use self::role::Role;

use self::observation::{is_housekeeping, observe};
use self::slice::{Host, MAX_HOSTS, Slice};
use super::slow::SlowView;
use crate::session::{BeginWindows, Standing, informed};

/// A window advances by at least its span divided by this number. Drains at shorter intervals share a slice.
pub const SLICES: u64 = 8;

/// The activity of an address in the last window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostWindow {
    /// The address.
    pub address: Address,
    /// Start of the window, ns of the capture's clock.
    pub start_ns: u64,
    /// End of the window, ns of the capture's clock.
    pub end_ns: u64,
    /// Activity in flows of which the address is the initiator.
    pub source: Role,
    /// Activity in flows of which the address is the responder.
    pub destination: Role,
}

impl HostWindow {
    /// Packets in either role, in both directions.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.source.packets() + self.destination.packets()
    }
}

/// The windows of all active addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hosts {
    /// One window for each address, sorted by address.
    pub windows: Vec<HostWindow>,
    /// Addresses that were left out because there were too many. One address may be counted more than once.
    pub left_out: u64,
}

/// The windows of all addresses, advanced by each drain. Memory is bounded whatever addresses packets carry.
#[derive(Serialize, Deserialize)]
pub struct HostWindows {
    span_ns: u64,
    seed: u64,
    slices: VecDeque<Slice>,
    /// The slice that is being filled. Its start is set when its window ends.
    current: Option<Slice>,
    /// The windows that ended last.
    latest: IndexMap<Address, HostWindow, RandomState>,
    slow: SlowView,
    /// Time at which the last windows ended, ns.
    ended_ns: u64,
}

impl HostWindows {
    /// Windows over the last `span`, which is two seconds by default.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            span_ns,
            seed: 0,
            slices: VecDeque::new(),
            current: None,
            latest: IndexMap::default(),
            slow: SlowView::default(),
            ended_ns: 0,
        }
    }

    /// Sets the secret with which large sets are sampled, so that nobody can choose addresses that the sample misses.
    /// Without it, the same capture gives the same windows.
    #[must_use]
    pub(crate) const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Removes all content, because the clock of the capture starts again.
    pub fn forget(&mut self) {
        (self.current, self.slices, self.latest) = (None, VecDeque::new(), IndexMap::default());
        (self.slow, self.ended_ns) = (SlowView::default(), 0);
    }

    /// Counts a partial flow according to its place in its session. Housekeeping of a link is not counted, because it
    /// is no activity of a host.
    pub fn add(&mut self, partial: &PartialFlow, standing: Standing) {
        if is_housekeeping(&partial.key) {
            return;
        }
        if let Some(informed) = informed(&partial.key, &partial.stats) {
            self.add_error(partial, standing, informed);
            return;
        }
        self.slow.add(partial, standing);
        let [source, destination] = standing.addresses(&partial.key);
        let seen = observe(&partial.key, &partial.stats, standing, self.seed);
        let [source_hash, destination_hash] = [source, destination].map(|address| hash_address(address, self.seed));
        let first_ns = partial.stats.first_ns();
        let slice = self.current.get_or_insert_with(|| Slice::new(first_ns));
        slice.hosts.entry(source).or_default().source.add(&seen, destination_hash);
        slice.hosts.entry(destination).or_default().destination.add(&seen.turned(), source_hash);
        if slice.hosts.len() >= 2 * MAX_HOSTS {
            slice.prune();
        }
    }

    /// Counts a single-packet flow under overload, and returns whether its initiator has a window. At the limit of 8192
    /// addresses, a new initiator gets no window: hosts with one packet would be left out first in any case.
    pub(crate) fn add_slight(&mut self, partial: &PartialFlow, standing: Standing) -> bool {
        let [source, destination] = standing.addresses(&partial.key);
        let is_left_out = |slice: &Slice| slice.hosts.len() >= MAX_HOSTS && !slice.hosts.contains_key(&source);
        let is_of_flow = informed(&partial.key, &partial.stats).is_none() && !is_housekeeping(&partial.key);
        match &mut self.current {
            Some(slice) if is_of_flow && is_left_out(slice) => {
                slice.left_out += 1;
                let seen = observe(&partial.key, &partial.stats, standing, self.seed).turned();
                let host = slice.hosts.entry(destination).or_default();
                host.destination.add(&seen, hash_address(source, self.seed));
                false
            }
            _ => {
                self.add(partial, standing);
                true
            }
        }
    }

    /// Counts the packets of ICMP errors in the roles of the flow that they quote, because they are no flow to a peer.
    /// The sender has no role in that flow unless it is the flow's other end.
    fn add_error(&mut self, partial: &PartialFlow, standing: Standing, informed: Sender) {
        let seen = observe(&partial.key, &partial.stats, Standing { new: false, ..standing }, self.seed);
        let first_ns = partial.stats.first_ns();
        let slice = self.current.get_or_insert_with(|| Slice::new(first_ns));
        for end in [informed, informed.opposite()] {
            if end != informed && !standing.about_sender {
                continue;
            }
            let host = slice.hosts.entry(partial.key.endpoint(end).address).or_default();
            if end == standing.initiator {
                host.source.add_counts(&seen.counts);
            } else {
                host.destination.add_counts(&seen.counts.turned());
            }
        }
        if slice.hosts.len() >= 2 * MAX_HOSTS {
            slice.prune();
        }
    }

    /// Moves all windows forward over `silence_ns`, a period without packets. All windows must be empty. The period is
    /// a whole number of slices, so that later slices begin where they would have begun.
    pub fn pass(&mut self, silence_ns: u64) {
        for slice in self.slices.iter_mut().chain(&mut self.current) {
            debug_assert!(slice.hosts.is_empty(), "a silence begins when the windows are empty");
            slice.start_ns += silence_ns;
            slice.end_ns += silence_ns;
        }
    }

    /// Ends the window at `at_ns`, the time of a drain, after all partial flows of the drain were added.
    pub fn advance(&mut self, at_ns: u64) -> Hosts {
        let mut current = self.current.take().unwrap_or_else(|| Slice::new(at_ns));
        // The start of the first slice is unknown. It is assumed to be no shorter than the slices that are joined.
        let first_ns = current.start_ns.min(at_ns.saturating_sub(self.span_ns / SLICES));
        current.start_ns = self.slices.back().map_or(first_ns, |slice| slice.end_ns);
        current.end_ns = at_ns;
        self.ended_ns = at_ns;
        current.prune();
        self.slices.push_back(current);
        // The middle of a slice decides, so that a slightly late or early drain does not change the number of slices.
        let begin_ns = at_ns.saturating_sub(self.span_ns);
        while self.slices.len() > 1
            && self.slices.front().is_some_and(|slice| slice.start_ns.midpoint(slice.end_ns) < begin_ns)
        {
            self.slices.pop_front();
        }
        let mut hosts = self.collect();
        if self.slices.back().is_some_and(|slice| slice.end_ns - slice.start_ns < self.span_ns / SLICES) {
            self.current = self.slices.pop_back();
        }
        self.latest.clear();
        self.latest.extend(hosts.windows.iter().map(|window| (window.address, *window)));
        hosts.windows.retain(HostWindow::is_of_a_host);
        hosts
    }

    /// The activity of both hosts of a flow in the windows that ended last. `counted` are the packets of the flow that
    /// were counted in them.
    ///
    /// A host without a window was left out because there were too many. It is then among those with the fewest
    /// packets, so its activity is taken to be this flow only.
    #[must_use]
    pub fn around(&self, key: &FlowKey, counted: &FlowStats, standing: Standing) -> BeginWindows {
        let [source, destination] = standing.addresses(key);
        // An ICMP error opens no flow of its own.
        let new = standing.new && informed(key, counted).is_none();
        let seen = || observe(key, counted, Standing { new, ..standing }, self.seed);
        let source_role = self.latest.get(&source).map(|host| host.source).filter(Role::is_active);
        let destination_role = self.latest.get(&destination).map(|host| host.destination).filter(Role::is_active);
        BeginWindows {
            source: source_role.unwrap_or_else(|| seen().alone()).counts(),
            destination: destination_role.unwrap_or_else(|| seen().turned().alone()).counts(),
            slow: self.slow.around(key, standing, self.ended_ns),
        }
    }

    /// Joins the slices, address by address.
    fn collect(&mut self) -> Hosts {
        let (Some(first), Some(last)) = (self.slices.front(), self.slices.back()) else { return Hosts::default() };
        let (start_ns, end_ns) = (first.start_ns, last.end_ns);
        // The copies of the addresses are adjacent, so that the sort does not wait for memory.
        let slices = self.slices.iter_mut().flat_map(|slice| &mut slice.hosts);
        let mut found: Vec<_> = slices.map(|(address, host)| (*address, host)).collect();
        found.sort_by_key(|(address, _)| *address);
        let mut windows = Vec::new();
        for same in found.chunk_by_mut(|a, b| a.0 == b.0) {
            let [(address, host), others @ ..] = same else { continue };
            let window = |host: &mut Host| HostWindow {
                address: *address,
                start_ns,
                end_ns,
                source: host.source.role(),
                destination: host.destination.role(),
            };
            windows.push(if others.is_empty() {
                window(host)
            } else {
                let mut joined = host.clone();
                others.iter().for_each(|(_, other)| joined.merge(other));
                window(&mut joined)
            });
        }
        let left_out =
            self.slices.iter().map(|slice| slice.left_out).sum::<u64>() + keep_heaviest(&mut windows, MAX_HOSTS);
        Hosts { windows, left_out }
    }
}

/// Keeps only the `limit` windows with the most packets, and returns the number of those removed.
fn keep_heaviest(windows: &mut Vec<HostWindow>, limit: usize) -> u64 {
    let excess = windows.len().saturating_sub(limit);
    if excess > 0 {
        windows.select_nth_unstable_by_key(limit, |window| (Reverse(window.packets()), window.address));
        windows.truncate(limit);
        windows.sort_by_key(|window| window.address);
    }
    excess as u64
}
