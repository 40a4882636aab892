//! The progress of drains, in memory that outlives the agent: if it is killed at any time, the next agent continues from there.
//!
//! Drain `n` (from 0 on) ends epoch `n & 1`. Each of its steps ends with the write of one word:
//!
//! 1. The number of the epoch changes: the programs continue in the other epoch.
//! 2. The epoch was copied, and the packet accounting with this copy was written next to the valid one: `committed`
//!    becomes `n + 1`. Before this step no part of the copy is passed on.
//! 3. The partitions were cleared: `cleared` becomes `n + 1`.
//!
//! An agent that ends before step 2 leaves an epoch that the next agent drains. An agent that ends between steps 2 and
//! 3 leaves partitions that the next agent clears without counting them.

use std::mem::offset_of;

use bytemuck::Zeroable;
use flowml_common::handover::{Account, Constants, Handover, LAYOUT, MAGIC};
use flowml_common::table::{Count, Head};

use super::shared::SharedArray;

/// The state of the last drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The drain is complete, and the current epoch counts.
    Counting,
    /// The drained epoch has ended, and is not in the packet accounting.
    Ended,
    /// The counts of the drain are in the packet accounting, and may still be in the partitions.
    Committed,
}

/// The state in the map. Only this agent uses it.
#[derive(Debug)]
pub(super) struct Ledger {
    shared: SharedArray<Handover>,
    /// The packet accounting at the start of this agent, with all unreported counts.
    earlier: Account,
}

impl Ledger {
    /// The state of a new table.
    pub(super) fn begin(mut shared: SharedArray<Handover>, constants: Constants, namespace: u64) -> Self {
        let new = Handover { start: [MAGIC, LAYOUT], namespace, constants, ..Handover::zeroed() };
        // SAFETY: only agents read and write there, and only this one uses the map.
        unsafe { shared.write(0, 0, &new) };
        Self { shared, earlier: Account::zeroed() }
    }

    /// The state of a table that earlier agents have drained.
    pub(super) fn go_on(shared: SharedArray<Handover>) -> Self {
        let mut ledger = Self { shared, earlier: Account::zeroed() };
        ledger.earlier = settled(ledger.now());
        ledger
    }

    fn now(&self) -> &Handover {
        // SAFETY: as in `begin`; this agent writes only through `&mut self`.
        unsafe { &self.shared.slice(0, 1)[0] }
    }

    /// The counts that earlier agents took.
    pub(super) const fn earlier(&self) -> &Account {
        &self.earlier
    }

    /// The state of the last drain, if `epoch` is the epoch that the programs write to. `None` if no agent leaves such
    /// a state.
    pub(super) fn step(&self, epoch: u32) -> Option<Step> {
        let Handover { committed, cleared, .. } = *self.now();
        let goes_on = u64::from(epoch) == committed & 1;
        match committed.checked_sub(cleared)? {
            0 if goes_on => Some(Step::Counting),
            0 => Some(Step::Ended),
            1 if goes_on => Some(Step::Committed),
            _ => None,
        }
    }

    /// Adds a drain to the packet accounting.
    pub(super) fn commit(&mut self, head: &Head, in_flows: Count) {
        let Handover { committed, .. } = *self.now();
        let Account { received: earlier, unreported, .. } = self.earlier;
        let mut account = Account { earlier, unreported, ..*valid(self.now()) };
        account.add(head, in_flows);
        let place = size_of::<Account>() * ((committed + 1) & 1) as usize;
        // SAFETY: as in `begin`.
        unsafe { self.shared.write(0, offset_of!(Handover, accounts) + place, &account) };
        self.shared.store_u64(0, offset_of!(Handover, committed), committed + 1);
    }

    /// Records that the partitions of the last committed drain are clear.
    pub(super) fn set_cleared(&mut self) {
        let committed = self.now().committed;
        self.shared.store_u64(0, offset_of!(Handover, cleared), committed);
    }

    /// Number of drains by all agents.
    pub(super) fn drains(&self) -> u64 {
        self.now().committed
    }

    /// Records which part of the counts so far may be in no record: the open sessions of an agent that ends normally.
    pub(super) fn set_unreported(&mut self, unreported: Count) {
        self.earlier.unreported = unreported;
        let valid = offset_of!(Handover, accounts) + size_of::<Account>() * (self.drains() & 1) as usize;
        let place = valid + offset_of!(Account, unreported);
        // If the agent is killed between these writes, the packets are correct and the bytes are the previous ones.
        self.shared.store_u64(0, place + offset_of!(Count, packets), unreported.packets);
        self.shared.store_u64(0, place + offset_of!(Count, bytes), unreported.bytes);
    }

    /// Records that everything that this agent took was written.
    pub(super) fn set_reported(&mut self) {
        let committed = self.now().committed;
        self.shared.store_u64(0, offset_of!(Handover, reported), committed);
    }
}

/// The valid copy of the packet accounting.
const fn valid(handover: &Handover) -> &Account {
    &handover.accounts[handover.committed as usize & 1]
}

