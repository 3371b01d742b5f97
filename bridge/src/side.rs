//! The two ends of a bridge, and pairs of things that belong to one each.

use std::fmt;
use std::ops::{Index, IndexMut};

/// One of the two brokers that a bridge joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The broker at home: of the gateway that the bridge runs in.
    Local,
    /// The broker at the far end of the uplink.
    Remote,
}

impl Side {
    /// Both, the local one first.
    pub const BOTH: [Side; 2] = [Side::Local, Side::Remote];

    /// The other end.
    pub fn other(self) -> Side {
        match self {
            Side::Local => Side::Remote,
            Side::Remote => Side::Local,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Local => "local broker",
            Side::Remote => "remote broker",
        })
    }
}

/// One `T` for each end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSide<T> {
    /// That of the local end.
    pub local: T,
    /// That of the remote end.
    pub remote: T,
}

impl<T> PerSide<T> {
    /// Makes one for each end.
    pub fn from_fn(mut make: impl FnMut(Side) -> T) -> Self {
        Self { local: make(Side::Local), remote: make(Side::Remote) }
    }
}

impl<T> Index<Side> for PerSide<T> {
    type Output = T;

    fn index(&self, side: Side) -> &T {
        match side {
            Side::Local => &self.local,
            Side::Remote => &self.remote,
        }
    }
}

impl<T> IndexMut<Side> for PerSide<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }
}
