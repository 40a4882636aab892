//! Buckets of sixteen tags, and the numbers of their entries.

use bytemuck::{Pod, Zeroable};

/// Number of entries in a bucket.
pub const SLOTS: usize = 16;

/// The tags of sixteen entries, four in each word. All of them are compared at once.
///
/// A set of tags is a number with one bit for each slot (`bit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bucket(pub [u64; SLOTS / 4]);

/// The lowest bit of each lane.
const LANES: u64 = 0x0001_0001_0001_0001;
/// The tag of a retired entry. No flow has it.
pub(super) const RETIRED: u64 = 0xffff;
/// All bits of each lane except the highest.
const LOWER_BITS: u64 = 0x7fff * LANES;

impl Bucket {
    const WORDS: usize = SLOTS / 4;
    const ALL: u64 = 0x000f_000f_000f_000f;

    /// A bucket with at most this number of free tags is crowded.
    pub(super) const CROWDED: u32 = 4;

    /// The set of tags that are equal to `tag`. Only its lowest bit is reliable: above an equal lane the borrow of the
    /// subtraction also marks a lane that differs only in its lowest bit (Warren, "Hacker's Delight", §6-1).
    #[inline(always)]
    pub(super) const fn equal(&self, tag: u64) -> u64 {
        let (repeated, mut set, mut word) = (tag * LANES, 0, 0);
        while word < Self::WORDS {
            let difference = self.0[word] ^ repeated;
            let zero = difference.wrapping_sub(LANES) & !difference & LANES << 15;
            set |= zero >> (15 - word);
            word += 1;
        }
        set
    }

    /// The set of free tags. All bits are reliable, because no sum leaves its lane. This costs one more instruction for
    /// each word.
    #[inline(always)]
    pub(super) const fn free(&self) -> u64 {
        let (mut used, mut word) = (0, 0);
        while word < Self::WORDS {
            let tags = self.0[word];
            let not_zero = ((tags & LOWER_BITS) + LOWER_BITS) | tags;
            used |= (not_zero & LANES << 15) >> (15 - word);
            word += 1;
        }
        Self::ALL & !used
    }

    /// Writes `tag` into the free slot of `bit`.
    #[inline(always)]
    pub(super) const fn take(&mut self, bit: u64, tag: u64) {
        let mut word = 0;
        while word < Self::WORDS {
            self.0[word] |= (bit >> word & LANES) * tag;
            word += 1;
        }
    }

    /// Replaces the tag in a slot by that of a retired entry.
    #[inline(always)]
    pub(super) const fn retire(&mut self, slot: u32) {
        self.0[slot as usize % 4] |= RETIRED << (slot / 4 * 16);
    }

    /// The tag in a slot, 0 if it is free.
    #[inline(always)]
    pub(super) const fn at(&self, slot: u32) -> u64 {
        self.0[slot as usize % 4] >> (slot / 4 * 16) & 0xffff
    }

    /// Number of tags in use.
    pub const fn used(&self) -> u32 {
        SLOTS as u32 - count_of(self.free())
    }
}

/// Number of tags in a set. Kernel programs have no instruction that counts ones.
#[inline(always)]
pub(super) const fn count_of(set: u64) -> u32 {
    // Each lane has a bit for each word. Adjacent bits are added, then adjacent pairs.
    const SINGLES: u64 = 0b0101 * LANES;
    const PAIRS: u64 = 0b0011 * LANES;
    let pairs = (set & SINGLES) + ((set >> 1) & SINGLES);
    let lanes = (pairs & PAIRS) + ((pairs >> 2) & PAIRS);
    (lanes.wrapping_mul(LANES) >> 48) as u32
}

/// The lowest bit of a set, or 0.
#[inline(always)]
pub(super) const fn lowest(set: u64) -> u64 {
    set & set.wrapping_neg()
}

/// The bit of a slot in a set of tags: slot `4 × lane + word` is bit `16 × lane + word`.
#[inline(always)]
pub(super) const fn bit(slot: u32) -> u64 {
    1 << (slot / 4 * 16 + slot % 4)
}

/// The slot of a bit, by a perfect hash. Kernel programs have no instruction that counts zeroes.
#[inline(always)]
pub(super) const fn slot(bit: u64) -> u32 {
    (SLOTS_BY_WINDOW >> (window(bit) * 4)) as u32 % SLOTS as u32
}

/// The multiplier contains four parts of a de Bruijn sequence, at the positions where the bits shift its windows of
/// four bits (Leiserson, Prokop and Randall, "Using de Bruijn Sequences to Index a 1 in a Computer Word", 1998).
#[inline(always)]
const fn window(bit: u64) -> u64 {
    bit.wrapping_mul(0x0800_9a00_ae00_f000) >> 60
}

/// Four bits for each window: the slot whose bit selects it.
const SLOTS_BY_WINDOW: u64 = {
    let (mut slots, mut slot) = (0, 0);
    while slot < SLOTS as u32 {
        slots |= (slot as u64) << (window(bit(slot)) * 4);
        slot += 1;
    }
    slots
};

/// The numbers of the entries in use, in ascending order.
pub fn used(buckets: &[Bucket]) -> impl Iterator<Item = usize> {
    (0..).zip(buckets).flat_map(|(number, bucket)| {
        let free = bucket.free();
        (0..SLOTS as u32)
            .filter(move |slot| free & bit(*slot) == 0)
            .map(move |slot| entry_number(number, slot) as usize)
    })
}

/// The number of an entry in its partition. The entries of a bucket fill one page of memory. If the flow is not at its
/// home, the processor already has the address of the page.
#[inline(always)]
pub const fn entry_number(bucket: u32, slot: u32) -> u32 {
    bucket * SLOTS as u32 + slot
}