/// The valid packet accounting, as the next agent uses it: counts that an agent did not record as reported are
/// unreported.
pub(super) fn settled(handover: &Handover) -> Account {
    let mut account = *valid(handover);
    if handover.reported != handover.committed {
        let Account { received, earlier, .. } = account;
        account.unreported.add(received.packets - earlier.packets, received.bytes - earlier.bytes);
    }
    account
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    /// Memory that outlives a ledger, as the map does.
    struct Memory(std::os::fd::OwnedFd);

    impl Memory {
        fn new() -> Self {
            let memory = memfd_create("handover", MemfdFlags::CLOEXEC).expect("memory");
            ftruncate(&memory, size_of::<Handover>() as u64).expect("its size");
            Self(memory)
        }

        fn map(&self) -> SharedArray<Handover> {
            SharedArray::map(&self.0, 1).expect("a mapping")
        }

        fn begin(&self) -> Ledger {
            Ledger::begin(self.map(), Constants::zeroed(), 7)
        }

        fn go_on(&self) -> Ledger {
            Ledger::go_on(self.map())
        }
    }

    /// The counters of an epoch with `packets` packets, of which `skipped` are in no flow.
    fn epoch(packets: u64, skipped: u64) -> (Head, Count) {
        let mut head = Head::zeroed();
        head.received.add(packets, 100 * packets);
        head.skipped[0].add(skipped, 100 * skipped);
        (head, Count { packets: packets - skipped, bytes: 100 * (packets - skipped) })
    }

    #[test]
    fn the_next_agent_finds_each_step() {
        let memory = Memory::new();
        let mut ledger = memory.begin();
        for drain in 0..5_u32 {
            let (before, after) = (drain & 1, (drain & 1) ^ 1);
            assert_eq!(memory.go_on().step(before), Some(Step::Counting));
            // The number of the epoch is not in this memory. The programs' variable has changed.
            assert_eq!(memory.go_on().step(after), Some(Step::Ended));
            let (head, in_flows) = epoch(10, 3);
            ledger.commit(&head, in_flows);
            assert_eq!(memory.go_on().step(after), Some(Step::Committed));
            assert_eq!(memory.go_on().step(before), None, "no epoch ends before the previous one is clear");
            assert_eq!(memory.go_on().earlier().received.packets, u64::from(drain + 1) * 10);
            ledger.set_cleared();
        }
    }

    #[test]
    fn an_uncommitted_account_is_not_valid() {
        let memory = Memory::new();
        let mut ledger = memory.begin();
        let (head, in_flows) = epoch(10, 3);
        ledger.commit(&head, in_flows);
        ledger.set_cleared();
        let held = *valid(ledger.now());
        // The part of the next copy that was written.
        let other = offset_of!(Handover, accounts);
        let nonsense = [0xff_u8; size_of::<Account>() / 2];
        // SAFETY: nothing else uses this memory.
        unsafe { ledger.shared.write(0, other, &nonsense) };
        assert_eq!(*valid(memory.go_on().now()), held);
        assert_eq!(held.received.packets, held.in_flows.packets + held.skipped[0].packets);
    }

    #[test]
    fn unreported_counts_are_those_of_agents_that_did_not_end_normally() {
        let memory = Memory::new();
        let mut first = memory.begin();
        let take = |ledger: &mut Ledger, packets| {
            let (head, in_flows) = epoch(packets, 1);
            ledger.commit(&head, in_flows);
            ledger.set_cleared();
        };
        take(&mut first, 10);
        take(&mut first, 20);
        first.set_reported();
        // It ended normally.
        let mut second = memory.go_on();
        assert_eq!((second.earlier().received.packets, second.earlier().unreported.packets), (30, 0));
        take(&mut second, 5);
        // It was killed, and so was the third before it took anything.
        let third = memory.go_on();
        assert_eq!((third.earlier().received.packets, third.earlier().unreported.packets), (35, 5));
        let mut fourth = memory.go_on();
        assert_eq!(fourth.earlier(), third.earlier());
        take(&mut fourth, 7);
        fourth.set_reported();
        let fifth = memory.go_on();
        assert_eq!((fifth.earlier().received.packets, fifth.earlier().unreported.packets), (42, 5));
        assert_eq!(fifth.earlier().unreported.bytes, 500);
    }

    /// A change of one of these, or of its meaning, needs a new [`LAYOUT`].
    #[test]
    fn the_layout_has_its_number() {
        use flowml_common::content::PayloadChunk;
        use flowml_common::counts::{ColdCounters, FlowEntry};
        use flowml_common::table::Bucket;
        let sizes = [
            size_of::<Handover>(),
            size_of::<Head>(),
            size_of::<Count>(),
            size_of::<Bucket>(),
            size_of::<FlowEntry>(),
            size_of::<ColdCounters>(),
            size_of::<PayloadChunk>(),
        ];
        assert_eq!((LAYOUT, sizes), (4, [600, 1024, 16, 32, 256, 192, 64]));
    }
}
