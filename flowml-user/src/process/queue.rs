//! A queue between two threads, bounded in bytes: the sending thread can continue without waiting.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Interval at which a thread that waits for space checks whether to continue waiting.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A queue between two threads, bounded in bytes. One thread adds items, the other takes them out in the same order.
pub struct Queue<T> {
    state: Mutex<Items<T>>,
    changed: Condvar,
    /// The largest size of the waiting items, in bytes.
    room: AtomicUsize,
}

struct Items<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
    /// Whether there was no room at the last [`Queue::has_room`].
    is_short: bool,
    /// Whether no thread takes items out any more.
    abandoned: bool,
}

impl<T> Queue<T> {
    /// A queue whose waiting items have at most `room` bytes.
    #[must_use]
    pub fn new(room: usize) -> Self {
        let state = Items { waiting: VecDeque::new(), bytes: 0, closed: false, is_short: false, abandoned: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), room: AtomicUsize::new(room) }
    }

    /// Adds an item of `bytes` bytes if there is room. An empty queue accepts an item that is larger than the queue.
    ///
    /// # Errors
    /// The item, if there is no room.
    pub fn offer(&self, item: T, bytes: usize) -> Result<(), T> {
        let mut state = self.lock();
        if state.abandoned || !state.has_room(self.room(), bytes) {
            return Err(item);
        }
        self.insert(&mut state, item, bytes);
        Ok(())
    }

    /// Adds an item of `bytes` bytes. Waits for room while `goes_on` returns true.
    ///
    /// # Errors
    /// The item, if there was no room until `goes_on` returned false, or if the queue was abandoned.
    pub fn push(&self, item: T, bytes: usize, goes_on: impl Fn() -> bool) -> Result<(), T> {
        let mut state = self.lock();
        while state.abandoned || !state.has_room(self.room(), bytes) {
            if state.abandoned || !goes_on() {
                return Err(item);
            }
            state = self.changed.wait_timeout(state, ASK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.insert(&mut state, item, bytes);
        Ok(())
    }

    /// Adds an item without checking for room. For the few items that end a stream.
    pub fn force(&self, item: T) {
        self.put(item, 0);
    }

    /// Adds an item of `bytes` bytes without checking for room. The caller has called [`has_room`](Self::has_room)
    /// before.
    pub fn put(&self, item: T, bytes: usize) {
        self.insert(&mut self.lock(), item, bytes);
    }

    /// Whether there is room for `bytes` bytes.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        state.is_short = !state.has_room(self.room(), bytes);
        !state.is_short
    }

    /// Closes the queue: no more items are added.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Abandons the queue: no thread takes items out any more. Waiting items are dropped, and no item is accepted after
    /// that.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        drop(waiting);
    }

    /// Abandons the queue when the returned value is dropped, also after a panic.
    pub(crate) fn abandon_at_end(&self) -> AtEnd<'_, T> {
        AtEnd { queue: self, act: Self::abandon }
    }

    /// Closes the queue when the returned value is dropped, also after a panic.
    pub(crate) fn close_at_end(&self) -> AtEnd<'_, T> {
        AtEnd { queue: self, act: Self::close }
    }

    /// The largest size of the waiting items, in bytes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// Sets the largest size of the waiting items, in bytes. Waiting items stay, even if they exceed it.
    pub(crate) fn set_room(&self, bytes: usize) {
        self.room.store(bytes, Ordering::Relaxed);
    }

    /// Fill level from 0 to 1. It is 1 if there was no room at the last [`Self::has_room`].
    #[must_use]
    pub fn fill(&self) -> f64 {
        let state = self.lock();
        if state.is_short { 1.0 } else { (state.bytes as f64 / self.room().max(1) as f64).min(1.0) }
    }

    /// Size of the waiting items, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Waits for the next item. `None` if the queue is closed and empty.
    pub fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some((item, bytes)) = state.waiting.pop_front() {
                state.bytes -= bytes;
                self.changed.notify_all();
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn insert(&self, state: &mut Items<T>, item: T, bytes: usize) {
        state.bytes += bytes;
        state.waiting.push_back((item, bytes));
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Items<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Abandons or closes its queue when it is dropped.
#[must_use]
pub(crate) struct AtEnd<'a, T> {
    queue: &'a Queue<T>,
    act: fn(&Queue<T>),
}

impl<T> Drop for AtEnd<'_, T> {
    fn drop(&mut self) {
        (self.act)(self.queue);
    }
}

impl<T> Items<T> {
    const fn has_room(&self, room: usize, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes + bytes <= room
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn items_without_room_are_returned_and_the_others_keep_their_order() {
        let queue = Queue::new(10);
        assert_eq!(queue.offer('a', 50), Ok(()), "an empty queue accepts an item that is larger than the queue");
        assert_eq!(queue.offer('b', 1), Err('b'));
        assert_eq!(queue.next(), Some('a'));
        for (item, taken) in [('c', Ok(())), ('d', Ok(())), ('e', Err('e'))] {
            assert_eq!(queue.offer(item, 5), taken);
        }
        assert_eq!(queue.push('f', 1, || false), Err('f'));
        queue.force('g');
        queue.close();
        assert_eq!(std::iter::from_fn(|| queue.next()).collect::<String>(), "cdg");
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn the_queue_is_full_if_there_is_no_room_for_the_next_item() {
        let queue = Queue::new(10);
        queue.put('a', 4);
        assert_eq!((queue.has_room(6), queue.fill()), (true, 0.4));
        assert_eq!((queue.has_room(7), queue.fill()), (false, 1.0));
        assert_eq!(queue.next(), Some('a'));
        assert_eq!(queue.fill(), 1.0, "has_room was not called again");
        assert_eq!((queue.has_room(7), queue.fill()), (true, 0.0));
        queue.put('b', 50);
        assert_eq!(queue.fill(), 1.0);
    }

    #[test]
    fn no_thread_waits_for_an_abandoned_queue() {
        let queue = Queue::new(10);
        thread::scope(|scope| {
            let filling = scope.spawn(|| (0..).find_map(|item| queue.push(item, 7, || true).err()));
            while queue.bytes() == 0 {
                thread::yield_now();
            }
            queue.abandon();
            assert_eq!(filling.join().expect("no panic"), Some(1));
            assert_eq!(queue.offer(5, 1), Err(5));
        });
    }

    #[test]
    fn no_thread_waits_for_items_of_a_thread_that_has_panicked() {
        let queue = Queue::new(10);
        thread::scope(|scope| {
            let filling = scope.spawn(|| {
                let _closed = queue.close_at_end();
                queue.put('a', 1);
                panic!("on purpose");
            });
            assert_eq!(std::iter::from_fn(|| queue.next()).collect::<String>(), "a");
            assert!(filling.join().is_err());
        });
    }

    #[test]
    fn a_thread_that_waits_for_room_gets_it() {
        let queue = Queue::new(10);
        thread::scope(|scope| {
            scope.spawn(|| {
                for item in 0..1000 {
                    queue.push(item, 7, || true).expect("it goes on");
                }
                queue.close();
            });
            assert!(std::iter::from_fn(|| queue.next()).eq(0..1000));
        });
    }
}
