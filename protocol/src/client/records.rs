//! A queue with room for `N` values, from which any of them can be taken.

/// In the order in which the values came. Taking the first costs nothing, another one moves those
/// before it.
#[derive(Debug)]
pub(super) struct Records<T, const N: usize> {
    slots: [Option<T>; N],
    first: usize,
    len: usize,
}

impl<T: Copy, const N: usize> Records<T, N> {
    pub(super) const fn new() -> Self {
        Self { slots: [None; N], first: 0, len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len == N
    }

    pub(super) fn get(&self, index: usize) -> Option<&T> {
        if index < self.len { self.slots[self.slot(index)].as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        if index < self.len {
            let slot = self.slot(index);
            self.slots[slot].as_mut()
        } else {
            None
        }
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.get(self.len.checked_sub(1)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|index| self.get(index))
    }

    /// False: full, nothing was added.
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.is_full() {
            return false;
        }
        let slot = self.slot(self.len);
        self.slots[slot] = Some(value);
        self.len += 1;
        true
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        let removed = *self.get(index)?;
        for index in (0..index).rev() {
            let (from, to) = (self.slot(index), self.slot(index + 1));
            self.slots[to] = self.slots[from];
        }
        let first = self.slot(0);
        self.slots[first] = None;
        self.first = self.slot(1);
        self.len -= 1;
        Some(removed)
    }

    fn slot(&self, index: usize) -> usize {
        (self.first + index) % N
    }
}
