//! Finding the entry of a packet's flow, or starting one.

use crate::flow::{FlowKey, SYN};
use crate::packet::{Hook, Packet};
use crate::time::Stamp;
use crate::tunnel::Outer;

use super::bucket::{Bucket, SLOTS, bit, count_of, entry_number, lowest, slot};
use super::place::{Place, place};
use super::storage::Storage;

/// A free tag of a bucket, as a bit.
#[derive(Clone, Copy)]
struct Room {
    bucket: u32,
    bit: u64,
    /// Number of free tags in the bucket; 1 for a free home, 0 if there is none.
    free: u32,
}

/// The result of a search: the flow's own entry, or a free one, with its number.
#[derive(Clone, Copy)]
enum Found<L> {
    Own(u32, L),
    Free(u32, L, Room),
}

/// Searches for the flow at its home and in its buckets. `None` if it is in none of them and they have no room for it.
///
/// A bucket has no tag twice. If the flow's tag belongs to another flow, this flow is not in the bucket and cannot be
/// added to it. The third bucket is searched only if the others have no room. They never have room again, so a flow in
/// the third bucket is always found.
#[inline(always)]
fn find<S: Storage>(storage: &mut S, key: &FlowKey, place: &Place) -> Option<Found<S::Located>> {
    let (first, home) = (place.home / SLOTS as u32, place.home % SLOTS as u32);
    // The processor can predict this branch. If the comparison of all tags selected the entry, the processor would have
    // to wait for it.
    if storage.bucket(first)?.at(home) == place.tag {
        let located = storage.locate(place.home)?;
        if storage.entry(located).key.is(key) {
            return Some(Found::Own(place.home, located));
        }
    }
    let mut room = Room { bucket: 0, bit: 0, free: 0 };
    for (bucket, home, is_last) in [(first, bit(home), false), (place.second, 0, false), (place.third, 0, true)] {
        if is_last && room.free > 0 {
            break;
        }
        let tags = *storage.bucket(bucket)?;
        let same = lowest(tags.equal(place.tag));
        if same != 0 {
            let number = entry_number(bucket, slot(same));
            let located = storage.locate(number)?;
            if storage.entry(located).key.is(key) {
                return Some(Found::Own(number, located));
            }
            continue;
        }
        let set = tags.free();
        if set & home != 0 {
            // If the flow had come before, it would be here: a free entry was never in use.
            room = Room { bucket, bit: home, free: 1 };
            break;
        }
        let free = count_of(set);
        if free > room.free {
            room = Room { bucket, bit: lowest(set), free };
        }
        if free > Bucket::CROWDED {
            break;
        }
    }
    if room.free == 0 {
        return None;
    }
    let number = entry_number(room.bucket, slot(room.bit));
    Some(Found::Free(number, storage.locate(number)?, room))
}

/// The location of the entry that the flow has or would get. `None` if there is no room for it.
pub fn entry_of<S: Storage>(storage: &mut S, key: &FlowKey) -> Option<S::Located> {
    let place = place(storage, key);
    find(storage, key, &place).map(|(Found::Own(_, located) | Found::Free(_, located, _))| located)
}

/// An entry in which a packet can be counted, and the time at which it counts.
pub(super) struct Ready<L> {
    pub(super) number: u32,
    pub(super) located: L,
    pub(super) now: Stamp,
}

/// Finds or makes the packet's entry, and prepares it for counting the packet.
#[inline(always)]
pub(super) fn ready<S: Storage>(storage: &mut S, packet: &Packet, outer: Option<&Outer>) -> Option<Ready<S::Located>> {
    let (mut number, mut located, is_own) = search(storage, packet)?;
    let mut now = packet.time;
    if is_own {
        let (boundaries, counts) = (storage.boundaries(), &mut storage.entry(located).counts);
        let before = counts.last();
        now = packet.time.later(before);
        let mut goes_on = !boundaries.separate(before, now);
        if packet.tcp_flags & SYN != 0 && goes_on {
            let sent = counts.sent(packet);
            goes_on = storage.cold(number)?.go_on_with(sent, packet);
        }
        if !goes_on {
            match split(storage, number, packet)? {
                Some(free) => (number, located) = (free, storage.locate(free)?),
                None => goes_on = true,
            }
        }
        if goes_on {
            storage.entry(located).counts.wait(now);
            return Some(Ready { number, located, now });
        }
    }
    let birth = storage.head().entries;
    storage.head().entries = birth + 1;
    storage.head().last = u64::from(number) + 1;
    let entry = storage.entry(located);
    entry.key = packet.key;
    entry.counts.open(packet);
    storage.cold(number)?.open(packet, birth);
    if let Some(outer) = outer {
        *storage.outer(number)? = *outer;
    }
    Some(Ready { number, located, now })
}

/// The flow's entry, or a free one that now has the flow's tag, and whether it is the flow's.
///
/// Packets come in trains (Jain and Routhier, "Packet Trains", 1986), so the entry of the previous packet is tried
/// first.
#[inline(always)]
fn search<S: Storage>(storage: &mut S, packet: &Packet) -> Option<(u32, S::Located, bool)> {
    let last = storage.head().last as u32;
    if last != 0 {
        let located = storage.locate(last - 1)?;
        if storage.entry(located).key.is(&packet.key) {
            return Some((last - 1, located, true));
        }
    }
    let place = place(storage, &packet.key);
    match find(storage, &packet.key, &place)? {
        Found::Own(number, located) => {
            storage.head().last = u64::from(number) + 1;
            Some((number, located, true))
        }
        Found::Free(number, located, room) => {
            storage.bucket(room.bucket)?.take(room.bit, place.tag);
            Some((number, located, false))
        }
    }
}

/// Retires an entry, and returns the number of the new one.
///
/// One flow must not fill the bucket of others. If the bucket is crowded, the result for a frame of a file is `None`:
/// the caller drains the table and counts the frame again. For other packets the result is `Some(None)`: they are
/// counted in the old entry, and a lost boundary is counted.
#[inline(always)]
fn split<S: Storage>(storage: &mut S, number: u32, packet: &Packet) -> Option<Option<u32>> {
    let (first, own) = (number / SLOTS as u32, number % SLOTS as u32);
    let bucket = storage.bucket(first)?;
    let free = bucket.free();
    if count_of(free) > Bucket::CROWDED {
        let (room, tag) = (lowest(free), bucket.at(own));
        bucket.retire(own);
        bucket.take(room, tag);
        return Some(Some(entry_number(first, slot(room))));
    }
    if packet.hook as u8 == Hook::File as u8 {
        return None;
    }
    storage.head().boundaries_lost += u64::from(packet.count);
    Some(None)
}
